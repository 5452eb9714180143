"""What a user calls, and which graph serves which call."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Sequence
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from neuronix.autograd.compiling.labels import as_text
from neuronix.autograd.compiling.parts import compiled_in_parts
from neuronix.autograd.compiling.pattern import Pattern
from neuronix.autograd.compiling.places import Held, Numbers, Places, check_memory, flatten_state, is_custom
from neuronix.autograd.compiling.program import Program
from neuronix.autograd.errors import CompileError
from neuronix.autograd.modes import is_grad_enabled, uses_rules_only
from neuronix.autograd.tensor import CustomTensor

__all__ = ["CompiledStep", "compile"]

P = ParamSpec("P")
R = TypeVar("R")


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
            and constants.  A float is an input of the graph, if the step can take a tensor for it; each new value of
            any other constant makes a new trace.
        state: Everything that the step reads or changes beside its arguments, in any nesting: `CustomTensor`s, torch
            tensors and objects that list what they hold (modules and optimizers do; see Notes).
        backend: What compiles the graph: a name that ``torch.compile`` knows (``"inductor"``, ``"aot_eager"``,
            ``"eager"``), or a function of a ``torch.fx.GraphModule`` and a list of example inputs, which is called
            for each part of a graph: numbers, passes, update.
        options: Settings of ``torch._inductor.config``, beside those that make the step equal to the eager one.

    Returns:
        A callable with ``step``'s arguments and result.  Tensors in the result are constants: their history isn't kept.

    Raises:
        CompileError: When it is called, if the step can't be traced, and why; all state is then as it was.

    Notes:
        An object lists what it holds by a method ``compile_state()``, which yields triples: a dict whose values the
        step may read or change, whether floats in it are inputs of the graph, and anything else on which the graph
        depends.  An object with a method ``initialize_state()`` is given the chance to make state that it would
        else make during its first step.

        What Python does besides (printing, counting) happens while tracing only.  A step that would keep a tensor
        anywhere but in its state and its result is refused.

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
        flat = list(flatten_state(state))
        self._objects = [thing for thing in flat if not isinstance(thing, (CustomTensor, Tensor))]
        self._loose = {n: thing for n, thing in enumerate(flat) if isinstance(thing, (CustomTensor, Tensor))}
        self._programs: dict[Any, Program] = {}
        self._compiled: dict[Any, Callable[..., Any]] = {}
        self._numbers: Numbers = {}
        self._with_constants: set[Any] = set()  # structures of arguments whose floats can't be inputs
        self._last: Program | None = None
        self._pattern: tuple[Any, Pattern, Program] | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Take the step."""
        leaves, structure = pytree.tree_flatten((args, kwargs), is_leaf=is_custom)
        for leaf in leaves:
            if isinstance(leaf, np.ndarray):
                raise CompileError(
                    f"compile: an argument of shape {leaf.shape} is an array of NumPy, and would be a constant",
                    hint="give torch.from_numpy(array)",
                )
        context = structure, is_grad_enabled(), uses_rules_only(), torch.get_default_dtype()
        held = self._held(leaves, structure)
        if (last_call := self._pattern) is not None:  # read once: another thread may be calling
            its_context, pattern, last = last_call
            if context == its_context and (found := pattern.match(held, self._numbers)) is not None:
                return last.run(held, *found)  # type: ignore[no-any-return]
        places = Places(held, self._numbers)
        program = self._programs.get((context, tuple(places.key)))
        if program is None:
            program, places = self._add_program(leaves, structure, context, held)
        # Where two graphs take turns a pattern would be of no use.
        self._pattern = (context, Pattern(places), program) if program is self._last else None
        self._last = program
        return program.run(places.held, places.tensors, places.customs)  # type: ignore[no-any-return]

    def graph_text(self) -> str:
        """The graph of the last call as text: each array operation, and beside it what it came from.

        That is the name of the operation, of the rule in the backward pass or of the optimizer's update, and the line
        of the user's program that called the operation.

        Raises:
            CompileError: Before the first call.
        """
        if self._last is None:
            raise CompileError("graph_text: nothing has been traced yet", hint="call the compiled step once")
        return as_text(self._last.graph)

    def __repr__(self) -> str:
        name = getattr(self.step, "__qualname__", repr(self.step))
        backend = self.backend if isinstance(self.backend, str) else getattr(self.backend, "__name__", "a function")
        return f"<compiled {name}, backend {backend}, {len(self._programs)} traces, {self.compilations} compilations>"

    def _held(self, leaves: Sequence[Any], structure: Any) -> list[Held]:
        """Everything that can be an input."""
        numbers_are_inputs = structure not in self._with_constants
        held: list[Held] = [(dict(enumerate(leaves)), numbers_are_inputs, None), (self._loose, False, None)]
        for thing in self._objects:
            held += thing.compile_state()
        return held

    def _places(self, leaves: Sequence[Any], structure: Any) -> Places:
        """Where everything is now."""
        return Places(self._held(leaves, structure), self._numbers)

    def _guards(self, leaves: Sequence[Any], structure: Any) -> tuple[Any, ...]:
        """What the graph depends on beside tensors, as each object of the state says it."""
        return tuple(self._places(leaves, structure).guards)

    def _add_program(
        self, leaves: Sequence[Any], structure: Any, context: Any, held: Sequence[Held]
    ) -> tuple[Program, Places]:
        """Trace the step for arguments and state as they are now, and compile what is new."""
        were_empty = [values for values, _, _ in held if not values]
        try:
            for thing in self._objects:
                if hasattr(thing, "initialize_state"):
                    thing.initialize_state()
            guards = self._guards(leaves, structure)
            program = self._traced(leaves, structure)
            if guards != (guards := self._guards(leaves, structure)):  # a model may adapt itself to its first inputs
                program = self._traced(leaves, structure)
                _check_unchanged(guards, self._guards(leaves, structure))
            check_memory(program.tensors, program.changed)
            program.function = self._compile(program)
        except BaseException:
            for values in were_empty:
                values.clear()
            raise
        # State that was made for parameters that the step doesn't touch goes again, as if it had never been asked for.
        used = {id(tensor) for tensor in program.tensors}
        for values in were_empty:
            if not any(id(value) in used for value in values.values()):
                values.clear()
        places = self._places(leaves, structure)
        program.bind(places)
        self._programs[context, tuple(places.key)] = program
        return program, places

    def _traced(self, leaves: Sequence[Any], structure: Any) -> Program:
        """Trace the step; where it does with a float among its arguments what no tensor can do, by that float."""
        # What traces needs parts of torch that an import of this package shouldn't wait for.
        from neuronix.autograd.compiling.tracing import trace

        try:
            return trace(self.step, structure, self._places(leaves, structure))
        except Exception:
            if structure in self._with_constants or not any(isinstance(leaf, float) and leaf for leaf in leaves):
                raise
        self._with_constants.add(structure)
        try:
            return trace(self.step, structure, self._places(leaves, structure))
        except BaseException:
            self._with_constants.remove(structure)
            raise

    def _compile(self, program: Program) -> Callable[..., Any]:
        """The machine code of a program's graph; that of an equal graph, if there is one."""
        inputs = program.tensors
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
                self._compiled[key] = compiled_in_parts(program.graph, inputs, backend)
            self.compilations += 1
        return self._compiled[key]


def _check_unchanged(before: Any, after: Any) -> None:
    """Refuse a step that changes, in Python and again and again, what its own graph depends on.

    Raises:
        CompileError: If it does; it says what, by the innermost name.
    """
    if before == after:
        return
    name = "what it depends on"
    while isinstance(before, tuple) and isinstance(after, tuple) and len(before) == len(after):
        if before and isinstance(before[0], str):
            name = repr(before[0])
        before, after = next(pair for pair in zip(before, after, strict=True) if pair[0] != pair[1])
    raise CompileError(
        f"compile: the step changes {name} from {reprlib.repr(before)} to {reprlib.repr(after)}, which is no tensor; "
        "compiled code wouldn't do that at each call",
        hint="change it outside the step, or keep it in a torch tensor",
    )
