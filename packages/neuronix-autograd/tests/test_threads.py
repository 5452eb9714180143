"""Several threads, tasks and contexts at once.  Barriers say who goes when; nothing depends on time."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from neuronix.autograd import (
    AutogradGraph,
    CustomTensor,
    enable_grad,
    grad,
    is_grad_enabled,
    no_grad,
    primitive,
    rules_only,
    set_grad_enabled,
    tensor,
)
from neuronix.autograd.errors import GraphError
from neuronix.autograd.graph import current_graph
from neuronix.autograd.testing import check_index

THREADS = 4


@pytest.fixture(autouse=True)
def switch_threads_often() -> Iterator[None]:
    """Let the interpreter change threads as often as it can, so that races are found if there are any."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def together(*functions: Callable[[], Any]) -> list[Any]:
    """Run the functions in threads of their own that start at the same moment, and return their results."""
    barrier = threading.Barrier(len(functions))

    def run(function: Callable[[], Any]) -> Any:
        barrier.wait(timeout=60)
        return function()

    with ThreadPoolExecutor(len(functions)) as pool:
        return [future.result(timeout=60) for future in [pool.submit(run, function) for function in functions]]


def leaf(*values: float) -> CustomTensor:
    return CustomTensor(torch.tensor(values, dtype=torch.float64), requires_grad=True)


def in_another_thread(function: Callable[[], Any]) -> Any:
    return together(function)[0]


def test_each_thread_has_a_default_graph_of_its_own() -> None:
    graphs = together(*[current_graph] * THREADS)
    assert len({id(graph) for graph in [*graphs, current_graph()]}) == THREADS + 1


@pytest.mark.kernels  # new threads use them, whatever this one does
def test_threads_that_share_nothing_compute_what_one_does() -> None:
    def work() -> tuple[torch.Tensor, torch.Tensor]:
        x = leaf(0.3, -0.8)
        y = x
        for _ in range(30):
            y = torch.tanh(y * 1.1) + x
        (first,) = grad(y.sum(), x, create_graph=True)
        (second,) = grad(first.sum(), x)
        return first.data, second.data

    expected = work()
    for result in together(*[work] * THREADS):
        assert_close(result, expected, rtol=0, atol=0)


def test_a_shared_leaf_receives_every_threads_gradient() -> None:
    x = leaf(2.0, 3.0)

    def work() -> None:
        for _ in range(50):
            (x * x).sum().backward()

    together(*[work] * THREADS)
    assert_close(x.grad, THREADS * 50 * torch.tensor([4.0, 6.0], dtype=torch.float64), rtol=0, atol=0)


def test_forward_in_one_thread_and_backward_in_another() -> None:
    x = leaf(0.5)
    y = in_another_thread(lambda: torch.exp(x * x))
    y.backward()
    assert_close(x.grad, y.data * 2 * 0.5)
    x.grad = None
    z = torch.exp(x * x)
    in_another_thread(z.backward)
    assert_close(x.grad, z.data * 2 * 0.5)


def test_results_of_several_threads_combine() -> None:
    x = leaf(2.0)
    first, second = together(lambda: x * 3, lambda: torch.exp(x * 0) * x)
    seen: list[float] = []
    x.register_hook(lambda gradient: seen.append(gradient.item()))
    (first * second * x).backward()
    assert x.grad is not None
    assert x.grad.item() == 3 * 3 * 4  # (3 x³)' = 9 x²
    assert seen == [36.0]  # the hook sees the whole gradient, though x stands on three graphs


def test_outputs_of_several_threads_are_differentiated_at_once() -> None:
    x = leaf(2.0)
    own = [x * number for number in range(5)]  # so that positions in the two graphs differ
    theirs = in_another_thread(lambda: x * x * x)
    (found,) = grad([own[4], theirs, x], [x])
    assert found.item() == 4 + 12 + 1


def test_one_graph_may_be_walked_backward_by_all_threads_at_once() -> None:
    x = leaf(0.3, 0.7)
    y = x
    for _ in range(30):
        y = torch.sin(y) * x
    total = y.sum()
    expected = grad(total, x, retain_graph=True)[0].data
    for (found,) in together(*[lambda: grad(total, x, retain_graph=True)] * THREADS):
        assert_close(found.data, expected, rtol=0, atol=0)
    check_index(current_graph())


def test_a_second_backward_is_refused_whoever_runs_it() -> None:
    x = leaf(1.5)
    y = x * x
    in_another_thread(y.backward)
    with pytest.raises(GraphError, match="second time"):
        y.backward()
    assert_close(x.grad, torch.tensor([3.0], dtype=torch.float64))


def test_modes_hold_in_their_own_thread_only() -> None:
    inside, done = threading.Barrier(2), threading.Barrier(2)
    x = leaf(1.0)

    def without() -> bool:
        with no_grad():
            inside.wait(timeout=60)
            result = (x * 2).requires_grad
            done.wait(timeout=60)
        return result

    def recording() -> bool:
        inside.wait(timeout=60)
        result = (x * 2).requires_grad
        done.wait(timeout=60)
        return result

    assert together(without, recording) == [False, True]
    with no_grad():
        assert in_another_thread(is_grad_enabled)


def test_one_decorated_function_runs_in_several_threads() -> None:
    barrier = threading.Barrier(2)
    x = leaf(1.0)

    @no_grad()
    def without(wait: bool) -> bool:
        if wait:
            barrier.wait(timeout=60)
        return (x * 2).requires_grad

    def work() -> tuple[bool, bool]:
        return without(True), (x * 2).requires_grad

    assert together(work, work) == [(False, True)] * 2


def test_blocks_of_several_threads_are_apart() -> None:
    barrier = threading.Barrier(THREADS)
    x = leaf(3.0)

    def work(factor: float) -> tuple[float, int]:
        with AutogradGraph() as graph:
            barrier.wait(timeout=60)
            y = x * factor
            barrier.wait(timeout=60)
            (found,) = grad(y, x, retain_graph=True)
            check_index(graph)
            return found.item(), graph.num_nodes()

    results = together(*[lambda factor=factor: work(factor) for factor in range(THREADS)])
    assert results == [(float(factor), 2) for factor in range(THREADS)]


def test_one_graph_may_be_open_in_several_threads() -> None:
    graph = AutogradGraph()
    barrier = threading.Barrier(THREADS)
    x = leaf(3.0)

    def work() -> None:
        with graph:
            barrier.wait(timeout=60)
            assert current_graph() is graph
            y = x * 2
            barrier.wait(timeout=60)
            y.backward()

    together(*[work] * THREADS)
    assert graph.closed  # by the last block's end
    assert x.grad is not None
    assert x.grad.item() == 2 * THREADS


def test_tensors_of_a_block_are_foreign_to_other_threads() -> None:
    x = leaf(3.0)
    with AutogradGraph() as graph:
        y = x * 2
        with pytest.raises(GraphError, match="recorded on"):
            in_another_thread(lambda: y * 2)
        assert in_another_thread(lambda: y.detach() * 2).item() == 12
        check_index(graph)
        y.backward()
    assert x.grad is not None
    assert x.grad.item() == 2


def test_a_first_call_in_several_threads() -> None:
    # The code of an operation is made at its first call, which here is everybody's first call.
    for _ in range(20):

        @primitive
        def scaled(x: torch.Tensor, factor: float = 3.0, *, offset: float = 1.0) -> torch.Tensor:
            return x * factor + offset

        @scaled.vjp("x")
        def scaled_wrt_x(grad: torch.Tensor, factor: float) -> torch.Tensor:
            return grad * factor

        def work(scaled: Any = scaled) -> tuple[float, float]:
            x = leaf(2.0)
            y = scaled(x)
            y.backward()
            assert x.grad is not None
            return y.item(), x.grad.item()

        assert together(*[work] * THREADS) == [(7.0, 3.0)] * THREADS


# Bits: equal programs give equal ones, whatever ran before them, beside them, and wherever

PROGRAM = """
import torch
from neuronix.autograd import CustomTensor, grad

def program():
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(*shape, generator=generator) for shape in [(5, 4), (4, 3), (3,)]]
    x, w, b = (CustomTensor(values, requires_grad=True) for values in made)
    y = torch.tanh(x @ w + b)
    parts = [torch.softmax(y * k, 1)[:, k % 3] * y.roll(k, 0).sum(1) for k in range(1, 12)]
    total = torch.cat([torch.stack(parts).logsumexp(0), y.max(1).values, y[[0, 2, 0, 1]].reshape(-1)]).square().sum()
    first = grad(total, [x, w, b], create_graph=True)
    second = grad(sum((part * part).sum() for part in first), [x, w, b], retain_graph=True)
    (total + sum(part.sum() for part in first)).backward()
    return [*(found.data for found in (*first, *second)), x.grad, w.grad, b.grad]
"""
scope: dict[str, Any] = {}
exec(PROGRAM, scope)
program: Callable[[], list[torch.Tensor]] = scope["program"]


def leave_traces(turn: int) -> Any:
    """Use and abandon graphs, so that places in them are used again in another order."""
    x = leaf(*range(1, 2 + turn))
    kept = [(x * k).exp() for k in range(30 + turn)]
    with AutogradGraph():
        (x * 2).sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError):
        x @ leaf(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
    return kept[turn::3]


def assert_same_bits(received: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    assert len(received) == len(expected)
    for ours, theirs in zip(received, expected, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.kernels  # new threads use them, whatever this one does
def test_equal_programs_give_equal_bits_in_threads_that_do_other_things_too() -> None:
    expected = program()
    alive = []

    def work(turn: int) -> list[list[torch.Tensor]]:
        found = []
        for _ in range(3):
            alive.append(leave_traces(turn))
            found.append(program())
            with AutogradGraph():
                found.append(program())
        return found

    for runs in together(*[lambda turn=turn: work(turn) for turn in range(THREADS)]):
        for received in runs:
            assert_same_bits(received, expected)
    assert_same_bits(program(), expected)


@pytest.mark.kernels  # the other process uses them
def test_equal_programs_give_equal_bits_in_a_process_in_which_nothing_ran_before() -> None:
    leave_traces(2)
    lines = [PROGRAM, f"torch.set_num_threads({torch.get_num_threads()})"]
    lines += ["for found in program(): print(found.numpy().tobytes().hex())"]
    fresh = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert fresh.stdout.split() == [found.numpy().tobytes().hex() for found in program()]


def test_each_thread_differentiates_what_its_neighbour_computed() -> None:
    def forward(x: CustomTensor) -> CustomTensor:
        y = x
        for _ in range(20):
            y = torch.sin(y @ y.T) + y * x
        return y.sum()

    values = torch.linspace(-1, 1, 9, dtype=torch.float64).reshape(3, 3)
    alone = CustomTensor(values.clone(), requires_grad=True)
    forward(alone).backward()
    computed = threading.Barrier(THREADS)
    boxes: list[Any] = [None] * THREADS

    def work(turn: int) -> torch.Tensor | None:
        x = CustomTensor(values.clone(), requires_grad=True)
        boxes[turn] = forward(x)
        computed.wait(timeout=60)
        boxes[turn - 1].backward()  # while the neighbour is in another one's graph
        computed.wait(timeout=60)
        return x.grad

    for gradient in together(*[lambda turn=turn: work(turn) for turn in range(THREADS)]):
        assert_close(gradient, alone.grad, rtol=0, atol=0)


def test_each_order_of_a_derivative_in_another_thread() -> None:
    def first(x: CustomTensor) -> CustomTensor:
        return torch.tanh(x * x).sum() * x.prod()

    def derived(y: CustomTensor, x: CustomTensor) -> CustomTensor:
        found = grad(y, x, create_graph=True)[0]
        assert found is not None
        return (found * found).sum()

    x = leaf(0.3, -0.8, 1.1)
    expected = derived(derived(first(x), x), x).item()
    y = in_another_thread(lambda: first(x))
    y = in_another_thread(lambda: derived(y, x))
    y = in_another_thread(lambda: derived(y, x))
    assert y.item() == expected


# Contexts and tasks


def test_a_copied_context_takes_modes_and_blocks_along() -> None:
    x = leaf(2.0)
    with AutogradGraph() as graph, no_grad(), rules_only():
        context = contextvars.copy_context()
        assert context.run(current_graph) is graph
        assert in_another_thread(lambda: context.run(is_grad_enabled)) is False
        with enable_grad():
            y = x * 2
        context.run(set_grad_enabled, True)
        assert not is_grad_enabled()  # changed in the copy alone
        assert in_another_thread(lambda: context.run(lambda: (y * 3).requires_grad))
    assert current_graph() is not graph


def test_copied_contexts_record_on_one_default_graph_at_once() -> None:
    x = leaf(2.0)
    x * 1  # the default graph exists, and is part of the context

    def work() -> float:
        total = 0.0
        for _ in range(50):
            (found,) = grad((x * x * x).sum(), x)
            total += found.item()
        return total

    contexts = [contextvars.copy_context() for _ in range(THREADS)]
    results = together(*[lambda context=context: context.run(work) for context in contexts])
    assert results == [50 * 12.0] * THREADS
    check_index(current_graph())


def test_asyncio_tasks_have_modes_and_blocks_of_their_own() -> None:
    async def task(factor: int, go: asyncio.Event) -> tuple[float, bool]:
        x = leaf(2.0)
        with AutogradGraph() as graph, set_grad_enabled(factor != 2):
            await go.wait()
            assert current_graph() is graph
            y = x * factor
            await asyncio.sleep(0)
            assert current_graph() is graph
            if not y.requires_grad:
                return 0.0, is_grad_enabled()
            y.backward()
            assert x.grad is not None
            return x.grad.item(), is_grad_enabled()

    async def main() -> list[tuple[float, bool]]:
        go = asyncio.Event()
        tasks = [asyncio.create_task(task(factor, go)) for factor in range(4)]
        await asyncio.sleep(0)
        go.set()
        return await asyncio.gather(*tasks)

    before = current_graph()
    assert asyncio.run(main()) == [(0.0, True), (1.0, True), (0.0, False), (3.0, True)]
    assert current_graph() is before
    assert is_grad_enabled()


def test_results_of_asyncio_tasks_combine() -> None:
    x = leaf(2.0)

    async def power(exponent: int) -> CustomTensor:
        await asyncio.sleep(0)
        return x**exponent

    async def main() -> CustomTensor:
        one, other = await asyncio.gather(power(2), asyncio.to_thread(lambda: x * 5))
        return one + other

    asyncio.run(main()).backward()
    assert x.grad is not None
    assert x.grad.item() == 2 * 2 + 5


# Generators, whose blocks needn't end in the order in which they began


def opened() -> Iterator[AutogradGraph]:
    with AutogradGraph() as graph:
        yield graph


def test_blocks_in_generators_may_end_in_any_order() -> None:
    default = current_graph()
    first, second = opened(), opened()
    one, other = next(first), next(second)
    assert current_graph() is other
    first.close()  # type: ignore[attr-defined]
    assert one.closed
    assert current_graph() is other
    second.close()  # type: ignore[attr-defined]
    assert current_graph() is default
    x = leaf(2.0)
    (x * 2).backward()
    assert x.grad is not None


def test_a_generator_closed_in_another_thread_leaves_that_thread_alone() -> None:
    default = current_graph()
    generator = opened()
    graph = next(generator)

    def close() -> bool:
        before = current_graph()
        generator.close()  # type: ignore[attr-defined]
        return current_graph() is before

    context = contextvars.copy_context()
    assert in_another_thread(close)
    assert graph.closed
    del context
    x = leaf(2.0)
    assert current_graph() is graph  # this thread is still inside the block
    with pytest.raises(GraphError, match="closed"):
        x * 2
    graph.__exit__(None, None, None)
    assert current_graph() is default
    (x * 2).backward()


def test_a_decorated_generator_is_in_its_mode_while_it_runs() -> None:
    x = leaf(1.0)

    @no_grad()
    def steps() -> Iterator[Any]:
        try:
            sent = yield (x * 2).requires_grad
            try:
                yield sent, (x * 2).requires_grad
            except KeyError:
                yield "thrown", is_grad_enabled()
        finally:
            left.append(is_grad_enabled())

    left: list[bool] = []
    generator: Any = steps()
    assert next(generator) is False
    assert is_grad_enabled()
    assert generator.send(7) == (7, False)
    assert generator.throw(KeyError()) == ("thrown", False)
    assert is_grad_enabled()
    generator.close()
    assert left == [False]
    assert list(steps()) == [False, (None, False)]
    assert is_grad_enabled()


def test_an_exception_ends_a_block_and_passes() -> None:
    before = current_graph()
    x = tensor([1.0], requires_grad=True)
    with pytest.raises(KeyError), AutogradGraph() as graph:
        y = x * 2
        raise KeyError
    assert graph.closed
    assert current_graph() is before
    assert y.item() == 2
    (x * 3).backward()  # the same leaf on the default graph
    assert_close(x.grad, torch.tensor([3.0]))
