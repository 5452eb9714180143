"""What a forward pass keeps for the backward pass, kept elsewhere or not at all.

`saved_tensors_hooks` hands each tensor that a rule names to a function of the user's, and keeps what that returns.
`checkpoint` is the best-known use of it: keep nothing, and compute it again when the backward pass comes by.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any, TypeVar

import torch
from torch import Tensor

from neuronix.autograd.errors import DtypeError, GradientError, ShapeError
from neuronix.autograd.modes import enable_grad, is_grad_enabled, outside_pass, watchers
from neuronix.autograd.node import Node, saved_slot
from neuronix.autograd.tensor import CustomTensor
from neuronix.autograd.watching.hooks import RuleHook
from neuronix.autograd.watching.watcher import Watcher

__all__ = ["checkpoint", "save_on_cpu", "saved_tensors_hooks"]

R = TypeVar("R")


class saved_tensors_hooks(Watcher):
    """Decide how the tensors that are saved for the backward pass are kept.

    In the block each tensor that a rule names is handed to ``pack_hook``, and what that returns is kept in its place.
    When the backward pass needs it, ``unpack_hook`` must give the tensor back.  Of nested blocks the innermost counts.

    Args:
        pack_hook: Takes a ``torch.Tensor`` and returns anything.  It must not change the tensor.
        unpack_hook: Takes what ``pack_hook`` returned and returns a tensor of the same shape.

    Raises:
        GradientError: If ``pack_hook`` changes its tensor in place.
        DtypeError: In the backward pass, if ``unpack_hook`` returns something that isn't a tensor.
        ShapeError: In the backward pass, if it returns a tensor of another shape.

    Example:
        >>> from neuronix.autograd import saved_tensors_hooks, tensor
        >>> x = tensor([1.0, 2.0], requires_grad=True)
        >>> with saved_tensors_hooks(lambda kept: kept.half(), lambda packed: packed.float()):
        ...     y = (x * x).sum()
        >>> y.backward()
        >>> x.grad
        tensor([2., 4.])
    """

    def __init__(self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Any]) -> None:
        super().__init__()
        self.pack_hook = pack_hook
        self.unpack_hook = unpack_hook

    def recorded(self, node: Node, value: Any, arguments: Sequence[Any]) -> None:
        """Pack what ``node`` has saved, unless an inner block has done so."""
        if any(isinstance(hook, _Packed) for hook in (node.hooks or {}).values()):
            return
        packed = {}
        for name in node.op.saved_names:
            kept = getattr(node, saved_slot(name))
            if not node.op.keeps_shape_only(name) and _holds_tensors(kept):
                packed[name] = _map(self._pack, kept)
                _set_saved(node, name, None)
        node.add_hook(_Packed(packed, self.unpack_hook))

    def _pack(self, value: Tensor) -> Any:
        version = value._version
        packed = self.pack_hook(value)
        if value._version != version:
            raise GradientError(
                f"the pack_hook of saved_tensors_hooks changed the tensor of shape {tuple(value.shape)} that it was "
                "given; the program goes on with that tensor",
                hint="return a new one",
            )
        return _PackedTensor(value.shape, packed)


class save_on_cpu(saved_tensors_hooks):
    """Keep saved tensors in the computer's main memory, and bring them back when they are needed.

    Args:
        pin_memory: Keep them in page-locked memory, which copies faster to and from a CUDA device.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.autograd.watching.saved_tensors import save_on_cpu
        >>> x = tensor([1.0, 2.0], requires_grad=True)
        >>> with save_on_cpu():
        ...     y = x.exp().sum()
        >>> y.backward()
        >>> x.grad
        tensor([2.7183, 7.3891])
    """

    def __init__(self, pin_memory: bool = False) -> None:
        def pack(value: Tensor) -> tuple[torch.device, Tensor]:
            kept = torch.empty_like(value, device="cpu", pin_memory=pin_memory)
            return value.device, kept.copy_(value)

        super().__init__(pack, lambda packed: packed[1].to(packed[0], non_blocking=pin_memory))


class _PackedTensor:
    """What stands for a saved tensor."""

    __slots__ = ("kept", "shape")

    def __init__(self, shape: torch.Size, kept: Any) -> None:
        self.shape = shape
        self.kept = kept


class _Packed(RuleHook):
    """Puts the saved values into their places while the rules of a node run."""

    def __init__(self, packed: dict[str, Any], unpack_hook: Callable[[Any], Any]) -> None:
        self.packed = packed
        self.unpack_hook = unpack_hook

    def before(self, node: Node, grad: Any) -> Any:
        for name, value in self.saved_values().items():
            _set_saved(node, name, value)
        return grad

    def after(self, node: Node, grad: Any, handed_on: list[tuple[Node, Any]]) -> list[tuple[Node, Any]]:
        for name in self.packed:
            _set_saved(node, name, None)
        if node.freed:
            self.packed.clear()
        return handed_on

    def saved_values(self) -> dict[str, Any]:
        return {name: _map(self._unpack, kept) for name, kept in self.packed.items()}

    def _unpack(self, packed: _PackedTensor) -> Tensor:
        value = self.unpack_hook(packed.kept)
        value = value._data if isinstance(value, CustomTensor) else value
        if not isinstance(value, Tensor):
            raise DtypeError(
                f"the unpack_hook of saved_tensors_hooks returned {type(value).__name__}; it must return a tensor"
            )
        if value.shape != packed.shape:
            raise ShapeError(
                f"the unpack_hook of saved_tensors_hooks returned a tensor of shape {tuple(value.shape)} for one of "
                f"shape {tuple(packed.shape)}"
            )
        return value


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_tensors(item) for item in value)
    return isinstance(value, Tensor)


def _map(function: Callable[[Any], Any], value: Any) -> Any:
    """Apply ``function`` to the tensors, packed or not, in nested lists and tuples."""
    if isinstance(value, (list, tuple)):
        items = [_map(function, item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return function(value) if isinstance(value, (Tensor, _PackedTensor)) else value


def _set_saved(node: Node, name: str, value: Any) -> None:
    setattr(node, saved_slot(name), value)
    if hasattr(type(node), f"{name}_version"):
        setattr(node, f"{name}_version", None)  # what was packed can't be changed behind the engine's back


# Checkpoints


def checkpoint(function: Callable[..., R], *args: Any, preserve_rng_state: bool = True, **kwargs: Any) -> R:
    """Compute ``function(*args, **kwargs)``, keep nothing of its inside, and compute it again in the backward pass.

    This trades time for memory: of a chain of layers only the inputs of the checkpointed parts are kept.  Gradients are
    the same to the last bit, if ``function`` computes the same when it is called again.

    Args:
        function: A function of tensors.  It is called once more for each backward pass that comes by.
        args: Its arguments.
        preserve_rng_state: Draw the same random numbers (dropout) the second time.
        kwargs: Its keyword arguments.

    Returns:
        What ``function`` returns.

    Raises:
        GradientError: In the backward pass, if the second computation saves other tensors than the first, or an
            argument has been changed in place since.

    References:
        Chen, Xu, Zhang and Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016, arXiv:1604.06174.

    Example:
        >>> from neuronix.autograd import checkpoint, tensor
        >>> x = tensor([0.0, 1.0], requires_grad=True)
        >>> y = checkpoint(lambda x: (x.exp() * x).sum(), x)
        >>> y.backward()
        >>> x.grad
        tensor([1.0000, 5.4366])
    """
    if not is_grad_enabled():
        return function(*args, **kwargs)
    again = _Recomputation(function, args, kwargs, preserve_rng_state)
    with saved_tensors_hooks(again.pack, again.unpack):
        result = function(*args, **kwargs)
    again.complete = True
    return result


class _Place:
    """Stands for one tensor that a checkpoint doesn't keep."""

    __slots__ = ("__weakref__", "dtype", "shape", "value")

    def __init__(self, saved: Tensor) -> None:
        self.shape = saved.shape
        self.dtype = saved.dtype
        self.value: Tensor | None = None


class _Argument:
    """A tensor argument of a checkpointed function; if there is an outer checkpoint, its hooks keep the values."""

    def __init__(self, given: CustomTensor, outer: saved_tensors_hooks | None) -> None:
        self.requires_grad = given.requires_grad
        self.unpack = None if outer is None else outer.unpack_hook
        self.version = given.data._version
        self.kept = given.data if outer is None else outer.pack_hook(given.data)

    def again(self) -> CustomTensor:
        values = self.kept if self.unpack is None else self.unpack(self.kept)
        if self.unpack is None and values._version != self.version:
            raise GradientError(
                f"checkpoint: an argument of shape {tuple(values.shape)} has been changed in place since the forward "
                f"pass (version {values._version}, expected {self.version})",
                hint="call backward() before changing it, or hand a .clone() to checkpoint",
            )
        return CustomTensor(values.detach(), requires_grad=self.requires_grad)


class _Recomputation:
    """Computes a checkpointed function again, once the first of its saved tensors is asked for."""

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Any, preserve_rng_state: bool) -> None:
        outer = next((watcher for watcher in reversed(watchers()) if isinstance(watcher, saved_tensors_hooks)), None)

        def keep(value: Any) -> Any:
            return _Argument(value, outer) if isinstance(value, CustomTensor) else value

        self.function = function
        self.args = _map_arguments(keep, args)
        self.kwargs = _map_arguments(keep, kwargs)
        self.rng_state = torch.get_rng_state() if preserve_rng_state else None
        # A backward pass runs below torch's autograd (see backward.py), where some torch functions are other kernels.
        self.keys = torch._C._dispatch_tls_local_include_set(), torch._C._dispatch_tls_local_exclude_set()
        self.places: list[weakref.ref[_Place]] = []
        self.complete = False  # until then it is the function itself that asks, by a pass through its own inside

    def pack(self, value: Tensor) -> _Place:
        place = _Place(value)
        self.places.append(weakref.ref(place))
        return place

    def unpack(self, place: _Place) -> Tensor:
        if place.value is None:
            self.run()
        value, place.value = place.value, None
        if value is None:
            raise GradientError(
                "checkpoint: the function saved fewer tensors when it was computed again than in the forward pass",
                hint="it must do the same each time, whatever has changed around it",
            )
        return value

    def run(self) -> None:
        """Compute again, and put what is saved on the way into the places that somebody still holds."""
        reached = 0

        def collect(value: Tensor) -> Tensor:
            nonlocal reached
            if reached >= len(self.places):
                if not self.complete:
                    raise _Reached
                raise GradientError(
                    f"checkpoint: the function saved more than {len(self.places)} tensors, as many as in the forward "
                    "pass, when it was computed again",
                    hint="it must do the same each time, whatever has changed around it",
                )
            place = self.places[reached]()
            reached += 1
            if place is None:
                return value
            if place.shape != value.shape or place.dtype is not value.dtype:
                raise GradientError(
                    f"checkpoint: the function saved a {place.dtype} tensor of shape {tuple(place.shape)} in the "
                    f"forward pass, and one of shape {tuple(value.shape)} and {value.dtype} in its place when it was "
                    "computed again",
                    hint="it must do the same each time, whatever has changed around it",
                )
            place.value = value
            return value

        def give(value: Any) -> Any:
            return value.again() if isinstance(value, _Argument) else value

        with ExitStack() as stack:
            if self.rng_state is not None:
                stack.enter_context(torch.random.fork_rng(devices=()))
                torch.set_rng_state(self.rng_state)
            stack.enter_context(torch._C._ForceDispatchKeyGuard(*self.keys))
            stack.enter_context(outside_pass())
            stack.enter_context(enable_grad())
            # What is saved stays where it is for a pass that the function itself runs.
            stack.enter_context(saved_tensors_hooks(collect, lambda kept: kept))
            stack.enter_context(suppress(_Reached))
            self.function(*_map_arguments(give, self.args), **_map_arguments(give, self.kwargs))


class _Reached(Exception):  # no error: ends a computation that has given all that was asked for
    """Everything that the forward pass has saved so far is there again."""


def _map_arguments(function: Callable[[Any], Any], value: Any) -> Any:
    """Apply ``function`` to whatever stands in nested lists, tuples and dicts."""
    if isinstance(value, dict):
        return {key: _map_arguments(function, item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_map_arguments(function, item) for item in value)
    return function(value)
