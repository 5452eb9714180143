"""gradcheck must find every kind of wrong rule, and let pass the right ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from neuronix.autograd import CustomTensor, errors, gradcheck, gradgradcheck, primitive, tensor


def leaf(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> CustomTensor:
    return CustomTensor(
        torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed)), requires_grad=True
    )


@primitive
def square(x: torch.Tensor) -> torch.Tensor:
    return x * x


@square.vjp("x")
def square_wrt_x(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return grad * x * 2


@primitive
def wrong_in_one_entry(x: torch.Tensor) -> torch.Tensor:
    return x * x


@wrong_in_one_entry.vjp("x")
def wrong_in_one_entry_wrt_x(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return grad * x * torch.tensor([[2.0, 2.0], [2.0, 3.0]], dtype=torch.float64)


@primitive
def wrong_in_second_order(x: torch.Tensor) -> torch.Tensor:
    return x * x * x


@wrong_in_second_order.vjp("x")
def wrong_in_second_order_wrt_x(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return grad * x * (x.data if isinstance(x, CustomTensor) else x) * 3


@primitive
def wrong_shape(x: torch.Tensor) -> torch.Tensor:
    return x * x


@wrong_shape.vjp("x")
def wrong_shape_wrt_x(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return (grad * x * 2).sum()


class Counter:
    """A rule that gives another gradient on each call."""

    calls = 0


@primitive
def unsteady(x: torch.Tensor) -> torch.Tensor:
    return x * x


@unsteady.vjp("x")
def unsteady_wrt_x(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    Counter.calls += 1
    return grad * x * (2 + 1e-9 * Counter.calls)


@primitive
def wrong_if_one_is_missing(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x * 2, x * 3


@wrong_if_one_is_missing.vjp("x")
def wrong_if_one_is_missing_wrt_x(grad: list[torch.Tensor | None]) -> torch.Tensor:
    first, second = grad
    if first is None or second is None:
        return (first if second is None else second) * 4
    return first * 2 + second * 3


@primitive
def unbatchable(x: torch.Tensor) -> torch.Tensor:
    return x * x


@unbatchable.vjp("x")
def unbatchable_wrt_x(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    # Breaks the rule of all rules: it looks at what kind of tensor it holds.
    return grad * x * 2 if "Batched" not in repr(grad) else grad * x * 5


class TestGradcheck:
    @pytest.mark.parametrize(
        ("func", "inputs"),
        [
            (square, (leaf(2, 3),)),
            (square, (leaf(),)),
            (square, (leaf(0),)),
            (lambda x, y: (x * y, (x + y).exp().sum()), (leaf(2, 3), leaf(3, seed=1))),
            (lambda x, n: x * n, (leaf(3), 4)),
            (lambda x, y: x * y, (leaf(3), tensor([1.0, 2.0, 3.0]))),
            (lambda x: x.mT * 2, (CustomTensor(torch.randn(3, 2, dtype=torch.float64).mT, requires_grad=True),)),
            (lambda x: x.unbind(0)[0] * 3, (leaf(2, 2),)),
            (lambda x: (x * 3, x.argmax()), (leaf(3),)),
        ],
    )
    def test_passes(self, func: Callable[..., Any], inputs: tuple[Any, ...]) -> None:
        assert gradcheck(func, inputs, check_grad_dtypes=True, check_batched_grad=True)
        assert gradgradcheck(func, inputs)

    def test_a_single_input(self) -> None:
        assert gradcheck(square, leaf(3))

    @pytest.mark.parametrize("func", [lambda z: z * z, torch.exp, torch.abs, lambda z: (z.exp(), z.conj() * 2)])
    def test_complex(self, func: Callable[..., Any]) -> None:
        assert gradcheck(func, leaf(2, dtype=torch.complex128))
        assert gradgradcheck(func, leaf(2, dtype=torch.complex128))

    def test_finds_wrong_complex_gradients(self) -> None:
        @primitive(holomorphic=False)  # so the engine doesn't conjugate, and the rule below is wrong
        def complex_square(z: torch.Tensor) -> torch.Tensor:
            return z * z

        @complex_square.vjp("z")
        def complex_square_wrt_z(grad: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
            return grad * z * 2

        with pytest.raises(errors.GradcheckError, match="of the imaginary part"):
            gradcheck(complex_square, leaf(2, dtype=torch.complex128))

    @pytest.mark.parametrize(
        ("func", "message"),
        [
            (
                wrong_in_one_entry,
                (
                    r"wrong_in_one_entry: the gradient of output 0\[1, 1\] with respect to input 0\[1, 1\] is "
                    r"-?\d+\.\d+, but finite differences give -?\d+\.\d+\n  hint"
                ),
            ),
            (wrong_shape, r"wrong_shape: the rule 'wrong_shape_wrt_x' returned float64\(\) as the gradient of 'x'"),
            (wrong_if_one_is_missing, r"of output 0\[0, 0\] with respect to input 0\[0, 0\] is 4, but .* give 2"),
            (
                lambda x: (x * x.detach()).sum(),
                r"sum: |<lambda>: the gradient of output 0 with respect to input 0\[0, 0\]",
            ),
        ],
    )
    def test_finds(self, func: Callable[..., Any], message: str) -> None:
        with pytest.raises(errors.GradcheckError, match=message):
            gradcheck(func, leaf(2, 2))
        assert not gradcheck(func, leaf(2, 2), raise_exception=False)

    def test_names_the_argument_that_is_wrong(self) -> None:
        with pytest.raises(RuntimeError, match=r"with respect to input 2\[1\] is"):
            gradcheck(
                lambda x, n, y: x * n * (y + torch.tensor([0.0, 1.0]) * (y.detach() - y)), (leaf(2), 3, leaf(2, seed=1))
            )

    def test_finds_unsteady_gradients(self) -> None:
        with pytest.raises(errors.GradcheckError, match="two backward passes give"):
            gradcheck(unsteady, leaf(2))
        assert gradcheck(unsteady, leaf(2), nondet_tol=1e-6)

    def test_finds_what_fails_in_a_batch(self) -> None:
        assert gradcheck(unbatchable, leaf(2))
        with pytest.raises(errors.GradcheckError, match=r"under torch\.vmap"):
            gradcheck(unbatchable, leaf(2), check_batched_grad=True)

    def test_tolerances(self) -> None:
        assert gradcheck(wrong_in_one_entry, leaf(2, 2), atol=100.0)
        with pytest.raises(errors.GradcheckError):
            gradcheck(square, leaf(2), eps=1.0, atol=1e-20, rtol=0.0)

    def test_nothing_to_check(self) -> None:
        with pytest.raises(errors.GradcheckError, match="at least one input must require grad"):
            gradcheck(square, tensor([1.0]))
        with pytest.raises(errors.GradcheckError, match="no output requires grad"):
            gradcheck(lambda x: x.detach(), leaf(2), raise_exception=False)
        with pytest.raises(errors.GradcheckError, match=r"input 0 is torch\.float32"):
            gradcheck(square, leaf(2, dtype=torch.float32))

    def test_leaves_the_inputs_alone(self) -> None:
        x = leaf(2, 3)
        before = x.data.clone()
        gradcheck(square, x)
        assert x.grad is None
        assert torch.equal(x.data, before)


class TestGradgradcheck:
    def test_finds_a_rule_that_is_not_differentiable(self) -> None:
        x = leaf(2)
        assert gradcheck(wrong_in_second_order, x)
        with pytest.raises(errors.GradcheckError, match="with respect to input 0"):
            gradgradcheck(wrong_in_second_order, x)
        assert not gradgradcheck(wrong_in_second_order, x, raise_exception=False)

    def test_given_gradients(self) -> None:
        assert gradgradcheck(square, leaf(2), leaf(2, seed=1))
        assert gradgradcheck(lambda x: (x * x, x * 3), leaf(2), (leaf(2, seed=1), torch.ones(2, dtype=torch.float64)))
        assert gradgradcheck(square, leaf(2, 3), gen_non_contig_grad_outputs=True)


@pytest.mark.parametrize("alone", [True, False])
def test_a_rule_that_cant_be_differentiated_again_is_named(alone: bool) -> None:
    @primitive
    def cubed(x: Any) -> Any:
        return x**3

    @cubed.vjp("x")
    def cubed_wrt_x(grad: Any, x: Any) -> Any:
        return grad * 3 * (x.data if isinstance(x, CustomTensor) else x) ** 2  # a constant, in a recorded pass

    def twice(x: Any) -> Any:
        return cubed(x) * 2

    x = CustomTensor(torch.tensor([0.5, 2.0], dtype=torch.float64), requires_grad=True)
    ones = CustomTensor(torch.ones(2, dtype=torch.float64))
    assert gradcheck(cubed, x)
    with pytest.raises(errors.GradcheckError) as caught:
        gradgradcheck(cubed if alone else twice, x, ones)
    name, expected = ("cubed", "3") if alone else ("twice", "6")  # 6 x, times 1 or 2
    assert str(caught.value).startswith(
        f"gradgradcheck: the gradients of {name}: the gradient of output 0[0] with respect to input 0[0] is 0, but "
        f"finite differences give {expected}"
    )
