"""Compile a whole training step: forward pass, backward pass and update become one graph of array operations.

The rules are expressions over tensors, so PyTorch's tracer (``make_fx``) can be led through an entire step once and
write down every array operation that happens, the derivatives and the optimizer's lines among them.  Nothing of the
engine is left in that graph: no nodes, no tensors of ours.  ``torch.compile``'s backend (Inductor) makes machine code
of it, and each later call runs that.

What makes it a *training* step is state.  Its tensors become inputs of the graph, are changed in place by it, or come
back as outputs and are put where the step would have put them; see `_Places`.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from neuronix.autograd.anomaly import Line, record_lines, user_line
from neuronix.autograd.backward import backward, grad
from neuronix.autograd.errors import CompileError
from neuronix.autograd.modes import is_grad_enabled, rules_only, uses_rules_only
from neuronix.autograd.node import LeafNode, Node
from neuronix.autograd.tensor import CustomTensor, new_result

__all__ = ["CompiledStep", "compile"]

P = ParamSpec("P")
R = TypeVar("R")

Held = tuple[dict[Any, Any], bool, Any]


def compile(
    step: Callable[P, R],
    state: Any = (),
    *,
    backend: str | Callable[..., Any] = "inductor",
    options: dict[str, Any] | None = None,
) -> CompiledStep[P, R]:
    """Compile ``step``, a function that takes a whole training step, into machine code.

    The first call traces the step: forward, backward (the rules themselves) and the optimizer's update become one
    graph, which is compiled.  Later calls run the compiled graph, and change the state as the step would have:
    gradients, parameters, running statistics, the optimizer's averages and its count of steps.

    A new trace is made by itself for arguments of other shapes or types, for ``train()`` and ``eval()``, another
    ``requires_grad``, another option of the optimizer.  Floating-point options, such as the learning rate, are inputs
    of the graph: a schedule needs no new compilation.

    Args:
        step: The function.  Its arguments are torch tensors, `CustomTensor`s, nested lists, tuples and dicts of them,
            and constants, each new value of which makes a new trace.
        state: Everything that the step reads or changes beside its arguments, in any nesting: `CustomTensor`s, torch
            tensors and objects that list what they hold (modules and optimizers do; see Notes).
        backend: What compiles the graph: a name that ``torch.compile`` knows (``"inductor"``, ``"aot_eager"``,
            ``"eager"``), or a function of a ``torch.fx.GraphModule`` and a list of example inputs.
        options: Settings of ``torch._inductor.config``, beside those that make the step equal to the eager one.

    Returns:
        A callable with ``step``'s arguments and result.  Tensors in the result are constants: their history isn't kept.

    Raises:
        CompileError: When it is called, if the step can't be traced, and why; all state is then as it was.

    Notes:
        An object lists what it holds by a method ``compile_state()``, which yields triples: a dict whose values the
        step may read or change, whether floats in it are inputs of the graph, and anything hashable on which the graph
        depends beside.  An object with a method ``initialize_state()`` is given the chance to make state that it would
        else make during its first step.

        What Python does besides (printing, appending to a list) happens while tracing only.

    Example:
        >>> import torch
        >>> from neuronix.autograd import compile, tensor
        >>> w = tensor([1.0, 2.0], requires_grad=True)
        >>> def step(x):
        ...     w.grad = None
        ...     loss = (w * x).square().sum()
        ...     loss.backward()
        ...     w.data.sub_(0.1 * w.grad)
        ...     return loss
        >>> compiled = compile(step, state=w, backend="eager")
        >>> compiled(torch.tensor([1.0, 1.0]))
        CustomTensor(5.)
        >>> w.data
        tensor([0.8000, 1.6000])
    """
    return CompiledStep(step, state, backend, options or {})


class CompiledStep(Generic[P, R]):
    """What [`compile`][neuronix.autograd.compile] returns: the step, as machine code.

    Attributes:
        compilations: How many graphs have been compiled so far.
    """

    def __init__(
        self, step: Callable[P, R], state: Any, backend: str | Callable[..., Any], options: dict[str, Any]
    ) -> None:
        self.step = step
        self.backend = backend
        self.options = options
        self.compilations = 0
        flat = list(_flatten_state(state))
        self._objects = [thing for thing in flat if not isinstance(thing, (CustomTensor, Tensor))]
        self._loose = {n: thing for n, thing in enumerate(flat) if isinstance(thing, (CustomTensor, Tensor))}
        self._programs: dict[Any, _Program] = {}
        self._compiled: dict[Any, Callable[..., Any]] = {}
        self._numbers: dict[Any, tuple[float, Tensor]] = {}
        self._last: _Program | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Take the step."""
        leaves, structure = pytree.tree_flatten((args, kwargs), is_leaf=_is_custom)
        places = _Places(self._held(leaves), self._numbers)
        program = self._programs.get(self._key(structure, places))
        if program is None:
            program, places = self._add_program(leaves, structure, places)
        self._last = program
        return program.run(places)  # type: ignore[no-any-return]

    def graph_text(self) -> str:
        """The graph of the last call as text: each array operation, and beside it what it came from.

        That is the name of the operation, of the rule in the backward pass or of the optimizer's update, and the line
        of the user's program that called the operation.

        Raises:
            CompileError: Before the first call.
        """
        if self._last is None:
            raise CompileError("graph_text: nothing has been traced yet", hint="call the compiled step once")
        return _text(self._last.graph)

    def __repr__(self) -> str:
        name = getattr(self.step, "__qualname__", repr(self.step))
        backend = self.backend if isinstance(self.backend, str) else getattr(self.backend, "__name__", "a function")
        return f"<compiled {name}, backend {backend}, {len(self._programs)} traces, {self.compilations} compilations>"

    def _held(self, leaves: Sequence[Any]) -> list[Held]:
        held: list[Held] = [(dict(enumerate(leaves)), False, None), (self._loose, False, None)]
        for thing in self._objects:
            held += thing.compile_state()
        return held

    def _key(self, structure: Any, places: _Places) -> Any:
        return (structure, is_grad_enabled(), uses_rules_only(), torch.get_default_dtype(), tuple(places.key))

    def _add_program(self, leaves: Sequence[Any], structure: Any, places: _Places) -> tuple[_Program, _Places]:
        """Trace the step for arguments and state as they are now, and compile what is new."""
        were_empty = [values for values, _, _ in places.held if not values]
        try:
            for thing in self._objects:
                if hasattr(thing, "initialize_state"):
                    thing.initialize_state()
            places = _Places(self._held(leaves), self._numbers)
            args, kwargs = pytree.tree_unflatten(leaves, structure)
            trace = _Trace(places)
            trace.run(lambda: self.step(*args, **kwargs))
            program = trace.program()
            program.function = self._compile(program)
        except BaseException:
            for values in were_empty:
                values.clear()
            raise
        # State that was made for parameters that the step doesn't touch goes again, as if it had never been asked for.
        used = {id(tensor) for tensor in program.example_inputs}
        for values in were_empty:
            if not any(id(value) in used for value in values.values()):
                values.clear()
        places = _Places(self._held(leaves), self._numbers)
        program.bind(places)
        self._programs[self._key(structure, places)] = program
        return program, places

    def _compile(self, program: _Program) -> Callable[..., Any]:
        """The machine code of a program's graph; that of an equal graph, if there is one."""
        inputs = program.example_inputs
        metas = tuple((tensor.shape, tensor.stride(), tensor.dtype, tensor.device) for tensor in inputs)
        key = program.graph.code, metas
        if key not in self._compiled:
            backend = self.backend
            if isinstance(backend, str):
                from torch._dynamo.backends.registry import lookup_backend

                backend = lookup_backend(backend)
            from torch._inductor import config

            # Without gradients Inductor takes the graph for inference and lays convolutions out anew, which costs more
            # than it gains in a training step; and its own random numbers would differ from the eager step's.
            settings = {"layout_optimization": False, "fallback_random": True, "size_asserts": False, **self.options}
            with torch.no_grad(), config.patch(settings):
                self._compiled[key] = _compiled_in_two(program.graph, inputs, backend)
            self.compilations += 1
        return self._compiled[key]


# State


def _is_custom(value: Any) -> bool:
    return isinstance(value, CustomTensor)


def _flatten_state(state: Any) -> Iterator[Any]:
    if isinstance(state, dict):
        state = list(state.values())
    if isinstance(state, (list, tuple)):
        for item in state:
            yield from _flatten_state(item)
    elif isinstance(state, (CustomTensor, Tensor)) or hasattr(state, "compile_state"):
        yield state
    else:
        raise CompileError(
            f"compile: {type(state).__name__} can't be state",
            hint="state is tensors, modules, optimizers and nested lists, tuples and dicts of them",
        )


class _Place(NamedTuple):
    """Something in a dict that the graph takes as input."""

    values: dict[Any, Any]
    name: Any
    value: Any
    inputs: tuple[
        int, ...
    ]  # positions among the tensors; of a CustomTensor its values and, if there is one, its gradient


class _Places:
    """All tensors of the arguments and of the state at one moment, and whatever else the graph depends on.

    Attributes:
        held: The dicts.
        key: Equal for two moments if the same graph serves both.
        tensors: The tensors, each once.
        places: Where they are.
        customs: The `CustomTensor`s among the values.
    """

    def __init__(self, held: Sequence[Held], numbers: dict[Any, tuple[float, Tensor]]) -> None:
        self.held = held
        self.key: list[Any] = []
        self.tensors: list[Tensor] = []
        self.places: list[_Place] = []
        self.customs: list[CustomTensor] = []
        self._numbers = numbers
        self._positions: dict[int, int] = {}
        for values, numbers_are_inputs, guard in held:
            self.key.append(guard)
            for name, value in values.items():
                self.key.append(name)
                if isinstance(value, CustomTensor):
                    inputs = [self._add(value._data)]
                    if value._grad is not None:
                        inputs.append(self._add(value._grad))
                    self.key.append((value._requires_grad, value._node is None, len(inputs)))
                    self.customs.append(value)
                elif isinstance(value, Tensor):
                    inputs = [self._add(value)]
                elif numbers_are_inputs and type(value) is float and value != 0:
                    inputs = [self._add_number(values, name, value)]
                elif (
                    numbers_are_inputs and type(value) is tuple and value and all(type(v) is float and v for v in value)
                ):
                    inputs = [self._add_number(values, (name, i), v) for i, v in enumerate(value)]
                else:
                    self.key.append(_guard(value))
                    continue
                self.places.append(_Place(values, name, value, tuple(inputs)))

    def _add(self, tensor: Tensor) -> int:
        position = self._positions.setdefault(id(tensor), len(self.tensors))
        if position == len(self.tensors):
            self.tensors.append(tensor)
            self.key.append((tensor.shape, tensor.stride(), tensor.dtype, tensor.device, tensor.requires_grad))
        else:
            self.key.append(position)  # met before: tied
        return position

    def _add_number(self, values: dict[Any, Any], name: Any, value: float) -> int:
        """A number as a tensor, which is made anew only when it has changed."""
        known = self._numbers.get((id(values), name))
        if known is None or known[0] != value:
            known = self._numbers[id(values), name] = (value, torch.tensor(value, dtype=torch.float64))
        return self._add(known[1])


def _guard(value: Any) -> Any:
    """Something hashable that is equal for values from which the same graph follows."""
    if isinstance(value, dict):
        return tuple((name, _guard(item)) for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return (type(value), *map(_guard, value))
    if isinstance(value, (int, float, str)):
        return type(value), value
    return value if value.__hash__ is not None else _Identity(value)


class _Identity:
    """Stands in a key for an object that can't be hashed; it keeps it alive, so that no other one takes its place."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other.value is self.value


# Tracing


class _Write(NamedTuple):
    """Something that the step leaves in the state: an output of the graph, or ``None``."""

    kind: str  # "grad" or "data" of a CustomTensor, or "item" of a dict
    target: int  # which CustomTensor, or which dict
    name: Any
    output: int | None


class _Trace:
    """One tracing of a step: the state's tensors are replaced by stand-ins, and are all back afterwards."""

    def __init__(self, places: _Places) -> None:
        self.places = places
        self.outputs: list[Any] = []
        self.writes: list[_Write] = []
        self.result: Any = None

    def run(self, step: Callable[[], Any]) -> None:
        """Trace ``step``."""
        from torch._subclasses.fake_tensor import FakeTensorMode
        from torch.fx.experimental.proxy_tensor import make_fx

        for tensor in self.places.tensors:
            if tensor.requires_grad:
                raise CompileError(
                    f"compile: a tensor of shape {tuple(tensor.shape)} requires PyTorch's own gradient",
                    hint="compile takes steps of Neuronix's: use CustomTensors, or x.detach()",
                )
        stand_in_mode = FakeTensorMode(allow_non_fake_inputs=True)
        stand_ins = [stand_in_mode.from_tensor(tensor, static_shapes=True) for tensor in self.places.tensors]

        def traced(*inputs: Tensor) -> list[Tensor]:
            with self._replaced(inputs), _labelled(), rules_only(), _Watch(self.places.customs):
                result = step()
                self._see_result(result)
                self._see_changes(inputs)
            return self.outputs

        random_state = torch.get_rng_state()
        try:
            with stand_in_mode, torch.no_grad():
                self.graph = make_fx(traced)(*stand_ins)
        except Exception as error:
            reason = _reason(error)
            if reason is None:
                raise
            raise CompileError(*reason) from error
        finally:
            torch.set_rng_state(random_state)

    @contextmanager
    def _replaced(self, inputs: Sequence[Tensor]) -> Iterator[None]:
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
                    place.values[place.name] = tuple(tensors) if isinstance(place.value, tuple) else tensors[0]
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

    def _see_result(self, result: Any) -> None:
        leaves, structure = pytree.tree_flatten(result, is_leaf=_is_custom)
        kept: list[tuple[str, Any]] = []
        for leaf in leaves:
            if isinstance(leaf, CustomTensor):
                kept.append(("custom", self._output(leaf._data)))
            elif isinstance(leaf, Tensor):
                kept.append(("tensor", self._output(leaf)))
            else:
                kept.append(("constant", leaf))
        self.result = kept, structure

    def _see_changes(self, inputs: Sequence[Tensor]) -> None:
        """Find what the step has put into the state; what it has changed in place is in the graph anyway."""
        of_custom = {id(p.value): p for p in self.places.places if isinstance(p.value, CustomTensor)}
        for number, x in enumerate(self.places.customs):
            place = of_custom[id(x)]
            if x._node is not None:
                raise CompileError(
                    f"compile: the step makes {place.name!r}, a tensor of the state or an argument, the result of an "
                    "operation",
                    hint="change values under no_grad(), or through .data",
                )
            if x._data is not inputs[place.inputs[0]]:
                self.writes.append(_Write("data", number, None, self._output(x._data)))
            had = inputs[place.inputs[1]] if len(place.inputs) > 1 else None
            if x._grad is not had:
                self.writes.append(_Write("grad", number, None, None if x._grad is None else self._output(x._grad)))
        for number, (values, _, _) in enumerate(self.places.held):
            before = self.before[id(values)]
            for name in dict.fromkeys((*before, *values)):
                was, now = before.get(name), values.get(name)
                if was is now and name in values:
                    continue
                if (was is None or isinstance(was, Tensor)) and (now is None or isinstance(now, Tensor)):
                    self.writes.append(_Write("item", number, name, None if now is None else self._output(now)))
                elif isinstance(was, (Tensor, CustomTensor)) or was != now:
                    raise CompileError(
                        f"compile: the step changes {name!r} from {_short(was)} to {_short(now)}, which is no tensor; "
                        "compiled code would use the same value again at each call",
                        hint="change it outside the step, or keep it in a tensor",
                    )

    def program(self) -> _Program:
        """What has been traced, without inputs that it doesn't use."""
        graph, tensors = self.graph, list(self.places.tensors)
        _lift_constants(graph, tensors)
        _drop_copies_of_gradients(graph)
        graph.graph.eliminate_dead_code()
        names = {
            position: _input_name(place, n) for place in self.places.places for n, position in enumerate(place.inputs)
        }
        used = []
        for position, node in enumerate([node for node in graph.graph.nodes if node.op == "placeholder"]):
            if node.users:
                used.append(position)
                node.name = node.target = graph.graph._graph_namespace.create_name(
                    names.get(position, "constant"), None
                )
            else:
                graph.graph.erase_node(node)
        graph.recompile()
        return _Program(graph, [tensors[position] for position in used], self.writes, self.result)


def _lift_constants(graph: Any, tensors: list[Tensor]) -> None:
    """Turn tensors that the step met and nobody named into inputs, so that their values are read at each call."""
    for node in graph.graph.nodes:
        for written in _written(node):
            if written.op == "get_attr":
                constant = getattr(graph, written.target)
                raise CompileError(
                    f"compile: the step changes a tensor of shape {tuple(constant.shape)} in place that is neither "
                    "among its arguments nor in `state`",
                    hint="put what holds it into `state`",
                )
    nodes = list(graph.graph.nodes)
    last = [node for node in nodes if node.op == "placeholder"]
    inputs: dict[int, Any] = {}
    for node in nodes:
        if node.op != "get_attr":
            continue
        constant = getattr(graph, node.target)
        if id(constant) not in inputs:
            after = last[-1] if last else None
            with graph.graph.inserting_after(after) if after is not None else graph.graph.inserting_before(nodes[0]):
                placeholder = graph.graph.placeholder(f"constant_{len(inputs)}")
            placeholder.meta.update(node.meta)
            last.append(placeholder)
            inputs[id(constant)] = placeholder
            tensors.append(constant)
        node.replace_all_uses_with(inputs[id(constant)])
        graph.graph.erase_node(node)


def _drop_copies_of_gradients(graph: Any) -> None:
    """Hand out a gradient itself instead of its copy, where nobody else has it.

    A ``.grad`` owns its memory, and the engine copies a gradient of which it can't be sure that nobody holds it, which
    is every one of a trace.  In the graph one can see who does.
    """
    (output,) = [node for node in graph.graph.nodes if node.op == "output"]
    changed = {root for node in graph.graph.nodes for root in _written(node)}
    for copy in list(output.all_input_nodes):
        if copy.target is not torch.ops.aten.copy_.default or output.args[0].count(copy) > 1:
            continue
        empty, gradient = copy.args[:2]
        own = (
            empty.target is torch.ops.aten.empty_like.default
            and list(empty.users) == [copy]
            and _makes_new_memory(gradient)
            and gradient not in output.all_input_nodes
            and not any(_may_alias(user) for user in (*gradient.users, *copy.users) if user is not copy)
            and changed.isdisjoint({gradient})
            and gradient.meta["val"].stride() == copy.meta["val"].stride()
            and gradient.meta["val"].dtype == copy.meta["val"].dtype
        )
        if own:
            copy.replace_all_uses_with(gradient)
            graph.graph.erase_node(copy)
            graph.graph.erase_node(empty)


def _written(node: Any) -> list[Any]:
    """The inputs or constants whose memory an operation changes."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return []
    arguments = [*zip(schema.arguments, node.args, strict=False)]
    arguments += [(a, node.kwargs[a.name]) for a in schema.arguments if a.name in node.kwargs]
    written = []
    for argument, value in arguments:
        if argument.alias_info is not None and argument.alias_info.is_write:
            for item in value if isinstance(value, (list, tuple)) else (value,):
                root = item
                while root.op == "call_function" and (_may_alias(root) or _written(root)):
                    root = root.args[0]
                written.append(root)
    return written


def _may_alias(node: Any) -> bool:
    """Whether an operation's result is a view."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return bool(node.op == "call_function")
    return any(value.alias_info is not None and not value.alias_info.is_write for value in schema.returns)


def _makes_new_memory(node: Any) -> bool:
    schema = getattr(node.target, "_schema", None)
    if schema is None:  # one result of several
        return bool(node.target is operator.getitem and _makes_new_memory(node.args[0]))
    return all(value.alias_info is None for value in schema.returns)


def _compiled_in_two(graph: Any, inputs: Sequence[Tensor], backend: Callable[..., Any]) -> Callable[..., Any]:
    """Compile what is computed of single numbers by itself, before everything else.

    An optimizer computes a few numbers a parameter, as 1 - βᵗ.  Inductor would put that into the loop over the
    parameter's entries, where a power costs more than all the rest.
    """
    numbers, rest, used, passed = _split(graph)
    compiled_rest: Callable[..., Any] = backend(
        rest, [*inputs, *(torch.zeros((), dtype=node.meta["val"].dtype) for node in passed)]
    )
    if not passed:
        return compiled_rest
    compiled_numbers = backend(numbers, [inputs[position] for position in used])

    def run(*inputs: Tensor) -> Any:
        return compiled_rest(*inputs, *compiled_numbers(*[inputs[position] for position in used]))

    return run


def _split(graph: Any) -> tuple[Any, Any, list[int], list[Any]]:
    """Copies of a graph's part for single numbers and of the rest; the first part's inputs, and what it passes on."""
    nodes = list(graph.graph.nodes)
    placeholders = [node for node in nodes if node.op == "placeholder"]
    single: set[Any] = set()
    for node in nodes:
        of_numbers = node.op == "placeholder" or (
            node.op == "call_function" and single.issuperset(node.all_input_nodes)
        )
        if of_numbers and (node.all_input_nodes or node.op == "placeholder") and _is_number(node):
            single.add(node)
    changed = {root for node in single for root in _written(node)}
    if any(user not in single for root in changed for user in root.users):
        single = set()  # the rest reads a number that is changed: the order counts
    passed = [
        node
        for node in nodes
        if node in single and node.op != "placeholder" and any(user not in single for user in node.users)
    ]
    used = [n for n, node in enumerate(placeholders) if node in single and any(user in single for user in node.users)]
    numbers, rest = torch.fx.Graph(), torch.fx.Graph()
    inside: dict[Any, Any] = {placeholders[n]: numbers.node_copy(placeholders[n]) for n in used}
    outside: dict[Any, Any] = {node: rest.node_copy(node) for node in placeholders}
    for node in passed:
        outside[node] = rest.placeholder(f"number_{node.name}")
        outside[node].meta.update(node.meta)
    for node in nodes:
        if node.op == "placeholder":
            continue
        if node in single:
            inside[node] = numbers.node_copy(node, inside.__getitem__)
        else:
            outside[node] = rest.node_copy(node, outside.__getitem__)
    numbers.output([inside[node] for node in passed])
    return torch.fx.GraphModule({}, numbers), torch.fx.GraphModule({}, rest), used, passed


def _is_number(node: Any) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.ndim == 0 and value.device.type == "cpu"


# Running


class _Program:
    """A traced step: its graph, where its inputs come from and where its outputs go."""

    def __init__(self, graph: Any, example_inputs: list[Tensor], writes: list[_Write], result: Any) -> None:
        self.graph = graph
        self.example_inputs = example_inputs
        self.writes = writes
        self.kept, self.structure = result
        self.function: Callable[..., Any] = graph
        self.inputs: list[int] = []
        self.constants: list[Tensor] = []
        nodes = [node for node in graph.graph.nodes if node.op == "placeholder"]
        changed = {root for node in graph.graph.nodes for root in _written(node)}
        self.changed = [position for position, node in enumerate(nodes) if node in changed]

    def bind(self, places: _Places) -> None:
        """Note where among the tensors of a call the inputs are; the others are constants of the trace."""
        positions = {id(tensor): position for position, tensor in enumerate(places.tensors)}
        self.inputs = [positions.get(id(tensor), -1) for tensor in self.example_inputs]
        self.constants = [
            t if p == -1 else torch.empty(0) for t, p in zip(self.example_inputs, self.inputs, strict=True)
        ]
        self.example_inputs = []

    def run(self, places: _Places) -> Any:
        """Run the compiled graph on the tensors of ``places``, and leave everything where the step would have."""
        tensors = places.tensors
        inputs = [tensors[p] if p >= 0 else self.constants[n] for n, p in enumerate(self.inputs)]
        with torch.no_grad():
            outputs = self.function(*inputs)
        if self.changed:
            torch._C._increment_version([inputs[position] for position in self.changed])
        for kind, target, name, output in self.writes:
            value: Any = None if output is None else outputs[output]
            if kind == "grad":
                places.customs[target]._grad = value
            elif kind == "data":
                places.customs[target]._data = value
            else:
                places.held[target][0][name] = value
        leaves = [
            value if kind == "constant" else new_result(outputs[value], None) if kind == "custom" else outputs[value]
            for kind, value in self.kept
        ]
        return pytree.tree_unflatten(leaves, self.structure)


# What each array operation came from


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


class _Label(NamedTuple):
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
def _labelled() -> Iterator[None]:
    """Label each node of the graph that is being traced."""
    from torch.fx.experimental.proxy_tensor import get_proxy_mode

    tracer: Any = get_proxy_mode().tracer  # type: ignore[union-attr]
    create = tracer.create_node

    def create_node(*args: Any, **kwargs: Any) -> Any:
        node = create(*args, **kwargs)
        node.meta["neuronix"] = _label()
        return node

    tracer.create_node = create_node
    try:
        yield
    finally:
        del tracer.create_node


def _label() -> _Label:
    """From the stack: the innermost operation, or the rule that is running."""
    frame: Any = sys._getframe(2)
    inner, name, ours, part = None, None, None, "update"
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith("<neuronix primitive"):
            if code.co_name == "pullback":
                node = frame.f_locals["node"]
                rule = inner.f_code.co_name if inner is not None else node.name
                return _Label("backward", rule, (node.notes or {}).get("line"))
            name = code.co_name
        elif _is_ours(code.co_filename):
            ours = ours or getattr(code, "co_qualname", code.co_name)
            if code is backward.__code__ or code is grad.__code__:
                part = "backward"  # its first gradient, or what it leaves in `.grad`
        inner, frame = frame, frame.f_back
    if name is not None:
        return _Label("forward", name, user_line())
    return _Label(part, ours or "", user_line())


def _is_ours(filename: str) -> bool:
    return filename.startswith(tuple(sys.modules["neuronix"].__path__)) and not filename.endswith("compiling.py")


def _text(graph: Any) -> str:
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


def _input_name(place: _Place, number: int) -> str:
    name = f"argument_{place.name}" if isinstance(place.name, int) else str(place.name)
    if isinstance(place.value, CustomTensor) and number == 1:
        return f"{name}_grad"
    return f"{name}_{number}" if isinstance(place.value, tuple) else name


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 40 else f"a {type(value).__name__}"


# Why not


def _reason(error: BaseException) -> tuple[str, str] | None:
    """Why a step can't be traced and what to do, if tracing is what failed."""
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain:
        chain.append(at)
        at = at.__cause__ or at.__context__
    where = _where(error)
    for each in chain:
        if isinstance(each, CompileError):
            return None
        kind, text = type(each).__name__, str(each)
        if kind == "DataDependentOutputException" or "get value out of a tracing tensor" in text:
            what = "by .item(), float(), bool(), a comparison in an `if` or printing"
            return (
                f"compile: the step reads a number out of a tensor{where}, {what}; there are none while it is traced",
                "keep it a tensor (torch.where instead of `if`), or take it from the step's result, outside",
            )
        if kind == "DynamicOutputShapeException":
            return (
                f"compile: the step uses an operation whose result's shape depends on values{where}: {text}",
                "use one of a fixed shape, as torch.where(mask, x, 0) instead of x[mask]",
            )
        if kind in ("UnsupportedOperatorException", "UnsupportedFakeTensorException"):
            return (f"compile: an operation can't be traced{where}: {text}", "leave it outside the step")
    return None


def _where(error: BaseException) -> str:
    """The user's line in a traceback, in words."""
    folders = (*sys.modules["neuronix"].__path__, *torch.__path__)
    found = None
    at = error.__traceback__
    while at is not None:
        code = at.tb_frame.f_code
        if not code.co_filename.startswith(("<neuronix ", *folders)):
            found = Line(code.co_filename, at.tb_lineno, code.co_name)
        at = at.tb_next
    return "" if found is None else f" ({found})"
