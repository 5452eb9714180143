"""How the parameters of a group are taken through one step: by a kernel for all of them, in lists, or one by one.

All three give what `update`, the definition, gives: a fused kernel of torch computes the same formula in one pass over
memory; a [`TensorList`][neuronix.optim.tensor_list.TensorList] goes through the very lines of `update`, many small
tensors at once. The block [`rules_only`][neuronix.autograd.rules_only], and a step that is being traced, take the
definition: one parameter at a time, with the count of steps as a tensor.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch
from torch import Tensor

from neuronix.autograd import uses_rules_only
from neuronix.optim.groups import Options, State, as_numbers, exact
from neuronix.optim.tensor_list import TensorList

if TYPE_CHECKING:
    from neuronix.optim.optimizer import Optimizer

Member: TypeAlias = tuple[Tensor, Tensor, State]
"""A parameter's values, its gradient, and what is remembered of it."""

LIST_SIZE = 2**16
"""How many numbers a list holds: as many as stay in a core's cache from one kernel to the next. A larger tensor goes by
itself: Python's time is nothing beside its own, and its temporaries would be large."""


def step_group(optimizer: Optimizer, members: list[Member], group: Options) -> None:
    """Take one step for those parameters of a group that have a gradient."""
    if uses_rules_only() or _is_traced():
        options = exact(group)
        for theta, grad, state in members:
            exact_count = state["step"].add_(1).double() if "step" in state else None
            _update_one(optimizer, theta, grad, state, options, exact_count)
        return
    options = as_numbers(group)
    if group.get("fused") is not False and group.get("foreach") is not True:
        members = _step_fused(optimizer, members, options)
    for count, alike in _by_count(members):
        if optimizer.takes_lists and group.get("foreach") is not False:
            for portion in _portions(alike, group.get("foreach") is True):
                _update_list(optimizer, portion, options, count)
        else:
            for theta, grad, state in alike:
                _update_one(optimizer, theta, grad, state, options, count)


def _is_traced() -> bool:
    """Return whether make_fx is recording, which couldn't read a count of steps."""
    return torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None


def _step_fused(optimizer: Optimizer, members: list[Member], options: Options) -> list[Member]:
    """Take the step by a fused kernel where there is one, and return those members for which there isn't."""
    suitable: defaultdict[Any, list[Member]] = defaultdict(list)
    others: list[Member] = []
    for member in members:
        theta, grad, state = member
        if (
            theta.dtype in (torch.float32, torch.float64)
            and grad.dtype is theta.dtype
            and grad.layout is torch.strided
            and theta.is_contiguous()  # the kernels go through memory, whatever the axes are
            and grad.is_contiguous()
            and type(theta) is Tensor
            and type(grad) is Tensor
        ):
            suitable[theta.dtype, theta.device, *state].append(member)
        else:
            others.append(member)
    for alike in suitable.values():
        thetas, grads, states = [m[0] for m in alike], [m[1] for m in alike], [m[2] for m in alike]
        if optimizer.update_fused(thetas, grads, states, options):
            torch._C._increment_version(thetas)  # the kernels don't count their changes
        else:
            others += alike
    return others


def _by_count(members: list[Member]) -> Iterator[tuple[float | None, list[Member]]]:
    """Count this step, and yield the members by the number that it has for them."""
    counts = [state["step"] for _, _, state in members if "step" in state]
    if not counts:
        yield None, members
        return
    torch._foreach_add_(counts, 1)
    by_count: defaultdict[float, list[Member]] = defaultdict(list)
    for count, member in zip(counts, members, strict=True):
        by_count[count.item()].append(member)
    yield from by_count.items()


def _portions(members: list[Member], whole: bool) -> Iterator[list[Member]]:
    """Yield the members in lists of the same kind that stay small, or `whole`."""
    kinds: defaultdict[Any, list[Member]] = defaultdict(list)
    for member in members:
        theta, grad, state = member
        kinds[theta.dtype, grad.dtype, theta.device, grad.layout, *state].append(member)
    for alike in kinds.values():
        portion: list[Member] = []
        size = 0
        for member in alike:
            numel = member[0].numel()
            if portion and size + numel > LIST_SIZE and not whole:
                yield portion
                portion, size = [], 0
            portion.append(member)
            size += numel
        yield portion


def _update_list(optimizer: Optimizer, members: list[Member], options: Options, count: float | None) -> None:
    """Call `update` once for many parameters of one kind."""
    theta, grad, _ = members[0]
    if len(members) == 1 or theta.is_complex() or grad.layout is not torch.strided:
        for theta, grad, state in members:
            _update_one(optimizer, theta, grad, state, options, count)
        return
    grads = TensorList([grad for _, grad, _ in members])
    states = [state for _, _, state in members]
    shown: dict[str, Any] = {name: TensorList([state[name] for state in states]) for name in states[0]}
    if count is not None:
        shown["step"] = count
    known = len(shown)
    optimizer.update(
        cast(Tensor, TensorList([theta for theta, _, _ in members])),
        cast(Tensor, -grads if options.get("maximize", False) else grads),
        shown,
        options,
    )
    for name in list(shown)[known:]:
        for state, value in zip(states, shown[name].tensors, strict=True):
            state[name] = value


def _update_one(
    optimizer: Optimizer, theta: Tensor, grad: Tensor, state: State, options: Options, count: float | Tensor | None
) -> None:
    """Call `update` for one parameter; for a complex one as the pairs of real numbers that it is, as in the papers."""
    is_complex = theta.is_complex()
    shown: dict[str, Any] = {name: _real(value) for name, value in state.items()} if is_complex else dict(state)
    if count is not None:
        shown["step"] = count
    known = len(shown)
    if options.get("maximize", False):
        grad = -grad
    optimizer.update(_real(theta), _real(grad.resolve_conj() if is_complex else grad), shown, options)
    for name in list(shown)[known:]:  # kept from this update on
        state[name] = torch.view_as_complex(shown[name]) if is_complex else shown[name]


def _real(value: Tensor) -> Tensor:
    return torch.view_as_real(value) if value.is_complex() else value
