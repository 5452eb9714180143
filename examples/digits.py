"""Learn to read handwritten digits, and check every number against PyTorch.

    nox -s quickstart                              # or, with everything installed: python examples/digits.py
    nox -s quickstart -- --epochs 2 --float32

A small convolutional network is trained on the 1,797 scanned digits that scikit-learn ships (8x8 pixels, from the UCI
Machine Learning Repository; nothing is downloaded).  The same network, from the same weights and on the same batches,
is trained in PyTorch beside it.  At the end all parameters, the running statistics of the batch normalisations and the
test logits of the two are compared.

Expected result with the default options: a test accuracy of at least 97 %, and a largest difference below 1e-9.
Pictures go to ``quickstart/``: ``loss.png``, and ``graph.svg``, the computation graph of one training step.
"""

from __future__ import annotations

import argparse
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from neuronix import losses, nn, optim
from neuronix.autograd import AutogradGraph, no_grad
from neuronix.autograd.drawing import record_gradients

BATCH_SIZE = 64
LEARNING_RATE = 3e-3
PROMISED_DIFFERENCE = 1e-9  # in float64


def network(nn: Any) -> Any:
    """The network, from ``neuronix.nn`` or from ``torch.nn``: names and arguments are the same."""
    # A convolution before a normalisation needs no bias: the normalisation has one.  Shapes are without the batch axis.
    return nn.Sequential(
        nn.Conv2d(1, 16, kernel_size=3, padding=1, bias=False),  # (1, 8, 8) -> (16, 8, 8)
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),  # (16, 4, 4)
        nn.Conv2d(16, 32, kernel_size=3, padding=1, bias=False),  # (32, 4, 4)
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),  # (32, 2, 2)
        nn.Flatten(),  # (128,)
        nn.Linear(128, 10),  # a logit for each digit
    )


def digits(dtype: torch.dtype) -> tuple[TensorDataset, TensorDataset]:
    """Training and test set; images are (1, 8, 8) with values from 0 to 1."""
    bunch = load_digits()
    images = torch.tensor(bunch.images, dtype=dtype).div(16).unsqueeze(1)
    labels = torch.tensor(bunch.target)
    train, test = train_test_split(range(len(labels)), test_size=0.2, stratify=bunch.target, random_state=0)
    return TensorDataset(images[train], labels[train]), TensorDataset(images[test], labels[test])


def largest_difference(model: Any, reference: Any, images: torch.Tensor) -> float:
    """The largest difference over all parameters, running statistics and logits of the two trained networks."""
    ours, theirs = model.state_dict(), reference.state_dict()
    pairs = [(ours[name], theirs[name]) for name in theirs]
    with no_grad(), torch.no_grad():
        pairs.append((model(images).data, reference(images)))
    return max(float((a - b).abs().max()) for a, b in pairs)


def draw_losses(ours: list[float], theirs: list[float], path: Path) -> None:
    """Both loss curves; the second one is dashed so that the first shows through."""
    mpl.use("Agg")  # needs no screen
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    axes.semilogy(ours, label="Neuronix", linewidth=3, alpha=0.6)
    axes.semilogy(theirs, label="PyTorch", linestyle="--", color="black", linewidth=1)
    axes.set(xlabel="training step", ylabel="cross entropy", title="Training on handwritten digits")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120, bbox_inches="tight")


def draw_graph(model: Any, criterion: Any, images: torch.Tensor, labels: torch.Tensor, path: Path) -> None:
    """The computation graph of one training step, with names, shapes and the sizes of the gradients."""
    with AutogradGraph() as graph:
        loss = criterion(model(images), labels)
        with record_gradients(loss):
            loss.backward()
        graph.to_svg(path, names=dict(model.named_parameters()), title="One training step")
    model.zero_grad()


def main() -> None:
    """Train both networks and compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=12, help="passes over the training set (default: 12)")
    parser.add_argument("--short", action="store_true", help="one pass only")
    parser.add_argument("--float32", action="store_true", help="compute in float32 instead of float64")
    parser.add_argument("--output", type=Path, default=Path("quickstart"), help="folder for the pictures")
    options = parser.parse_args()
    if options.short:
        options.epochs = 1
    if options.epochs < 1:
        parser.error(f"--epochs must be at least 1, not {options.epochs}")
    options.output.mkdir(parents=True, exist_ok=True)
    dtype = torch.float32 if options.float32 else torch.float64
    torch.manual_seed(0)
    torch.set_num_threads(1)  # layers as small as these: threads would take longer to meet than to compute

    train, test = digits(dtype)
    test_images, test_labels = test.tensors
    model = network(nn).to(dtype)
    reference = network(torch.nn).to(dtype)
    reference.load_state_dict(model.state_dict())

    criterion, torch_criterion = losses.CrossEntropyLoss(), torch.nn.CrossEntropyLoss()
    optimizer = optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    torch_optimizer = torch.optim.AdamW(reference.parameters(), lr=LEARNING_RATE)

    history: list[float] = []
    torch_history: list[float] = []
    loader = DataLoader(train, batch_size=BATCH_SIZE, shuffle=True)  # a new order in every epoch
    epochs = chain.from_iterable(repeat(loader, options.epochs))
    progress = tqdm(epochs, total=options.epochs * len(loader), desc="training", unit="step")
    for images, labels in progress:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()

        torch_optimizer.zero_grad()
        torch_loss = torch_criterion(reference(images), labels)
        torch_loss.backward()
        torch_optimizer.step()

        history.append(loss.item())
        torch_history.append(torch_loss.item())
        progress.set_postfix(loss=f"{history[-1]:.4f}")

    model.eval()
    reference.eval()
    with no_grad():
        accuracy = float((model(test_images).argmax(1).data == test_labels).double().mean())
    difference = largest_difference(model, reference, test_images)

    draw_losses(history, torch_history, options.output / "loss.png")
    model.train()
    draw_graph(model, criterion, images, labels, options.output / "graph.svg")

    print(f"{len(train)} training and {len(test)} test images, {len(history)} steps, {dtype}")
    print(f"pictures: {options.output / 'loss.png'} and {options.output / 'graph.svg'}")
    print(f"test accuracy: {100 * accuracy:.1f} %")
    print(f"largest difference from PyTorch: {difference:.1e}")
    if dtype is torch.float64 and not difference <= PROMISED_DIFFERENCE:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
