"""Convolution: one bilinear form, three operations.

A convolution is linear in its input x and in its weight w.  With a third tensor g of the result's shape,

    T(g, x, w) = ⟨g, convolution(x, w)⟩

is linear in each of the three, and the three operations here are its partial derivatives:

    convolution(x, w) = ∂T/∂g        convolution_input(g, w) = ∂T/∂x        convolution_weight(g, x) = ∂T/∂w

So the rule of each is made of the other two, and nothing more is needed for derivatives of any order.  (ATen's kernel
for a layer's backward pass computes both at once, and lays the gradient out for that only once.)  A transposed
convolution is `convolution_input` seen as a forward operation: the flag ``transposed`` swaps the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, Shape, composite, ops, primitive
from neuronix.autograd.errors import ArgumentError, DtypeError, ShapeError
from neuronix.nn.functional.arguments import batched, lift, sizes, tensors
from neuronix.nn.tensor_like import TensorLike

__all__ = [
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_tbc",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "convolution",
    "convolution_input",
    "convolution_weight",
]


Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]

_convolution_backward = torch.ops.aten.convolution_backward.default


class Geometry(NamedTuple):
    """How a kernel is laid over its input: ATen's arguments in ATen's order, one number for each spatial axis."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int


def convolution(x: TensorLike, weight: TensorLike, bias: TensorLike | None, geometry: Geometry) -> Any:
    """∂T/∂g: convolution of a batch in any number of dimensions; the functions below spell out its arguments."""
    if weight.dtype.is_complex:
        return _complex_convolution(x, weight, bias, geometry)
    if isinstance(weight, CustomTensor) and weight.requires_grad:
        return convolution_(x, weight, bias, geometry)
    return convolution_frozen(x, weight, bias, geometry)


def _complex_convolution(x: TensorLike, weight: TensorLike, bias: TensorLike | None, geometry: Geometry) -> Any:
    """(a + ib) ∗ (c + id) = (a ∗ c − b ∗ d) + i(a ∗ d + b ∗ c): the kernels know real numbers only."""
    a, b, c, d = ops.real(x), ops.imag(x), ops.real(weight), ops.imag(weight)
    real_bias, imaginary_bias = (None, None) if bias is None else (ops.real(bias), ops.imag(bias))
    return ops.complex(
        convolution(a, c, real_bias, geometry) - convolution(b, d, None, geometry),
        convolution(a, d, imaginary_bias, geometry) + convolution(b, c, None, geometry),
    )


@primitive
def convolution_(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """`convolution` whose weight is being trained."""
    return torch.convolution(x, weight, bias, *geometry)


@convolution_.vjp("x", "weight", "bias")
def convolution_wrt(
    grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, needs: tuple[bool, bool, bool]
) -> Gradients:
    return (
        convolution_input(grad, weight, x.shape, geometry) if needs[0] else None,
        convolution_weight(grad, x, weight.shape, geometry) if needs[1] else None,
        convolution_wrt_bias(grad) if needs[2] else None,
    )


@convolution_.fused("x", "weight", "bias")
def convolution_kernel(
    grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, needs: tuple[bool, bool, bool]
) -> Gradients:
    grads: Gradients = _convolution_backward(grad, x, weight, [grad.shape[1]], *geometry, needs)
    return grads


@primitive
def convolution_frozen(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """`convolution` whose weight is a constant: only the weight's gradient would need the input to be kept."""
    return torch.convolution(x, weight, bias, *geometry)


@convolution_frozen.vjp("x")
def convolution_wrt_x(grad: Tensor, x: Shape, weight: Tensor, geometry: Geometry) -> Tensor:
    result: Tensor = convolution_input(grad, weight, x, geometry)
    return result


@convolution_frozen.vjp("bias")
def convolution_wrt_bias(grad: Tensor) -> Tensor:
    # one bias for each channel, axis 1, added at every other position
    return grad.sum((0, *range(2, grad.ndim)))


@primitive
def convolution_input(g: Tensor, weight: Tensor, shape: torch.Size, geometry: Geometry) -> Tensor:
    """∂T/∂x: what a convolution's input of ``shape`` receives from the gradient ``g`` of the result."""
    like = g.new_empty(shape)  # only its shape is read
    result: Tensor = _convolution_backward(g, like, weight, None, *geometry, (True, False, False))[0]
    return result


@convolution_input.vjp("g")
def convolution_input_wrt_g(grad: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    result: Tensor = convolution(grad, weight, None, geometry)
    return result


@convolution_input.vjp("weight")
def convolution_input_wrt_weight(grad: Tensor, g: Tensor, weight: Shape, geometry: Geometry) -> Tensor:
    result: Tensor = convolution_weight(g, grad, weight, geometry)
    return result


@primitive
def convolution_weight(g: Tensor, x: Tensor, shape: torch.Size, geometry: Geometry) -> Tensor:
    """∂T/∂w: what a convolution's weight of ``shape`` receives from the gradient ``g`` of the result."""
    like = g.new_empty(shape)  # only its shape is read
    result: Tensor = _convolution_backward(g, x, like, None, *geometry, (False, True, False))[1]
    return result


@convolution_weight.vjp("g")
def convolution_weight_wrt_g(grad: Tensor, x: Tensor, geometry: Geometry) -> Tensor:
    result: Tensor = convolution(x, grad, None, geometry)
    return result


@convolution_weight.vjp("x")
def convolution_weight_wrt_x(grad: Tensor, g: Tensor, x: Shape, geometry: Geometry) -> Tensor:
    result: Tensor = convolution_input(g, grad, x, geometry)
    return result


@composite(names="convolution", aten="convolution.default")
def aten_convolution(x: TensorLike, weight: TensorLike, bias: TensorLike | None, *geometry: Any) -> CustomTensor:
    """The same with ATen's arguments, for functions of torch's that are taken apart."""
    stride, padding, dilation, transposed, output_padding, groups = geometry
    arguments = Geometry(tuple(stride), tuple(padding), tuple(dilation), transposed, tuple(output_padding), groups)
    out: CustomTensor = convolution(x, weight, bias, arguments)
    return out


def _convolve(
    dimensions: int,
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None,
    stride: int | Iterable[int],
    padding: str | int | Iterable[int],
    dilation: int | Iterable[int],
    groups: int,
) -> CustomTensor:
    input, weight, bias = tensors(input, weight, bias)
    x, unbatched = batched(input, dimensions, "conv")
    _check_kernel("conv", dimensions, x, weight, bias)
    steps, spread = sizes(stride, dimensions, "stride"), sizes(dilation, dimensions, "dilation")
    surplus = (0,) * dimensions
    if isinstance(padding, str):
        margin, surplus = named_padding(padding, weight.shape[2:], steps, spread)
    else:
        margin = sizes(padding, dimensions, "padding")
    geometry = Geometry(steps, margin, spread, False, (0,) * dimensions, groups)
    out: CustomTensor = convolution(x, weight, bias, geometry)
    for axis, extra in enumerate(surplus, 2):
        if extra:
            out = out.narrow(axis, extra, out.shape[axis] - extra)
    return out.squeeze(0) if unbatched else out


def _check_kernel(name: str, dimensions: int, x: TensorLike, weight: TensorLike, bias: TensorLike | None) -> None:
    """Refuse a weight of another number of axes, and element types that differ."""
    if weight.ndim != dimensions + 2:
        raise ShapeError(
            f"{name}{dimensions}d: the weight must have {dimensions + 2} axes, got shape {tuple(weight.shape)}"
        )
    if weight.dtype is not x.dtype or (bias is not None and bias.dtype is not x.dtype):
        biased = "" if bias is None else f", bias {bias.dtype}"
        raise DtypeError(
            f"{name}{dimensions}d: input and parameters must be of one dtype, got input {x.dtype}{tuple(x.shape)}, "
            f"weight {weight.dtype}{tuple(weight.shape)}{biased}",
            hint="convert the input, as in x.to(weight.dtype), or the layer with layer.to(dtype)",
        )


def named_padding(
    padding: str, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What ``"same"`` and ``"valid"`` mean.

    Args:
        padding: The word.
        kernel: The kernel's sizes.
        stride: The strides, which must be 1 for ``"same"``.
        dilation: The dilations.

    Returns:
        For each spatial axis the padding on both sides, and how many positions at the beginning of the result are one
        too many: ``"same"`` pads an odd total by one more at the end than at the beginning.

    Raises:
        ArgumentError: If the word is another, or ``"same"`` is asked of a strided convolution.
    """
    if padding == "valid":
        return (0,) * len(kernel), (0,) * len(kernel)
    if padding != "same":
        raise ArgumentError(f"invalid padding string {padding!r}", hint="it is 'same', 'valid', or numbers")
    if any(step != 1 for step in stride):
        raise ArgumentError(f"padding='same' is not supported for strided convolutions, got stride {tuple(stride)}")
    totals = [spread * (size - 1) for spread, size in zip(dilation, kernel, strict=True)]
    return tuple((total + 1) // 2 for total in totals), tuple(total % 2 for total in totals)


@composite(names="conv1d")
def conv1d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | Iterable[int] = 1,
    padding: str | int | Iterable[int] = 0,
    dilation: int | Iterable[int] = 1,
    groups: int = 1,
) -> CustomTensor:
    """Convolution over one axis; see [`conv2d`][neuronix.nn.functional.conv2d]."""
    return _convolve(1, input, weight, bias, stride, padding, dilation, groups)


@composite(names="conv2d")
def conv2d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | Iterable[int] = 1,
    padding: str | int | Iterable[int] = 0,
    dilation: int | Iterable[int] = 1,
    groups: int = 1,
) -> CustomTensor:
    """Slide a small kernel over images and take its inner product with what it covers.

        out[n, k, i, j] = bias[k] + Σ_{c, u, v} weight[k, c, u, v] · padded[n, c, i·s + u·d, j·s + v·d]

    with the stride s and the dilation d (for ``groups=1``; with more, each group of output channels sees its own group
    of input channels).

    Args:
        input: (N, C, H, W), or (C, H, W) without a batch axis.
        weight: (K, C / groups, kernel height, kernel width).
        bias: (K,), or ``None``.
        stride: The step between positions; one number, or one for each axis.
        padding: Zeros put around the image, ``"valid"`` for none, or ``"same"`` for as many as keep its size.
        dilation: The distance between the pixels that a kernel covers.
        groups: Into how many groups the channels are divided; it must divide C and K.

    Returns:
        (N, K, H', W') with H' = ⌊(H + 2·padding − dilation·(kernel − 1) − 1) / stride⌋ + 1, W' likewise.

    Raises:
        ShapeError: If the shapes don't fit.
        ArgumentError: If a size has the wrong length, or ``padding`` is a word that can't be used.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> image = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> functional.conv2d(image, torch.ones(1, 1, 3, 3))
        CustomTensor([[[[45., 54.],
                        [81., 90.]]]])
    """
    return _convolve(2, input, weight, bias, stride, padding, dilation, groups)


@composite(names="conv3d")
def conv3d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | Iterable[int] = 1,
    padding: str | int | Iterable[int] = 0,
    dilation: int | Iterable[int] = 1,
    groups: int = 1,
) -> CustomTensor:
    """Convolution over three axes; see [`conv2d`][neuronix.nn.functional.conv2d]."""
    return _convolve(3, input, weight, bias, stride, padding, dilation, groups)


def _convolve_transposed(
    dimensions: int,
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None,
    stride: int | Iterable[int],
    padding: int | Iterable[int],
    output_padding: int | Iterable[int],
    groups: int,
    dilation: int | Iterable[int],
) -> CustomTensor:
    input, weight, bias = tensors(input, weight, bias)
    x, unbatched = batched(input, dimensions, "conv_transpose")
    _check_kernel("conv_transpose", dimensions, x, weight, bias)
    geometry = Geometry(
        stride=sizes(stride, dimensions, "stride"),
        padding=sizes(padding, dimensions, "padding"),
        dilation=sizes(dilation, dimensions, "dilation"),
        transposed=True,
        output_padding=sizes(output_padding, dimensions, "output_padding"),
        groups=groups,
    )
    out: CustomTensor = convolution(x, weight, bias, geometry)
    return out.squeeze(0) if unbatched else out


@composite(names="conv_transpose1d")
def conv_transpose1d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | Iterable[int] = 1,
    padding: int | Iterable[int] = 0,
    output_padding: int | Iterable[int] = 0,
    groups: int = 1,
    dilation: int | Iterable[int] = 1,
) -> CustomTensor:
    """Transposed convolution over one axis; see [`conv_transpose2d`][neuronix.nn.functional.conv_transpose2d]."""
    return _convolve_transposed(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


@composite(names="conv_transpose2d")
def conv_transpose2d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | Iterable[int] = 1,
    padding: int | Iterable[int] = 0,
    output_padding: int | Iterable[int] = 0,
    groups: int = 1,
    dilation: int | Iterable[int] = 1,
) -> CustomTensor:
    """The adjoint of a convolution, used forward: each input pixel adds a multiple of the kernel to the result.

    Args:
        input: (N, C, H, W), or (C, H, W) without a batch axis.
        weight: (C, K / groups, kernel height, kernel width).
        bias: (K,), or ``None``.
        stride: The step between the places where kernels are added.
        padding: How much of the result's margin is cut off.
        output_padding: How much the result is larger at its end: several sizes have the same convolution.
        groups: Into how many groups the channels are divided.
        dilation: The distance between the pixels that a kernel reaches.

    Returns:
        (N, K, H', W') with H' = (H − 1)·stride − 2·padding + dilation·(kernel − 1) + output_padding + 1, W' likewise.

    Raises:
        ShapeError: If the shapes don't fit.
        ArgumentError: If a size has the wrong length.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> functional.conv_transpose2d(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).tolist()
        [[[[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]]]
    """
    return _convolve_transposed(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


@composite(names="conv_transpose3d")
def conv_transpose3d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | Iterable[int] = 1,
    padding: int | Iterable[int] = 0,
    output_padding: int | Iterable[int] = 0,
    groups: int = 1,
    dilation: int | Iterable[int] = 1,
) -> CustomTensor:
    """Transposed convolution over three axes; see [`conv_transpose2d`][neuronix.nn.functional.conv_transpose2d]."""
    return _convolve_transposed(3, input, weight, bias, stride, padding, output_padding, groups, dilation)


@composite(names="conv_tbc", aten="conv_tbc.default")
def conv_tbc(input: TensorLike, weight: TensorLike, bias: TensorLike, pad: int = 0) -> CustomTensor:
    """`conv1d` with time first: (T, N, C) and a weight (kernel, C, K) give (T', N, K)."""
    x, kernel = lift(input).permute(1, 2, 0), lift(weight).permute(2, 1, 0)
    out: CustomTensor = conv1d(x, kernel, bias, padding=pad).permute(2, 0, 1)
    return out
