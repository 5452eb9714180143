"""A compiled training step does what the step does: models, layers, losses and optimizers together.

Most tests compile with ``aot_eager``, which runs the traced graph without making code of it; those that need a C++
compiler are at the end.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from benchmark_modules import benchmark
from torch.testing import assert_close

from neuronix import losses, nn, optim
from neuronix.autograd import CustomTensor, compile, errors, no_grad

workloads = benchmark("workloads")

# The loss of each step is held to 1e-9 and all state after the last one, too: the tolerance that is promised.
FLOAT64 = {"rtol": 1e-9, "atol": 1e-9}


class Trainer:
    """A model in training, whose step can be compiled."""

    def __init__(
        self, name: str, optimizer: str, options: dict[str, Any], dtype: torch.dtype = torch.float64, zero: bool = True
    ) -> None:
        torch.manual_seed(0)
        self.model = workloads.SMALL[name].build(nn).to(dtype)
        # A bias that a batch normalisation or a softmax cancels has a gradient of nothing but rounding, of which Adam's
        # first steps take the sign.
        for module in self.model.modules():
            if isinstance(module, nn.Conv2d) or getattr(module, "out_features", None) == 3 * 16:
                module.bias = None
        self.inputs, self.targets = workloads.SMALL[name].data()
        if self.inputs.is_floating_point():
            self.inputs = self.inputs.to(dtype)
        self.criterion = losses.CrossEntropyLoss()
        self.optimizer = getattr(optim, optimizer)(self.model.parameters(), **options)
        self.zero = zero

    def step(self, inputs: torch.Tensor, targets: torch.Tensor) -> CustomTensor:
        loss = self.criterion(self.model(inputs), targets)
        loss.backward()
        self.optimizer.step()
        if self.zero:
            self.optimizer.zero_grad()
        return loss

    def compiled(self, backend: str = "aot_eager") -> Any:
        return compile(self.step, state=(self.model, self.optimizer), backend=backend)

    def state(self) -> dict[str, Any]:
        """Copies of everything that a step may change."""
        return copy.deepcopy(
            {
                "model": dict(self.model.state_dict()),
                "gradients": [parameter.grad for parameter in self.model.parameters()],
                "optimizer": self.optimizer.state_dict(),
            }
        )

    def batch(self, seed: int) -> torch.Tensor:
        """Inputs like the first ones."""
        generator = torch.Generator().manual_seed(seed)
        if self.inputs.is_floating_point():
            return torch.randn(self.inputs.shape, generator=generator, dtype=self.inputs.dtype)
        return torch.randint(0, workloads.VOCABULARY, self.inputs.shape, generator=generator)


def assert_same(found: Any, expected: Any, where: str = "state", **tolerance: float) -> None:
    """Compare nested states; equal `None`s and numbers, near tensors."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for name in expected:
            assert_same(found[name], expected[name], f"{where}[{name!r}]", **tolerance)
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), where
        for number, pair in enumerate(zip(found, expected, strict=True)):
            assert_same(*pair, f"{where}[{number}]", **tolerance)
    elif isinstance(expected, torch.Tensor):
        assert_close(found, expected, **tolerance, msg=lambda text: f"{where}: {text}")
    else:
        assert found == expected, where


OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
    "Adam": {"lr": 1e-3, "weight_decay": 1e-2},
    "AdamW": {"lr": 1e-3, "amsgrad": True},
    "Lion": {"lr": 1e-4, "weight_decay": 0.1},
    "RMSprop": {"lr": 1e-3, "momentum": 0.5, "centered": True},
    "Adagrad": {"lr": 1e-2, "lr_decay": 1e-2},
    "Adadelta": {},
    "Adamax": {"lr": 1e-3},
    "NAdam": {"lr": 1e-3},
    "RAdam": {"lr": 1e-2},
    "ASGD": {"lr": 1e-2},
    "Rprop": {"lr": 1e-3},
    "Momentum": {"lr": 0.05, "momentum": 0.9},
    "Nesterov": {"lr": 0.05, "momentum": 0.9},
}
CASES = [
    *(("mlp", name) for name in OPTIMIZERS),
    ("cnn", "SGD"),
    ("cnn", "AdamW"),
    ("gpt", "AdamW"),
]


@pytest.mark.parametrize(("model", "optimizer"), CASES)
def test_twenty_steps_give_the_state_of_twenty_eager_ones(model: str, optimizer: str) -> None:
    ours, plain = (Trainer(model, optimizer, OPTIMIZERS[optimizer]) for _ in range(2))
    run = ours.compiled()
    schedules = [optim.lr_scheduler.CosineAnnealingLR(side.optimizer, T_max=20) for side in (ours, plain)]
    for turn in range(20):
        inputs = ours.batch(turn)
        found, expected = run(inputs, ours.targets), plain.step(inputs, plain.targets)
        assert_close(found.data, expected.data, **FLOAT64)
        for schedule in schedules:
            schedule.step()
    assert_same(ours.state(), plain.state(), **FLOAT64)
    # The first step may make state (a momentum) that later ones only change; no learning rate makes a new graph.
    assert run.compilations <= 2


@pytest.mark.parametrize(
    ("name", "dtype"), [("RNN", torch.float64), ("GRU", torch.float64), ("LSTM", torch.float32)], ids=str
)
def test_recurrent_networks(name: str, dtype: torch.dtype) -> None:
    """In single precision an LSTM's eager step takes oneDNN's kernels, which a traced one doesn't."""
    tolerance = FLOAT64 if dtype is torch.float64 else {"rtol": 1e-5, "atol": 1e-5}

    def made() -> tuple[Any, Any, Any]:
        torch.manual_seed(0)
        model = getattr(nn, name)(3, 4, dtype=dtype)
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        def step(x: torch.Tensor) -> CustomTensor:
            optimizer.zero_grad()
            loss = model(x)[0].square().sum()
            loss.backward()
            optimizer.step()
            return loss

        return model, optimizer, step

    ours, optimizer, step = made()
    plain, _, plain_step = made()
    run = compile(step, state=(ours, optimizer), backend="aot_eager")
    for _ in range(3):
        x = torch.randn(3, 2, 3, dtype=dtype)
        assert_close(run(x).data, plain_step(x).data, **tolerance)
    assert_same(dict(ours.state_dict()), dict(plain.state_dict()), **tolerance)
    assert run.compilations <= 2


@pytest.mark.parametrize("model", ["mlp", "gpt"])
def test_single_precision(model: str) -> None:
    check_single_precision(model, "aot_eager")


def check_single_precision(model: str, backend: str) -> None:
    ours, plain = (Trainer(model, "AdamW", {"lr": 1e-3}, torch.float32) for _ in range(2))
    run = ours.compiled(backend)
    run(ours.inputs, ours.targets)
    plain.step(plain.inputs, plain.targets)
    assert_same(ours.state(), plain.state(), rtol=1e-5, atol=1e-5)
    for turn in range(19):
        inputs = ours.batch(turn)
        found, expected = run(inputs, ours.targets), plain.step(inputs, plain.targets)
        assert_close(found.data, expected.data, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_without_zero_grad_gradients_accumulate(optimizer: str) -> None:
    ours, plain = (Trainer("mlp", optimizer, OPTIMIZERS[optimizer], zero=False) for _ in range(2))
    run = ours.compiled()
    for turn in range(4):
        inputs = ours.batch(turn)
        run(inputs, ours.targets)
        plain.step(inputs, plain.targets)
        assert_same(ours.state(), plain.state(), **FLOAT64)
    for side in (ours, plain):
        side.optimizer.zero_grad()  # between two calls
    run(ours.inputs, ours.targets)
    plain.step(plain.inputs, plain.targets)
    assert_same(ours.state(), plain.state(), **FLOAT64)


def test_modes_of_a_model() -> None:
    ours, plain = (Trainer("cnn", "AdamW", {}) for _ in range(2))
    run = ours.compiled("eager")  # what is traced when is the question here

    def same(inputs: torch.Tensor | None = None, rows: int = 4) -> None:
        inputs = ours.batch(rows)[:rows] if inputs is None else inputs
        found, expected = (step(inputs, ours.targets[:rows]) for step in (run, plain.step))
        assert_close(found.data, expected.data, **FLOAT64)
        assert_same(ours.state(), plain.state(), **FLOAT64)

    same()
    same(rows=3)  # another shape
    for mode in (False, True, False):
        for side in (ours, plain):
            side.model.train(mode)
        same()
    before = run.compilations
    for side in (ours, plain):
        side.model[0].requires_grad_(False)
    same()
    assert run.compilations == before + 1
    assert ours.model[0].weight.grad is None
    for side in (ours, plain):
        side.model[0].requires_grad_(True)
        side.optimizer.param_groups[0]["weight_decay"] = 0.0
    same()
    for side in (ours, plain):
        side.model[1].momentum = 0.5
    same()
    for side in (ours, plain):
        side.model[2] = nn.GELU()
    same()
    for side in (ours, plain):
        side.optimizer.load_state_dict(copy.deepcopy(side.optimizer.state_dict()))
        side.model.load_state_dict({name: value * 0.9 for name, value in side.model.state_dict().items()})
    same()


def test_a_learning_rate_is_an_input() -> None:
    ours = Trainer("mlp", "AdamW", {"lr": 1e-3})
    run = ours.compiled()
    schedule = optim.lr_scheduler.StepLR(ours.optimizer, step_size=1, gamma=0.7)
    for _ in range(6):
        run(ours.inputs, ours.targets)
        schedule.step()
    ours.optimizer.param_groups[0]["betas"] = (0.8, 0.99)
    run(ours.inputs, ours.targets)
    assert run.compilations == 1


def test_dropout_is_random_and_follows_the_seed() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 50), nn.Dropout(0.4), nn.Linear(50, 1)).double()
    optimizer = optim.SGD(model.parameters(), lr=0.0)

    def step(x: torch.Tensor) -> CustomTensor:
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    run, x = compile(step, state=(model, optimizer), backend="aot_eager"), torch.randn(8, 6, dtype=torch.float64)
    torch.manual_seed(5)
    found = [run(x).item() for _ in range(3)]
    torch.manual_seed(5)
    expected = [step(x).item() for _ in range(3)]
    assert found == pytest.approx(expected, rel=1e-12)
    assert len({*found}) == 3
    model.eval()
    assert run(x).item() == run(x).item() == pytest.approx(step(x).item(), rel=1e-12)


class Tied(nn.Module):
    """An embedding whose transposed weight is the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 6)
        self.head = nn.Linear(6, 12, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, indices: torch.Tensor) -> CustomTensor:
        return self.head(self.embedding(indices).tanh())


def test_tied_parameters() -> None:
    torch.manual_seed(0)
    first = Tied().double()
    sides = [first, copy.deepcopy(first)]
    steps: list[Callable[..., Any]] = []
    for model in sides:
        optimizer = optim.AdamW(model.parameters(), lr=0.01)

        def step(
            indices: torch.Tensor, targets: torch.Tensor, model: Any = model, optimizer: Any = optimizer
        ) -> CustomTensor:
            optimizer.zero_grad()
            loss = losses.CrossEntropyLoss()(model(indices), targets)
            loss.backward()
            optimizer.step()
            return loss

        steps.append(step)
        if model is first:
            steps[0] = compile(step, state={"model": model, "more": [optimizer, (model,)]}, backend="aot_eager")
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        indices, targets = (torch.randint(12, (7,), generator=generator) for _ in range(2))
        found, expected = (step(indices, targets) for step in steps)
        assert_close(found.data, expected.data, **FLOAT64)
    assert first.head.weight is first.embedding.weight
    assert_close(first.head.weight.data, sides[1].head.weight.data, **FLOAT64)


def test_arguments_may_be_tensors_of_both_kinds() -> None:
    ours, plain = (Trainer("mlp", "SGD", {"lr": 0.1}) for _ in range(2))
    run = ours.compiled()
    for turn in range(3):
        inputs: Any = ours.batch(turn)
        plain.step(inputs, plain.targets)
        run(CustomTensor(inputs) if turn else inputs, targets=CustomTensor(ours.targets) if turn > 1 else ours.targets)
        assert_same(ours.state(), plain.state(), **FLOAT64)


@pytest.mark.parametrize(("optimizer", "steps_before"), [("SGD", 0), ("AdamW", 0), ("SGD", 2)])
def test_a_failed_trace_leaves_everything_as_it_was(optimizer: str, steps_before: int) -> None:
    ours = Trainer("cnn", optimizer, OPTIMIZERS[optimizer])
    for _ in range(steps_before):
        ours.step(ours.inputs, ours.targets)
    before, random_state = ours.state(), torch.get_rng_state()

    def step(inputs: torch.Tensor, targets: torch.Tensor) -> float:
        return ours.step(inputs, targets).item()

    run = compile(step, state=(ours.model, ours.optimizer), backend="aot_eager")
    with pytest.raises(errors.CompileError, match="reads a number out of a tensor"):
        run(ours.inputs, ours.targets)
    assert_same(ours.state(), before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), random_state)
    ours.step(ours.inputs, ours.targets)


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
@pytest.mark.parametrize("forgotten", ["model", "optimizer", "both"])
def test_what_was_forgotten_in_the_state_is_refused(optimizer: str, forgotten: str) -> None:
    ours = Trainer("mlp", optimizer, OPTIMIZERS[optimizer])
    before = ours.state()
    state = {"model": ours.optimizer, "optimizer": ours.model, "both": ()}[forgotten]
    with pytest.raises(errors.CompileError, match="in `state`|isn't in"):
        compile(ours.step, state=state, backend="aot_eager")(ours.inputs, ours.targets)
    assert_same(ours.state(), before, rtol=0, atol=0)


def test_a_schedule_inside_the_step_is_refused() -> None:
    ours = Trainer("mlp", "SGD", {"lr": 0.1})
    schedule = optim.lr_scheduler.StepLR(ours.optimizer, step_size=1)

    def step() -> None:
        ours.step(ours.inputs, ours.targets)
        schedule.step()

    with pytest.raises(errors.CompileError, match=r"reads a number out of a tensor \(.*schedule.step\(\)"):
        compile(step, state=(ours.model, ours.optimizer), backend="eager")()
    assert ours.optimizer.param_groups[0]["lr"] == 0.1


def test_an_evaluation_can_be_compiled() -> None:
    ours = Trainer("cnn", "SGD", {"lr": 0.1})
    ours.model.eval()
    run = compile(ours.model, state=ours.model, backend="aot_eager")
    with no_grad():
        assert_close(run(ours.inputs).data, ours.model(ours.inputs).data, **FLOAT64)


def test_the_graph_names_layers_rules_and_the_update() -> None:
    ours = Trainer("cnn", "AdamW", {})
    run = ours.compiled("eager")
    run(ours.inputs, ours.targets)
    text = run.graph_text()
    for name in ("convolution_wrt", "batch_norm_training_wrt", "max_pool_wrt_x", "relu_wrt_x", "AdamW.update"):
        assert name in text, name
    assert "loss = self.criterion(self.model(inputs), targets)" in text


# With code of the compiler's


MARKS_OF_INDUCTOR = [
    pytest.mark.skipif(
        shutil.which("g++") is None and shutil.which("clang++") is None, reason="Inductor needs a C++ compiler"
    ),
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),  # torch's own, when Inductor is imported
]


def by_inductor(test: Any) -> Any:
    """Mark a test that makes code."""
    for mark in MARKS_OF_INDUCTOR:
        test = mark(test)
    return test


@by_inductor
def test_inductor_in_double_precision() -> None:
    ours, plain = (Trainer("mlp", "AdamW", {"lr": 1e-3}) for _ in range(2))
    run = ours.compiled("inductor")
    for turn in range(20):
        inputs = ours.batch(turn)
        found, expected = run(inputs, ours.targets), plain.step(inputs, plain.targets)
        assert_close(found.data, expected.data, **FLOAT64)
    assert_same(ours.state(), plain.state(), **FLOAT64)


@by_inductor
def test_inductor_in_single_precision() -> None:
    check_single_precision("cnn", "inductor")
