"""Steps equal a plain transcription of the equations of each paper, in Python floats."""

import math

import pytest
import torch

from neuronix.optim import AdamW, Lion, Momentum, Nesterov, Optimizer

STEPS = 80


def gradient(theta: float, t: int) -> float:
    return math.cos(2 * theta + t) + 0.5 * theta


def trajectory(optimizer: Optimizer, param: torch.Tensor) -> list[float]:
    points = []
    for t in range(1, STEPS + 1):
        param.grad = torch.tensor([gradient(value, t) for value in param.tolist()], dtype=param.dtype)
        optimizer.step()
        points.append(param.tolist())
    return [value for point in points for value in point]


def expected(start: list[float], run: object) -> list[float]:
    columns = [run(theta) for theta in start]
    return [value for point in zip(*columns, strict=True) for value in point]


START = [0.7, -1.3, 0.0]


def parameter(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(START, dtype=dtype)


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize(
    ("lr", "betas", "weight_decay"), [(0.01, (0.9, 0.99), 0.3), (1e-4, (0.9, 0.99), 1e-3), (0.05, (0.5, 0.8), 0.0)]
)
def test_lion_is_algorithm_2(lr: float, betas: tuple[float, float], weight_decay: float, maximize: bool) -> None:
    def chen_et_al(theta: float) -> list[float]:
        m, points = 0.0, []
        for t in range(1, STEPS + 1):
            g = -gradient(theta, t) if maximize else gradient(theta, t)
            c = betas[0] * m + (1 - betas[0]) * g
            sign = (c > 0) - (c < 0)
            theta = theta - lr * (sign + weight_decay * theta)
            m = betas[1] * m + (1 - betas[1]) * g
            points.append(theta)
        return points

    param = parameter()
    got = trajectory(Lion([param], lr, betas, weight_decay, maximize=maximize), param)
    assert got == pytest.approx(expected(START, chen_et_al), rel=0, abs=1e-12)


def test_lion_in_single_precision() -> None:
    double, single = parameter(), parameter(torch.float32)
    want = trajectory(Lion([double], lr=0.01), double)
    assert trajectory(Lion([single], lr=0.01), single) == pytest.approx(want, rel=0, abs=1e-5)


def test_lion_defaults() -> None:
    (group,) = Lion([torch.zeros(1)]).param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-4, (0.9, 0.99), 1e-3)


def test_lion_stands_still_at_a_gradient_of_zero() -> None:
    param = torch.ones(2)
    param.grad = torch.zeros(2)
    Lion([param], lr=0.1, weight_decay=0.0).step()
    assert param.tolist() == [1.0, 1.0]


def test_lion_steps_a_complex_parameter_by_its_parts() -> None:
    param = torch.zeros(1, dtype=torch.complex128)
    param.grad = torch.tensor([3 - 0.1j], dtype=torch.complex128)
    optimizer = Lion([param], lr=0.5)
    optimizer.step()
    assert param.item() == -0.5 + 0.5j
    assert optimizer.state[param]["exp_avg"].dtype == torch.complex128


def test_adamw_is_algorithm_2() -> None:
    lr, beta1, beta2, eps, decay = 0.05, 0.9, 0.999, 1e-8, 0.2

    def loshchilov_hutter(theta: float) -> list[float]:
        m = v = 0.0
        points = []
        for t in range(1, STEPS + 1):
            g = gradient(theta, t)
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g * g
            m_hat = m / (1 - beta1**t)
            v_hat = v / (1 - beta2**t)
            theta = theta - lr * (m_hat / (math.sqrt(v_hat) + eps) + decay * theta)
            points.append(theta)
        return points

    param = parameter()
    got = trajectory(AdamW([param], lr, (beta1, beta2), eps, decay), param)
    assert got == pytest.approx(expected(START, loshchilov_hutter), rel=0, abs=1e-12)


def test_momentum_is_equations_1_and_2() -> None:
    epsilon, mu = 0.05, 0.9

    def sutskever(theta: float) -> list[float]:
        v, points = 0.0, []
        for t in range(1, STEPS + 1):
            v = mu * v - epsilon * gradient(theta, t)
            theta = theta + v
            points.append(theta)
        return points

    param = parameter()
    assert trajectory(Momentum([param], epsilon, mu), param) == pytest.approx(expected(START, sutskever), abs=1e-12)


def test_nesterov_is_equations_3_and_4_seen_from_the_point_ahead() -> None:
    epsilon, mu = 0.05, 0.9

    def sutskever(theta: float) -> list[float]:
        v, points = 0.0, []
        for t in range(1, STEPS + 1):
            v = mu * v - epsilon * gradient(theta + mu * v, t)
            theta = theta + v
            points.append(theta + mu * v)
        return points

    param = parameter()
    assert trajectory(Nesterov([param], epsilon, mu), param) == pytest.approx(expected(START, sutskever), abs=1e-12)
