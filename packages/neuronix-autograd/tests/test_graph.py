"""The graph: its block, its index, its orders and checks."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from neuronix.autograd import AutogradGraph, collector, grad, no_grad, tensor
from neuronix.autograd.errors import GradientError, GraphError
from neuronix.autograd.testing import check_index


def test_the_order_is_youngest_first_and_starts_with_the_tensor() -> None:
    with AutogradGraph() as graph:
        x = tensor([1.0], requires_grad=True)
        a = x.exp()
        b = x.sin()
        y = a * b
        order = graph.reverse_toposort_from_tensor(y)
        assert [node.name for node in order] == ["mul", "sin", "exp", "leaf"]
        assert order == graph.reverse_toposort_from_tensor(order[0].index)
        assert order == graph.reverse_toposort_from_tensor(order[0])
        assert [node.name for node in graph.reverse_toposort_from_tensor(a)] == ["exp", "leaf"]


def test_the_index_agrees_with_the_nodes() -> None:
    with AutogradGraph() as graph:
        x = tensor([1.0, 2.0], requires_grad=True)
        y = (x * x).sum()
        assert (graph.num_nodes(), graph.num_edges()) == (3, 3)  # both arguments of the product are x
        check_index(graph)
        index = graph.graph
        assert {index[i]().name for i in index.node_indices()} == {"leaf", "mul", "sum"}
        del y
        gc.disable()
        try:
            assert graph.num_nodes() == 0
        finally:
            gc.enable()


def test_check_index_finds_an_edge_too_much_and_one_too_few() -> None:
    with AutogradGraph(check_cycles=False) as graph:
        x = tensor([1.0], requires_grad=True)
        y = x.exp().sin()
        first, last = (node.index for node in graph.nodes()[1:])
        graph.graph.add_edge(first, last, None)
        with pytest.raises(AssertionError, match="2 edge"):
            check_index(graph)
        graph.graph.remove_edge(first, last)
        graph.graph.remove_edge(first, last)
        with pytest.raises(AssertionError, match="0 edge"):
            check_index(graph)
        assert y.requires_grad


def test_a_cycle_made_by_hand_is_found_at_the_end_of_the_block() -> None:
    x = tensor([1.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="^Cycle detected in autograd graph$"), AutogradGraph() as graph:
        y = x.exp().sin()
        assert not graph.check_cycle()
        graph.graph.add_edge(y.grad_fn.index, y.grad_fn.parents[0].index, None)
        assert graph.check_cycle()
        with pytest.raises(GraphError, match="Cycle"):
            graph.reverse_toposort_from_tensor(y)
        with pytest.raises(AssertionError, match="edge|cycle"):
            check_index(graph)


def test_an_exception_from_inside_passes_unchanged() -> None:
    x = tensor([1.0], requires_grad=True)
    error = KeyError("mine")
    with pytest.raises(KeyError) as caught, AutogradGraph() as graph:
        y = x.exp()
        graph.graph.add_edge(y.grad_fn.index, y.grad_fn.index, None)
        raise error
    assert caught.value is error
    assert graph.closed


def test_a_closed_graph_refuses_and_its_values_stay() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    with AutogradGraph() as graph:
        y = (x * 2).sum()
    assert graph.closed
    assert graph.num_nodes() == 0
    with pytest.raises(GraphError, match="closed"):
        y.backward()
    with pytest.raises(GraphError, match="closed"):
        y * 2
    with pytest.raises(GraphError, match="closed"), graph:
        pass
    assert x.grad is None
    assert y.item() == 6
    assert int(y) == 6
    assert bool(y > 5)
    assert "6" in repr(y)
    assert (y.detach() * 2).item() == 12
    with no_grad():
        assert (y * 2).item() == 12


def test_without_cleanup_the_graph_stays() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    with AutogradGraph(auto_cleanup=False) as graph:
        y = (x * x).sum()
    assert graph.num_nodes() == 3
    y.backward()
    assert_close(x.grad, torch.tensor([2.0, 4.0]))


def test_nested_blocks_record_on_the_innermost() -> None:
    x = tensor([1.0], requires_grad=True)
    with AutogradGraph() as outer:
        a = x * 2
        with AutogradGraph() as inner:
            b = x * 3
            assert b.grad_fn.graph is inner
        c = x * 4
        assert a.grad_fn.graph is outer is c.grad_fn.graph


def test_a_foreign_or_unrecorded_tensor_has_no_place_in_the_order() -> None:
    x = tensor([1.0], requires_grad=True)
    other = x * 2
    with AutogradGraph() as graph:
        with pytest.raises(GraphError, match="wasn't recorded"):
            graph.reverse_toposort_from_tensor(other)
        with pytest.raises(GraphError, match="wasn't recorded"):
            graph.reverse_toposort_from_tensor(tensor([1.0]))
        with pytest.raises(GraphError, match="index 99"):
            graph.reverse_toposort_from_tensor(99)


def test_equal_programs_give_bit_identical_gradients() -> None:
    torch.manual_seed(0)
    values = torch.randn(50)

    def program() -> torch.Tensor:
        x = tensor(values, requires_grad=True)
        parts = [(x * k).sin() for k in range(1, 40)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part * part
        total.sum().backward()
        assert x.grad is not None
        return x.grad

    first = program()
    alive = []
    for seed in range(5):  # leave holes in the index, so that indices are used again in another order
        y = tensor([1.0], requires_grad=True)
        kept = [(y * k).exp() for k in range(30)]
        alive.append(kept[seed::3])
        assert torch.equal(program(), first)


def test_threads_have_graphs_of_their_own_that_combine() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    made = {}

    def work() -> None:
        made["y"] = x.exp()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    here = x.sin()
    both = (here * made["y"]).sum()
    assert here.grad_fn.graph is not made["y"].grad_fn.graph
    both.backward()
    expected = torch.exp(x.data) * (torch.sin(x.data) + torch.cos(x.data))
    assert_close(x.grad, expected)
    assert [n.name for n in both.grad_fn.graph.reverse_toposort_from_tensor(both)][:2] == ["sum", "mul"]


def test_threads_accumulate_into_a_shared_leaf_exactly() -> None:
    x = tensor(torch.zeros(3, dtype=torch.float64), requires_grad=True)

    def work() -> None:
        for _ in range(50):
            (x * 1.0).sum().backward()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_close(x.grad, torch.full((3,), 200.0, dtype=torch.float64), rtol=0, atol=0)


def test_results_thrown_away_leave_nothing_behind() -> None:
    x = tensor([1.0], requires_grad=True)
    y = x * 2
    graph = y.grad_fn.graph
    before = graph.num_nodes()
    for _ in range(40_000):  # more than twice the number after which the index is swept by itself
        x * 3
    assert graph._index.num_nodes() < 20_000
    assert graph.num_nodes() == before


def test_a_long_chain_of_operations() -> None:
    """100,000 of them, and 1,000,000 in the nightly run."""
    x = tensor(1.0, requires_grad=True, dtype=torch.float64)
    y = x
    for _ in range(1_000_000 if os.environ.get("NEURONIX_NIGHTLY") == "1" else 100_000):
        y = y * 1.0
    y.backward()
    assert x.grad is not None
    assert x.grad.item() == 1
    node = weakref.ref(y.grad_fn)
    del y
    assert node() is None


X, W = torch.ones(50, 4, dtype=torch.float64), torch.ones(4, 3, dtype=torch.float64)
SAVED = [  # an operation, and the bytes that its rules name
    ("sum", lambda x, w: x + x, 0),
    ("product with a constant", lambda x, w: x * X, X.nbytes),
    ("product", lambda x, w: x * x.detach().clone().requires_grad_(), 2 * X.nbytes),
    ("exp keeps its result", lambda x, w: x.exp(), X.nbytes),
    ("sin keeps its argument", lambda x, w: x.sin(), X.nbytes),
    ("a reduction keeps a shape", lambda x, w: x.sum(0), 0),
    ("a matrix product with a constant", lambda x, w: x @ W, W.nbytes),
    ("a matrix product", lambda x, w: x @ w, X.nbytes + W.nbytes),
    ("a view", lambda x, w: x.T, 0),
]


@pytest.mark.parametrize(("operation", "expected"), [row[1:] for row in SAVED], ids=[row[0] for row in SAVED])
def test_an_operation_saves_what_its_rules_name(operation: Callable[..., Any], expected: int) -> None:
    node = operation(tensor(X, requires_grad=True), tensor(W, requires_grad=True)).grad_fn
    saved = {id(value): value for value in node.saved_values.values() if isinstance(value, torch.Tensor)}
    assert sum(value.nbytes for value in saved.values()) == expected


def test_second_order_is_recorded_on_the_same_graph() -> None:
    with AutogradGraph() as graph:
        x = tensor(2.0, requires_grad=True)
        (first,) = grad(x**3, x, create_graph=True)
        assert first is not None
        assert first.grad_fn.graph is graph
        (second,) = grad(first, x)
        assert second.item() == 12
        check_index(graph)


def test_a_graph_shows_its_size() -> None:
    with AutogradGraph() as graph:
        x = tensor(2.0, requires_grad=True)
        y = x.exp()
        assert repr(graph) == "AutogradGraph(nodes=2, edges=1)"
        assert y.requires_grad
    assert repr(graph) == "AutogradGraph(closed)"


def test_errors_leave_gradients_as_they_were() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    w = tensor([3.0, 4.0], requires_grad=True)
    saved = w * x
    y = (x.exp() + saved).sum()
    with no_grad():
        w *= 2
    with pytest.raises(GradientError, match=r"mul: its argument 'x'.*modified"):
        y.backward()
    assert x.grad is None
    assert w.grad is None


def test_a_sweep_keeps_every_edge_between_live_nodes() -> None:
    with AutogradGraph(check_cycles=False) as graph:
        x = tensor([1.0, 2.0], requires_grad=True)
        hub = x.exp()
        kept = [hub * number for number in range(100) for _ in (hub.sin(),)]  # each second child of the hub dies
        square = hub * hub  # two edges
        joined = torch.stack(kept)
        assert graph.num_nodes() == 1 + 1 + 100 + 1 + 1
        assert graph.num_edges() == 1 + 100 + 2 + 100
        check_index(graph)
        graph.graph.add_edge(joined.grad_fn.index, square.grad_fn.index, None)
        hub.sin()
        assert graph.num_edges() == 204, "an edge that somebody added stays, too"
        joined.sum().backward()
    assert_close(x.grad, sum(range(100)) * x.data.exp())


@pytest.fixture
def thresholds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The collector's thresholds are 700, 10, 1, and no graph is large."""
    before = gc.get_threshold()
    monkeypatch.setattr(collector, "_live", weakref.WeakKeyDictionary())
    monkeypatch.setattr(collector, "_ours", None)
    monkeypatch.setattr(collector, "_others", 70_000)
    gc.set_threshold(700, 10, 1)
    yield
    gc.set_threshold(*before)


def record_many() -> list[Any]:
    return [tensor(1.0, requires_grad=True) * 2 for _ in range(collector.MANY)]


def test_the_collector_rests_while_a_graph_is_large(thresholds: None) -> None:
    with AutogradGraph() as graph:
        _alive = record_many()
        nodes = graph.num_nodes()
        assert nodes == 2 * collector.MANY, "an operation and a leaf each"
        assert gc.get_threshold() == (700, 10, (collector.CONTAINERS * nodes + 70_000) // 7000)
        with AutogradGraph() as small:
            assert small.num_nodes() == 0, "another graph changes nothing"
            assert gc.get_threshold()[2] > 1
        del _alive
        assert graph.num_nodes() == 0
        assert gc.get_threshold() == (700, 10, 1)
        _alive = record_many()
        graph.sweep()
        assert gc.get_threshold()[2] > 1
    assert gc.get_threshold() == (700, 10, 1), "a graph that is cleared isn't large any more"


def test_the_collector_is_left_to_whoever_has_set_it(thresholds: None) -> None:
    with AutogradGraph() as graph:
        _alive = record_many()
        graph.sweep()
        gc.set_threshold(700, 10, 2)
        del _alive
        graph.sweep()
        assert gc.get_threshold() == (700, 10, 2)
        gc.set_threshold(0, 10, 10)  # it is off
        _alive = record_many()
        graph.sweep()
        assert gc.get_threshold() == (0, 10, 10)
        gc.set_threshold(700, 10, 100)  # rarer than we would have it
        graph.sweep()
        assert gc.get_threshold() == (700, 10, 100)


def test_a_large_graph_that_is_dropped_unread_is_forgotten(thresholds: None) -> None:
    graph = AutogradGraph(auto_cleanup=False)
    with graph:
        _alive = record_many()
        graph.sweep()
    assert gc.get_threshold()[2] > 1
    del _alive, graph
    gc.collect()
    with AutogradGraph() as other:
        other.sweep()
    assert gc.get_threshold() == (700, 10, 1)
