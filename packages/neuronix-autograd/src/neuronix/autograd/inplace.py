"""In-place operations, derived from the operations themselves.

``y *= 5`` on a result computes ``y * 5`` as usual, writes it into ``y``'s memory, and from then on ``y`` is the result
of that multiplication.  Whoever needs the old values for a gradient finds out by the tensor's version.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from neuronix.autograd.errors import DtypeError, GradientError, ShapeError
from neuronix.autograd.modes import is_grad_enabled
from neuronix.autograd.node import KeepGradient, Node
from neuronix.autograd.tensor import CustomTensor, new_result, version_of

__all__ = ["assign", "check_changeable", "method", "unwrap"]


def method(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The in-place method ``name`` that belongs to the operation ``function``."""

    def in_place(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not is_recorded(self, args, kwargs):
            values = unwrap(self)
            if hasattr(values, name):
                getattr(values, name)(*unwrap(args), **unwrap(kwargs))
            else:  # torch has the function (F.elu_), but no such method
                values.copy_(unwrap(function(self, *args, **kwargs)))
            if isinstance(self, CustomTensor):
                self._version = version_of(self._data)  # a change that the user asked for
            return self
        check_changeable(self, name)
        before = new_result(self._data.clone(), self._node)  # the old values, with their history: rules may save them
        args = tuple(before if argument is self else argument for argument in args)
        assign(self, function(before, *args, **kwargs), name)
        return self

    in_place.__name__ = in_place.__qualname__ = name
    in_place.__doc__ = (
        f"In-place version of ``{name.strip('_')}``; differentiated, and refused where that is impossible."
    )
    return in_place


def is_recorded(*values: Any) -> bool:
    """Whether an operation on ``values`` (which may be nested) is to be recorded."""
    return is_grad_enabled() and any(_tracked(value) for value in values)


def _tracked(value: Any) -> bool:
    if isinstance(value, CustomTensor):
        return value._requires_grad
    if isinstance(value, (tuple, list)):
        return any(_tracked(item) for item in value)
    return isinstance(value, dict) and any(_tracked(item) for item in value.values())


def unwrap(value: Any) -> Any:
    """``value`` with each CustomTensor, at any depth, replaced by its values."""
    if isinstance(value, CustomTensor):
        return value._data
    if isinstance(value, (tuple, list)):
        items = [unwrap(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        return {key: unwrap(item) for key, item in value.items()}
    return value


def check_changeable(tensor: Any, name: str) -> None:
    """Refuse a recorded in-place operation where its gradient would be wrong; nothing has been changed yet.

    Raises:
        GradientError: For a leaf that requires grad, a plain torch tensor, a view, or a tensor with live views.
    """
    if not isinstance(tensor, CustomTensor):
        raise GradientError(
            f"{name}: a plain {type(tensor).__name__} can't be changed by a value that requires grad",
            hint="wrap it first, as in CustomTensor(x), or use the operation that isn't in place",
        )
    if tensor._node is None and tensor._requires_grad:
        raise GradientError(
            f"{name}: a leaf Variable that requires grad is being used in an in-place operation (shape "
            f"{tuple(tensor.shape)})",
            hint="use the operation that isn't in place, or change it inside `with no_grad():`",
        )
    if tensor._node is not None and tensor._data._version != tensor._version:
        raise GradientError(
            f"{name}: the tensor was changed in place through its .data or a view since it was computed"
        )
    if tensor._base is not None:
        raise GradientError(
            f"{name}: the tensor of shape {tuple(tensor.shape)} is a view of another one, and in-place changes "
            "through views aren't differentiated",
            hint="change the base by assignment, as in base[0] = …, or a .clone() of the view",
        )
    if tensor._views:
        raise GradientError(
            f"{name}: the tensor of shape {tuple(tensor.shape)} has {len(tensor._views)} live view(s), which "
            "would change with it without their gradients following",
            hint="drop the views first, or use the operation that isn't in place",
        )


def assign(target: CustomTensor, result: CustomTensor, name: str) -> None:
    """Write a recorded ``result`` into ``target``, which is that result from then on.

    Raises:
        ShapeError: If the result is larger than ``target``.
        DtypeError: If its numbers can't be stored in ``target``.
    """
    if result.shape != target.shape:
        raise ShapeError(
            f"{name}: output with shape {tuple(target.shape)} doesn't match the broadcast shape {tuple(result.shape)}",
            hint="an in-place operation can't enlarge its tensor",
        )
    if result.dtype is not target.dtype:
        if not torch.can_cast(result.dtype, target.dtype):
            raise DtypeError(
                f"{name}: result type {result.dtype} can't be cast to the desired output type {target.dtype}"
            )
        result = result.to(target.dtype)
    if target._requires_grad and not result._requires_grad:
        # As of `y.zero_()`: y has a history still, through which zeros flow.
        result = torch.where(torch.zeros((), dtype=torch.bool, device=target.device), target, result)  # type: ignore[call-overload]
    target._data.copy_(result._data)
    if target._node is not None and result._node is not None:
        _keep_gradient_of(target, target._node, result._node)
    target._node = result._node
    target._requires_grad = result._requires_grad
    target._version = target._data._version


def _keep_gradient_of(target: CustomTensor, before: Node, after: Node) -> None:
    """Let ``retain_grad`` follow its tensor; other hooks stay with the values that they were registered on."""
    hooks = before.hooks or {}
    for key, hook in list(hooks.items()):
        if isinstance(hook, KeepGradient) and hook.tensor() is target:
            del hooks[key]
            after.add_hook(hook)
