"""What a caller may pass as parameters, and how it becomes parameter groups."""

from collections.abc import Callable, Iterable, Mapping
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
State: TypeAlias = dict[str, Any]
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


def exact(group: Options) -> Options:
    """Return the options of `group`; tensors among them without axes, and as exact as Python's numbers."""
    return _mapped(group, lambda value: value.detach().double().reshape(()))


def as_numbers(group: Options) -> Options:
    """Return the options of `group`, those that are tensors as numbers."""
    return _mapped(group, lambda value: value.item())


def misfit(theta: Tensor, grad: Any, layouts: tuple[torch.layout, ...]) -> str:
    """Return what keeps `grad` from being a gradient of `theta`, or an empty string."""
    if not isinstance(grad, Tensor):
        return f"must be a torch tensor or None, got {described(grad)}"
    if grad.layout not in layouts:
        wanted = "dense" if layouts == (torch.strided,) else " or ".join(map(str, layouts))
        return f"must be {wanted}, got {grad.layout}"
    if not grad.is_same_size(theta):
        return f"has shape {tuple(grad.shape)}, the parameter has {tuple(theta.shape)}"
    if grad.dtype is theta.dtype and grad.device == theta.device:
        return ""
    if grad.device != theta.device:
        return f"is on {grad.device}, the parameter is on {theta.device}"
    if grad.is_complex() != theta.is_complex():
        return f"is {grad.dtype}, the parameter is {theta.dtype}"
    return ""


def count_of_steps() -> Tensor:
    """Return a count of steps at zero: a tensor on the CPU, whose dtype is as exact as the default one, as in torch."""
    return torch.zeros((), dtype=torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32)


def _mapped(group: Options, convert: Callable[[Tensor], Any]) -> Options:
    """Return `group` with its tensors converted; the very same dict if it holds none."""

    def converted(value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            return type(value)(map(converted, value))
        return convert(value) if isinstance(value, Tensor) else value

    for value in group.values():
        if isinstance(value, Tensor) or (type(value) is tuple and any(isinstance(item, Tensor) for item in value)):
            return {option: value if option == "params" else converted(value) for option, value in group.items()}
    return group


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
