"""Declaring operations: rules, saved values, several results, lists, errors of declaration."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from neuronix.autograd import Shape, composite, grad, primitive, rules_only, tensor
from neuronix.autograd.errors import DeclarationError, DtypeError, GradientError, ShapeError


@primitive
def cube(x: Tensor) -> Tensor:
    """x³."""
    return x**3


@cube.vjp("x")
def cube_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    return grad * 3 * x * x


@primitive
def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the second half."""
    middle = x.shape[0] // 2
    return x[:middle].clone(), x[middle:].clone()


@halves.vjp("x")
def halves_wrt_x(grad: Sequence[Tensor | None], out: Shape) -> Tensor:
    first, second = grad
    if first is None and second is not None:
        first = second.new_zeros(out[0])
    if second is None and first is not None:
        second = first.new_zeros(out[1])
    return torch.cat([first, second])  # type: ignore[list-item]


@primitive
def total(tensors: Sequence[Tensor], scale: float = 1.0) -> Tensor:
    """The scaled sum of a list."""
    result = tensors[0]
    for t in tensors[1:]:
        result = result + t
    return result * scale


@total.vjp("tensors")
def total_wrt_tensors(grad: Tensor, tensors: Shape, scale: float) -> list[Tensor]:
    return [grad * scale for _ in tensors]


def test_a_rule_gives_every_order() -> None:
    x = tensor(2.0, requires_grad=True)
    (first,) = grad(cube(x), x, create_graph=True)
    (second,) = grad(first, x, create_graph=True)
    (third,) = grad(second, x)
    assert (first.item(), second.item(), third.item()) == (12, 12, 6)


def test_the_function_keeps_its_name_signature_and_docstring() -> None:
    assert cube.__name__ == "cube"
    assert cube.__doc__ == "x³."
    assert str(inspect.signature(total)) == "(tensors: 'Sequence[Tensor]', scale: 'float' = 1.0) -> 'Tensor'"
    assert "def cube(x):" in cube.primitive.source
    assert "def pullback(" in cube.primitive.source
    assert repr(cube.primitive) == "<primitive cube(x), differentiable in x>"


def test_rules_may_be_any_callables() -> None:
    """A rule is usually a plain function, whose parameters stand in its code; these are asked for their signature."""

    class Halved:
        def rule(self, grad: Tensor, y: Tensor) -> Tensor:
            return grad * y / 2

    def wrap(rule: Callable[..., Tensor]) -> Callable[..., Tensor]:
        @functools.wraps(rule)
        def wrapped(*args: Tensor, **kwargs: Tensor) -> Tensor:
            return rule(*args, **kwargs)

        return wrapped

    @primitive
    def product(x: Tensor, y: Tensor, *, z: Tensor) -> Tensor:
        return x * y * z

    product.vjp("x")(Halved().rule)
    product.vjp("y")(functools.partial(lambda grad, x, z: grad * x * z))

    @product.vjp("z")
    @wrap
    def product_wrt_z(grad: Tensor, x: Shape, z: Tensor) -> Tensor:
        return grad.new_full(x, 7.0) * z

    x, y, z = (tensor(value, requires_grad=True) for value in (2.0, 3.0, 5.0))
    assert [g.item() for g in grad(product(x, y, z=z), (x, y, z))] == [1.5, 10.0, 35.0]


@pytest.mark.parametrize("used", [(0,), (1,), (0, 1)])
def test_several_results(used: tuple[int, ...]) -> None:
    x = tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    parts = halves(x)
    loss = sum((parts[i] * (i + 2)).sum() for i in used)
    loss.backward()
    expected = torch.tensor([2.0, 2.0, 0.0, 0.0]) * (0 in used) + torch.tensor([0.0, 0.0, 3.0, 3.0]) * (1 in used)
    assert_close(x.grad, expected)


@primitive(results="values places")
def smallest_two(x: Tensor) -> tuple[Tensor, Tensor]:
    values, places = torch.topk(x, 2, largest=False)
    return values, places


@smallest_two.vjp("x")
def smallest_two_wrt_x(grad: list[Tensor], places: Tensor, x: Shape) -> Tensor:
    return grad[0].new_zeros(x).scatter_add(0, places, grad[0])


def test_a_rule_names_one_of_several_results_and_nothing_else_is_kept() -> None:
    x = tensor([3.0, 1.0, 2.0], requires_grad=True)
    values, places = smallest_two(x)
    (node,) = values.grad_fn.parents
    assert_close(node.saved_values, {"places": torch.tensor([1, 2]), "x": torch.Size([3])})
    (first,) = grad((values**3).sum(), x, create_graph=True)
    assert_close(first.data, torch.tensor([0.0, 3.0, 12.0]))
    first.sum().backward()
    assert_close(x.grad, torch.tensor([0.0, 6.0, 12.0]))
    values, places = smallest_two(x)
    places.data.add_(1)
    with pytest.raises(GradientError, match="smallest_two: its result 'places' with shape \\(2,\\) is needed"):
        values.sum().backward()


@primitive(results="root square")
def two_powers(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.sqrt(), x * x


@two_powers.vjp("x")
def two_powers_wrt_x(grad: list[Tensor | None], root: Tensor, x: Tensor) -> Any:
    by_root = 0 if grad[0] is None else grad[0] / (2 * root)
    return by_root + (0 if grad[1] is None else grad[1] * 2 * x)


@pytest.mark.parametrize("kept", [True, False])
def test_a_result_that_a_rule_names_has_its_own_derivative(kept: bool) -> None:
    x = tensor([4.0, 9.0], requires_grad=True)
    results = two_powers(x)
    loss = (results[0] + results[1]).sum()
    if not kept:
        del results  # the result's own node has gone, and is made again
    (first,) = grad(loss, x, create_graph=True)
    assert_close(first.data, 0.5 * x.data**-0.5 + 2 * x.data)
    (second,) = grad(first.sum(), x, create_graph=True)
    assert_close(second.data, -0.25 * x.data**-1.5 + 2)
    (third,) = grad(second.sum(), x)
    assert_close(third.data, 0.375 * x.data**-2.5)


def test_all_results_are_named_or_none() -> None:
    @primitive(results="first second third")
    def copies(x: Tensor, count: int) -> Any:
        return x.clone() if count == 1 else (x.clone(),) * count

    @copies.vjp("x")
    def copies_wrt_x(grad: list[Tensor], second: Tensor) -> Tensor:
        return grad[0]

    x = tensor([1.0, 2.0, 3.0], requires_grad=True)
    for count in (1, 2, 4):
        with pytest.raises(
            DeclarationError, match=f"copies: .* first, second, third, and the operation returned {count}"
        ):
            copies(x, count)
    assert len(copies(x, 3)) == 3
    for names, broadcasts, why in (("a a", False, "of one name"), ("a b", True, "that broadcasts, which has one")):
        with pytest.raises(DeclarationError, match=f"wrong: the results .* are declared.*{why}"):

            @primitive(results=names, broadcasts=broadcasts)
            def wrong(x: Tensor) -> Any:
                return x, x


def test_several_results_and_retain_graph() -> None:
    x = tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    a, b = halves(x)
    loss = (a * b).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    assert_close(x.grad, 2 * torch.tensor([3.0, 4.0, 1.0, 2.0]))


def test_a_list_argument() -> None:
    x, w = tensor([1.0, 2.0], requires_grad=True), tensor([3.0, 4.0], requires_grad=True)
    y = total([x, torch.ones(2), w, x], scale=2.0)
    assert y.tolist() == [12.0, 18.0]
    y.sum().backward()
    assert_close(x.grad, torch.tensor([4.0, 4.0]))
    assert_close(w.grad, torch.tensor([2.0, 2.0]))


def test_a_joint_rule_says_what_it_is_needed_for() -> None:
    asked = []

    @primitive
    def product(x: Tensor, y: Tensor) -> Tensor:
        return x * y

    @product.vjp("x", "y")
    def product_wrt_x_and_y(
        grad: Tensor, x: Tensor, y: Tensor, needs: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        asked.append(needs)
        return grad * y if needs[0] else None, grad * x if needs[1] else None

    x, y = tensor([2.0], requires_grad=True), tensor([3.0], requires_grad=True)
    product(x, y).backward()
    product(x, y.detach()).backward()
    assert asked == [(True, True), (True, False)]
    assert (x.grad.item(), y.grad.item()) == (6.0, 2.0)


def test_only_the_rules_that_are_needed_run() -> None:
    ran = []

    @primitive
    def product(x: Tensor, y: Tensor) -> Tensor:
        return x * y

    @product.vjp("x")
    def product_wrt_x(grad: Tensor, y: Tensor) -> Tensor:
        ran.append("x")
        return grad * y

    @product.vjp("y")
    def product_wrt_y(grad: Tensor, x: Tensor) -> Tensor:
        ran.append("y")
        return grad * x

    product(tensor([2.0]), tensor([3.0], requires_grad=True)).backward()
    assert ran == ["y"]


@pytest.mark.kernels
def test_a_fused_kernel_stands_in_for_its_rule_on_plain_tensors() -> None:
    ran = []

    @primitive
    def square(x: Tensor) -> Tensor:
        return x * x

    @square.vjp("x")
    def square_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
        ran.append("rule")
        return 2 * grad * x

    @square.fused("x")
    def square_kernel(grad: Tensor, x: Tensor) -> Tensor:
        ran.append("kernel")
        return grad.mul(x).mul_(2)

    x = tensor([3.0], requires_grad=True)
    square(x).backward()
    with rules_only():
        square(x).backward()
    grad(square(x), x, create_graph=True)
    assert ran == ["kernel", "rule", "rule"]
    assert x.grad.item() == 12


def test_a_parameter_without_a_rule_refuses_what_requires_grad() -> None:
    @primitive
    def scaled(x: Tensor, factor: Tensor) -> Tensor:
        return x * factor

    @scaled.vjp("x")
    def scaled_wrt_x(grad: Tensor, factor: Tensor) -> Tensor:
        return grad * factor

    x, factor = tensor([2.0], requires_grad=True), tensor([3.0], requires_grad=True)
    with pytest.raises(GradientError, match="'factor' requires grad"):
        scaled(x, factor)
    scaled(x, factor.detach()).backward()
    assert x.grad.item() == 3


def test_mistakes_in_a_declaration_are_found_there() -> None:
    with pytest.raises(DeclarationError, match="names 'z'.*\n.*legal names: grad, out, needs, x"):

        @cube.vjp("x")
        def wrong(grad: Tensor, z: Tensor) -> Tensor:
            return grad

    with pytest.raises(DeclarationError, match="'y', which isn't a parameter"):

        @cube.vjp("y")
        def unknown(grad: Tensor) -> Tensor:
            return grad

    with pytest.raises(DeclarationError, match="may not be called 'out'"):

        @primitive
        def reserved(x: Tensor, out: Tensor) -> Tensor:
            return x

    with pytest.raises(DeclarationError, match="may not be called 'places'"):

        @primitive(results="values places")
        def named_as_a_result(x: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
            return x, places

    with pytest.raises(DeclarationError, match="twice"):

        @composite(names="exp")
        def my_exp(x: Tensor) -> Tensor:
            return x

    with pytest.raises(DeclarationError, match="no function or method called 'no_such'"):

        @composite(names="no_such")
        def nothing(x: Tensor) -> Tensor:
            return x

    x = tensor(2.0, requires_grad=True)
    assert grad(cube(x), x)[0].item() == 12


def test_errors_name_the_operation_and_its_arguments() -> None:
    x = tensor(torch.ones(32, 784), requires_grad=True)
    y = x * 1
    nodes = y.grad_fn.graph.num_nodes()
    with pytest.raises(ShapeError, match=r"mul: .*\n.*x=float32\(32, 784\), other=float32\(10, 784\)"):
        x * torch.ones(10, 784)
    with pytest.raises(DtypeError, match="mul"):
        x * "text"
    assert y.grad_fn.graph.num_nodes() == nodes


def test_a_rule_declared_after_the_first_call_counts() -> None:
    @primitive
    def product(x: Tensor, y: Tensor) -> Tensor:
        return x * y

    x, y = tensor([2.0], requires_grad=True), tensor([3.0], requires_grad=True)

    @product.vjp("x")
    def product_wrt_x(grad: Tensor, y: Tensor) -> Tensor:
        return grad * y

    product(x, y.detach()).backward()
    assert x.grad.item() == 3
    with pytest.raises(GradientError, match="isn't differentiable with respect to it"):
        product(x, y)

    @product.vjp("y")
    def product_wrt_y(grad: Tensor, x: Tensor) -> Tensor:
        return grad * x

    x.grad = None
    product(x, y).backward()
    assert (x.grad.item(), y.grad.item()) == (3, 2)


def test_an_argument_has_one_rule_and_one_kernel() -> None:
    @primitive
    def product(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        return x * y * z

    def first(grad: Tensor, y: Tensor, z: Tensor) -> Tensor:
        return grad * y * z

    def second(grad: Tensor, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        return grad * y * z, grad * x * z

    product.vjp("x")(first)
    for names in [("x",), ("y", "x"), ("y", "y")]:
        with pytest.raises(DeclarationError, match="two rules are declared with respect to '[xy]': '.*' and 'second'"):
            product.vjp(*names)(second)
    with pytest.raises(DeclarationError, match="kernel 'second' is declared with respect to .*there are rules for"):
        product.fused("x", "y")(second)
    product.fused("x")(first)
    with pytest.raises(DeclarationError, match="two kernels are declared with respect to 'x': 'first' and 'first'"):
        product.fused("x")(first)
    x, y, z = tensor([2.0], requires_grad=True), tensor([3.0]), tensor([5.0])
    product(x, y, z).backward()
    assert x.grad.item() == 15  # a refused declaration changed nothing


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        (lambda grad: (grad,), "1 gradients"),
        (lambda grad: (grad, grad, grad), "3 gradients"),
        (lambda grad: torch.stack([grad, grad]), r"float32\(2, 2\)"),
        (lambda grad: None, "None"),
    ],
)
@pytest.mark.parametrize("many", ["joint", "list", "joint and list"])
def test_the_wrong_number_of_gradients_is_refused(returned: Any, found: str, many: str) -> None:
    @primitive
    def difference(x: Tensor, y: Tensor) -> Tensor:
        return x - y

    @primitive
    def total(tensors: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(tensors)).sum(0)

    @primitive
    def total_and_one(tensors: Sequence[Tensor], x: Tensor) -> Tensor:
        return torch.stack(list(tensors)).sum(0) + x

    @difference.vjp("x", "y")
    def difference_wrt_x_and_y(grad: Tensor) -> Any:
        return returned(grad)

    @total.vjp("tensors")
    def total_wrt_tensors(grad: Tensor) -> Any:
        return returned(grad)

    @total_and_one.vjp("tensors", "x")
    def total_and_one_wrt_tensors_and_x(grad: Tensor) -> Any:
        return returned(grad), grad

    x, y = tensor([2.0, 1.0], requires_grad=True), tensor([3.0, 4.0], requires_grad=True)
    operation, arguments = {
        "joint": (difference, (x, y)),
        "list": (total, ([x, y],)),
        "joint and list": (total_and_one, ([x, y], x)),
    }[many]
    z = operation(*arguments).sum()
    with pytest.raises(GradientError, match=f"{operation.__name__}: the rule '.*_wrt_.*' returned {found}; .* 2 grad"):
        z.backward()
    assert x.grad is None
    assert y.grad is None


@pytest.mark.parametrize(
    "tracked", [(True, True, True), (False, True, True), (False, False, True), (True, False, False)]
)
def test_a_joint_rule_of_a_list_and_a_tensor(tracked: tuple[bool, ...]) -> None:
    asked = []

    @primitive
    def weighted(tensors: Sequence[Tensor], x: Tensor) -> Tensor:
        return x * (tensors[0] + 2 * tensors[1])

    @weighted.vjp("tensors", "x")
    def weighted_wrt_tensors_and_x(grad: Tensor, tensors: Sequence[Tensor], x: Tensor, needs: Any) -> Any:
        asked.append(needs)
        return [grad * x, 2 * grad * x] if needs[0] else None, grad * (tensors[0] + 2 * tensors[1])

    leaves = [tensor([2.0, 1.0], requires_grad=t) for t in tracked]
    theirs = [torch.tensor([2.0, 1.0], requires_grad=t) for t in tracked]
    weighted(leaves[:2], leaves[2]).sum().backward()
    (theirs[2] * (theirs[0] + 2 * theirs[1])).sum().backward()
    assert asked == [(any(tracked[:2]), tracked[2])]
    for ours, expected in zip(leaves, theirs, strict=True):
        assert (ours.grad is None) == (expected.grad is None)
        assert ours.grad is None or torch.equal(ours.grad, expected.grad)


def test_a_joint_rule_may_return_a_list() -> None:
    @primitive
    def difference(x: Tensor, y: Tensor) -> Tensor:
        return x - y

    @difference.vjp("x", "y")
    def difference_wrt_x_and_y(grad: Tensor) -> list[Tensor]:
        return [grad, -grad]

    x, y = tensor([2.0], requires_grad=True), tensor([3.0], requires_grad=True)
    difference(x, y).backward()
    assert (x.grad.item(), y.grad.item()) == (1, -1)


def test_a_value_that_one_rule_keeps_whole_and_another_by_its_shape() -> None:
    @primitive
    def scaled_sum(x: Tensor, w: Tensor) -> Tensor:
        return (x * w).sum()

    @scaled_sum.vjp("x")
    def scaled_sum_wrt_x(grad: Tensor, w: Tensor) -> Tensor:
        return grad * w

    @scaled_sum.vjp("w")
    def scaled_sum_wrt_w(grad: Tensor, x: Tensor, w: Shape) -> Tensor:
        return (grad * x).reshape(w)

    x, w = tensor([1.0, 2.0], requires_grad=True), tensor([3.0, 4.0], requires_grad=True)
    gx, gw = grad(scaled_sum(x, w), [x, w], create_graph=True)
    assert (gx.tolist(), gw.tolist()) == ([3.0, 4.0], [1.0, 2.0])
    assert grad(gx.sum(), w)[0].tolist() == [1.0, 1.0]


def test_a_rule_may_call_primitives_on_whatever_it_is_handed() -> None:
    seen = []

    @primitive
    def scale(x: Tensor, factor: float) -> Tensor:
        return x * factor

    @scale.vjp("x")
    def scale_wrt_x(grad: Tensor, factor: float) -> Tensor:
        result = scale(grad, factor)  # its own adjoint
        seen.append(type(result))
        return result

    x = tensor([1.0, 2.0], requires_grad=True)
    scale(x, 3.0).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]
    (g,) = grad((scale(x, 3.0) * x).sum(), x, create_graph=True)
    assert grad(g.sum(), x)[0].tolist() == [6.0, 6.0]
    assert seen == [Tensor, type(x), Tensor, Tensor]  # first order; recorded; both of them behind the recorded pass
    assert isinstance(scale(torch.ones(2), 3.0), type(x))


@pytest.mark.parametrize("deeper", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.float16])
def test_a_gradient_of_another_type_is_cast_to_its_leafs(dtype: torch.dtype, deeper: bool) -> None:
    @primitive
    def doubled(x: Any) -> Any:
        return x * 2

    @doubled.vjp("x")
    def doubled_wrt_x(grad: Any) -> Any:
        return torch.full((2,), 2, dtype=dtype)

    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return torch.full((2,), 2, dtype=dtype)

    x = tensor([1.0, 3.0], requires_grad=True)
    expected = torch.tensor([1.0, 3.0], requires_grad=True)
    doubled(x * 1 if deeper else x).sum().backward()
    Doubled.apply(expected * 1 if deeper else expected).sum().backward()
    torch.testing.assert_close(x.grad, expected.grad, rtol=0, atol=0)
    (found,) = grad(doubled(x).sum(), x, create_graph=True)
    assert found.dtype is torch.float32


@pytest.mark.parametrize("returned", [1.0, "text", [1, 2], (torch.ones(2), torch.ones(2))])
def test_a_rule_that_returns_no_tensor_is_refused(returned: Any) -> None:
    @primitive
    def doubled(x: Any) -> Any:
        return x * 2

    @doubled.vjp("x")
    def doubled_wrt_x(grad: Any) -> Any:
        return returned

    x = tensor([1.0, 3.0], requires_grad=True)
    with pytest.raises(DtypeError, match=r"doubled: the rule 'doubled_wrt_x' returned .* as the gradient of 'x'"):
        doubled(x).sum().backward()
    with pytest.raises(DtypeError, match="it must return a tensor, or None"):
        grad(doubled(x).sum(), x)
    assert x.grad is None


@pytest.mark.parametrize(
    ("returned", "error", "found"),
    [
        (lambda grad: grad[:1], ShapeError, r"float32\(1,\)"),
        (lambda grad: grad.sum(), ShapeError, r"float32\(\)"),
        (lambda grad: grad.expand(3, 2), ShapeError, r"float32\(3, 2\)"),
        (lambda grad: 2.0, DtypeError, r"2\.0"),
        (lambda grad: [grad], DtypeError, r"\[float32"),
    ],
)
@pytest.mark.parametrize("broadcasts", [False, True])
def test_a_gradient_of_the_wrong_shape_is_refused(returned: Any, error: Any, found: str, broadcasts: bool) -> None:
    @primitive(broadcasts=broadcasts)
    def double(x: Tensor) -> Tensor:
        return x * 2

    @double.vjp("x")
    def double_wrt_x(grad: Tensor) -> Any:
        return returned(grad)

    x = tensor(3.0, requires_grad=True)
    y = double(x * torch.ones(2)).sum()  # the sum over the axis that x was broadcast along would hide it
    with pytest.raises(error, match=f"double: the rule 'double_wrt_x' returned {found}.* as the gradient of 'x'"):
        y.backward()
    assert x.grad is None
