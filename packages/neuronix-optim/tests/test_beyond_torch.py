"""Prodigy and Schedule-Free AdamW equal their papers' algorithms, transcribed in NumPy, and do what they promise."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from neuronix.autograd import rules_only, tensor
from neuronix.optim import Lion, Prodigy, ScheduleFreeAdamW
from neuronix.optim.errors import OptimizerError, OptimizerRuntimeError

Array = NDArray[np.float64]
STEPS = 200
START = [np.array([[0.7, -1.3], [2.0, 0.1]]), np.array([3.0, -0.5, 0.2])]


def gradient(theta: Any, step: int, cos: Callable[[Any], Any]) -> Any:
    """Of a bowl with waves that move."""
    return 0.5 * theta + 0.3 * cos(3 * theta + step)


def prodigy(
    lr: float, betas: tuple[float, float], eps: float, decay: float, d0: float, coefficient: float
) -> list[list[Array]]:
    """Mishchenko and Defazio, Algorithm 4, for several arrays that are one vector."""
    beta1, beta2 = betas
    x0 = [x.copy() for x in START]
    x = [each.copy() for each in x0]
    m, v, s = ([np.zeros_like(each) for each in x0] for _ in range(3))
    r, d, path = 0.0, d0, []
    for k in range(STEPS):
        g = [gradient(each, k, np.cos) for each in x]
        m = [beta1 * a + (1 - beta1) * d * b for a, b in zip(m, g, strict=True)]
        v = [beta2 * a + (1 - beta2) * d**2 * b**2 for a, b in zip(v, g, strict=True)]
        inner = sum(float(np.sum(b * (a - c))) for a, b, c in zip(x0, g, x, strict=True))
        r = np.sqrt(beta2) * r + (1 - np.sqrt(beta2)) * lr * d**2 * inner
        s = [np.sqrt(beta2) * a + (1 - np.sqrt(beta2)) * lr * d**2 * b for a, b in zip(s, g, strict=True)]
        d_hat = coefficient * r / sum(float(np.abs(a).sum()) for a in s)
        x = [(1 - lr * d * decay) * a - lr * d * b / (np.sqrt(c) + d * eps) for a, b, c in zip(x, m, v, strict=True)]
        d = max(d, d_hat)
        path.append(x)
    return path


def schedule_free(
    lr: float, betas: tuple[float, float], eps: float, decay: float, warmup: int
) -> tuple[list[list[Array]], list[list[Array]]]:
    """Defazio et al., Algorithm 1; return all y and all x."""
    beta1, beta2 = betas
    x = [each.copy() for each in START]
    z = [each.copy() for each in START]
    v = [np.zeros_like(each) for each in START]
    squares, ys, xs = 0.0, [], []
    for t in range(1, STEPS + 1):
        y = [(1 - beta1) * a + beta1 * b for a, b in zip(z, x, strict=True)]
        g = [gradient(each, t - 1, np.cos) for each in y]
        v = [beta2 * a + (1 - beta2) * b**2 for a, b in zip(v, g, strict=True)]
        rate = lr * min(1.0, t / warmup) if warmup else lr
        root = [np.sqrt(each / (1 - beta2**t)) + eps for each in v]
        z = [a - rate * b / c - rate * decay * e for a, b, c, e in zip(z, g, root, y, strict=True)]
        squares += rate**2
        x = [(1 - rate**2 / squares) * a + rate**2 / squares * b for a, b in zip(x, z, strict=True)]
        ys.append([(1 - beta1) * a + beta1 * b for a, b in zip(z, x, strict=True)])
        xs.append(x)
    return ys, xs


def start(dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    return [torch.tensor(each, dtype=dtype) for each in START]


def advance(optimizer: Any, params: list[torch.Tensor], step: int) -> None:
    for param in params:
        param.grad = gradient(param, step, torch.cos)
    optimizer.step()


def difference(params: list[torch.Tensor], arrays: list[Array]) -> float:
    return max(float(np.abs(a.double().numpy() - b).max()) for a, b in zip(params, arrays, strict=True))


@pytest.mark.parametrize("by_rules", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    ("lr", "betas", "eps", "decay", "d0", "coefficient"),
    [
        (1.0, (0.9, 0.999), 1e-8, 0.0, 1e-6, 1.0),
        (0.5, (0.8, 0.95), 1e-3, 0.1, 1e-3, 1.0),
        (1.0, (0.9, 0.99), 1e-8, 0.0, 1e-6, 0.5),
    ],
)
def test_prodigy_is_algorithm_4(
    lr: float,
    betas: tuple[float, float],
    eps: float,
    decay: float,
    d0: float,
    coefficient: float,
    groups: int,
    by_rules: bool,
) -> None:
    params = start()
    members: list[Any] = params if groups == 1 else [{"params": [param]} for param in params]
    optimizer = Prodigy(members, lr, betas, eps, decay, d0, coefficient)
    for step, wanted in enumerate(prodigy(lr, betas, eps, decay, d0, coefficient)):
        with rules_only() if by_rules else nullcontext():
            advance(optimizer, params, step)
        assert difference(params, wanted) < 1e-10


def test_prodigy_never_passes_the_distance_of_a_convex_problem() -> None:
    """r / ‖s‖₁ is a lower bound of the largest coordinate of the distance: the paper's section 3."""
    target = torch.tensor([40.0, -3.0, 0.5], dtype=torch.float64)
    w = torch.zeros(3, dtype=torch.float64)
    optimizer = Prodigy([w])
    found = []
    for _ in range(400):
        w.grad = torch.sign(w - target)
        optimizer.step()
        found.append(float(optimizer.param_groups[0]["d"]))
    assert sorted(found) == found
    assert 1e-6 < found[5] < found[-1] <= 40.0
    assert found[-1] > 4.0  # and is of its size


def test_prodigy_in_single_precision_and_from_a_saved_state() -> None:
    wanted = prodigy(1.0, (0.9, 0.999), 1e-8, 0.0, 1e-2, 1.0)
    params = start(torch.float32)
    optimizer = Prodigy(params, d0=1e-2)
    for step in range(60):
        advance(optimizer, params, step)
        if step < 6:  # while d grows; later the waves magnify rounding
            assert difference(params, wanted[step]) < 1e-5
    others = [param.clone() for param in params]
    resumed = Prodigy(others)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for step in range(60, 80):
        advance(optimizer, params, step)
        advance(resumed, others, step)
    assert all(torch.equal(a, b) for a, b in zip(params, others, strict=True))
    assert float(resumed.param_groups[0]["d"]) == float(optimizer.param_groups[0]["d"]) > 0.4


@pytest.mark.parametrize("by_rules", [False, True])
@pytest.mark.parametrize(
    ("lr", "betas", "eps", "decay", "warmup"),
    [(0.05, (0.9, 0.999), 1e-8, 0.0, 0), (0.1, (0.95, 0.9), 1e-3, 0.2, 30), (0.01, (1e-3, 0.99), 1e-8, 0.01, 300)],
)
def test_schedule_free_is_algorithm_1(
    lr: float, betas: tuple[float, float], eps: float, decay: float, warmup: int, by_rules: bool
) -> None:
    params = start()
    optimizer = ScheduleFreeAdamW(params, lr, betas, eps, decay, warmup)
    ys, xs = schedule_free(lr, betas, eps, decay, warmup)
    tolerance = 1e-10 if betas[0] > 0.1 else 1e-8  # x is (y - (1 - β₁) z) / β₁: a small β₁ magnifies rounding
    for step in range(STEPS):
        with rules_only() if by_rules else nullcontext():
            advance(optimizer, params, step)
        assert difference(params, ys[step]) < tolerance
        if step % 50 == 49:
            optimizer.eval()
            optimizer.eval()
            assert difference(params, xs[step]) < tolerance
            optimizer.train()
            optimizer.train()


def test_schedule_free_averages_the_path() -> None:
    """With a constant learning rate, x is the plain mean of all z."""
    param = torch.tensor([2.0], dtype=torch.float64)
    optimizer = ScheduleFreeAdamW([param], lr=0.1)
    zs = []
    for step in range(50):
        advance(optimizer, [param], step)
        zs.append(float(optimizer.state[param]["z"]))
    optimizer.eval()
    assert param.item() == pytest.approx(np.mean(zs), rel=1e-12)


def test_schedule_free_goes_on_from_a_saved_state() -> None:
    params = start(torch.float32)
    optimizer = ScheduleFreeAdamW(params, lr=0.05)
    for step in range(30):
        advance(optimizer, params, step)
    others = [param.clone() for param in params]
    resumed = ScheduleFreeAdamW(others)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert resumed.state[others[0]]["total"].dtype is torch.float64
    for step in range(30, 60):
        advance(optimizer, params, step)
        advance(resumed, others, step)
    assert all(torch.equal(a, b) for a, b in zip(params, others, strict=True))


def test_schedule_free_steps_in_training_only() -> None:
    param = torch.ones(2)
    param.grad = torch.ones(2)
    optimizer = ScheduleFreeAdamW([param], lr=0.1)
    optimizer.step()
    optimizer.eval()
    before = param.clone()
    with pytest.raises(OptimizerRuntimeError, match=r"call the optimizer's `train\(\)`"):
        optimizer.step()
    assert torch.equal(param, before)
    assert optimizer.state_dict()["param_groups"][0]["train_mode"] is False


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: Prodigy(p, d0=0.0), "Prodigy: `d0` must be greater than 0, got 0"),
        (lambda p: Prodigy(p, d_coef=-1.0), "Prodigy: `d_coef` must be greater than 0, got -1"),
        (lambda p: Prodigy(p, betas=(0.9, 1.0)), "Prodigy: `betas[1]` must be at least 0 and less than 1, got 1"),
        (lambda p: Prodigy([*p, torch.zeros(1, dtype=torch.complex64)]), "must be real; parameter number 1 of group 0"),
        (lambda p: ScheduleFreeAdamW(p, betas=(0.0, 0.9)), "`betas[0]` must be greater than 0, got 0"),
        (lambda p: ScheduleFreeAdamW(p, warmup_steps=-1), "`warmup_steps` must be at least 0, got -1"),
        (lambda p: ScheduleFreeAdamW(p, warmup_steps=1.5), "`warmup_steps` must be an integer, got 1.5"),
    ],
)
def test_bad_options(make: Any, message: str) -> None:
    with pytest.raises(OptimizerError) as caught:
        make([torch.zeros(1)])
    assert message in str(caught.value)


# What optax 0.2.8 finds in float64 for the sum of x · sin(3x) + x²/2 from x = (1.5, -0.7, 0.3, 2.2, -1.9), after 12 and
# after 200 steps of optax.lion, whose learning_rate, b1, b2 and weight_decay are these.
OPTAX_LION: list[tuple[dict[str, Any], dict[int, list[float]]]] = [
    (
        {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 1e-3},
        {
            12: [1.5398166100516664, -0.5799226043998509, 0.17997060175993895, 2.079742614299521, -1.779778612319587],
            200: [
                1.536936048496127,
                0.0001674490935893707,
                -1.71565253733897e-05,
                0.19759306235853688,
                -1.5369462680960875,
            ],
        },
    ),
    (
        {"lr": 0.003, "betas": (0.8, 0.95), "weight_decay": 0.1},
        {
            12: [1.5305495604559356, -0.661543494484881, 0.26298112085927805, 2.156152395580892, -1.85723061536169],
            200: [
                1.5341418803442102,
                -0.07678979969268597,
                0.001744305614041551,
                1.4894238837617533,
                -1.5326000977059004,
            ],
        },
    ),
]


@pytest.mark.parametrize("options, expected", OPTAX_LION)
def test_lion_is_that_of_optax(options: dict[str, Any], expected: dict[int, list[float]]) -> None:
    x = tensor([1.5, -0.7, 0.3, 2.2, -1.9], dtype=torch.float64, requires_grad=True)
    optimizer = Lion([x], **options)
    for step in range(1, 201):
        optimizer.zero_grad()
        (x * torch.sin(3 * x) + 0.5 * x**2).sum().backward()
        optimizer.step()
        if step in expected:
            torch.testing.assert_close(x.data, torch.tensor(expected[step], dtype=torch.float64), rtol=0, atol=1e-12)
