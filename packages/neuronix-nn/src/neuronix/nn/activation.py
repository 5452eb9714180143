"""Activation functions as layers."""

from __future__ import annotations

import warnings

import torch

from neuronix.autograd import CustomTensor, ops
from neuronix.nn import functional, init
from neuronix.nn.applied import Applied, AppliedInPlace
from neuronix.nn.checks import check_sizes
from neuronix.nn.errors import LayerArgumentError
from neuronix.nn.functional.arguments import lift
from neuronix.nn.module import Module
from neuronix.nn.parameter import Parameter
from neuronix.nn.tensor_like import TensorLike

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "Mish",
    "PReLU",
    "RReLU",
    "ReLU",
    "ReLU6",
    "SELU",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
]


# Without further arguments, or with one that says whether to work in place


class ReLU(AppliedInPlace):
    """max(x, 0).

    Args:
        inplace: Whether to change the input itself.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.ReLU()(torch.tensor([-1.0, 2.0]))
        CustomTensor([0., 2.])
    """

    _function = staticmethod(functional.relu)


class ReLU6(AppliedInPlace):
    """min(max(x, 0), 6).

    Args:
        inplace: Whether to change the input itself.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.ReLU6()(torch.tensor([-1.0, 2.0, 9.0])).tolist()
        [0.0, 2.0, 6.0]
    """

    _function = staticmethod(ops.relu6)


class SELU(AppliedInPlace):
    """The [`ELU`][neuronix.nn.ELU] whose constants keep mean 0 and variance 1 from layer to layer.

    Args:
        inplace: Whether to change the input itself.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.SELU()(torch.tensor([0.0, 1.0]))
        CustomTensor([0.0000, 1.0507])

    References:
        Klambauer et al. 2017, Self-normalizing neural networks.
    """

    _function = staticmethod(ops.selu)


class SiLU(AppliedInPlace):
    """x · σ(x), with the logistic function σ; see also [`Swish`][neuronix.nn.Swish].

    Args:
        inplace: Whether to change the input itself.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.SiLU()(torch.tensor([0.0, 1.0]))
        CustomTensor([0.0000, 0.7311])
    """

    _function = staticmethod(ops.silu)


class Mish(AppliedInPlace):
    """x · tanh(softplus(x)).

    Args:
        inplace: Whether to change the input itself.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Mish()(torch.tensor([0.0, 1.0]))
        CustomTensor([0.0000, 0.8651])

    References:
        Misra 2020, Mish: a self regularized non-monotonic activation function.
    """

    _function = staticmethod(ops.mish)


class Hardsigmoid(AppliedInPlace):
    """min(max(x + 3, 0), 6) / 6, a piecewise linear stand-in for [`Sigmoid`][neuronix.nn.Sigmoid].

    Args:
        inplace: Whether to change the input itself.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Hardsigmoid()(torch.tensor([-4.0, 0.0, 4.0])).tolist()
        [0.0, 0.5, 1.0]
    """

    _function = staticmethod(ops.hardsigmoid)

    def extra_repr(self) -> str:
        """Nothing, as in torch."""
        return ""


class Hardswish(AppliedInPlace):
    """x · min(max(x + 3, 0), 6) / 6, a piecewise stand-in for [`SiLU`][neuronix.nn.SiLU].

    Args:
        inplace: Whether to change the input itself.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Hardswish()(torch.tensor([0.0, 1.5, 4.0])).tolist()
        [0.0, 1.125, 4.0]

    References:
        Howard et al. 2019, Searching for MobileNetV3.
    """

    _function = staticmethod(ops.hardswish)

    def extra_repr(self) -> str:
        """Nothing, as in torch."""
        return ""


class Sigmoid(Applied):
    """1 / (1 + exp(−x)).

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Sigmoid()(torch.tensor([0.0]))
        CustomTensor([0.5000])
    """

    _function = staticmethod(ops.sigmoid)


class Tanh(Applied):
    """The hyperbolic tangent.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Tanh()(torch.tensor([0.0]))
        CustomTensor([0.])
    """

    _function = staticmethod(ops.tanh)


class LogSigmoid(Applied):
    """log(1 / (1 + exp(−x))), finite for every finite x.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.LogSigmoid()(torch.tensor([0.0, -1000.0]))
        CustomTensor([-6.9315e-01, -1.0000e+03])
    """

    _function = staticmethod(ops.logsigmoid)


class Softsign(Applied):
    """x / (1 + |x|).

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Softsign()(torch.tensor([1.0, -3.0])).tolist()
        [0.5, -0.75]
    """

    _function = staticmethod(ops.softsign)


class Tanhshrink(Applied):
    """x − tanh(x).

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Tanhshrink()(torch.tensor([0.0, 1.0]))
        CustomTensor([0.0000, 0.2384])
    """

    _function = staticmethod(ops.tanhshrink)


# With further arguments


class LeakyReLU(Applied):
    """x where x > 0, and negative_slope · x elsewhere.

    Args:
        negative_slope: The slope on the left.
        inplace: Whether to change the input itself.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.LeakyReLU(0.5)(torch.tensor([-1.0, 2.0])).tolist()
        [-0.5, 2.0]
    """

    _function = staticmethod(ops.leaky_relu)
    _arguments = ("negative_slope", "inplace")

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope = negative_slope
        self.inplace = inplace


class ELU(Applied):
    """x where x > 0, and alpha · (exp(x) − 1) elsewhere.

    Args:
        alpha: Minus the limit on the left.
        inplace: Whether to change the input itself.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.ELU()(torch.tensor([0.0, 2.0])).tolist()
        [0.0, 2.0]

    References:
        Clevert, Unterthiner & Hochreiter 2016, Fast and accurate deep network learning by exponential linear units.
    """

    _function = staticmethod(ops.elu)
    _arguments = ("alpha", "inplace")

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace


class CELU(Applied):
    """x where x > 0, and alpha · (exp(x / alpha) − 1) elsewhere: an [`ELU`][neuronix.nn.ELU] of slope 1 on both sides.

    Args:
        alpha: Minus the limit on the left.
        inplace: Whether to change the input itself.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.CELU(2.0)(torch.tensor([0.0, 2.0])).tolist()
        [0.0, 2.0]

    References:
        Barron 2017, Continuously differentiable exponential linear units.
    """

    _function = staticmethod(ops.celu)
    _arguments = ("alpha", "inplace")

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace


class Threshold(Applied):
    """x where it is above a threshold, and a fixed value elsewhere.

    Args:
        threshold: The threshold.
        value: The value.
        inplace: Whether to change the input itself.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Threshold(0.5, -1.0)(torch.tensor([0.0, 2.0])).tolist()
        [-1.0, 2.0]
    """

    _function = staticmethod(ops.threshold)
    _arguments = ("threshold", "value", "inplace")

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold = threshold
        self.value = value
        self.inplace = inplace


class Softplus(Applied):
    """log(1 + exp(beta · x)) / beta, a smooth ReLU.

    Args:
        beta: How sharp the bend is.
        threshold: Where beta · x is larger, the result is x itself.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Softplus()(torch.tensor([0.0]))
        CustomTensor([0.6931])
    """

    _function = staticmethod(ops.softplus)
    _arguments = ("beta", "threshold")

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold


class GLU(Applied):
    """a · σ(b), with a and b the two halves of the input along an axis.

    Args:
        dim: The axis.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.GLU()(torch.tensor([2.0, 0.0])).tolist()
        [1.0]

    References:
        Dauphin et al. 2017, Language modeling with gated convolutional networks.
    """

    _function = staticmethod(ops.glu)
    _arguments = ("dim",)

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim


class Hardshrink(Applied):
    """x where |x| > lambd, and 0 elsewhere.

    Args:
        lambd: The threshold.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Hardshrink()(torch.tensor([0.25, -2.0])).tolist()
        [0.0, -2.0]
    """

    _function = staticmethod(ops.hardshrink)
    _arguments = ("lambd",)

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def extra_repr(self) -> str:
        """The constructor's argument."""
        return f"{self.lambd}"


class Softshrink(Applied):
    """x moved towards 0 by ``lambd``, and 0 where it is nearer than that.

    Args:
        lambd: By how much.

    Raises:
        LayerArgumentError: If ``lambd`` is negative.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Softshrink()(torch.tensor([0.25, -2.0])).tolist()
        [0.0, -1.5]
    """

    _function = staticmethod(ops.softshrink)
    _arguments = ("lambd",)

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        if lambd < 0:
            raise LayerArgumentError(f"Softshrink: lambda must be greater or equal to 0, but found to be {lambd}")
        self.lambd = lambd

    def extra_repr(self) -> str:
        """The constructor's argument."""
        return f"{self.lambd}"


class Hardtanh(Applied):
    """min(max(x, min_val), max_val).

    Args:
        min_val: The least value.
        max_val: The greatest.
        inplace: Whether to change the input itself.
        min_value: Deprecated, as in PyTorch: use ``min_val``.
        max_value: Deprecated, as in PyTorch: use ``max_val``.

    Raises:
        LayerArgumentError: If ``max_val`` isn't greater than ``min_val``.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Hardtanh()(torch.tensor([-2.0, 0.5, 2.0])).tolist()
        [-1.0, 0.5, 1.0]
    """

    _function = staticmethod(ops.hardtanh)
    _arguments = ("min_val", "max_val", "inplace")

    def __init__(
        self,
        min_val: float = -1.0,
        max_val: float = 1.0,
        inplace: bool = False,
        min_value: float | None = None,
        max_value: float | None = None,
    ) -> None:
        super().__init__()
        for old, new, value in (("min_value", "min_val", min_value), ("max_value", "max_val", max_value)):
            if value is not None:
                warnings.warn(
                    f"keyword argument `{old}` is deprecated and rename to `{new}`", FutureWarning, stacklevel=2
                )
        self.min_val = min_val if min_value is None else min_value
        self.max_val = max_val if max_value is None else max_value
        self.inplace = inplace
        if self.max_val <= self.min_val:
            raise LayerArgumentError(f"Hardtanh: max_val ({self.max_val}) must be larger than min_val ({self.min_val})")


class GELU(Module):
    """x · Φ(x), with the distribution function Φ of the normal distribution.

    Args:
        approximate: ``"none"``, or ``"tanh"`` for the approximation ½ · x · (1 + tanh(√(2/π) · (x + 0.044715 · x³))).

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.GELU()(torch.tensor([0.0, 1.0]))
        CustomTensor([0.0000, 0.8413])

    References:
        Hendrycks & Gimpel 2016, Gaussian error linear units.
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply it elementwise."""
        out: CustomTensor = ops.gelu(input, approximate=self.approximate)
        return out

    def extra_repr(self) -> str:
        """The constructor's argument."""
        return f"approximate={self.approximate!r}"


class RReLU(Module):
    """[`LeakyReLU`][neuronix.nn.LeakyReLU] with a slope for each element, drawn in training; their mean in evaluation.

    Args:
        lower: The least slope.
        upper: The greatest.
        inplace: Whether to change the input itself.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.RReLU(0.25, 0.75).eval()(torch.tensor([-1.0, 2.0])).tolist()
        [-0.5, 2.0]

    References:
        Xu et al. 2015, Empirical evaluation of rectified activations in convolutional network.
    """

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False) -> None:
        super().__init__()
        self.lower = lower
        self.upper = upper
        self.inplace = inplace

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply it elementwise."""
        return functional.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"lower={self.lower}, upper={self.upper}" + (", inplace=True" if self.inplace else "")


class PReLU(Module):
    """[`LeakyReLU`][neuronix.nn.LeakyReLU] whose slope is learnt.

    Args:
        num_parameters: The number of slopes: one for all, or one for each channel (axis 1).
        init: Their first value.
        device: Where the parameter lives.
        dtype: Its element type.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.PReLU()(torch.tensor([-2.0, 2.0])).tolist()
        [-0.5, 2.0]

    References:
        He et al. 2015, Delving deep into rectifiers.
    """

    weight: Parameter  # (num_parameters,)

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(self, num_parameters=num_parameters)
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter(torch.empty(num_parameters, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the slopes to their first value."""
        init.constant_(self.weight, self.init)

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply it elementwise."""
        out: CustomTensor = ops.prelu(lift(input), self.weight)  # type: ignore[arg-type, unused-ignore]
        return out

    def extra_repr(self) -> str:
        """The number of slopes."""
        return f"num_parameters={self.num_parameters}"
