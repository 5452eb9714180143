"""What each fused kernel gains: the time of the rule that it stands for, in units of its own.

    nox -s bench                                  # the table, after the other programs
    python benchmarks/kernels.py                  # the table alone
    python benchmarks/kernels.py --check          # exits with 1 where a kernel is slower than its rule
    python benchmarks/kernels.py --write          # puts the table into docs/fused-kernels.md

A kernel is found by asking the operations that are declared, and each must have a sample here.  (The test that compares
each kernel with its rule uses the same samples, so that a new kernel can't be left out of either.)  What is timed is a
backward pass through that operation alone, by the kernel and by the rule in turn; the median of the ratios counts.

The second table is of something that isn't a kernel: summing a gradient back to the shape of an argument that was
broadcast, as it is and under torch.compile (``compiled_reductions``).
"""

from __future__ import annotations

import argparse
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import neuronix.losses.functional as L
import neuronix.nn.functional as F
from neuronix.autograd import CustomTensor, compiled_reductions, grad, ops, rules_only
from neuronix.autograd.primitive import Primitive, Rule

PAGE = Path(__file__).parent.parent / "docs" / "fused-kernels.md"
# A kernel may be no slower than its rule; measured on a busy machine, so with some room.
LIMIT = 0.9


class Sizes(NamedTuple):
    """How large the samples are: for the clock, or for a test."""

    batch: int
    channels: int
    pixels: int
    rows: int
    features: int


TIMED = Sizes(batch=16, channels=32, pixels=28, rows=512, features=512)
TESTED = Sizes(batch=3, channels=4, pixels=6, rows=5, features=7)


class Sample(NamedTuple):
    """A call of an operation that has a kernel.

    Attributes:
        call: Calls it.
        inputs: The call's tensors for given sizes; all that are floating-point require grad.
    """

    call: Callable[..., Any]
    inputs: Callable[[Sizes], list[Tensor]]


def matrix(sizes: Sizes) -> Tensor:
    """Numbers on both sides of every kink of an activation function."""
    return 3 * torch.randn(sizes.rows, sizes.features)


def images(sizes: Sizes) -> Tensor:
    """A batch of images."""
    return torch.randn(sizes.batch, sizes.channels, sizes.pixels, sizes.pixels)


def classes(sizes: Sizes) -> Tensor:
    """The number of a class for each row."""
    return torch.arange(sizes.rows) % sizes.features


def convolved(sizes: Sizes) -> list[Tensor]:
    """Images, and the weight and bias of a layer."""
    return [images(sizes), torch.randn(2 * sizes.channels, sizes.channels, 3, 3), torch.randn(2 * sizes.channels)]


def normalized(width: int, x: Tensor) -> list[Tensor]:
    """What is normalised, and the weight and bias of a layer."""
    return [x, torch.rand(width) + 0.5, torch.randn(width)]


def on_matrix(call: Callable[..., Any]) -> Sample:
    """A sample of a function of a matrix."""
    return Sample(call, lambda sizes: [matrix(sizes)])


def on_pair(call: Callable[..., Any]) -> Sample:
    """A sample of a function of two matrices."""
    return Sample(call, lambda sizes: [matrix(sizes), matrix(sizes)])


def transcribed(sizes: Sizes) -> list[Tensor]:
    """Logarithms of probabilities at each time, and sequences of labels for them with both lengths."""
    steps, labels = sizes.pixels, sizes.pixels // 3
    targets = 1 + torch.arange(sizes.batch * labels).reshape(sizes.batch, labels) % (sizes.channels - 1)
    log_probs = torch.randn(steps, sizes.batch, sizes.channels).log_softmax(-1)
    return [log_probs, targets, torch.full((sizes.batch,), steps), torch.full((sizes.batch,), labels)]


def sampled(sizes: Sizes) -> list[Tensor]:
    """Images, and places in them and a little beyond."""
    return [images(sizes), 1.2 * (2 * torch.rand(sizes.batch, sizes.pixels, sizes.pixels, 2) - 1)]


def sequences(gates: int, parts: int) -> Callable[[Sizes], list[Tensor]]:
    """Sequences, the parts of the first state, and the parameters of a layer with so many gates."""

    def inputs(sizes: Sizes) -> list[Tensor]:
        x, *others = one_step(gates, parts)(sizes)
        states, weights = [part.unsqueeze(0) for part in others[:parts]], others[parts:]
        return [torch.randn(sizes.pixels, *x.shape), *states, *weights]

    return inputs


def one_step(gates: int, parts: int) -> Callable[[Sizes], list[Tensor]]:
    """The same for a single step."""

    def inputs(sizes: Sizes) -> list[Tensor]:
        size = 2 * sizes.channels
        batch = [torch.randn(sizes.batch, size) for _ in range(1 + parts)]
        return [*batch, *(torch.randn(gates * size, *shape) / size**0.5 for shape in [(size,), (size,), (), ()])]

    return inputs


def network(call: Callable[..., Any]) -> Callable[..., Any]:
    """The outputs of a recurrent network of one layer, in one direction."""
    return lambda x, h, *parameters: call(x, h, parameters, True, 1, 0.0, True, False, False)[0]


# By the file and the name of the operation.
SAMPLES: dict[str, Sample] = {
    "activations.relu": on_matrix(ops.relu),
    "activations.threshold_": on_matrix(lambda x: ops.threshold(x, 0.5, -1.0)),
    "activations.leaky_relu_": on_matrix(ops.leaky_relu),
    "activations.hardtanh_": on_matrix(ops.hardtanh),
    "activations.hardsigmoid_": on_matrix(ops.hardsigmoid),
    "activations.hardswish_": on_matrix(ops.hardswish),
    "activations.elu_": on_matrix(ops.elu),
    "activations.gelu": on_matrix(ops.gelu),
    "activations.silu_": on_matrix(ops.silu),
    "activations.softplus": on_matrix(ops.softplus),
    "activations.mish_": on_matrix(ops.mish),
    "activations.softmax": on_matrix(lambda x: ops.softmax(x, -1)),
    "activations.log_softmax": on_matrix(lambda x: ops.log_softmax(x, -1)),
    "elementwise.tanh": on_matrix(ops.tanh),
    "elementwise.sigmoid": on_matrix(ops.sigmoid),
    "convolution.convolution_": Sample(lambda x, w, b: F.conv2d(x, w, b, padding=1), convolved),
    "pooling.max_pool": Sample(lambda x: F.max_pool2d(x, 2), lambda sizes: [images(sizes)]),
    "sampling.grid_sampler_": Sample(lambda x, grid: F.grid_sample(x, grid, align_corners=False), sampled),
    "elman.elman_layer": Sample(network(F.rnn_tanh), sequences(gates=1, parts=1)),
    "gru.gru_layer": Sample(network(F.gru), sequences(gates=3, parts=1)),
    "gru.gru_update": Sample(F.gru_cell, one_step(gates=3, parts=1)),
    "lstm.lstm_layer": Sample(
        lambda x, h, c, *parameters: network(F.lstm)(x, (h, c), *parameters), sequences(gates=4, parts=2)
    ),
    "lstm.lstm_update": Sample(
        lambda x, h, c, *parameters: F.lstm_cell(x, (h, c), *parameters)[0], one_step(gates=4, parts=2)
    ),
    "normalization.batch_norm_training": Sample(
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        lambda sizes: normalized(sizes.channels, images(sizes)),
    ),
    "normalization.group_norm_channels": Sample(
        lambda x, w, b: F.group_norm(x, x.shape[1] // 2, w, b),
        lambda sizes: normalized(sizes.channels, images(sizes)),
    ),
    "normalization.layer_norm_features": Sample(
        lambda x, w, b: F.layer_norm(x, (x.shape[-1],), w, b),
        lambda sizes: normalized(sizes.features, matrix(sizes)),
    ),
    "regression.mse_loss_": on_pair(L.mse_loss),
    "regression.smooth_l1_loss_": on_pair(L.smooth_l1_loss),
    "regression.huber_loss_": on_pair(L.huber_loss),
    "binary.binary_cross_entropy_": Sample(
        L.binary_cross_entropy, lambda sizes: [torch.sigmoid(matrix(sizes)), torch.sigmoid(matrix(sizes))]
    ),
    "ctc.ctc_": Sample(L.ctc_loss, transcribed),
    "classification.nll_loss_": Sample(L.nll_loss, lambda sizes: [torch.log_softmax(matrix(sizes), 1), classes(sizes)]),
}


class Kernel(NamedTuple):
    """A kernel, and where its operation is declared."""

    operation: str
    primitive: Primitive
    rule: Rule

    @property
    def name(self) -> str:
        """Which gradients of which operation."""
        return f"{self.primitive.name}: {', '.join(self.rule.wrt)}"

    @property
    def replaced(self) -> Rule:
        """The rule that it stands for."""
        return self.primitive.rules[self.rule.wrt[0]]


def kernels() -> Iterator[Kernel]:
    """Every kernel of every operation that is declared in the four packages."""
    seen: set[int] = set()
    modules = [sys.modules[name] for name in sorted(sys.modules) if name.startswith("neuronix.")]
    for module in modules:
        for function in list(vars(module).values()):
            op = getattr(function, "primitive", None)
            if not isinstance(op, Primitive) or id(op) in seen:
                continue
            seen.add(id(op))
            operation = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
            for rule in {id(rule): rule for rule in op.kernels.values()}.values():
                yield Kernel(operation, op, rule)


class Pass(NamedTuple):
    """A forward pass that has been run, and what a backward pass needs."""

    inputs: list[CustomTensor]
    result: CustomTensor
    gradient: Tensor

    def backward(self) -> list[Tensor]:
        """The gradients of all inputs that have one."""
        wanted = [value for value in self.inputs if value.requires_grad]
        found = grad(self.result, wanted, self.gradient, retain_graph=True, allow_unused=True)
        return [gradient.data for gradient in found if gradient is not None]


def forward(sample: Sample, sizes: Sizes, dtype: torch.dtype, wanted: int | None = None) -> Pass:
    """Run a sample; of its inputs all require grad that can, or the one at the place ``wanted``."""
    torch.manual_seed(0)
    inputs = [
        CustomTensor(value.to(dtype), requires_grad=wanted is None or place == wanted)
        if value.is_floating_point()
        else CustomTensor(value)
        for place, value in enumerate(sample.inputs(sizes))
    ]
    result = sample.call(*inputs)
    return Pass(inputs, result, torch.randn(result.shape, dtype=dtype))


def compare(slow: Callable[[], Any], fast: Callable[[], Any], seconds: float) -> tuple[float, float, float]:
    """The median times of two programs that run in turn, in seconds, and the median of their ratios."""
    for _ in range(3):
        slow()
        fast()
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + seconds
    while len(times[0]) < 5 or time.perf_counter() < end:
        for program, measured in zip((slow, fast), times, strict=True):
            start = time.perf_counter()
            program()
            measured.append(time.perf_counter() - start)
    ratios = [a / b for a, b in zip(*times, strict=True)]
    return statistics.median(times[0]), statistics.median(times[1]), statistics.median(ratios)


class Line(NamedTuple):
    """A line of either table."""

    name: str
    stands_for: str
    size: str
    slow: float
    fast: float
    ratio: float


def measure_kernel(kernel: Kernel, seconds: float) -> Line:
    """Time a kernel against its rule."""
    # A kernel of one argument is timed with that argument alone: an operation has its tensors in the rule's order.
    place = None if len(kernel.rule.wrt) > 1 else list(kernel.primitive.rules).index(kernel.rule.wrt[0])
    run = forward(SAMPLES[kernel.operation], TIMED, torch.float32, place)

    def by_rule() -> None:
        with rules_only():
            run.backward()

    slow, fast, ratio = compare(by_rule, run.backward, seconds)
    size = "x".join(map(str, run.inputs[0].shape))
    return Line(kernel.name, kernel.replaced.function.__name__, size, slow, fast, ratio)


REDUCTIONS: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = [
    ("a bias of a small layer", (64, 10), (10,)),
    ("a bias of a large layer", (512, 2048), (2048,)),
    ("positions of a sequence", (8, 64, 128), (64, 128)),
    ("one number for each channel", (16, 32, 28, 28), (32, 1, 1)),
    ("one number for everything", (512, 512), ()),
]


def measure_reduction(name: str, shape: tuple[int, ...], argument: tuple[int, ...], seconds: float) -> Line:
    """Time a broadcast addition's backward pass as it is, and with the sum compiled."""
    x, y = CustomTensor(torch.randn(shape)), CustomTensor(torch.randn(argument), requires_grad=True)
    run = Pass([y], x + y, torch.randn(shape))

    def by_compiled() -> None:
        with compiled_reductions():
            run.backward()

    slow, fast, ratio = compare(run.backward, by_compiled, seconds)
    return Line(name, str(argument), str(shape), slow, fast, ratio)


def table(heads: tuple[str, ...], lines: list[Line]) -> str:
    """Lines as a Markdown table."""
    rows = [
        f"| {line.name} | `{line.stands_for}` | {line.size} | {line.slow * 1e3:.2f} | {line.fast * 1e3:.2f} "
        f"| {line.ratio:.1f} |"
        for line in lines
    ]
    return "\n".join([f"| {' | '.join(heads)} |", "|---|---|---|---:|---:|---:|", *rows])


def write(name: str, text: str) -> None:
    """Put a table between its markers on the page."""
    page = PAGE.read_text(encoding="utf-8")
    marked = re.compile(rf"(<!-- {name}: .*?-->\n).*?(<!-- end -->)", re.DOTALL)
    page, found = marked.subn(lambda match: f"{match[1]}\n{text}\n\n{match[2]}", page)
    if found != 1:
        raise SystemExit(f"{PAGE} has {found} places for the table {name!r}")
    PAGE.write_text(page, encoding="utf-8")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a kernel is slower than its rule")
    parser.add_argument("--only", help="names of operations, separated by commas")
    parser.add_argument("--seconds", type=float, default=6.0, help="time for all kernels together (default: 6)")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/fused-kernels.md")
    options = parser.parse_args()
    wanted = None if options.only is None else options.only.split(",")
    chosen = [kernel for kernel in kernels() if wanted is None or kernel.primitive.name in wanted]
    share = options.seconds / max(1, len(chosen) + len(REDUCTIONS))
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()} thread(s)\n")
    gains = [measure_kernel(kernel, share) for kernel in chosen]
    gains.sort(key=lambda line: -line.ratio)
    kernel_table = table(("kernel", "rule", "size", "rule, ms", "kernel, ms", "gain"), gains)
    print(kernel_table)
    if wanted is None:
        sums = [measure_reduction(*case, share) for case in REDUCTIONS]
        heads = ("gradient of", "summed to", "from", "as it is, ms", "compiled, ms", "gain")
        print("\n" + table(heads, sums))
        if options.write:
            write("kernels", kernel_table)
            write("reductions", table(heads, sums))
    slower = [f"{line.name}: {line.ratio:.2f} < {LIMIT:.2f}" for line in gains if line.ratio < LIMIT]
    if options.check and slower:
        raise SystemExit("a kernel is slower than its rule: " + ", ".join(slower))


if __name__ == "__main__":
    main()
