"""Activation functions: relu and its kin, gelu, silu, softplus, softmax.

Each rule is the derivative from first principles.  Where torch has a kernel that computes it in one pass over the
array, the kernel is named beside it (``fused``) and tested equal to it.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd.dispatch import inplace
from neuronix.autograd.errors import ShapeError, UnsupportedError
from neuronix.autograd.errors.checks import check_dtypes
from neuronix.autograd.primitive import composite, primitive

__all__ = [
    "celu",
    "elu",
    "gelu",
    "glu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "log_softmax",
    "logsigmoid",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "safe_softmax",
    "selu",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanhshrink",
    "threshold",
]


# Piecewise linear


@primitive(names="torch.relu Tensor.relu", aten="relu.default")
def relu(x: Tensor) -> Tensor:
    """Rectified linear unit, max(x, 0); its derivative at 0 is taken to be 0.

    Args:
        x: Any shape.

    Returns:
        The same shape.

    Example:
        >>> from neuronix.autograd import ops, tensor
        >>> x = tensor([-1.0, 0.0, 2.0], requires_grad=True)
        >>> ops.relu(x).sum().backward()
        >>> x.grad
        tensor([0., 0., 1.])
    """
    return torch.relu(x)


@relu.vjp("x")
def relu_wrt_x(grad: Tensor, out: Tensor) -> Tensor:
    return torch.where(out <= 0, 0, grad)  # not grad · (out > 0): where the result is NaN torch passes the gradient


@relu.fused("x")
def relu_wrt_x_kernel(grad: Tensor, out: Tensor) -> Any:
    return torch.ops.aten.threshold_backward(grad, out, 0)


_relu_in_place = inplace.method(relu, "relu_")


@composite(names="nn.functional.relu")
def _functional_relu(x: Tensor, inplace: bool = False) -> Any:
    """As `relu`, with torch.nn.functional's arguments."""
    return _relu_in_place(x) if inplace else relu(x)


@primitive(aten="threshold.default")
def threshold_(x: Tensor, threshold: float, value: float) -> Tensor:
    """`x` where it is above the threshold, elsewhere `value`."""
    return torch.threshold(x, threshold, value)


@threshold_.vjp("x")
def threshold_wrt_x(grad: Tensor, x: Tensor, threshold: float) -> Tensor:
    return torch.where(x <= threshold, 0, grad)


@threshold_.fused("x")
def threshold_wrt_x_kernel(grad: Tensor, x: Tensor, threshold: float) -> Any:
    return torch.ops.aten.threshold_backward(grad, x, threshold)


_threshold_in_place = inplace.method(threshold_, "threshold_")


@composite(names="threshold")
def threshold(x: Tensor, threshold: float, value: float, inplace: bool = False) -> Any:
    """Elementwise `x` where x > threshold, elsewhere `value`."""
    return _threshold_in_place(x, threshold, value) if inplace else threshold_(x, threshold, value)


@primitive(aten="leaky_relu.default")
def leaky_relu_(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """`x`, with a small slope below 0."""
    return torch.nn.functional.leaky_relu(x, negative_slope)


@leaky_relu_.vjp("x")
def leaky_relu_wrt_x(grad: Tensor, x: Tensor, negative_slope: float) -> Tensor:
    return torch.where(x > 0, grad, grad * negative_slope)


@leaky_relu_.fused("x")
def leaky_relu_wrt_x_kernel(grad: Tensor, x: Tensor, negative_slope: float) -> Any:
    return torch.ops.aten.leaky_relu_backward(grad, x, negative_slope, False)


_leaky_relu_in_place = inplace.method(leaky_relu_, "leaky_relu_")


@composite(names="leaky_relu")
def leaky_relu(x: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """Elementwise `x` where x > 0, elsewhere negative_slope · x.

    Args:
        x: Any shape.
        negative_slope: The slope below 0, and at it.
        inplace: Change `x` itself.

    Returns:
        The same shape.
    """
    return (_leaky_relu_in_place if inplace else leaky_relu_)(x, negative_slope)


@primitive(broadcasts=True, aten="_prelu_kernel.default")
def prelu_(x: Tensor, weight: Tensor) -> Tensor:
    """`x`, with the slope `weight` below 0; both broadcast."""
    return torch.where(x > 0, x, weight * x)


@prelu_.vjp("x")
def prelu_wrt_x(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return torch.where(x > 0, grad, weight * grad)


@prelu_.vjp("weight")
def prelu_wrt_weight(grad: Tensor, x: Tensor) -> Tensor:
    return torch.where(x > 0, 0, x * grad)


@composite(names="prelu", aten="prelu.default")
def prelu(x: Tensor, weight: Tensor) -> Any:
    """Leaky relu with a learned slope.

    Args:
        x: (N, C, …), or any shape if `weight` has one element.
        weight: The slope below 0: one for all, or (C,) for one a channel.

    Returns:
        The shape of `x`.

    Raises:
        ShapeError: If `weight` has neither 1 nor C elements.
        DtypeError: If it is of another type than `x`.
    """
    if x.dtype is not weight.dtype:
        check_dtypes("prelu", input=x, weight=weight)
    channels = x.shape[1] if x.ndim > 1 else 1
    if weight.ndim > 1 or weight.numel() not in (1, channels):
        raise ShapeError(
            f"prelu: a weight of shape {tuple(weight.shape)} doesn't fit an input of shape {tuple(x.shape)}",
            hint=f"it must have 1 element, or {channels}: one a channel (axis 1)",
        )
    return prelu_(x, weight.reshape(-1, *[1] * (x.ndim - 2)) if x.ndim > 1 else weight.reshape([1] * x.ndim))


@primitive(aten="hardtanh.default")
def hardtanh_(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """`x` between two bounds."""
    return torch.nn.functional.hardtanh(x, min_val, max_val)


@hardtanh_.vjp("x")
def hardtanh_wrt_x(grad: Tensor, x: Tensor, min_val: float, max_val: float) -> Tensor:
    # Unlike that of clamp the derivative is 0 at the bounds themselves, and NaN passes the gradient.
    return torch.where((x <= min_val) | (x >= max_val), 0, grad)


@hardtanh_.fused("x")
def hardtanh_wrt_x_kernel(grad: Tensor, x: Tensor, min_val: float, max_val: float) -> Any:
    return torch.ops.aten.hardtanh_backward(grad, x, min_val, max_val)


_hardtanh_in_place = inplace.method(hardtanh_, "hardtanh_")


@composite(names="hardtanh")
def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    """Elementwise `x` between `min_val` and `max_val`; the derivative is 0 at these."""
    return (_hardtanh_in_place if inplace else hardtanh_)(x, min_val, max_val)


@composite(names="relu6", aten="relu6.default")
def relu6(x: Tensor, inplace: bool = False) -> Any:
    """Elementwise min(max(x, 0), 6)."""
    return hardtanh(x, 0.0, 6.0, inplace)


@primitive(aten="hardsigmoid.default")
def hardsigmoid_(x: Tensor) -> Tensor:
    """min(max(x + 3, 0), 6) / 6."""
    return torch.nn.functional.hardsigmoid(x)


@hardsigmoid_.vjp("x")
def hardsigmoid_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    return torch.where((x > -3) & (x < 3), grad / 6, 0)


@hardsigmoid_.fused("x")
def hardsigmoid_wrt_x_kernel(grad: Tensor, x: Tensor) -> Any:
    return torch.ops.aten.hardsigmoid_backward(grad, x)


_hardsigmoid_in_place = inplace.method(hardsigmoid_, "hardsigmoid_")


@composite(names="hardsigmoid")
def hardsigmoid(x: Tensor, inplace: bool = False) -> Any:
    """Piecewise linear stand-in for the logistic function, min(max(x + 3, 0), 6) / 6."""
    return (_hardsigmoid_in_place if inplace else hardsigmoid_)(x)


@primitive(aten="hardswish.default")
def hardswish_(x: Tensor) -> Tensor:
    """`x` · hardsigmoid(x)."""
    return torch.nn.functional.hardswish(x)


@hardswish_.vjp("x")
def hardswish_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    # x·(x + 3)/6 between −3 and 3, whose slope is x/3 + ½; 0 below and x above
    return torch.where(x <= -3, 0, torch.where(x < 3, grad * (x / 3 + 0.5), grad))


@hardswish_.fused("x")
def hardswish_wrt_x_kernel(grad: Tensor, x: Tensor) -> Any:
    return torch.ops.aten.hardswish_backward(grad, x)


_hardswish_in_place = inplace.method(hardswish_, "hardswish_")


@composite(names="hardswish")
def hardswish(x: Tensor, inplace: bool = False) -> Any:
    """Piecewise stand-in for silu, x · min(max(x + 3, 0), 6) / 6."""
    return (_hardswish_in_place if inplace else hardswish_)(x)


@primitive(names="hardshrink", aten="hardshrink.default")
def hardshrink(x: Tensor, lambd: float = 0.5) -> Tensor:
    """Elementwise `x` where |x| > lambd, elsewhere 0."""
    return torch.nn.functional.hardshrink(x, lambd)


@hardshrink.vjp("x")
def hardshrink_wrt_x(grad: Tensor, x: Tensor, lambd: float) -> Tensor:
    return torch.where((x >= -lambd) & (x <= lambd), 0, grad)


@primitive(names="softshrink", aten="softshrink.default")
def softshrink(x: Tensor, lambd: float = 0.5) -> Tensor:
    """Elementwise `x` moved towards 0 by `lambd`, and 0 where it is nearer than that."""
    return torch.nn.functional.softshrink(x, lambd)


@softshrink.vjp("x")
def softshrink_wrt_x(grad: Tensor, x: Tensor, lambd: float) -> Tensor:
    return torch.where((x >= -lambd) & (x <= lambd), 0, grad)


# Exponential below zero


@primitive(aten="elu.default")
def elu_(x: Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    """`scale` · x above 0, scale · alpha · (exp(input_scale · x) − 1) below: elu, selu and celu are cases of it."""
    return torch.ops.aten.elu(x, alpha, scale, input_scale)


@elu_.vjp("x")
def elu_wrt_x(grad: Tensor, x: Tensor, alpha: float, scale: float, input_scale: float) -> Tensor:
    # The exponential of positive x isn't used, but were it infinite, its own derivative would make NaN of 0·∞: so
    # of min(x, 0). Written by relu it is flat at 0, where torch takes the second derivative to be 0.
    below = torch.exp(-torch.relu(-x) * input_scale) * (alpha * scale * input_scale)
    return torch.where(x <= 0, grad * below, grad * scale)


@elu_.fused("x")
def elu_wrt_x_kernel(grad: Tensor, x: Tensor, alpha: float, scale: float, input_scale: float) -> Any:
    return torch.ops.aten.elu_backward(grad, alpha, scale, input_scale, False, x)


_elu_in_place = inplace.method(elu_, "elu_")


@composite(names="elu")
def elu(x: Tensor, alpha: float = 1.0, inplace: bool = False) -> Any:
    """Exponential linear unit: `x` where x > 0, elsewhere alpha · (eˣ − 1).

    Args:
        x: Any shape.
        alpha: What it tends to for small `x`, negated.
        inplace: Change `x` itself.

    Returns:
        The same shape.

    References:
        Clevert, Unterthiner, Hochreiter, "Fast and Accurate Deep Network Learning by Exponential Linear Units", 2016.
    """
    return (_elu_in_place if inplace else elu_)(x, alpha)


# Klambauer et al., "Self-Normalizing Neural Networks", 2017: with these a layer keeps mean 0 and variance 1.
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


@composite(names="selu", aten="selu.default")
def selu(x: Tensor, inplace: bool = False) -> Any:
    """Self-normalising `elu`: both branches scaled so that a layer keeps mean 0 and variance 1."""
    return (_elu_in_place if inplace else elu_)(x, _SELU_ALPHA, _SELU_SCALE)


@composite(names="celu", aten="celu.default")
def celu(x: Tensor, alpha: float = 1.0, inplace: bool = False) -> Any:
    """`elu` whose slope is 1 on both sides of 0: `x` where x > 0, elsewhere alpha · (exp(x / alpha) − 1)."""
    return (_elu_in_place if inplace else elu_)(x, alpha, 1.0, 1.0 / alpha)


# Smooth


@primitive(names="gelu", aten="gelu.default")
def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """Gaussian error linear unit, x · Φ(x), with Φ the distribution function of the normal distribution.

    ``approximate="tanh"`` is ½ · x · (1 + tanh(√(2/π) · (x + 0.044715 · x³))).

    Args:
        x: Any shape.
        approximate: ``"none"`` or ``"tanh"``.

    Returns:
        The same shape.

    References:
        Hendrycks, Gimpel, "Gaussian Error Linear Units", 2016.

    Example:
        >>> from neuronix.autograd import ops, tensor
        >>> x = tensor(0.0, requires_grad=True)
        >>> ops.gelu(x).backward()
        >>> x.grad
        tensor(0.5000)
    """
    return torch.nn.functional.gelu(x, approximate=approximate)


@gelu.vjp("x")
def gelu_wrt_x(grad: Tensor, x: Tensor, approximate: str) -> Tensor:
    if approximate == "none":
        # d/dx x·Φ(x) = Φ(x) + x·φ(x)
        distribution = 0.5 * (1 + torch.erf(x * math.sqrt(0.5)))
        density = math.sqrt(0.5 / math.pi) * torch.exp(-0.5 * (x * x))
        return grad * (distribution + x * density)
    # With u = √(2/π)(x + c·x³): d/dx ½x(1 + tanh u) = ½(1 + tanh u) + ½x(1 − tanh² u)·u′
    scale, cubic = math.sqrt(2 / math.pi), 0.044715
    dtype = x.dtype
    if dtype is torch.float16 or dtype is torch.bfloat16:
        x = x.to(torch.float32)  # x³ overflows in half precision beyond 40, and 0 · ∞ is no number
    square = x * x
    t = torch.tanh(scale * (x + cubic * square * x))
    slope = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * (scale * (1 + 3 * cubic * square))
    return grad * slope.to(dtype)


@gelu.fused("x")
def gelu_wrt_x_kernel(grad: Tensor, x: Tensor, approximate: str) -> Any:
    return torch.ops.aten.gelu_backward(grad, x, approximate=approximate)


@primitive(aten="silu.default")
def silu_(x: Tensor) -> Tensor:
    """`x` · σ(x)."""
    return torch.nn.functional.silu(x)


@silu_.vjp("x")
def silu_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    # d/dx x·σ = σ + x·σ(1 − σ)
    s = torch.sigmoid(x)
    return grad * (s * (1 + x * (1 - s)))


@silu_.fused("x")
def silu_wrt_x_kernel(grad: Tensor, x: Tensor) -> Any:
    return torch.ops.aten.silu_backward(grad, x)


_silu_in_place = inplace.method(silu_, "silu_")


@composite(names="silu")
def silu(x: Tensor, inplace: bool = False) -> Any:
    """Sigmoid linear unit, also called swish: x · σ(x).

    Args:
        x: Any shape.
        inplace: Change `x` itself.

    Returns:
        The same shape.

    References:
        Elfwing, Uchibe, Doya, "Sigmoid-Weighted Linear Units", 2017; Ramachandran, Zoph, Le, "Searching for Activation
        Functions", 2017.

    Example:
        >>> from neuronix.autograd import ops, tensor
        >>> x = tensor(0.0, requires_grad=True)
        >>> ops.silu(x).backward()
        >>> x.grad
        tensor(0.5000)
    """
    return (_silu_in_place if inplace else silu_)(x)


@primitive(names="softplus", aten="softplus.default")
def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """A smooth relu, log(1 + exp(beta · x)) / beta.

    Args:
        x: Any shape.
        beta: How sharply it bends.
        threshold: Where beta · x is above it the result is `x` itself.

    Returns:
        The same shape.
    """
    return torch.nn.functional.softplus(x, beta, threshold)


@softplus.vjp("x")
def softplus_wrt_x(grad: Tensor, x: Tensor, beta: float, threshold: float) -> Tensor:
    scaled = x * beta
    return torch.where(scaled > threshold, grad, grad * torch.sigmoid(scaled))


@softplus.fused("x")
def softplus_wrt_x_kernel(grad: Tensor, x: Tensor, beta: float, threshold: float) -> Any:
    return torch.ops.aten.softplus_backward(grad, x, beta, threshold)


@primitive(names="logsigmoid", aten="log_sigmoid.default")
def logsigmoid(x: Tensor) -> Tensor:
    """Elementwise log σ(x), finite for every finite `x`."""
    return torch.nn.functional.logsigmoid(x)


@logsigmoid.vjp("x")
def logsigmoid_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    return grad * torch.sigmoid(-x)  # d log σ = σ(1 − σ)/σ = 1 − σ(x) = σ(−x)


@composite(names="", aten="log_sigmoid_forward.default")
def _log_sigmoid_forward(x: Tensor) -> tuple[Any, Any]:
    return logsigmoid(x), x.new_zeros(0)  # the second is a buffer of torch's kernel


@primitive(aten="mish.default")
def mish_(x: Tensor) -> Tensor:
    """`x` · tanh(softplus(x))."""
    return torch.nn.functional.mish(x)


@mish_.vjp("x")
def mish_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    # softplus′ = σ, so d/dx x·t = t + x·(1 − t²)·σ with t = tanh(softplus(x))
    t = torch.tanh(torch.nn.functional.softplus(x))
    return grad * (t + x * (1 - t * t) * torch.sigmoid(x))


@mish_.fused("x")
def mish_wrt_x_kernel(grad: Tensor, x: Tensor) -> Any:
    return torch.ops.aten.mish_backward(grad, x)


_mish_in_place = inplace.method(mish_, "mish_")


@composite(names="mish")
def mish(x: Tensor, inplace: bool = False) -> Any:
    """Elementwise x · tanh(softplus(x)).

    References:
        Misra, "Mish: A Self Regularized Non-Monotonic Activation Function", 2019.
    """
    return (_mish_in_place if inplace else mish_)(x)


@composite(names="tanhshrink")
def tanhshrink(x: Tensor) -> Any:
    """Elementwise x − tanh(x)."""
    return x - torch.tanh(x)


@composite(names="softsign")
def softsign(x: Tensor) -> Any:
    """Elementwise x / (1 + |x|)."""
    return x / (1 + torch.abs(x))


@composite(names="glu", aten="glu.default")
def glu(x: Tensor, dim: int = -1) -> Any:
    """Gated linear unit, a · σ(b), with a and b the two halves of `x` along `dim`."""
    if x.ndim == 0 or x.shape[dim] % 2:
        raise ShapeError(
            f"glu: axis {dim} of an input of shape {tuple(x.shape)} can't be halved", hint="its size must be even"
        )
    return glu_(x, dim)


@primitive
def glu_(x: Tensor, dim: int) -> Tensor:
    """`glu` of an axis that can be halved."""
    return torch.nn.functional.glu(x, dim)


@glu_.vjp("x")
def glu_wrt_x(grad: Tensor, x: Tensor, dim: int) -> Tensor:
    a, b = torch.chunk(x, 2, dim)
    gate = torch.sigmoid(b)
    # grad · a alone may overflow where the gate is closed
    return torch.cat([grad * gate, grad * ((1 - gate) * gate) * a], dim)


# Along an axis


@primitive(names="torch.softmax Tensor.softmax special.softmax", aten="softmax.int")
def softmax(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    """Exponentials that sum to 1, eˣⁱ / Σⱼ eˣʲ along an axis.

    Args:
        x: Any shape; the result is the same for x + c, so nothing overflows.
        dim: The axis.
        dtype: Convert `x` to it first.

    Returns:
        The same shape.

    Example:
        >>> from neuronix.autograd import ops, tensor
        >>> ops.softmax(tensor([0.0, 0.0, 1000.0]), dim=0)
        CustomTensor([0., 0., 1.])
    """
    return torch.softmax(x, dim, dtype)


@softmax.vjp("x")
def softmax_wrt_x(grad: Tensor, out: Tensor, dim: int) -> Tensor:
    # ∂yⱼ/∂xᵢ = yⱼ(δᵢⱼ − yᵢ), so Σⱼ gⱼ·∂yⱼ/∂xᵢ = yᵢ(gᵢ − Σⱼ gⱼyⱼ)
    weighted = grad * out
    return weighted - out * weighted.sum(dim, keepdim=True)


@softmax.fused("x")
def softmax_wrt_x_kernel(grad: Tensor, out: Tensor, dim: int) -> Any:
    return torch._softmax_backward_data(grad, out, dim, grad.dtype)


@composite(names="", aten="_safe_softmax.default")
def safe_softmax(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> Any:
    """As `softmax`, but zeros where all of a slice is −∞: the weights of a query that may attend to nothing.

    Args:
        x: Any shape.
        dim: The axis.
        dtype: Convert `x` to it first.

    Returns:
        The same shape.

    Example:
        >>> from math import inf
        >>> from neuronix.autograd import ops, tensor
        >>> ops.safe_softmax(tensor([[0.0, -inf], [-inf, -inf]]), dim=1)
        CustomTensor([[1., 0.],
                      [0., 0.]])
    """
    # Finite numbers there, before the softmax: 0/0 and its gradient would spoil the whole input's.
    dead = torch.all(x == -math.inf, dim, keepdim=True)
    return softmax(x.masked_fill(dead, 0.0), dim, dtype).masked_fill(dead, 0.0)


@primitive(names="torch.log_softmax Tensor.log_softmax special.log_softmax", aten="log_softmax.int")
def log_softmax(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    """Logarithm of the softmax, xᵢ − log Σⱼ eˣʲ along an axis; finite for every finite `x`.

    Args:
        x: Any shape.
        dim: The axis.
        dtype: Convert `x` to it first.

    Returns:
        The same shape.
    """
    return torch.log_softmax(x, dim, dtype)


@log_softmax.vjp("x")
def log_softmax_wrt_x(grad: Tensor, out: Tensor, dim: int) -> Tensor:
    # ∂ log yⱼ/∂xᵢ = δᵢⱼ − yᵢ
    return grad - torch.exp(out) * grad.sum(dim, keepdim=True)


@log_softmax.fused("x")
def log_softmax_wrt_x_kernel(grad: Tensor, out: Tensor, dim: int) -> Any:
    return torch._log_softmax_backward_data(grad, out, dim, grad.dtype)


@composite(names="nn.functional.softmax")
def _functional_softmax(
    x: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> Any:
    """As `softmax`, with torch.nn.functional's arguments."""
    return softmax(x, _axis("softmax", dim, x.ndim, _stacklevel), dtype)


@composite(names="nn.functional.log_softmax")
def _functional_log_softmax(
    x: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> Any:
    """As `log_softmax`, with torch.nn.functional's arguments."""
    return log_softmax(x, _axis("log_softmax", dim, x.ndim, _stacklevel), dtype)


@composite(names="softmin")
def softmin(x: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None) -> Any:
    """The softmax of −x."""
    return softmax(-x, _axis("softmin", dim, x.ndim, _stacklevel), dtype)


def _axis(name: str, dim: int | None, ndim: int, stacklevel: int) -> int:
    """`dim`, or the axis that torch.nn.functional takes where none is given: an old habit, with its warning."""
    if dim is not None:
        return dim
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
        stacklevel=stacklevel + 1,
    )
    return 0 if ndim in (0, 1, 3) else 1


@composite(names="", aten="_softmax.default")
def _softmax_kernel(x: Tensor, dim: int, half_to_float: bool) -> Any:
    return softmax(x, dim, torch.float32 if half_to_float else None)


@composite(names="", aten="_softmax_backward_data.default")
def _softmax_backward_kernel(grad: Any, out: Any, dim: int, input_dtype: torch.dtype) -> Any:
    """What a softmax hands back, of its gradient and its result."""
    if grad.shape != out.shape:
        raise ShapeError(
            f"_softmax_backward_data: the gradient of shape {tuple(grad.shape)} must have the result's shape "
            f"{tuple(out.shape)}"
        )
    if not grad.is_floating_point():
        raise UnsupportedError(f"_softmax_backward_data: not offered for {grad.dtype}", hint="give floating numbers")
    check_dtypes("_softmax_backward_data", grad_output=grad, output=out)
    found = softmax_wrt_x(grad, out, dim)
    return found if found.dtype is input_dtype else found.to(input_dtype)


@composite(names="", aten="_log_softmax.default")
def _log_softmax_kernel(x: Tensor, dim: int, half_to_float: bool) -> Any:
    return log_softmax(x, dim, torch.float32 if half_to_float else None)
