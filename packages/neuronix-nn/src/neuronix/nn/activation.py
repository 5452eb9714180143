"""Activation functions as layers."""

from __future__ import annotations

import warnings

from neuronix.autograd import CustomTensor, ops
from neuronix.nn.module import Module
from neuronix.nn.tensor_like import TensorLike

__all__ = [
    "ELU",
    "GELU",
    "LeakyReLU",
    "LogSoftmax",
    "Mish",
    "ReLU",
    "ReLU6",
    "SELU",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]


def _guessed_axis(name: str, input: TensorLike) -> int:
    """The axis that torch takes where none is given: an old habit, with its warning."""
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Say which axis, as in {name}(dim=-1).",
        stacklevel=4,  # whoever called the layer
    )
    return 0 if input.ndim in (0, 1, 3) else 1


class ReLU(Module):
    """max(x, 0).

    Args:
        inplace: Whether to change the input itself.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.ReLU()(torch.tensor([-1.0, 2.0]))
        CustomTensor([0., 2.])
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply it elementwise."""
        if self.inplace:
            x = input if isinstance(input, CustomTensor) else CustomTensor(input)
            return x.relu_()  # type: ignore[no-any-return]
        out: CustomTensor = ops.relu(input)
        return out

    def extra_repr(self) -> str:
        """The constructor's argument, if set."""
        return "inplace=True" if self.inplace else ""


class LeakyReLU(Module):
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

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply it elementwise."""
        out: CustomTensor = ops.leaky_relu(input, self.negative_slope, self.inplace)  # type: ignore[arg-type, unused-ignore]
        return out

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")


class ELU(Module):
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

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply it elementwise."""
        out: CustomTensor = ops.elu(input, self.alpha, self.inplace)  # type: ignore[arg-type, unused-ignore]
        return out

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


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


class SiLU(Module):
    """x · σ(x), with the logistic function σ; see also [`Swish`][neuronix.nn.Swish].

    Args:
        inplace: Whether to change the input itself.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.SiLU()(torch.tensor([0.0, 1.0]))
        CustomTensor([0.0000, 0.7311])
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply it elementwise."""
        out: CustomTensor = ops.silu(input, self.inplace)  # type: ignore[arg-type, unused-ignore]
        return out

    def extra_repr(self) -> str:
        """The constructor's argument, if set."""
        return "inplace=True" if self.inplace else ""


class Sigmoid(Module):
    """1 / (1 + exp(−x)).

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Sigmoid()(torch.tensor([0.0]))
        CustomTensor([0.5000])
    """

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply it elementwise."""
        out: CustomTensor = ops.sigmoid(input)
        return out


class Tanh(Module):
    """The hyperbolic tangent.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Tanh()(torch.tensor([0.0]))
        CustomTensor([0.])
    """

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply it elementwise."""
        out: CustomTensor = ops.tanh(input)
        return out


class Softplus(Module):
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

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply it elementwise."""
        out: CustomTensor = ops.softplus(input, self.beta, self.threshold)
        return out

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Softmax(Module):
    """exp(x) / Σ exp(x): positive numbers whose sum along an axis is 1.

    Args:
        dim: The axis.  Without one it is guessed from the number of axes, with a warning, as in torch.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Softmax(dim=-1)(torch.tensor([0.0, 0.0])).tolist()
        [0.5, 0.5]
    """

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply it along the axis."""
        dim = _guessed_axis("Softmax", input) if self.dim is None else self.dim
        out: CustomTensor = ops.softmax(input, dim)
        return out

    def extra_repr(self) -> str:
        """The constructor's argument."""
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """log(softmax(x)), computed so that it doesn't overflow.

    Args:
        dim: The axis.  Without one it is guessed from the number of axes, with a warning, as in torch.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.LogSoftmax(dim=-1)(torch.tensor([0.0, 0.0]))
        CustomTensor([-0.6931, -0.6931])
    """

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply it along the axis."""
        dim = _guessed_axis("LogSoftmax", input) if self.dim is None else self.dim
        out: CustomTensor = ops.log_softmax(input, dim)
        return out

    def extra_repr(self) -> str:
        """The constructor's argument."""
        return f"dim={self.dim}"


class ReLU6(Module):
    """min(max(x, 0), 6).

    Args:
        inplace: Whether to change the input itself.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.ReLU6()(torch.tensor([-1.0, 2.0, 9.0])).tolist()
        [0.0, 2.0, 6.0]
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply it elementwise."""
        out: CustomTensor = ops.relu6(input, self.inplace)  # type: ignore[arg-type, unused-ignore]
        return out

    def extra_repr(self) -> str:
        """The constructor's argument, if set."""
        return "inplace=True" if self.inplace else ""


class SELU(Module):
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

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply it elementwise."""
        out: CustomTensor = ops.selu(input, self.inplace)  # type: ignore[arg-type, unused-ignore]
        return out

    def extra_repr(self) -> str:
        """The constructor's argument, if set."""
        return "inplace=True" if self.inplace else ""


class Mish(Module):
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

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply it elementwise."""
        out: CustomTensor = ops.mish(input, self.inplace)  # type: ignore[arg-type, unused-ignore]
        return out

    def extra_repr(self) -> str:
        """The constructor's argument, if set."""
        return "inplace=True" if self.inplace else ""
