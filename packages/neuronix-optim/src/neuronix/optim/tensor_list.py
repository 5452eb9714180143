"""Many tensors that are computed with as if they were one, so that an `update` needs to be written once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

Method: TypeAlias = "Callable[..., TensorList]"


def _pair(name: str) -> tuple[Method, Method]:
    """Return the method `name` and its in-place twin, each one call of torch's kernel for lists."""
    kernel, kernel_in_place = getattr(torch, f"_foreach_{name}"), getattr(torch, f"_foreach_{name}_")

    def method(self: TensorList, *args: Any, **kwargs: Any) -> TensorList:
        return TensorList(kernel(self.tensors, *map(_unpacked, args), **kwargs))

    def method_in_place(self: TensorList, *args: Any, **kwargs: Any) -> TensorList:
        kernel_in_place(self.tensors, *map(_unpacked, args), **kwargs)
        return self

    return method, method_in_place


def _unpacked(value: Any) -> Any:
    return value.tensors if type(value) is TensorList else value


def _each(function: Callable[..., Tensor], args: Sequence[Any], kwargs: Mapping[str, Any]) -> TensorList:
    """Call `function` for each tensor of the lists among its arguments."""
    lists = [value for value in (*args, *kwargs.values()) if type(value) is TensorList]

    def at(index: int) -> Tensor:
        def pick(value: Any) -> Any:
            return value.tensors[index] if type(value) is TensorList else value

        return function(*map(pick, args), **{name: pick(value) for name, value in kwargs.items()})

    return TensorList([at(index) for index in range(len(lists[0].tensors))])


class TensorList:
    """A list of tensors with the operators and methods of a tensor, which go over all of them.

    Where torch has a kernel for lists (`torch._foreach_add` and its kin), one call serves the whole list; any other
    method, and any function of torch, is called for each tensor. Another list goes along, tensor by tensor; a number is
    the same for all.

    Args:
        tensors: The tensors.

    Example:
        >>> import torch
        >>> from neuronix.optim.tensor_list import TensorList
        >>> x = TensorList([torch.tensor([1.0, 2.0]), torch.tensor([3.0])])
        >>> x.mul_(2).add_(x, alpha=0.5)
        TensorList([tensor([3., 6.]), tensor([9.])])
        >>> torch.maximum(x, 10 - x)
        TensorList([tensor([7., 6.]), tensor([9.])])
    """

    __slots__ = ("tensors",)

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = tensors

    abs, abs_ = _pair("abs")
    neg, neg_ = _pair("neg")
    sign, sign_ = _pair("sign")
    sqrt, sqrt_ = _pair("sqrt")
    reciprocal, reciprocal_ = _pair("reciprocal")
    add, add_ = _pair("add")
    sub, sub_ = _pair("sub")
    mul, mul_ = _pair("mul")
    div, div_ = _pair("div")
    lerp, lerp_ = _pair("lerp")
    addcmul, addcmul_ = _pair("addcmul")
    addcdiv, addcdiv_ = _pair("addcdiv")
    maximum, _ = _pair("maximum")

    __add__ = __radd__ = add
    __sub__ = sub
    __mul__ = __rmul__ = mul
    __truediv__ = div
    __neg__ = neg

    def __rsub__(self, other: Any) -> TensorList:
        return self.neg().add_(other)

    def __rtruediv__(self, other: Any) -> TensorList:
        return self.reciprocal().mul_(other)

    def __gt__(self, other: Any) -> TensorList:
        return _each(Tensor.gt, (self, other), {})

    def __lt__(self, other: Any) -> TensorList:
        return _each(Tensor.lt, (self, other), {})

    def __getattr__(self, name: str) -> Method:
        """Return any other method of `Tensor`; it goes over the list."""
        if name.startswith("__"):  # copying and pickling ask for what a list doesn't have
            raise AttributeError(name)
        method = getattr(Tensor, name)
        return lambda *args, **kwargs: _each(method, (self, *args), kwargs)

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> TensorList:
        """Call a function of torch for each tensor of the lists among its arguments."""
        return _each(function, args, kwargs or {})

    def __repr__(self) -> str:
        return f"TensorList({self.tensors})"
