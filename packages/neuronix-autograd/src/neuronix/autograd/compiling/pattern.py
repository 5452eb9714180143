"""Whether a call finds what the one before has found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, compress
from operator import is_
from typing import Any

from torch import Tensor

from neuronix.autograd.compiling.places import Held, Numbers, Place, Places, inputs_of, metadata, traits
from neuronix.autograd.tensor import CustomTensor

__all__ = ["Pattern"]


class Pattern:
    """What `Places` has found, without the tensors.

    `Places` walks through everything and makes a key of it, which finds the graph among many.  Nearly always it is
    that of the last call, and nothing but tensors and numbers has changed.  A pattern finds that out several times
    quicker, by comparing identities in loops that aren't Python's.  Where it isn't sure, the key decides.
    """

    def __init__(self, places: Places) -> None:
        dicts = [values for values, _, _ in places.held]
        self._sizes = [*map(len, dicts)]
        self._names = [*chain.from_iterable(dicts)]
        self._guards = [*chain.from_iterable(beside for _, *beside in places.held)]
        found = {(place.number, place.name): place for place in places.places}
        kinds = [_kind(found.get((number, name))) for number, values in enumerate(dicts) for name in values]
        self._is = {kind: [one == kind for one in kinds] for kind in ("constant", "tensor", "custom", "number")}
        self._constants = [*compress(_values(dicts), self._is["constant"])]
        self._containers = [*_containers((*self._constants, *self._guards))]
        self._container_sizes = [*map(len, self._containers)]
        self._contents = [*chain.from_iterable(self._containers)]
        ordered = {kind: [place for place in places.places if _kind(place) == kind] for kind in self._is}
        self._places = [(place.number, place.name) for place in ordered["number"]]
        self._how_many = [len(place.inputs) for place in ordered["number"]]
        self._kinds = [type(place.value) for place in (*ordered["tensor"], *ordered["custom"])]
        self._traits = [traits(place.value) for place in ordered["custom"]]
        positions = [place.inputs[0] for place in (*ordered["tensor"], *ordered["custom"])]
        positions += [place.inputs[1] for place in ordered["custom"] if len(place.inputs) > 1]
        positions += chain.from_iterable(place.inputs for place in ordered["number"])
        first: dict[int, int] = {}
        self._ties = [
            (n, first[position]) for n, position in enumerate(positions) if first.setdefault(position, n) != n
        ]
        self._order = [first[position] for position in range(len(places.tensors))]
        self._metadata = metadata(places.tensors)

    def match(self, held: Sequence[Held], numbers: Numbers) -> tuple[list[Tensor], list[CustomTensor]] | None:
        """The tensors and `CustomTensor`s of now, as `Places` would give them; ``None`` if anything else may differ."""
        dicts = [values for values, _, _ in held]
        values = _values(dicts)
        same = (
            [*map(len, dicts)] == self._sizes
            and _identical(chain.from_iterable(dicts), self._names)
            and _identical(compress(values, self._is["constant"]), self._constants)
            and _identical(chain.from_iterable([beside for _, *beside in held]), self._guards)
            and [*map(len, self._containers)] == self._container_sizes
            and _identical(chain.from_iterable(self._containers), self._contents)
        )
        if not same:
            return None
        tensors = [*compress(values, self._is["tensor"])]
        customs = [*compress(values, self._is["custom"])]
        if [*map(type, (*tensors, *customs))] != self._kinds or [traits(x) for x in customs] != self._traits:
            return None
        tensors += [x._data for x in customs]
        tensors += [x._grad for x in customs if x._grad is not None]
        for value, place, size in zip(compress(values, self._is["number"]), self._places, self._how_many, strict=True):
            found = inputs_of(value, place, numbers)
            if found is None or len(found) != size:
                return None
            tensors += found
        if any(tensors[n] is not tensors[known] for n, known in self._ties):
            return None
        tensors = [tensors[n] for n in self._order]
        if len({*map(id, tensors)}) < len(tensors) or metadata(tensors) != self._metadata:
            return None
        return tensors, customs


def _values(dicts: Iterable[dict[Any, Any]]) -> list[Any]:
    return [*chain.from_iterable([values.values() for values in dicts])]


def _containers(values: Iterable[Any]) -> Iterator[Any]:
    """Containers, and those within, as what gives their contents: names and values of a dict, items of others."""
    for value in values:
        if isinstance(value, dict):
            yield value
            yield value.values()
            yield from _containers(value.values())
        elif isinstance(value, (list, tuple, set, frozenset)):
            yield value
            yield from _containers(value)


def _kind(place: Place | None) -> str:
    """What a place holds."""
    if place is None:
        return "constant"
    if isinstance(place.value, CustomTensor):
        return "custom"
    return "tensor" if isinstance(place.value, Tensor) else "number"


def _identical(some: Any, others: Any) -> bool:
    """Whether the items of as many others are the same objects."""
    return all(map(is_, some, others))
