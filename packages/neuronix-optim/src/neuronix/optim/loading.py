"""What may be loaded into an optimizer: a state of Neuronix or of torch, checked before it replaces anything."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neuronix.optim import checks
from neuronix.optim.errors import OptimizerError

if TYPE_CHECKING:
    from neuronix.optim.groups import Options, State
    from neuronix.optim.optimizer import Optimizer


def loaded_groups(optimizer: Optimizer, saved_groups: Sequence[Mapping[str, Any]]) -> list[Options]:
    """Return new groups: the saved options for the parameters that `optimizer` has."""
    owner = type(optimizer).__name__
    if len(saved_groups) != len(optimizer.param_groups):
        raise OptimizerError(
            f"{owner}: the loaded state has {len(saved_groups)} parameter groups, the optimizer has "
            f"{len(optimizer.param_groups)}."
        )
    # A flag that an older checkpoint doesn't know is off; a number that is missing points to another algorithm.
    flags = {option: value for option, value in optimizer.defaults.items() if value is None or isinstance(value, bool)}
    off = {option: None if value is None else False for option, value in flags.items()}
    required = ["params", *(option for option in optimizer.defaults if option not in flags)]
    groups = []
    for index, (saved, group) in enumerate(zip(saved_groups, optimizer.param_groups, strict=True)):
        checks.holds(owner, f"group {index} of the loaded state", saved, required)
        if len(saved["params"]) != len(group["params"]):
            raise OptimizerError(
                f"{owner}: group {index} of the loaded state has {len(saved['params'])} parameters, that of the "
                f"optimizer has {len(group['params'])}."
            )
        names = {"param_names": group["param_names"]} if "param_names" in group else {}
        options = deepcopy({option: value for option, value in saved.items() if option != "params"})
        missing = {option: value for option, value in off.items() if option not in options}
        loaded: Options = {**names, **options, **missing, **optimizer.fixed_options, "params": group["params"]}
        checks.common_options(owner, loaded)
        optimizer.check_options(loaded)
        groups.append(loaded)
    return groups


def loaded_state(optimizer: Optimizer, state_dict: Mapping[str, Any], groups: list[Options]) -> defaultdict[Any, State]:
    """Return copies of the saved state, for the parameters of `groups` in their order."""
    numbers = chain.from_iterable(saved["params"] for saved in state_dict["param_groups"])
    members = ((param, group) for group in groups for param in group["params"])
    member_of = dict(zip(numbers, members, strict=True))
    state: defaultdict[Any, State] = defaultdict(dict)
    for number, kept in state_dict["state"].items():
        if number not in member_of:
            raise OptimizerError(
                f"{type(optimizer).__name__}: the loaded state has an entry for parameter {number!r}, which is in none "
                "of its groups."
            )
        param, group = member_of[number]
        if kept:
            state[param] = _loaded_entry(optimizer, f"the loaded state of parameter {number}", kept, param.data, group)
    return state


def _loaded_entry(optimizer: Optimizer, what: str, kept: Mapping[str, Any], theta: Tensor, group: Options) -> State:
    owner = type(optimizer).__name__
    initial = optimizer.initial_state(theta, group)
    checks.holds(owner, what, kept, initial)
    entry: State = {}
    for name, value in kept.items():
        if value is None:
            continue  # torch's SGD has written None for a buffer not used yet
        if not isinstance(value, Tensor) and not isinstance(initial.get(name), Tensor):
            entry[name] = deepcopy(value)  # LBFGS has numbers, and lists of tensors
            continue
        if not isinstance(value, Tensor):
            value = torch.tensor(checks.number(owner, f"{name} of {what}", value))  # a count of steps was once a number
        if name in optimizer.state_names and value.shape != theta.shape:
            raise OptimizerError(
                f"{owner}: {what} has {name!r} of shape {tuple(value.shape)}, the parameter has {tuple(theta.shape)}."
            )
        # A count of steps keeps its dtype: half precision counts to 2,048 only. So does what is kept more exactly.
        cast = theta.is_floating_point() and name != "step"
        dtype = torch.promote_types(theta.dtype, initial[name].dtype) if name in initial else theta.dtype
        device = value.device if name == "step" else theta.device
        entry[name] = value.detach().to(device=device, dtype=dtype if cast else value.dtype, copy=True)
    return entry
