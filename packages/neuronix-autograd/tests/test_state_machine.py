"""Tensors made, changed, viewed, differentiated and dropped in any order, against an engine right by inspection.

The naive engine below differentiates vectors of two numbers by going through their history; it is itself checked
against finite differences.  ``NEURONIX_NIGHTLY=1`` runs more sequences, other ones each time.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
import torch
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from torch.testing import assert_close

from neuronix.autograd import AutogradGraph, CustomTensor
from neuronix.autograd.errors import GradientError, GraphError
from neuronix.autograd.testing import check_index


class Naive:
    """A vector of two numbers that knows how to differentiate itself: no graph, no order, no broadcasting, no views.

    ``saved`` lists what the real engine keeps for the gradient of this operation, so that the model knows when a change
    in place must make that gradient refused.
    """

    created = 0

    def __init__(self, value: list[float], parents: Parents = (), saved: list[Cell] | None = None) -> None:
        Naive.created += 1
        self.number = Naive.created
        self.parents = parents
        self.cell = Cell(value)
        self.saved = [(cell, cell.version) for cell in saved or []]
        self.is_leaf = not parents
        self.freed: list[bool] = []  # not empty once it is; shared with what stands for the same node
        self.grad: list[float] | None = None

    def history(self) -> list[Naive]:
        """This one and all that it was made from, the youngest first."""
        found: dict[int, Naive] = {}

        def visit(node: Naive) -> None:
            if node.number not in found:
                found[node.number] = node
                for parent, _ in node.parents:
                    visit(parent)

        visit(self)
        return [found[number] for number in sorted(found, reverse=True)]

    def backward(self, gradient: list[float], retain: bool) -> str | None:
        """Add the gradients to the leaves' ``grad``; if it must be refused say why, and add nothing."""
        history = self.history()
        if any(node.freed for node in history):
            return "second time"
        gradients = {node.number: [0.0, 0.0] for node in history}
        gradients[self.number] = gradient
        for node in history:
            if any(cell.version != version for cell, version in node.saved):
                return "modified"
            for parent, pull_back in node.parents:
                pulled = pull_back(gradients[node.number])
                gradients[parent.number] = [a + b for a, b in zip(gradients[parent.number], pulled, strict=True)]
            if not retain and not node.is_leaf:
                node.freed.append(True)
        for leaf in (node for node in history if node.is_leaf):
            leaf.grad = [a + b for a, b in zip(leaf.grad or [0.0, 0.0], gradients[leaf.number], strict=True)]
        return None


class Cell:
    """Memory: two numbers, and how often they were changed."""

    def __init__(self, value: list[float]) -> None:
        self.value = value
        self.version = 0

    def change(self, value: list[float]) -> None:
        self.value = value
        self.version += 1


Vector: TypeAlias = "list[float]"
Parents: TypeAlias = "tuple[tuple[Naive, Callable[[Vector], Vector]], ...]"


def times(a: Vector, b: Vector) -> Vector:
    return [x * y for x, y in zip(a, b, strict=True)]


def naive_add(a: Naive, b: Naive) -> Naive:
    return Naive([x + y for x, y in zip(a.cell.value, b.cell.value, strict=True)], ((a, list), (b, list)))


def naive_mul(a: Naive, b: Naive) -> Naive:
    x, y = a.cell.value, b.cell.value
    return Naive(times(x, y), ((a, lambda g: times(g, y)), (b, lambda g: times(g, x))), [a.cell, b.cell])


def naive_sin(a: Naive) -> Naive:
    slope = [math.cos(x) for x in a.cell.value]
    return Naive([math.sin(x) for x in a.cell.value], ((a, lambda g: times(g, slope)),), [a.cell])


def naive_tanh(a: Naive) -> Naive:
    value = [math.tanh(x) for x in a.cell.value]
    made = Naive(value, ((a, lambda g: times(g, [1 - y * y for y in value])),))
    made.saved = [(made.cell, 0)]  # its rule needs its result
    return made


def naive_flip(a: Naive) -> Naive:
    return Naive(a.cell.value[::-1], ((a, lambda g: g[::-1]),))


UNARY: dict[str, tuple[Callable[[Any], Any], Callable[[Naive], Naive]]] = {
    "sin": (torch.sin, naive_sin),
    "tanh": (torch.tanh, naive_tanh),
    "flip": (lambda x: x.flip(0), naive_flip),
}
BINARY: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Naive, Naive], Naive]]] = {
    "add": (lambda x, y: x + y, naive_add),
    "mul": (lambda x, y: x * y, naive_mul),
}


def test_the_naive_engine_agrees_with_differences() -> None:
    def program(x: Naive, y: Naive) -> Naive:
        z = naive_mul(naive_sin(x), naive_flip(y))
        return naive_add(naive_tanh(naive_mul(z, x)), z)

    def value(x: Vector, y: Vector) -> float:
        result = program(Naive(x), Naive(y)).cell.value
        return 0.3 * result[0] - 0.7 * result[1]

    x, y = Naive([0.4, -0.9]), Naive([1.1, 0.2])
    assert program(x, y).backward([0.3, -0.7], retain=False) is None
    assert x.grad is not None
    assert y.grad is not None
    step = 1e-6
    for position in (0, 1):
        up, down = list(x.cell.value), list(x.cell.value)
        up[position] += step
        down[position] -= step
        assert x.grad[position] == pytest.approx((value(up, y.cell.value) - value(down, y.cell.value)) / (2 * step))


class Engine(RuleBasedStateMachine):
    """Tensors are made, changed, viewed, differentiated and dropped in any order, with the cyclic collector off."""

    names = Bundle("names")

    @initialize(target=names)
    def start(self) -> int:
        gc.disable()
        self.graph = AutogradGraph()
        self.graph.__enter__()
        self.ours: dict[int, CustomTensor] = {}
        self.model: dict[int, Naive] = {}
        self.bases: dict[int, int] = {}  # of views
        self.next_name = 0
        return self.make_leaf((0.5, -1.5))

    def teardown(self) -> None:
        if hasattr(self, "graph"):
            self.ours.clear()
            assert self.graph.num_nodes() == 0
            self.graph.__exit__(None, None, None)
            gc.enable()

    def keep(self, ours: CustomTensor, model: Naive) -> int:
        self.next_name += 1
        self.ours[self.next_name] = ours
        self.model[self.next_name] = model
        return self.next_name

    @rule(target=names, values=st.tuples(*[st.floats(-2, 2)] * 2))
    def add_leaf(self, values: tuple[float, float]) -> int:
        return self.make_leaf(values)

    def make_leaf(self, values: tuple[float, float]) -> int:
        ours = CustomTensor(torch.tensor(values, dtype=torch.float64), requires_grad=True)
        return self.keep(ours, Naive(list(values)))

    @rule(target=names, one=names, name=st.sampled_from(sorted(UNARY)))
    def apply(self, one: int, name: str) -> int:
        function, model = UNARY[name]
        return self.keep(function(self.ours[one]), model(self.model[one]))

    @rule(target=names, one=names, other=names, name=st.sampled_from(sorted(BINARY)))
    def combine(self, one: int, other: int, name: str) -> int:
        function, model = BINARY[name]
        return self.keep(function(self.ours[one], self.ours[other]), model(self.model[one], self.model[other]))

    @rule(target=names, one=names)
    def view(self, one: int) -> int:
        model = Naive(self.model[one].cell.value, ((self.model[one], list),))
        model.cell = self.model[one].cell
        name = self.keep(self.ours[one].view(2), model)
        self.bases[name] = self.bases.get(one, one)
        return name

    @rule(one=names, other=names, name=st.sampled_from(sorted(BINARY)))
    def change(self, one: int, other: int, name: str) -> None:
        target, model = self.ours[one], self.model[one]
        base = target._base
        if one in self.bases.values() or (base is not None and not base.is_leaf):
            return  # a tensor and its views change together, as in torch: see test_inplace_views.py
        expected = model.is_leaf or base is not None
        before = target.data.clone()
        try:
            (target.__imul__ if name == "mul" else target.__iadd__)(self.ours[other])
        except GradientError:
            assert expected
            assert_close(target.data, before, rtol=0, atol=0)
            return
        assert not expected
        event("changed in place")
        # The operation reads what the target held before, which nobody can change any more.
        held = Naive(model.cell.value, model.parents)
        held.__dict__.update(model.__dict__)
        held.cell = Cell(model.cell.value)
        operand = held if one == other else self.model[other]
        made = BINARY[name][1](held, operand)
        cell = model.cell
        cell.change(made.cell.value)
        made.cell = cell
        self.model[one] = made

    @rule(
        target=names,
        one=names,
        other=names,
        function=st.sampled_from(sorted(UNARY)),
        change=st.sampled_from(sorted(BINARY)),
        from_user=st.booleans(),
    )
    def change_after_use(self, one: int, other: int, function: str, change: str, from_user: bool) -> Any:
        """What random rules would seldom do one after the other, with the same tensor."""
        made = self.apply(one, function)
        user = self.combine(made, other, "mul")
        self.change(made, other, change)
        self.differentiate(user if from_user else made, True, (1.0, -0.5))
        return multiple(made, user)

    @rule(one=names, retain=st.booleans(), gradient=st.tuples(*[st.floats(-1, 1)] * 2))
    def differentiate(self, one: int, retain: bool, gradient: tuple[float, float]) -> None:
        expected = self.model[one].backward(list(gradient), retain)
        event(f"backward: {expected or 'done'}")
        received = None
        try:
            self.ours[one].backward(torch.tensor(gradient, dtype=torch.float64), retain_graph=retain)
        except GraphError:
            received = "second time"
        except GradientError:
            received = "modified"
        assert received == expected

    @rule(one=names)
    def forget_gradient(self, one: int) -> None:
        if self.model[one].is_leaf:
            self.ours[one].grad = None
            self.model[one].grad = None

    @rule(one=consumes(names))
    def drop(self, one: int) -> None:
        del self.ours[one], self.model[one]

    @invariant()
    def everything_is_as_in_the_model(self) -> None:
        if not hasattr(self, "graph"):
            return
        check_index(self.graph)
        for name, model in self.model.items():
            ours = self.ours[name]
            assert ours.is_leaf == model.is_leaf
            assert ours.tolist() == pytest.approx(model.cell.value, rel=1e-12, abs=1e-12)
            if model.is_leaf:
                assert (ours.grad is None) == (model.grad is None)
                assert ours.grad is None or ours.grad.tolist() == pytest.approx(model.grad, rel=1e-10, abs=1e-12)

    @invariant()
    def nothing_else_lives(self) -> None:
        if not hasattr(self, "graph"):
            return
        alive = {node.number for model in self.model.values() if not model.is_leaf for node in model.history()}
        assert self.graph.num_nodes() == len(alive)


TestEngine = Engine.TestCase
TestEngine.settings = settings(max_examples=settings.default.max_examples // 2, stateful_step_count=30)
