"""The programs that the benchmarks run, each written once for both libraries.

What differs between the two sides is in `Library`: whose layers, losses and optimizers are used, and how a leaf is
made.  Everything else is the same source, so that a ratio compares libraries and not programs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from neuronix import losses, nn, optim
from neuronix.autograd import CustomTensor

CLASSES = 10
VOCABULARY = 256


class Library(NamedTuple):
    """One side of a comparison.

    Attributes:
        name: What tables call it.
        nn: Its layers.
        losses: Its losses.
        optim: Its optimizers.
        leaf: Makes a tensor that requires grad.
        constant: Makes one that doesn't.
    """

    name: str
    nn: Any
    losses: Any
    optim: Any
    leaf: Callable[[Tensor], Any]
    constant: Callable[[Tensor], Any]


NEURONIX = Library(
    "Neuronix", nn, losses, optim, lambda values: CustomTensor(values.clone(), requires_grad=True), CustomTensor
)
PYTORCH = Library(
    "PyTorch", torch.nn, torch.nn, torch.optim, lambda values: values.clone().requires_grad_(), lambda values: values
)
SIDES = (NEURONIX, PYTORCH)


class Training:
    """A model that is being trained, on one side.

    The parts of a step are methods, so that each can be timed by itself.
    """

    def __init__(self, model: Any, criterion: Any, optimizer: Any, inputs: Tensor, targets: Tensor) -> None:
        self.model = model
        self.criterion = criterion
        self.optimizer = optimizer
        self.inputs = inputs
        self.targets = targets

    def forward(self) -> Any:
        """The loss."""
        return self.criterion(self.model(self.inputs), self.targets)

    def passes(self) -> None:
        """Forward and backward, without an optimizer."""
        self.forward().backward()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad()

    def step(self) -> Any:
        """A full training step; returns the loss."""
        loss = self.forward()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss


class Workload(NamedTuple):
    """A model with its data and its optimizer.

    Attributes:
        build: Makes the model of one side, from that side's layers.
        data: Makes the inputs and the targets.
        optimizer: Makes the optimizer; ``options`` are for it (as PyTorch's ``fused``).
    """

    build: Callable[[Any], Any]
    data: Callable[[], tuple[Tensor, Tensor]]
    optimizer: Callable[..., Any]

    def on(self, library: Library, **options: Any) -> Training:
        """The workload on one side: equal parameters and data on both."""
        torch.manual_seed(0)
        reference = self.build(torch.nn)
        model = self.build(library.nn)
        model.load_state_dict(reference.state_dict())
        inputs, targets = self.data()
        optimizer = self.optimizer(library.optim, model.parameters(), **options)
        return Training(model, library.losses.CrossEntropyLoss(), optimizer, inputs, targets)


# A step costs the same whatever its rate is, but a model that is shown one batch a thousand times would learn it by
# heart, and the squares of its gradients become denormal numbers, with which a processor takes many times as long.
RATE = 1e-6


def adamw(optim: Any, parameters: Any, **options: Any) -> Any:
    """AdamW with its defaults."""
    return optim.AdamW(parameters, lr=RATE, **options)


def sgd(optim: Any, parameters: Any, **options: Any) -> Any:
    """Gradient descent with momentum."""
    return optim.SGD(parameters, lr=RATE, momentum=0.9, **options)


def chain(library: Library, operations: int = 2000) -> Callable[[], None]:
    """Multiplications and additions on 4x4 matrices, forward and backward: the overhead of an operation."""
    torch.manual_seed(0)
    values = torch.randn(4, 4)
    factor = library.constant(torch.full((4, 4), 0.999))

    def run() -> None:
        x = library.leaf(values)
        for _ in range(operations // 2):
            x = x * factor
            x = x + factor
        x.sum().backward()

    return run


def live_graph(library: Library, operations: int = 100_000) -> Any:
    """The result of an unrelated history, which lives as long as the result does."""
    x = library.leaf(torch.ones(()))
    for _ in range(operations):
        x = x + 1.0
    return x


def images(batch: int, channels: int, pixels: int) -> tuple[Tensor, Tensor]:
    """Images and their classes."""
    return torch.randn(batch, channels, pixels, pixels), torch.randint(0, CLASSES, (batch,))


def mlp(nn: Any, widths: tuple[int, ...] = (784, 256, 256)) -> Any:
    """Linear layers with ReLU between them."""
    layers: list[Any] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], CLASSES))


def cnn(nn: Any, channels: tuple[int, int] = (16, 32), pixels: int = 28) -> Any:
    """Two blocks of convolution, batch normalisation, ReLU and pooling, and a linear layer."""
    first, second = channels
    return nn.Sequential(
        nn.Conv2d(1, first, 3, padding=1), nn.BatchNorm2d(first), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(first, second, 3, padding=1), nn.BatchNorm2d(second), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(second * (pixels // 4) ** 2, CLASSES),
    )  # fmt: skip


def resnet(nn: Any, widths: tuple[int, ...] = (64, 128, 256, 512), depth: int = 2) -> Any:
    """ResNet-18 for small images (He et al. 2016): a 3x3 stem, four stages of two basic blocks, the mean, a layer."""

    class Block(nn.Module):  # type: ignore[misc]  # of either library
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(outputs)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)
            self.relu = nn.ReLU()
            self.shortcut = nn.Sequential()
            if stride != 1 or inputs != outputs:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
                )

        def forward(self, x: Any) -> Any:
            out = self.relu(self.bn1(self.conv1(x)))
            return self.relu(self.bn2(self.conv2(out)) + self.shortcut(x))

    layers = [nn.Conv2d(3, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()]
    inputs = widths[0]
    for stage, outputs in enumerate(widths):
        for block in range(depth):
            layers.append(Block(inputs, outputs, stride=2 if stage > 0 and block == 0 else 1))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, CLASSES))


def gpt(nn: Any, width: int = 128, heads: int = 4, layers: int = 2, tokens: int = 64) -> Any:
    """A decoder-only transformer; attention is written out as matrix products and a softmax."""

    class Attention(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.qkv = nn.Linear(width, 3 * width)
            self.project = nn.Linear(width, width)
            self.register_buffer("future", torch.ones(tokens, tokens, dtype=torch.bool).triu(1))

        def forward(self, x: Any) -> Any:
            batch, length, _ = x.shape
            q, k, v = (
                part.view(batch, length, heads, width // heads).transpose(1, 2)  # (batch, head, token, feature)
                for part in self.qkv(x).split(width, dim=-1)
            )
            scores = (q @ k.transpose(-2, -1)) / math.sqrt(width // heads)
            attention = scores.masked_fill(self.future, float("-inf")).softmax(dim=-1)
            return self.project((attention @ v).transpose(1, 2).reshape(batch, length, width))

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.norm1 = nn.LayerNorm(width)
            self.attention = Attention()
            self.norm2 = nn.LayerNorm(width)
            self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

        def forward(self, x: Any) -> Any:
            x = x + self.attention(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    class Transformer(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Embedding(VOCABULARY, width)
            self.position = nn.Embedding(tokens, width)
            self.blocks = nn.Sequential(*(Block() for _ in range(layers)))
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, VOCABULARY)

        def forward(self, indices: Tensor) -> Any:
            x = self.token(indices) + self.position(torch.arange(indices.shape[1]))
            return self.head(self.norm(self.blocks(x))).flatten(0, 1)

    return Transformer()


def sequences(batch: int, tokens: int) -> tuple[Tensor, Tensor]:
    """Sequences of tokens, and for each token the one that follows it."""
    text = torch.randint(0, VOCABULARY, (batch, tokens + 1))
    return text[:, :-1].contiguous(), text[:, 1:].flatten()


WORKLOADS: dict[str, Workload] = {
    "mlp": Workload(mlp, lambda: (torch.randn(64, 784), torch.randint(0, CLASSES, (64,))), adamw),
    "cnn": Workload(cnn, lambda: images(64, 1, 28), adamw),
    "resnet": Workload(resnet, lambda: images(16, 3, 32), sgd),
    "gpt": Workload(gpt, lambda: sequences(8, 64), adamw),
}

# The same models, small enough for a test.
SMALL: dict[str, Workload] = {
    "mlp": Workload(
        lambda nn: mlp(nn, (20, 16, 16)), lambda: (torch.randn(8, 20), torch.randint(0, CLASSES, (8,))), adamw
    ),
    "cnn": Workload(lambda nn: cnn(nn, (4, 6), 8), lambda: images(4, 1, 8), adamw),
    "resnet": Workload(lambda nn: resnet(nn, (4, 6, 8, 10)), lambda: images(4, 3, 16), sgd),
    "gpt": Workload(lambda nn: gpt(nn, 16, 2, 2, 8), lambda: sequences(3, 8), adamw),
}
