"""In-place operations, derived from the operations themselves.

``y *= 5`` on a result computes ``y * 5`` as usual, writes it into ``y``'s memory, and from then on ``y`` is the result
of that multiplication.  Whoever needs the old values for a gradient finds out by the tensor's version.

Tensors that share memory change together.  A change through a view is told to its base, which from then on is what it
was with the new values in the view's places (``as_strided_scatter``); and each live view of a changed base is from then
on a view (``as_strided``) of what the base has become.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from neuronix.autograd.errors import DtypeError, GradientError, ShapeError
from neuronix.autograd.graph import forget_leaf
from neuronix.autograd.modes import enable_grad, is_grad_enabled
from neuronix.autograd.node import Node
from neuronix.autograd.tensor import CustomTensor, new_result, version_of
from neuronix.autograd.watching.hooks import KeepGradient

__all__ = ["assign", "check_changeable", "method", "note_change", "other_change", "unwrap"]


def method(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The in-place method ``name`` that belongs to the operation ``function``."""

    def in_place(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not is_recorded(self, args, kwargs):
            check_unrecorded(self, name)
            if name in _RESHAPING and isinstance(self, CustomTensor) and self._node and not self._node.graph.closed:
                with enable_grad():  # the values stay, and their gradient must find its way back to the old places
                    become(self, function(new_result(self._data, self._node), *args, **kwargs))
                return self
            values = unwrap(self)
            if hasattr(values, name):
                getattr(values, name)(*unwrap(args), **unwrap(kwargs))
            else:  # torch has the function (F.elu_), but no such method
                values.copy_(unwrap(function(self, *args, **kwargs)))
            if isinstance(self, CustomTensor):
                note_change(self)
            return self
        check_changeable(self, name)
        if name in _RESHAPING:
            become(self, function(new_result(self._data, self._node), *args, **kwargs))
            return self
        before = new_result(self._data.clone(), self._node)  # the old values, with their history: rules may save them
        args, kwargs = (tree_map(lambda value: before if value is self else value, given) for given in (args, kwargs))
        assign(self, function(before, *args, **kwargs), name)
        return self

    in_place.__name__ = in_place.__qualname__ = name
    in_place.__doc__ = (
        f"In-place version of ``{name.strip('_')}``; differentiated, and refused where that is impossible."
    )
    return in_place


# These change the shape alone: the tensor becomes a view of what it was.
_RESHAPING = frozenset("as_strided_ squeeze_ swapaxes_ swapdims_ t_ transpose_ unsqueeze_".split())
# These don't convert their result to the tensor's type, as others do.
_OF_ONE_TYPE = frozenset("abs_ cumprod_ cumsum_ float_power_".split())
# These write values that don't depend on the old ones.
_DRAWING = frozenset("bernoulli_ cauchy_ exponential_ geometric_ log_normal_ normal_ random_ uniform_".split())
# These reach for memory, or call Python for each element: nothing can be recorded of them.
_OPAQUE = frozenset("apply_ map_ map2_ resize_ resize_as_ set_".split())


def other_change(name: str, self: CustomTensor, args: Sequence[Any], kwargs: dict[str, Any]) -> CustomTensor | None:
    """Carry out a recorded in-place method that belongs to no operation; ``None`` if ``name`` isn't such a method.

    Raises:
        DtypeError: For a method of which nothing can be recorded.
    """
    if name in _OPAQUE:
        raise DtypeError(
            f"{name}: can't be called on a tensor that requires grad, because it isn't differentiable",
            hint="use x.detach(), or with no_grad():",
        )
    if name == "share_memory_":  # the values stay
        self._data.share_memory_()  # type: ignore[no-untyped-call]
        return self
    if name not in _DRAWING:
        return None
    check_changeable(self, name)
    if name != "bernoulli_" and is_recorded(args, kwargs):  # which takes a tensor of probabilities
        raise not_a_number()
    drawn = torch.empty_like(self._data)
    getattr(drawn, name)(*unwrap(args), **unwrap(kwargs))
    assign(self, new_result(drawn, None), name)
    return self


def is_recorded(*values: Any) -> bool:
    """Whether an operation on ``values`` (which may be nested) is to be recorded."""
    return is_grad_enabled() and any(_tracked(value) for value in values)


def _tracked(value: Any) -> bool:
    if isinstance(value, CustomTensor):
        return value._requires_grad
    if isinstance(value, (tuple, list)):
        return any(_tracked(item) for item in value)
    return isinstance(value, dict) and any(_tracked(item) for item in value.values())


def not_a_number() -> DtypeError:
    """A tensor that requires grad stands where torch takes a number: its gradient would be lost without a word."""
    return DtypeError(
        "a tensor that requires grad was given for an argument that must be a number",
        hint="give x.item() if its value alone is meant, or write the formula out in tensors",
    )


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
        GradientError: For a leaf that requires grad or a view of one, a plain torch tensor, one whose elements share
            memory with each other, or one that was changed behind the engine's back.
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
    base = tensor if tensor._base is None else tensor._base
    if base is not tensor:
        _check_view(tensor, base, name)
    for view in live_views(base):
        if view.dtype is not base.dtype or torch._C._functorch.is_functorch_wrapped_tensor(base._data):
            raise GradientError(
                f"{name}: the tensor of shape {tuple(tensor.shape)} shares its memory with a view of another element "
                "type, or of a batch, whose gradient couldn't follow the change",
                hint="drop the view first, or work on a .clone()",
            )


def _check_view(view: CustomTensor, base: CustomTensor, name: str) -> None:
    """Refuse a change through a view that can't be told to its base."""
    if base._node is None and base._requires_grad:
        raise GradientError(
            f"{name}: a view of a leaf Variable that requires grad is being used in an in-place operation (shape "
            f"{tuple(view.shape)} of {tuple(base.shape)})",
            hint="change it inside `with no_grad():`, or work on a .clone()",
        )
    if base._node is not None and base._data._version != base._version:
        raise GradientError(
            f"{name}: the base of the view was changed in place through its .data since it was computed"
        )
    if name not in _RESHAPING and _overlaps(view._data):
        raise GradientError(
            f"{name}: more than one element of the written-to tensor of shape {tuple(view.shape)} refers to a single "
            "memory location",
            hint="clone() the expanded tensor first",
        )


def _overlaps(values: Tensor) -> bool:
    """Whether two elements of a view may be in one place."""
    reach = 0
    for stride, size in sorted(zip(values.stride(), values.shape, strict=True)):
        if size > 1 and stride <= reach:
            return True
        reach += stride * (size - 1)
    return False


def live_views(base: CustomTensor) -> list[CustomTensor]:
    """The views of ``base``'s memory that somebody still holds."""
    return [view for reference in base._views or () if (view := reference()) is not None]


def check_unrecorded(tensor: Any, name: str) -> None:
    """Refuse to change a constant that shares its memory with tensors that have a history, outside ``no_grad``.

    Raises:
        GradientError: For a view that was made under ``no_grad``.
    """
    if isinstance(tensor, CustomTensor) and tensor._base is not None and is_recorded(tensor._base):
        raise GradientError(
            f"{name}: the tensor of shape {tuple(tensor.shape)} is a view that was made under no_grad(), of one that "
            "requires grad; the change couldn't be differentiated",
            hint="make the view outside, or change it inside `with no_grad():`",
        )


def note_change(tensor: CustomTensor) -> None:
    """Take note of an in-place change of the values that the user asked for, and that isn't recorded."""
    base = tensor if tensor._base is None else tensor._base
    for member in (base, tensor, *live_views(base)):
        member._version = version_of(member._data)
    if tensor._requires_grad and tensor._node is None:
        forget_leaf(tensor)  # its nodes would ask for gradients of the old shape


def become(target: CustomTensor, result: CustomTensor) -> None:
    """Let ``target`` be ``result``, which shares its memory, from now on."""
    target._data = result._data
    _follow(target, result)


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
        if not torch.can_cast(result.dtype, target.dtype) or name in _OF_ONE_TYPE:
            raise DtypeError(
                f"{name}: result type {result.dtype} can't be cast to the desired output type {target.dtype}"
            )
        result = result.to(target.dtype)
    base = target._base
    if base is not None:  # the base gets the new values in the view's places, and the view is a view of that
        before, values = new_result(base._data, base._node), target._data
        result = before.as_strided_scatter(result, values.shape, values.stride(), values.storage_offset())
        target = base
    if target._requires_grad and not result._requires_grad:
        # As of `y.zero_()`: y has a history still, through which zeros flow.
        result = torch.where(torch.zeros((), dtype=torch.bool, device=target.device), target, result)  # type: ignore[call-overload]
    target._data.copy_(result._data)
    _follow(target, result)
    for view in live_views(target):
        values = view._data
        _follow(view, target.as_strided(values.shape, values.stride(), values.storage_offset()))


def _follow(target: CustomTensor, result: CustomTensor) -> None:
    """Give ``target``, which has the values of ``result`` already, its history."""
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
