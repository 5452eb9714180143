"""Where the tensors of arguments and state are, and what else a graph depends on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from neuronix.autograd.errors import CompileError
from neuronix.autograd.tensor import CustomTensor

__all__ = [
    "Held",
    "Numbers",
    "Place",
    "Places",
    "check_memory",
    "flatten_state",
    "inputs_of",
    "is_custom",
    "metadata",
    "traits",
]

Held = tuple[dict[Any, Any], bool, Any]
"""What ``compile_state()`` yields: a dict, whether floats in it are inputs, and what the graph depends on beside."""

Numbers = dict[Any, tuple[float, Tensor]]
"""Floats that are inputs, by place, with the tensor that holds each."""

_PLAIN = frozenset((bool, int, str, type(None)))  # values that are compared as they are, beside their type


def is_custom(value: Any) -> bool:
    """Return whether a value is a `CustomTensor`, and not a container."""
    return isinstance(value, CustomTensor)


def flatten_state(state: Any) -> Iterator[Any]:
    """Each tensor, module and optimizer in any nesting.

    Raises:
        CompileError: For anything else.
    """
    if isinstance(state, dict):
        state = list(state.values())
    if isinstance(state, (list, tuple)):
        for item in state:
            yield from flatten_state(item)
    elif isinstance(state, (CustomTensor, Tensor)) or hasattr(state, "compile_state"):
        yield state
    else:
        raise CompileError(
            f"compile: {type(state).__name__} can't be state",
            hint="state is tensors, modules, optimizers and nested lists, tuples and dicts of them",
        )


def check_memory(tensors: Sequence[Tensor], changed: Iterable[int]) -> None:
    """Refuse a tensor that is changed in place and shares its memory with another: the graph knows them as two.

    Args:
        tensors: What the graph takes.
        changed: The positions of those that it changes.

    Raises:
        CompileError: If two overlap.
    """
    spans = [(tensor.untyped_storage().data_ptr(), *_span(tensor)) for tensor in tensors]
    for position in changed:
        memory, start, end = spans[position]
        for other, (its_memory, its_start, its_end) in enumerate(spans):
            if other != position and memory == its_memory and start < its_end and its_start < end:
                raise CompileError(
                    f"compile: the step changes a tensor of shape {tuple(tensors[position].shape)}, which shares its "
                    f"memory with another of shape {tuple(tensors[other].shape)} among its arguments or in its state; "
                    "the graph wouldn't see the change there",
                    hint="give a .clone(), or only one of them",
                )


def _span(tensor: Tensor) -> tuple[int, int]:
    """The first byte of a tensor in its storage, and the one after its last."""
    if not tensor.numel():
        return 0, 0
    first = int(tensor.storage_offset())
    last = first + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return first * tensor.itemsize, (last + 1) * tensor.itemsize


class Place(NamedTuple):
    """Something in a dict that the graph takes as input.

    Attributes:
        number: Which dict.
        name: Its name there.
        value: What stands there.
        inputs: Positions among the tensors; of a `CustomTensor` its values and, if there is one, its gradient.
    """

    number: int
    name: Any
    value: Any
    inputs: tuple[int, ...]


class Places:
    """All tensors of the arguments and of the state at one moment, and whatever else the graph depends on.

    Attributes:
        held: The dicts; the arguments' is the first.
        key: Equal for two moments if the same graph serves both.
        guards: The part of the key that isn't in the dicts.
        tensors: The tensors, each once.
        customs: The `CustomTensor`s among the values.
        places: Where the inputs are.
    """

    def __init__(self, held: Sequence[Held], numbers: Numbers) -> None:
        self.held = held
        self.tensors: list[Tensor] = []
        self.customs: list[CustomTensor] = []
        self.places: list[Place] = []
        self.guards = [_guard(guard) for _, _, guard in held]
        self.key: list[Any] = [*self.guards]
        positions: dict[int, int] = {}
        for number, (values, numbers_are_inputs, _) in enumerate(held):
            for name, value in values.items():
                kind = type(value)
                if kind in _PLAIN or (kind is dict and not value):  # nearly all attributes of a layer
                    self.key += (name, kind, value if kind is not dict else None)
                    continue
                tensors = inputs_of(value, (number, name) if numbers_are_inputs else None, numbers)
                if tensors is None:
                    self.key += (name, _guard(value))
                    continue
                inputs = tuple(positions.setdefault(id(tensor), len(positions)) for tensor in tensors)
                for position, tensor in zip(inputs, tensors, strict=True):
                    if position == len(self.tensors):  # not met before
                        self.tensors.append(tensor)
                self.places.append(Place(number, name, value, inputs))
                self.key += (name, inputs)  # an earlier position: tied
                if isinstance(value, CustomTensor):
                    self.customs.append(value)
                    self.key.append(traits(value))
        for tensor in self.tensors:
            if tensor.layout is not torch.strided:
                raise CompileError(
                    f"compile: a tensor of shape {tuple(tensor.shape)} among the arguments or in the state has the "
                    f"layout {tensor.layout}, which can't be traced",
                    hint="make it dense, with .to_dense(), or don't compile this step",
                )
        self.key += metadata(self.tensors)

    def state_positions(self) -> dict[int, int]:
        """Positions of the state's tensors by identity."""
        places = [place for place in self.places if place.number > 0]
        return {id(self.tensors[position]): position for place in places for position in place.inputs}


def inputs_of(value: Any, place: tuple[int, Any] | None, numbers: Numbers) -> list[Tensor] | None:
    """The tensors that a value becomes, ``None`` for a constant.

    Args:
        value: A `CustomTensor` (its values and, if there is one, its gradient), a tensor, or anything else.
        place: What a number is known by; ``None`` if numbers are constants here.
        numbers: The tensors of numbers; one is made anew only when the number has changed.
    """
    if isinstance(value, CustomTensor):
        return [value._data] if value._grad is None else [value._data, value._grad]
    if isinstance(value, Tensor):
        return [value]
    # A number that is zero turns something off (weight decay, momentum): then the graph is another one.  Not so a
    # learning rate, with which a schedule may begin or end.
    if place and isinstance(value, float) and (value or place[1] == "lr"):
        return [_number(value, place, numbers)]
    if place and type(value) is tuple and value and all(isinstance(item, float) and item for item in value):
        return [_number(item, (*place, n), numbers) for n, item in enumerate(value)]
    return None


def _number(value: float, place: Any, numbers: Numbers) -> Tensor:
    known = numbers.get(place)
    if known is None or known[0] != value:
        known = numbers[place] = (value, torch.tensor(value, dtype=torch.float64))
    return known[1]


def traits(x: CustomTensor) -> Any:
    """What a graph depends on in a `CustomTensor` beside its tensors."""
    return x._requires_grad, x._node is None, x._grad is None, tuple(x._hooks) if x._hooks else None


def metadata(tensors: Sequence[Tensor]) -> list[Any]:
    """What a graph depends on in each tensor beside its entries."""
    return [(tensor.shape, tensor.stride(), tensor.dtype, tensor.device, tensor.requires_grad) for tensor in tensors]


def _guard(value: Any) -> Any:
    """Something hashable that is equal for values from which the same graph follows."""
    if isinstance(value, dict):
        return tuple((name, _guard(item)) for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return (type(value), *map(_guard, value))
    if isinstance(value, (set, frozenset)):
        return type(value), frozenset(map(_guard, value))
    if isinstance(value, (int, float, str)):
        return type(value), value
    if value.__hash__ is None or isinstance(value, (Tensor, CustomTensor)):  # whose == compares their elements
        return _Identity(value)
    return value


class _Identity:
    """Stands in a key for an object that can't be hashed or compared, and keeps it: no other one takes its identity."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other.value is self.value
