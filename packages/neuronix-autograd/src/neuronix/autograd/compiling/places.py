"""Where the tensors of arguments and state are, and what else a graph depends on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from neuronix.autograd.errors import CompileError
from neuronix.autograd.tensor import CustomTensor

__all__ = ["Numbers", "Place", "Places", "check_memory", "flatten_state", "is_custom"]

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
        values: The dict.
        name: Its name there.
        value: What stands there.
        inputs: Positions among the tensors; of a `CustomTensor` its values and, if there is one, its gradient.
    """

    values: dict[Any, Any]
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
    """

    def __init__(self, held: Sequence[Held], numbers: Numbers) -> None:
        self.held = held
        self.key: list[Any] = []
        self.tensors: list[Tensor] = []
        self._found: list[tuple[dict[Any, Any], Any, Any, list[int]]] = []
        self.customs: list[CustomTensor] = []
        self._numbers = numbers
        self._positions: dict[int, int] = {}
        self.guards = [_guard(guard) for _, _, guard in held]
        self.key += self.guards
        for number, (values, numbers_are_inputs, _) in enumerate(held):
            for name, value in values.items():
                # Nearly all attributes of a layer are plain, or are its hooks, of which there are none.  This loop is
                # run at each call: it is what a compiled step costs in Python.
                kind = type(value)
                if kind in _PLAIN:
                    self.key += (name, kind, value)
                    continue
                if kind is dict and not value:
                    self.key += (name, kind)
                    continue
                self.key.append(name)
                inputs = self._inputs(value, (number, name) if numbers_are_inputs else None)
                if inputs is None:
                    self.key.append(_guard(value))
                else:
                    self._found.append((values, name, value, inputs))

    @property
    def places(self) -> list[Place]:
        """Where the inputs are."""
        return [Place(values, name, value, tuple(inputs)) for values, name, value, inputs in self._found]

    def state_positions(self) -> dict[int, int]:
        """Positions of the state's tensors by identity."""
        arguments = self.held[0][0]
        places = [place for place in self.places if place.values is not arguments]
        return {id(self.tensors[position]): position for place in places for position in place.inputs}

    def _inputs(self, value: Any, number: tuple[int, Any] | None) -> list[int] | None:
        """The inputs that a value becomes, ``None`` for a constant; ``number`` is what a float is known by."""
        if isinstance(value, CustomTensor):
            inputs = [self._add(value._data)]
            if value._grad is not None:
                inputs.append(self._add(value._grad))
            hooks = tuple(value._hooks) if value._hooks else None
            self.key.append((value._requires_grad, value._node is None, len(inputs), hooks))
            self.customs.append(value)
            return inputs
        if isinstance(value, Tensor):
            return [self._add(value)]
        # A number that is zero turns something off (weight decay, momentum): then the graph is another one.  Not so a
        # learning rate, with which a schedule may begin or end.
        if number and isinstance(value, float) and (value or number[1] == "lr"):
            return [self._add_number(number, value)]
        if number and type(value) is tuple and value and all(isinstance(item, float) and item for item in value):
            return [self._add_number((*number, n), item) for n, item in enumerate(value)]
        return None

    def _add(self, tensor: Tensor) -> int:
        position = self._positions.setdefault(id(tensor), len(self.tensors))
        if position == len(self.tensors):
            if tensor.layout is not torch.strided:
                raise CompileError(
                    f"compile: a tensor of shape {tuple(tensor.shape)} among the arguments or in the state has the "
                    f"layout {tensor.layout}, which can't be traced",
                    hint="make it dense, with .to_dense(), or don't compile this step",
                )
            self.tensors.append(tensor)
            self.key.append((tensor.shape, tensor.stride(), tensor.dtype, tensor.device, tensor.requires_grad))
        else:
            self.key.append(position)  # met before: tied
        return position

    def _add_number(self, place: Any, value: float) -> int:
        """A number as a tensor, which is made anew only when it has changed."""
        known = self._numbers.get(place)
        if known is None or known[0] != value:
            known = self._numbers[place] = (value, torch.tensor(value, dtype=torch.float64))
        return self._add(known[1])


def _guard(value: Any) -> Any:
    """Something hashable that is equal for values from which the same graph follows."""
    if isinstance(value, dict):
        return tuple((name, _guard(item)) for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return (type(value), *map(_guard, value))
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
