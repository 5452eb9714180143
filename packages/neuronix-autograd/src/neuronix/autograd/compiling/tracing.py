"""One tracing of a step: stand-ins take the tensors' places, and what the step does with them is written down."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from neuronix.autograd.compiling import passes
from neuronix.autograd.compiling.labels import labelled
from neuronix.autograd.compiling.places import Place, Places, is_custom
from neuronix.autograd.compiling.program import Program, Write
from neuronix.autograd.compiling.reasons import reason
from neuronix.autograd.errors import CompileError
from neuronix.autograd.modes import rules_only
from neuronix.autograd.node import LeafNode, Node
from neuronix.autograd.tensor import CustomTensor
from neuronix.autograd.watching.anomaly import record_lines

__all__ = ["trace"]


def trace(step: Callable[..., Any], structure: Any, places: Places) -> Program:
    """Lead the tracer through a step.

    Args:
        step: The step.
        structure: Of its arguments, whose leaves are the values of the first dict of ``places``.
        places: Arguments and state.  All of it is afterwards as it was, whatever happens.

    Raises:
        CompileError: If it can't be traced.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    _check(places)
    tracing = _Tracing(places)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    stand_ins = [mode.from_tensor(tensor, static_shapes=True) for tensor in places.tensors]

    def traced(*inputs: Tensor) -> list[Tensor]:
        redirected = {identity: inputs[position] for identity, position in places.state_positions().items()}
        with tracing.replaced(inputs), labelled() as tracer, rules_only(), _Watch(places.customs), _Guard(redirected):
            leaves = list(places.held[0][0].values())
            args, kwargs = pytree.tree_unflatten(leaves, structure)
            tracing.see_result(step(*args, **kwargs), inputs)
            tracing.see_changes(inputs)
        tracing.before.clear()
        del leaves, args, kwargs
        _check_nothing_escaped(tracer, [*inputs, *tracing.outputs])
        return tracing.outputs

    random_state = torch.get_rng_state()
    try:
        with mode, torch.no_grad():
            graph = make_fx(traced)(*stand_ins)
    except Exception as error:
        why = reason(error)
        if why is None:
            raise
        raise CompileError(*why) from error
    finally:
        torch.set_rng_state(random_state)
    tensors = [*places.tensors, *passes.lift_constants(graph)]
    passes.drop_copies_of_gradients(graph)
    graph.graph.eliminate_dead_code()
    used = _name_inputs(graph, places)
    origins = [position if position < len(places.tensors) else None for position in used]
    return Program(graph, [tensors[position] for position in used], origins, tracing.writes, tracing.result)


def _check(places: Places) -> None:
    """Refuse, before anything is traced, what can't be an argument or state."""
    for tensor in places.tensors:
        if tensor.requires_grad:
            raise CompileError(
                f"compile: a tensor of shape {tuple(tensor.shape)} requires PyTorch's own gradient",
                hint="compile takes steps of Neuronix's: use CustomTensors, or x.detach()",
            )
    for place in places.places:
        if isinstance(place.value, CustomTensor) and place.value._node is not None:
            raise CompileError(
                f"compile: {_described(place)} is the result of {place.value._node.name}, whose history lies outside "
                "of the step",
                hint="compute it inside the step, or use its value alone, with .detach()",
            )


class _Tracing:
    """What a step leaves behind: its result, and what it has put into the state."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.outputs: list[Any] = []
        self.writes: list[Write] = []
        self.result: Any = None
        self.before: dict[int, dict[Any, Any]] = {}
        self.requires_grad = [x._requires_grad for x in places.customs]

    @contextmanager
    def replaced(self, inputs: Sequence[Tensor]) -> Iterator[None]:
        """The stand-ins in the places of the tensors, until the end of the block."""
        before = [(values, dict(values)) for values, _, _ in self.places.held]
        customs: list[Any] = [(x, x._data, x._grad, x._requires_grad, x._node, x._version) for x in self.places.customs]
        try:
            for place in self.places.places:
                tensors = [inputs[position] for position in place.inputs]
                if isinstance(place.value, CustomTensor):
                    place.value._data = tensors[0]
                    place.value._grad = tensors[1] if len(tensors) > 1 else None
                else:
                    values, _, _ = self.places.held[place.number]
                    values[place.name] = tuple(tensors) if isinstance(place.value, tuple) else tensors[0]
            self.before = {id(values): dict(values) for values, _, _ in self.places.held}
            yield
        finally:
            for values, earlier in before:
                for name in [name for name in values if name not in earlier]:
                    del values[name]
                values.update(earlier)
            for x, *attributes in customs:
                x._data, x._grad, x._requires_grad, x._node, x._version = attributes

    def _output(self, tensor: Tensor) -> int:
        self.outputs.append(tensor)
        return len(self.outputs) - 1

    def see_result(self, result: Any, inputs: Sequence[Tensor]) -> None:
        """Note what the step returns: tensors, and constants among them."""
        numbers = {id(inputs[place.inputs[0]]): place for place in self.places.places if isinstance(place.value, float)}
        leaves, structure = pytree.tree_flatten(result, is_leaf=is_custom)
        kept: list[tuple[str, Any]] = []
        for leaf in leaves:
            if isinstance(leaf, CustomTensor):
                kept.append(("custom", self._output(leaf._data)))
            elif id(leaf) in numbers:
                kept.append(("number", numbers[id(leaf)].inputs[0]))
            elif isinstance(leaf, Tensor):
                kept.append(("tensor", self._output(leaf)))
            else:
                kept.append(("constant", leaf))
        self.result = kept, structure

    def see_changes(self, inputs: Sequence[Tensor]) -> None:
        """Find what the step has put into the state; what it has changed in place is in the graph anyway."""
        of_custom = {id(p.value): p for p in self.places.places if isinstance(p.value, CustomTensor)}
        for number, x in enumerate(self.places.customs):
            self._see_custom(number, x, of_custom[id(x)], inputs)
        for number, (values, _, _) in enumerate(self.places.held):
            before = self.before[id(values)]
            for name in dict.fromkeys((*before, *values)):
                was, now = before.get(name), values.get(name)
                if was is now and name in values:
                    continue
                if (was is None or isinstance(was, Tensor)) and (now is None or isinstance(now, Tensor)):
                    self.writes.append(Write("item", number, name, None if now is None else self._output(now)))
                elif isinstance(was, (Tensor, CustomTensor)) or isinstance(now, CustomTensor) or was != now:
                    raise CompileError(
                        f"compile: the step changes {name!r} from {_short(was)} to {_short(now)}, which is no plain "
                        "tensor; compiled code would use the same value again at each call",
                        hint="change it outside the step, or keep it in a torch tensor",
                    )

    def _see_custom(self, number: int, x: CustomTensor, place: Place, inputs: Sequence[Tensor]) -> None:
        if x._node is not None:
            raise CompileError(
                f"compile: the step makes {_described(place)} the result of an operation",
                hint="change values under no_grad(), or through .data",
            )
        if x._requires_grad != self.requires_grad[number]:
            raise CompileError(
                f"compile: the step sets requires_grad of {_described(place)} to {x._requires_grad}, which compiled "
                "code wouldn't do",
                hint="change it outside the step; the next call then makes a new trace",
            )
        if x._data is not inputs[place.inputs[0]]:
            self.writes.append(Write("data", number, None, self._output(x._data)))
        had = inputs[place.inputs[1]] if len(place.inputs) > 1 else None
        if x._grad is not had:
            self.writes.append(Write("grad", number, None, None if x._grad is None else self._output(x._grad)))


def _check_nothing_escaped(tracer: Any, known: Sequence[Tensor]) -> None:
    """Refuse a step that keeps a tensor where nobody can put later ones: in an optimizer that isn't in the state."""
    expected = {id(tensor) for tensor in known}
    for collected in (False, True):
        escaped = [tensor for tensor in list(tracer.tensor_tracker) if id(tensor) not in expected]
        if not escaped:
            return
        if not collected:
            gc.collect()  # what hangs together in a cycle isn't kept by anybody
    proxies = [getattr(tracer.tensor_tracker[tensor], "proxy", None) for tensor in escaped]
    label = next((proxy.node.meta.get("neuronix") for proxy in proxies if proxy is not None), None)
    origin = "" if label is None else f", made by {label.name or 'the step'} ({label.line or 'line unknown'})"
    for tensor in escaped:
        _take_out(tensor, escaped)
    raise CompileError(
        f"compile: the step keeps a tensor of shape {tuple(escaped[0].shape)}{origin}, in something that isn't in "
        "`state`; compiled code couldn't put a new one there",
        hint="put what keeps it into `state` (the optimizer, say), or return it from the step and keep it outside",
    )


def _take_out(value: Any, ours: list[Any]) -> None:
    """Take a stand-in that the step has left behind out of the dicts and lists that hold it, save for ``ours``.

    What an object holds as an attribute stays: nobody knows what was there before.
    """
    for holder in gc.get_referrers(value):
        if isinstance(holder, CustomTensor):
            _take_out(holder, ours)
        elif type(holder) is list and holder is not ours:
            holder[:] = [item for item in holder if item is not value]
        elif type(holder) is dict and not any(_attributes(x) is holder for x in gc.get_referrers(holder)):
            for name in [name for name, item in holder.items() if item is value]:
                del holder[name]


def _attributes(x: Any) -> Any:
    """Return an object's attributes, if it has a dict for them."""
    return getattr(x, "__dict__", None)


def _name_inputs(graph: Any, places: Places) -> list[int]:
    """Name a graph's inputs after their places and drop those without use; return the positions of the others."""
    names = {
        position: _input_name(place, n, "argument" if place.number == 0 else "tensor")
        for place in places.places[::-1]  # a tied tensor is called as where it was met first
        for n, position in enumerate(place.inputs)
    }
    used = []
    for position, node in enumerate([node for node in graph.graph.nodes if node.op == "placeholder"]):
        if node.users:
            used.append(position)
            name = names.get(position, "constant")
            node.name = node.target = graph.graph._graph_namespace.create_name(name, None)
        else:
            graph.graph.erase_node(node)
    graph.recompile()
    return used


def _input_name(place: Place, number: int, kind: str) -> str:
    name = f"{kind}_{place.name}" if isinstance(place.name, int) else str(place.name)
    if isinstance(place.value, CustomTensor) and number == 1:
        return f"{name}_grad"
    return f"{name}_{number}" if isinstance(place.value, tuple) else name


def _described(place: Place) -> str:
    return f"{place.name!r}, a tensor of the state or an argument,"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 40 else f"a {type(value).__name__}"


class _Guard(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every array operation of a step: nothing real may be changed while it is traced.

    A tensor of the state that the step knows by another name, as after ``values = w.data``, is the state's
    stand-in; any other tensor that isn't a stand-in is a constant, and is refused where it would be written.
    """

    def __init__(self, redirected: dict[int, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.redirected = redirected

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let an operation on stand-ins and constants pass."""
        args, kwargs = pytree.tree_map_only(Tensor, self._stand_in, (args, kwargs or {}))
        for tensor in passes.arguments_to_write(func._schema, args, kwargs):
            self._check(tensor)
        return func(*args, **kwargs)

    def _stand_in(self, tensor: Tensor) -> Tensor:
        return self.redirected.get(id(tensor), tensor)

    def _check(self, tensor: Any) -> None:
        if isinstance(tensor, Tensor) and not isinstance(tensor, _fake_tensor()):
            raise CompileError(
                f"compile: the step changes a tensor of shape {tuple(tensor.shape)} in place that is neither among its "
                "arguments nor in `state`",
                hint="put what holds it into `state`",
            )


class _Watch(record_lines):
    """Notes lines, and refuses what requires grad and isn't in the state: its gradient would be lost."""

    def __init__(self, customs: Sequence[CustomTensor]) -> None:
        super().__init__()
        self.known = {id(x) for x in customs}

    def recorded(self, node: Node, value: Any, arguments: Sequence[Any]) -> None:
        super().recorded(node, value, arguments)
        for parent in node.parents:
            leaf = parent.leaf() if isinstance(parent, LeafNode) else None
            if leaf is not None and id(leaf) not in self.known and not isinstance(leaf._data, _fake_tensor()):
                raise CompileError(
                    f"compile: {node.name} uses a tensor of shape {tuple(leaf.shape)} that requires grad and is "
                    "neither among the arguments nor in `state`",
                    hint="put what holds it into `state`",
                )


def _fake_tensor() -> type:
    from torch._subclasses.fake_tensor import FakeTensor

    return FakeTensor
