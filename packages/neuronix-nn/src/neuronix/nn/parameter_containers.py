"""Containers of parameters: a list and a dictionary."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from neuronix.autograd import CustomTensor
from neuronix.autograd.errors import UnsupportedError
from neuronix.nn.containers import pairs_of, position_of
from neuronix.nn.errors import ModuleKeyError, ModuleTypeError
from neuronix.nn.module import Module
from neuronix.nn.parameter import Parameter

__all__ = ["ParameterDict", "ParameterList"]


class _ParameterContainer(Module):
    """Holds values, of which tensors become parameters."""

    def _entries(self) -> Iterable[tuple[Any, Any]]:
        """Keys and values."""
        raise NotImplementedError

    def _put(self, name: str, value: Any) -> None:
        if isinstance(value, (torch.Tensor, CustomTensor)) and not isinstance(value, Parameter):
            value = Parameter(value.data if isinstance(value, CustomTensor) else value)
        setattr(self, name, value)

    def _type_of(self, value: CustomTensor) -> str:
        return str(value.dtype)

    def extra_repr(self) -> str:
        """A line for each entry."""
        lines = []
        for key, value in self._entries():
            if isinstance(value, Parameter):
                size = "x".join(map(str, value.shape))
                place = f" ({value.device})" if value.device.type == "cuda" else ""
                lines.append(f"  ({key}): Parameter containing: [{self._type_of(value)} of size {size}{place}]")
            else:
                lines.append(f"  ({key}): Object of type: {type(value).__name__}")
        return "\n".join(lines)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise UnsupportedError(
            f"{type(self).__name__} should not be called", hint="call a module that uses its entries"
        )


class ParameterList(_ParameterContainer):
    """A list of parameters, which its module finds.

    Args:
        values: Tensors, which become parameters, and whatever else is to be kept with them.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> weights = nn.ParameterList([torch.zeros(2, 3), torch.zeros(4)])
        >>> weights
        ParameterList(
            (0): Parameter containing: [torch.float32 of size 2x3]
            (1): Parameter containing: [torch.float32 of size 4]
        )
        >>> [name for name, _ in weights.named_parameters()]
        ['0', '1']
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self._size = 0
        if values is not None:
            self.extend(values)

    def _entries(self) -> Iterable[tuple[Any, Any]]:
        return enumerate(self)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return getattr(self, str(position_of(self, index)))

    def __setitem__(self, index: int, value: Any) -> None:
        self._put(str(position_of(self, index)), value)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return (getattr(self, str(position)) for position in range(self._size))

    def __iadd__(self, values: Iterable[Any]) -> ParameterList:
        return self.extend(values)

    def append(self, value: Any) -> ParameterList:
        """Add a value at the end, and return the list."""
        self._put(str(self._size), value)
        self._size += 1
        return self

    def extend(self, values: Iterable[Any]) -> ParameterList:
        """Add values at the end, and return the list.

        Raises:
            ModuleTypeError: If ``values`` isn't an iterable, or is a tensor.
        """
        if not isinstance(values, Iterable) or isinstance(values, (torch.Tensor, CustomTensor)):
            raise ModuleTypeError(f"ParameterList.extend: an iterable is expected, got {type(values).__name__}")
        for value in list(values):
            self.append(value)
        return self


class ParameterDict(_ParameterContainer):
    """A dictionary of parameters, which its module finds.

    Args:
        parameters: Tensors by name, which become parameters, and whatever else is to be kept with them: a mapping, or
            an iterable of pairs.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> scales = nn.ParameterDict({"left": torch.zeros(2), "right": torch.zeros(3)})
        >>> scales["left"].shape
        torch.Size([2])
        >>> [name for name, _ in scales.named_parameters()]
        ['left', 'right']
    """

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self._keys: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def _entries(self) -> Iterable[tuple[Any, Any]]:
        return self.items()

    def _type_of(self, value: CustomTensor) -> str:
        return torch.typename(value.data)

    def __getitem__(self, key: str) -> Any:
        if key not in self._keys:
            raise ModuleKeyError(f"ParameterDict has no {key!r}", hint=f"it has: {', '.join(self._keys)}")
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise ModuleTypeError(f"ParameterDict: keys are strings, got {key!r}")
        self._put(key, value)
        self._keys[key] = None

    def __delitem__(self, key: str) -> None:
        self[key]  # says what there is, if the key isn't
        delattr(self, key)
        del self._keys[key]

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __or__(self, other: Any) -> ParameterDict:
        both = self.copy()
        both.update(other)
        return both

    def __ror__(self, other: Any) -> Any:
        both = other.copy()
        both.update(self)
        return both

    def __ior__(self, other: Any) -> ParameterDict:
        self.update(other)
        return self

    def copy(self) -> ParameterDict:
        """Another dictionary with the same parameters."""
        return ParameterDict(OrderedDict(self.items()))

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value of ``key``, which is set to ``default`` first if it isn't there."""
        if key not in self:
            self[key] = default
        return self[key]

    def clear(self) -> None:
        """Take all entries out."""
        for key in list(self._keys):
            del self[key]

    def pop(self, key: str) -> Any:
        """Take an entry out, and return its value."""
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Take the last entry out, and return it.

        Raises:
            ModuleKeyError: If there is none.
        """
        if not self._keys:
            raise ModuleKeyError("ParameterDict is empty")
        key = next(reversed(self._keys))
        return key, self.pop(key)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of ``key``, or ``default``."""
        return self[key] if key in self else default  # noqa: SIM401  (this is the method that the rule would use)

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """A dictionary with ``default`` for each key."""
        return ParameterDict((key, default) for key in keys)

    def keys(self) -> Iterable[str]:
        """The keys."""
        return self._keys.keys()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Keys and values."""
        return ((key, self[key]) for key in self._keys)

    def values(self) -> Iterable[Any]:
        """The values."""
        return (self[key] for key in self._keys)

    def update(self, parameters: Any) -> None:
        """Add or replace entries.

        Args:
            parameters: A mapping, or an iterable of pairs.  A plain dictionary is taken in the order of its sorted
                keys, as in torch; an ordered one and pairs in their own.

        Raises:
            ModuleTypeError: If it is neither.
            LayerArgumentError: If an element isn't a pair.
        """
        pairs = pairs_of("ParameterDict", parameters)
        if isinstance(parameters, Mapping) and not isinstance(parameters, OrderedDict):
            pairs = sorted(pairs, key=lambda pair: pair[0])
        for key, value in pairs:
            self[key] = value
