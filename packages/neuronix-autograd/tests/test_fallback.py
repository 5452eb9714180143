"""torch functions that no declaration names: taken apart, or refused by name; never silently a constant."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from neuronix.autograd import CustomTensor, no_grad, tensor
from neuronix.autograd.dispatch import fallback
from neuronix.autograd.errors import DtypeError, GradientError, UnsupportedError

ROWS: list[tuple[str, Any]] = [
    ("addcmul", lambda x, w: torch.addcmul(x, w, w, value=0.5)),
    ("keywords", lambda x, w: torch.add(input=x, other=w, alpha=3)),
    ("hstack", lambda x, w: torch.hstack([x, w])),
    ("meshgrid", lambda x, w: torch.meshgrid(x[0], w[0], indexing="ij")[0]),
    ("tensordot", lambda x, w: torch.tensordot(x, w, dims=([0], [0]))),
    ("cdist by hand", lambda x, w: torch.square(x.unsqueeze(1) - w.unsqueeze(0)).sum(-1)),
    ("cosine similarity", lambda x, w: F.cosine_similarity(x, w)),
    ("normalize", lambda x, w: F.normalize(x, dim=1) * w),
    ("in place inside", lambda x, w: F.hardtanh(x * w, inplace=False)),
    ("block_diag", lambda x, w: torch.block_diag(x, w)),
    ("attention", lambda x, w: F.scaled_dot_product_attention(x[None], w[None], w[None])),
    ("diff", lambda x, w: torch.diff(x * w)),
    ("trapezoid", lambda x, w: torch.trapezoid(x, w)),
    ("rot90", lambda x, w: torch.rot90(x) @ w),
    ("std_mean", lambda x, w: torch.std_mean(x * w)[0]),
]


@pytest.mark.parametrize("function", [row[1] for row in ROWS], ids=[row[0] for row in ROWS])
def test_composites_are_taken_apart(function: Any, check_against_torch: Any) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    w = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    check_against_torch(function, x, w, rtol=1e-10, atol=1e-10)


# Results in which nothing is left of the argument: torch's tell where they come from all the same.
OVERWRITTEN: list[tuple[str, Any]] = [
    ("fill", lambda x: torch.fill(x, 2.0)),
    ("fill with itself", lambda x: torch.fill(x, x[0, 0])),
    ("matrix_power 0", lambda x: torch.linalg.matrix_power(x, 0)),
    ("addr, beta 0", lambda x: torch.addr(x, torch.ones(3).double(), torch.ones(3).double(), beta=0)),
    ("addmm, beta 0", lambda x: torch.addmm(x[0], torch.eye(3).double(), torch.eye(3).double(), beta=0)),
    ("copysign", lambda x: torch.copysign(torch.ones(3, 3).double(), x)),
    ("bernoulli", lambda x: torch.bernoulli(torch.clamp(x, 0, 1) * 0)),
    ("normal", lambda x: torch.normal(x * 0, x * 0)),
    ("the mean of nothing in F.cross_entropy", lambda x: x[:0].sum().fill_(float("nan"))),
]


@pytest.mark.parametrize("function", [row[1] for row in OVERWRITTEN], ids=[row[0] for row in OVERWRITTEN])
def test_what_is_written_over_requires_grad_as_in_torch(function: Any, check_against_torch: Any) -> None:
    x = torch.linspace(-1, 2, 9, dtype=torch.float64).reshape(3, 3).requires_grad_()
    check_against_torch(function, x)


def test_an_in_place_function_changes_its_argument() -> None:
    x = tensor([1.0, -2.0], requires_grad=True)
    y = x * 3
    constant = y.detach().clone()
    assert y.addcmul_(constant, constant) is y
    assert y.tolist() == [12.0, 30.0]
    y.sum().backward()
    assert_close(x.grad, torch.tensor([3.0, 3.0]))
    with pytest.raises(GradientError, match="leaf"):
        x.addcmul_(constant, constant)
    assert x.tolist() == [1.0, -2.0]


def test_a_function_may_change_what_needs_no_gradient() -> None:
    x = tensor([1.0, -2.0], requires_grad=True)
    plain, constant = torch.zeros(2), tensor([5.0, 5.0])

    def counting(x: Any, plain: Any, constant: Any) -> Any:
        plain.add_(1)
        constant.mul_(2)
        return torch.addcmul(x, x, x)

    y = fallback.call(counting, (x, plain, constant), {})
    assert (plain.tolist(), constant.tolist(), y.tolist()) == ([1.0, 1.0], [10.0, 10.0], [2.0, 2.0])
    assert not constant.requires_grad
    y.sum().backward()
    assert_close(x.grad, torch.tensor([3.0, -3.0]))


def test_a_function_that_may_not_change_one_argument_changes_none() -> None:
    x = tensor([1.0, -2.0], requires_grad=True)
    result, plain = x * 3, torch.zeros(2)

    def both(result: Any, plain: Any, x: Any) -> None:
        result.mul_(2)
        plain.add_(x)

    with pytest.raises(GradientError, match="plain Tensor"):
        fallback.call(both, (result, plain, x), {})
    assert (result.tolist(), plain.tolist()) == ([3.0, -6.0], [0.0, 0.0])


def test_an_operation_without_a_rule_is_named() -> None:
    x = tensor([[2.0, 1.0], [1.0, 3.0]], requires_grad=True)
    with pytest.raises(UnsupportedError, match=r"aten\.geqrf\.default has no rule") as caught:
        torch.geqrf(x)
    assert '@primitive(aten="geqrf.default")' in str(caught.value)
    assert torch.geqrf(x.detach())[0].shape == (2, 2)
    with no_grad():
        assert torch.geqrf(x)[0].shape == (2, 2)


def test_a_rule_in_a_package_that_is_not_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("neuronix.nn", "neuronix.losses"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    message, hint = fallback._missing("avg_pool2d.default")
    assert "neuronix-nn" in message
    assert "import neuronix.nn" in hint
    message, _ = fallback._missing("nll_loss_forward.default")
    assert "neuronix-losses" in message
    monkeypatch.setitem(sys.modules, "neuronix.losses", sys)
    message, _ = fallback._missing("ctc_loss.default")
    assert "has no rule" in message


def test_results_without_derivatives_are_constants() -> None:
    x = tensor([3.0, 1.0, 2.0], requires_grad=True)
    for result in (torch.argmax(x), torch.isnan(x), torch.zeros_like(x), x > 1, torch.bucketize(x, torch.ones(1))):
        assert not result.requires_grad
    assert torch.is_floating_point(x) is True
    assert torch.numel(x) == 3


def test_named_results_keep_their_names() -> None:
    x = tensor([[3.0, 1.0, 2.0]], requires_grad=True)
    result = torch.sort(x.detach(), dim=1)
    assert result.values.tolist() == [[1.0, 2.0, 3.0]]
    assert result.indices.tolist() == [[1, 2, 0]]


def test_constants_are_computed_by_torch() -> None:
    x = tensor([1.0, 2.0])
    y = torch.logspace(0, 1, 2) + torch.fft.fft(x).real
    assert not y.requires_grad
    assert_close(y.data, torch.logspace(0, 1, 2) + torch.fft.fft(x.data).real)


def test_under_vmap() -> None:
    values = torch.randn(5, 3, dtype=torch.float64)
    w = torch.randn(3, dtype=torch.float64)

    def gradient(row: torch.Tensor) -> torch.Tensor:
        from neuronix.autograd import CustomTensor, grad

        x = CustomTensor(row, requires_grad=True)
        return grad(F.hardtanh(torch.addcmul(x, x, CustomTensor(w), value=2.0), -50.0, 50.0).sum(), x)[0].data

    assert_close(torch.vmap(gradient)(values), 1 + 2 * w.expand(5, 3), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "call",
    [
        lambda s: torch.tensor(s),
        lambda s: torch.tensor([s, s]),
        lambda s: torch.as_tensor(s),
        lambda s: torch.as_tensor([s]),
        lambda s: torch.asarray(s),
        lambda s: torch.asarray([s]),
        lambda s: torch.Tensor([s]),
        lambda s: torch.FloatTensor([s]),
        lambda s: torch.ones(2).new_tensor(s),
        lambda s: tensor(torch.ones(2)).new_tensor(s),
        lambda s: torch.sparse_coo_tensor(torch.tensor([[0]]), [s], (2,)),
        lambda s: torch.zeros(s),
        lambda s: torch.rand(2, s),
        lambda s: torch.eye(s),
        lambda s: torch.randint(0, s, (2,)),
        lambda s: torch.randperm(s),
        lambda s: torch.normal(0.0, s, (2,)),
        lambda s: torch.hann_window(s),
        lambda s: torch.hamming_window(5, False, s),
        lambda s: torch.kaiser_window(5, False, s),
        lambda s: torch.from_numpy(s),
        lambda s: np.asarray(s),
    ],
)
def test_functions_that_make_constants_refuse_what_requires_grad(call: Any) -> None:
    with pytest.raises((TypeError, RuntimeError)):
        call(tensor(3.0, requires_grad=True))


def test_one_function_of_torch_takes_a_number_without_asking() -> None:
    # torch.range is deprecated: it calls float(x), as Python code may, and nobody can tell the two apart.
    with pytest.warns(UserWarning, match="loses its gradient"), pytest.warns(UserWarning, match="range is deprecated"):
        made = torch.range(0, tensor(3.0, requires_grad=True))
    assert type(made) is torch.Tensor


@pytest.mark.parametrize("convert", [float, complex, math.exp, lambda x: f"{float(x):.1f}"])
def test_a_number_of_python_loses_the_gradient_but_not_in_silence(convert: Any) -> None:
    x = tensor(2.0, requires_grad=True)
    expected = convert(torch.tensor(2.0))
    for tracked in (x, x * 1):
        with pytest.warns(UserWarning, match="loses its gradient") as caught:
            assert convert(tracked) == expected
        assert [Path(warning.filename).name for warning in caught] == [Path(__file__).name]
        assert convert(tracked.detach()) == expected
        with no_grad():
            assert convert(tracked) == expected
    # As in PyTorch these say what they are, or round.
    assert (x.item(), int(x), bool(x), f"{x:.1f}") == (2.0, 2, True, "2.0")


@pytest.mark.parametrize(
    "call",
    [
        lambda b, s: torch.full((2,), s),
        lambda b, s: torch.full_like(b, s),
        lambda b, s: b.new_full((2,), s),
        lambda b, s: torch.scalar_tensor(s),
        lambda b, s: torch.arange(0, s),
        lambda b, s: F.leaky_relu(b, s),
        lambda b, s: F.elu(b, s),
        lambda b, s: F.hardtanh(b, 0.0, s),
        lambda b, s: F.layer_norm(b, (2,), eps=s),
        lambda b, s: F.pad(b, (1, 1), value=s),
        lambda b, s: F.huber_loss(b, b + 1, delta=s),
        lambda b, s: torch.nan_to_num(b, nan=s),
        lambda b, s: torch.linalg.norm(b, s),
        lambda b, s: torch.dist(b, b + 1, s),
        lambda b, s: torch.trapezoid(b, dx=s),
        lambda b, s: torch.allclose(b, b, rtol=s),
        lambda b, s: b.clone().uniform_(0, s),
    ],
)
@pytest.mark.parametrize("kind", [torch.Tensor, CustomTensor])
def test_a_tensor_that_requires_grad_is_no_number(call: Any, kind: Any) -> None:
    values = torch.tensor([-0.5, 0.5], dtype=torch.float64)
    number = torch.tensor(0.75, dtype=torch.float64)
    with pytest.raises(TypeError):
        call(values, number.clone().requires_grad_())
    given = values if kind is torch.Tensor else CustomTensor(values)
    with pytest.raises(DtypeError, match=r"must be a number|of type 'number'"):
        call(given, CustomTensor(number, requires_grad=True))
    if kind is torch.Tensor:
        with no_grad():
            call(given, CustomTensor(number, requires_grad=True))
