"""CustomTensors that pass for torch tensors, so that a model written for PyTorch runs here without a change.

Such a model asks ``isinstance(x, torch.Tensor)``, assigns tensors as buffers, opens ``torch.no_grad()`` blocks and
writes results into ``torch.zeros(…)``.  So inside `torch_code` every floating-point tensor is `Disguised`: a
``torch.Tensor`` without memory for everyone who asks, and the `CustomTensor` behind it in every computation.

* ``__torch_function__`` takes the disguise off, lets ``torch_function.py`` answer as for any CustomTensor, and puts it
  on again.  Within `torch_code` a torch function mode does the same for functions that are given none, as ``zeros``.
* Torch's grad mode says whether an operation is recorded.  `torch_code` begins with Neuronix's own mode in its place,
  whatever blocks of torch's are open outside.
* Integer and boolean tensors have no gradients; they stay torch's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from neuronix.autograd import backward
from neuronix.autograd.disguise.function_hook import answered_by
from neuronix.autograd.dispatch import fallback, torch_function
from neuronix.autograd.dispatch.inplace import is_recorded
from neuronix.autograd.dispatch.registry import TORCH_FUNCTIONS
from neuronix.autograd.errors import UnsupportedError
from neuronix.autograd.modes import enable_grad, is_grad_enabled, no_grad
from neuronix.autograd.tensor import CustomTensor

_functorch = torch._C._functorch

__all__ = ["Disguised", "disguise", "reveal", "torch_code"]


class Disguised(Tensor):
    """A ``torch.Tensor`` that stands for a CustomTensor: its shape, type and place at first, without memory.

    Attributes:
        custom: The CustomTensor; whatever is asked of this tensor is answered by it.
    """

    custom: CustomTensor

    @staticmethod
    def __new__(cls, custom: CustomTensor) -> Disguised:
        data = custom.data
        made: Disguised = Tensor._make_wrapper_subclass(
            cls, data.shape, strides=data.stride(), dtype=data.dtype, layout=data.layout, device=data.device
        )
        made.custom = custom
        return made

    def __init__(self, custom: CustomTensor) -> None:
        """Nothing more is to be done; torch's would ask for numbers."""

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _answer(func, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _answer(func, args, kwargs or {})  # torch's own code in C++, which doesn't ask __torch_function__


def disguise(value: Any) -> Any:
    """Disguise each CustomTensor in ``value``, and each floating-point or complex torch tensor, at any depth.

    Args:
        value: A tensor, or containers of tensors and of anything else.

    Returns:
        The same, with a `Disguised` for each; integer CustomTensors become the torch tensors that they hold.
    """
    return _mapped(value, lambda tensor: _disguised(tensor, {}))


def reveal(value: Any) -> Any:
    """Undo [`disguise`][neuronix.autograd.disguise.disguise]: a CustomTensor for each tensor in ``value``.

    Args:
        value: A tensor, or containers of tensors and of anything else.

    Returns:
        The same with CustomTensors; torch tensors become constants.
    """
    return _mapped(value, lambda tensor: _revealed(tensor) if isinstance(tensor, Tensor) else tensor)


@contextmanager
def torch_code() -> Iterator[None]:
    """Run code that was written for PyTorch: tensors that it makes are disguised, its grad mode blocks act.

    Recording is on at the beginning if it is on in Neuronix.  Blocks of torch's that are open outside, as a
    ``torch.no_grad()``, are closed meanwhile.

    Example:
        >>> import torch
        >>> from neuronix.autograd import disguise, tensor
        >>> w = tensor([1.0, 2.0], requires_grad=True)
        >>> x = disguise.disguise(w)
        >>> with disguise.torch_code():
        ...     rows = torch.zeros(2, 2)
        ...     rows[0] = 3 * x
        ...     with torch.no_grad():
        ...         rows[1] = 5 * x
        >>> disguise.reveal(rows).sum().backward()
        >>> w.grad
        tensor([3., 3.])
    """
    from neuronix.autograd.disguise import own_functions  # not at the top: it is made of what stands here

    mode = nullcontext() if is_grad_enabled() else torch.no_grad()
    # inference_mode(False) closes the blocks of torch's that are open: recording is on.
    with torch.inference_mode(False), mode, _TorchCode(), answered_by(own_functions.call):
        yield


class _TorchCode(TorchFunctionMode):
    """Sees every torch function, also one that is given no disguised tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.recording = torch.is_grad_enabled()
        self.level = _functorch.maybe_current_level()  # how many of torch's vmaps are open around all this

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "").endswith("set_grad_enabled"):  # what all of torch's grad modes call
            self.recording = bool(args[0])
            return func(*args)
        if _functorch.maybe_current_level() != self.level:
            _refuse_transforms(func, args, kwargs or {})
        if torch.is_grad_enabled() is not self.recording and not torch.is_inference_mode_enabled():
            _refuse_own_differentiation(func, args, kwargs or {})
        return _answer(func, args, kwargs or {})


def _refuse_transforms(func: Callable[..., Any], args: Any, kwargs: Any) -> None:
    """Refuse torch's ``vmap`` and derivatives inside the code: they put tensors of their own around disguised ones."""
    for item in _flat([args, kwargs]):
        while _functorch.is_functorch_wrapped_tensor(item):
            item = _functorch.get_unwrapped(item)
        if isinstance(item, Disguised):
            raise UnsupportedError(
                f"{torch_function.name_of(func)}: called inside torch.vmap or another function of torch.func, within "
                "code that runs on Neuronix",
                hint="write the batch out, as in torch.matmul or torch.einsum; torch.autograd.grad gives gradients",
            )


def _refuse_own_differentiation(func: Callable[..., Any], args: Any, kwargs: Any) -> None:
    """Refuse code that torch's differentiation runs by itself, outside torch's grad mode and unasked.

    Its result would be a constant, silently.
    """
    if any(isinstance(item, Disguised) and item.custom.requires_grad for item in _flat([args, kwargs])):
        raise UnsupportedError(
            f"{torch_function.name_of(func)}: called by torch's own differentiation, which Neuronix has no part in",
            hint="call a torch.autograd.Function by its `apply`; use torch's operations otherwise",
        )


def _answer(func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Answer a torch function with the disguises off, and put them on again."""
    disguises: dict[int, Any] = {}
    revealed_args = _mapped(args, lambda tensor: _taken_off(tensor, disguises))
    revealed_kwargs = _mapped(kwargs, lambda tensor: _taken_off(tensor, disguises)) if kwargs else kwargs
    wanted = torch.is_grad_enabled()
    with nullcontext() if wanted is is_grad_enabled() else enable_grad() if wanted else no_grad():
        result = _computed(func, revealed_args, revealed_kwargs, disguises)
    if disguises or not _is_given(result, args):
        return _mapped(result, lambda tensor: _disguised(tensor, disguises))
    return result


def _computed(func: Callable[..., Any], args: Any, kwargs: Any, disguises: dict[int, Any]) -> Any:
    if not disguises:
        return func(*args, **kwargs)
    name = getattr(func, "__name__", "")
    first = args[0] if args else None
    special = _SPECIAL.get(name)
    if special is not None:
        return special(func, args, kwargs, disguises)
    if func not in TORCH_FUNCTIONS and isinstance(first, CustomTensor):
        if name in ("__get__", "__set__"):
            return _attribute(func, first, args, name)
        if getattr(Tensor, name, None) is func and hasattr(CustomTensor, name):
            return getattr(first, name)(*args[1:], **kwargs)
    if torch._C._is_any_autocast_enabled() and is_recorded(args, kwargs):
        return fallback.call(func, args, kwargs)  # torch's dispatcher casts, and the casts are recorded
    return torch_function.call(func, args, kwargs)


def _attribute(func: Any, tensor: CustomTensor, args: Sequence[Any], name: str) -> Any:
    attribute = func.__self__.__name__
    if name == "__set__":
        return setattr(tensor, attribute, args[1])
    return getattr(tensor, attribute) if hasattr(type(tensor), attribute) else func(tensor.data)


def _new(func: Any, args: Any, kwargs: Any, disguises: Any) -> Any:
    """Make a constant: ``x.new_tensor(…)``, ``torch.tensor(x)``."""
    args, kwargs = _mapped([args, kwargs], lambda value: value.data if isinstance(value, CustomTensor) else value)
    return func(*args, **kwargs)


def _same(func: Any, args: Any, kwargs: Any, disguises: Any) -> Any:
    """Convert without a copy: ``torch.as_tensor(x)``."""
    first = args[0]
    if not isinstance(first, CustomTensor):
        return _new(func, args, kwargs, disguises)
    names = ("dtype", "device")
    return first.to(
        **{**dict(zip(names, args[1:], strict=False)), **{key: kwargs[key] for key in names if key in kwargs}}
    )


def _iterated(func: Any, args: Any, kwargs: Any, disguises: Any) -> Any:
    return iter([_disguised(item, disguises) for item in args[0]])


def _copied(func: Any, args: Any, kwargs: Any, disguises: Any) -> Any:
    copied = deepcopy(args[0], args[1])
    made = _disguised(copied, {})
    made.__dict__.update({key: value for key, value in disguises[id(args[0])].__dict__.items() if key != "custom"})
    args[1][id(disguises[id(args[0])])] = made
    disguises[id(copied)] = made
    return copied


def _differentiated(func: Any, args: Any, kwargs: Any, disguises: Any) -> Any:
    """What a model that asks torch for gradients gets: ours, which can be differentiated again."""
    if func.__module__.rpartition(".")[2] != "autograd":
        return torch_function.call(func, args, kwargs)
    given = dict(zip(_GRAD_ARGUMENTS, args, strict=False)) | kwargs
    if given.pop("is_grads_batched", False):
        raise UnsupportedError("torch.autograd.grad: is_grads_batched isn't offered", hint="use torch.vmap over grad()")
    given.pop("only_inputs", None)  # torch's own documentation says that it does nothing
    return backward.grad(**given)


def _differentiated_into_leaves(func: Any, args: Any, kwargs: Any, disguises: Any) -> Any:
    """``x.backward()``, or ``torch.autograd.backward([x, y], gradients)``, as torch's reentrant checkpoint calls it."""
    if func.__module__.rpartition(".")[2] != "autograd":
        return getattr(args[0], func.__name__)(*args[1:], **kwargs)
    outputs = args[0] if isinstance(args[0], (tuple, list)) else [args[0]]
    gradients = kwargs.pop("grad_tensors", None)
    gradients = gradients if isinstance(gradients, (tuple, list)) else [gradients] * len(outputs)
    retain_graph = kwargs.pop("retain_graph", None)
    for position, (output, gradient) in enumerate(zip(outputs, gradients, strict=True), 1):
        backward.backward(output, gradient, retain_graph=retain_graph or position < len(outputs), **kwargs)
    return None


# torch's, in its order
_GRAD_ARGUMENTS = (
    "outputs", "inputs", "grad_outputs", "retain_graph", "create_graph", "only_inputs", "allow_unused",
    "is_grads_batched", "materialize_grads",
)  # fmt: skip


_SPECIAL: dict[str, Callable[..., Any]] = {
    "__deepcopy__": _copied,
    "__iter__": _iterated,
    "__repr__": lambda func, args, kwargs, disguises: repr(args[0]),
    "as_tensor": _same,
    "asarray": _same,
    "backward": _differentiated_into_leaves,
    "grad": _differentiated,
    "new": _new,
    "new_tensor": _new,
    "tensor": _new,
}


# Putting the disguise on and taking it off


def _disguised(tensor: Any, disguises: dict[int, Any]) -> Any:
    """The disguise of a result; for what was among the arguments, the one that came with it."""
    worn = disguises.get(id(tensor))
    if worn is not None or isinstance(tensor, Disguised):
        return tensor if worn is None else worn
    if isinstance(tensor, CustomTensor):
        made = Disguised(tensor) if tensor.requires_grad or _has_derivatives(tensor.data) else tensor.data
    else:
        made = (
            Disguised(CustomTensor(tensor, requires_grad=tensor.requires_grad)) if _has_derivatives(tensor) else tensor
        )
    disguises[id(tensor)] = made
    return made


def _has_derivatives(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _taken_off(tensor: Any, disguises: dict[int, Any]) -> Any:
    if isinstance(tensor, Disguised):
        disguises[id(tensor.custom)] = tensor
        return tensor.custom
    return tensor


def _revealed(tensor: Any) -> CustomTensor:
    return tensor.custom if isinstance(tensor, Disguised) else CustomTensor(tensor)


def _is_given(result: Any, args: Sequence[Any]) -> bool:
    """Whether a result is one of the arguments, as of ``x.add_(1)`` for a torch tensor x."""
    return any(result is argument for argument in args)


def _flat(values: Any) -> list[Any]:
    found: list[Any] = []
    _mapped(values, found.append)
    return found


def _mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """``value`` with ``function`` of each tensor in it; what holds no tensor is returned as it is."""
    if isinstance(value, (Tensor, CustomTensor)):
        return function(value)
    kind = type(value)
    if kind is tuple or kind is list:
        return kind([_mapped(item, function) for item in value])
    if kind is dict:
        return {key: _mapped(item, function) for key, item in value.items()}
    if kind is slice:
        return slice(*(_mapped(part, function) for part in (value.start, value.stop, value.step)))
    if isinstance(value, (tuple, list, dict)):
        return _mapped_subclass(value, function)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        held = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        mapped = {name: _mapped(item, function) for name, item in held.items()}
        changed = {name: item for name, item in mapped.items() if item is not held[name]}
        return dataclasses.replace(value, **changed) if any(map(_flat, changed.values())) else value
    return value


def _mapped_subclass(value: Any, function: Callable[[Any], Any]) -> Any:
    """Named tuples, torch's named results, and what is registered with torch's trees, as a model's output class."""
    if isinstance(value, torch.Size):
        return value
    if isinstance(value, tuple):
        items = [_mapped(item, function) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, list):
        return type(value)(_mapped(item, function) for item in value)
    return tree_map(lambda leaf: _mapped(leaf, function) if leaf is not value else leaf, value)
