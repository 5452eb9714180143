"""Nested states as named tensors and JSON, and back.

JSON has numbers, strings, ``true``, ``null`` and lists; they stand for themselves.  Everything else is an object with
one entry, whose name says what it is: ``{"tuple": [1, 2]}``, ``{"dict": [["lr", 0.1]]}``, ``{"tensor": "a.weight"}``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuronix.autograd import CustomTensor
from neuronix.nn.errors import CheckpointError

__all__ = ["Packed", "pack", "unpack"]


@dataclass
class Packed:
    """A state in two parts.

    Attributes:
        structure: What JSON can say.
        tensors: The tensors by the names that ``structure`` mentions; on the CPU, contiguous, each with its own memory.
    """

    structure: Any
    tensors: dict[str, Tensor] = field(default_factory=dict)


def pack(value: Any) -> Packed:
    """Take a state apart.

    Args:
        value: Tensors, numbers, strings, ``None``, objects with ``state_dict()``, and dicts, lists and tuples of them.

    Returns:
        Its parts; a tensor that occurs twice is kept once.

    Raises:
        CheckpointError: For anything else, or a container that contains itself.
    """
    packer = _Packer()
    structure = packer.pack(value, ())
    return Packed(structure, packer.tensors)


class _Packer:
    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.names: dict[Any, str] = {}  # of tensors that were met
        self.kept_alive: list[Any] = []  # what the identities in `names` belong to
        self.open: set[int] = set()  # containers that are being packed

    def pack(self, value: Any, path: tuple[str, ...]) -> Any:
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, (Tensor, CustomTensor, np.ndarray)):
            return self.pack_tensor(value, path)
        if isinstance(value, np.generic):
            return self.pack(value.item(), path)
        if isinstance(value, torch.Generator):
            return self.pack(value.get_state(), path)
        if isinstance(value, complex):
            return {"complex": [self.pack(value.real, path), self.pack(value.imag, path)]}
        if isinstance(value, (torch.dtype, torch.device)):
            return {type(value).__name__: str(value).removeprefix("torch.")}
        return self.pack_container(value, path)

    def pack_container(self, value: Any, path: tuple[str, ...]) -> Any:
        if id(value) in self.open:
            raise CheckpointError(f"save: {_where(path)} contains itself")
        self.open.add(id(value))
        try:
            if hasattr(value, "state_dict") and not isinstance(value, type):
                return self.pack(value.state_dict(), path)
            if isinstance(value, Mapping):
                pairs = [[self.pack_key(key, path), self.pack(item, (*path, str(key)))] for key, item in value.items()]
                return {"counter" if isinstance(value, Counter) else "dict": pairs}
            if isinstance(value, (list, tuple)):
                items = [self.pack(item, (*path, str(position))) for position, item in enumerate(value)]
                return {"tuple": items} if isinstance(value, tuple) else items
        finally:
            self.open.discard(id(value))
        raise CheckpointError(
            f"save: {_where(path)} is a {type(value).__name__}, which can't be saved without code",
            hint="tensors, numbers, strings, None, and dicts, lists and tuples of them can, and what has state_dict()",
        )

    def pack_key(self, key: Any, path: tuple[str, ...]) -> Any:
        if key is None or isinstance(key, (bool, int, float, str, tuple)):
            return self.pack(key, path)
        raise CheckpointError(f"save: {_where(path)} has the key {key!r}; strings, numbers and tuples can be saved")

    def pack_tensor(self, given: Any, path: tuple[str, ...]) -> Any:
        tensor = torch.as_tensor(given.data if isinstance(given, CustomTensor) else given).detach()
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type == "meta":
            kind = "quantized" if tensor.is_quantized else tensor.device.type if tensor.is_meta else str(tensor.layout)
            raise CheckpointError(f"save: {_where(path)} is a {kind} tensor, which safetensors doesn't hold")
        memory = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.is_conj(), tensor.is_neg())
        identity = (tensor.device, *memory) if tensor.numel() else id(given)
        name = self.names.get(identity)
        if name is None:
            name = self.names[identity] = self.free_name(".".join(path) or "tensor")
            self.kept_alive.append(given)
            real = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor.resolve_neg()
            self.tensors[name] = real.to("cpu", copy=True, memory_format=torch.contiguous_format)
        return {"complex tensor" if tensor.is_complex() else "tensor": name}

    def free_name(self, wanted: str) -> str:
        """A name of its own; keys with dots in them may ask for the same."""
        name, number = wanted, 1
        while name in self.tensors:
            name, number = f"{wanted}~{number}", number + 1
        return name


def _where(path: tuple[str, ...]) -> str:
    return f"entry {'.'.join(path)!r}" if path else "what was given"


def unpack(packed: Packed) -> Any:
    """Put a state together again.

    Args:
        packed: What [`pack`][neuronix.nn.structure.pack] returned.

    Returns:
        The state; states of objects are dicts.

    Raises:
        KeyError: If it mentions something unknown.
    """

    def build(part: Any) -> Any:
        if isinstance(part, list):
            return [build(item) for item in part]
        if not isinstance(part, dict):
            return part
        ((kind, content),) = part.items()
        if kind in ("dict", "counter"):
            pairs = {build(key): build(item) for key, item in content}
            return Counter(pairs) if kind == "counter" else pairs
        if kind == "tuple":
            return tuple(build(item) for item in content)
        if kind == "tensor":
            return packed.tensors[content]
        if kind == "complex tensor":
            return complexes.setdefault(content, torch.view_as_complex(packed.tensors[content]))
        return _SIMPLE[kind](build(content))

    complexes: dict[str, Tensor] = {}
    return build(packed.structure)


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise KeyError(name)
    return found


_SIMPLE: dict[str, Any] = {
    "complex": lambda parts: complex(*parts),
    "device": torch.device,
    "dtype": _dtype,
    "float": float,
}
