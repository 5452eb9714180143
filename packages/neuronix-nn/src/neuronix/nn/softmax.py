"""Layers that make numbers of sum 1 along an axis."""

from __future__ import annotations

import warnings

from neuronix.autograd import CustomTensor, ops
from neuronix.autograd.errors import ShapeError
from neuronix.nn.applied import Applied
from neuronix.nn.functional.arguments import lift
from neuronix.nn.tensor_like import TensorLike

__all__ = ["LogSoftmax", "Softmax", "Softmax2d", "Softmin"]


class _AlongAxis(Applied):
    """A function along one axis."""

    _arguments = ("dim",)

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply it along the axis."""
        x = lift(input)
        dim = _guessed_axis(type(self).__name__, x) if self.dim is None else self.dim
        out: CustomTensor = type(self)._function(x, dim)
        return out


def _guessed_axis(name: str, input: CustomTensor) -> int:
    """The axis that torch takes where none is given: an old habit, with its warning."""
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Say which axis, as in {name}(dim=-1).",
        stacklevel=4,  # whoever called the layer
    )
    return 0 if input.ndim in (0, 1, 3) else 1


class Softmax(_AlongAxis):
    """exp(x) / Σ exp(x): positive numbers whose sum along an axis is 1.

    Args:
        dim: The axis.  Without one it is guessed from the number of axes, with a warning, as in torch.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Softmax(dim=-1)(torch.tensor([0.0, 0.0])).tolist()
        [0.5, 0.5]
    """

    _function = staticmethod(ops.softmax)


class LogSoftmax(_AlongAxis):
    """log(softmax(x)), computed so that it doesn't overflow.

    Args:
        dim: The axis.  Without one it is guessed from the number of axes, with a warning, as in torch.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.LogSoftmax(dim=-1)(torch.tensor([0.0, 0.0]))
        CustomTensor([-0.6931, -0.6931])
    """

    _function = staticmethod(ops.log_softmax)


class Softmin(_AlongAxis):
    """exp(−x) / Σ exp(−x): the smallest number gets most.

    Args:
        dim: The axis.  Without one it is guessed from the number of axes, with a warning, as in torch.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Softmin(dim=-1)(torch.tensor([0.0, 0.0])).tolist()
        [0.5, 0.5]
    """

    _function = staticmethod(ops.softmin)


class Softmax2d(Applied):
    """The softmax over the channels at each place of an image, (N, C, H, W) or (C, H, W).

    Raises:
        ShapeError: If the input has another number of axes.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Softmax2d()(torch.zeros(1, 2, 1, 1)).flatten().tolist()
        [0.5, 0.5]
    """

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply it over the channels."""
        x = lift(input)
        if x.ndim not in (3, 4):
            raise ShapeError(f"Softmax2d: expected input to be 3D or 4D, got shape {tuple(x.shape)}")
        out: CustomTensor = ops.softmax(x, -3)
        return out
