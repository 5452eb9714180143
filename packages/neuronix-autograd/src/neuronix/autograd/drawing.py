"""Pictures of a computation graph.

`to_dot` writes the DOT language and needs nothing; `to_svg` has it laid out by ``graphviz-pure`` (the extra ``draw``)
or by a system's ``dot``.  Arguments stand above results, as data flows; gradients flow the other way, and
`record_gradients` makes a backward pass leave their sizes in the picture.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from neuronix.autograd.errors import DrawingError, GraphError
from neuronix.autograd.graph import AutogradGraph, current_graph
from neuronix.autograd.node import LeafNode, Node, OutputNode
from neuronix.autograd.tensor import CustomTensor

__all__ = ["record_gradients", "to_dot", "to_svg"]

Target: TypeAlias = CustomTensor | Node | AutogradGraph | Sequence[CustomTensor | Node]
Names: TypeAlias = Mapping[str, Any] | Iterable[tuple[str, Any]]

# A notebook shows the picture of any tensor that ends a cell; a large one would take seconds and tell nobody anything.
LARGEST_IN_NOTEBOOK = 300

_STYLES = {
    "leaf": 'color="#2563eb" fillcolor="#dbeafe"',
    "operation": 'color="#9ca3af" fillcolor="#f6f7f9"',
    "target": 'color="#15803d" fillcolor="#dcfce7" penwidth=1.6',
    "output": 'color="#9ca3af" fillcolor="white" margin="0.06,0.02" height=0.2',
    "constant": 'color="#9ca3af" fillcolor="white" style="rounded,dashed" margin="0.06,0.02" height=0.2',
    "broken": 'color="#dc2626" fillcolor="#fee2e2" penwidth=1.6',
}
_THINNEST, _THICKEST = 0.6, 4.0


def to_dot(
    target: Target,
    *,
    names: Names | None = None,
    title: str | None = None,
    show_saved: bool = False,
    show_constants: bool = False,
    rankdir: str = "TB",
) -> str:
    """Write the graph behind ``target`` in the DOT language of Graphviz.

    Each node shows its operation and the shape of its result; leaves show their names and, where they aren't float32,
    their dtype.  After a backward pass leaves show the size of their gradient, and with
    [`record_gradients`][neuronix.autograd.drawing.record_gradients] every node does; the lines are the thicker the
    larger it is, and a gradient of zeros, infinite or not a number stands out in red.

    Args:
        target: A tensor, its node, several of them, or a whole graph.
        names: Names of leaves and results: a mapping from name to tensor, or pairs as ``named_parameters()`` gives.
        title: Stands above the picture.
        show_saved: Show which values each node keeps for the backward pass.
        show_constants: Show arguments that don't require grad.
        rankdir: ``"TB"`` draws from top to bottom, ``"LR"`` from left to right.

    Returns:
        The text; the same for equal programs.

    Raises:
        GraphError: If ``target`` has no history.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.autograd.drawing import to_dot
        >>> w = tensor([1.0, 2.0], requires_grad=True)
        >>> print(to_dot((w * 3).sum(), names={"w": w}))
        digraph {
          ...
          n0 [label=<<b>w</b><br/>(2,)> ...];
          n1 [label=<<b>mul</b><br/>(2,)> ...];
          n2 [label=<<b>sum</b><br/>()> ...];
          n0 -> n1 [...];
          n1 -> n2 [...];
        }
    """
    roots, nodes = _nodes_of(target)
    naming = _Naming(names)
    sizes = {node: size for node in nodes if (size := _gradient_size(node)) is not None}
    widths = _widths(sizes)
    drawn_by = _drawn_by(nodes)
    places: dict[Node, list[Node]] = {}
    for node in nodes:
        places.setdefault(drawn_by[node], []).append(node)
    identity = {node: f"n{position}" for position, node in enumerate(places)}
    lines = ["digraph {", *_header(rankdir, title, bool(sizes))]
    for node, name in identity.items():
        label = _label(node, naming, sizes.get(node), places[node] if show_saved else ())
        style = _STYLES[_style(places[node], roots, sizes.get(node))]
        lines.append(f'  {name} [label=<{label}> tooltip="{_escape(_tooltip(node))}" {style}];')
    for node in nodes:
        name = identity[drawn_by[node]]
        for position, parent in enumerate(node.parents):
            argument = _argument_name(node, position)
            if parent is not None and drawn_by[parent] is not drawn_by[node]:
                width = f" penwidth={widths[parent]:.2f}" if parent in widths else ""
                weight = "" if parent.is_leaf else " weight=4"  # keeps what is computed in a line, parameters beside it
                source = identity[drawn_by[parent]]
                lines.append(f'  {source} -> {name} [edgetooltip="{_escape(argument)}"{weight}{width}];')
            elif parent is None and show_constants:
                text = _escape(_constant(node, argument))
                lines.append(f"  {name}_{position} [label=<{text}> {_STYLES['constant']} fontsize=9];")
                lines.append(f'  {name}_{position} -> {name} [edgetooltip="{_escape(argument)}" style=dashed];')
    return "\n".join([*lines, "}"]) + "\n"


def to_svg(target: Target, path: str | os.PathLike[str] | None = None, **options: Any) -> str:
    """Draw the graph behind ``target`` as an SVG picture.

    Args:
        target: A tensor, its node, several of them, or a whole graph.
        path: A file to write the picture to.
        options: As for [`to_dot`][neuronix.autograd.drawing.to_dot].

    Returns:
        The picture's source.

    Raises:
        GraphError: If ``target`` has no history.
        DrawingError: If no program that draws is found, or it fails.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.autograd.drawing import to_svg
        >>> w = tensor([1.0, 2.0], requires_grad=True)
        >>> "<svg" in to_svg((w * 3).sum(), names={"w": w})
        True
    """
    svg = _draw(to_dot(target, **options))
    if path is not None:
        Path(path).write_text(svg, encoding="utf-8")
    return svg


def svg_or_none(tensor: CustomTensor) -> str | None:
    """The picture that a notebook shows for a tensor; ``None`` if it has no history, a long one, or nothing draws."""
    if not tensor.requires_grad or tensor.is_leaf or _program() is None:
        return None
    _, nodes = _nodes_of(tensor)
    return to_svg(tensor) if len(nodes) <= LARGEST_IN_NOTEBOOK else None


@contextmanager
def record_gradients(target: Target) -> Iterator[None]:
    """Let the backward passes of a block note the size of the gradient that arrives at each node behind ``target``.

    The size is the Euclidean norm.  It is noted on the nodes, so a picture shows it as long as they live.

    Args:
        target: What ``backward()`` is going to be called on.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.autograd.drawing import record_gradients, to_dot
        >>> w = tensor([3.0, 4.0], requires_grad=True)
        >>> loss = (w * w).sum()
        >>> with record_gradients(loss):
        ...     loss.backward()
        >>> [node.notes["gradient"] for node in (loss.grad_fn, loss.grad_fn.parents[0])]
        [1.0, 1.4142...]
    """
    _, nodes = _nodes_of(target)
    handles = []
    try:
        for node in nodes:
            if isinstance(node, LeafNode):
                leaf = node.leaf()
                if leaf is not None:
                    handles.append(leaf.register_hook(_note_on(node)))
            else:
                handles.append(node.add_hook(_note_on(node)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _note_on(node: Node) -> Any:
    def note(grad: Any) -> None:
        node.note("gradient", _norm(grad))

    return note


# What there is to draw


def _nodes_of(target: Target) -> tuple[set[Node], list[Node]]:
    """The nodes that the picture is of, and all nodes behind them in the order of recording."""
    if isinstance(target, AutogradGraph):
        nodes = target.nodes()
        if not nodes:
            raise GraphError(
                f"{target!r} has no nodes to draw", hint="draw it before its block ends, or keep its results"
            )
        arguments = {parent for node in nodes for parent in node.parents}
        return {node for node in nodes if node not in arguments}, nodes
    roots = {_node_of(item) for item in (target if isinstance(target, (list, tuple)) else [target])}
    found, stack = set(roots), list(roots)
    while stack:
        for parent in stack.pop().parents:
            if parent is not None and parent not in found:
                found.add(parent)
                stack.append(parent)
    return roots, sorted(found, key=lambda node: node.sequence)


def _node_of(item: Any) -> Node:
    if isinstance(item, Node):
        return item
    if not isinstance(item, CustomTensor):
        raise GraphError(f"can't draw the graph of a {type(item).__name__}: expected a CustomTensor, a node or a graph")
    node = item.grad_fn or (current_graph().leaf_node(item) if item.requires_grad else None)
    if node is None:
        raise GraphError(
            f"the tensor of shape {tuple(item.shape)} doesn't require grad: there is no graph behind it",
            hint="compute it from tensors with requires_grad=True, outside no_grad()",
        )
    return node


def _drawn_by(nodes: Sequence[Node]) -> dict[Node, Node]:
    """For each node the one in whose place it is drawn: mostly itself.

    An operation with several results of which one alone is used is drawn as that result.
    """
    users: dict[Node, list[Node]] = {}
    for node in nodes:
        for parent in node.parents:
            if parent is not None:
                users.setdefault(parent, []).append(node)
    return {
        node: using[0] if len(using := users.get(node, [])) == 1 and _selects_from(using[0], node) else node
        for node in nodes
    }


def _selects_from(node: Node, operation: Node) -> bool:
    return isinstance(node, OutputNode) and node.parents[0] is operation and operation.shape is None


class _Naming:
    """The names that the caller gave, by leaf and by node."""

    def __init__(self, names: Names | None) -> None:
        self.leaves: dict[int, str] = {}
        self.results: dict[Node, str] = {}
        pairs = [] if names is None else names.items() if isinstance(names, Mapping) else names
        for name, tensor in pairs:
            if isinstance(tensor, CustomTensor) and tensor.grad_fn is not None:
                self.results[tensor.grad_fn] = name
            else:
                self.leaves[id(tensor)] = name

    def of(self, node: Node) -> str | None:
        if not isinstance(node, LeafNode):
            return self.results.get(node)
        leaf = node.leaf()
        return None if leaf is None else self.leaves.get(id(leaf))


def _gradient_size(node: Node) -> float | None:
    """The size noted in a backward pass; of a leaf otherwise that of its ``.grad``."""
    if node.notes is not None and "gradient" in node.notes:
        return float(node.notes["gradient"])
    leaf = node.leaf() if isinstance(node, LeafNode) else None
    return None if leaf is None or leaf.grad is None else _norm(leaf.grad)


def _norm(grad: Any) -> float:
    """The Euclidean norm; of an operation with several results that of all their gradients together."""
    parts = grad if isinstance(grad, (list, tuple)) else [grad]
    values = [part.data if isinstance(part, CustomTensor) else part for part in parts if part is not None]
    return math.hypot(*(float(torch.linalg.vector_norm(value.to_dense())) for value in values))


def _widths(sizes: Mapping[Node, float]) -> dict[Node, float]:
    """Line widths: the logarithm of the size, from the smallest to the largest in the picture."""
    logarithms = {node: math.log10(size) for node, size in sizes.items() if size > 0 and math.isfinite(size)}
    if not logarithms:
        return {}
    low, high = min(logarithms.values()), max(logarithms.values())
    span = max(high - low, 1.0)  # sizes within one order of magnitude shall look alike
    return {node: _THINNEST + (_THICKEST - _THINNEST) * (value - low) / span for node, value in logarithms.items()}


# What a node says


def _header(rankdir: str, title: str | None, has_gradients: bool) -> list[str]:
    lines = [f"<b>{_escape(title)}</b>"] if title else []
    if has_gradients:
        lines.append('<font point-size="9">grad: Euclidean norm of the gradient that arrived there</font>')
    label = f" label=<{'<br/>'.join(lines)}> labelloc=t" if lines else ""
    return [
        f'  graph [rankdir={rankdir} nodesep=0.2 ranksep=0.28 bgcolor=white fontname="Helvetica" fontsize=12{label}];',
        '  node [shape=box style="rounded,filled" fontname="Helvetica" fontsize=10 margin="0.1,0.04" height=0.3];',
        '  edge [color="#6b7280" arrowsize=0.6];',
    ]


def _label(node: Node, naming: _Naming, size: float | None, keepers: Sequence[Node]) -> str:
    name = naming.of(node)
    if name is None or isinstance(node, LeafNode):
        head = f"<b>{_escape(name or node.name)}</b>"
    else:
        head = f"<b>{_escape(name)}</b> = {_escape(node.name)}"
    lines = [head]
    if node.shape is not None:
        lines.append(_escape(_shape(node.shape) + _dtype(node)))
    lines += [f'<font point-size="8">{_escape(kept)}</font>' for keeper in keepers if (kept := _kept(keeper))]
    if size is not None:
        color = "#b91c1c" if _is_broken(size) else "#92400e"
        lines.append(f'<font point-size="9" color="{color}">grad {size:.3g}</font>')
    return "<br/>".join(lines)


def _style(place: Sequence[Node], roots: set[Node], size: float | None) -> str:
    """How the place of a node is drawn, or that of an operation together with its only result."""
    if size is not None and _is_broken(size):
        return "broken"
    if isinstance(place[0], LeafNode):
        return "leaf"
    if not roots.isdisjoint(place):
        return "target"
    return "output" if isinstance(place[0], OutputNode) else "operation"


def _is_broken(size: float) -> bool:
    """Whether a gradient of this size teaches nothing."""
    return size == 0 or not math.isfinite(size)


def _kept(node: Node) -> str:
    """The saved values, as in ``keeps x (32, 10), y=3``."""
    if node.freed:
        return "" if isinstance(node, (LeafNode, OutputNode)) else "freed"
    parts = []
    for name, value in node.saved_values.items():
        if isinstance(value, torch.Size):
            parts.append(f"shape of {name}")
        elif isinstance(value, Tensor):
            parts.append(f"{name} {_shape(value.shape)}")
        elif isinstance(value, (int, float, str)):
            parts.append(f"{name}={value}")
        elif value is not None:
            parts.append(name)
    return f"keeps {', '.join(parts)}" if parts else ""


def _constant(node: Node, argument: str) -> str:
    """What can be said about an argument that doesn't require grad: its value or shape, where the node keeps it."""
    value = node.saved_values.get(argument)
    if isinstance(value, Tensor):
        return (
            f"{value.item():.4g}" if value.ndim == 0 and not value.is_complex() else f"constant {_shape(value.shape)}"
        )
    return str(value) if isinstance(value, (int, float)) else "constant"


def _argument_name(node: Node, position: int) -> str:
    """The parameter that a parent was given for."""
    names = getattr(node.op, "differentiable", ())
    if isinstance(node, OutputNode) or not names:
        return ""
    return str(names[min(position, len(names) - 1)])  # a list argument comes last and fills the rest


def _tooltip(node: Node) -> str:
    """The first line of the operation's documentation."""
    forward = getattr(node.op, "forward", None)  # a leaf's stand-in has none
    documentation = (getattr(forward, "__doc__", None) or "").strip()
    return f"{node.name}: {documentation.splitlines()[0]}" if documentation else node.name


def _shape(shape: Sequence[int]) -> str:
    return str(tuple(shape))


def _dtype(node: Node) -> str:
    leaf = node.leaf() if isinstance(node, LeafNode) else None
    return "" if leaf is None or leaf.dtype is torch.float32 else f" {str(leaf.dtype).removeprefix('torch.')}"


def _escape(text: str) -> str:
    import html  # here, because its table of entities takes longer to import than the rest of this module

    return html.escape(text, quote=True).replace("\\", "&#92;")


# DOT to SVG


def _program() -> str | None:
    """The program that lays out: graphviz-pure beside this Python or on the path, else a system's dot."""
    places = [sysconfig.get_path("scripts"), str(Path(sys.executable).parent)]
    return (
        shutil.which("graphviz-pure", path=os.pathsep.join(places))
        or shutil.which("graphviz-pure")
        or shutil.which("dot")
    )


def _draw(dot: str) -> str:
    program = _program()
    if program is None:
        raise DrawingError(
            "drawing an SVG needs a program that lays graphs out, and neither graphviz-pure nor dot was found",
            hint='pip install "neuronix-autograd[draw]"; to_dot() needs neither',
        )
    done = subprocess.run([program, "-Tsvg"], input=dot, capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode != 0:
        raise DrawingError(f"{program} failed with status {done.returncode}: {done.stderr.strip()}")
    return done.stdout
