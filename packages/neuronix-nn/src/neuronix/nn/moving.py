"""Moving a module's tensors to another device or element type."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor
from neuronix.nn.errors import ModuleTypeError

if TYPE_CHECKING:
    from neuronix.nn.module import Module

__all__ = ["as_dtype", "convert", "mover"]


def convert(module: Module, function: Callable[[Tensor], Tensor], recurse: bool) -> None:
    """Put ``function(tensor)`` in the place of each parameter's values and gradient, and of each buffer.

    The parameters stay the same objects, so optimizers keep them.  All results are there before the first is put in
    its place: if one of them fails, the module is as it was.
    """
    grads = []
    values = []
    for parameter in module.parameters(recurse):
        values.append((parameter, function(parameter.data)))
        if parameter.grad is not None:
            grads.append((parameter, function(parameter.grad)))
    members = list(module._members("_buffer_names", "", recurse, False))
    buffers = [(owner, name, function(buffer)) for _, owner, name, buffer in members]
    for parameter, value in values:
        if parameter.requires_grad and not (value.is_floating_point() or value.is_complex()):
            raise ModuleTypeError(
                f"{type(module).__name__}: a parameter that requires grad can't be converted to {value.dtype}",
                hint="call requires_grad_(False) first",
            )
    for parameter, value in values:
        parameter.data = value
    for parameter, grad in grads:
        parameter.grad = grad
    for owner, name, buffer in buffers:
        owner.__dict__[name] = buffer


def as_dtype(dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """Conversion of floating-point tensors; others stay as they are."""
    return lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor


def mover(*args: Any, **kwargs: Any) -> Callable[[Tensor], Tensor]:
    """What the arguments of ``to`` mean, as a function of a tensor.

    Raises:
        ModuleTypeError: If they mean nothing, or an integer type.
    """
    device, dtype, non_blocking, memory_format = _destination(*args, **kwargs)
    if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
        raise ModuleTypeError(f"to() only accepts floating point or complex dtypes, got {dtype}")

    def move(tensor: Tensor) -> Tensor:
        options: dict[str, Any] = {"device": device, "non_blocking": non_blocking}
        if tensor.is_floating_point() or tensor.is_complex():
            options["dtype"] = dtype
        if memory_format is not None and tensor.ndim in (4, 5):
            options["memory_format"] = memory_format
        return tensor.to(**options)

    return move


def _destination(
    *args: Any,
    device: torch.device | str | int | None = None,
    dtype: torch.dtype | None = None,
    non_blocking: bool = False,
    memory_format: torch.memory_format | None = None,
    tensor: Tensor | CustomTensor | None = None,
) -> tuple[torch.device | str | int | None, torch.dtype | None, bool, torch.memory_format | None]:
    """The device, dtype and the rest that the arguments of ``to`` mean."""
    for argument in args if tensor is None else (*args, tensor):
        if isinstance(argument, (Tensor, CustomTensor)):
            device, dtype = argument.device, argument.dtype
        elif isinstance(argument, torch.dtype):
            dtype = argument
        elif isinstance(argument, bool):
            non_blocking = argument
        elif isinstance(argument, (str, int, torch.device)):
            device = argument
        elif argument is not None:
            raise ModuleTypeError(f"to(): {argument!r} is neither a device nor a dtype nor a tensor")
    return device, dtype, non_blocking, memory_format
