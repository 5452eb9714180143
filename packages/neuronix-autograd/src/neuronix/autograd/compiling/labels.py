"""Where each array operation of a graph came from, and the graph as text."""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from neuronix.autograd.backward import backward, grad
from neuronix.autograd.watching.anomaly import Line, user_line

__all__ = ["Label", "as_text", "labelled"]


class Label(NamedTuple):
    """Where an array operation came from.

    Attributes:
        part: ``"forward"``, ``"backward"`` or ``"update"`` (whatever is neither).
        name: The operation, the rule, or the function.
        line: The user's line, if it is known.
    """

    part: str
    name: str
    line: Line | None


@contextmanager
def labelled() -> Iterator[Any]:
    """Label each node of the graph that is being traced; the block gets the tracer."""
    from torch.fx.experimental.proxy_tensor import get_proxy_mode

    tracer: Any = get_proxy_mode().tracer  # type: ignore[union-attr]
    create = tracer.create_node

    def create_node(*args: Any, **kwargs: Any) -> Any:
        node = create(*args, **kwargs)
        node.meta["neuronix"] = _label()
        return node

    tracer.create_node = create_node
    try:
        yield tracer
    finally:
        del tracer.create_node


def _label() -> Label:
    """From the stack: the innermost operation, or the rule that is running."""
    frame: Any = sys._getframe(2)
    inner, name, ours, part = None, None, None, "update"
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith("<neuronix primitive"):
            if code.co_name == "pullback":
                node = frame.f_locals["node"]
                rule = inner.f_code.co_name if inner is not None else node.name
                return Label("backward", rule, (node.notes or {}).get("line"))
            name = code.co_name
        elif _is_ours(code.co_filename):
            ours = ours or getattr(code, "co_qualname", code.co_name)
            if code is backward.__code__ or code is grad.__code__:
                part = "backward"  # its first gradient, or what it leaves in `.grad`
        inner, frame = frame, frame.f_back
    if name is not None:
        return Label("forward", name, user_line())
    return Label(part, ours or "", user_line())


_HERE = __file__.removesuffix("labels.py")


def _is_ours(filename: str) -> bool:
    return filename.startswith(tuple(sys.modules["neuronix"].__path__)) and not filename.startswith(_HERE)


def as_text(graph: Any) -> str:
    rows: list[tuple[str, str]] = []
    part = None
    for node in graph.graph.nodes:
        label = node.meta.get("neuronix")
        if node.op == "placeholder":
            value = node.meta.get("val")
            shape = "" if value is None else f"{str(value.dtype).removeprefix('torch.')}{tuple(value.shape)}"
            rows.append((f"{node.name}: {shape}", ""))
            continue
        if node.op == "output":
            rows.append((f"return {', '.join(map(str, node.args[0]))}", ""))
            continue
        if label is not None and label.part != part:
            part = label.part
            rows.append((f"# {part}", ""))
        arguments = ", ".join([*map(str, node.args), *(f"{key}={value}" for key, value in node.kwargs.items())])
        target = str(node.target).removeprefix("aten.") if node.target is not operator.getitem else "getitem"
        came_from = "" if label is None else label.name + ("" if label.line is None else f"  {label.line}")
        rows.append((f"{node.name} = {target}({arguments})", came_from))
    width = min(100, max(len(code) for code, came_from in rows if came_from) if any(c for _, c in rows) else 0)
    return "\n".join(f"{code:<{width}}  # {came_from}" if came_from else code for code, came_from in rows)
