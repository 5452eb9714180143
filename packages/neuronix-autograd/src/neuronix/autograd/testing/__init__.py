"""Helpers for tests: of this project, of its siblings, and of anybody's own operations.

Three oracles for derivatives (PyTorch, finite differences, second order), and two for memory.  PyTorch's
differentiation is an oracle that the *tests* hand in; this package has no use of it, and `check_against_torch` can turn
it off while Neuronix is at work.
"""

from __future__ import annotations

import copy
import gc
import math
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from neuronix.autograd.backward import grad
from neuronix.autograd.graph import AutogradGraph
from neuronix.autograd.node import Node, next_sequence
from neuronix.autograd.tensor import CustomTensor

__all__ = [
    "FAR_OUT",
    "assert_freed",
    "check_against_finite_differences",
    "check_against_torch",
    "check_index",
    "live_nodes",
    "no_leaks",
    "refusing",
]

# What the functions are called that differentiate, in torch.autograd, torch.autograd.functional, torch.func and
# torch.Tensor: see `refusing`.
_DIFFERENTIATING = (
    "backward grad grad_and_value hessian hvp jacfwd jacobian jacrev jvp linearize vhp vjp _engine_run_backward"
).split()

FAR_OUT = [
    [1.0, 2.0, 3.0],
    [0.0, 0.0, 0.0],
    [-0.0, 0.0, -1e-20],
    [1e3, 1e3, -1e3],
    [1e4, 1.0, -1e4],
    [6e4, 6e4, 6e4],
    [-6e4, -6e4, -6e4],
    [1e-7, 2e-7, -1e-7],
    [1e-30, -1e-30, 0.0],
    [1e30, -1e30, 1.0],
    [88.0, 89.0, -104.0],
    [math.inf, 1.0, 2.0],
    [-math.inf, 1.0, 2.0],
    [math.inf, math.inf, 0.0],
    [math.inf, -math.inf, 0.0],
    [-math.inf, -math.inf, -math.inf],
    [math.nan, 1.0, 2.0],
    [math.nan, math.inf, 1.0],
]
"""Rows of large, tiny, equal, infinite and undefined numbers, at which an operation must do what PyTorch does."""

# Relative and absolute tolerance.
_TOLERANCES = {
    torch.float64: (1e-10, 1e-11),
    torch.complex128: (1e-10, 1e-11),
    torch.float32: (1e-5, 1e-5),
    torch.complex64: (1e-5, 1e-5),
    torch.float16: (2e-3, 1e-4),
    torch.bfloat16: (1.6e-2, 1e-3),
}


# PyTorch as the oracle


def check_against_torch(
    function: Callable[..., Any],
    *inputs: Any,
    torch_grad: Callable[..., Sequence[Tensor | None]],
    torch_function: Callable[..., Any] | None = None,
    refused: Sequence[Any] = (),
    parameters: Mapping[str, tuple[CustomTensor, Tensor]] | None = None,
    second_order: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """Compare a function on `CustomTensor`s with the same function on torch tensors.

    Compared are the outputs (values, shapes, dtypes, nesting, ``requires_grad``); the gradients of a random weighting
    of the outputs, by a plain pass (fused kernels) and by a recorded one (rules); and the second-order gradients of a
    random weighting of these, also with respect to the gradient that comes in.  A missing gradient counts as zeros.

    Args:
        function: Takes the inputs, returns tensors in any nesting of tuples, lists and dicts.
        inputs: Torch tensors, which `function` gets as `CustomTensor`s with copies of their values: those that require
            grad as leaves, the others as constants; tuples, lists and dicts of them; anything else unchanged.
        torch_grad: PyTorch's gradient function, ``torch.autograd.grad``.  The test hands it in, because this package
            doesn't use it.
        torch_function: What to compare with, where it isn't `function` itself.
        refused: Modules and classes whose differentiating functions raise while Neuronix is at work: see
            [`refusing`][neuronix.autograd.testing.refusing].
        parameters: Further leaves that the functions use, as a layer's parameters: by name, ours and torch's.
        second_order: Whether to compare second-order gradients.
        rtol: Relative tolerance; by default one that fits the dtype (float64 1e-10, float32 1e-5).
        atol: Absolute tolerance; by default one that fits the dtype (float64 1e-11, float32 1e-5).

    Raises:
        AssertionError: If something differs; the message says what, and by how much.

    Example:
        In a ``conftest.py``, for all tests of a package::

            @pytest.fixture(scope="session")
            def check_against_torch():
                return functools.partial(
                    neuronix.autograd.testing.check_against_torch,
                    torch_grad=torch.autograd.grad,
                    refused=(torch.autograd, torch.autograd.functional, torch.func, torch.Tensor),
                )

        and in a test::

            def test_mul(check_against_torch):
                x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
                check_against_torch(torch.mul, x, 3)
    """
    our_inputs = _map(_as_custom, inputs)
    ours, theirs = _leaves(our_inputs, inputs, parameters or {})
    tolerances = (rtol, atol)
    their_outputs = (torch_function or function)(*inputs)
    their_results = _differentiable(their_outputs)
    weights = _random_like(their_results, seed=1)
    probe = next((copy.deepcopy(leaf) for leaf in theirs.values() if leaf.is_leaf), None) if second_order else None
    their_first, their_second = _both_orders(torch_grad, their_results, list(theirs.values()), weights, probe)
    with refusing(*refused):
        our_outputs = function(*our_inputs)
        _compare_outputs(our_outputs, their_outputs, "the output", tolerances)
        our_results = _differentiable(our_outputs)
        our_probe = None if probe is None else CustomTensor(probe.detach().clone(), requires_grad=True)
        plain = _gradients(grad, our_results, list(ours.values()), weights, retain_graph=True)
        our_first, our_second = _both_orders(grad, our_results, list(ours.values()), weights, our_probe)
    for name, plainly, recorded, expected in zip(ours, plain, our_first, their_first, strict=True):
        _compare(plainly, expected, f"the gradient with respect to {name}", tolerances)
        _compare(recorded, expected, f"the gradient (recorded, by rules) with respect to {name}", tolerances)
    for name, received, expected in zip([*ours, "the incoming gradient"], our_second, their_second, strict=False):
        _compare(received, expected, f"the second-order gradient with respect to {name}", tolerances)


@contextmanager
def refusing(*owners: Any) -> Iterator[None]:
    """Let functions that differentiate raise for the length of a block, to prove that nothing in it calls them.

    Args:
        owners: Modules and classes; their functions with names such as ``backward``, ``grad``, ``vjp`` or ``jacobian``
            are replaced.

    Raises:
        AssertionError: Inside the block, by the functions.

    Example:
        >>> import types
        >>> module = types.SimpleNamespace(grad=lambda: 1)
        >>> with refusing(module):
        ...     module.grad()
        Traceback (most recent call last):
        AssertionError: grad() was called inside refusing()
        >>> module.grad()
        1
    """
    with ExitStack() as stack:
        for owner in owners:
            for name in _DIFFERENTIATING:
                if callable(vars(owner).get(name)):
                    stack.enter_context(mock.patch.object(owner, name, _refusal(name)))
        yield


def _refusal(name: str) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError(f"{name}() was called inside refusing()")

    return refuse


def _both_orders(
    gradient: Callable[..., Any], results: list[Any], leaves: list[Any], weights: list[Tensor], probe: Any
) -> tuple[list[Any], list[Any]]:
    """First-order gradients by a recorded pass; second-order ones with respect to the leaves and to `probe`.

    ``probe`` is a leaf of any shape through which the incoming gradient is made to depend on something: a rule has to
    be differentiable in ``grad`` as well, which a constant incoming gradient would never show.
    """
    if not results or not leaves:
        return [None] * len(leaves), []
    incoming: list[Any] = list(weights)
    if probe is not None:
        probe.data.zero_()
        directions = _random_like(weights, seed=2)
        incoming = [w + d * _scalar(probe, w) for w, d in zip(weights, directions, strict=True)]
    first = _gradients(gradient, results, leaves, incoming, create_graph=True)
    if probe is None:
        return first, []
    # A weight for each leaf, so that both sides use the same ones even if a gradient is missing on one.
    pairs = [
        (found, weight)
        for found, weight in zip(first, _random_like(leaves, seed=3), strict=True)
        if found is not None and found.requires_grad
    ]
    used, weights = [found for found, _ in pairs], [weight for _, weight in pairs]
    return first, _gradients(gradient, used, [*leaves, probe], weights)


def _gradients(
    gradient: Callable[..., Any], results: list[Any], leaves: list[Any], weights: list[Any], **options: Any
) -> list[Any]:
    if not results or not leaves:
        return [None] * len(leaves)
    return list(gradient(results, leaves, weights, allow_unused=True, **options))


def _scalar(probe: Any, like: Tensor) -> Any:
    """The sum of `probe`, in the dtype of `like`."""
    total = probe.sum()
    if total.is_complex() and not like.is_complex():
        total = torch.real(total)
    return total if total.dtype is like.dtype else total.to(like.dtype)


def _random_like(tensors: Sequence[Any], seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = []
    for tensor in tensors:
        dtype = torch.complex128 if tensor.is_complex() else torch.float64
        made.append(torch.randn(tensor.shape, generator=generator, dtype=dtype).to(tensor.dtype))
    return made


def _as_custom(value: Any) -> Any:
    if isinstance(value, Tensor):
        return CustomTensor(value.detach().clone(), requires_grad=value.requires_grad)
    return value


def _leaves(
    ours: Any, theirs: Any, parameters: Mapping[str, tuple[CustomTensor, Tensor]]
) -> tuple[dict[str, CustomTensor], dict[str, Tensor]]:
    """What to differentiate with respect to, by name."""
    our_leaves: dict[str, CustomTensor] = {}
    their_leaves: dict[str, Tensor] = {}
    for (path, our), (_, their) in zip(_flat(ours, "input"), _flat(theirs, "input"), strict=True):
        if isinstance(their, Tensor) and their.requires_grad:
            our_leaves[path], their_leaves[path] = our, their
    for name, (our, their) in parameters.items():
        our_leaves[name], their_leaves[name] = our, their
    return our_leaves, their_leaves


def _differentiable(outputs: Any) -> list[Any]:
    """The outputs that require grad."""
    return [value for _, value in _flat(outputs, "") if getattr(value, "requires_grad", False)]


def _compare_outputs(ours: Any, theirs: Any, path: str, tolerances: tuple[float | None, float | None]) -> None:
    ours, theirs = _flat(ours, path), _flat(theirs, path)
    if [where for where, _ in ours] != [where for where, _ in theirs]:
        raise AssertionError(
            f"{path} is nested as {[where for where, _ in ours]}, expected {[where for where, _ in theirs]}"
        )
    for (where, our), (_, their) in zip(ours, theirs, strict=True):
        if not isinstance(their, Tensor):
            if our != their:
                raise AssertionError(f"{where} is {our!r}, expected {their!r}")
            continue
        if not isinstance(our, CustomTensor):
            raise AssertionError(f"{where} is a {type(our).__name__}, expected a CustomTensor")
        _compare(our, their, where, tolerances)
        if our.requires_grad != their.requires_grad:
            raise AssertionError(f"{where} has requires_grad={our.requires_grad}, expected {their.requires_grad}")


def _compare(received: Any, expected: Any, what: str, tolerances: tuple[float | None, float | None]) -> None:
    """Compare two tensors, each of which may be missing."""
    if received is None and expected is None:
        return
    ours = received.data if isinstance(received, CustomTensor) else received
    theirs = expected.detach() if isinstance(expected, Tensor) else expected
    if ours is None:
        ours = torch.zeros_like(theirs)
    if theirs is None:
        theirs = torch.zeros_like(ours)
    rtol, atol = _TOLERANCES.get(theirs.dtype, (0.0, 0.0))
    rtol = rtol if tolerances[0] is None else tolerances[0]
    atol = atol if tolerances[1] is None else tolerances[1]
    try:
        torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol, equal_nan=True)
    except AssertionError as error:
        raise AssertionError(f"{what} differs: {error}\nreceived {ours}\nexpected {theirs}") from None


def _flat(value: Any, path: str) -> list[tuple[str, Any]]:
    """The leaves of nested tuples, lists and dicts, each with where it stands."""
    if isinstance(value, (tuple, list)) and not isinstance(value, torch.Size):
        return [pair for position, item in enumerate(value) for pair in _flat(item, f"{path}[{position}]")]
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in _flat(item, f"{path}[{key!r}]")]
    return [(path, value)]


def _map(function: Callable[[Any], Any], value: Any) -> Any:
    """Apply `function` to the leaves of nested tuples, lists and dicts."""
    if isinstance(value, (tuple, list)) and not isinstance(value, torch.Size):
        return type(value)([_map(function, item) for item in value])
    if isinstance(value, dict):
        return {key: _map(function, item) for key, item in value.items()}
    return function(value)


# Finite differences as the oracle


def check_against_finite_differences(
    function: Callable[..., Any],
    *inputs: Any,
    eps: float = 1e-6,
    rtol: float = 1e-6,
    atol: float = 1e-7,
    second_order: bool = False,
) -> None:
    """Compare gradients with central differences along a random direction.

    For each input x, with random weights w and a random direction d, both sides of::

        ⟨∂⟨w, f(x)⟩/∂x, d⟩  =  (⟨w, f(x + ε d)⟩ − ⟨w, f(x − ε d)⟩) / 2ε

    A direction costs two evaluations whatever the number of elements; [`gradcheck`][neuronix.autograd.gradcheck] goes
    through every entry instead.

    Args:
        function: Takes the inputs, returns tensors in any nesting.
        inputs: Tensors (ours, torch's): the float64 ones are varied, all others are constants.
        eps: The step ε.
        rtol: Relative tolerance.
        atol: Absolute tolerance.
        second_order: Check the gradient of the gradient too.

    Raises:
        AssertionError: If a gradient differs, with both numbers; or if no input is a float64 tensor.

    Example:
        >>> import torch
        >>> from neuronix.autograd.testing import check_against_finite_differences
        >>> check_against_finite_differences(lambda x, y: x * y, torch.ones(3, dtype=torch.float64), torch.rand(2, 3))
    """
    values = [value.data if isinstance(value, CustomTensor) else value for value in inputs]
    varied = [i for i, value in enumerate(values) if isinstance(value, Tensor) and value.dtype is torch.float64]
    if not varied:
        raise AssertionError("no input is a float64 tensor: there is nothing to check")
    directions = dict(zip(varied, _random_like([values[i] for i in varied], seed=4), strict=True))

    def weighted(arguments: Sequence[Any]) -> Any:
        outputs = [value for _, value in _flat(function(*arguments), "") if _is_floating(value)]
        terms = [(value * w).sum() for value, w in zip(outputs, _random_like(outputs, seed=1), strict=True)]
        return sum(terms[1:], start=terms[0])

    def leaves() -> list[Any]:
        return [
            CustomTensor(value.detach().clone(), requires_grad=i in directions) if isinstance(value, Tensor) else value
            for i, value in enumerate(values)
        ]

    for position in varied:
        direction = directions[position]

        def along(step: float, position: int = position, direction: Tensor = direction) -> list[Any]:
            arguments = leaves()
            arguments[position].data.add_(direction, alpha=step)
            return arguments

        arguments = leaves()
        total = weighted(arguments)
        (found,) = grad(total, arguments[position], allow_unused=True) if total.requires_grad else (None,)
        received = 0.0 if found is None else float((found.data * direction).sum())
        expected = float((weighted(along(eps)).data - weighted(along(-eps)).data) / (2 * eps))
        if not abs(received - expected) <= atol + rtol * abs(expected):
            raise AssertionError(
                f"the gradient with respect to input {position} along a random direction is {received}, "
                f"central differences give {expected}"
            )
    if second_order:
        check_against_finite_differences(
            lambda *arguments: _first_order(weighted, arguments), *inputs, eps=eps, rtol=rtol, atol=atol
        )


def _is_floating(value: Any) -> bool:
    return isinstance(value, (CustomTensor, Tensor)) and value.is_floating_point()


def _first_order(weighted: Callable[[Sequence[Any]], Any], arguments: Sequence[Any]) -> list[Any]:
    """The gradients of `weighted` with respect to those arguments that require grad, recorded."""
    wanted = [a for a in arguments if isinstance(a, CustomTensor) and a.requires_grad]
    total = weighted(arguments)
    if not total.requires_grad:
        return [torch.zeros_like(a.data) for a in wanted]
    return list(grad(total, wanted, create_graph=True, materialize_grads=True))


# Memory


def live_nodes(since: int = 0) -> list[Node]:
    """The nodes that are alive, on whatever graph, in the order in which they were recorded.

    Args:
        since: Leave out those with a smaller ``sequence``.

    Returns:
        The nodes.

    Example:
        >>> from neuronix.autograd import tensor
        >>> y = tensor(1.0, requires_grad=True).exp()
        >>> [node.name for node in live_nodes(since=y.grad_fn.sequence)]
        ['exp']
    """
    # The type, not isinstance(): that would ask each object in memory for its __class__, and some answer with code.
    found = [thing for thing in gc.get_objects() if issubclass(type(thing), Node) and thing.sequence >= since]
    return sorted(found, key=lambda node: node.sequence)


def check_index(graph: AutogradGraph) -> None:
    """Check a graph's rustworkx index against what its nodes say of their parents.

    Args:
        graph: The graph.

    Raises:
        AssertionError: If a node or an edge is missing, an edge is there too much, or there is a cycle.

    Example:
        >>> from neuronix.autograd import AutogradGraph, tensor
        >>> with AutogradGraph() as graph:
        ...     y = tensor(1.0, requires_grad=True).exp()
        ...     check_index(graph)
    """
    index = graph.graph
    wanted: Counter[tuple[int, int]] = Counter()
    for node in graph.nodes():
        for parent in node.parents:
            if parent is not None and parent.graph is graph:
                if not index.has_node(parent.index) or index[parent.index]() is not parent:
                    raise AssertionError(f"the index has lost {parent!r}, a parent of {node!r}")
                wanted[parent.index, node.index] += 1
    present = Counter((source, target) for source, target in index.edge_list())
    for edge in wanted.keys() | present.keys():
        if wanted[edge] != present[edge]:
            source, target = (index[position]() for position in edge)
            raise AssertionError(
                f"the index has {present[edge]} edge(s) from {source!r} to {target!r}, the nodes say {wanted[edge]}"
            )
    if graph.check_cycle():
        raise AssertionError("the index contains a cycle")


@contextmanager
def no_leaks() -> Iterator[None]:
    """Check that no node recorded in the block outlives it, with the cyclic garbage collector off.

    So it must be reference counting that frees them: there may be no reference cycle.  A variable that is still in
    scope after the block keeps its history alive, so do the work in a function, or ``del`` its results.

    Raises:
        AssertionError: If nodes are alive at the end, with their names.

    Example:
        >>> from neuronix.autograd import tensor
        >>> def step():
        ...     x = tensor([1.0, 2.0], requires_grad=True)
        ...     (x * x).sum().backward()
        >>> with no_leaks():
        ...     step()
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        start = next_sequence()
        yield
        alive = live_nodes(since=start)
        if alive:
            names = ", ".join(repr(node) for node in alive[:8])
            more = f" and {len(alive) - 8} more" if len(alive) > 8 else ""
            raise AssertionError(f"{len(alive)} node(s) outlive the block: {names}{more}")
    finally:
        if enabled:
            gc.enable()


def assert_freed(*references: weakref.ReferenceType[Any]) -> None:
    """Check that what these weak references point to is gone.

    Args:
        references: Weak references; a strong one, or an object itself, would keep it alive.

    Raises:
        AssertionError: If an object lives, with what refers to it.

    Example:
        >>> import weakref
        >>> from neuronix.autograd import tensor
        >>> y = tensor(1.0, requires_grad=True).exp()
        >>> tensor_and_node = weakref.ref(y), weakref.ref(y.grad_fn)
        >>> del y
        >>> assert_freed(*tensor_and_node)
    """
    for reference in references:
        thing = reference()
        if thing is not None:
            holders = [type(holder).__name__ for holder in gc.get_referrers(thing) if holder is not locals()]
            raise AssertionError(f"{thing!r} is alive, referred to by {', '.join(holders) or 'a local variable'}")
