"""Fit a cubic to noisy points with neuronix.autograd alone: by gradient descent, and by one step of Newton's method.

    nox -s examples                                # or, with the package installed: python examples/regression.py

Expected result: both ways end at the coefficients that linear algebra gives (the distances are
printed last: both below 1e-10), within 0.1 of those that the points were made with.
"""

from __future__ import annotations

from typing import Any

import torch

from neuronix.autograd import CustomTensor, grad, hessian, no_grad, tensor

TRUE = [1.0, -2.0, 0.0, 0.5]  # y = 1 − 2 x + 0.5 x³
STEPS = 2000


def loss_of(coefficients: CustomTensor, powers: torch.Tensor, y: torch.Tensor) -> CustomTensor:
    """The mean squared error of the polynomial."""
    loss: CustomTensor = ((powers @ coefficients - y) ** 2).mean()
    return loss


def gradient_descent(powers: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Step after step against the gradient, from zero."""
    coefficients = tensor(torch.zeros(4, dtype=torch.float64), requires_grad=True)
    for step in range(STEPS):
        loss = loss_of(coefficients, powers, y)
        loss.backward()
        slope: Any = coefficients.grad
        with no_grad():  # a change that isn't part of the computation
            coefficients -= 0.15 * slope
        coefficients.grad = None
        if step in (0, 9, 99, STEPS - 1):
            print(f"  step {step + 1:4}: loss {loss.item():.6f}")
    return coefficients.data


def newton(powers: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """One step to where the gradient vanishes; for a quadratic loss that is the minimum: −H⁻¹ ∇L."""
    start = tensor(torch.zeros(4, dtype=torch.float64), requires_grad=True)
    slope: Any = grad(loss_of(start, powers, y), start)[0]
    curvature: Any = hessian(lambda coefficients: loss_of(coefficients, powers, y), start)
    solved: torch.Tensor = torch.linalg.solve(curvature.data, slope.data)
    return -solved


def main() -> None:
    """Fit, and compare with the solution of the normal equations."""
    generator = torch.Generator().manual_seed(0)
    x = torch.linspace(-1.5, 1.5, 200, dtype=torch.float64)
    powers = torch.stack([x**k for k in range(4)], dim=1)  # (200, 4)
    noise = torch.randn(200, generator=generator, dtype=torch.float64)
    y = powers @ torch.tensor(TRUE, dtype=torch.float64) + 0.1 * noise

    print("gradient descent")
    descended = gradient_descent(powers, y)
    jumped = newton(powers, y)
    exact = torch.linalg.lstsq(powers, y.unsqueeze(1)).solution.squeeze(1)

    print("coefficients:", ", ".join(f"{value:.3f}" for value in descended.tolist()))
    print("made with:   ", ", ".join(f"{value:.3f}" for value in TRUE))
    errors = [float((found - exact).abs().max()) for found in (descended, jumped)]
    print(f"distance from the exact solution: gradient descent {errors[0]:.1e}, Newton {errors[1]:.1e}")
    if not (max(errors) < 1e-10):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
