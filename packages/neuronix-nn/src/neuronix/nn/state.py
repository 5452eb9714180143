"""`state_dict` and `load_state_dict`: a module's state by name, and a check of it before anything is loaded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from neuronix.autograd import CustomTensor

if TYPE_CHECKING:
    from neuronix.nn.module import Module

__all__ = ["IncompatibleKeys", "collect", "compare"]


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` returns: the names that don't occur on both sides."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


def entries(module: Module, prefix: str = "") -> list[tuple[str, Module, str, Any]]:
    """A module's state in torch's order: its parameters, its persistent buffers, then its submodules.

    A parameter that is shared stands under each of its names.

    Args:
        module: The module.
        prefix: Put before each name.

    Returns:
        For each entry its full name, its module, its name there and its value.
    """
    names = [*module._parameter_names, *(name for name, persistent in module._buffer_names.items() if persistent)]
    found = [(prefix + name, module, name, module.__dict__[name]) for name in names]
    found = [entry for entry in found if entry[3] is not None]
    for name in module._module_names:
        child = module.__dict__[name]
        if child is not None:
            found += entries(child, f"{prefix}{name}.")
    return found


def collect(module: Module, prefix: str, keep_vars: bool) -> OrderedDict[str, Any]:
    """See [`Module.state_dict`][neuronix.nn.Module.state_dict]."""
    return OrderedDict(
        (path, value if keep_vars else _values(value).detach()) for path, _, _, value in entries(module, prefix)
    )


@dataclass
class Plan:
    """What is to be loaded where, and what doesn't fit."""

    pairs: list[tuple[Module, str, Any, Tensor]] = field(default_factory=list)  # module, name, ours, new values
    incompatible: IncompatibleKeys = field(default_factory=lambda: IncompatibleKeys([], []))
    misfits: list[str] = field(default_factory=list)

    def problems(self, strict: bool) -> list[str]:
        """Each reason for which the state can't be loaded, as a sentence."""
        missing, unexpected = self.incompatible
        found = []
        if strict and missing:
            found.append(f"Missing key(s) in state_dict: {', '.join(map(repr, missing))}.")
        if strict and unexpected:
            found.append(f"Unexpected key(s) in state_dict: {', '.join(map(repr, unexpected))}.")
        return [*found, *self.misfits]

    def carry_out(self, assign: bool) -> None:
        """Load."""
        for module, name, ours, values in self.pairs:
            if not assign:
                _values(ours).copy_(values)
            elif isinstance(ours, CustomTensor):
                ours.data = values  # the parameter stays the same object: optimizers hold it
            else:
                module.__dict__[name] = values


def compare(module: Module, state_dict: Mapping[str, Any]) -> Plan:
    """Compare a state with a module; nothing is changed.

    Args:
        module: The module that is to load it.
        state_dict: Values by name.

    Returns:
        The plan, with everything that doesn't fit.
    """
    plan = Plan()
    expected = set()
    for path, owner, name, ours in entries(module):
        expected.add(path)
        if path not in state_dict:
            plan.incompatible.missing_keys.append(path)
            continue
        given = state_dict[path]
        if not isinstance(given, (Tensor, CustomTensor, np.ndarray, np.generic)):
            plan.misfits.append(f"{path!r} must be a tensor, got {type(given).__name__}.")
            continue
        values = _values(given)
        if values.shape != _values(ours).shape:
            plan.misfits.append(
                f"size mismatch for {path}: the state has shape {tuple(values.shape)}, the module has shape "
                f"{tuple(_values(ours).shape)}."
            )
        elif values.is_complex() and not _values(ours).is_complex():
            plan.misfits.append(f"{path!r} is complex in the state and real in the module.")
        plan.pairs.append((owner, name, ours, values))
    plan.incompatible.unexpected_keys.extend(key for key in state_dict if key not in expected)
    return plan


def _values(value: Any) -> Tensor:
    if isinstance(value, CustomTensor):
        return value.data
    tensor = value if isinstance(value, Tensor) else torch.as_tensor(value)
    return tensor.detach() if tensor.requires_grad else tensor
