"""torch functions on CustomTensors: the ``__torch_function__`` protocol.

``torch.exp(x)`` finds our ``exp`` in a table.  What isn't in the table is never silently a constant: if nothing is
recorded torch computes it on the values, and otherwise ``fallback.py`` takes it apart into operations that are.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from operator import attrgetter
from types import GetSetDescriptorType
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from neuronix.autograd.dispatch import fallback, inplace
from neuronix.autograd.dispatch.inplace import is_recorded, unwrap
from neuronix.autograd.dispatch.registry import TORCH_FUNCTIONS
from neuronix.autograd.errors import GradientError
from neuronix.autograd.node import Node
from neuronix.autograd.tensor import CustomTensor, new_result

__all__ = ["call"]

# torch's names for what our declarations call otherwise: x is torch's input or self, y its other.
_ALIASES = {"input": 0, "self": 0, "other": 1}

# Methods and attributes that ask a tensor's values and record nothing, besides those whose name begins with is_.
_ABOUT_VALUES = frozenset(
    "const_data_ptr data_ptr dense_dim dim dim_order element_size get_device itemsize layout nbytes ndimension "
    "nelement numel size sparse_dim storage storage_offset stride tolist untyped_storage".split()
)


def call(func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Answer ``func(*args, **kwargs)``, at least one argument of which is a CustomTensor.

    Args:
        func: A torch function or method.
        args: Its positional arguments.
        kwargs: Its keyword arguments.

    Returns:
        What torch returns there, with CustomTensors for tensors.

    Raises:
        GradientError: For ``out=`` with tensors that require grad.
        UnsupportedError: If an operation on a tensor that requires grad has no rule.
    """
    try:
        handler = TORCH_FUNCTIONS.get(func)
        if handler is not None:
            bound = _bound(handler, args, kwargs)
            if bound is not None:
                return handler(*bound[0], **bound[1])
        name = getattr(func, "__name__", "")
        initializes = getattr(func, "__module__", "") == "torch.nn.init"  # which is under no_grad by itself
        if initializes or not is_recorded(args, kwargs):
            if name.endswith("_") and args and not initializes:
                inplace.check_unrecorded(args[0], name)
            return _wrap(func(*unwrap(args), **unwrap(kwargs)), [*args, *kwargs.values()])
        if kwargs.get("out") is not None:
            raise GradientError(
                f"{name_of(func)}: functions with out=... arguments don't support automatic differentiation, but "
                "one of the arguments requires grad",
                hint="assign the result instead",
            )
        if name.endswith("_") and args and isinstance(args[0], CustomTensor):
            changed = inplace.other_change(name, args[0], args[1:], kwargs)
            if changed is not None:
                return changed
        return fallback.call(func, args, kwargs)
    except Exception as error:
        _forget_results(error, (args, kwargs))
        raise


def _forget_results(error: Exception, arguments: Any) -> None:
    """Empty the frames that an error came through and that hold what it has left half done.

    Whoever holds the error holds its frames, and would keep in the graph what was recorded between the call and the
    error.  The others stay as they are for a debugger: the user's own, and ours that hold the arguments alone.
    """
    newest = _last_recorded(arguments)
    trace = error.__traceback__
    first = None if trace is None else trace.tb_next
    while trace is not None:
        frame, trace = trace.tb_frame, trace.tb_next
        if trace is not first and frame.f_code is call.__code__:
            inner = frame.f_locals
            if _last_recorded((inner["args"], inner["kwargs"])) <= newest:
                return  # the call inside this one has seen to the rest
        module = str(frame.f_globals.get("__name__"))
        # A function that is taken apart runs on stand-ins, which torch's code keeps in objects of its own.
        taken_apart = module == fallback.__name__ or module.partition(".")[0] == "torch"
        if taken_apart or (module.startswith("neuronix.") and _last_recorded(frame.f_locals) > newest):
            with suppress(RuntimeError):  # still running: a caller of ours
                frame.clear()
                frame.f_locals  # noqa: B018  # Python's dictionary of them is brought up to date when it is asked for


def _last_recorded(values: Any) -> int:
    """The number of the youngest node among tensors and nodes, in containers of any depth; -1 without any."""
    leaves = [leaf._node if isinstance(leaf, CustomTensor) else leaf for leaf in tree_leaves(values)]
    return max((leaf.sequence for leaf in leaves if isinstance(leaf, Node) and hasattr(leaf, "sequence")), default=-1)


def _bound(
    handler: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[Sequence[Any], dict[str, Any]] | None:
    """The arguments by our names, or ``None`` where the spelling is one that our function doesn't know."""
    names, variadic = _parameters(handler)
    if len(args) > len(names) and not variadic:
        return None
    if not kwargs:
        return args, kwargs
    renamed = {}
    for key, value in kwargs.items():
        if key not in names:
            if key in _ALIASES and _ALIASES[key] < len(names):
                key = names[_ALIASES[key]]
            elif key == "axis" and "dim" in names:
                key = "dim"
            elif value is None and key in ("dtype", "out"):
                continue
            else:
                return None
        renamed[key] = value
    return args, renamed


@cache
def _parameters(handler: Callable[..., Any]) -> tuple[tuple[str, ...], bool]:
    parameters = inspect.signature(handler).parameters.values()
    names = tuple(p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
    return names, any(p.kind is p.VAR_POSITIONAL for p in parameters)


def _wrap(value: Any, arguments: Sequence[Any]) -> Any:
    """Wrap torch's result; where it is an argument (in-place functions, ``out=``) that argument itself."""
    if isinstance(value, Tensor):
        for argument in arguments:
            if isinstance(argument, CustomTensor) and argument._data is value:
                inplace.note_change(argument)
                return argument
        result = new_result(value, None)
        if value._base is not None:  # a view: of which argument, if it is one's
            for argument in arguments:
                if isinstance(argument, CustomTensor) and _shares_memory(argument._data, value):
                    argument.add_view(result)
                    break
        return result
    if isinstance(value, (tuple, list)) and not isinstance(value, torch.Size):
        items = [_wrap(item, arguments) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def _shares_memory(one: Tensor, other: Tensor) -> bool:
    return one is other._base or (one._base is not None and one._base is other._base)


def name_of(func: Callable[..., Any]) -> str:
    """A torch function's name as a user would write it."""
    return str(torch.overrides.resolve_name(func) or getattr(func, "__qualname__", repr(func)))


def bind_remaining_methods() -> None:
    """Give CustomTensor the methods and attributes that torch tensors have and that nothing else has bound."""
    ignored = torch.overrides.get_ignored_functions()
    for name in dir(torch.Tensor):
        if name.startswith("__") or name in CustomTensor.__dict__:
            continue
        attribute = getattr(torch.Tensor, name)
        about_values = name in _ABOUT_VALUES or name.startswith("is_")
        if about_values and isinstance(attribute, GetSetDescriptorType):
            setattr(CustomTensor, name, property(attrgetter(f"_data.{name}"), doc=f"As ``torch.Tensor.{name}``."))
        elif callable(attribute) and (about_values or attribute not in ignored):
            setattr(CustomTensor, name, _method(attribute, name, about_values))


def _method(func: Callable[..., Any], name: str, about_values: bool) -> Callable[..., Any]:
    def method(self: CustomTensor, *args: Any, **kwargs: Any) -> Any:
        if about_values:
            return func(self._data, *unwrap(args), **kwargs)
        return call(func, (self, *args), kwargs)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"As ``torch.Tensor.{name}``."
    return method
