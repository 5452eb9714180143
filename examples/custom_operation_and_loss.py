"""Declare an operation with its derivative rule, check the rule, make a loss of it, and train with that.

    nox -s examples                       # or, with everything installed: python examples/custom_operation_and_loss.py

The operation is log(cosh(x)).  As a loss it is a parabola for small errors and a straight line for large ones, so that
it doesn't chase outliers.  Computed as it is written it overflows; computed well, its derivative is tanh(x).

Expected result: a line through points of slope 2, a tenth of which are wild, fitted with this loss has a slope within
0.05 of 2; fitted with the squared error it is off by more than 0.5.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from neuronix import nn
from neuronix.autograd import CustomTensor, gradcheck, gradgradcheck, primitive, tensor
from neuronix.losses import MSELoss
from neuronix.optim import AdamW

SLOPE, INTERCEPT = 2.0, -1.0


@primitive
def log_cosh(x: Tensor) -> Tensor:
    """The logarithm of the hyperbolic cosine, without overflow.

    cosh x = e^|x| (1 + e^(−2|x|)) / 2, so log cosh x = |x| + log(1 + e^(−2|x|)) − log 2.
    """
    return x.abs() + torch.log1p(torch.exp(-2 * x.abs())) - math.log(2)


@log_cosh.vjp("x")
def log_cosh_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    return grad * torch.tanh(x)  # sinh x / cosh x


class LogCoshLoss(nn.Module):
    """The mean of scale · log(cosh((input − target) / scale)).

    Args:
        scale: From which size on an error counts as large.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, input: CustomTensor, target: Tensor) -> CustomTensor:
        """Compare predictions with what they should be, of the same shape."""
        loss: CustomTensor = self.scale * log_cosh((input - target) / self.scale).mean()
        return loss


def fitted_slope(loss_of: nn.Module, x: Tensor, y: Tensor) -> float:
    """The slope of the line that a loss finds."""
    torch.manual_seed(0)
    line = nn.Linear(1, 1).double()
    optimizer = AdamW(line.parameters(), lr=0.05, weight_decay=0.0)
    for _ in range(1000):
        optimizer.zero_grad()
        loss = loss_of(line(x), y)
        loss.backward()
        optimizer.step()
    return float(line.weight.item())


def main() -> None:
    """Check the operation, then fit."""
    x = tensor([-3.0, -0.5, 0.0, 1e-3, 2.0], dtype=torch.float64, requires_grad=True)
    gradcheck(log_cosh, (x,))  # raises, and says where, if the rule is wrong
    gradgradcheck(log_cosh, (x,))  # the rule is itself differentiated
    print("the rule agrees with finite differences, to second order")
    large = tensor(1000.0)
    print(f"log cosh 1000: {log_cosh(large).item():.4f}; computed as it is written: {large.cosh().log().item()}")

    generator = torch.Generator().manual_seed(0)
    points = torch.linspace(-2, 2, 200, dtype=torch.float64).unsqueeze(1)
    values = SLOPE * points + INTERCEPT + 0.1 * torch.randn(200, 1, generator=generator, dtype=torch.float64)
    values[180:] -= 15  # the wild ones, at the right end

    robust, squared = (fitted_slope(loss_of, points, values) for loss_of in (LogCoshLoss(scale=0.1), MSELoss()))
    print(f"slope with LogCoshLoss: {robust:.3f}")
    print(f"slope with MSELoss:     {squared:.3f}")
    print(f"the points were made with {SLOPE:.3f}")
    if not (abs(robust - SLOPE) < 0.05 and abs(squared - SLOPE) > 0.5):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
