"""Declaring operations.

A *primitive* is an operation that has derivative rules of its own; a *composite* is one that is made of others.
Both are declared with a decorator that also says under which torch names they are known, so that the function
(``torch.mul(x, y)``), the method (``x.mul(y)``) and the operator (``x * y``) are one thing, stated once.

A rule's parameter list is its list of saved values::

    @primitive(broadcasts=True, names="mul multiply __mul__ __rmul__", aten="mul.Tensor")
    def mul(x, y):
        return torch.mul(x, y)

    @mul.vjp("x")
    def mul_wrt_x(grad, y):     # keeps y, not x
        return grad * y

What a decorated function does when it is called is generated once, at its first call, as plain Python source: see
``codegen.py``, or print ``mul.source``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property, partial
from inspect import CO_VARARGS, CO_VARKEYWORDS
from types import FunctionType
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, cast, overload

import torch

from neuronix.autograd.dispatch import registry
from neuronix.autograd.errors import DeclarationError
from neuronix.autograd.errors.messages import name_of

if TYPE_CHECKING:
    from neuronix.autograd.node import Node

__all__ = ["Primitive", "Shape", "composite", "primitive"]

F = TypeVar("F", bound=Callable[..., Any])

# A parameter whose annotation names none of these is never a tensor: nothing needs to be unwrapped there.
_TENSOR_ANNOTATIONS = ("Tensor", "Any", "object")
_RESERVED = ("grad", "out", "needs")


Shape: TypeAlias = torch.Size
"""Annotates a rule's parameter of which only the shape is kept, not the values."""


def _is_shape(annotation: Any) -> bool:
    """Whether an annotation says `Shape`, or a list of shapes (of a list argument's tensors)."""
    return annotation in (Shape, "Shape", "torch.Size", list[Shape], "list[Shape]", "list[torch.Size]")


def _parameter_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a function's parameters, read off its code where that is possible.

    Importing declares hundreds of functions, and `inspect.signature` takes twenty times as long.
    """
    if isinstance(function, FunctionType) and not hasattr(function, "__wrapped__"):
        code = function.__code__
        if not code.co_flags & (CO_VARARGS | CO_VARKEYWORDS):
            return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return tuple(inspect.signature(function).parameters)


class PrimitiveFunction(Protocol):
    """What [`primitive`][neuronix.autograd.primitive] makes of a function."""

    __name__: str
    primitive: Primitive

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the operation, and record it if an argument requires grad."""

    def vjp(self, *names: str) -> Callable[[F], F]:
        """Declare the rule with respect to one argument, or a joint rule for several."""

    def fused(self, *names: str) -> Callable[[F], F]:
        """Declare a kernel that may stand in for the rule of the same arguments, on plain tensors."""


class Rule:
    """A derivative rule: the function, what it is a rule for and which values it names.

    Attributes:
        function: The rule itself.
        wrt: The arguments whose gradients it returns.
        parameters: Its parameters in order.
        shapes: Those of them of which only the shape is wanted.
    """

    def __init__(self, op: Primitive, function: Callable[..., Any], wrt: tuple[str, ...]) -> None:
        self.function = function
        self.wrt = wrt
        annotations = getattr(function, "__annotations__", {})
        self.parameters = _parameter_names(function)
        self.shapes = frozenset(name for name in self.parameters if _is_shape(annotations.get(name)))
        legal = (*_RESERVED, *op.results, *op.parameters)
        for name in self.parameters:
            if name not in legal:
                raise DeclarationError(
                    f"{op.name}: the rule {function.__name__!r} names {name!r}, which is neither a parameter nor a "
                    f"result of the operation nor one of `grad`, `out`, `needs`",
                    hint=f"legal names: {', '.join(legal)}",
                )
        for name in wrt:
            if name not in op.parameters:
                raise DeclarationError(
                    f"{op.name}: a rule is declared with respect to {name!r}, which isn't a parameter",
                    hint=f"its parameters are: {', '.join(op.parameters)}",
                )

    @property
    def saved(self) -> list[str]:
        """The names whose values (or shapes) must be kept for this rule."""
        return [name for name in self.parameters if name not in ("grad", "needs")]


class Primitive:
    """An operation with its rules, as the engine sees it.

    Attributes:
        name: Its name in errors, pictures and tracebacks.
        forward: The function that computes the result from torch tensors.
        parameters: The names of its parameters.
        results: The names of its results, if it has several and rules name one of them.
        broadcasts: Whether its tensor arguments broadcast; the engine then sums gradients back to their shapes.
        view: Whether the result shares memory with the first argument.
        constant: Whether the result is a constant whatever its arguments are.
        rules: For each differentiable argument its rule.
        kernels: For some of them a fused kernel.
        function: What a user calls.
        node_class: The class of its nodes, with the pullback; made with its call, when that is generated.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        *,
        broadcasts: bool,
        view: bool,
        holomorphic: bool,
        constant: bool,
        results: tuple[str, ...],
    ) -> None:
        self.name = forward.__name__.rstrip("_")
        self.forward = forward
        self.parameters = _parameter_names(forward)
        self.broadcasts = broadcasts
        self.view = view
        self.holomorphic = holomorphic
        self.constant = constant
        self.results = results
        self.rules: dict[str, Rule] = {}
        self.kernels: dict[str, Rule] = {}
        self.function: PrimitiveFunction | None = None
        self.generated: str | None = None
        self.node_class: type[Node] | None = None
        for name in (*_RESERVED, *results):
            if name in self.parameters:
                raise DeclarationError(f"{self.name}: a parameter may not be called {name!r}; rules use that name")
        if (broadcasts and results) or len(set(results)) < len(results):
            raise DeclarationError(
                f"{self.name}: the results {results} are declared"
                + (" of an operation that broadcasts, which has one" if broadcasts else ", some of one name")
            )

    @cached_property
    def signature(self) -> inspect.Signature:
        """The signature of the function that computes the result."""
        return inspect.signature(self.forward)

    @property
    def source(self) -> str:
        """The generated Python source of the call and of the pullback."""
        from neuronix.autograd.primitive import codegen

        if self.generated is None:
            codegen.generate(self)
        return str(self.generated)

    @property
    def differentiable(self) -> tuple[str, ...]:
        """The parameters that have a rule, in order; a list parameter comes last (see ``codegen.py``)."""
        names = [name for name in self.parameters if name in self.rules]
        return tuple(sorted(names, key=self.takes_list))

    def takes_list(self, name: str) -> bool:
        """Whether the parameter is a sequence of tensors."""
        annotation = self.signature.parameters[name].annotation
        return isinstance(annotation, str) and annotation.startswith("Sequence[Tensor")

    def may_be_tensor(self, name: str) -> bool:
        """Whether the parameter can be a tensor, judging by its annotation (without one it can)."""
        annotation = self.signature.parameters[name].annotation
        if annotation is inspect.Parameter.empty:
            return True
        return any(word in str(annotation) for word in _TENSOR_ANNOTATIONS)

    @property
    def distinct_rules(self) -> list[Rule]:
        """The rules, a joint one once, in the order of their arguments."""
        return list({id(rule): rule for name in self.differentiable for rule in [self.rules[name]]}.values())

    def slot(self, rule: Rule, name: str) -> str:
        """Where a node keeps what a rule calls ``name``: in ``"x.shape"`` if other rules want ``x`` whole."""
        return f"{name}.shape" if name in rule.shapes and not self.keeps_shape_only(name) else name

    def _users(self, slot: str) -> list[Rule]:
        rules = (*self.rules.values(), *self.kernels.values())
        return [rule for rule in rules for name in rule.saved if self.slot(rule, name) == slot]

    @property
    def saved_names(self) -> tuple[str, ...]:
        """The names of the saved values, in the order in which a node keeps them."""
        rules = (*self.rules.values(), *self.kernels.values())
        return tuple(dict.fromkeys(self.slot(rule, name) for rule in rules for name in rule.saved))

    def keeps_shape_only(self, slot: str) -> bool:
        """Whether every rule that names this value wants its shape alone."""
        rules = (*self.rules.values(), *self.kernels.values())
        return slot.endswith(".shape") or all(slot in rule.shapes for rule in rules if slot in rule.saved)

    def needed_by(self, slot: str) -> tuple[str, ...]:
        """The arguments whose rules name this saved value."""
        return tuple(dict.fromkeys(argument for rule in self._users(slot) for argument in rule.wrt))

    def __repr__(self) -> str:
        arguments = ", ".join(self.rules) or "nothing"
        return f"<primitive {self.name}({', '.join(self.parameters)}), differentiable in {arguments}>"


def _first_call(*args: Any, **kwargs: Any) -> Any:
    """What a primitive does at its first call: generate its own code, then run that."""
    from neuronix.autograd.primitive import (
        codegen,  # not at the top: it needs the tensor class, which needs the operations
    )

    function = globals()["this_function"]  # the globals of the function whose code this is: see `_declare`
    codegen.generate(function.primitive)
    return function(*args, **kwargs)


@overload
def primitive(forward: Callable[..., Any], /) -> PrimitiveFunction: ...


@overload
def primitive(
    *,
    broadcasts: bool = ...,
    view: bool = ...,
    holomorphic: bool = ...,
    constant: bool = ...,
    results: str = ...,
    names: str | None = ...,
    aten: str = ...,
) -> Callable[[Callable[..., Any]], PrimitiveFunction]: ...


def primitive(
    forward: Callable[..., Any] | None = None,
    /,
    *,
    broadcasts: bool = False,
    view: bool = False,
    holomorphic: bool = True,
    constant: bool = False,
    results: str = "",
    names: str | None = None,
    aten: str = "",
) -> Any:
    """Declare an operation.

    The decorated function computes the result from torch tensors, and nothing else; calling it with
    [`CustomTensor`][neuronix.autograd.CustomTensor]s then records what its rules need.  Rules are added with
    ``@op.vjp("x")``.  A rule's parameters are what is saved for it: ``grad`` (the gradient of the result), ``out`` (the
    result), ``needs`` (which of a joint rule's arguments want a gradient), or a parameter of the operation by name,
    annotated `Shape` if its shape suffices.  Of an operation with several results, ``grad`` and ``out`` are sequences.

    Args:
        forward: The function.  A parameter annotated ``Sequence[Tensor]`` is a list of tensors.
        broadcasts: Whether tensor arguments broadcast against each other to the shape of the result.  The engine sums
            the gradients back.
        view: Whether the result shares the first argument's memory.
        holomorphic: Whether the rules, written for real numbers, also hold for complex ones (the engine then adds the
            conjugations).  ``False`` for operations such as ``abs`` whose rules state the complex case themselves.
        constant: Whether the result has no derivative by its nature, as that of a comparison: tensors that require grad
            are welcome, and there are no rules.
        results: Names of its results, if there are several, separated by blanks.  A rule that needs only one of them
            names that one instead of ``out``, and the others aren't kept: of a sort the places, not the values.
        names: Names under which torch knows the operation, separated by blanks; each is looked up among torch's
            functions, methods and ``torch.nn.functional``, and becomes a method of `CustomTensor` where
            ``torch.Tensor`` has one.  By default no torch function is taken over.
        aten: The ATen overloads that it implements, separated by blanks, as in ``"mul.Tensor"``.

    Returns:
        The function, with ``vjp``, ``fused`` and ``primitive`` (its record, a `Primitive`) as attributes.

    Raises:
        DeclarationError: If a rule names something that is neither a parameter nor a result nor ``grad``, ``out`` or
            ``needs``, or if a torch function is taken already.

    Example:
        >>> import torch
        >>> from neuronix.autograd import primitive, tensor
        >>> @primitive
        ... def cube(x):
        ...     return x ** 3
        >>> @cube.vjp("x")
        ... def cube_wrt_x(grad, x):
        ...     return grad * 3 * x ** 2
        >>> x = tensor([1.0, 2.0], requires_grad=True)
        >>> cube(x).sum().backward()
        >>> x.grad
        tensor([ 3., 12.])
    """
    declare = partial(
        _declare,
        names=names,
        aten=aten,
        broadcasts=broadcasts,
        view=view,
        holomorphic=holomorphic,
        constant=constant,
        results=tuple(results.split()),
    )
    return declare if forward is None else declare(forward)


def _declare(forward: Callable[..., Any], *, names: str | None, aten: str, **kind: Any) -> PrimitiveFunction:
    op = Primitive(forward, **kind)
    # A real function, not an object with __call__: functions bind as methods, show their signature and docstring, and
    # are called faster.  Its code is replaced at the first call; its globals hold what the generated code refers to.
    scope: dict[str, Any] = {"__name__": forward.__module__}
    name = forward.__name__
    function = FunctionType(_first_call.__code__, scope, name)
    scope["this_function"] = function
    function.__doc__ = forward.__doc__
    function.__qualname__ = name
    function.__module__ = forward.__module__
    function.__annotations__ = forward.__annotations__
    function.__wrapped__ = forward  # type: ignore[attr-defined]  # what inspect.signature shows
    declared = cast(PrimitiveFunction, function)
    declared.primitive = op
    op.function = declared

    def add(table: dict[str, Rule], wrt: tuple[str, ...]) -> Callable[[F], F]:
        def decorate(rule: F) -> F:
            made = Rule(op, rule, wrt)
            _check_declared(op, made, table)
            table.update(dict.fromkeys(wrt, made))
            if op.generated is not None:  # called before: its code must be generated again
                op.generated = None
                function.__code__ = _first_call.__code__
                function.__defaults__ = None
                function.__kwdefaults__ = None
            return rule

        return decorate

    declared.vjp = lambda *wrt: add(op.rules, wrt)  # type: ignore[method-assign]
    declared.fused = lambda *wrt: add(op.kernels, wrt)  # type: ignore[method-assign]
    registry.register(declared, name, names, aten)
    return declared


def _check_declared(op: Primitive, rule: Rule, table: dict[str, Rule]) -> None:
    """Refuse a second rule for an argument, and a kernel that doesn't stand in for exactly one rule.

    Args:
        op: The operation.
        rule: What is being declared.
        table: Where it is to stand: among the operation's rules, or its kernels.

    Raises:
        DeclarationError: If it can't.
    """
    what, name = "rule" if table is op.rules else "kernel", name_of(rule.function)
    for argument in rule.wrt:
        if argument in table or rule.wrt.count(argument) > 1:
            taken = name_of(table.get(argument, rule).function)
            raise DeclarationError(
                f"{op.name}: two {what}s are declared with respect to {argument!r}: {taken!r} and {name!r}",
                hint="an argument has one; a joint rule counts for each of its arguments",
            )
    if table is op.kernels and rule.wrt not in [other.wrt for other in op.rules.values()]:
        rules = ", ".join(str(other.wrt) for other in op.distinct_rules) or "none"
        raise DeclarationError(
            f"{op.name}: the kernel {name!r} is declared with respect to {rule.wrt}, for which there is no rule; there "
            f"are rules for: {rules}",
            hint="declare the rule that it stands in for first, with the same arguments in the same order",
        )


def composite(*, names: str, aten: str = "") -> Callable[[F], F]:
    """Declare an operation that is made of others: no rule, only names.

    Args:
        names: As for [`primitive`][neuronix.autograd.primitive].
        aten: As for [`primitive`][neuronix.autograd.primitive].

    Returns:
        A decorator that registers the function and returns it unchanged.
    """

    def decorate(function: F) -> F:
        registry.register(function, function.__name__, names, aten)
        return function

    return decorate
