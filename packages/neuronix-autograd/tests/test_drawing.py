"""Pictures: what they show, that they are the same for equal programs, and what happens where nothing can draw."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import torch

from neuronix.autograd import AutogradGraph, CustomTensor, drawing, errors, no_grad, tensor
from neuronix.autograd.drawing import record_gradients, to_dot, to_svg


def model() -> tuple[CustomTensor, dict[str, CustomTensor]]:
    generator = torch.Generator().manual_seed(0)
    weight = tensor(torch.randn(3, 4, generator=generator), requires_grad=True)
    bias = tensor(torch.randn(3, generator=generator, dtype=torch.float64), requires_grad=True)
    hidden = (torch.ones(5, 4) @ weight.mT + bias).tanh()
    return (hidden * 2).mean(), {"weight": weight, "bias": bias, "hidden": hidden}


def nodes_of(dot: str) -> dict[str, str]:
    """The labels, by identifier."""
    return dict(re.findall(r"^  (n[\d_]+) \[label=<(.*?)> (?:tooltip|color)=", dot, re.MULTILINE))


def edges_of(dot: str) -> list[tuple[str, str]]:
    """The edges between labels' first words."""
    labels = {name: re.sub(r"<.*?>", " ", label).split()[0] for name, label in nodes_of(dot).items()}
    return [(labels[a], labels[b]) for a, b in re.findall(r"^  (n[\d_]+) -> (n[\d_]+) ", dot, re.MULTILINE)]


class TestDot:
    def test_names_shapes_and_edges(self) -> None:
        loss, names = model()
        dot = to_dot(loss, names=names)
        labels = list(nodes_of(dot).values())
        assert "<b>weight</b><br/>(3, 4)" in labels  # float32 goes without saying
        assert "<b>bias</b><br/>(3,) float64" in labels
        assert "<b>hidden</b> = tanh<br/>(5, 3)" in labels
        assert labels[-1] == "<b>mean</b><br/>()"
        edges = edges_of(dot)
        assert ("bias", "add") in edges
        assert edges[-1] == ("mul", "mean")
        assert len(labels) == len(edges) + 1

    def test_names_as_named_parameters_gives_them(self) -> None:
        loss, names = model()
        assert to_dot(loss, names=iter(names.items())) == to_dot(loss, names=names)

    def test_without_names(self) -> None:
        loss, _ = model()
        assert "<b>leaf</b><br/>(3,)" in to_dot(loss)

    def test_equal_programs_give_equal_pictures(self) -> None:
        first, first_names = model()
        second, second_names = model()
        for loss in (first, second):
            with record_gradients(loss):
                loss.backward()
        assert to_dot(first, names=first_names) == to_dot(second, names=second_names)

    def test_a_tensor_used_twice_has_two_lines(self) -> None:
        x = tensor([1.0], requires_grad=True)
        assert edges_of(to_dot(x * x)) == [("leaf", "mul"), ("leaf", "mul")]

    def test_saved_values(self) -> None:
        x = tensor([1.0, 2.0], requires_grad=True)
        y = x.exp() * 3
        assert "keeps out (2,)" in to_dot(y, show_saved=True)
        y.sum().backward()
        assert "freed" in to_dot(y, show_saved=True)
        assert "keeps" not in to_dot(y, show_saved=True)
        assert "freed" not in to_dot(y)

    def test_constants(self) -> None:
        x = tensor([1.0, 2.0], requires_grad=True)
        dot = to_dot(x * 3 + torch.ones(2), show_constants=True)
        assert [label for label in nodes_of(dot).values() if not label.startswith("<b>")] == ["3", "constant"]
        assert "n1_1 -> n1 " in dot
        assert "n1_1" not in to_dot(x * 3 + torch.ones(2))

    def test_one_result_of_several_is_drawn_in_one(self) -> None:
        x = tensor([[1.0, 2.0], [4.0, 3.0]], requires_grad=True)
        first, second = x.unbind(0)
        assert edges_of(to_dot(first)) == [("leaf", "unbind[0]")]
        assert edges_of(to_dot([first, second])) == [
            ("leaf", "unbind"),
            ("unbind", "unbind[0]"),
            ("unbind", "unbind[1]"),
        ]

    def test_several_targets(self) -> None:
        x = tensor([1.0], requires_grad=True)
        dot = to_dot([x * 2, (x * 3).grad_fn])
        assert edges_of(dot) == [("leaf", "mul"), ("leaf", "mul")]
        assert dot.count("#15803d") == 2  # both are drawn as targets

    def test_a_leaf_alone(self) -> None:
        x = tensor([1.0], requires_grad=True)
        assert nodes_of(to_dot(x, names={"x": x})) == {"n0": "<b>x</b><br/>(1,)"}

    def test_a_leaf_that_is_gone(self) -> None:
        y = tensor([1.0], requires_grad=True) * 2
        assert edges_of(to_dot(y)) == [("leaf", "mul")]

    def test_options(self) -> None:
        x = tensor([1.0], requires_grad=True)
        dot = to_dot(x * 2, title='A "title" & more', rankdir="LR")
        assert "rankdir=LR" in dot
        assert "<b>A &quot;title&quot; &amp; more</b>" in dot

    def test_names_are_escaped(self) -> None:
        x = tensor([1.0], requires_grad=True)
        assert "<b>&lt;x&gt; \\".replace("\\", "&#92;") in to_dot(x * 2, names={"<x> \\": x})
        to_svg(x * 2, names={"<x> \\": x, 'a"b': x})

    @pytest.mark.parametrize(
        ("target", "message"),
        [
            (tensor([1.0]), "doesn't require grad: there is no graph"),
            (torch.ones(2), "can't draw the graph of a Tensor"),
            (3, "can't draw the graph of a int"),
            (AutogradGraph(), "has no nodes to draw"),
        ],
    )
    def test_nothing_to_draw(self, target: Any, message: str) -> None:
        with pytest.raises(errors.GraphError, match=message):
            to_dot(target)


class TestGradientSizes:
    def test_every_node_has_its_size(self) -> None:
        x = tensor([3.0, 4.0], requires_grad=True)
        y = x * x
        loss = y.sum()
        with record_gradients(loss):
            loss.backward()
        labels = {re.sub(r"<.*?>", " ", label).split()[0]: label for label in nodes_of(to_dot(loss)).values()}
        assert ">grad 1<" in labels["sum"]
        assert f">grad {math.sqrt(2):.3g}<" in labels["mul"]
        assert ">grad 10<" in labels["leaf"]  # |2x| = |(6, 8)|
        assert "Euclidean norm" in to_dot(loss)

    def test_nothing_else_changes(self) -> None:
        loss, names = model()
        other, other_names = model()
        loss.backward()
        with record_gradients(other):
            other.backward()
        for name in ("weight", "bias"):
            assert torch.equal(names[name].grad, other_names[name].grad)
        assert not other.grad_fn.hooks
        assert not other_names["weight"]._hooks

    def test_leaves_show_their_grad(self) -> None:
        x = tensor([3.0, 4.0], requires_grad=True)
        loss = (x * x).sum()
        assert "grad" not in to_dot(loss)
        loss.backward()
        assert to_dot(loss).count(">grad ") == 1
        assert ">grad 10<" in to_dot(loss)

    def test_several_results_count_together(self) -> None:
        x = tensor([[1.0, 2.0], [4.0, 3.0]], requires_grad=True)
        first, second = x.unbind(0)
        loss = (first * 3).sum() + (second * 4).sum()
        with record_gradients(loss):
            loss.backward()
        unbind = first.grad_fn.parents[0]
        assert unbind.notes == {"gradient": pytest.approx(math.sqrt(2 * 9 + 2 * 16))}

    @pytest.mark.parametrize(("factor", "text"), [(0.0, "grad 0<"), (math.nan, "grad nan<"), (math.inf, "grad inf<")])
    def test_what_is_broken_is_red(self, factor: float, text: str) -> None:
        x = tensor([1.0, 2.0], requires_grad=True)
        loss = (x * factor).sum()
        loss.backward()
        dot = to_dot(loss)
        assert text in dot
        assert "#dc2626" in dot
        to_svg(loss)

    def test_lines_are_the_thicker_the_larger_the_gradient(self) -> None:
        x, y = tensor([1.0], requires_grad=True), tensor([1.0], requires_grad=True)
        loss = (x * 1000 + y).sum()
        loss.backward()
        thick, thin = (float(width) for width in re.findall(r"-> .*penwidth=([\d.]+)", to_dot(loss)))
        assert thin < thick <= 4

    def test_hooks_are_removed_after_an_error(self) -> None:
        x = tensor([1.0], requires_grad=True)
        loss = x * 2
        with pytest.raises(ZeroDivisionError), record_gradients(loss):
            raise ZeroDivisionError
        assert not loss.grad_fn.hooks

    def test_integer_results_are_left_out(self) -> None:
        x = tensor([[1.0, 2.0]], requires_grad=True)
        values, positions = x.max(1)
        assert not positions.requires_grad
        with record_gradients(values):
            values.sum().backward()
        assert "grad 1<" in to_dot(values)


class TestGraphMethods:
    def test_a_whole_graph(self, tmp_path: Path) -> None:
        x = tensor([1.0, 2.0], requires_grad=True)
        with AutogradGraph() as graph:
            loss = (x * x).sum()
            other = x.exp()
            assert graph.to_dot() == to_dot(graph)
            assert edges_of(graph.to_dot(names={"x": x}))[:3] == [("x", "mul"), ("x", "mul"), ("mul", "sum")]
            loss.backward()
            assert ">grad" in graph.to_dot()  # what the pass freed isn't needed to draw
            svg = graph.to_svg(tmp_path / "graph.svg", names={"x": x}, title="a step")
        assert (tmp_path / "graph.svg").read_text(encoding="utf-8") == svg
        assert other.requires_grad

    def test_after_the_end_the_last_operation_is_left(self) -> None:
        x = tensor([1.0, 2.0], requires_grad=True)
        with AutogradGraph():
            loss = (x * x).sum()
        assert list(nodes_of(to_dot(loss)).values()) == ["<b>sum</b><br/>()"]


class TestSvg:
    def test_is_a_picture_with_the_names(self, tmp_path: Path) -> None:
        loss, names = model()
        svg = to_svg(loss, tmp_path / "graph.svg", names=names)
        assert (tmp_path / "graph.svg").read_text(encoding="utf-8") == svg
        root = ElementTree.fromstring(svg)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        text = " ".join(root.itertext())
        assert "weight" in text
        assert "(5, 3)" in text

    def test_notebooks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        x = tensor([1.0], requires_grad=True)
        y = x * 2
        assert "<svg" in (y._repr_svg_() or "")
        assert x._repr_svg_() is None
        assert tensor([1.0])._repr_svg_() is None
        for _ in range(drawing.LARGEST_IN_NOTEBOOK):
            y = y * 1
        assert y._repr_svg_() is None
        monkeypatch.setattr(drawing, "_program", lambda: None)
        assert (x * 2)._repr_svg_() is None

    def test_without_a_program(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(drawing.shutil, "which", lambda *args, **kwargs: None)
        y = tensor([1.0], requires_grad=True) * 2
        with pytest.raises(errors.DrawingError, match=r'pip install "neuronix-autograd\[draw\]"'):
            to_svg(y)
        assert to_dot(y)

    def test_falls_back_to_a_systems_dot(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def which(name: str, path: str | None = None) -> str | None:
            return "/usr/bin/dot" if name == "dot" else None

        monkeypatch.setattr(drawing.shutil, "which", which)
        assert drawing._program() == "/usr/bin/dot"

    def test_a_program_that_fails(self) -> None:
        with pytest.raises(errors.DrawingError, match="failed with status"):
            drawing._draw("digraph {")

    def test_drawing_records_nothing(self) -> None:
        x = tensor([1.0], requires_grad=True)
        with AutogradGraph() as graph:
            y = x * 2
            before = graph.num_nodes()
            to_svg(y)
            assert graph.num_nodes() == before
        with no_grad():
            assert to_dot(y)


def test_a_long_chain_is_no_recursion() -> None:
    y = tensor([1.0], requires_grad=True)
    for _ in range(5000):
        y = y * 1
    assert to_dot(y).count(" -> ") == 5000
