"""Watch the curvature of a loss while a small network learns: the edge of stability.

    nox -s "examples(hessian)"                     # or, with everything installed: python examples/hessian.py
    nox -s "examples(hessian)" -- --short

A network with 41 parameters learns to tell two moons apart by plain gradient descent, all points at once.  Along the
way the largest eigenvalue of the loss's Hessian is found by power iteration on Hessian-vector products, which never
form the matrix, and compared with the eigenvalues of the whole Hessian, which here is small enough to be computed.
Gradient descent with the learning rate η is stable on a parabola of curvature λ as long as λ < 2/η.

Expected result: both ways agree to a relative 1e-8 at every point.  The curvature rises during training; without
``--short`` it comes to 2/η and stays there, within a tenth (Cohen et al., "Gradient descent on neural networks
typically occurs at the edge of stability", ICLR 2021).
The picture is ``hessian/curvature.png``: curvature and loss along the way, and the spectrum at the end.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from sklearn.datasets import make_moons
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from neuronix import losses
from neuronix.autograd import hessian, hvp, tensor

HIDDEN = 10
SIZES = (2 * HIDDEN, HIDDEN, HIDDEN, 1)  # weights and biases of the two layers
PROMISED_DIFFERENCE = 1e-8


def moons(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (200, 2), and the moon that each is of, -1 or 1 (200, 1)."""
    points, labels = make_moons(200, noise=0.1, random_state=seed)
    return torch.tensor(points), torch.tensor(labels).double().mul(2).sub(1).unsqueeze(1)


def loss_of(parameters: Any, x: torch.Tensor, y: torch.Tensor) -> Any:
    """The squared error of the network whose parameters are one vector."""
    weight, bias, out, offset = parameters.split(SIZES)
    hidden = torch.tanh(x @ weight.reshape(2, HIDDEN) + bias)
    return losses.functional.mse_loss(hidden @ out.reshape(HIDDEN, 1) + offset, y)


def largest_eigenvalue(loss: Any, at: torch.Tensor, iterations: int = 10_000) -> float:
    """The eigenvalue of the Hessian that is largest in size, by power iteration: v ← Hv / |Hv|."""
    v = torch.randn(at.shape, dtype=at.dtype)
    v /= v.norm()
    value = 0.0
    for _ in range(iterations):
        product = hvp(loss, at, v)[1].data
        before, value = value, float(v @ product)  # Rayleigh's quotient
        v = product / product.norm()
        if abs(value - before) <= 1e-13 * abs(value):
            break
    return value


def draw(
    steps: list[int], sharpness: list[float], history: list[float], spectrum: Any, rate: float, path: Path
) -> None:
    """The curvature and the loss along the way, and the spectrum at the end."""
    mpl.use("Agg")  # needs no screen
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    left.plot(steps, sharpness, marker="o", markersize=3, label="largest eigenvalue")
    left.axhline(2 / rate, linestyle="--", color="black", linewidth=1, label="2 / learning rate")
    left.set(xlabel="step of gradient descent", ylabel="curvature", xscale="log", title="The edge of stability")
    below = left.twinx()
    below.semilogy(history, color="tab:orange", alpha=0.6, linewidth=1)
    below.set_ylabel("loss", color="tab:orange")
    left.legend(loc="lower right")
    right.plot(sorted(spectrum.tolist(), reverse=True), marker=".", linestyle="none")
    right.set(xlabel="number", ylabel="eigenvalue", title="The spectrum at the end", yscale="symlog")
    right.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Train, and look at the Hessian along the way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="400 steps instead of 8,000")
    parser.add_argument("--learning-rate", type=float, default=0.2, help="η (default: 0.2)")
    parser.add_argument("--seed", type=int, default=0, help="of the points and the first weights (default: 0)")
    parser.add_argument("--output", type=Path, default=Path("hessian"), help="folder for the picture")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)  # a network as small as this: threads would take longer to meet than to compute

    data = TensorDataset(*moons(options.seed))
    everything = DataLoader(data, batch_size=len(data))  # one batch: gradient descent without noise
    parameters: Any = tensor(torch.randn(sum(SIZES), dtype=torch.float64) * 0.3, requires_grad=True)
    steps, looks = (400, 5) if options.short else (8_000, 40)
    when = {round(steps ** (look / (looks - 1))) for look in range(looks)}  # the further, the rarer
    history: list[float] = []
    looked, sharpness, difference = [], [], 0.0
    for step in tqdm(range(steps), desc="training", unit="step"):
        for x, y in everything:
            loss = loss_of(parameters, x, y)
            parameters.grad = None
            loss.backward()
            parameters.data.sub_(options.learning_rate * parameters.grad)
            history.append(loss.item())
        if step + 1 in when:
            at = parameters.data.clone()
            found = largest_eigenvalue(lambda p, x=x, y=y: loss_of(p, x, y), at)
            matrix: Any = hessian(lambda p, x=x, y=y: loss_of(p, x, y), at)
            spectrum = torch.linalg.eigvalsh(matrix.data)
            exact = float(spectrum[spectrum.abs().argmax()])
            difference = max(difference, abs(found - exact) / abs(exact))
            looked.append(step + 1)
            sharpness.append(found)

    draw(looked, sharpness, history, spectrum, options.learning_rate, options.output / "curvature.png")
    edge = 2 / options.learning_rate
    print(f"picture: {options.output / 'curvature.png'}")
    print(f"loss: from {history[0]:.4f} to {history[-1]:.4f} in {steps} steps")
    print(f"largest eigenvalue: from {sharpness[0]:.3f} to {sharpness[-1]:.3f}, 2 / learning rate is {edge:.3f}")
    print(f"largest relative difference from the eigenvalues of the whole Hessian: {difference:.1e}")
    at_edge = options.short or abs(sharpness[-1] - edge) < edge / 10
    if not (difference <= PROMISED_DIFFERENCE and sharpness[0] < sharpness[-1] and at_edge):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
