"""A model's own ``torch.autograd.Function``, as one recorded operation.

Its ``forward`` is called as what it is, a Python function, on disguised tensors and without recording.  What it
computed is then the result of one operation, whose rule calls the Function's ``backward``, on disguised tensors again.
If the pass is recorded so is ``backward``, and the second derivative is that of what it computes, as in torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor

from neuronix.autograd.disguise import Disguised, disguise, torch_code
from neuronix.autograd.disguise.function_hook import is_once_differentiable, user_functions
from neuronix.autograd.errors import ArgumentError, DtypeError, GradientError, ShapeError, UnsupportedError
from neuronix.autograd.errors.messages import modified
from neuronix.autograd.gradients import restored
from neuronix.autograd.modes import enable_grad, outside_pass
from neuronix.autograd.node import Node
from neuronix.autograd.primitive import PrimitiveFunction, primitive
from neuronix.autograd.primitive.runtime import recorded_output
from neuronix.autograd.tensor import CustomTensor, new_result

__all__ = ["Context", "call"]


def call(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What ``function.apply(*args, **kwargs)`` gives inside code of torch's.

    Args:
        function: A subclass of ``torch.autograd.Function``.
        args: Its arguments; those tensors among them that aren't inside containers can be differentiated.
        kwargs: More of them, for a Function with ``setup_context``.

    Returns:
        What ``forward`` returns, its floating-point tensors as results of an operation named like the Function.

    Raises:
        ArgumentError: If the arguments aren't those of ``forward``.
        UnsupportedError: If the Function changes an argument in place.
    """
    forward, setup_context, backward = user_functions(function)
    args = _positional(function.__name__, forward, args, kwargs, separate=setup_context is not None)
    context = Context(function.__name__, args)
    with torch.no_grad():
        if setup_context is None:
            output = forward(context, *args)
        else:
            output = forward(*args)
            setup_context(context, args, output)
    outputs = output if isinstance(output, tuple) else (output,)
    made = _Call(context, backward, args, outputs)
    if not (torch.is_grad_enabled() and any(context.needs_input_grad) and made.differentiable):
        return output
    with torch._C.DisableTorchFunction(), enable_grad():  # from here on the code is ours; torch's mode has been asked
        results = made.record(_operation(function), args, outputs)
    return results if isinstance(output, tuple) else results[0]


def _positional(
    name: str, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], separate: bool
) -> tuple[Any, ...]:
    """The arguments in order; where there is a ``setup_context``, with ``forward``'s defaults, as in torch."""
    if not separate:
        if kwargs:
            raise ArgumentError(f"{name}.apply takes no keyword arguments, got {', '.join(kwargs)}")
        return args
    try:
        bound = inspect.signature(forward).bind(*args, **kwargs)
    except TypeError as error:
        raise ArgumentError(f"{name}.apply: {error}") from error
    bound.apply_defaults()
    return bound.args


class Context:
    """What a Function calls ``ctx``: its notes for ``backward``.  It may be given any other attribute as well.

    Attributes:
        needs_input_grad: For each argument of ``apply`` whether its gradient is wanted.
        materialize_grads: Whether ``backward`` gets zeros for results that weren't used.
        to_save: What ``save_for_backward`` was given.
        non_differentiable: What ``mark_non_differentiable`` was given.
    """

    def __init__(self, name: str, args: tuple[Any, ...]) -> None:
        self._name = name
        self._saved: list[_Saved | None] = []
        self.needs_input_grad = tuple(isinstance(value, Disguised) and value.custom.requires_grad for value in args)
        self.materialize_grads = True
        self.to_save: tuple[Any, ...] = ()
        self.non_differentiable: tuple[Any, ...] = ()

    def name(self) -> str:
        """The Function's name."""
        return self._name

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors, or ``None``, for ``backward``; if one is changed in place meanwhile, that is an error there."""
        self.to_save = tensors

    def save_for_forward(self, *tensors: Any) -> None:
        """Do nothing: this is for torch's forward mode."""

    def mark_non_differentiable(self, *outputs: Any) -> None:
        """Say which results are constants."""
        self.non_differentiable = outputs

    def set_materialize_grads(self, value: bool) -> None:
        """Say whether ``backward`` gets zeros, or ``None``, for results that weren't used."""
        self.materialize_grads = value

    def mark_dirty(self, *args: Any) -> None:
        """Refuse; nothing has been recorded yet.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError(
            f"{self._name}: ctx.mark_dirty, of a torch.autograd.Function that changes its arguments in place, isn't "
            "offered",
            hint="let forward() return a new tensor",
        )

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What ``save_for_backward`` was given; arguments and results with their histories.

        Raises:
            GradientError: If one was changed in place since.
        """
        return tuple(None if saved is None else disguise(saved.get(self._name)) for saved in self._saved)


class _Saved:
    """A tensor that is kept for ``backward``: an argument or a result with its history, or any other as a constant."""

    def __init__(self, given: Any, call: _Call, outputs: Sequence[Any], node: Node) -> None:
        custom = given.custom if isinstance(given, Disguised) else CustomTensor(given)
        self.data, self.version = custom.data, custom.data._version
        self.place = next((i for i, place in enumerate(call.differentiable) if outputs[place] is given), None)
        self.parent = custom.node_in(node.graph) if self.place is None else None
        self.node = ref(node)  # which owns this: owning it in turn, as a result does, would keep both
        self.results = len(call.differentiable)

    def get(self, name: str) -> Any:
        if self.data._version != self.version:
            raise modified(name, "saved tensor", self.data, self.version)
        node = self.node()
        if self.place is None or node is None:
            return new_result(self.data, self.parent)
        if self.results == 1:
            return recorded_output(self.data, node)
        return recorded_output([self.data if i == self.place else None for i in range(self.results)], node)[self.place]


class _Call:
    """One call of a Function, as its operation's rule sees it."""

    def __init__(
        self, context: Context, backward: Callable[..., Any], args: Sequence[Any], outputs: Sequence[Any]
    ) -> None:
        self.context = context
        self.backward = backward
        self.differentiable = [
            place
            for place, value in enumerate(outputs)
            if isinstance(value, Disguised) and not any(value is other for other in context.non_differentiable)
        ]
        self.arguments = [isinstance(value, Tensor) for value in args]
        self.tracked = [
            (place, value.custom.shape, value.custom.dtype)
            for place, (value, needed) in enumerate(zip(args, context.needs_input_grad, strict=True))
            if needed
        ]
        self.zeros = [
            (value.shape, value.dtype, value.device) if isinstance(value, Tensor) else None for value in outputs
        ]
        self.values: Any = None
        # A backward pass runs below torch's autograd (see backward.py), where some torch functions are other kernels.
        self.keys = torch._C._dispatch_tls_local_include_set(), torch._C._dispatch_tls_local_exclude_set()

    def record(self, operation: PrimitiveFunction, args: Sequence[Any], outputs: Sequence[Any]) -> tuple[Any, ...]:
        """Record what ``forward`` has computed; returns the results, disguised."""
        given = [value for value in args if isinstance(value, Disguised)]
        values = [_new_value(outputs[place].custom.data, given) for place in self.differentiable]
        self.values = values[0] if len(values) == 1 else tuple(values)
        made = operation([args[place].custom for place, _, _ in self.tracked], self)
        self.values = None  # the results belong to whoever holds them
        results = list(outputs)
        for place, result in zip(self.differentiable, made if isinstance(made, tuple) else (made,), strict=True):
            for value in given:
                if torch._C._is_alias_of(value.custom.data, result.data):  # type: ignore[attr-defined]
                    value.custom.add_view(result)
            if any(outputs[place] is value for value in args):
                results[place] = Disguised(result)
            else:
                outputs[place].custom = result  # `ctx.y = y` is that result, too
        first = results[self.differentiable[0]].custom.grad_fn
        node = first if len(values) == 1 else first.parents[0]
        self.context._saved = [
            None if value is None else _Saved(value, self, outputs, node) for value in self.context.to_save
        ]
        self.context.to_save = ()
        return tuple(results)

    def gradients(self, grad: Any) -> list[Any]:
        """The rule: for each tracked argument its gradient, by the Function's own ``backward``."""
        received = grad if isinstance(grad, list) else [grad]
        available = next(item for item in received if item is not None)
        grads: list[Any] = [None] * len(self.zeros)
        for place, item in zip(self.differentiable, received, strict=True):
            grads[place] = item
        if self.context.materialize_grads:
            grads = [
                available.new_zeros(like[0], dtype=like[1], device=like[2]) if item is None and like else item
                for item, like in zip(grads, self.zeros, strict=True)
            ]
        recording = isinstance(available, CustomTensor)
        once = recording and is_once_differentiable(self.backward)
        with torch._C._ForceDispatchKeyGuard(*self.keys), outside_pass(), torch_code():
            if once:
                with torch.no_grad():
                    made = self.backward.__wrapped__(self.context, *disguise(grads))  # type: ignore[attr-defined]
            else:
                made = self.backward(self.context, *disguise(grads))
        found = self._checked(made if isinstance(made, tuple) else (made,), recording)
        if once:
            self.values = tuple(item.data for item in found if item is not None)
            saved = [item.get(self.context._name) for item in self.context._saved if item is not None]
            made = iter(differentiated_once([*(item for item in received if item is not None), *saved], self))
            found = [None if item is None else next(made) for item in found]
            self.values = None
        return found

    def _checked(self, made: tuple[Any, ...], recording: bool) -> list[Any]:
        """The gradients of the tracked arguments, of their shapes and types, if there is one for each argument."""
        name = self.context._name
        missing = [None] * (len(made) - len(self.arguments))
        if len(made) < len(self.arguments) or made[len(self.arguments) :] != tuple(missing):
            raise GradientError(
                f"{name}: backward() returned {len(made)} gradients for {len(self.arguments)} arguments of forward()",
                hint="return one for each, None for what has none",
            )
        for place, item in enumerate(made[: len(self.arguments)]):
            if item is not None and not isinstance(item, Tensor):
                raise DtypeError(f"{name}: backward() returned a {type(item).__name__} as a gradient", hint="a tensor")
            if item is not None and not self.arguments[place]:
                raise GradientError(
                    f"{name}: backward() returned a gradient for argument {place} of forward(), which is no tensor",
                    hint="return None there",
                )
        found = []
        for place, shape, dtype in self.tracked:
            item = made[place]
            if item is not None:
                item = item.custom if isinstance(item, Disguised) else CustomTensor(item)
                item = _fitted(item if recording else item.data, shape, dtype, f"{name}: argument {place}")
            found.append(item)
        return found


def _new_value(data: Tensor, given: Sequence[Disguised]) -> Tensor:
    """A result's values; where ``forward`` returned an argument as it is, a view of them."""
    return data.view_as(data) if any(data is value.custom.data for value in given) else data


def _fitted(grad: Any, shape: torch.Size, dtype: torch.dtype, what: str) -> Any:
    """A gradient in its argument's shape and type; as in torch, one of a shape that it broadcasts to is summed."""
    if grad.shape != shape:
        aligned = zip(reversed(grad.shape), reversed(shape), strict=False)
        if grad.ndim < len(shape) or any(theirs not in (ours, 1) for ours, theirs in aligned):
            raise ShapeError(f"{what} of shape {tuple(shape)} got a gradient of shape {tuple(grad.shape)}")
    return restored(grad, (shape, dtype))


_operations: WeakKeyDictionary[Any, PrimitiveFunction] = WeakKeyDictionary()


def _operation(function: Any) -> PrimitiveFunction:
    """The operation that stands for a Function, under its name."""
    if function not in _operations:

        def results(tensors: Sequence[Tensor], call: _Call) -> Any:
            return call.values

        results.__name__ = function.__name__
        _operations[function] = made = primitive(holomorphic=False)(results)  # backward() states the complex case

        @made.vjp("tensors")
        def results_wrt_tensors(grad: Any, call: _Call) -> Any:
            return call.gradients(grad)

    return _operations[function]


@primitive(holomorphic=False)
def differentiated_once(tensors: Sequence[Tensor], call: _Call) -> Any:
    """Gradients by a ``backward`` that is marked ``once_differentiable``, of which only the first is right."""
    return call.values


@differentiated_once.vjp("tensors")
def differentiated_once_wrt_tensors(grad: Any, call: _Call) -> Any:
    """Refuse."""
    raise GradientError(
        f"{call.context._name}: trying to differentiate twice a function that was marked with @once_differentiable",
        hint="take the mark off its backward() if that can be differentiated",
    )
