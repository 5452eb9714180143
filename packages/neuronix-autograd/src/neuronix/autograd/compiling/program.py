"""A traced step: its graph, where its inputs come from and where its outputs go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from neuronix.autograd.compiling import passes
from neuronix.autograd.compiling.places import Held, Places
from neuronix.autograd.tensor import CustomTensor, new_result

__all__ = ["Program", "Write"]


class Write(NamedTuple):
    """Something that the step leaves in the state.

    Attributes:
        kind: ``"grad"`` or ``"data"`` of a `CustomTensor`, or ``"item"`` of a dict.
        target: Which `CustomTensor`, or which dict.
        name: Of the item.
        output: Which output of the graph; ``None`` if the step leaves ``None``.
    """

    kind: str
    target: int
    name: Any
    output: int | None


class Program:
    """What a trace gives, and what runs.

    Attributes:
        graph: The traced graph.
        function: The compiled one.
        tensors: What the trace had as inputs; dropped once the program is bound.
    """

    def __init__(
        self,
        graph: Any,
        tensors: Sequence[Tensor],
        origins: Sequence[int | None],
        writes: Sequence[Write],
        result: tuple[list[tuple[str, Any]], Any],
    ) -> None:
        self.graph = graph
        self.function: Callable[..., Any] = graph
        self.tensors = list(tensors)
        self.is_constant = [origin is None for origin in origins]
        self.writes = writes
        self.kept, self.structure = result
        self.inputs: list[int] = []
        self.constants: dict[int, Tensor] = {}
        nodes = [node for node in graph.graph.nodes if node.op == "placeholder"]
        changed = {root for node in graph.graph.nodes for root in passes.written(node)}
        self.changed = [position for position, node in enumerate(nodes) if node in changed]

    def bind(self, places: Places) -> None:
        """Note where among the tensors of a call the inputs are; the others are constants of the trace."""
        positions = {id(tensor): position for position, tensor in enumerate(places.tensors)}
        for number, (tensor, is_constant) in enumerate(zip(self.tensors, self.is_constant, strict=True)):
            self.inputs.append(-1 if is_constant else positions[id(tensor)])
            if is_constant:
                self.constants[number] = tensor
        self.tensors = []

    def run(self, held: Sequence[Held], tensors: Sequence[Tensor], customs: Sequence[CustomTensor]) -> Any:
        """Run the compiled graph, and leave everything where the step would have.

        Args:
            held: The dicts of arguments and state.
            tensors: The tensors in them, each once.
            customs: The `CustomTensor`s in them.
        """
        inputs = [tensors[p] if p >= 0 else self.constants[n] for n, p in enumerate(self.inputs)]
        with torch.no_grad():
            outputs = self.function(*inputs)
        if self.changed:
            torch._C._increment_version([inputs[position] for position in self.changed])
        for kind, target, name, output in self.writes:
            value: Any = None if output is None else outputs[output]
            if kind == "grad":
                customs[target]._grad = value
            elif kind == "data":
                customs[target]._data = value
            else:
                held[target][0][name] = value
        leaves: list[Any] = []
        for kind, value in self.kept:
            if kind == "constant":
                leaves.append(value)
            elif kind == "number":
                leaves.append(tensors[value].item())
            else:
                leaves.append(new_result(outputs[value], None) if kind == "custom" else outputs[value])
        return pytree.tree_unflatten(leaves, self.structure)
