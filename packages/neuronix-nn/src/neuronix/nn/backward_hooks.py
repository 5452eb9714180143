"""Full backward hooks: what a module's outputs receive and what its inputs hand on, as the pass goes through it.

A module isn't an operation, so no node of the graph knows its inputs or its outputs together.  `passing` makes two that
do: it copies all inputs as they enter, and all outputs as they leave.  Its rule hands each gradient on, and its nodes
are where the hooks are called.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, Shape, is_grad_enabled, primitive
from neuronix.autograd.errors import GradientError

__all__ = ["Passage", "passing"]


@primitive
def passing(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The tensors, copied, so that a change in place inside a module doesn't reach those outside."""
    return tuple(tensor.clone() for tensor in tensors)


@passing.vjp("tensors")
def passing_wrt_tensors(grad: list[Tensor | None], tensors: Shape) -> list[Tensor]:
    there = next(each for each in grad if each is not None)
    pairs = zip(grad, tensors, strict=True)
    return [there.new_zeros(shape) if each is None else each for each, shape in pairs]


class Passage:
    """One call of a module that has backward hooks.

    Args:
        module: The module, which the hooks are given.
        hooks: Called with ``(module, grad_inputs, grad_outputs)``.
        pre_hooks: Called before with ``(module, grad_outputs)``.
    """

    def __init__(
        self, module: Any, hooks: Sequence[Callable[..., Any]], pre_hooks: Sequence[Callable[..., Any]]
    ) -> None:
        self.module = module
        self.hooks = hooks
        self.pre_hooks = pre_hooks
        self.arguments: tuple[Any, ...] = ()  # zeros for tensors that need no gradient, None for what is no tensor
        self.differentiable: list[int] = []  # which of the arguments require grad
        self.grad_outputs: tuple[Any, ...] | None = None  # between the two nodes of one backward pass

    def enter(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Copy the arguments that require grad, and call the hooks once the pass arrives at them."""
        self.arguments = tuple(_zeros_like(arg) for arg in args)
        args, self.differentiable, node = _through(args)
        if node is not None:
            node.register_hook(self._at_inputs)
        return args

    def leave(self, result: Any) -> Any:
        """Copy the results that require grad, and call the pre-hooks once the pass arrives at them."""
        if not isinstance(result, (CustomTensor, tuple)):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors but received "
                f"{type(result)}",
                stacklevel=4,
            )
            return result
        alone = isinstance(result, CustomTensor)
        results, places, node = _through((result,) if isinstance(result, CustomTensor) else result)
        if node is not None:
            node.register_prehook(lambda grads: self._at_outputs(grads, places, len(results)))
        return results[0] if alone else results

    def _at_outputs(self, grads: tuple[Any, ...], places: list[int], count: int) -> tuple[Any, ...]:
        received = _spread(grads, places, (None,) * count)
        for hook in self.pre_hooks:
            changed = hook(self.module, received)
            if changed is not None:
                received = _checked(changed, count, "Backward pre hook returned an invalid number of grad_output")
        self.grad_outputs = received
        if not self.differentiable:  # the pass will end inside the module
            for hook in self.hooks:
                changed = hook(self.module, (None,) * len(self.arguments), received)
                if changed is not None and any(each is not None for each in changed):
                    raise GradientError(
                        "Backward hook for Modules where no input requires gradient should always return None or None "
                        "for all gradients."
                    )
            self.grad_outputs = None
        return tuple(received[place] for place in places)

    def _at_inputs(self, grad_inputs: tuple[Any, ...], _: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if self.grad_outputs is None:  # the pass came here without going through the outputs
            return None
        handed_on = _spread(grad_inputs, self.differentiable, self.arguments)
        for hook in self.hooks:
            changed = hook(self.module, handed_on, self.grad_outputs)
            if changed is not None:
                message = "Backward hook returned an invalid number of grad_input"
                handed_on = _checked(changed, len(self.arguments), message)
        self.grad_outputs = None
        return tuple(handed_on[place] for place in self.differentiable)


def _through(values: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[int], Any]:
    """The values, those that require grad copied by one operation; which these are; and its node."""
    places = [place for place, value in enumerate(values) if isinstance(value, CustomTensor) and value.requires_grad]
    if not places or not is_grad_enabled():
        return values, [], None
    copies = passing([values[place] for place in places])
    node = copies[0].grad_fn.operation
    changed = list(values)
    for place, copied in zip(places, copies, strict=True):
        changed[place] = copied
    made = type(values)(*changed) if hasattr(values, "_fields") else tuple(changed)
    return made, places, node


def _zeros_like(argument: Any) -> Tensor | None:
    """What torch's hooks are given for a tensor without gradient, beside one that has one."""
    if isinstance(argument, CustomTensor):
        argument = argument.data
    return torch.zeros_like(argument) if isinstance(argument, Tensor) else None


def _spread(grads: Sequence[Any], places: list[int], elsewhere: tuple[Any, ...]) -> tuple[Any, ...]:
    """The gradients at their places among all arguments or results."""
    spread = list(elsewhere)
    for place, grad in zip(places, grads, strict=True):
        spread[place] = grad
    return tuple(spread)


def _checked(changed: Any, count: int, message: str) -> tuple[Any, ...]:
    items = tuple(changed) if isinstance(changed, (tuple, list)) else (changed,)
    if len(items) != count:
        raise GradientError(f"{message}, got {len(items)}, but expected {count}")
    return items
