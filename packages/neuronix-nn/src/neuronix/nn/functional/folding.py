"""Unfolding an image into its windows, and adding windows up to an image: each is the other's adjoint."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor
from torch.nn import functional as F

from neuronix.autograd import CustomTensor, Shape, composite, primitive
from neuronix.nn.functional.arguments import lift, sizes
from neuronix.nn.tensor_like import TensorLike

__all__ = ["fold", "unfold"]

Sizes = int | Iterable[int]
Pair = tuple[int, int]


@primitive(aten="im2col.default")
def unfold_(x: Tensor, kernel_size: Pair, dilation: Pair, padding: Pair, stride: Pair) -> Tensor:
    """`unfold` with ATen's arguments."""
    return F.unfold(x, kernel_size, dilation, padding, stride)


@unfold_.vjp("x")
def unfold_wrt_x(grad: Tensor, x: Shape, kernel_size: Pair, dilation: Pair, padding: Pair, stride: Pair) -> Tensor:
    result: Tensor = fold_(grad, tuple(x[-2:]), kernel_size, dilation, padding, stride)
    return result


@primitive(aten="col2im.default")
def fold_(x: Tensor, output_size: Pair, kernel_size: Pair, dilation: Pair, padding: Pair, stride: Pair) -> Tensor:
    """`fold` with ATen's arguments."""
    return F.fold(x, output_size, kernel_size, dilation, padding, stride)


@fold_.vjp("x")
def fold_wrt_x(grad: Tensor, kernel_size: Pair, dilation: Pair, padding: Pair, stride: Pair) -> Tensor:
    result: Tensor = unfold_(grad, kernel_size, dilation, padding, stride)
    return result


@composite(names="nn.functional.unfold")
def unfold(
    input: TensorLike, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1
) -> CustomTensor:
    """The windows of an image as columns.

    Args:
        input: (N, C, H, W), or (C, H, W) without a batch axis.
        kernel_size: The window's size; one number, or one for each axis.
        dilation: The distance between the pixels of a window.
        padding: Zeros put around the image.
        stride: The step between windows.

    Returns:
        (N, C · window's pixels, number of windows).  A convolution is the product of its weight, as a matrix, with
        these columns.

    Raises:
        ShapeError: If the shapes don't fit.
        ArgumentError: If a size has the wrong length.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> functional.unfold(torch.arange(6.0).reshape(1, 2, 3), 2).tolist()
        [[0.0, 1.0], [1.0, 2.0], [3.0, 4.0], [4.0, 5.0]]
    """
    out: CustomTensor = unfold_(
        lift(input),
        sizes(kernel_size, 2, "kernel_size"),
        sizes(dilation, 2, "dilation"),
        sizes(padding, 2, "padding"),
        sizes(stride, 2, "stride"),
    )
    return out


@composite(names="nn.functional.fold")
def fold(
    input: TensorLike,
    output_size: Sizes,
    kernel_size: Sizes,
    dilation: Sizes = 1,
    padding: Sizes = 0,
    stride: Sizes = 1,
) -> CustomTensor:
    """Add columns up to an image: each is put where [`unfold`][neuronix.nn.functional.unfold] would take it from.

    Args:
        input: (N, C · window's pixels, number of windows), or without a batch axis.
        output_size: The image's (H, W).
        kernel_size: The window's size; one number, or one for each axis.
        dilation: The distance between the pixels of a window.
        padding: How far windows reach over the margin; what falls there is lost.
        stride: The step between windows.

    Returns:
        (N, C, H, W).  A pixel in several windows is the sum of their values.

    Raises:
        ShapeError: If the shapes don't fit.
        ArgumentError: If a size has the wrong length.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> functional.fold(torch.ones(4, 2), (2, 3), 2).tolist()
        [[[1.0, 2.0, 1.0], [1.0, 2.0, 1.0]]]
    """
    out: CustomTensor = fold_(
        lift(input),
        sizes(output_size, 2, "output_size"),
        sizes(kernel_size, 2, "kernel_size"),
        sizes(dilation, 2, "dilation"),
        sizes(padding, 2, "padding"),
        sizes(stride, 2, "stride"),
    )
    return out
