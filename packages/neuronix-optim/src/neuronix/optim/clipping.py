"""Gradients that are too large, made smaller before a step."""

from collections.abc import Iterable, Iterator
from math import isnan
from typing import Any

import torch
from torch import Tensor

from neuronix.optim import checks
from neuronix.optim.errors import OptimizerError, OptimizerRuntimeError, OptimizerTypeError
from neuronix.optim.groups import is_optimizable


def clip_grad_norm_(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    r"""Scale all gradients together, in place, so that their norm as one vector is at most `max_norm`.

    $$ g \leftarrow g \cdot \min\left(1, \; \frac{c}{\lVert g \rVert_p + 10^{-6}}\right) $$

    Args:
        parameters: A parameter or an iterable of them: anything that has `.data` and `.grad`.
        max_norm: c, the norm that is let pass.
        norm_type: p, of the p-norm; infinity for the largest entry.
        error_if_nonfinite: Whether a norm that is NaN or infinite is an error. If not, the gradients become NaN or 0.
        foreach: Accepted for torch's sake; lists of tensors are used where torch has a kernel for them.

    Returns:
        The norm of all gradients before they were scaled; 0 if there are none.

    Raises:
        OptimizerError: `max_norm` is negative or NaN.
        OptimizerRuntimeError: `error_if_nonfinite`, and the norm is NaN or infinite; nothing was changed.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.optim import clip_grad_norm_
        >>> w = tensor([3.0, 4.0], requires_grad=True)
        >>> (w * w / 2).sum().backward()
        >>> clip_grad_norm_([w], max_norm=1.0)
        tensor(5.)
        >>> w.grad
        tensor([0.6000, 0.8000])

    References:
        R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks", ICML 2013,
        Algorithm 1.

    Differs from torch:
        In torch it stands in `torch.nn.utils`. Sparse gradients are clipped too. A negative or NaN `max_norm` is
        refused. A generator that was read already isn't warned about.
    """
    listed = _parameters("clip_grad_norm_", parameters)
    _check_bound("clip_grad_norm_", "max_norm", max_norm)
    gradients = list(_gradients(listed))
    total_norm = get_total_norm(gradients, norm_type, error_if_nonfinite, foreach)
    _scale(gradients, max_norm, total_norm)
    return total_norm


def clip_grads_with_norm_(parameters: Any, max_norm: float, total_norm: Tensor, foreach: bool | None = None) -> None:
    """Scale all gradients, in place, by a norm that is known already: the second half of `clip_grad_norm_`.

    Args:
        parameters: A parameter or an iterable of them.
        max_norm: The norm that is let pass.
        total_norm: What [`get_total_norm`][neuronix.optim.get_total_norm] returned.
        foreach: Accepted for torch's sake.

    Raises:
        OptimizerError: `max_norm` is negative or NaN.

    Example:
        >>> import torch
        >>> from neuronix.optim import clip_grads_with_norm_
        >>> w = torch.zeros(2)
        >>> w.grad = torch.tensor([3.0, 4.0])
        >>> clip_grads_with_norm_(w, max_norm=1.0, total_norm=torch.tensor(10.0))
        >>> w.grad
        tensor([0.3000, 0.4000])
    """
    listed = _parameters("clip_grads_with_norm_", parameters)
    _check_bound("clip_grads_with_norm_", "max_norm", max_norm)
    _scale(list(_gradients(listed)), max_norm, total_norm)


def get_total_norm(
    tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """Return the norm of many tensors as one vector.

    Args:
        tensors: A tensor or an iterable of them, of Neuronix or torch.
        norm_type: p, of the p-norm; infinity for the largest entry.
        error_if_nonfinite: Whether a norm that is NaN or infinite is an error.
        foreach: Accepted for torch's sake.

    Returns:
        The norm, a torch tensor without axes; 0 if there are no tensors.

    Raises:
        OptimizerRuntimeError: `error_if_nonfinite`, and the norm is NaN or infinite.

    Example:
        >>> import torch
        >>> from neuronix.optim import get_total_norm
        >>> get_total_norm([torch.tensor([3.0]), torch.tensor([[4.0, 0.0]])])
        tensor(5.)
    """
    listed = [getattr(each, "data", each) for each in _parameters("get_total_norm", tensors)]
    power = float(norm_type)
    if not listed:
        return torch.tensor(0.0)
    norms = [torch.linalg.vector_norm(_entries(each, power), power) for each in listed]
    device = norms[0].device
    total: Tensor = torch.linalg.vector_norm(torch.stack([norm.to(device) for norm in norms]), power)
    if error_if_nonfinite and not bool(total.isfinite()):
        raise OptimizerRuntimeError(
            f"the norm of order {power:g} of the gradients is {total.item()}; nothing was clipped.",
            hint="look for the first operation that gives NaN or infinity, for instance with detect_anomaly(); or pass "
            "error_if_nonfinite=False.",
        )
    return total


@torch.no_grad()
def clip_grad_value_(parameters: Any, clip_value: float, foreach: bool | None = None) -> None:
    """Clamp every entry of every gradient, in place, to the interval from `-clip_value` to `clip_value`.

    Args:
        parameters: A parameter or an iterable of them: anything that has `.data` and `.grad`.
        clip_value: The largest absolute value that is let pass.
        foreach: Accepted for torch's sake.

    Raises:
        OptimizerError: `clip_value` is negative or NaN.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.optim import clip_grad_value_
        >>> w = tensor([3.0, -0.5], requires_grad=True)
        >>> (w * w / 2).sum().backward()
        >>> clip_grad_value_(w, 1.0)
        >>> w.grad
        tensor([ 1.0000, -0.5000])

    Differs from torch:
        In torch it stands in `torch.nn.utils`. Sparse gradients are clipped too. A negative or NaN `clip_value` is
        refused.
    """
    listed = _parameters("clip_grad_value_", parameters)
    bound = _check_bound("clip_grad_value_", "clip_value", clip_value)
    for gradient in _gradients(listed):
        if gradient.layout is torch.sparse_coo:
            # What stands twice at one place is one entry, the sum.
            summed = gradient.coalesce()
            summed.values().clamp_(-bound, bound)
            gradient.copy_(summed)
        else:
            gradient.clamp_(-bound, bound)


def _parameters(owner: str, given: Any) -> list[Any]:
    listed = [given] if is_optimizable(given) else given
    if not isinstance(listed, Iterable):
        raise OptimizerTypeError(f"{owner}: parameters are wanted, got {checks.described(given)}.")
    listed = list(listed)
    for position, each in enumerate(listed):
        if not is_optimizable(each):
            raise OptimizerTypeError(
                f"{owner}: parameter number {position} is not a tensor, got {checks.described(each)}."
            )
    return listed


def _gradients(params: list[Any]) -> Iterator[Tensor]:
    for param in params:
        if param.grad is not None:
            yield param.grad


def _check_bound(owner: str, name: str, value: Any) -> float:
    bound = checks.measure(owner, name, value)
    if isnan(bound) or bound < 0:
        raise OptimizerError(f"{owner}: `{name}` must be at least 0, got {bound:g}.")
    return bound


def _entries(x: Tensor, power: float) -> Tensor:
    """Return the entries that a norm is about: those that a sparse tensor leaves out are zero."""
    x = x.detach()
    if x.layout is not torch.sparse_coo:
        return x
    return x.coalesce().values() if power > 0 else x.to_dense()


@torch.no_grad()  # a gradient may have a history of its own
def _scale(gradients: list[Tensor], max_norm: float, total_norm: Tensor) -> None:
    total_norm = total_norm.detach()
    factor = (max_norm / (total_norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor.to(gradient.device))
