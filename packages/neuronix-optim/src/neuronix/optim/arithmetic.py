"""Lines that nearly every paper has: a tensor moves by a multiple of something.

The factor may be a number, and then one kernel does it; or a tensor without axes, as while a step is traced. The tensor
may be a [`TensorList`][neuronix.optim.tensor_list.TensorList] too.
"""

from typing import Any, TypeAlias

import torch
from torch import Tensor

Factor: TypeAlias = Any  # a number, or a tensor without axes


def is_number(factor: Any) -> bool:
    """Return whether a factor is a number of Python's, so that a kernel can take it along."""
    return not hasattr(factor, "__torch_function__")


def is_zero(option: Any) -> bool:
    """Return whether an option is off; one that is a tensor isn't, whatever its value, which can't be looked at."""
    return is_number(option) and bool(option == 0)


def scale_(x: Tensor, factor: Factor) -> Tensor:
    """Let x ← factor · x. A factor that is a tensor is rounded to the precision of x first, as a number is."""
    return x.mul_(factor if is_number(factor) else factor.to(x.dtype))


def add_scaled_(x: Tensor, factor: Factor, a: Tensor) -> Tensor:
    """Let x ← x + factor · a."""
    return x.add_(a, alpha=factor) if is_number(factor) else x.add_(factor * a)


def add_product_(x: Tensor, factor: Factor, a: Tensor, b: Tensor) -> Tensor:
    """Let x ← x + factor · a · b."""
    return x.addcmul_(a, b, value=factor) if is_number(factor) else x.add_((a * b).mul_(factor))


def add_quotient_(x: Tensor, factor: Factor, a: Tensor, b: Tensor) -> Tensor:
    """Let x ← x + factor · a / b."""
    return x.addcdiv_(a, b, value=factor) if is_number(factor) else x.add_((a / b).mul_(factor))


def average_(mean: Tensor, decay: Factor, x: Tensor) -> Tensor:
    """Let mean ← decay · mean + (1 - decay) · x, a moving average."""
    rate = 1 - decay
    return mean.lerp_(x, rate) if is_number(rate) else mean.add_((x - mean).mul_(rate))


def average_square_(mean: Tensor, decay: Factor, x: Tensor) -> Tensor:
    """Let mean ← decay · mean + (1 - decay) · x²."""
    return add_product_(mean.mul_(decay), 1 - decay, x, x)


def between(a: Tensor, b: Tensor, part: Factor) -> Tensor:
    """Return a + part · (b - a): a at 0, b at 1."""
    return a.lerp(b, part) if is_number(part) else a + (b - a) * part


def with_penalty(grad: Tensor, theta: Tensor, weight_decay: Factor) -> Tensor:
    """Return grad + weight_decay · theta, the gradient with that of an L2 penalty."""
    if is_zero(weight_decay):
        return grad
    return grad.add(theta, alpha=weight_decay) if is_number(weight_decay) else grad + weight_decay * theta


def choose(condition: Any, value: Factor, otherwise: Factor) -> Factor:
    """Return `value` where the condition, `True` or `False` or a tensor, holds."""
    if is_number(condition):
        return value if condition else otherwise
    return torch.where(condition, value, otherwise)


def like_sparse(pattern: Tensor, values: Tensor) -> Tensor:
    """Return a sparse tensor that has other values where `pattern` has its own."""
    return torch.sparse_coo_tensor(pattern.indices(), values, pattern.shape, is_coalesced=True, check_invariants=False)
