"""Containers of modules: a list, a dictionary, and a chain."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, TypeVar, overload

from neuronix.nn.errors import LayerArgumentError, ModuleIndexError, ModuleKeyError, ModuleTypeError
from neuronix.nn.module import Module

__all__ = ["ModuleDict", "ModuleList", "Sequential", "pairs_of", "position_of"]

L = TypeVar("L", bound="_Listed")


def position_of(container: Any, index: Any) -> int:
    """An index of a container as a position from its beginning.

    Raises:
        ModuleIndexError: If it is out of range.
    """
    position = operator.index(index)
    if not -len(container) <= position < len(container):
        raise ModuleIndexError(
            f"index {position} is out of range: the {type(container).__name__} has {len(container)} entries"
        )
    return position % len(container)


def pairs_of(name: str, given: Any) -> Iterable[tuple[str, Any]]:
    """Names and values of a mapping, or of an iterable of pairs.

    Raises:
        ModuleTypeError: If it is neither.
        LayerArgumentError: If an element of the iterable isn't a pair.
    """
    if not isinstance(given, Iterable):
        raise ModuleTypeError(f"{name}: an iterable of key/value pairs is expected, got {type(given).__name__}")
    if hasattr(given, "items"):
        return list(given.items())
    pairs = []
    for number, pair in enumerate(given):
        if not isinstance(pair, Iterable):
            raise ModuleTypeError(f"{name}: element #{number} should be a pair, got {type(pair).__name__}")
        pair = tuple(pair)
        if len(pair) != 2:
            raise LayerArgumentError(f"{name}: element #{number} has length {len(pair)}; 2 is required")
        pairs.append(pair)
    return pairs


class _Listed(Module):
    """Modules whose names are their positions."""

    def _like(self: L, modules: list[Any]) -> L:
        """A container of this kind with other modules."""
        return type(self)(*modules)

    def _all(self) -> list[Any]:
        return [self.__dict__[name] for name in self._module_names]

    def _replace(self, modules: Iterable[Any]) -> None:
        modules = list(modules)
        for name in list(self._module_names):
            delattr(self, name)
        for position, module in enumerate(modules):
            self.add_module(str(position), module)

    def __len__(self) -> int:
        return len(self._module_names)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._all())

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._like(self._all()[index])
        return self._all()[position_of(self, index)]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(list(self._module_names)[position_of(self, index)], module)

    def __delitem__(self, index: int | slice) -> None:
        modules = self._all()
        del modules[index if isinstance(index, slice) else position_of(self, index)]
        self._replace(modules)

    def __iadd__(self: L, modules: Iterable[Module]) -> L:
        return self.extend(modules)

    def append(self: L, module: Module) -> L:
        """Add a module at the end, and return the container."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self: L, modules: Iterable[Module]) -> L:
        """Add modules at the end, and return the container.

        Raises:
            ModuleTypeError: If ``modules`` isn't an iterable of modules; nothing is added then.
        """
        if not isinstance(modules, Iterable):
            raise ModuleTypeError(f"{type(self).__name__}.extend: an iterable is expected, got {modules!r}")
        added = list(modules)
        for module in added:
            if module is not None and not isinstance(module, Module):
                raise ModuleTypeError(f"{type(module).__name__} is not a Module subclass")
        for module in added:
            self.append(module)
        return self

    def insert(self: L, index: int, module: Module) -> L:
        """Insert a module before position ``index``.

        Raises:
            ModuleIndexError: If the position is out of range.
            ModuleTypeError: If ``module`` isn't one.
        """
        if not isinstance(module, Module):
            raise ModuleTypeError(f"{type(module).__name__} is not a Module subclass")
        if not -len(self) <= index <= len(self):
            raise ModuleIndexError(f"index {index} is out of range: the {type(self).__name__} has {len(self)} entries")
        modules = self._all()
        modules.insert(index, module)
        self._replace(modules)
        return self

    def pop(self, key: int) -> Any:
        """Take the module at a position out, and return it."""
        module = self[key]
        del self[key]
        return module


class Sequential(_Listed):
    """Modules that are applied one after the other.

    Args:
        *modules: The modules, or one ordered dictionary of named ones.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> model(torch.zeros(5, 4)).shape
        torch.Size([5, 2])
        >>> model[0]
        Linear(in_features=4, out_features=8, bias=True)
    """

    @overload
    def __init__(self, *modules: Module) -> None: ...

    @overload
    def __init__(self, modules: OrderedDict[str, Module], /) -> None: ...

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, module)
        else:
            for position, module in enumerate(modules):
                self.add_module(str(position), module)

    def __add__(self, other: Sequential) -> Sequential:
        if not isinstance(other, Sequential):
            raise LayerArgumentError(f"Sequential: only a Sequential can be added, got {type(other).__name__}")
        return Sequential(*self, *other)

    def __mul__(self, times: int) -> Sequential:
        return Sequential(*self._repeated(times))

    __rmul__ = __mul__

    def __imul__(self, times: int) -> Sequential:
        return self.extend(self._repeated(times)[len(self) :])

    def _repeated(self, times: int) -> list[Any]:
        if not isinstance(times, int):
            raise ModuleTypeError(f"Sequential: a chain is repeated an integer number of times, not {times!r}")
        if times <= 0:
            raise LayerArgumentError(f"Sequential: a chain is repeated a positive number of times, not {times}")
        return self._all() * times

    def forward(self, input: Any) -> Any:
        """Apply the modules in order."""
        attributes = self.__dict__
        for name in self._module_names:
            input = attributes[name](input)
        return input


class ModuleList(_Listed):
    """A list of modules whose parameters are found.

    Args:
        modules: The modules.

    Example:
        >>> from neuronix import nn
        >>> layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(4))
        >>> len(layers), len(list(layers.parameters()))
        (4, 8)
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(modules or ())

    def _like(self, modules: list[Any]) -> ModuleList:
        return type(self)(modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def _shown_children(self) -> list[tuple[str, str]]:
        """Equal neighbours are shown once, as in ``(0-3): 4 x ReLU()``."""
        shown, first = [], 0
        for text, group in groupby(map(repr, self)):
            count = len(list(group))
            shown.append((f"{first}", text) if count == 1 else (f"{first}-{first + count - 1}", f"{count} x {text}"))
            first += count
        return shown


class ModuleDict(Module):
    """A dictionary of modules whose parameters are found.

    Args:
        modules: The modules by name.

    Example:
        >>> from neuronix import nn
        >>> heads = nn.ModuleDict({"age": nn.Linear(8, 1), "name": nn.Linear(8, 26)})
        >>> list(heads)
        ['age', 'name']
    """

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add or replace modules, of a mapping or an iterable of pairs.

        Raises:
            ModuleTypeError: If ``modules`` is neither.
            LayerArgumentError: If an element isn't a pair.
        """
        for name, module in pairs_of("ModuleDict", modules):
            self[name] = module

    def __getitem__(self, key: str) -> Any:
        if key not in self._module_names:
            raise ModuleKeyError(f"ModuleDict has no {key!r}", hint=f"it has: {', '.join(self._module_names)}")
        return self.__dict__[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        self[key]  # says what there is, if the name isn't
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._module_names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._module_names)

    def __contains__(self, key: str) -> bool:
        return key in self._module_names

    def pop(self, key: str) -> Any:
        """Take a module out, and return it.

        Raises:
            ModuleKeyError: If there is none of that name.
        """
        module = self[key]
        del self[key]
        return module

    def clear(self) -> None:
        """Take all modules out."""
        for name in list(self._module_names):
            del self[name]

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._module_names.keys()

    def values(self) -> list[Any]:
        """The modules."""
        return [self.__dict__[name] for name in self._module_names]

    def items(self) -> list[tuple[str, Any]]:
        """Names and modules."""
        return [(name, self.__dict__[name]) for name in self._module_names]
