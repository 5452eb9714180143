"""Padding layers: more elements around an image, made by [`pad`][neuronix.autograd.ops.joining.pad]."""

from __future__ import annotations

from typing import ClassVar

from neuronix.autograd import CustomTensor, ops
from neuronix.autograd.errors import ShapeError
from neuronix.nn.errors import LayerArgumentError
from neuronix.nn.functional.arguments import lift, sizes
from neuronix.nn.module import Module
from neuronix.nn.tensor_like import Size, TensorLike

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


class _Pad(Module):
    """Puts elements around the last `_dimensions` axes, of a kind that `_mode` says."""

    _dimensions: ClassVar[int]
    _mode: ClassVar[str]
    value: float | None = None  # the constant, where it is one

    def __init__(self, padding: Size) -> None:
        super().__init__()
        try:
            self.padding = sizes(padding, 2 * self._dimensions, "padding")
        except RuntimeError as error:
            raise LayerArgumentError(f"{type(self).__name__}: {error}") from error

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply the layer; ``padding`` has (before, after) for the last axis, then for the one before it, and so on."""
        x = lift(input)
        if self._mode != "constant" and x.ndim not in (self._dimensions + 1, self._dimensions + 2):
            raise ShapeError(
                f"{type(self).__name__}: expected {self._dimensions + 1}D or {self._dimensions + 2}D input, got shape "
                f"{tuple(x.shape)}"
            )
        out: CustomTensor = ops.pad(x, self.padding, self._mode, self.value)
        return out

    def extra_repr(self) -> str:
        """The padding."""
        return f"{self.padding}"


class _ConstantPad(_Pad):
    """Puts a constant around."""

    _mode = "constant"

    def __init__(self, padding: Size, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"padding={self.padding}, value={self.value}"


class _ZeroPad(_Pad):
    """Puts zeros around."""

    _mode = "constant"
    value = 0.0


class _ReflectionPad(_Pad):
    """Continues the image by its mirror image, without the edge itself."""

    _mode = "reflect"


class _ReplicationPad(_Pad):
    """Continues the image by its edge."""

    _mode = "replicate"


class _CircularPad(_Pad):
    """Continues the image by itself, as if it were repeated."""

    _mode = "circular"


class ConstantPad1d(_ConstantPad):
    """Puts a constant around (N, C, L) or (C, L).

    See [`ConstantPad2d`][neuronix.nn.ConstantPad2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.ConstantPad1d(1, 9.0)(torch.tensor([[1.0, 2.0, 3.0]])).flatten().tolist()
        [9.0, 1.0, 2.0, 3.0, 9.0]
    """

    _dimensions = 1


class ConstantPad2d(_ConstantPad):
    """Puts a constant around (N, C, H, W) or (C, H, W).

    Args:
        padding: How many elements on each side; one number, or (left, right, top, bottom).
        value: The constant.

    Raises:
        LayerArgumentError: If ``padding`` has another length.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.ConstantPad2d((1, 1, 0, 1), 9.0)(torch.ones(1, 2, 2)).shape
        torch.Size([1, 3, 4])
    """

    _dimensions = 2


class ConstantPad3d(_ConstantPad):
    """Puts a constant around (N, C, D, H, W) or (C, D, H, W).

    See [`ConstantPad2d`][neuronix.nn.ConstantPad2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.ConstantPad3d(1, 9.0)(torch.ones(1, 2, 2, 2)).shape
        torch.Size([1, 4, 4, 4])
    """

    _dimensions = 3


class ZeroPad1d(_ZeroPad):
    """Puts zeros around (N, C, L) or (C, L).

    See [`ZeroPad2d`][neuronix.nn.ZeroPad2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.ZeroPad1d(1)(torch.tensor([[1.0, 2.0, 3.0]])).flatten().tolist()
        [0.0, 1.0, 2.0, 3.0, 0.0]
    """

    _dimensions = 1


class ZeroPad2d(_ZeroPad):
    """Puts zeros around (N, C, H, W) or (C, H, W).

    Args:
        padding: How many elements on each side; one number, or (left, right, top, bottom).

    Raises:
        LayerArgumentError: If ``padding`` has another length.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.ZeroPad2d((1, 1, 0, 1))(torch.ones(1, 2, 2)).shape
        torch.Size([1, 3, 4])
    """

    _dimensions = 2


class ZeroPad3d(_ZeroPad):
    """Puts zeros around (N, C, D, H, W) or (C, D, H, W).

    See [`ZeroPad2d`][neuronix.nn.ZeroPad2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.ZeroPad3d(1)(torch.ones(1, 2, 2, 2)).shape
        torch.Size([1, 4, 4, 4])
    """

    _dimensions = 3


class ReflectionPad1d(_ReflectionPad):
    """Puts the image's mirror image, without its edge around (N, C, L) or (C, L).

    See [`ReflectionPad2d`][neuronix.nn.ReflectionPad2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.ReflectionPad1d(1)(torch.tensor([[1.0, 2.0, 3.0]])).flatten().tolist()
        [2.0, 1.0, 2.0, 3.0, 2.0]
    """

    _dimensions = 1


class ReflectionPad2d(_ReflectionPad):
    """Puts the image's mirror image, without its edge around (N, C, H, W) or (C, H, W).

    Args:
        padding: How many elements on each side; one number, or (left, right, top, bottom).

    Raises:
        LayerArgumentError: If ``padding`` has another length.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.ReflectionPad2d((1, 1, 0, 1))(torch.ones(1, 2, 2)).shape
        torch.Size([1, 3, 4])
    """

    _dimensions = 2


class ReflectionPad3d(_ReflectionPad):
    """Puts the image's mirror image, without its edge around (N, C, D, H, W) or (C, D, H, W).

    See [`ReflectionPad2d`][neuronix.nn.ReflectionPad2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.ReflectionPad3d(1)(torch.ones(1, 2, 2, 2)).shape
        torch.Size([1, 4, 4, 4])
    """

    _dimensions = 3


class ReplicationPad1d(_ReplicationPad):
    """Puts copies of the image's edge around (N, C, L) or (C, L).

    See [`ReplicationPad2d`][neuronix.nn.ReplicationPad2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.ReplicationPad1d(1)(torch.tensor([[1.0, 2.0, 3.0]])).flatten().tolist()
        [1.0, 1.0, 2.0, 3.0, 3.0]
    """

    _dimensions = 1


class ReplicationPad2d(_ReplicationPad):
    """Puts copies of the image's edge around (N, C, H, W) or (C, H, W).

    Args:
        padding: How many elements on each side; one number, or (left, right, top, bottom).

    Raises:
        LayerArgumentError: If ``padding`` has another length.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.ReplicationPad2d((1, 1, 0, 1))(torch.ones(1, 2, 2)).shape
        torch.Size([1, 3, 4])
    """

    _dimensions = 2


class ReplicationPad3d(_ReplicationPad):
    """Puts copies of the image's edge around (N, C, D, H, W) or (C, D, H, W).

    See [`ReplicationPad2d`][neuronix.nn.ReplicationPad2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.ReplicationPad3d(1)(torch.ones(1, 2, 2, 2)).shape
        torch.Size([1, 4, 4, 4])
    """

    _dimensions = 3


class CircularPad1d(_CircularPad):
    """Puts the repeated image around (N, C, L) or (C, L).

    See [`CircularPad2d`][neuronix.nn.CircularPad2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.CircularPad1d(1)(torch.tensor([[1.0, 2.0, 3.0]])).flatten().tolist()
        [3.0, 1.0, 2.0, 3.0, 1.0]
    """

    _dimensions = 1


class CircularPad2d(_CircularPad):
    """Puts the repeated image around (N, C, H, W) or (C, H, W).

    Args:
        padding: How many elements on each side; one number, or (left, right, top, bottom).

    Raises:
        LayerArgumentError: If ``padding`` has another length.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.CircularPad2d((1, 1, 0, 1))(torch.ones(1, 2, 2)).shape
        torch.Size([1, 3, 4])
    """

    _dimensions = 2


class CircularPad3d(_CircularPad):
    """Puts the repeated image around (N, C, D, H, W) or (C, D, H, W).

    See [`CircularPad2d`][neuronix.nn.CircularPad2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.CircularPad3d(1)(torch.ones(1, 2, 2, 2)).shape
        torch.Size([1, 4, 4, 4])
    """

    _dimensions = 3
