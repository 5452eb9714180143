"""The sentences of errors that an operation, or the pass back through it, raises: what happened, and to what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neuronix.autograd.dispatch.inplace import is_recorded, not_a_number
from neuronix.autograd.errors import (
    ArgumentError,
    AxisError,
    DeclarationError,
    DtypeError,
    GradientError,
    MatrixError,
    NeuronixError,
    ShapeError,
    UnsupportedError,
)
from neuronix.autograd.node import versions_of
from neuronix.autograd.tensor import CustomTensor

if TYPE_CHECKING:
    from neuronix.autograd.primitive import Primitive

__all__ = [
    "ARGUMENT_ERRORS",
    "changed_behind",
    "explained",
    "modified",
    "name_of",
    "without_version",
    "wrong_gradient",
    "wrong_number_of_gradients",
]

ARGUMENT_ERRORS = (RuntimeError, TypeError, ValueError, IndexError)

# Which error a message of torch's means; the first that fits.
_MEANINGS: tuple[tuple[tuple[str, ...], type[NeuronixError]], ...] = (
    (("number of sizes provided",), ShapeError),  # which also names the tensor's type
    (("dtype", "scalar type", "Long", "Float", "Double"), DtypeError),
    (("shape", "size", "dimension", "dims", "must match", "equal"), ShapeError),
)


def explained(op: Primitive, error: Exception, values: Sequence[Any]) -> Exception:
    """The error that torch raised for an operation's arguments, with the operation's name and all arguments."""
    if isinstance(error, NeuronixError):
        return error
    if is_recorded(*values):  # a CustomTensor is left where the operation takes a number
        return not_a_number()
    given = ", ".join(f"{name}={_described(value)}" for name, value in zip(op.parameters, values, strict=True))
    message = f"{op.name}: {str(error).splitlines()[0] if str(error) else type(error).__name__}\n  given: {given}"
    if isinstance(error, NotImplementedError):
        return UnsupportedError(message)
    if isinstance(error, IndexError):
        return AxisError(message)
    if isinstance(error, TypeError):
        return DtypeError(message)
    if isinstance(error, ValueError):
        return ShapeError(message)
    if isinstance(error, torch.linalg.LinAlgError):  # type: ignore[attr-defined]
        return MatrixError(message)
    for words, kind in _MEANINGS:
        if any(word in str(error) for word in words):
            return kind(message)
    return ArgumentError(message)


def name_of(rule: Callable[..., Any]) -> str:
    """The name of a rule, which may be any callable."""
    return getattr(rule, "__name__", type(rule).__name__)


def _described(value: Any) -> str:
    if isinstance(value, (Tensor, CustomTensor)):
        return f"{str(value.dtype).removeprefix('torch.')}{tuple(value.shape)}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_described(item) for item in value) + "]"
    return repr(value)


def without_version(op: Primitive, error: RuntimeError) -> RuntimeError:
    """The error for a tensor made under ``torch.inference_mode``, in which no later change could be noticed."""
    if "version" not in str(error):
        return error
    return GradientError(
        f"{op.name}: a tensor made under torch.inference_mode() can't be recorded or saved for a gradient, because "
        "it doesn't count its changes",
        hint="use neuronix.autograd.no_grad() to record nothing, and a .clone() made outside inference_mode for values "
        "from inside",
    )


def changed_behind(op: Primitive, name: str, tensor: CustomTensor) -> GradientError:
    """The error for a result whose values were changed without the engine's knowledge."""
    return GradientError(
        f"{op.name}: {name!r}, a result of {tensor._node.name if tensor._node else 'an operation'} with shape "
        f"{tuple(tensor._data.shape)}, was changed in place through its .data or a view since it was computed "
        f"(version {tensor._data._version}, expected {tensor._version})",
        hint="change tensors with their own operators (y *= 2), which are differentiated, or work on a .clone()",
    )


def modified(operation: str, name: str, value: Any, version: Any) -> GradientError:
    """The error for a saved value that was changed between an operation's forward and backward pass."""
    what = "its result" if name == "out" else f"its {name}" if " " in name else f"its argument {name!r}"
    if isinstance(value, Tensor):
        what = f"{what} with shape {tuple(value.shape)}"
        now: Any = value._version
    else:
        what = f"a tensor of {what}"
        now = versions_of(value)
    return GradientError(
        f"{operation}: {what} is needed for the gradient, but has been modified by an inplace operation since the "
        f"forward pass (version {now}, expected {version})",
        hint="call backward() before changing it, or change a .clone()",
    )


def wrong_results(op: Primitive, count: int) -> DeclarationError:
    """The error for an operation that has another number of results than were declared."""
    return DeclarationError(
        f"{op.name}: the declared results are {', '.join(op.results)}, and the operation returned {count}",
        hint="name each result in `results`, in their order; an operation with one has none to name",
    )


def wrong_gradient(op: Primitive, rule: Callable[..., Any], name: str, grad: Any, shape: Any) -> Exception:
    """The error for a rule that returned something else than a gradient of its argument's shape."""
    message = f"{op.name}: the rule {name_of(rule)!r} returned {_described(grad)} as the gradient of {name!r}"
    if not isinstance(grad, (Tensor, CustomTensor)):
        return DtypeError(message, hint="it must return a tensor, or None")
    return ShapeError(
        f"{message}, which has shape {tuple(shape)}",
        hint="they must be equal; with @primitive(broadcasts=True) it may have the shape of the result, too",
    )


def wrong_number_of_gradients(op: Primitive, rule: Callable[..., Any], grads: Any, count: int) -> GradientError:
    """The error for a rule that must return several gradients and returned something else."""
    found = f"{len(grads)} gradients" if isinstance(grads, (tuple, list)) else _described(grads)
    return GradientError(
        f"{op.name}: the rule {name_of(rule)!r} returned {found}; it must return {count} gradients",
        hint="return a tuple with a gradient for each argument, or each tensor of a list, and None where there is none",
    )
