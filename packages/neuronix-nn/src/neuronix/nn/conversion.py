"""`from_torch` and `to_torch`: one library's layer as the other's, of the same name.

Nothing here knows the layers: a layer's constructor is called with what the other layer's attributes say, then its
parameters, buffers and modes are copied.  A class that is added to `neuronix.nn` (or to `neuronix.losses`) comes along.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from neuronix.autograd.errors import UnsupportedError
from neuronix.nn.errors import ModuleTypeError
from neuronix.nn.module import Module

__all__ = ["from_torch", "to_torch"]

# Where an argument of a constructor is to be found if no attribute has its name.
_ELSEWHERE: dict[str, tuple[str, ...]] = {
    "activation": ("activation",),
    "add_bias_kv": ("bias_k",),
    "batch_first": ("self_attn.batch_first",),
    "bias": ("in_proj_bias", "linear1.bias", "linear.bias"),
    "custom_decoder": ("decoder",),
    "custom_encoder": ("encoder",),
    "cutoffs": ("cutoffs",),
    "d_model": ("self_attn.embed_dim",),
    "decoder_layer": ("layers.0",),
    "dim_feedforward": ("linear1.out_features",),
    "dropout": ("dropout.p",),
    "encoder_layer": ("layers.0",),
    "in_features": ("linear.in_features",),
    "layer_norm_eps": ("norm1.eps",),
    "nhead": ("self_attn.num_heads",),
    "p": ("norm",),
}


def from_torch(layer: torch.nn.Module) -> Module:
    """Make a layer of Neuronix's from one of torch's, with the same numbers; the one of torch's stays as it is.

    Args:
        layer: A layer of ``torch.nn`` that ``neuronix.nn`` has too, or a container of such.

    Returns:
        The layer: same arguments, values, dtype, buffers and mode; what is shared in ``layer`` is shared in it.

    Raises:
        ModuleTypeError: If ``layer`` isn't a ``torch.nn.Module``.
        UnsupportedError: If Neuronix has no such class; [`adopt`][neuronix.nn.adopt] runs any module.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> theirs = torch.nn.Sequential(torch.nn.Conv1d(2, 4, 3, padding=1, bias=False), torch.nn.ReLU())
        >>> nn.from_torch(theirs)
        Sequential(
          (0): Conv1d(2, 4, kernel_size=(3,), stride=(1,), padding=(1,), bias=False)
          (1): ReLU()
        )
    """
    if not isinstance(layer, torch.nn.Module):
        raise ModuleTypeError(f"from_torch: a torch.nn.Module is expected, got {type(layer).__name__}")
    made: Module = _Converter(_torch_class, _our_class, "Neuronix", "adopt() runs any torch module").convert(layer, "")
    return made


def to_torch(layer: Module) -> torch.nn.Module:
    """Make a layer of torch's from one of Neuronix's, with the same numbers; the one of Neuronix's stays as it is.

    Args:
        layer: A layer of ``neuronix.nn`` that ``torch.nn`` has too, or a container of such.

    Returns:
        The layer: same arguments, values, dtype, buffers and mode; what is shared in ``layer`` is shared in it.

    Raises:
        ModuleTypeError: If ``layer`` isn't a [`Module`][neuronix.nn.Module].
        UnsupportedError: If torch has no such class.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> ours = nn.Linear(3, 2).double()
        >>> theirs = nn.to_torch(ours)
        >>> theirs.weight.dtype, torch.equal(theirs.weight, ours.weight.data)
        (torch.float64, True)
    """
    if not isinstance(layer, Module):
        raise ModuleTypeError(f"to_torch: a module of Neuronix's is expected, got {type(layer).__name__}")
    hint = "load its state_dict() into a torch module of your own"
    made: torch.nn.Module = _Converter(_our_class, _torch_class, "torch", hint).convert(layer, "")
    return made


def _torch_class(name: str) -> type | None:
    return getattr(torch.nn, name, None)


def _our_class(name: str) -> type | None:
    """Our class of that name, from this package or another of ours that is imported."""
    return next((kind for kind in _subclasses(Module) if kind.__name__ == name), None)


def _subclasses(kind: type) -> Iterator[type]:
    child: type
    for child in kind.__subclasses__():
        if child.__module__.startswith("neuronix.") and not child.__name__.startswith("_"):
            yield child
        yield from _subclasses(child)


class _Converter:
    """Converts layers from one library into the other; each module and each parameter once."""

    def __init__(self, source: Any, target: Any, library: str, hint: str) -> None:
        self.source_class, self.target_class = source, target
        self.library, self.hint = library, hint
        self.modules: dict[int, Any] = {}
        self.parameters: dict[int, Any] = {}

    def convert(self, layer: Any, path: str) -> Any:
        """The other library's layer for ``layer``."""
        if id(layer) not in self.modules:
            self.modules[id(layer)] = made = self.constructed(layer, path)
            self.transfer(layer, made, path)
        return self.modules[id(layer)]

    def known(self, layer: Any) -> bool:
        """Whether both libraries have the layer's very class."""
        name = type(layer).__name__
        return type(layer) is self.source_class(name) and self.target_class(name) is not None

    def constructed(self, layer: Any, path: str) -> Any:
        kind = self.target_class(type(layer).__name__)
        where = f"{path or 'the layer'} ({type(layer).__name__})"
        if not self.known(layer):
            raise UnsupportedError(f"{where}: {self.library} has no layer of this class", hint=self.hint)
        if layer._forward_hooks or layer._forward_pre_hooks:
            raise UnsupportedError(f"{where} has hooks, which aren't converted", hint="remove them first")
        names = _arguments(kind) or _arguments(type(layer))  # torch's LSTM doesn't name its own
        if kind.__name__ in ("ParameterList", "ParameterDict"):
            values = layer.items() if isinstance(layer, Mapping) or hasattr(layer, "items") else enumerate(layer)
            held = {str(key): _values(value) for key, value in values}
            return kind(held if hasattr(layer, "items") else list(held.values()))
        if kind.__name__ in ("ModuleList", "ModuleDict"):
            return kind()  # filled later
        arguments = {}
        for name, parameter in names.items():
            if name in ("device", "dtype") or name.startswith("_") or parameter.kind is parameter.VAR_KEYWORD:
                continue
            found, value = self.argument(layer, name, parameter, path)
            if found:
                arguments[name] = value
            elif parameter.default is parameter.empty:
                raise UnsupportedError(f"{where}: its argument {name!r} can't be read from it", hint=self.hint)
        return kind(**arguments)

    def argument(self, layer: Any, name: str, parameter: inspect.Parameter, path: str) -> tuple[bool, Any]:
        """A constructor's argument, from the attribute of its name or from where else it is."""
        for place in (name, *_ELSEWHERE.get(name, ())):
            try:
                value = attrgetter(place)(layer) if ".0" not in place else _first(layer, place)
            except AttributeError:
                continue
            if isinstance(value, (torch.nn.Module, Module)):
                if place == name and name not in ("norm", "activation"):  # `dropout` is a layer there
                    continue
                # Made apart: a constructor copies what it is given, or gives it new numbers.
                apart = _Converter(self.source_class, self.target_class, self.library, self.hint)
                return True, apart.convert(value, f"{path}.{place}".strip("."))
            if name == "cutoffs":
                return True, value[:-1]  # the number of classes has been added
            if isinstance(parameter.default, bool) and not isinstance(value, bool):
                return True, value is not None  # of a bias: whether there is one
            return True, getattr(F, value.__name__, value) if inspect.isroutine(value) else value
        return False, None

    def transfer(self, layer: Any, made: Any, path: str) -> None:
        """Copy parameters, buffers, mode and submodules."""
        for name, child in layer.named_children() if _is_tree(layer) else ():
            here = f"{path}.{name}".strip(".")
            if self.known(child) or not hasattr(made, name):
                made.add_module(name, self.convert(child, here))
            else:
                self.transfer(child, getattr(made, name), here)  # a class that only the one library has
        for name, value in layer.named_parameters(recurse=False, remove_duplicate=False):
            if id(value) in self.parameters:
                setattr(made, name, self.parameters[id(value)])
                continue
            theirs = self.parameters[id(value)] = getattr(made, name)
            theirs.data = _values(value)
            theirs.requires_grad = value.requires_grad
        for name, buffer in layer.named_buffers(recurse=False):
            setattr(made, name, buffer.detach().clone())
        made.training = layer.training


def _arguments(kind: type) -> Mapping[str, inspect.Parameter]:
    """A constructor's parameters; none if it takes any number, as containers do."""
    parameters = inspect.signature(kind).parameters
    return {} if any(p.kind is p.VAR_POSITIONAL for p in parameters.values()) else parameters


def _is_tree(layer: Any) -> bool:
    return bool(next(iter(layer.named_children()), None))


def _first(layer: Any, place: str) -> Any:
    return getattr(layer, place.partition(".")[0])[0]


def _values(parameter: Any) -> Tensor:
    values: Tensor = parameter.detach() if isinstance(parameter, Tensor) else parameter.data
    return values.clone()
