"""Gradients made smaller, and parameters as one vector."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, ops
from neuronix.autograd.errors import ArgumentError, GradientError, ShapeError

__all__ = ["clip_grad_norm_", "clip_grad_value_", "parameters_to_vector", "vector_to_parameters"]


def _listed(parameters: Any) -> list[Any]:
    return [parameters] if isinstance(parameters, (CustomTensor, Tensor)) else list(parameters)


def clip_grad_norm_(
    parameters: CustomTensor | Iterable[CustomTensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale all gradients together, in place, so that their norm as one vector is at most ``max_norm``.

        g ← g · min(1, max_norm / (‖g‖ + 10⁻⁶))

    Args:
        parameters: The parameters, or a single one.
        max_norm: The norm that is let pass.
        norm_type: p of the p-norm; infinity for the largest entry.
        error_if_nonfinite: Whether a norm that is NaN or infinite is an error.
        foreach: Accepted for torch's sake, and handed on.

    Returns:
        The norm before.

    Raises:
        ArgumentError: If ``max_norm`` is negative.
        GradientError: If the norm is NaN or infinite, with ``error_if_nonfinite``; nothing was changed.

    Example:
        >>> from neuronix import nn
        >>> from neuronix.autograd import tensor
        >>> w = tensor([3.0, 4.0], requires_grad=True)
        >>> (w * w / 2).sum().backward()
        >>> nn.utils.clip_grad_norm_([w], max_norm=1.0), w.grad
        (tensor(5.), tensor([0.6000, 0.8000]))

    References:
        Pascanu et al. 2013, On the difficulty of training recurrent neural networks, Algorithm 1.
    """
    if not max_norm >= 0:
        raise ArgumentError(f"clip_grad_norm_: max_norm must not be negative, got {max_norm}")
    grads = [parameter.grad for parameter in _listed(parameters) if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(grads, norm_type, False, foreach)
    if error_if_nonfinite and not bool(torch.isfinite(norm)):
        raise GradientError(
            f"clip_grad_norm_: the total norm of order {norm_type} of the gradients is {norm.item()}, so it cannot be "
            "clipped",
            hint="set error_if_nonfinite=False to scale by it all the same",
        )
    factor = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
    for grad in grads:
        grad.mul_(factor.to(grad.device))
    return norm


def clip_grad_value_(
    parameters: CustomTensor | Iterable[CustomTensor], clip_value: float, foreach: bool | None = None
) -> None:
    """Bring each entry of each gradient into ±``clip_value``, in place.

    Args:
        parameters: The parameters, or a single one.
        clip_value: The largest absolute value that is let pass.
        foreach: Accepted for torch's sake.

    Raises:
        ArgumentError: If ``clip_value`` is negative.

    Example:
        >>> from neuronix import nn
        >>> from neuronix.autograd import tensor
        >>> w = tensor([3.0, -0.2], requires_grad=True)
        >>> (w * w / 2).sum().backward()
        >>> nn.utils.clip_grad_value_(w, 1.0)
        >>> w.grad
        tensor([ 1.0000, -0.2000])
    """
    if not clip_value >= 0:
        raise ArgumentError(f"clip_grad_value_: clip_value must not be negative, got {clip_value}")
    for parameter in _listed(parameters):
        if parameter.grad is not None:
            parameter.grad.clamp_(-clip_value, clip_value)


def parameters_to_vector(parameters: Iterable[CustomTensor]) -> CustomTensor:
    """All entries of all parameters, one after the other, in one vector that gradients flow through.

    Example:
        >>> from neuronix import nn
        >>> nn.utils.parameters_to_vector(nn.Linear(3, 2).parameters()).shape
        torch.Size([8])
    """
    flat = [ops.reshape(parameter, (-1,)) for parameter in _listed(parameters)]
    if not flat:
        raise ArgumentError("parameters_to_vector: expected at least one parameter, got none")
    vector: CustomTensor = ops.cat(flat)
    return vector


def vector_to_parameters(vec: CustomTensor | Tensor, parameters: Iterable[CustomTensor]) -> None:
    """Give the parameters the values of a vector; the reverse of `parameters_to_vector`.

    Args:
        vec: The vector; the parameters get views of its memory, as in torch.
        parameters: The parameters.

    Raises:
        ShapeError: If it has another number of entries; nothing was changed.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> layer = nn.Linear(3, 2)
        >>> nn.utils.vector_to_parameters(torch.arange(8.0), layer.parameters())
        >>> layer.bias
        Parameter([6., 7.], requires_grad=True)
    """
    listed = _listed(parameters)
    values = vec.data if isinstance(vec, CustomTensor) else vec.detach()
    sizes = [parameter.numel() for parameter in listed]
    if values.shape != (sum(sizes),):
        raise ShapeError(
            f"vector_to_parameters: the parameters have {sum(sizes)} entries, the vector has shape "
            f"{tuple(values.shape)}"
        )
    for parameter, part in zip(listed, torch.split(values, sizes), strict=True):
        parameter.data = part.view_as(parameter.data)
