"""Random programs: whatever is computed, in whatever order, values and gradients are right.

Random programs of some fifty operations against PyTorch, first and second order.  (``test_state_machine.py`` goes
deeper, with a few operations in any order against a naive engine.)

With ``NEURONIX_NIGHTLY=1`` 10,000 of each order, new ones each time; otherwise the same 200 each time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from neuronix.autograd import CustomTensor, grad
from neuronix.autograd.errors import GradientError

Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]

# Programs against PyTorch


class Program:
    """A program that grows by one operation at a time, run on both sides at once.

    PyTorch's side never changes a tensor in place: there an in-place operation makes a new tensor, which takes the
    old one's place.  So our side may refuse an in-place operation, or a gradient that it can't know any more, but it
    can't be wrong.
    """

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
        self.ours: list[CustomTensor] = []
        self.theirs: list[Tensor] = []
        self.our_leaves: list[CustomTensor] = []
        self.their_leaves: list[Tensor] = []
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
        for _ in range(draw(st.integers(1, 3))):
            axes = shape[draw(st.integers(0, len(shape))) :]
            self.add_leaf([size if draw(st.booleans()) else 1 for size in axes], draw(st.integers(0, 4)) > 0)
        self.add_leaf(shape, True)

    def add_leaf(self, shape: list[int], requires_grad: bool) -> None:
        values = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        ours = CustomTensor(values.clone(), requires_grad=requires_grad)
        theirs = values.clone().requires_grad_(requires_grad)
        self.ours.append(ours)
        self.theirs.append(theirs)
        if requires_grad:
            self.our_leaves.append(ours)
            self.their_leaves.append(theirs)

    def pick(self, suits: Callable[[Tensor], bool] = lambda x: True) -> int | None:
        """The number of a tensor that suits, if there is one."""
        found = [number for number, x in enumerate(self.theirs) if suits(x)]
        return self.draw(st.sampled_from(found)) if found else None

    def step(self) -> None:
        """Apply one random operation."""
        name = self.draw(st.sampled_from(NAMES))
        made = OPERATIONS[name](self)
        if made is None:
            return
        numbers, function = made
        ours = function(*(self.ours[number] for number in numbers))
        theirs = function(*(self.theirs[number] for number in numbers))
        several = isinstance(theirs, (tuple, list))
        for our, their in zip(ours if several else [ours], theirs if several else [theirs], strict=True):
            self.keep(our, their, name)

    def keep(self, our: CustomTensor, their: Tensor, name: str) -> None:
        assert isinstance(our, CustomTensor), name
        assert our.requires_grad == their.requires_grad, name
        assert_close(our.data, their.detach(), rtol=1e-12, atol=1e-12, msg=lambda text: f"{name}: {text}")
        if not their.is_floating_point():
            return
        if their.numel() and their.detach().abs().max() > 30:  # so that nothing overflows, however long the program
            our, their = torch.tanh(our), torch.tanh(their)
        self.ours.append(our)
        self.theirs.append(their)

    def change(self, number: int, function: Callable[[Any], Any], functional: Callable[[Any], Any]) -> None:
        """Change a tensor in place on our side, if it may be changed; on PyTorch's side replace it."""
        target = self.ours[number]
        if any(x is not target and shares(x, target) for x in self.ours):
            return  # a tensor and its views change together, as in torch: see test_inplace_views.py
        before = target.data.clone()
        try:
            changed = function(target)
        except GradientError:
            event("in place: refused")
            assert_close(target.data, before, rtol=0, atol=0)
            return
        event("in place: done")
        assert changed is target
        self.theirs[number] = functional(self.theirs[number])
        assert target.requires_grad == self.theirs[number].requires_grad
        assert_close(target.data, self.theirs[number].detach(), rtol=1e-12, atol=1e-12)

    # What the program's gradients are

    def check(self, second_order: bool) -> None:
        chosen = self.draw(st.lists(st.integers(0, len(self.ours) - 1), min_size=1, max_size=4))
        weights = [torch.randn(self.theirs[n].shape, generator=self.generator, dtype=torch.float64) for n in chosen]
        ours = sum((self.ours[n] * w).sum() for n, w in zip(chosen, weights, strict=True))
        theirs = sum((self.theirs[n] * w).sum() for n, w in zip(chosen, weights, strict=True))
        assert isinstance(ours, CustomTensor)
        assert isinstance(theirs, Tensor)
        assert ours.requires_grad == theirs.requires_grad
        if not theirs.requires_grad:
            return
        expected = torch.autograd.grad(theirs, self.their_leaves, create_graph=second_order, allow_unused=True)
        received, refusal = None, ""
        try:
            received = grad(ours, self.our_leaves, create_graph=second_order, retain_graph=True, allow_unused=True)
        except GradientError as error:
            refusal = str(error)
        if received is None:
            assert "modified by an inplace operation" in refusal
            event("gradient: refused")
            return
        compare(received, expected)
        if second_order:
            self.check_second_order(received, expected)
        ours.backward()
        compare([leaf.grad for leaf in self.our_leaves], expected)
        assert_own_memory(self.our_leaves, [x.data for x in self.ours])

    def check_second_order(self, received: Any, expected: Any) -> None:
        ours, theirs = [], []
        for our, their in zip(received, expected, strict=True):
            if our is None or their is None:  # `compare` has seen that there is no dependence
                continue
            if their.requires_grad:
                weight = torch.randn(their.shape, generator=self.generator, dtype=torch.float64)
                theirs.append((their * weight).sum())
                ours.append((our * weight).sum())
        pairs = [(our, their) for our, their in zip(ours, theirs, strict=True) if our.requires_grad]
        if not pairs:  # then there is no dependence at all, and PyTorch's must be zeros
            for found in torch.autograd.grad(theirs, self.their_leaves, allow_unused=True) if theirs else []:
                assert found is None or not found.any()
            return
        theirs_second = torch.autograd.grad(theirs, self.their_leaves, allow_unused=True)
        ours_second = grad([our for our, _ in pairs], self.our_leaves, retain_graph=True, allow_unused=True)
        compare(ours_second, theirs_second)


def compare(received: Any, expected: Any) -> None:
    """A missing gradient counts as zeros."""
    for our, their in zip(received, expected, strict=True):
        our = our.data if isinstance(our, CustomTensor) else our
        if our is None or their is None:
            for found in (our, their):
                assert found is None or not found.any()
            continue
        assert_close(our, their.detach(), rtol=1e-10, atol=1e-10)


def assert_own_memory(leaves: list[CustomTensor], others: list[Tensor]) -> None:
    """Each `.grad` is alone in its memory, and has one place for each element."""
    grads = [leaf.grad for leaf in leaves if leaf.grad is not None and leaf.grad.numel()]
    for position, one in enumerate(grads):
        for other in [*grads[:position], *others]:
            assert one.untyped_storage().data_ptr() != other.untyped_storage().data_ptr() or not other.numel()
        assert all(stride > 0 for stride, size in zip(one.stride(), one.shape, strict=True) if size > 1)


Step: TypeAlias = "tuple[list[int], Callable[..., Any]] | None"


def unary(function: Callable[..., Any], suits: Callable[[Tensor], bool] = lambda x: True) -> Callable[[Program], Step]:
    def make(program: Program) -> Step:
        number = program.pick(suits)
        return None if number is None else ([number], function)

    return make


def broadcastable(*shapes: torch.Size) -> bool:
    return all(len({size for size in sizes if size != 1}) <= 1 for sizes in zip(*_aligned(shapes), strict=True))


def _aligned(shapes: tuple[torch.Size, ...]) -> list[list[int]]:
    rank = max(map(len, shapes))
    return [[1] * (rank - len(shape)) + list(shape) for shape in shapes]


def binary(function: Callable[..., Any]) -> Callable[[Program], Step]:
    def make(program: Program) -> Step:
        one = program.pick()
        other = program.pick(lambda y: broadcastable(program.theirs[one or 0].shape, y.shape))
        return None if one is None or other is None else ([one, other], function)

    return make


def reduction(function: Callable[..., Any]) -> Callable[[Program], Step]:
    """Over some of the axes, none of them empty."""

    def make(program: Program) -> Step:
        number = program.pick(lambda x: x.numel() > 0)
        if number is None:
            return None
        rank = program.theirs[number].ndim
        some = st.lists(st.integers(-rank, rank - 1), unique_by=lambda axis: axis % rank) if rank else st.just([])
        axes, keepdim = tuple(program.draw(some)), program.draw(st.booleans())
        return [number], lambda x: function(x, axes, keepdim)

    return make


def along(function: Callable[..., Any], empty: bool = True) -> Callable[[Program], Step]:
    """Along one axis."""

    def make(program: Program) -> Step:
        number = program.pick(lambda x: x.ndim > 0 and (empty or x.numel() > 0))
        if number is None:
            return None
        rank = program.theirs[number].ndim
        axis = program.draw(st.integers(-rank, rank - 1))
        return [number], lambda x: function(x, axis)

    return make


def reshape(program: Program) -> Step:
    number = program.pick()
    if number is None:
        return None
    x = program.theirs[number]
    shapes = [[x.numel()], [1, *x.shape], [*x.shape, 1], list(x.shape)[::-1]]
    shapes += [[-1, x.shape[-1]]] if x.numel() and x.ndim else []
    shape = program.draw(st.sampled_from(shapes))
    return [number], lambda x: x.reshape(shape)


def permute(program: Program) -> Step:
    number = program.pick()
    if number is None:
        return None
    axes = program.draw(st.permutations(range(program.theirs[number].ndim)))
    return [number], lambda x: x.permute(*axes) if axes else x.permute(())


def expand(program: Program) -> Step:
    number = program.pick(lambda x: x.ndim < 4)
    if number is None:
        return None
    kept = [program.draw(st.integers(1, 3)) if size == 1 else size for size in program.theirs[number].shape]
    sizes = program.draw(st.lists(st.integers(1, 3), max_size=1)) + kept
    return [number], lambda x: x.expand(sizes)


def join(function: Callable[..., Any]) -> Callable[[Program], Step]:
    def make(program: Program) -> Step:
        one = program.pick(lambda x: x.ndim > 0)
        if one is None:
            return None
        shape = program.theirs[one].shape
        numbers = [
            one,
            *(program.pick(lambda x: x.shape == shape) or one for _ in range(program.draw(st.integers(0, 2)))),
        ]
        axis = program.draw(st.integers(-len(shape), len(shape) - 1))
        return numbers, lambda *tensors: function(tensors, axis)

    return make


def index(program: Program) -> Step:
    number = program.pick(lambda x: x.ndim > 0 and x.numel() > 0)
    if number is None:
        return None
    place = draw_index(program.draw, program.theirs[number].shape)
    return [number], lambda x: x[place]


def draw_index(draw: Draw, shape: torch.Size) -> Any:
    """An index of any kind: integers, slices, None, Ellipsis, lists, masks."""
    kind = draw(st.sampled_from(["basic", "list", "mask", "mixed"]))
    if kind == "mask":
        bits = draw(st.lists(st.booleans(), min_size=math.prod(shape), max_size=math.prod(shape)))
        return torch.tensor(bits).reshape(shape)
    items: list[Any] = []
    for size in shape[: draw(st.integers(1, len(shape)))]:
        choices: list[st.SearchStrategy[Any]] = [st.integers(-size, size - 1), st.just(slice(None))]
        choices.append(st.builds(slice, st.integers(-size, size), st.integers(-size, size), st.integers(1, 2)))
        if kind != "basic" and not any(isinstance(item, (list, Tensor)) for item in items):
            places = st.lists(st.integers(-size, size - 1), min_size=1, max_size=4)
            choices = [places, places.map(torch.tensor)] if kind == "list" else [*choices, places]
        items.append(draw(st.one_of(choices)))
    if draw(st.integers(0, 3)) == 0:
        items.insert(draw(st.integers(0, len(items))), None)
    if draw(st.integers(0, 3)) == 0 and len(items) < 3:
        items.append(...)
    return tuple(items)


def matrix_product(program: Program) -> Step:
    one = program.pick(lambda x: x.ndim > 0)
    if one is None:
        return None
    shape = program.theirs[one].shape

    def fits(y: Tensor) -> bool:
        if y.ndim == 0 or y.shape[-2 if y.ndim > 1 else -1] != shape[-1]:
            return False
        return broadcastable(shape[:-2], y.shape[:-2])

    other = program.pick(fits)
    if other is None:
        return [one], lambda x: x @ (x if x.ndim == 1 else x.mT)
    return [one, other], torch.matmul


def choose(program: Program) -> Step:
    one = program.pick()
    if one is None:
        return None
    shape = program.theirs[one].shape
    other = program.pick(lambda y: broadcastable(shape, y.shape))
    return [one, one if other is None else other], lambda x, y: torch.where(x > 0.1, x, y)


def gather(program: Program) -> Step:
    number = program.pick(lambda x: x.ndim > 0 and x.numel() > 0)
    if number is None:
        return None
    shape = program.theirs[number].shape
    axis = program.draw(st.integers(0, len(shape) - 1))
    places = torch.randint(0, shape[axis], shape, generator=program.generator)
    if program.draw(st.booleans()):
        return [number], lambda x: x.gather(axis, places)
    flat = places.reshape(-1)[:3]
    return [number], lambda x: x.index_select(axis, flat)


def in_place(program: Program) -> Step:
    """`y *= x` and the like: on anything, or on a tensor that nobody else has, so that it is often possible."""
    number = program.pick()
    if number is None:
        return None
    target = program.theirs[number]
    operand = program.pick(lambda x: broadcastable(target.shape, x.shape) and larger(target.shape, x.shape))
    name = program.draw(st.sampled_from(["mul", "add", "sub", "tanh", "clamp", "copy", "zero", "masked_fill"]))
    functional, changing = CHANGES[name]
    if program.draw(st.booleans()):
        program.keep(program.ours[number] * 1.5, program.theirs[number] * 1.5, "mul")
        number = len(program.theirs) - 1
    ours, theirs = program.ours[operand or 0], program.theirs[operand or 0]
    if operand is None:
        ours, theirs = CustomTensor(torch.tensor(0.7).double()), torch.tensor(0.7).double()
    program.change(number, lambda y: changing(y, ours), lambda y: functional(y, theirs))
    return None


def larger(shape: torch.Size, other: torch.Size) -> bool:
    """Whether `other` broadcasts to `shape`, not the other way round."""
    return len(other) <= len(shape) and all(
        size in (1, full) for full, size in zip(reversed(shape), reversed(other), strict=False)
    )


CHANGES: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    "mul": (lambda y, x: y * x, lambda y, x: y.__imul__(x)),
    "add": (lambda y, x: y + x, lambda y, x: y.__iadd__(x)),
    "sub": (lambda y, x: y - 2 * x, lambda y, x: y.sub_(x, alpha=2)),
    "tanh": (lambda y, x: torch.tanh(y), lambda y, x: y.tanh_()),
    "clamp": (lambda y, x: y.clamp(-0.5, 0.5), lambda y, x: y.clamp_(-0.5, 0.5)),
    "copy": (lambda y, x: torch.zeros_like(y) + 0 * y + x, lambda y, x: y.copy_(x)),
    "zero": (lambda y, x: 0 * y, lambda y, x: y.zero_()),
    "masked_fill": (lambda y, x: y.masked_fill(y > 0, 0.25), lambda y, x: y.masked_fill_(y > 0, 0.25)),
}


def assign(program: Program) -> Step:
    """`y[index] = value`."""
    number = program.pick(lambda x: x.ndim > 0 and x.numel() > 0)
    if number is None:
        return None
    if program.draw(st.booleans()):
        program.keep(program.ours[number] * 1.5, program.theirs[number] * 1.5, "mul")
        number = len(program.theirs) - 1
    y = program.theirs[number]
    place = draw_index(program.draw, y.shape)
    if repeats(y.shape, place):  # then it isn't defined which value is written last
        return None
    taken = y.detach()[place].shape
    source = program.pick(lambda x: larger(taken, x.shape))
    ours, theirs = (0.3, 0.3) if source is None else (program.ours[source], program.theirs[source])
    if isinstance(ours, CustomTensor) and shares(ours, program.ours[number]):
        return None  # torch refuses to assign a tensor to a part of itself

    def change(y: Any) -> Any:
        y[place] = ours
        return y

    def functional(y: Any) -> Any:
        y = y.clone()
        y[place] = theirs
        return y

    program.change(number, change, functional)
    return None


def shares(one: CustomTensor, other: CustomTensor) -> bool:
    return one.data.untyped_storage().data_ptr() == other.data.untyped_storage().data_ptr()


def repeats(shape: torch.Size, place: Any) -> bool:
    places = torch.arange(math.prod(shape)).reshape(shape)[place].flatten()
    return len(places.unique()) != len(places)


def detach(program: Program) -> Step:
    number = program.pick()
    return None if number is None else ([number], lambda x: x.detach().clone())


def softmax(program: Program) -> Step:
    name = program.draw(st.sampled_from(["softmax", "log_softmax"]))
    return along(getattr(torch, name))(program)


OPERATIONS: dict[str, Callable[[Program], Step]] = {
    "+": binary(lambda x, y: x + y),
    "-": binary(lambda x, y: x - y),
    "*": binary(lambda x, y: x * y),
    "/": binary(lambda x, y: x / (y * y + 1)),
    "**": unary(lambda x: x**3 + (x * x + 0.5) ** 0.5),
    "** x": binary(lambda x, y: (x * x + 0.5) ** torch.tanh(y)),
    "reflected": unary(lambda x: 2 - 3 / (1 + x * x)),
    "neg": unary(lambda x: -x),
    "exp": unary(lambda x: torch.exp(torch.tanh(x))),
    "log": unary(lambda x: torch.log(x.abs() + 0.5)),
    "sin": unary(torch.sin),
    "sigmoid": unary(torch.sigmoid),
    "relu": unary(torch.relu),
    "silu": unary(torch.nn.functional.silu),
    "softplus": unary(torch.nn.functional.softplus),
    "rsqrt": unary(lambda x: torch.rsqrt(x * x + 1)),
    "clamp": unary(lambda x: x.clamp(-0.5, 0.7)),
    "maximum": binary(torch.maximum),
    "minimum": binary(torch.minimum),
    "where": choose,
    "masked_fill": unary(lambda x: x.masked_fill(x < 0, 2.0)),
    "sum": reduction(lambda x, axes, keepdim: x.sum(axes, keepdim=keepdim)),
    "mean": reduction(lambda x, axes, keepdim: x.mean(axes, keepdim=keepdim)),
    "amax": reduction(lambda x, axes, keepdim: x.amax(axes, keepdim=keepdim)),
    # not dim=(): there PyTorch's variance is that of all elements, but its gradient isn't
    "var": reduction(lambda x, axes, keepdim: x.var(axes or None, correction=0, keepdim=keepdim)),
    "logsumexp": reduction(lambda x, axes, keepdim: x.logsumexp(axes or tuple(range(x.ndim)), keepdim=keepdim)),
    "max": along(lambda x, axis: tuple(x.max(axis)), empty=False),
    "min, kept": along(lambda x, axis: x.min(axis, keepdim=True).values, empty=False),
    "prod": along(lambda x, axis: x.prod(axis)),
    "cumsum": along(lambda x, axis: x.cumsum(axis)),
    "softmax": softmax,
    "sort": along(lambda x, axis: x.sort(axis).values),
    "reshape": reshape,
    "permute": permute,
    "expand": expand,
    "unsqueeze": along(lambda x, axis: x.unsqueeze(axis)),
    "squeeze": unary(lambda x: x.squeeze()),
    "flatten": unary(lambda x: x.flatten()),
    "flip": along(lambda x, axis: x.flip(axis)),
    "cat": join(torch.cat),
    "stack": join(torch.stack),
    "split": along(lambda x, axis: x.split(2, axis)),
    "chunk, one dropped": along(lambda x, axis: x.chunk(2, axis)[-1]),
    "unbind": along(lambda x, axis: x.unbind(axis)),
    "index": index,
    "gather": gather,
    "@": matrix_product,
    "in place": in_place,
    "assignment": assign,
    "detach": detach,
    "clone": unary(lambda x: x.clone()),
}
# Changes in place are the hardest to get right, so they come often.
NAMES = sorted([*OPERATIONS, *["in place"] * 6, *["assignment"] * 4])


def test_the_nightly_run_draws_ten_thousand_programs() -> None:
    assert settings.get_profile("nightly").max_examples >= 10_000


@pytest.mark.parametrize("second_order", [False, True], ids=["first order", "second order"])
def test_random_programs_are_those_of_torch(second_order: bool) -> None:
    checked = 0

    @given(data=st.data())
    def programs(data: st.DataObject) -> None:
        nonlocal checked
        program = Program(data.draw)
        for _ in range(data.draw(st.integers(3, 6 if second_order else 12))):
            program.step()
        program.check(second_order)
        checked += 1

    programs()
    assert checked >= settings.default.max_examples  # programs to their end, not attempts to draw one
