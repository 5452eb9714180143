"""Fully connected layers."""

from __future__ import annotations

import math
from typing import Any

import torch

from neuronix.autograd import CustomTensor, ops
from neuronix.nn import init
from neuronix.nn.checks import check_sizes
from neuronix.nn.errors import LayerArgumentError
from neuronix.nn.functional.arguments import lift
from neuronix.nn.module import Module
from neuronix.nn.parameter import Parameter
from neuronix.nn.tensor_like import TensorLike

__all__ = ["Bilinear", "Identity", "Linear"]


class Identity(Module):
    """Returns its argument, and takes the place of a layer that is left out.

    Args:
        *args: Ignored.
        **kwargs: Ignored.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Identity(54, unused="too")(torch.ones(2))
        tensor([1., 1.])
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        """Return ``input`` itself."""
        return input


class Linear(Module):
    """A matrix product and a bias: y = x · weightᵀ + bias.

    Args:
        in_features: The size of the last axis of the input.
        out_features: The size of the last axis of the result.
        bias: Whether there is a bias.
        device: Where the parameters live.
        dtype: Their element type.

    Input (…, in_features); result (…, out_features).  Both parameters begin as uniform draws from ±1/√in_features.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> layer = nn.Linear(3, 2)
        >>> layer(torch.ones(5, 3)).shape
        torch.Size([5, 2])
    """

    weight: Parameter  # (out_features, in_features)
    bias: Parameter | None  # (out_features,)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(self, in_features=in_features, out_features=out_features)
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(torch.empty(out_features, in_features, device=device, dtype=dtype))
        self.register_parameter(
            "bias", Parameter(torch.empty(out_features, device=device, dtype=dtype)) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # with this slope the bound is 1 / √in_features
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features > 0 else 0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply the layer to (…, in_features)."""
        out: CustomTensor = ops.linear(input, self.weight, self.bias)
        return out

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class NonDynamicallyQuantizableLinear(Linear):
    """The last linear map of an attention layer, a `Linear` under the name that torch shows there."""


class Bilinear(Module):
    """A linear function of each of two inputs: yₖ = x1ᵀ · weightₖ · x2 + biasₖ.

    Args:
        in1_features: The size of the last axis of the first input.
        in2_features: That of the second.
        out_features: That of the result.
        bias: Whether there is a bias.
        device: Where the parameters live.
        dtype: Their element type.

    Inputs (…, in1_features) and (…, in2_features); result (…, out_features).  Both parameters begin as uniform draws
    from ±1/√in1_features.

    Raises:
        LayerArgumentError: If ``in1_features`` isn't positive.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Bilinear(3, 4, 2)(torch.ones(5, 3), torch.ones(5, 4)).shape
        torch.Size([5, 2])
    """

    weight: Parameter  # (out_features, in1_features, in2_features)
    bias: Parameter | None  # (out_features,)

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if in1_features <= 0:
            raise LayerArgumentError(f"Bilinear: in1_features must be > 0, but got {in1_features}")
        check_sizes(self, in1_features=in1_features, in2_features=in2_features, out_features=out_features)
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        self.weight = Parameter(torch.empty(out_features, in1_features, in2_features, device=device, dtype=dtype))
        self.register_parameter(
            "bias", Parameter(torch.empty(out_features, device=device, dtype=dtype)) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        bound = 1 / math.sqrt(self.in1_features)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: TensorLike, input2: TensorLike) -> CustomTensor:
        """Apply the layer to (…, in1_features) and (…, in2_features)."""
        out: CustomTensor = ops.bilinear(lift(input1), lift(input2), self.weight, self.bias)
        return out

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )
