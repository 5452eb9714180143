"""Copies, conversions between element types and devices, and new tensors like another one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd.dispatch.inplace import is_recorded, not_a_number, unwrap
from neuronix.autograd.errors import GradientError
from neuronix.autograd.ops.shapes import as_strided, expand_, view_
from neuronix.autograd.primitive import composite, primitive
from neuronix.autograd.primitive.runtime import constant_result
from neuronix.autograd.tensor import CustomTensor

__all__ = [
    "as_strided_copy",
    "clone",
    "contiguous",
    "detach",
    "fill",
    "to",
    "to_dense",
    "type_as",
]


# Copies and conversions


@primitive(names="clone", aten="clone.default lift_fresh_copy.default")
def clone(x: Tensor, *, memory_format: torch.memory_format | None = None) -> Tensor:
    """A copy."""
    return torch.clone(x, memory_format=torch.preserve_format if memory_format is None else memory_format)


@clone.vjp("x")
def clone_wrt_x(grad: Tensor) -> Tensor:
    return grad


@composite(names="as_strided_copy", aten="as_strided_copy.default")
def as_strided_copy(x: Any, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> Any:
    """As `as_strided`, in memory of its own."""
    return clone(as_strided(x, size, stride, storage_offset))


@primitive(view=True, names="to_dense", aten="_to_dense.default")
def to_dense(x: Tensor, dtype: torch.dtype | None = None, *, masked_grad: bool | None = None) -> Tensor:
    """A sparse tensor with its zeros; a dense one as it is."""
    return x.to_dense(dtype, masked_grad=masked_grad)


@to_dense.vjp("x")
def to_dense_wrt_x(grad: Tensor) -> Tensor:
    return grad


@composite(names="contiguous")
def contiguous(x: Any, memory_format: torch.memory_format = torch.contiguous_format) -> Any:
    """The same elements, in order in memory: the tensor itself if they are, else a copy."""
    if isinstance(x, CustomTensor) and x.is_contiguous(memory_format=memory_format):
        return x
    return clone(x, memory_format=memory_format)


@composite(names="positive __pos__", aten="alias.default")
def alias(x: Any) -> Any:
    """The tensor itself, as a view."""
    return view_(x, tuple(x.shape)) if x.is_contiguous() else expand_(x, tuple(x.shape))


@composite(names="detach", aten="detach.default lift_fresh.default")
def detach(x: Any) -> Any:
    """A constant that shares the values."""
    return constant_result(unwrap(x).detach())


@primitive(view=True)
def to_(
    x: Tensor,
    device: torch.device | None,
    dtype: torch.dtype | None,
    source: torch.device,
    non_blocking: bool = False,
    copy: bool = False,
    memory_format: torch.memory_format | None = None,
) -> Tensor:
    """The values on another device or in another element type; ``source`` is the device they come from."""
    return x.to(device=device, dtype=dtype, non_blocking=non_blocking, copy=copy, memory_format=memory_format)


@to_.vjp("x")
def to_wrt_x(grad: Tensor, source: torch.device) -> Tensor:
    # the engine itself brings a gradient back to its argument's element type
    return grad.to(source)


@composite(names="to")
def to(
    x: Any,
    *place: Any,
    device: Any = None,
    dtype: torch.dtype | None = None,
    other: Any = None,
    non_blocking: bool = False,
    copy: bool = False,
    memory_format: torch.memory_format | None = None,
) -> Any:
    """The tensor on another device, in another element type, or both.

    In all of torch's spellings: ``x.to(dtype)``, ``x.to(device)``, ``x.to(device, dtype)``, ``x.to(other)``, and by
    keyword.  Where nothing changes the tensor itself is returned.  An integer or boolean result is a constant.

    Args:
        x: Tensor.
        place: A device, an element type or another tensor; after it torch's ``non_blocking`` and ``copy``.
        device: By keyword.
        dtype: By keyword.
        other: A tensor whose device and element type are taken.
        non_blocking: Let a copy between devices run on its own, where that is possible.
        copy: Copy even if nothing changes.
        memory_format: Layout of the result.

    Returns:
        The tensor, or a converted copy.
    """
    flags = []
    for value in place:
        if isinstance(value, torch.dtype):
            dtype = value
        elif isinstance(value, bool):
            flags.append(value)
        elif isinstance(value, (Tensor, CustomTensor)):
            other = value
        elif value is not None:
            device = value
    non_blocking, copy = (*flags, *(non_blocking, copy)[len(flags) :])
    if other is not None:
        device, dtype = other.device, other.dtype
    source = x.device
    device = source if device is None else torch.device(device)
    dtype = x.dtype if dtype is None else dtype
    if device == source and dtype is x.dtype and not copy and memory_format is None and isinstance(x, CustomTensor):
        return x
    return to_(x, device, dtype, source, non_blocking, copy, memory_format)


@composite(names="", aten="_to_copy.default")
def to_copy(
    x: Any,
    *,
    dtype: torch.dtype | None = None,
    layout: torch.layout | None = None,
    device: Any = None,
    pin_memory: bool | None = None,
    non_blocking: bool = False,
    memory_format: torch.memory_format | None = None,
) -> Any:
    """`to` as ATen spells it: always a copy."""
    del layout, pin_memory  # strided and unpinned, as everything here
    return to(x, device=device, dtype=dtype, non_blocking=non_blocking, copy=True, memory_format=memory_format)


@composite(names="type_as")
def type_as(x: Any, other: Any) -> Any:
    """`to` the element type of ``other``."""
    return to(x, other.dtype)


def _bind_conversion(name: str, dtype: torch.dtype) -> None:
    def convert(x: Any, memory_format: torch.memory_format | None = None) -> Any:
        return to(x, dtype, memory_format=memory_format)

    convert.__name__ = convert.__qualname__ = name
    convert.__doc__ = f"``x.to({dtype})``."
    composite(names=name)(convert)


for _name, _dtype in {
    "float": torch.float32,
    "double": torch.float64,
    "half": torch.float16,
    "bfloat16": torch.bfloat16,
    "int": torch.int32,
    "long": torch.int64,
    "short": torch.int16,
    "char": torch.int8,
    "byte": torch.uint8,
    "bool": torch.bool,
    "cfloat": torch.complex64,
    "cdouble": torch.complex128,
}.items():
    _bind_conversion(_name, _dtype)


@composite(names="type")
def type_(x: Any, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The name of the tensor's type, or the tensor in another element type."""
    if dtype is None:
        return unwrap(x).type()
    if isinstance(dtype, torch.dtype):
        return to(x, dtype, non_blocking=non_blocking)
    return to(x, torch.empty(0).type(dtype).dtype, non_blocking=non_blocking)


@composite(names="cpu")
def cpu(x: Any, memory_format: torch.memory_format | None = None) -> Any:
    """The tensor in the CPU's memory."""
    return to(x, "cpu", memory_format=memory_format)


@composite(names="cuda")
def cuda(
    x: Any, device: Any = None, non_blocking: bool = False, memory_format: torch.memory_format | None = None
) -> Any:
    """The tensor in a CUDA device's memory."""
    return to(x, "cuda" if device is None else device, non_blocking=non_blocking, memory_format=memory_format)


# What writes over all elements


@primitive(names="fill", aten="fill.Scalar fill.Tensor")
def fill(x: Tensor, value: Tensor) -> Tensor:
    """``value`` everywhere, in the shape of ``x``."""
    return torch.fill(x, value)


@fill.vjp("x")
def fill_wrt_x(grad: Tensor) -> Tensor:
    return torch.zeros_like(grad)


@fill.vjp("value")
def fill_wrt_value(grad: Tensor) -> Tensor:
    return grad.sum()


@primitive(broadcasts=True, aten="copy.default")
def copy(x: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """What ``x.copy_(src)`` leaves in ``x``: ``src`` in its shape, element type and place, and nothing of ``x``."""
    return torch.ops.aten.copy.default(x, src, non_blocking)  # type: ignore[no-any-return]


@copy.vjp("x")
def copy_wrt_x(grad: Tensor) -> Tensor:
    return torch.zeros_like(grad)


@copy.vjp("src")
def copy_wrt_src(grad: Tensor) -> Tensor:
    return grad


# New tensors like another one: constants


def _bind_constant(name: str, function: Callable[..., Any]) -> None:
    """``name`` for tensors of which only shape, type and place count."""

    def like(
        x: Any,
        *args: Any,
        size: Any = None,
        fill_value: Any = None,
        dtype: torch.dtype | None = None,
        layout: torch.layout | None = None,
        device: Any = None,
        pin_memory: bool | None = None,
        requires_grad: bool = False,
        memory_format: torch.memory_format | None = None,
    ) -> Any:
        options = {
            "size": size,
            "fill_value": fill_value,
            "dtype": dtype,
            "layout": layout,
            "device": device,
            "pin_memory": pin_memory,
            "memory_format": memory_format,
        }
        if is_recorded(args, fill_value):
            raise not_a_number()
        made = function(unwrap(x), *unwrap(args), **{key: unwrap(v) for key, v in options.items() if v is not None})
        return CustomTensor(made, requires_grad=True) if requires_grad else constant_result(made)

    like.__name__ = like.__qualname__ = name
    like.__doc__ = f"As torch's ``{name}``; the result is a constant."
    composite(names=name, aten=f"{name}.default")(like)


for _name in ("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like"):
    _bind_constant(_name, getattr(torch, _name))
for _name in ("new_zeros", "new_ones", "new_empty", "new_full", "new_empty_strided"):
    _bind_constant(_name, getattr(torch.Tensor, _name))


@composite(names="new_tensor")
def new_tensor(
    x: Any, data: Any, *, dtype: torch.dtype | None = None, device: Any = None, requires_grad: bool = False
) -> Any:
    """A leaf made from a copy of ``data``, by default in the element type and place of ``x``."""
    if is_recorded(data):
        raise GradientError(
            "new_tensor: data that requires grad can't become a leaf: the gradient would be lost",
            hint="give data.detach(), or use data.clone() or torch.stack for a result that depends on it",
        )
    values = unwrap(x).new_tensor(unwrap(data), dtype=dtype, device=device)
    return CustomTensor(values, requires_grad=requires_grad)
