"""Sums of broadcast gradients by compiled code: the same numbers, only where the option says so."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from neuronix.autograd import CustomTensor, compiled_reductions, compiled_sums, grad

SHAPES = [((4, 3), (3,)), ((2, 4, 3), (4, 1)), ((5,), ())]


def gradients(shape: tuple[int, ...], argument: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x = CustomTensor(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype))
    y = CustomTensor(torch.randn(argument, generator=generator, dtype=torch.float64).to(dtype), requires_grad=True)
    result = (x * y).exp()
    result.backward(torch.ones(shape, dtype=dtype))
    assert y.grad is not None
    return y.grad


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)], ids=str)
@pytest.mark.parametrize(("shape", "argument"), SHAPES, ids=str)
def test_the_sums_are_equal(
    shape: tuple[int, ...], argument: tuple[int, ...], dtype: torch.dtype, tolerance: float
) -> None:
    expected = gradients(shape, argument, dtype)
    before = len(compiled_sums._programs)
    with compiled_reductions():
        compiled = gradients(shape, argument, dtype)
    assert len(compiled_sums._programs) == before + 1
    assert compiled.dtype is dtype
    torch.testing.assert_close(compiled, expected, rtol=tolerance, atol=tolerance)


def test_the_cast_to_the_arguments_dtype_is_compiled_too() -> None:
    x = CustomTensor(torch.arange(6, dtype=torch.float64).reshape(2, 3))
    y = CustomTensor(torch.ones(3, dtype=torch.float32), requires_grad=True)
    with compiled_reductions():
        (x * y).sum().backward()
    assert y.grad is not None
    torch.testing.assert_close(y.grad, torch.tensor([3.0, 5.0, 7.0]), rtol=0, atol=0)


def test_nothing_is_compiled_by_default_or_where_it_isnt_offered() -> None:
    before = len(compiled_sums._programs)
    gradients((6, 2), (2,), torch.float64)
    with compiled_reductions():
        gradients((6, 2), (2,), torch.complex128)
        x = CustomTensor(torch.ones(6, 2), requires_grad=True)
        y = CustomTensor(torch.ones(2), requires_grad=True)
        (first,) = grad((x * y * y).sum(), y, create_graph=True)
        assert first is not None
    first.sum().backward()
    assert len(compiled_sums._programs) == before
    torch.testing.assert_close(y.grad, torch.full((2,), 12.0), rtol=0, atol=0)


def test_under_vmap_it_stays_as_it_is() -> None:
    x = CustomTensor(torch.ones(3, 2), requires_grad=True)
    y = CustomTensor(torch.ones(2), requires_grad=True)
    product = x * y

    def pulled_back(gradient: torch.Tensor) -> Any:
        (found,) = grad(product, y, gradient, retain_graph=True)
        assert found is not None
        return found.data

    gradient = torch.arange(12.0).reshape(2, 3, 2)
    with compiled_reductions():
        batched = torch.vmap(pulled_back)(gradient)
    torch.testing.assert_close(batched, gradient.sum(1), rtol=0, atol=0)
