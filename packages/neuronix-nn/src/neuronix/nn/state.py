"""`state_dict` and `load_state_dict`: a module's state by name, and a check of it before anything is loaded."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from neuronix.autograd import CustomTensor
from neuronix.nn.errors import ModuleTypeError, StateDictError

if TYPE_CHECKING:
    from neuronix.nn.module import Module

__all__ = ["IncompatibleKeys", "collect", "load"]

EXTRA = "_extra_state"  # the last part of the key under which torch keeps what get_extra_state returns


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` returns: the names that don't occur on both sides."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


def members(module: Module) -> Iterator[tuple[str, Any]]:
    """A module's own part of its state: parameters, then persistent buffers."""
    for name in [*module._parameter_names, *(name for name, kept in module._buffer_names.items() if kept)]:
        value = module.__dict__[name]
        if value is not None:
            yield name, value


def paths(module: Module, prefix: str = "") -> Iterator[tuple[str, Module]]:
    """Each module in torch's order, with what stands before its names; one that is shared at each of its places."""
    yield prefix, module
    for name in module._module_names:
        child = module.__dict__[name]
        if child is not None:
            yield from paths(child, f"{prefix}{name}.")


def has_extra(module: Module) -> bool:
    """Whether a class has a state of its own beside its tensors."""
    return type(module).get_extra_state is not _base().get_extra_state


def _base() -> type[Module]:
    from neuronix.nn.module import Module

    return Module


# Saving


def collect(module: Module, destination: Any, prefix: str, keep_vars: bool) -> Any:
    """See [`Module.state_dict`][neuronix.nn.Module.state_dict]."""
    if destination is None:
        destination = OrderedDict()
        destination._metadata = OrderedDict()
    metadata = {"version": module._version}
    if hasattr(destination, "_metadata"):
        destination._metadata[prefix[:-1]] = metadata
    for hook in list(module._state_dict_pre_hooks.values()):
        hook.function(module, prefix, keep_vars)
    for name, value in members(module):
        destination[prefix + name] = value if keep_vars else _values(value).detach()
    if has_extra(module):
        destination[prefix + EXTRA] = module.get_extra_state()
    for name in module._module_names:
        child = module.__dict__[name]
        if child is not None:
            child.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
    for hook in list(module._state_dict_hooks.values()):
        if hook.function(module, destination, prefix, metadata) is not None:
            raise StateDictError("state_dict post-hook must return None", hint="change the state_dict that it is given")
    return destination


# Loading


@dataclass
class Plan:
    """What is to be loaded where, and what doesn't fit."""

    pairs: list[tuple[Module, str, Any, Tensor]] = field(default_factory=list)  # module, name, ours, new values
    extras: list[tuple[Module, Any]] = field(default_factory=list)
    incompatible: IncompatibleKeys = field(default_factory=lambda: IncompatibleKeys([], []))
    misfits: list[str] = field(default_factory=list)

    def check(self, module: Module, strict: bool) -> None:
        """Raise if the state can't be loaded, with all reasons.

        Raises:
            StateDictError: If something doesn't fit.
        """
        missing, unexpected = self.incompatible
        found = []
        if strict and missing:
            found.append(f"Missing key(s) in state_dict: {', '.join(map(repr, missing))}.")
        if strict and unexpected:
            found.append(f"Unexpected key(s) in state_dict: {', '.join(map(repr, unexpected))}.")
        lines = "\n  ".join([*found, *self.misfits])
        if lines:
            raise StateDictError(f"Error(s) in loading state_dict for {module._get_name()}, nothing loaded:\n  {lines}")

    def carry_out(self, assign: bool) -> None:
        """Load."""
        for module, name, ours, values in self.pairs:
            if not assign:
                _values(ours).copy_(values)
            elif isinstance(ours, CustomTensor):
                ours.data = values  # the parameter stays the same object: optimizers hold it
            else:
                module.__dict__[name] = values
        for module, extra in self.extras:
            module.set_extra_state(extra)


def load(module: Module, state_dict: Mapping[str, Any], strict: bool, assign: bool) -> IncompatibleKeys:
    """See [`Module.load_state_dict`][neuronix.nn.Module.load_state_dict]."""
    if not isinstance(state_dict, Mapping):
        raise ModuleTypeError(f"expected state_dict to be dict-like, got {type(state_dict).__name__}")
    metadata = getattr(state_dict, "_metadata", None) or {}
    state: dict[str, Any] = OrderedDict(state_dict)  # hooks may change it
    plan = Plan()
    for prefix, part in paths(module):
        local = dict(metadata.get(prefix[:-1], {}))
        part._prepare_state(state, prefix, local)
        for hook in list(part._load_state_dict_pre_hooks.values()):
            hook.function(part, state, prefix, local, strict, *plan.incompatible, plan.misfits)
    compare(plan, module, state, assign)
    hooks = [(part, hook) for _, part in paths(module) for hook in part._load_state_dict_post_hooks.values()]
    if not hooks and not plan.extras:
        plan.check(module, strict)
        plan.carry_out(assign)
        return plan.incompatible
    plan.check(module, strict=False)
    undo = [(owner, name, ours, _values(ours), _values(ours).clone()) for owner, name, ours, _ in plan.pairs]
    try:
        plan.carry_out(assign)
        for part, hook in reversed(hooks):  # of children before that of their module
            if hook.function(part, plan.incompatible) is not None:
                raise StateDictError(
                    "a hook of register_load_state_dict_post_hook must return None",
                    hint="change the lists that it is given",
                )
        plan.check(module, strict)  # the hooks may have changed the lists
    except Exception:
        for owner, name, ours, held, before in undo:
            held.copy_(before)
            if isinstance(ours, CustomTensor):
                ours.data = held
            else:
                owner.__dict__[name] = held
        raise
    return plan.incompatible


def compare(plan: Plan, module: Module, state: Mapping[str, Any], assign: bool) -> None:
    """Compare a state with a module and write down in the plan what is to be done; nothing is changed.

    Args:
        plan: The plan.
        module: The module that is to load it.
        state: Values by name.
        assign: Whether the tensors themselves are to be used.
    """
    expected = set()
    missing, unexpected = plan.incompatible
    for prefix, part in paths(module):
        for name, ours in members(part):
            path = prefix + name
            expected.add(path)
            if path not in state:
                missing.append(path)
                continue
            values, misfit = _fitted(path, ours, state[path], assign)
            if misfit:
                plan.misfits.append(misfit)
            elif values is not None:
                plan.pairs.append((part, name, ours, values))
        if has_extra(part):
            expected.add(prefix + EXTRA)
            if prefix + EXTRA in state:
                plan.extras.append((part, state[prefix + EXTRA]))
            else:
                missing.append(prefix + EXTRA)
    unexpected.extend(key for key in state if key not in expected)


def _fitted(path: str, ours: Any, given: Any, assign: bool) -> tuple[Tensor | None, str | None]:
    """The values to load, or why they can't be."""
    if not isinstance(given, (Tensor, CustomTensor, np.ndarray, np.generic)):
        return None, f"{path!r} must be a tensor, got {type(given).__name__}."
    values, held = _values(given), _values(ours)
    if held.ndim == 0 and values.shape == (1,):
        values = values[0]  # how torch 0.3 stored single numbers
    if values.shape != held.shape:
        return None, (
            f"size mismatch for {path}: the state has shape {tuple(values.shape)}, the module has shape "
            f"{tuple(held.shape)}."
        )
    if values.is_complex() and not held.is_complex():
        return None, f"{path!r} is complex in the state and real in the module."
    if assign:
        if ours.requires_grad and not (values.is_floating_point() or values.is_complex()):
            return None, f"{path!r} requires grad in the module and holds {values.dtype} in the state."
    elif values.is_meta and not held.is_meta:
        return None, f"{path!r} has no values in the state: it is on the meta device."
    elif held.is_meta and not values.is_meta:
        warnings.warn(
            f"for {path}: copying to a parameter on the meta device does nothing; load with assign=True, or call "
            "to_empty() first",
            stacklevel=5,
        )
    return values, None


def _values(value: Any) -> Tensor:
    if isinstance(value, CustomTensor):
        return value.data
    tensor = value if isinstance(value, Tensor) else torch.as_tensor(value)
    return tensor.detach() if tensor.requires_grad else tensor
