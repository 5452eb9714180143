"""The helpers themselves: they must find what is wrong, and let pass what is right."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

from neuronix.autograd import CustomTensor, primitive, tensor
from neuronix.autograd.testing import (
    assert_freed,
    check_against_finite_differences,
    live_nodes,
    no_leaks,
    refusing,
)

Check = Callable[..., None]


def leaf(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(5)).requires_grad_()


@primitive
def cube(x: torch.Tensor) -> torch.Tensor:
    return x * x * x


@cube.vjp("x")
def cube_wrt_x(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return grad * x * x * 3


@primitive
def wrong_cube(x: torch.Tensor) -> torch.Tensor:
    return x * x * x


@wrong_cube.vjp("x")
def wrong_cube_wrt_x(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return grad * x * x


@primitive
def cube_with_wrong_kernel(x: torch.Tensor) -> torch.Tensor:
    return x * x * x


@cube_with_wrong_kernel.vjp("x")
def cube_with_wrong_kernel_wrt_x(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return grad * x * x * 3


@cube_with_wrong_kernel.fused("x")
def cube_with_wrong_kernel_fused(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return grad * x * x


@primitive
def cube_with_opaque_rule(x: torch.Tensor) -> torch.Tensor:
    return x * x * x


@cube_with_opaque_rule.vjp("x")
def cube_with_opaque_rule_wrt_x(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    data = x.data if isinstance(x, CustomTensor) else x
    return grad * data * data * 3


@primitive
def cube_opaque_in_grad(x: torch.Tensor) -> torch.Tensor:
    return x * x * x


@cube_opaque_in_grad.vjp("x")
def cube_opaque_in_grad_wrt_x(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return (grad.data if isinstance(grad, CustomTensor) else grad) * x * x * 3


class TestCheckAgainstTorch:
    def test_passes(self, check_against_torch: Check) -> None:
        check_against_torch(cube, leaf(3, 2), torch_function=lambda x: x**3)
        check_against_torch(lambda x, y: x * y, leaf(3, 2), leaf(2))
        check_against_torch(lambda x, y, z: {"a": [x * y, 3], "b": (y + z,)}, leaf(3), leaf(2, 3), torch.ones(3))
        check_against_torch(lambda pair, n: pair[0] * pair[1] * n, [leaf(3), torch.ones(3)], 4)
        check_against_torch(lambda x: x * x, leaf(4, dtype=torch.float32))

    @pytest.mark.parametrize(
        ("function", "message"),
        [
            (wrong_cube, "the gradient with respect to input\\[0\\] differs"),
            pytest.param(
                cube_with_wrong_kernel,
                "the gradient with respect to input\\[0\\] differs",
                marks=pytest.mark.kernels,
            ),
            (cube_with_opaque_rule, "the second-order gradient with respect to input\\[0\\] differs"),
            (cube_opaque_in_grad, "the second-order gradient with respect to the incoming gradient differs"),
            (lambda x: x * x, "the output differs"),
            (lambda x: (x * x * x,), "the output is nested as"),
            (lambda x: (x * x * x).detach(), "the output has requires_grad=False, expected True"),
            (lambda x: (x * x * x).data, "the output is a Tensor, expected a CustomTensor"),
            (lambda x: 3, "the output is a int, expected a CustomTensor"),
        ],
    )
    def test_finds(self, check_against_torch: Check, function: Callable[..., Any], message: str) -> None:
        with pytest.raises(AssertionError, match=message):
            check_against_torch(function, leaf(3), torch_function=lambda x: x * x * x)

    def test_second_order_can_be_left_out(self, check_against_torch: Check) -> None:
        check_against_torch(cube_with_opaque_rule, leaf(3), torch_function=lambda x: x * x * x, second_order=False)

    def test_parameters_are_compared(self, check_against_torch: Check) -> None:
        theirs = leaf(3)
        ours = CustomTensor(theirs.detach().clone(), requires_grad=True)
        check_against_torch(
            lambda x: x * ours, leaf(3), torch_function=lambda x: x * theirs, parameters={"weight": (ours, theirs)}
        )
        with pytest.raises(AssertionError, match="gradient with respect to weight"):
            check_against_torch(
                lambda x: x * ours.detach(),
                leaf(3),
                torch_function=lambda x: x * theirs,
                parameters={"weight": (ours, theirs)},
            )

    def test_borrowing_is_refused(self, check_against_torch: Check) -> None:
        @primitive
        def borrowing(x: torch.Tensor) -> torch.Tensor:
            return x * x

        @borrowing.vjp("x")
        def borrowing_wrt_x(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            y = x.clone().requires_grad_()
            return torch.autograd.grad((y * y).sum(), y)[0] * grad

        with pytest.raises(AssertionError, match=r"grad\(\) was called inside refusing\(\)"):
            check_against_torch(borrowing, leaf(3), torch_function=lambda x: x * x)

    @pytest.mark.parametrize(
        "borrow",
        [
            lambda x: x.sum().backward(),
            lambda x: torch.autograd.backward(x.sum()),
            lambda x: torch.autograd.grad(x.sum(), x),
            lambda x: torch.autograd.functional.jacobian(lambda y: y, x),
            lambda x: torch.func.grad(lambda y: y.sum())(x),
            lambda x: torch.func.vjp(lambda y: y, x),
        ],
    )
    def test_refused_names(self, borrow: Callable[[torch.Tensor], Any]) -> None:
        owners = (torch.autograd, torch.autograd.functional, torch.func, torch.Tensor)
        with refusing(*owners), pytest.raises(AssertionError, match="inside refusing"):
            borrow(leaf(3))
        borrow(leaf(3))


class TestFiniteDifferences:
    def test_passes(self) -> None:
        check_against_finite_differences(lambda x, y: (x * y, x * x), leaf(3), leaf(2, 3), second_order=True)

    def test_finds(self) -> None:
        with pytest.raises(AssertionError, match="gradient with respect to input 0 along a random direction is"):
            check_against_finite_differences(wrong_cube, leaf(3))
        with pytest.raises(AssertionError, match=r"gradient with respect to input 0 along a random direction is 0\.0"):
            check_against_finite_differences(lambda x: x.detach() * 2, leaf(3))
        with pytest.raises(AssertionError, match="gradient with respect to input 0"):
            check_against_finite_differences(cube_with_opaque_rule, leaf(3), second_order=True)

    def test_refuses_to_check_nothing(self) -> None:
        with pytest.raises(AssertionError, match="no input is a float64 tensor"):
            check_against_finite_differences(cube, leaf(3, dtype=torch.float32))


class TestMemory:
    def test_no_leaks(self) -> None:
        def step() -> None:
            x = tensor([1.0, 2.0], requires_grad=True)
            (x * x).sum().backward()

        with no_leaks():
            step()
        assert gc.isenabled()

    def test_a_living_result_is_found(self) -> None:
        with pytest.raises(AssertionError, match=r"2 node\(s\) outlive the block: <leaf \(1,\)>, <mul"), no_leaks():
            y = tensor([1.0], requires_grad=True) * 2
        assert y.requires_grad
        assert gc.isenabled()

    def test_a_cycle_is_found(self) -> None:
        def step() -> None:
            y = tensor([1.0], requires_grad=True) * 2
            y.grad_fn.note("itself", y)

        with pytest.raises(AssertionError, match="outlive the block"), no_leaks():
            step()
        gc.collect()

    def test_errors_pass(self) -> None:
        with pytest.raises(ZeroDivisionError), no_leaks():
            raise ZeroDivisionError
        assert gc.isenabled()

    def test_live_nodes(self) -> None:
        x = tensor([1.0], requires_grad=True)
        y = x * 2
        first = y.grad_fn
        assert first is not None
        z = y + y
        assert [node.name for node in live_nodes(since=first.sequence)] == ["mul", "add"]
        del z
        assert [node.name for node in live_nodes(since=first.sequence)] == ["mul"]

    def test_assert_freed(self) -> None:
        y = tensor([1.0], requires_grad=True) * 2
        reference = weakref.ref(y)
        with pytest.raises(AssertionError, match="is alive, referred to by"):
            assert_freed(reference)
        del y
        assert_freed(reference)
