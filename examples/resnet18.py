"""ResNet-18, in the shape that is used for CIFAR, learns which of two photographs a patch is from.

    nox -s "examples(resnet18)"                    # or, with everything installed: python examples/resnet18.py
    nox -s "examples(resnet18)" -- --short

Nothing is downloaded, so the pictures aren't CIFAR's: they are patches of 32x32 pixels from the two photographs that
scikit-learn ships, a Chinese palace and a flower.  Patches for training are from the left three quarters of each
photograph, those for the test from the right quarter, so no pixel is in both.  That is an easy task for a network of
this size (11 million parameters); it shows that the network trains, not how good it is.

Expected result: a test accuracy of at least 90 %; with ``--short``, which makes a few steps on smaller patches, a
training loss that falls.  The picture is ``resnet18/patches.png``: the loss, and test patches with what was said.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from sklearn.datasets import load_sample_image
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from neuronix import losses, nn
from neuronix.autograd import no_grad
from neuronix.optim import SGD
from neuronix.optim.lr_scheduler import OneCycleLR

PHOTOGRAPHS = ("china.jpg", "flower.jpg")


class BasicBlock(nn.Module):
    """Two convolutions, whose result is added to what came in (He et al. 2016, figure 2)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample = nn.Sequential()  # nothing, where the shape stays
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Any) -> Any:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.downsample(x))


def resnet18(classes: int) -> Any:
    """Four stages of two blocks, of 64 to 512 channels.

    For small pictures the first convolution is 3x3 without a stride, and there is no pooling behind it.
    """
    stages: list[nn.Module] = []
    for before, after, stride in [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]:
        stages += [BasicBlock(before, after, stride), BasicBlock(after, after, 1)]
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        *stages,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(512, classes),
    )


def patches(count: int, size: int, part: str) -> TensorDataset:
    """`count` patches from each photograph, (2 * count, 3, size, size), and which photograph each is from."""
    found, labels = [], []
    for label, name in enumerate(PHOTOGRAPHS):
        photograph = torch.tensor(load_sample_image(name)).permute(2, 0, 1).float() / 255  # (3, 427, 640)
        border = photograph.shape[2] * 3 // 4
        region = photograph[:, :, :border] if part == "train" else photograph[:, :, border:]
        rows = torch.randint(region.shape[1] - size + 1, (count,)).tolist()
        columns = torch.randint(region.shape[2] - size + 1, (count,)).tolist()
        found += [region[:, r : r + size, c : c + size] for r, c in zip(rows, columns, strict=True)]
        labels += [label] * count
    return TensorDataset((torch.stack(found) - 0.5) / 0.25, torch.tensor(labels))


def predicted(model: Any, data: TensorDataset) -> torch.Tensor:
    """The photograph that the model says each patch is from."""
    model.eval()
    with no_grad():
        return torch.cat([model(x).data.argmax(1) for x, _ in DataLoader(data, batch_size=64)])


def draw(history: list[float], data: TensorDataset, said: torch.Tensor, path: Path) -> None:
    """The loss along the way, and patches with what was said; a wrong answer is red."""
    mpl.use("Agg")  # needs no screen
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(10, 4))
    grid = figure.add_gridspec(3, 10)
    axes = figure.add_subplot(grid[:, :4])
    axes.semilogy(history)
    axes.set(xlabel="training step", ylabel="cross entropy", title="ResNet-18 on patches of two photographs")
    axes.grid(alpha=0.3)
    for place, index in enumerate(torch.linspace(0, len(data) - 1, 15).long().tolist()):
        picture = figure.add_subplot(grid[place // 5, 5 + place % 5])
        image, label = data[index]
        picture.imshow((image * 0.25 + 0.5).permute(1, 2, 0).clamp(0, 1).numpy())
        name = PHOTOGRAPHS[int(said[index])].removesuffix(".jpg")
        picture.set_title(name, color="black" if said[index] == label else "red", fontsize=8)
        picture.axis("off")
    figure.savefig(path, dpi=120, bbox_inches="tight")


def main() -> None:
    """Train and test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="12 steps on patches of 16x16 pixels")
    parser.add_argument("--epochs", type=int, default=2, help="passes over the training patches (default: 2)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights, patches and order (default: 0)")
    parser.add_argument("--output", type=Path, default=Path("resnet18"), help="folder for the picture")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)

    count, size, epochs = (32, 16, 3) if options.short else (512, 32, options.epochs)
    train, test = patches(count, size, "train"), patches(32 if options.short else 128, size, "test")
    loader = DataLoader(train, batch_size=16 if options.short else 32, shuffle=True)
    model = resnet18(len(PHOTOGRAPHS))
    criterion = losses.CrossEntropyLoss()
    optimizer = SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    scheduler = OneCycleLR(optimizer, max_lr=0.01, total_steps=epochs * len(loader) + 1)
    history: list[float] = []
    for epoch in range(epochs):
        progress = tqdm(loader, desc=f"epoch {epoch + 1}", unit="step")
        for images, labels in progress:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            scheduler.step()
            history.append(loss.item())
            progress.set_postfix(loss=f"{history[-1]:.4f}")

    said = predicted(model, test)
    accuracy = float((said == test.tensors[1]).double().mean())
    draw(history, test, said, options.output / "patches.png")
    first, last = (sum(part) / len(part) for part in (history[: len(loader)], history[-len(loader) :]))
    parameters = sum(parameter.data.numel() for parameter in model.parameters())
    print(f"{len(train)} training and {len(test)} test patches, {parameters:,} parameters, {len(history)} steps")
    print(f"picture: {options.output / 'patches.png'}")
    print(f"mean loss of the first epoch: {first:.4f}, of the last: {last:.4f}")
    print(f"test accuracy: {100 * accuracy:.1f} %")
    if not (last < first and (options.short or accuracy >= 0.9)):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
