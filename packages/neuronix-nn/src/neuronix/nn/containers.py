"""Containers: modules made of modules."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, overload

from neuronix.nn.errors import ModuleKeyError, ModuleTypeError
from neuronix.nn.module import Module

__all__ = ["ModuleDict", "ModuleList", "Sequential"]


class _Listed(Module):
    """Modules whose names are their positions."""

    def _like(self, modules: list[Any]) -> Any:
        """A container of this kind with other modules."""
        raise NotImplementedError

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
        return self._all()[index]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(list(self._module_names)[index], module)

    def __delitem__(self, index: int | slice) -> None:
        modules = self._all()
        del modules[index]
        self._replace(modules)

    def append(self, module: Module) -> Any:
        """Add a module at the end, and return the container."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add modules at the end, and return the container."""
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Any:
        """Insert a module before position ``index``."""
        modules = self._all()
        modules.insert(index, module)
        self._replace(modules)
        return self


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

    def _like(self, modules: list[Any]) -> Sequential:
        return Sequential(*modules)

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
        return ModuleList(modules)

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

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def update(self, modules: Mapping[str, Module]) -> None:
        """Add or replace modules.

        Raises:
            ModuleTypeError: If ``modules`` isn't a mapping.
        """
        if not isinstance(modules, Mapping):
            raise ModuleTypeError(
                f"ModuleDict: a mapping of names to modules is expected, got {type(modules).__name__}"
            )
        for name, module in modules.items():
            self[name] = module

    def __getitem__(self, key: str) -> Any:
        if key not in self._module_names:
            raise ModuleKeyError(f"ModuleDict has no {key!r}", hint=f"it has: {', '.join(self._module_names)}")
        return self.__dict__[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._module_names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._module_names)

    def __contains__(self, key: str) -> bool:
        return key in self._module_names

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._module_names.keys()

    def values(self) -> list[Any]:
        """The modules."""
        return [self.__dict__[name] for name in self._module_names]

    def items(self) -> list[tuple[str, Any]]:
        """Names and modules."""
        return [(name, self.__dict__[name]) for name in self._module_names]
