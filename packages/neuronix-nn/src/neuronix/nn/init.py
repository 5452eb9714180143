"""Initialisation: functions that fill a parameter in place, with torch's names, formulas and random draws.

Under the same ``torch.manual_seed`` they draw the numbers that ``torch.nn.init`` draws, so a layer of ours and torch's
start from bit-identical weights.  Each takes anything with ``.data`` and returns it.

Weights are laid out as (outputs, inputs, kernel axes …).  ``fan_in`` is the number of inputs that one output sums over,
``fan_out`` the number of outputs that one input feeds.
"""

from __future__ import annotations

import math
from typing import Any, Protocol, TypeVar

from torch import Tensor

from neuronix.nn.errors import LayerArgumentError

__all__ = [
    "calculate_gain",
    "constant_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]


class HasData(Protocol):
    """A parameter, as far as initialisation is concerned."""

    @property
    def data(self) -> Tensor:
        """The values, which are overwritten."""
        ...


T = TypeVar("T", bound=HasData)

_GAINS = {"sigmoid": 1.0, "tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 3.0 / 4}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights must grow so that a nonlinearity keeps the variance of its inputs.

    Args:
        nonlinearity: ``"linear"``, ``"conv1d"`` and its kin, ``"sigmoid"``, ``"tanh"``, ``"relu"``, ``"leaky_relu"`` or
            ``"selu"``.
        param: The slope of ``"leaky_relu"``; 0.01 by default.

    Returns:
        The gain.

    Raises:
        LayerArgumentError: If the nonlinearity is unknown.

    Example:
        >>> from neuronix.nn import init
        >>> round(init.calculate_gain("relu"), 4)
        1.4142
    """
    if nonlinearity == "linear" or nonlinearity.startswith("conv"):
        return 1.0
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        raise LayerArgumentError(
            f"calculate_gain: unknown nonlinearity {nonlinearity!r}",
            hint=f"known: linear, conv…, leaky_relu, {', '.join(_GAINS)}",
        )
    return _GAINS[nonlinearity]


def fans(tensor: HasData) -> tuple[int, int]:
    """``fan_in`` and ``fan_out`` of a weight (outputs, inputs, kernel axes …).

    Raises:
        LayerArgumentError: If it has fewer than two axes.
    """
    shape = tensor.data.shape
    if len(shape) < 2:
        raise LayerArgumentError(
            f"fan_in and fan_out are defined for weights of two or more axes, got shape {tuple(shape)}",
            hint="the axes are (outputs, inputs, kernel axes …)",
        )
    receptive_field = math.prod(shape[2:])
    return shape[1] * receptive_field, shape[0] * receptive_field


def _fan(tensor: HasData, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise LayerArgumentError(f"mode must be 'fan_in' or 'fan_out', got {mode!r}")
    return fans(tensor)[("fan_in", "fan_out").index(mode)]


def uniform_(tensor: T, a: float = 0.0, b: float = 1.0, generator: Any = None) -> T:
    """Fill with draws from the uniform distribution on [a, b)."""
    tensor.data.uniform_(a, b, generator=generator)
    return tensor


def normal_(tensor: T, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> T:
    """Fill with draws from the normal distribution."""
    tensor.data.normal_(mean, std, generator=generator)
    return tensor


def constant_(tensor: T, val: float) -> T:
    """Fill with one value."""
    tensor.data.fill_(val)
    return tensor


def ones_(tensor: T) -> T:
    """Fill with ones."""
    return constant_(tensor, 1.0)


def zeros_(tensor: T) -> T:
    """Fill with zeros."""
    return constant_(tensor, 0.0)


def xavier_uniform_(tensor: T, gain: float = 1.0, generator: Any = None) -> T:
    """Uniform on ±gain · √(6 / (fan_in + fan_out)).

    References:
        Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks, equation 16.
    """
    fan_in, fan_out = fans(tensor)
    std = gain * math.sqrt(2.0 / float(fan_in + fan_out))
    bound = math.sqrt(3.0) * std  # a uniform distribution on ±b has the standard deviation b / √3
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: T, gain: float = 1.0, generator: Any = None) -> T:
    """Normal with the standard deviation gain · √(2 / (fan_in + fan_out)).

    References:
        Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks, equation 12.
    """
    fan_in, fan_out = fans(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / float(fan_in + fan_out)), generator)


def kaiming_uniform_(
    tensor: T, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> T:
    """Uniform on ±gain · √(3 / fan).

    Args:
        tensor: A weight (outputs, inputs, kernel axes …).
        a: The negative slope of the ``"leaky_relu"`` that follows.
        mode: ``"fan_in"`` keeps the variance in the forward pass, ``"fan_out"`` in the backward pass.
        nonlinearity: What follows; see [`calculate_gain`][neuronix.nn.init.calculate_gain].
        generator: Where the draws come from; torch's global generator by default.

    Returns:
        The weight.

    Raises:
        LayerArgumentError: If the weight has fewer than two axes, or the mode or nonlinearity is unknown.

    References:
        He et al. 2015, Delving deep into rectifiers, section 2.2.
    """
    if 0 in tensor.data.shape:
        return tensor
    std = calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode))
    bound = math.sqrt(3.0) * std
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: T, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> T:
    """Normal with the standard deviation gain / √fan; see [`kaiming_uniform_`][neuronix.nn.init.kaiming_uniform_]."""
    if 0 in tensor.data.shape:
        return tensor
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode)), generator)
