"""`compile`: a step as one graph does what the step does, again and again, and says why where it can't.

The engine alone, with backends that need no compiler; models, optimizers and Inductor are in the integration tests.
"""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch.testing import assert_close

import neuronix.autograd as na
from neuronix.autograd import CustomTensor, errors, tensor


def leaf(*shape: int, seed: int = 0) -> CustomTensor:
    generator = torch.Generator().manual_seed(seed)
    return CustomTensor(torch.randn(*shape, generator=generator, dtype=torch.float64), requires_grad=True)


def batch(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Descent:
    """The least that an optimizer is: options and what is remembered."""

    def __init__(self, params: list[CustomTensor], lr: float = 0.1) -> None:
        self.params = params
        self.options: dict[str, Any] = {"lr": lr, "nesterov": False}
        self.memory: list[dict[str, torch.Tensor]] = [{} for _ in params]

    def step(self) -> None:
        for param, memory in zip(self.params, self.memory, strict=True):
            if param.grad is None:
                continue
            if "velocity" in memory:
                memory["velocity"].mul_(0.5).add_(param.grad)
            else:
                memory["velocity"] = param.grad.clone()
            moved = param.grad + 0.5 * memory["velocity"] if self.options["nesterov"] else memory["velocity"]
            param.data.sub_(self.options["lr"] * moved)

    def compile_state(self) -> Any:
        yield self.options, True, None
        for memory in self.memory:
            yield memory, False, None


def training(compiled: bool, *, zero: bool = True, backend: str = "eager", **options: Any) -> tuple[Any, ...]:
    weight, bias = leaf(3, 4), leaf(4, seed=1)
    optimizer = Descent([weight, bias], **options)

    def step(x: torch.Tensor, y: torch.Tensor) -> CustomTensor:
        if zero:
            weight.grad = bias.grad = None
        loss = ((torch.tanh(x @ weight) + bias - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    run = na.compile(step, state=([weight, bias], optimizer), backend=backend) if compiled else step
    return run, weight, bias, optimizer


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("zero", [True, False])
def test_equal_to_the_step(zero: bool, backend: str) -> None:
    ours, weight, bias, optimizer = training(True, zero=zero, backend=backend)
    plain, weight_, bias_, optimizer_ = training(False, zero=zero)
    for turn in range(20):
        x, y = batch(5, 3, seed=turn), batch(5, 4, seed=100 + turn)
        optimizer.options["lr"] = optimizer_.options["lr"] = 0.1 / (1 + turn)
        assert_close(ours(x, y).data, plain(x, y).data, rtol=1e-12, atol=1e-12)
        for mine, wanted in ((weight, weight_), (bias, bias_)):
            assert_close(mine.data, wanted.data, rtol=1e-12, atol=1e-12)
            assert_close(mine.grad, wanted.grad, rtol=1e-12, atol=1e-12)
    for memory, wanted_memory in zip(optimizer.memory, optimizer_.memory, strict=True):
        assert_close(memory, wanted_memory, rtol=1e-12, atol=1e-12)
    # Two graphs: the first step makes the velocity and, without zeroing, the gradient.
    assert ours.compilations == 2
    assert "backend" in repr(ours)


def test_a_number_is_an_input() -> None:
    run, weight, *_, optimizer = training(True)
    x, y = batch(5, 3, seed=0), batch(5, 4, seed=1)
    run(x, y)
    run(x, y)
    before = run.compilations
    for lr in (0.5, 0.25, 1e-3, 0.0, 0.1):
        optimizer.options["lr"] = lr
        old, velocity = weight.data.clone(), optimizer.memory[0]["velocity"]
        run(x, y)
        assert_close(old - weight.data, lr * velocity, rtol=1e-12, atol=1e-15)
    assert run.compilations == before


def test_what_the_graph_depends_on_makes_a_new_one() -> None:
    run, weight, bias, optimizer = training(True)
    plain, weight_, bias_, optimizer_ = training(False)

    def same(*, rows: int = 5) -> None:
        x, y = batch(rows, 3, seed=rows), batch(rows, 4, seed=rows + 1)
        assert_close(run(x, y).data, plain(x, y).data, rtol=1e-12, atol=1e-12)
        for mine, wanted in ((weight, weight_), (bias, bias_)):
            assert_close(mine.data, wanted.data, rtol=1e-12, atol=1e-12)
            assert (mine.grad is None) == (wanted.grad is None)

    same()
    same(rows=7)
    optimizer.options["nesterov"] = optimizer_.options["nesterov"] = True
    same()
    for each in (bias, bias_):
        each.requires_grad_(False)
    same()
    for each in (bias, bias_):
        each.requires_grad_(True)
    same()
    for each in (weight, weight_):
        each.data = each.data * 2  # another tensor in its place
    same()


def test_random_numbers_are_drawn_anew_and_by_the_seed() -> None:
    w = leaf(50)

    def step(x: torch.Tensor) -> CustomTensor:
        return (w * torch.rand(50, dtype=torch.float64) * x).sum()

    run = na.compile(step, state=w, backend="aot_eager")
    x = torch.ones(50, dtype=torch.float64)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    received = [run(x).item(), run(x).item()]
    torch.set_rng_state(state)
    assert received == pytest.approx([step(x).item(), step(x).item()], rel=1e-12)
    assert received[0] != received[1]


def test_results_of_any_nesting() -> None:
    w = leaf(3)

    def step(pair: dict[str, Any], *, scale: float) -> Any:
        y = w * pair["x"][0] * scale
        return {"y": y, "plain": y.data * 2, "pair": (None, "text", y.sum())}

    x = tensor(batch(3, seed=1))
    received = na.compile(step, state=w, backend="eager")({"x": [x]}, scale=3.0)
    expected = step({"x": [x]}, scale=3.0)
    assert isinstance(received["y"], CustomTensor)
    assert_close(received["y"].data, expected["y"].data, rtol=1e-15, atol=0)
    assert_close(received["plain"], expected["plain"], rtol=1e-15, atol=0)
    assert received["pair"][:2] == (None, "text")
    assert_close(received["pair"][2].data, expected["pair"][2].data, rtol=1e-15, atol=0)


def test_the_gradient_of_an_argument() -> None:
    x = leaf(3)

    def step(x: CustomTensor) -> None:
        x.exp().sum().backward()

    run = na.compile(step, backend="eager")
    run(x)
    run(x)
    assert_close(x.grad, 2 * x.data.exp(), rtol=1e-15, atol=0)


def test_gradients_own_their_memory() -> None:
    a, b = leaf(3), leaf(3, seed=1)

    def step() -> None:
        a.grad = b.grad = None
        (a + b).sum().backward()  # both get the same gradient, an expanded one

    run = na.compile(step, state=(a, b), backend="aot_eager")
    for _ in range(2):
        run()
        a.grad.mul_(5)  # type: ignore[union-attr]
        assert b.grad.tolist() == [1.0, 1.0, 1.0]  # type: ignore[union-attr]


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_number_that_is_only_counted(backend: str) -> None:
    count = torch.tensor(0)

    def step(x: Any) -> Any:
        count.add_(1)
        return x * 2

    compiled = na.compile(step, state=count, backend=backend)
    for calls in range(1, 4):
        compiled(torch.ones(2))
        assert count == calls


def test_a_constant_is_read_at_each_call() -> None:
    w, factor = leaf(3), torch.ones(3, dtype=torch.float64)
    run = na.compile(lambda: (w * factor).sum(), state=w, backend="eager")
    first = run().item()
    factor.mul_(2)
    assert run().item() == pytest.approx(2 * first, rel=1e-15)


def test_an_argument_that_is_also_met_as_a_constant() -> None:
    factor = batch(3, seed=1)
    run = na.compile(lambda x: x * factor, backend="aot_eager")
    run(factor)
    x = batch(3, seed=2)
    assert_close(run(x), x * factor, rtol=0, atol=0)


def test_an_argument_is_changed_in_place() -> None:
    def step(x: torch.Tensor) -> torch.Tensor:
        x.mul_(2)
        return x + 1

    run = na.compile(step, backend="aot_eager")
    for seed in (1, 2):
        x = batch(3, seed=seed)
        expected = 2 * x
        assert_close(run(x), expected + 1, rtol=0, atol=0)
        assert_close(x, expected, rtol=0, atol=0)


def test_values_that_are_met_by_another_name_are_the_states() -> None:
    w = leaf(3)
    values = w.data

    def step() -> torch.Tensor:
        w.data.mul_(2)
        values.add_(1)
        return values * 3

    expected = (w.data * 2 + 1).clone()
    run = na.compile(step, state=w, backend="aot_eager")
    assert_close(run(), expected * 3, rtol=0, atol=0)
    assert_close(w.data, expected, rtol=0, atol=0)


def test_a_float_argument_is_an_input() -> None:
    w = leaf(3)

    def step(x: torch.Tensor, lr: float, *, decay: float = 0.5) -> tuple[CustomTensor, float]:
        w.grad = None
        loss = (w * x).square().sum()
        loss.backward()
        w.data.mul_(1 - lr * decay).sub_(lr * w.grad)  # type: ignore[operator]
        return loss, lr

    run, x, mine = na.compile(step, state=w, backend="aot_eager"), batch(3, seed=1), w.data.clone()
    for lr in (0.1, 0.01, 0.03):
        gradient = 2 * mine * x * x
        mine = mine * (1 - 0.25 * lr) - lr * gradient
        _, returned = run(x, lr, decay=0.25)
        assert (type(returned), returned) == (float, lr)
        assert_close(w.data, mine, rtol=1e-12, atol=0)
    assert run.compilations == 1


def test_a_float_that_must_be_a_number_is_a_constant() -> None:
    w = leaf(3)

    def step(rate: float) -> CustomTensor:
        return w * (2 if rate > 0.5 else 3)

    run = na.compile(step, state=w, backend="eager")
    for rate, factor in ((0.7, 2), (0.2, 3), (0.7, 2)):
        assert_close(run(rate).data, w.data * factor, rtol=0, atol=0)


def test_hooks_of_leaves_are_part_of_the_graph() -> None:
    w = leaf(3)

    def step() -> None:
        w.grad = None
        (w * 2).sum().backward()

    run = na.compile(step, state=w, backend="aot_eager")
    run()
    handle = w.register_hook(lambda gradient: gradient * 10)
    run()
    assert w.grad is not None
    assert w.grad.tolist() == [20.0] * 3
    handle.remove()
    run()
    assert w.grad.tolist() == [2.0] * 3


def test_modes_around_a_call() -> None:
    w = leaf(3)

    def step() -> bool:
        return (w * 2).requires_grad

    run = na.compile(step, state=w, backend="eager")
    assert run()
    with na.no_grad():
        assert not run()
    with na.rules_only():
        assert run()


def test_tied_tensors_stay_tied() -> None:
    w = leaf(3)

    def step() -> None:
        w.grad = None
        (w * w).sum().backward()
        w.data.sub_(0.1 * w.grad)  # type: ignore[arg-type]

    run = na.compile(step, state={"encoder": w, "decoder": [w]}, backend="aot_eager")
    before = w.data.clone()
    run()
    assert_close(w.data, before * 0.8, rtol=1e-15, atol=0)


def test_in_place_changes_are_counted() -> None:
    w = leaf(3)
    later = (w * w).sum()

    def step() -> None:
        w.data.mul_(2)

    na.compile(step, state=w, backend="aot_eager")()
    with pytest.raises(errors.GradientError, match="modified by an inplace operation"):
        later.backward()


def test_higher_orders() -> None:
    w = leaf(3)

    def step(x: torch.Tensor) -> CustomTensor:
        (first,) = na.grad((w * x).exp().sum(), w, create_graph=True)
        assert first is not None
        (second,) = na.grad(first.square().sum(), w)
        assert second is not None
        return second

    x = batch(3, seed=2)
    assert_close(na.compile(step, state=w, backend="aot_eager")(x).data, step(x).data, rtol=1e-12, atol=0)


# What can't be compiled


def snapshot(weight: CustomTensor, bias: CustomTensor, optimizer: Descent) -> Any:
    grads = [None if p.grad is None else p.grad.clone() for p in (weight, bias)]
    memory = [{name: value.clone() for name, value in kept.items()} for kept in optimizer.memory]
    return [weight.data.clone(), bias.data.clone(), grads, memory, dict(optimizer.options), torch.get_rng_state()]


@pytest.mark.parametrize("steps_before", [0, 1])
def test_a_failed_trace_leaves_everything_as_it_was(steps_before: int) -> None:
    run, weight, bias, optimizer = training(False)
    x, y = batch(5, 3, seed=0), batch(5, 4, seed=1)
    for _ in range(steps_before):
        run(x, y)
    before = snapshot(weight, bias, optimizer)
    values, gradient = weight.data, weight.grad

    def failing(x: torch.Tensor, y: torch.Tensor) -> None:
        torch.rand(3)
        run(x, y)
        raise OSError("after everything")

    with pytest.raises(OSError, match="after everything"):
        na.compile(failing, state=([weight, bias], optimizer), backend="eager")(x, y)
    assert_close(snapshot(weight, bias, optimizer), before, rtol=0, atol=0)
    assert weight.data is values
    assert weight.grad is gradient
    run(x, y)  # and it goes on


def reasons() -> list[Any]:
    w = leaf(3)
    other = leaf(3, seed=1)
    table = {"count": 1}

    class Counting:
        def compile_state(self) -> Any:
            yield table, False, None

    def number() -> Any:
        return w * (w.sum().item() + 1)

    def branch() -> Any:
        return w if (w > 0).all() else -w

    def shape() -> Any:
        return w[w > 0]

    def counting() -> Any:
        table["count"] += 1

    def unnamed() -> Any:
        (w * other).sum().backward()

    def outside() -> None:
        other.data.add_(1)

    kept: list[Any] = []

    def keeping() -> None:
        kept.append((w * 2).data)

    class Forgotten:
        memory: torch.Tensor | None = None

        def step(self) -> None:
            self.memory = 1 + (w.data if self.memory is None else self.memory)

    def freezing() -> None:
        w.requires_grad_(False)

    return [
        pytest.param(number, w, r"reads a number out of a tensor \(.*w.sum\(\).item\(\)", id="number"),
        pytest.param(branch, w, "reads a number out of a tensor", id="branch"),
        pytest.param(shape, w, "depends on values", id="shape"),
        pytest.param(counting, Counting(), r"changes 'count' from 1 to 2", id="counting"),
        pytest.param(unnamed, w, r"mul uses a tensor of shape \(3,\) that requires grad and is neither", id="unnamed"),
        pytest.param(outside, w, r"changes a tensor of shape \(3,\) in place that is neither", id="outside"),
        pytest.param(keeping, w, r"keeps a tensor of shape \(3,\), made by mul \(", id="keeping"),
        pytest.param(Forgotten().step, w, r"keeps a tensor of shape \(3,\)", id="optimizer"),
        pytest.param(freezing, w, r"sets requires_grad of 0", id="freezing"),
    ]


@pytest.mark.parametrize(("step", "state", "message"), reasons())
def test_what_cannot_be_compiled_says_why(step: Any, state: Any, message: str) -> None:
    run = na.compile(step, state=state, backend="eager")
    with pytest.raises(errors.CompileError, match=message) as caught:
        run()
    assert "hint" in str(caught.value)
    assert run.compilations == 0


def test_state_must_be_state() -> None:
    with pytest.raises(errors.CompileError, match="int can't be state"):
        na.compile(lambda: None, state=[leaf(3), 3])
    with pytest.raises(errors.CompileError, match="requires PyTorch's own gradient"):
        na.compile(lambda x: x * 2, backend="eager")(torch.ones(3, requires_grad=True))


def test_what_cannot_be_an_argument() -> None:
    w = leaf(3)
    run = na.compile(lambda x: x * 2, backend="eager")
    with pytest.raises(errors.CompileError, match="result of exp, whose history lies outside"):
        run(w.exp())
    with pytest.raises(errors.CompileError, match="array of NumPy"):
        run(w.data.numpy())
    with pytest.raises(errors.CompileError, match="layout torch.sparse_coo"):
        run(torch.eye(3).to_sparse())
    assert_close(run(w.exp().detach()).data, 2 * w.data.exp(), rtol=0, atol=0)


def test_the_graph_can_be_read() -> None:
    run, *_ = training(True)
    with pytest.raises(errors.CompileError, match="nothing has been traced"):
        run.graph_text()
    run(batch(5, 3, seed=0), batch(5, 4, seed=1))
    lines = run.graph_text().splitlines()
    forward, backward, update = (lines.index(f"# {part}") for part in ("forward", "backward", "update"))
    assert forward < backward < update
    tanh = next(line for line in lines[:backward] if "tanh.default" in line)
    assert "# tanh  " in tanh
    assert "loss = ((torch.tanh(x @ weight) + bias - y) ** 2).mean()" in tanh
    rules = [line.split("  # ")[1].split()[0] for line in lines[backward + 1 : update] if "  # " in line]
    assert {"mean_wrt_x", "tanh_wrt_x", "matmul_wrt_other"} <= set(rules)
    assert lines[-1].startswith("return ")


def test_changed_tensors_that_share_memory_are_refused() -> None:
    w = tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)

    def step(row: torch.Tensor) -> Any:
        w.grad = None
        (w * w).sum().backward()
        w.data.sub_(0.1 * w.grad)
        return row * 1

    compiled = na.compile(step, state=w, backend="eager")
    with pytest.raises(errors.CompileError, match=r"which shares its memory with another of shape \(2,\)"):
        compiled(w.data[0])
    assert_close(w.data, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert_close(compiled(w.data[0].clone()), torch.tensor([1.0, 2.0]))
    halves = torch.arange(4.0)  # parts of one memory that don't overlap are two tensors indeed
    a, b = CustomTensor(halves[:2], requires_grad=True), CustomTensor(halves[2:], requires_grad=True)

    def descend() -> Any:
        a.grad = b.grad = None
        (a * b).sum().backward()
        a.data.sub_(a.grad)
        b.data.sub_(b.grad)

    na.compile(descend, state=(a, b), backend="eager")()
    assert_close(halves, torch.tensor([-2.0, -2.0, 2.0, 2.0]))


class Held:
    """State of any kind, under names."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def compile_state(self) -> Any:
        yield self.__dict__, True, type(self)


def nested() -> Held:
    w = leaf(3)
    return Held(
        w=w,
        tied=w,
        mean=batch(3, seed=1),
        rate=0.5,
        pair=(0.25, 2.0),
        sizes=[1, 2],
        table={"a": {"b": [3]}},
        names={"x"},
        hooks={},
        label="l",
        spare="s",
    )


def value_of(held: Any) -> Any:
    """Something that depends on everything in it."""
    count = sum(held.sizes) + held.table["a"]["b"][0] + len(held.names) + len(held.hooks) + len(held.label)
    factor = held.rate * held.pair[0] * held.pair[1] * count
    return (held.w * held.tied * held.mean * factor * (2 if held.w.requires_grad else 3)).sum()


# What may change between two calls, and whether the same graph serves (the tensors are other ones, the rest is equal).
CHANGES: dict[str, tuple[Any, bool]] = {
    "nothing": (lambda held: None, True),
    "values": (lambda held: held.mean.mul_(2), True),
    "another tensor": (lambda held: setattr(held, "mean", held.mean * 3), True),
    "data": (lambda held: setattr(held.w, "data", held.w.data + 1), True),
    "a number": (lambda held: setattr(held, "rate", 0.75), True),
    "an equal constant": (lambda held: setattr(held, "label", "lab"[:1]), True),
    "numbers in a tuple": (lambda held: setattr(held, "pair", (0.3, 4.0)), True),
    "fewer numbers": (lambda held: (setattr(held, "pair", (0.3, 4.0, 1.0)), setattr(held, "rate", 0.1)), False),
    "a number is zero": (lambda held: setattr(held, "rate", 0.0), False),
    "a number is a tensor": (lambda held: setattr(held, "rate", torch.tensor(0.5)), False),
    "a list": (lambda held: held.sizes.append(4), False),
    "an item of a list": (lambda held: held.sizes.__setitem__(0, 7), False),
    "a list within": (lambda held: held.table["a"]["b"].__setitem__(0, 9), False),
    "a dict within": (lambda held: held.table.__setitem__("a", {"b": [5]}), False),
    "a set": (lambda held: held.names.add("y"), False),
    "an empty dict": (lambda held: held.hooks.__setitem__(1, "h"), False),
    "a string": (lambda held: setattr(held, "label", "longer"), False),
    "untied": (lambda held: setattr(held, "tied", leaf(3, seed=5)), False),
    "tied": (lambda held: setattr(held, "mean", held.w.data), False),
    "one number for all": (lambda held: setattr(held, "mean", held.mean[:1].clone()), False),
    "resized in place": (lambda held: held.mean.resize_(1), False),
    "another dtype": (lambda held: setattr(held, "mean", held.mean.float()), False),
    "a gradient": (lambda held: setattr(held.w, "grad", torch.ones_like(held.w.data)), False),
    "requires_grad": (lambda held: held.w.requires_grad_(False), False),
    "a new name": (lambda held: setattr(held, "more", 1), False),
    "another name": (lambda held: held.__dict__.__setitem__("moved", held.__dict__.pop("spare")), False),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_since_the_last_call_is_seen(change: str) -> None:
    """Each call is compared with the one before, and where that doesn't tell, with all others."""
    held, plain = nested(), nested()
    apply, same_graph = CHANGES[change]
    run = na.compile(lambda: value_of(held), state=held, backend="eager")

    def compared() -> None:
        for _ in range(4):
            assert_close(run().data, value_of(plain).data, rtol=1e-14, atol=0)

    compared()
    traces = repr(run)
    for each in (held, plain):
        apply(each)
    compared()
    assert (repr(run) == traces) == same_graph


def test_arguments_may_be_others_at_each_call() -> None:
    w = leaf(3)
    run = na.compile(lambda x, y, scale: (w * x * y * scale).sum(), state=w, backend="eager")
    for turn in range(6):
        x, y = batch(3, seed=turn), tensor(batch(3, seed=turn + 10))
        assert run(x, y, 1.5 + turn).item() == pytest.approx(
            float((w.data * x * y.data).sum()) * (1.5 + turn), rel=1e-13
        )
        assert run(x, x, 1.5 + turn).item() == pytest.approx(float((w.data * x * x).sum()) * (1.5 + turn), rel=1e-13)
    for _ in range(4):
        x = batch(3, seed=30)
        assert run(x, x, 2.0).item() == pytest.approx(float((w.data * x * x).sum()) * 2, rel=1e-13)


def test_a_compiled_step_keeps_no_argument_and_no_gradient() -> None:
    w = leaf(3)

    def step(x: torch.Tensor) -> None:
        w.grad = None
        (w * x).sum().backward()

    run, references = na.compile(step, state=w, backend="eager"), []
    for turn in range(4):
        x = batch(3, seed=turn)
        run(x)
        references += [weakref.ref(x), weakref.ref(w.grad)]  # type: ignore[arg-type]
    w.grad = None
    del x
    assert [reference() for reference in references] == [None] * len(references)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_an_update_between_two_passes(backend: str) -> None:
    """Passes, update, passes, update, with views that are read after what they show has changed."""

    def players(compiled: bool) -> tuple[Any, list[CustomTensor], list[torch.Tensor]]:
        first, second = leaf(3, 3), leaf(3, 3, seed=1)
        means = [torch.zeros(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)]

        def step(x: torch.Tensor) -> CustomTensor:
            first.grad = second.grad = None
            row, transposed = first.data[0], second.data.T  # views, which are read after the updates
            hidden = (x @ first).tanh()
            means[0].mul_(0.9).add_(hidden.data.mean(0))  # changed before the last gradient
            (hidden @ second).square().sum().backward()
            first.data.sub_(0.1 * first.grad)
            loss = ((x @ first + row) @ second).square().mean()
            loss.backward()
            gradient = second.grad.T  # a view of what the passes have made
            means[1].lerp_(gradient, 0.1)
            second.data.sub_(0.1 * gradient.T + 0.01 * transposed.T)
            row.mul_(0.5)
            return loss + row.sum() + transposed.sum()

        run = na.compile(step, state=(first, second, means), backend=backend) if compiled else step
        return run, [first, second], means

    (run, ours, means), (plain, theirs, their_means) = players(True), players(False)
    for turn in range(4):
        x = batch(4, 3, seed=turn)
        assert_close(run(x).data, plain(x).data, rtol=1e-12, atol=1e-12)
        for mine, wanted in zip(ours, theirs, strict=True):
            assert_close(mine.data, wanted.data, rtol=1e-12, atol=1e-12)
            assert_close(mine.grad, wanted.grad, rtol=1e-12, atol=1e-12)
        assert_close(means, their_means, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("order", ["read, write", "write, read", "rest writes", "view", "drawn"])
def test_single_numbers_are_read_and_changed_in_the_steps_order(order: str, backend: str) -> None:
    def made() -> tuple[Any, torch.Tensor, torch.Tensor]:
        count, x = torch.tensor(2.0, dtype=torch.float64), batch(3, seed=1)

        def step() -> torch.Tensor:
            if order == "read, write":
                y = x * count
                count.add_(1)
                return y * (1 / count)
            if order == "write, read":
                count.add_(1)
                return x * count / (1 - 0.5**count)
            if order == "rest writes":
                count.copy_(x.mean() * count)
                return x * (count * 2)
            if order == "view":
                alias = count.view(1)[0]
                y = x * alias
                count.mul_(3)
                return y + x * (alias * 2)
            return torch.rand(3, dtype=torch.float64) * x * torch.rand_like(count)

        return step, count, x

    step, count, _ = made()
    plain, expected, _ = made()
    run = na.compile(step, state=count, backend=backend)
    for turn in range(3):
        torch.manual_seed(turn)
        received = run()
        torch.manual_seed(turn)
        assert_close(received, plain(), rtol=1e-14, atol=0)
        assert_close(count, expected, rtol=1e-14, atol=0)
