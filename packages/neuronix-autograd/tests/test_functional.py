"""Derivatives of functions, against torch.func and torch.autograd.functional."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch.autograd import functional as oracle

from neuronix.autograd import (
    AutogradGraph,
    CustomTensor,
    errors,
    grad,
    hessian,
    hvp,
    jacobian,
    jvp,
    no_grad,
    tensor,
    vhp,
    vjp,
)
from neuronix.autograd.testing import no_leaks

RTOL, ATOL = 1e-12, 1e-12


def values(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def ours(tree: Any) -> Any:
    """The same tensors as constants of ours."""
    if isinstance(tree, torch.Tensor):
        return CustomTensor(tree.detach().clone())
    if isinstance(tree, dict):
        return {key: ours(value) for key, value in tree.items()}
    return type(tree)(ours(item) for item in tree)


def same(received: Any, expected: Any) -> None:
    """Equal nesting, shapes, dtypes and values."""
    if isinstance(expected, torch.Tensor):
        assert isinstance(received, CustomTensor)
        torch.testing.assert_close(received.data, expected.detach(), rtol=RTOL, atol=ATOL)
    elif isinstance(expected, dict):
        assert received.keys() == expected.keys()
        for key in expected:
            same(received[key], expected[key])
    else:
        assert isinstance(received, (tuple, list))
        assert len(received) == len(expected)
        for one, other in zip(received, expected, strict=True):
            same(one, other)


def constants(tree: Any) -> bool:
    """Whether no tensor of the results requires grad."""
    if isinstance(tree, CustomTensor):
        return not tree.requires_grad
    return all(constants(item) for item in (tree.values() if isinstance(tree, dict) else tree))


# Functions with their inputs: single and several, of equal and of different shapes, with outputs that miss an input.
VECTOR_FUNCTIONS: list[tuple[str, Callable[..., Any], tuple[torch.Tensor, ...]]] = [
    ("elementwise", lambda x: x.exp() * x, (values(3),)),
    ("product", lambda x, y: x @ y, (values(2, 3), values(3, 2, seed=1))),
    ("two outputs", lambda x, y: (x.sin() * y, (x * y).sum()), (values(2, 3), values(3, seed=1))),
    ("one output without one input", lambda x, y: (x * 2, y.exp() + x), (values(2), values(2, seed=1))),
    ("an unused input", lambda x, y: x.exp(), (values(2), values(3, seed=1))),
    ("a constant output", lambda x: (x * 2, torch.ones(2, dtype=torch.float64)), (values(2),)),
    ("an input returned", lambda x, y: (x, y * 2), (values(2), values(2, seed=1))),
    ("linear", lambda x: x * 3, (values(2, 2),)),
    ("scalar input", lambda x: torch.stack([x, x * x, x.sin()]), (values(),)),
    ("empty output", lambda x: x[:0] * 2, (values(3),)),
    ("broadcast and reduce", lambda x, y: torch.softmax(x * y, 1).amax(0), (values(3, 1), values(1, 4, seed=1))),
]
SCALAR_FUNCTIONS: list[tuple[str, Callable[..., Any], tuple[torch.Tensor, ...]]] = [
    ("cubic", lambda x: (x * x * x).sum(), (values(3),)),
    ("one element", lambda x: x.exp().reshape(1), (values(1),)),
    ("two inputs", lambda x, y: (x.sin() @ y).sum(), (values(2, 3), values(3, seed=1))),
    ("separate inputs", lambda x, y: (x * x).sum() + y.exp().sum(), (values(2), values(3, seed=1))),
    ("linear", lambda x: (x * 3).sum(), (values(2, 2),)),
    ("linear in one input", lambda x, y: (x * x * y).sum(), (values(2), values(2, seed=1))),
    ("an unused input", lambda x, y: x.exp().sum(), (values(2), values(3, seed=1))),
    ("logsumexp", lambda x: torch.logsumexp(x.tanh(), 0), (values(4),)),
]


def ids(rows: list[tuple[str, Any, Any]]) -> list[str]:
    return [row[0] for row in rows]


class TestVjp:
    @pytest.mark.parametrize(("name", "func", "inputs"), VECTOR_FUNCTIONS, ids=ids(VECTOR_FUNCTIONS))
    def test_equals_torch(self, name: str, func: Callable[..., Any], inputs: tuple[torch.Tensor, ...]) -> None:
        expected_output, expected_pullback = torch.func.vjp(func, *inputs)
        output, pullback = vjp(func, *ours(inputs))
        same(output, expected_output)
        seeds = (
            tuple(values(*part.shape, seed=5 + i) for i, part in enumerate(expected_output))
            if isinstance(expected_output, tuple)
            else values(*expected_output.shape, seed=5)
        )
        same(pullback(ours(seeds)), expected_pullback(seeds))
        same(pullback(seeds), expected_pullback(seeds))  # again, and with plain tensors
        assert constants((output, pullback(seeds)))

    def test_nested_structures(self) -> None:
        def func(tree: dict[str, Any], scale: Any) -> dict[str, Any]:
            return {"sum": [tree["a"] + tree["b"][0], tree["b"][1] * scale], "only": tree["a"].exp()}

        tree = {"a": values(2), "b": (values(2, seed=1), values(3, seed=2))}
        scale = values(3, seed=3)
        expected, expected_pullback = torch.func.vjp(func, tree, scale)
        output, pullback = vjp(func, ours(tree), ours(scale))
        same(output, expected)
        seeds = {"sum": [values(2, seed=6), values(3, seed=7)], "only": values(2, seed=8)}
        same(pullback(ours(seeds)), expected_pullback(seeds))

    def test_named_tuples_keep_their_type(self) -> None:
        class Pair(NamedTuple):
            first: Any
            second: Any

        output, pullback = vjp(
            lambda pair: Pair(pair.first * 2, pair.second * 3), Pair(ours(values(2)), ours(values(2)))
        )
        assert isinstance(output, Pair)
        (gradient,) = pullback(Pair(values(2), values(2)))
        assert isinstance(gradient, Pair)
        same(gradient.second, 3 * values(2))

    def test_aux(self) -> None:
        expected = torch.func.vjp(lambda x: (x.exp(), {"twice": x * 2}), values(3), has_aux=True)
        output, pullback, aux = vjp(lambda x: (x.exp(), {"twice": x * 2, "note": "kept"}), values(3), has_aux=True)
        same(output, expected[0])
        same(pullback(values(3, seed=1)), expected[1](values(3, seed=1)))
        same(aux.pop("twice"), expected[2]["twice"])
        assert aux == {"note": "kept"}

    def test_is_differentiable_in_primals_cotangents_and_closures(self) -> None:
        x, u, w = (tensor(values(3, seed=i), requires_grad=True) for i in range(3))
        (gradient,) = vjp(lambda x: x * x * x * w, x)[1](u)
        first = grad(gradient.sum(), (x, u, w), retain_graph=True)
        a, b, c = (values(3, seed=i) for i in range(3))
        same(first, (6 * a * b * c, 3 * a * a * c, 3 * a * a * b))

    @pytest.mark.parametrize("outer", ["primal", "closed-over leaf", "closed-over result", "cotangent"])
    def test_requires_grad_if_something_outside_does(self, outer: str) -> None:
        x = tensor(values(3), requires_grad=outer == "primal")
        w = tensor(values(3), requires_grad=outer == "closed-over leaf")
        h = tensor(values(3), requires_grad=True).exp() if outer == "closed-over result" else w
        u = tensor(values(3), requires_grad=outer == "cotangent")
        output, pullback = vjp(lambda x: x * x * h, x)
        assert output.requires_grad == (outer != "cotangent")
        assert pullback(u)[0].requires_grad
        assert not pullback(values(3))[0].requires_grad or outer != "cotangent"
        with no_grad():
            assert not pullback(u)[0].requires_grad

    def test_the_same_tensor_inside_and_outside_is_kept_apart(self) -> None:
        x = tensor(values(3), requires_grad=True)
        (gradient,) = vjp(lambda y: y * x, x)[1](torch.ones(3, dtype=torch.float64))
        same(gradient, values(3))  # d(y·x)/dy = x, not 2x

    def test_works_under_no_grad(self) -> None:
        with no_grad():
            output, pullback = vjp(torch.exp, tensor(values(3), requires_grad=True))
        assert not output.requires_grad
        same(pullback(values(3)), (values(3).exp() * values(3),))

    def test_can_free_its_graph(self) -> None:
        _, pullback = vjp(torch.exp, values(3))
        pullback(values(3), retain_graph=False)
        with pytest.raises(errors.GraphError, match="a second time"):
            pullback(values(3))

    @pytest.mark.parametrize(
        ("call", "error", "message"),
        [
            (lambda: vjp(torch.exp, 3.0), errors.DtypeError, "vjp: primal 0 is a float"),
            (lambda: vjp(lambda x: 3, values(2)), errors.DtypeError, "vjp: output 0 of the function is a int"),
            (lambda: vjp(torch.exp, torch.arange(3)), errors.GradientError, "floating point"),
            (lambda: vjp(torch.exp, values(2), has_aux=True), errors.DtypeError, "must return a pair"),
            (lambda: vjp(torch.exp, values(2))[1](values(3)), errors.ShapeError, r"\(3,\) where \(2,\)"),
            (lambda: vjp(torch.exp, values(2))[1]((values(2),)), errors.ShapeError, "nested as the output"),
            (lambda: vjp(torch.exp, values(2))[1](1.0), errors.DtypeError, "must be tensors, not float"),
        ],
    )
    def test_bad_input(self, call: Callable[[], Any], error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            call()

    def test_leaves_nothing_behind(self) -> None:
        def work() -> None:
            _, pullback = vjp(lambda x: x.exp() * x, values(3))
            pullback(values(3))
            jvp(torch.exp, (values(3),), (values(3),))
            hessian(lambda x: (x * x * x).sum(), values(2), vectorize=True)

        with no_leaks():
            work()


class TestJvp:
    @pytest.mark.parametrize(("name", "func", "inputs"), VECTOR_FUNCTIONS, ids=ids(VECTOR_FUNCTIONS))
    def test_equals_torch(self, name: str, func: Callable[..., Any], inputs: tuple[torch.Tensor, ...]) -> None:
        tangents = tuple(values(*part.shape, seed=5 + i) for i, part in enumerate(inputs))
        expected = oracle.jvp(func, inputs, tangents)
        received = jvp(func, ours(inputs), ours(tangents))
        same(received, expected)
        assert constants(received)

    def test_nested_structures_and_aux(self) -> None:
        output, product, aux = jvp(
            lambda pair: ({"y": pair[0] * pair[1]}, pair[0] + 1),
            ([values(3), values(3, seed=1)],),
            ([values(3, seed=2), values(3, seed=3)],),
            has_aux=True,
        )
        same(output, {"y": values(3) * values(3, seed=1)})
        same(product, {"y": values(3, seed=2) * values(3, seed=1) + values(3) * values(3, seed=3)})
        same(aux, values(3) + 1)

    def test_is_finite_where_the_value_is_not(self) -> None:
        # The cotangent of the double pullback is zero, and 0 · inf must not reach the product.
        output, product = jvp(torch.log, (tensor([0.0, 1.0]),), (tensor([1.0, 1.0]),))
        assert output.tolist() == [-torch.inf, 0.0]
        assert product.tolist() == [torch.inf, 1.0]

    def test_is_differentiable(self) -> None:
        x, v = (tensor(values(3, seed=i), requires_grad=True) for i in range(2))
        _, product = jvp(lambda x: x * x * x, (x,), (v,))
        same(grad(product.sum(), (x, v)), (6 * values(3) * values(3, seed=1), 3 * values(3) ** 2))

    def test_nests(self) -> None:
        # d/dt of d/dt of exp(x + t v), twice nested: v² exp(x).
        x, v = ours(values(3)), ours(values(3, seed=1))

        def slope(x: Any) -> Any:
            return jvp(torch.exp, (x,), (v,))[1]

        same(jvp(slope, (x,), (v,))[1], values(3, seed=1) ** 2 * values(3).exp())

    def test_forward_over_reverse(self) -> None:
        def slope(x: Any) -> Any:
            output, pullback = vjp(lambda x: (x * x * x).sum(), x)
            return pullback(torch.ones_like(output))[0]

        same(jvp(slope, (values(3),), (values(3, seed=1),))[1], 6 * values(3) * values(3, seed=1))

    @pytest.mark.parametrize(
        ("call", "error", "message"),
        [
            (lambda: jvp(torch.exp, values(2), (values(2),)), errors.DtypeError, "must be tuples, not Tensor"),
            (lambda: jvp(torch.exp, (values(2),), (values(3),)), errors.ShapeError, r"\(3,\) where \(2,\)"),
            (lambda: jvp(torch.exp, (values(2),), ()), errors.ShapeError, "nested as the primals"),
        ],
    )
    def test_bad_input(self, call: Callable[[], Any], error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            call()


class TestJacobian:
    @pytest.mark.parametrize(
        "options",
        [{}, {"vectorize": True}, {"strategy": "forward-mode"}, {"strategy": "forward-mode", "vectorize": True}],
        ids=["rows", "rows at once", "columns", "columns at once"],
    )
    @pytest.mark.parametrize(("name", "func", "inputs"), VECTOR_FUNCTIONS, ids=ids(VECTOR_FUNCTIONS))
    def test_equals_torch(
        self, name: str, func: Callable[..., Any], inputs: tuple[torch.Tensor, ...], options: dict[str, Any]
    ) -> None:
        given: Any = inputs if len(inputs) > 1 else inputs[0]
        if name == "empty output":  # torch can't stack no rows
            expected: Any = torch.zeros(0, 3, dtype=torch.float64)
        else:
            expected = oracle.jacobian(func, given)
        received = jacobian(func, ours(given), **options)
        same(received, expected)
        same(jacobian(func, given, **options), expected)
        assert constants(received)

    def test_tuple_of_one(self) -> None:
        same(jacobian(torch.exp, (values(2),)), oracle.jacobian(torch.exp, (values(2),)))
        same(jacobian(lambda x: (x.exp(),), (values(2),)), oracle.jacobian(lambda x: (x.exp(),), (values(2),)))

    @pytest.mark.parametrize("options", [{}, {"vectorize": True}, {"strategy": "forward-mode"}])
    def test_create_graph(self, options: dict[str, Any]) -> None:
        x = tensor(values(3), requires_grad=True)
        matrix = jacobian(lambda x: x.exp() * x.sum(), x, create_graph=True, **options)
        theirs = values(3).requires_grad_()
        expected = oracle.jacobian(lambda x: x.exp() * x.sum(), theirs, create_graph=True)
        weights = values(3, 3, seed=4)
        same(grad((matrix * weights).sum(), x), torch.autograd.grad((expected * weights).sum(), theirs))

    def test_without_create_graph_the_inputs_graph_is_left_alone(self) -> None:
        x = tensor(values(3), requires_grad=True)
        matrix = jacobian(torch.exp, x * 2)
        assert not matrix.requires_grad
        same(matrix, torch.diag((values(3) * 2).exp()))

    def test_create_graph_makes_leaves_of_constants(self) -> None:
        same(jacobian(torch.exp, values(3), create_graph=True), torch.diag(values(3).exp()))

    def test_complex(self) -> None:
        z = torch.complex(values(2), values(2, seed=1))
        same(jacobian(torch.abs, z), oracle.jacobian(torch.abs, z))

    def test_under_no_grad_and_in_a_graph(self) -> None:
        with no_grad():
            same(jacobian(torch.exp, values(2)), torch.diag(values(2).exp()))
        with AutogradGraph() as graph:
            same(jacobian(torch.exp, values(2)), torch.diag(values(2).exp()))
            assert graph.num_nodes() == 0

    @pytest.mark.parametrize(
        ("func", "message"),
        [
            (lambda x, y: x.exp(), "output 0 of the user-provided function is independent of input 1"),
            (lambda x, y: (x * y, y * 2), "output 1 of the user-provided function is independent of input 0"),
            (lambda x, y: (x * y).detach(), "output 0 of the user-provided function is independent of input 0"),
        ],
    )
    def test_strict(self, func: Callable[..., Any], message: str) -> None:
        with pytest.raises(RuntimeError):
            oracle.jacobian(func, (values(2), values(2)), strict=True)
        with pytest.raises(errors.GradientError, match=message):
            jacobian(func, (values(2), values(2)), strict=True)
        same(
            jacobian(lambda x, y: x * y, (values(2), values(2)), strict=True),
            oracle.jacobian(lambda x, y: x * y, (values(2), values(2)), strict=True),
        )

    def test_strict_and_create_graph(self) -> None:
        x = values(2).requires_grad_()
        with pytest.raises(RuntimeError, match="independent"):
            oracle.jacobian(lambda x: x * 2, x, strict=True, create_graph=True)
        with pytest.raises(errors.GradientError, match="Jacobian 0 is independent of the inputs"):
            jacobian(lambda x: x * 2, tensor(x.detach(), requires_grad=True), strict=True, create_graph=True)

    @pytest.mark.parametrize(
        ("call", "error", "message"),
        [
            (lambda: jacobian(torch.exp, 2.0), errors.DtypeError, "jacobian: input 0 is a float"),
            (
                lambda: jacobian(lambda x: 2, values(2)),
                errors.DtypeError,
                "jacobian: output 0 of the function is a int",
            ),
            (lambda: jacobian(torch.exp, values(2), strategy="up"), errors.ArgumentError, "not 'up'"),
            (lambda: jacobian(torch.exp, values(2), strict=True, vectorize=True), errors.ArgumentError, "strict=True"),
        ],
    )
    def test_bad_input(self, call: Callable[[], Any], error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            call()


class TestHessian:
    @pytest.mark.parametrize(
        "options",
        [{}, {"vectorize": True}, {"outer_jacobian_strategy": "forward-mode"}],
        ids=["rows", "rows at once", "columns"],
    )
    @pytest.mark.parametrize(("name", "func", "inputs"), SCALAR_FUNCTIONS, ids=ids(SCALAR_FUNCTIONS))
    def test_equals_torch(
        self, name: str, func: Callable[..., Any], inputs: tuple[torch.Tensor, ...], options: dict[str, Any]
    ) -> None:
        given: Any = inputs if len(inputs) > 1 else inputs[0]
        received = hessian(func, ours(given), **options)
        same(received, oracle.hessian(func, given))
        assert constants(received)

    def test_create_graph(self) -> None:
        x = tensor(values(3), requires_grad=True)
        theirs = values(3).requires_grad_()
        matrix = hessian(lambda x: x.exp().sum() * x.sum(), x, create_graph=True)
        expected = oracle.hessian(lambda x: x.exp().sum() * x.sum(), theirs, create_graph=True)
        weights = values(3, 3, seed=4)
        same(grad((matrix * weights).sum(), x), torch.autograd.grad((expected * weights).sum(), theirs))

    def test_strict(self) -> None:
        for func in (lambda x: (x * 2).sum(), lambda x: x.detach().sum()):
            with pytest.raises(RuntimeError):
                oracle.hessian(func, values(2), strict=True)
            with pytest.raises(errors.GradientError, match="independent"):
                hessian(func, values(2), strict=True)
        same(hessian(lambda x: (x * x).sum(), values(2), strict=True), 2 * torch.eye(2, dtype=torch.float64))

    def test_of_several_elements(self) -> None:
        with pytest.raises(errors.GradientError, match=r"shape \(2,\); it must have one element"):
            hessian(torch.exp, values(2))


@pytest.mark.parametrize(("ours_product", "their_product"), [(hvp, oracle.hvp), (vhp, oracle.vhp)], ids=["hvp", "vhp"])
class TestHessianProducts:
    @pytest.mark.parametrize(("name", "func", "inputs"), SCALAR_FUNCTIONS, ids=ids(SCALAR_FUNCTIONS))
    def test_equals_torch(
        self,
        ours_product: Callable[..., Any],
        their_product: Callable[..., Any],
        name: str,
        func: Callable[..., Any],
        inputs: tuple[torch.Tensor, ...],
    ) -> None:
        vectors = tuple(values(*part.shape, seed=5 + i) for i, part in enumerate(inputs))
        given: Any = inputs if len(inputs) > 1 else inputs[0]
        v: Any = vectors if len(inputs) > 1 else vectors[0]
        received = ours_product(func, ours(given), ours(v))
        expected = their_product(func, given, v)
        same(received, expected)
        same(ours_product(func, given, v), expected)
        assert constants(received)

    def test_without_a_vector(self, ours_product: Callable[..., Any], their_product: Callable[..., Any]) -> None:
        same(ours_product(torch.exp, values()), their_product(torch.exp, values()))
        with pytest.raises(errors.ShapeError, match="v may be left out only"):
            ours_product(lambda x: x.exp().sum(), values(2))

    def test_create_graph(self, ours_product: Callable[..., Any], their_product: Callable[..., Any]) -> None:
        def func(x: Any, y: Any) -> Any:
            return (x.exp() * y * y).sum()

        x, y, v = (values(3, seed=i).requires_grad_() for i in range(3))
        w = torch.zeros(3, dtype=torch.float64)
        output, product = ours_product(
            func,
            (a := tensor(x, requires_grad=True), b := tensor(y, requires_grad=True)),
            (v.detach(), w),
            create_graph=True,
        )
        expected_output, expected = their_product(func, (x, y), (v.detach(), w), create_graph=True)
        same(
            grad(output + product[0].sum() + product[1].sin().sum(), (a, b)),
            torch.autograd.grad(expected_output + expected[0].sum() + expected[1].sin().sum(), (x, y)),
        )

    def test_strict(self, ours_product: Callable[..., Any], their_product: Callable[..., Any]) -> None:
        v = (values(2), values(2))
        for func in (lambda x, y: x.exp().sum(), lambda x, y: (x * x + y).sum(), lambda x, y: (x * y).detach().sum()):
            with pytest.raises(RuntimeError):
                their_product(func, v, v, strict=True)
            with pytest.raises(errors.GradientError, match="independent of input"):
                ours_product(func, v, v, strict=True)
        same(
            ours_product(lambda x, y: (x * x + y * y).sum(), v, v, strict=True),
            their_product(lambda x, y: (x * x + y * y).sum(), v, v, strict=True),
        )

    @pytest.mark.parametrize(
        ("inputs", "v", "error", "message"),
        [
            (values(2), values(3), errors.ShapeError, r"shape \(3,\) where \(2,\)"),
            (values(2), (values(2), values(2)), errors.ShapeError, r"1 input\(s\), but 2 vector"),
            (values(2), 1.0, errors.DtypeError, "must be tensors, not float"),
            (1.0, 1.0, errors.DtypeError, "input 0 is a float"),
        ],
    )
    def test_bad_input(
        self,
        ours_product: Callable[..., Any],
        their_product: Callable[..., Any],
        inputs: Any,
        v: Any,
        error: type[Exception],
        message: str,
    ) -> None:
        with pytest.raises(error, match=message):
            ours_product(lambda x: x.exp().sum(), inputs, v)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # torch's own forward mode calls it
@pytest.mark.parametrize("order", [1, 2, 2.5, 3, 3.5, math.inf])
def test_jvp_of_a_norm_at_zero_is_torchs(order: float) -> None:
    zeros, direction = torch.zeros(3, dtype=torch.float64), torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)

    def norm(x: Any) -> Any:
        return torch.linalg.vector_norm(x, order)

    _, expected = torch.func.jvp(norm, (zeros,), (direction,))
    _, received = jvp(norm, (zeros,), (direction,))
    torch.testing.assert_close(received.data, expected, rtol=0, atol=0)
