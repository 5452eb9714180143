"""Tensors of a module that are computed from others.  Names and arguments of ``torch.nn.utils.parametrize``.

``register_parametrization(layer, "weight", Symmetric())`` takes the parameter out of the layer and puts it into
``layer.parametrizations.weight``, under the name ``original``.  Whenever ``layer.weight`` is asked for it is computed
from there, so gradients arrive at the original, which is what an optimizer trains.

The layer's class becomes one that looks there; see `_Parametrized`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, TypeVar, cast

from torch import Tensor

from neuronix.autograd import CustomTensor, no_grad
from neuronix.nn.containers import ModuleDict, ModuleList
from neuronix.nn.errors import LayerArgumentError, ModuleKeyError
from neuronix.nn.module import Module
from neuronix.nn.parameter import Parameter
from neuronix.nn.tensor_like import TensorLike

__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "type_before_parametrizations",
]

M = TypeVar("M", bound=Module)

_cache: ContextVar[dict[tuple[int, str], Any] | None] = ContextVar("cache", default=None)


@contextmanager
def cached() -> Iterator[None]:
    """Compute each parametrized tensor at most once until the end of the block.

    It is worth its while where a layer is called several times, as in a recurrent network.  Each thread, and each
    asyncio task, has a cache of its own.

    Example:
        >>> from neuronix import nn
        >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
        >>> with nn.utils.parametrize.cached():
        ...     layer.weight is layer.weight
        True
        >>> layer.weight is layer.weight
        False
    """
    token = _cache.set({}) if _cache.get() is None else None
    try:
        yield
    finally:
        if token is not None:
            _cache.reset(token)


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, and what it is computed from; `register_parametrization` makes it.

    Args:
        modules: The parametrizations, in the order in which they are applied.
        original: The parameter or buffer.
        unsafe: Whether the result may have another shape or element type.
    """

    is_tensor: bool
    """Whether it is computed from one tensor, ``original``, or from several: ``original0``, ``original1``, …"""

    def __init__(self, modules: Sequence[Module], original: Parameter | Tensor, unsafe: bool = False) -> None:
        if not modules:
            raise LayerArgumentError("ParametrizationList requires one or more modules, got none")
        super().__init__(modules)
        self.unsafe = unsafe
        wanted = _Kind(original)
        with no_grad():
            start = _inverted(self, original, optional=True)
        self.is_tensor = isinstance(start, (Tensor, CustomTensor))
        self.ntensors = 1 if self.is_tensor else len(start)
        if self.is_tensor:
            wanted.check(start, "right_inverse", shape=False)
            self._add("original", original)
            self._set("original", start)
        for name, value in zip(self._names(), () if self.is_tensor else start, strict=False):
            self._add(name, Parameter(value, original.requires_grad) if isinstance(original, Parameter) else value)
        if not unsafe:
            wanted.check(self(), "the parametrization")

    def _names(self) -> list[str]:
        return ["original"] if self.is_tensor else [f"original{number}" for number in range(self.ntensors)]

    def _add(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self.register_parameter(name, value)
        else:
            self.register_buffer(name, value)

    def _set(self, name: str, value: Any) -> None:
        """Change a value; a parameter stays the same object, because optimizers hold it."""
        held = getattr(self, name)
        values = value.data if isinstance(value, CustomTensor) else value.detach()
        if isinstance(held, Parameter):
            held.data = values
        else:
            setattr(self, name, values)

    def _computed(self, value: TensorLike) -> Any:
        """The computed value as a parameter or buffer; the original one, if there is only one."""
        if self.is_tensor:
            self._set("original", value)
            return self.original
        held = [getattr(self, name) for name in self._names()]
        if not any(isinstance(original, Parameter) for original in held):
            return value
        return Parameter(value, requires_grad=any(original.requires_grad for original in held))

    def right_inverse(self, value: TensorLike) -> None:
        """Choose the originals so that the computed tensor becomes ``value``, as far as the parametrizations can.

        Raises:
            LayerArgumentError: If one of them has no ``right_inverse``, or it returns something else than before;
                nothing has been changed.
        """
        with no_grad():
            found = _inverted(self, value)
        tensors = [found] if self.is_tensor else list(found) if isinstance(found, Sequence) else []
        if len(tensors) != self.ntensors:
            raise LayerArgumentError(
                f"right_inverse must return {self.ntensors} tensor(s), as it did before, got {_described(found)}"
            )
        for name, tensor in zip(self._names(), tensors, strict=True):
            _Kind(getattr(self, name)).check(tensor, "right_inverse", shape=False)
        for name, tensor in zip(self._names(), tensors, strict=True):
            self._set(name, tensor)

    def forward(self) -> Any:
        """Compute the tensor."""
        first, *others = self
        result = first(*(getattr(self, name) for name in self._names()))
        for module in others:
            result = module(result)
        return result


def _inverted(modules: Iterable[Module], value: Any, optional: bool = False) -> Any:
    """What the first module must be given so that the last one gives ``value``."""
    for module in reversed(list(modules)):
        inverse = getattr(module, "right_inverse", None)
        if inverse is None and not optional:
            raise LayerArgumentError(
                f"{type(module).__name__} has no right_inverse, so the tensor that it computes can't be set",
                hint="define it, or set the original in `parametrizations`",
            )
        if inverse is not None:
            try:
                value = inverse(value)
            except NotImplementedError:
                if not optional:
                    raise
    return value


class _Kind:
    """What a parametrization must leave as it is."""

    def __init__(self, tensor: TensorLike) -> None:
        self.shape, self.dtype, self.device = tensor.shape, tensor.dtype, tensor.device

    def check(self, made: Any, what: str, shape: bool = True) -> None:
        """Raise unless ``made`` is a tensor of the same kind.

        Raises:
            LayerArgumentError: If it isn't.
        """
        if not isinstance(made, (Tensor, CustomTensor)):
            raise LayerArgumentError(f"{what} must return a tensor, got {_described(made)}")
        for attribute in ("dtype", "device", *(("shape",) if shape else ())):
            before, after = getattr(self, attribute), getattr(made, attribute)
            if before != after:
                raise LayerArgumentError(
                    f"{what} may not change the {attribute} of the tensor: it was {before} and became {after}",
                    hint="register it with unsafe=True if that is meant",
                )


def _described(value: Any) -> str:
    return f"{len(value)} of them" if isinstance(value, Sequence) else type(value).__name__


class _Parametrized(Module):
    """What stands before a module's own class once a tensor of it is parametrized."""

    parametrizations: ModuleDict

    def __getattr__(self, name: str) -> Any:  # called for what isn't there, as for a tensor that is computed
        if not _computes(self, name):
            return super().__getattr__(name)
        held, key = _cache.get(), (id(self), name)
        if held is None:
            return self.parametrizations[name]()
        if key not in held:
            held[key] = self.parametrizations[name]()
        return held[key]

    def __setattr__(self, name: str, value: Any) -> None:
        if _computes(self, name) and not isinstance(value, (Parameter, Module)):
            self.parametrizations[name].right_inverse(value)
        else:
            super().__setattr__(name, value)

    def _register(self, name: str, value: Any, table: dict[str, Any], entry: Any) -> None:
        if _computes(self, name):
            raise ModuleKeyError(
                f"{name!r} of {type(self).__name__} is parametrized", hint="remove_parametrizations() makes it free"
            )
        super()._register(name, value, table, entry)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuilt, (type_before_parametrizations(self),), self.__dict__


def _computes(module: Module, name: str) -> bool:
    lists = module.__dict__.get("parametrizations")
    return isinstance(lists, ModuleDict) and isinstance(name, str) and name in lists


@cache
def _class_of(kind: Any) -> Any:
    return type(f"Parametrized{kind.__name__}", (_Parametrized, kind), {"__doc__": kind.__doc__})


def _rebuilt(kind: type) -> Any:
    return object.__new__(_class_of(kind))


def register_parametrization(module: M, tensor_name: str, parametrization: Module, *, unsafe: bool = False) -> M:
    """Compute a parameter or buffer of a module from now on: ``module.weight`` is ``parametrization(original)``.

    Args:
        module: The module; its class becomes one that computes the tensor.
        tensor_name: The name of the parameter or buffer.  If it is parametrized already, the new parametrization is
            applied to what the others give.
        parametrization: A module whose ``forward`` takes the original.  It may have a method ``right_inverse(value)``
            that gives the original for a value; it is called now, and when ``module.weight`` is assigned.  If that
            returns several tensors, these are the originals, and ``forward`` takes as many.
        unsafe: Whether the result may have another shape or element type; then it isn't computed for a check.

    Returns:
        The module.

    Raises:
        LayerArgumentError: If there is no such tensor, or the parametrization changes its kind.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> from neuronix.nn.utils.parametrize import register_parametrization
        >>> class Symmetric(nn.Module):
        ...     def forward(self, x):
        ...         return x.triu() + x.triu(1).mT
        ...     def right_inverse(self, x):
        ...         return x.triu()
        >>> layer = register_parametrization(nn.Linear(3, 3), "weight", Symmetric())
        >>> bool((layer.weight == layer.weight.mT).all())
        True
        >>> list(layer.state_dict())
        ['bias', 'parametrizations.weight.original']
        >>> layer.weight = torch.eye(3)
        >>> layer.weight.sum().backward()
        >>> layer.parametrizations.weight.original.grad
        tensor([[1., 2., 2.],
                [0., 1., 2.],
                [0., 0., 1.]])
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        lists = module.parametrizations[tensor_name]
        if not unsafe:
            value = getattr(module, tensor_name)
            _check_appended(parametrization, value)
        lists.append(parametrization)
        lists.unsafe |= unsafe
    elif tensor_name in module._parameter_names or tensor_name in module._buffer_names:
        original = getattr(module, tensor_name)
        if original is None:
            raise LayerArgumentError(f"{tensor_name!r} of {type(module).__name__} is None")
        made = ParametrizationList([parametrization], original, unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            kind: Any = type(module)
            module.__class__ = _class_of(kind)
            module.parametrizations = ModuleDict()
        module.parametrizations[tensor_name] = made
    else:
        raise LayerArgumentError(
            f"{type(module).__name__} has no parameter, buffer or parametrized tensor {tensor_name!r}",
            hint=f"it has: {', '.join([*module._parameter_names, *module._buffer_names]) or 'none'}",
        )
    return module


def _check_appended(parametrization: Module, value: TensorLike) -> None:
    kind = _Kind(value)
    result = parametrization(value)
    kind.check(result, "the parametrization")
    inverse: Callable[..., Any] | None = getattr(parametrization, "right_inverse", None)
    if inverse is not None:
        try:
            found = inverse(result)
        except NotImplementedError:
            return
        kind.check(found, "right_inverse")


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a tensor of a module is computed, or with ``None`` whether any is."""
    return isinstance(module, _Parametrized) if tensor_name is None else _computes(module, tensor_name)


def type_before_parametrizations(module: Module) -> type:
    """The class that a module had before it was parametrized, or has."""
    return type(module).__bases__[1] if is_parametrized(module) else type(module)


def remove_parametrizations(module: M, tensor_name: str, leave_parametrized: bool = True) -> M:
    """Make a computed tensor an ordinary parameter or buffer again.

    Args:
        module: The module; once nothing in it is computed any more, it has its own class again.
        tensor_name: The name of the tensor.
        leave_parametrized: Whether it keeps the computed value, or gets that of the original.

    Returns:
        The module.

    Raises:
        LayerArgumentError: If it isn't parametrized, or ``leave_parametrized=False`` and there are several originals.

    Example:
        >>> from neuronix import nn
        >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
        >>> nn.utils.parametrize.remove_parametrizations(layer, "weight")
        Linear(in_features=3, out_features=2, bias=True)
    """
    if not is_parametrized(module, tensor_name):
        raise LayerArgumentError(f"{type(module).__name__} has no parametrization on {tensor_name!r}")
    lists = cast(ParametrizationList, module.parametrizations[tensor_name])
    if not lists.is_tensor and not leave_parametrized:
        raise LayerArgumentError(
            f"{tensor_name!r} is computed from {lists.ntensors} tensors: none of them can take its place",
            hint="leave_parametrized=True keeps the computed value",
        )
    tensor = lists._computed(getattr(module, tensor_name)) if leave_parametrized else lists.original
    del module.parametrizations[tensor_name]
    if not module.parametrizations:
        kind = type_before_parametrizations(module)
        del module.parametrizations
        module.__class__ = kind
    if isinstance(tensor, Parameter):
        module.register_parameter(tensor_name, tensor)
    else:
        module.register_buffer(tensor_name, tensor)
    return module
