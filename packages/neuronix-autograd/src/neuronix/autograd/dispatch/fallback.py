"""torch functions without a declaration of ours, taken apart into operations that have one.

PyTorch defines most of its functions by others.  To see which, the function is run on stand-ins:

1. Each tensor becomes a `_StandIn`, a wrapper subclass of ``torch.Tensor`` without memory that knows its CustomTensor.
2. The stand-ins go through torch's *functionalisation*, which turns views and in-place changes inside the function into
   plain operations.  Composite functions fall apart by themselves on the way.
3. What arrives at ``__torch_dispatch__`` are plain ATen overloads.  One that a declaration names (as in
   ``aten="mul.Tensor"``) is our operation; another may have a forward decomposition in torch's table, which is run on
   the stand-ins; anything else is an error that says how to declare it.

So a function is never silently a constant, and every spelling of an operation ends in the same rule.  It costs some
30 µs an operation: whatever a training loop uses has an entry in the table of ``torch_function.py``.

All of this is private API of torch's, in this file alone, held by ``tests/test_fallback.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from neuronix.autograd.dispatch.inplace import assign, check_changeable, is_recorded, not_a_number, unwrap
from neuronix.autograd.dispatch.registry import ATEN
from neuronix.autograd.errors import UnsupportedError
from neuronix.autograd.tensor import CustomTensor, new_result

__all__ = ["call"]

# Results that depend on an argument's shape, type and place alone: constants by nature.
_VALUE_INDEPENDENT = frozenset(
    f"{name}.{overload}"
    for name in (
        "empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "new_empty", "new_zeros",
        "new_ones", "new_full", "new_empty_strided",
    )
    for overload in ("default", "generator")
)  # fmt: skip

# The functions of torch whose rules live in a sibling package, by what their names contain.
_OWNERS = (
    ("neuronix-losses", ("_loss", "cross_entropy", "kl_div")),
    ("neuronix-nn", ("conv", "pool", "_norm", "embedding", "dropout", "interpolate", "upsample", "unfold", "fold")),
)


class _StandIn(Tensor):
    """Stands for a CustomTensor inside torch: its shape, type and place, without memory."""

    custom: CustomTensor

    @staticmethod
    def __new__(cls, custom: CustomTensor) -> _StandIn:
        data = custom._data
        made: _StandIn = Tensor._make_wrapper_subclass(
            cls,
            data.shape,
            strides=data.stride(),
            storage_offset=data.storage_offset(),
            dtype=data.dtype,
            layout=data.layout,
            device=data.device,
        )
        made.custom = custom
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def __repr__(self) -> str:  # type: ignore[override]
        return repr(self.custom)  # in messages of torch's

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _answer(func, args, kwargs or {})


def call(func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Run ``func`` on stand-ins of its tensors, so that what it is made of is recorded.

    Args:
        func: A torch function or method.
        args: Its positional arguments.
        kwargs: Its keyword arguments.

    Returns:
        What torch returns, with CustomTensors for tensors.

    Raises:
        UnsupportedError: If something that it is made of has no rule.
    """
    name = getattr(func, "__name__", repr(func))
    changed: Any = args[0] if args and (name.endswith("_") or kwargs.get("inplace")) else None
    entered: dict[int, tuple[Any, Any, _StandIn]] = {}  # by the stand-in: what it is in torch, what was given, itself

    def enter(value: Any) -> Any:
        if not isinstance(value, (CustomTensor, Tensor)):
            return value
        for functional, given, _ in entered.values():
            if given is value:
                return functional
        if not isinstance(value, CustomTensor):
            stand_in = _StandIn(new_result(value.detach(), None))
        elif changed is value:  # in memory of their own, because the operations inside may save the old values
            stand_in = _StandIn(new_result(value._data.clone(), value._node))
        else:
            stand_in = _StandIn(value)
        functional = torch._to_functional_tensor(stand_in)
        entered[id(functional)] = (functional, value, stand_in)
        return functional

    def leave(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if id(value) in entered and isinstance(entered[id(value)][1], CustomTensor):
            return entered[id(value)][1]
        return _custom(_current(value))

    with _keys_of_entry(), _below_transforms():
        inputs, named = tree_map(enter, (tuple(args), dict(kwargs)))
        torch._enable_functionalization(reapply_views=True)
        try:
            result = func(*inputs, **named)
        finally:
            torch._disable_functionalization()  # type: ignore[no-untyped-call]
        changes = [
            (given, _custom(now))
            for functional, given, stand_in in entered.values()
            if (now := _current(functional)) is not stand_in
        ]
        _write_back(changes, name)
        return tree_map(leave, result)


def _write_back(changes: Sequence[tuple[Any, CustomTensor]], name: str) -> None:
    """Give the arguments that the function has changed in place their new values, and their history if they have one.

    All are checked before the first is changed.
    """
    for given, result in changes:
        if is_recorded(given, result):
            check_changeable(given, name)
    for given, result in changes:
        if is_recorded(given, result):
            assign(given, result, name)
        else:
            unwrap(given).copy_(result._data)


def _current(functional: Tensor) -> Tensor:
    """What a tensor of torch's functionalisation holds now, with pending changes through its views applied."""
    if not torch._is_functional_tensor(functional):
        return functional
    torch._functionalize_sync(functional)
    return torch._from_functional_tensor(functional)


def _custom(value: Any) -> Any:
    return value.custom if isinstance(value, _StandIn) else new_result(value, None)


# The dispatch keys with which the call was entered: under torch.vmap they differ from the usual ones, and our
# operations must run with them.
_keys: ContextVar[tuple[Any, Any]] = ContextVar("keys_of_entry")


@contextmanager
def _keys_of_entry() -> Iterator[None]:
    excluded = torch._C._dispatch_tls_local_exclude_set()
    for key in (torch._C.DispatchKey.AutocastCPU, torch._C.DispatchKey.AutocastCUDA):
        excluded = excluded | torch._C.DispatchKeySet(key)  # torch.autocast has cast already, on the stand-ins
    token = _keys.set((torch._C._dispatch_tls_local_include_set(), excluded))
    try:
        yield
    finally:
        _keys.reset(token)


def _below_transforms() -> Any:
    """Keep torch.vmap out while a function is taken apart: it is for the operations that come out to be batched."""
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.FuncTorchDynamicLayerFrontMode)
    return torch._C._ExcludeDispatchKeyGuard(
        keys | torch._C.DispatchKeySet(torch._C.DispatchKey.FuncTorchDynamicLayerBackMode)
    )


def _answer(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Answer one ATen overload."""
    overload = str(func).removeprefix("aten.")
    if overload.startswith("prims."):  # some of torch's decompositions end in its own primitives, named as in ATen
        overload = overload.removeprefix("prims.")
    handler = ATEN.get(overload)
    if handler is not None:
        return _run(handler, args, kwargs)
    if overload in _VALUE_INDEPENDENT or not is_recorded(*_customs(args), *_customs(kwargs)):
        return _run(func, *_values((args, kwargs)))
    if overload == "_local_scalar_dense.default":
        raise not_a_number()
    if _is_integral(func):
        return _run(func, *_values((args, kwargs)))
    if func._can_decompose():  # a composite of torch's own, called by a decomposition
        return func.decompose(*args, **kwargs)
    decomposition = _decompositions().get(func)  # a primitive of torch's has none, so this ends
    if decomposition is not None and not overload.split(".")[0].endswith("_backward"):
        return decomposition(*args, **kwargs)
    raise UnsupportedError(*_missing(overload))


def _run(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Run an operation on the CustomTensors (or values) behind stand-ins, with the dispatch keys of entry."""
    args, kwargs = tree_map(lambda value: value.custom if isinstance(value, _StandIn) else value, (args, kwargs))
    with torch._C._ForceDispatchKeyGuard(*_keys.get()):
        result = function(*args, **kwargs)

    def stand_in(value: Any) -> Any:
        if isinstance(value, Tensor) and not isinstance(value, _StandIn):
            value = new_result(value, None)
        return _StandIn(value) if isinstance(value, CustomTensor) else value

    return tree_map(stand_in, result)


def _customs(values: Any) -> list[CustomTensor]:
    found: list[CustomTensor] = []
    tree_map(lambda value: found.append(value.custom) if isinstance(value, _StandIn) else None, values)
    return found


def _values(values: Any) -> Any:
    return tree_map(lambda value: value.custom._data if isinstance(value, _StandIn) else unwrap(value), values)


@cache
def _decompositions() -> dict[Any, Callable[..., Any]]:
    """The table of torch's own forward decompositions; imported when it is first needed, because that takes a while."""
    from torch._decomp import decomposition_table

    return decomposition_table


_INTEGRAL = frozenset(
    (
        "all allclose any argmax argmin argsort bucketize count_nonzero eq equal ge gt "
        "histc is_nonzero is_same_size isfinite isin isinf isnan isneginf isposinf isreal le logical_and logical_not "
        "logical_or logical_xor lt multinomial ne nonzero searchsorted signbit"
    ).split()
)


def _is_integral(func: Any) -> bool:
    """Whether an overload's results are integers or booleans, which have no derivative."""
    return func.overloadpacket.__name__ in _INTEGRAL


def _missing(overload: str) -> tuple[str, str]:
    name = overload.split(".")[0].strip("_")
    for package, words in _OWNERS:
        module = package.replace("-", ".")
        if module not in sys.modules and any(word in name for word in words):
            return (
                f"{name}: its rule is in {package}, which isn't imported (aten.{overload})",
                f"pip install {package}, and `import {module}`",
            )
    return (
        f"{name}: aten.{overload} has no rule, and a tensor that requires grad was given to it",
        f'declare it with @primitive(aten="{overload}") and a rule for each differentiable argument, or detach() it',
    )
