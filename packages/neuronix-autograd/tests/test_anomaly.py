"""`detect_anomaly` names the first operation that gives something that isn't finite, and the line that called it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from neuronix.autograd import CustomTensor, detect_anomaly, grad, no_grad, record_lines, tensor
from neuronix.autograd.errors import AnomalyError


def refused(program: Any) -> str:
    with pytest.raises(AnomalyError) as caught, detect_anomaly():
        program()
    assert isinstance(caught.value, RuntimeError)  # what torch raises
    return str(caught.value)


def test_the_forward_pass() -> None:
    x = tensor([1.0, 0.0, 4.0], requires_grad=True)
    text = refused(lambda: torch.sin(torch.log(x * 2)))  # the line
    assert text.splitlines()[0] == "log: gives the first value that isn't finite: inf in 1 of 3 entries of its result"
    assert "x: float32(3,) in [0, 8]" in text
    assert "test_anomaly.py" in text
    assert "torch.sin(torch.log(x * 2)))  # the line" in text
    assert "in <lambda>" in text


def test_the_backward_pass_names_the_forward_line() -> None:
    x = tensor([1.0, 0.0], requires_grad=True)

    def program() -> None:
        y = x * 1.0
        root = y.sqrt()  # here
        (root * 3).sum().backward()

    text = refused(program)
    assert text.startswith("sqrt: its backward pass gives the first value that isn't finite: inf in 1 of 2 entries")
    assert "with respect to 'x'" in text
    assert "gradient: float32(2,) in [3, 3]" in text
    assert "x: float32(2,) in [0, 1]" in text
    assert "root = y.sqrt()  # here" in text
    assert x.grad is None


def test_nan_that_comes_from_infinities() -> None:
    x = tensor([math.inf, 1.0], requires_grad=True)

    def program() -> None:
        y = x * 2  # an infinity that was there before
        y - y

    text = refused(program)
    assert text.startswith("sub: gives the first value that isn't finite: NaN in 1 of 2 entries")
    assert "x: float32(2,) in [2, 2], 1 inf" in text


def test_nan_in_the_data_is_told_apart() -> None:
    text = refused(lambda: tensor([math.nan, 1.0]) * tensor(1.0, requires_grad=True))
    assert "there is NaN among its arguments already" in text
    assert "x: float32(2,) in [1, 1], 1 NaN" in text


def test_constants_are_watched_too() -> None:
    def program() -> None:
        with no_grad():
            tensor([0.0]).log()

    assert refused(program).startswith("log: ")
    assert refused(lambda: tensor([1.0]) / 0).startswith("div: ")


def test_a_mask_of_infinities_may_pass() -> None:
    scores = tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    mask = torch.tensor([[False, True], [False, False]])
    with detect_anomaly():
        torch.softmax(scores.masked_fill(mask, -math.inf), -1).square().sum().backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_a_row_without_any_entry_is_found() -> None:
    scores = tensor([[1.0, 2.0]], requires_grad=True)
    mask = torch.tensor([[True, True]])
    text = refused(lambda: torch.softmax(scores.masked_fill(mask, -math.inf), -1))
    assert text.startswith("softmax: gives the first value that isn't finite: NaN in 2 of 2 entries of its result\n")


def test_what_is_looked_for_can_be_chosen() -> None:
    x = tensor([0.0], requires_grad=True)
    with detect_anomaly(check_inf=False):
        x.log().sum().backward()
    with detect_anomaly(check_nan=False), pytest.raises(AnomalyError, match="inf"):
        x.log()
    with detect_anomaly(check_nan=False):
        (x.detach() * math.inf).sum()


def test_outside_its_block_nothing_is_looked_at() -> None:
    x = tensor([0.0], requires_grad=True)
    with detect_anomaly():
        pass
    x.log().sum().backward()
    assert x.grad is not None
    assert x.grad.isinf().all()


def test_a_forward_pass_outside_the_block() -> None:
    x = tensor([0.0], requires_grad=True)
    y = x.sqrt().sum()
    with (
        pytest.raises(AnomalyError, match=r"sqrt: its backward pass.*\n.*\n.*ran outside detect_anomaly"),
        detect_anomaly(),
    ):
        y.backward()


def test_recorded_passes_and_several_results() -> None:
    x = tensor([[0.0, 1.0]], requires_grad=True)

    def second() -> None:
        values, _ = (x**1.5).max(dim=1)
        (first,) = grad(values.sum(), x, create_graph=True)
        assert first is not None
        grad(first.sum(), x)

    assert "x: float32(1, 2) in [0, 1]" in refused(second)


def test_complex_and_half() -> None:
    z = CustomTensor(torch.zeros(2, dtype=torch.complex64), requires_grad=True)
    assert "complex64(2,) absolute values in [0, 0]" in refused(lambda: 1 / z)
    half = CustomTensor(torch.full((2,), 6e4, dtype=torch.float16), requires_grad=True)
    assert "x: float16(2,) in [6e+04, 6e+04]" in refused(lambda: half * 2)


def test_under_vmap_it_stays_out_of_the_way() -> None:
    with detect_anomaly():
        mapped = torch.vmap(lambda row: tensor(row).log().data)(torch.zeros(2, 3))
    assert mapped.isinf().all()


def test_lines() -> None:
    x = tensor(2.0, requires_grad=True)
    with record_lines():
        y = x * 3; z = y + 1  # fmt: skip  # noqa: E702
    outside = z * 2
    for result in (y, z):
        assert result.grad_fn is not None
        assert result.grad_fn.notes is not None
        line = result.grad_fn.notes["line"]
        assert line.text.startswith("y = x * 3; z = y + 1")
        assert line.function == "test_lines"
    assert outside.grad_fn is not None
    assert outside.grad_fn.notes is None


def test_a_block_inside_no_grad_and_around_it() -> None:
    x = tensor(2.0, requires_grad=True)
    with no_grad(), record_lines():
        assert not (x * 3).requires_grad
    with record_lines(), no_grad():
        assert not (x * 3).requires_grad
    with record_lines():
        with no_grad():
            pass
        y = x * 3
    assert y.grad_fn is not None
    assert y.grad_fn.notes is not None


def test_a_leafs_hook_and_a_sum_that_overflows() -> None:
    x = tensor([0.25, 0.5], requires_grad=True)
    text = refused(lambda: (x * torch.tensor([2e38, 1.0]) + x * torch.tensor([3e38, 1.0])).sum().backward())
    assert "backward: a leaf's gradient is the first value that isn't finite: inf in 1 of 2 entries" in text
    assert "leaf: float32(2,) in [0.25, 0.5]" in text
    assert x.grad is None
    x.register_hook(lambda gradient: gradient * math.nan)
    assert "NaN in 2 of 2 entries" in refused(lambda: (x * 2).sum().backward())
    assert x.grad is None
