"""What a caller may pass as parameters, and how it becomes parameter groups."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from neuronix.optim.checks import described
from neuronix.optim.errors import OptimizerError, OptimizerKeyError, OptimizerTypeError


class Optimizable(Protocol):
    """What an optimizer can work on: `CustomTensor`, `Parameter`, a torch tensor or a torch parameter."""

    grad: Any
    """A torch tensor, or `None` for a parameter that the step passes over."""

    @property
    def data(self) -> Tensor:
        """The values, which the optimizer changes in place."""
        ...


Options: TypeAlias = dict[str, Any]
State: TypeAlias = dict[str, Tensor]
Params: TypeAlias = Iterable[Optimizable] | Iterable[tuple[str, Optimizable]] | Iterable[Options]


def is_optimizable(thing: Any) -> bool:
    """Return whether `thing` has `.data`, a torch tensor, and `.grad`."""
    # Asking a computed torch tensor for its gradient warns, so a torch tensor isn't asked.
    return isinstance(thing, Tensor) or (isinstance(getattr(thing, "data", None), Tensor) and hasattr(thing, "grad"))


def as_groups(owner: str, params: Any) -> list[Any]:
    """Return `params` as a list of at least one group."""
    listed = isinstance(params, Iterable) and not isinstance(params, (str, bytes, Mapping))
    if not listed or is_optimizable(params):
        raise OptimizerTypeError(
            f"{owner}: `params` must be an iterable of parameters or of parameter groups, got {described(params)}.",
            hint=_parameters_hint(params) or "put it in a list.",
        )
    members = list(params)
    if not members:
        raise OptimizerError(
            f"{owner}: `params` is empty, there is nothing to optimize.",
            hint="a generator can be read only once; has something else read it?",
        )
    return members if isinstance(members[0], dict) else [{"params": members}]


def as_group(owner: str, param_group: Any, defaults: Options) -> Options:
    """Return a new group with the parameters of `param_group` as a list, and with every option."""
    if not isinstance(param_group, dict):
        raise OptimizerTypeError(
            f"{owner}: a parameter group must be a dict with a key 'params', got {described(param_group)}."
        )
    if "params" not in param_group:
        found = ", ".join(map(repr, param_group)) or "nothing"
        raise OptimizerKeyError(f"{owner}: a parameter group lacks 'params'; it holds {found}.")
    members = param_group["params"]
    if is_optimizable(members):
        members = [members]
    elif isinstance(members, (set, frozenset)):
        raise OptimizerTypeError(
            f"{owner}: the parameters of a group must have an order, got a set of {len(members)}.",
            hint="pass a list, else a saved state could go to the wrong parameters.",
        )
    elif isinstance(members, (str, bytes)) or not isinstance(members, Iterable):
        raise OptimizerTypeError(
            f"{owner}: 'params' of a group must be parameters, got {described(members)}.",
            hint=_parameters_hint(members) or "a group is a dict such as {'params': [w, b], 'lr': 0.1}.",
        )
    names, params = _split_names(owner, list(members))
    for position, param in enumerate(params):
        _check_param(owner, position, param)
    group: Options = {**param_group, "params": params}
    if names:
        group["param_names"] = names
    for option, default in defaults.items():
        group.setdefault(option, default)
    return group


def check_membership(owner: str, group: Options, others: list[Options]) -> None:
    """Raise if a parameter of `group` would be stepped twice, or if only some of the groups have names."""
    group_of = {id(param): number for number, other in enumerate(others) for param in other["params"]}
    for position, param in enumerate(group["params"]):
        if id(param) in group_of:
            raise OptimizerError(
                f"{owner}: parameter number {position} of group {len(others)}, of shape {tuple(param.data.shape)}, is "
                f"in group {group_of[id(param)]} already; it would be stepped twice.",
                hint="leave the second out; tied weights are one parameter.",
            )
        group_of[id(param)] = len(others)
    if others and ("param_names" in group) != ("param_names" in others[0]):
        new, old = ("names", "none") if "param_names" in group else ("no names", "some")
        raise OptimizerError(
            f"{owner}: the parameters of group {len(others)} have {new}, those of the groups before have {old}.",
            hint="give all parameters a name, or none.",
        )


def in_double_precision(group: Options) -> Options:
    """Return the options of `group`; tensors among them without axes, and as exact as Python's numbers."""

    def exact(value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            return type(value)(exact(item) for item in value)
        return value.detach().double().reshape(()) if isinstance(value, Tensor) else value

    return {option: value if option == "params" else exact(value) for option, value in group.items()}


def is_zero(option: Any) -> bool:
    """Return whether an option is off; one that is a tensor isn't, whatever its value, which can't be looked at."""
    return not isinstance(option, Tensor) and option == 0


def suits_kernels(theta: Tensor, grad: Tensor) -> bool:
    """Return whether torch's kernels for many parameters give for this one what `update` gives."""
    return (
        type(theta) is Tensor
        and type(grad) is Tensor
        and theta.dtype in (torch.float32, torch.float64)
        and grad.dtype is theta.dtype
        and theta.stride() == grad.stride()  # they go through the memory of both, whatever the axes are
        and theta.is_contiguous()
    )


def misfit(theta: Tensor, grad: Any) -> str:
    """Return what keeps `grad` from being a gradient of `theta`, or an empty string."""
    if not isinstance(grad, Tensor):
        return f"must be a torch tensor or None, got {described(grad)}"
    if grad.layout is not torch.strided:
        return f"must be dense, got {grad.layout}"
    if grad.shape != theta.shape:
        return f"has shape {tuple(grad.shape)}, the parameter has {tuple(theta.shape)}"
    if grad.device != theta.device:
        return f"is on {grad.device}, the parameter is on {theta.device}"
    if grad.is_complex() != theta.is_complex():
        return f"is {grad.dtype}, the parameter is {theta.dtype}"
    return ""


def _split_names(owner: str, entries: list[Any]) -> tuple[list[str], list[Any]]:
    names = [entry[0] for entry in entries if isinstance(entry, tuple) and len(entry) == 2]
    params = [entry[1] if isinstance(entry, tuple) and len(entry) == 2 else entry for entry in entries]
    if names and len(names) != len(params):
        raise OptimizerError(
            f"{owner}: {len(names)} of {len(params)} parameters have a name.",
            hint="give all parameters a name, or none.",
        )
    return names, params


def _check_param(owner: str, position: int, param: Any) -> None:
    if not is_optimizable(param):
        raise OptimizerTypeError(
            f"{owner}: parameter number {position} is not a tensor, got {described(param)}.",
            hint=_parameters_hint(param) or "a parameter has `.data`, a torch tensor, and `.grad`.",
        )
    if not getattr(param, "is_leaf", True) and not getattr(param, "retains_grad", False):
        raise OptimizerError(
            f"{owner}: parameter number {position}, of shape {tuple(param.data.shape)}, is computed from other "
            "tensors; a step on it would be lost.",
            hint="optimize the leaf that it is computed from, or its `.detach()`.",
        )


def _parameters_hint(thing: Any) -> str:
    return "pass its `.parameters()`." if callable(getattr(thing, "parameters", None)) else ""
