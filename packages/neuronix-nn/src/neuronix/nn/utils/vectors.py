"""Parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, ops
from neuronix.autograd.errors import ArgumentError, ShapeError

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def _listed(parameters: Any) -> list[Any]:
    return [parameters] if isinstance(parameters, (CustomTensor, Tensor)) else list(parameters)


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
