"""Bad input: a typed error that torch's `except` clauses catch too, and afterwards everything is as it was."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from neuronix.autograd import (
    AutogradGraph,
    CustomTensor,
    grad,
    is_grad_enabled,
    no_grad,
    primitive,
    rules_only,
    tensor,
)
from neuronix.autograd.errors import GradientError, GraphError, NeuronixError, ShapeError
from neuronix.autograd.graph import current_graph
from neuronix.autograd.modes import in_plain_pass
from neuronix.autograd.testing import check_index


def leaf(*shape: int, dtype: torch.dtype = torch.float64) -> CustomTensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return CustomTensor(torch.randn(shape, generator=generator, dtype=dtype), requires_grad=True)


@pytest.fixture(autouse=True)
def empty_graph() -> None:
    """Forget what other tests' tracebacks may still hold: it would vanish from the counts at any moment."""
    current_graph().clear()


@contextmanager
def unchanged(*tensors: CustomTensor) -> Iterator[None]:
    """Check that a block that fails leaves the tensors, the current graph and the modes as they were."""

    def state() -> Any:
        graph = current_graph()
        check_index(graph)
        modes = is_grad_enabled(), in_plain_pass(), graph.closed
        nodes = graph.num_nodes(), graph.num_edges(), id(graph)
        versions = [(x.data._version, id(x.data), id(x.grad_fn), x.requires_grad, x.is_leaf) for x in tensors]
        return modes, nodes, versions

    before = state()
    values = [x.data.clone() for x in tensors]
    grads = [None if x.grad is None else x.grad.clone() for x in tensors]
    yield
    assert state() == before
    for x, value, gradient in zip(tensors, values, grads, strict=True):
        assert_close(x.data, value, rtol=0, atol=0, equal_nan=True)
        assert (x.grad is None) == (gradient is None)
        if gradient is not None:
            assert_close(x.grad, gradient, rtol=0, atol=0)


# Operations with arguments that don't fit

LONG = torch.tensor([0, 1])
OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {  # of x (3, 4) and y (2, 5), float64
    "add": lambda x, y: x + y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: torch.div(x, y),
    "rounding mode": lambda x, y: torch.div(x, 2, rounding_mode="up"),
    "pow": lambda x, y: x**y,
    "maximum": lambda x, y: torch.maximum(x, y),
    "where": lambda x, y: torch.where(x > 0, x, y),
    "condition that isn't boolean": lambda x, y: torch.where(torch.ones(3, 4), x, x),
    "masked_fill": lambda x, y: x.masked_fill(y > 0, 1.0),
    "clamp without bounds": lambda x, y: x.clamp(),
    "clamp to another shape": lambda x, y: x.clamp(min=y),
    "matmul": lambda x, y: x @ y,
    "matmul of a scalar": lambda x, y: x @ x.sum(),
    "matmul of another dtype": lambda x, y: x @ torch.ones(4, 4),
    "mm of a vector": lambda x, y: torch.mm(x, x[0]),
    "bmm of matrices": lambda x, y: torch.bmm(x, x),
    "dot of matrices": lambda x, y: torch.dot(x, x),
    "linear": lambda x, y: torch.nn.functional.linear(x, y),
    "einsum": lambda x, y: torch.einsum("ij,jk->ik", x, y),
    "einsum with too few operands": lambda x, y: torch.einsum("ij,jk->ik", x),
    "sum over an axis that isn't there": lambda x, y: x.sum(2),
    "sum over an axis twice": lambda x, y: x.sum((0, 0)),
    "mean over an axis that isn't there": lambda x, y: x.mean(-3),
    "amax of nothing": lambda x, y: x[:0].amax(),
    "max along an axis that isn't there": lambda x, y: x.max(5),
    "max of nothing": lambda x, y: x[:0].max(0),
    "var of a third axis": lambda x, y: x.var(2),
    "logsumexp of a third axis": lambda x, y: x.logsumexp(2),
    "softmax of a third axis": lambda x, y: torch.softmax(x, 2),
    "log_softmax of a third axis": lambda x, y: torch.log_softmax(x, -3),
    "cumsum of a third axis": lambda x, y: x.cumsum(2),
    "reshape": lambda x, y: x.reshape(5, 5),
    "reshape with two unknowns": lambda x, y: x.reshape(-1, -1),
    "view of a transposed tensor": lambda x, y: x.t().view(12),
    "expand": lambda x, y: x.expand(2, 4),
    "expand to fewer axes": lambda x, y: x.expand(4),
    "transpose": lambda x, y: x.transpose(0, 2),
    "permute with an axis twice": lambda x, y: x.permute(0, 0),
    "permute with too few axes": lambda x, y: x.permute(0),
    "unsqueeze": lambda x, y: x.unsqueeze(5),
    "squeeze": lambda x, y: x.squeeze(4),
    "flatten": lambda x, y: x.flatten(1, 0),
    "cat": lambda x, y: torch.cat([x, y]),
    "cat of nothing": lambda x, y: torch.cat([x, x], 3),
    "stack": lambda x, y: torch.stack([x, y]),
    "split": lambda x, y: x.split([1, 1]),
    "split into negative parts": lambda x, y: x.split(-1),
    "chunk": lambda x, y: x.chunk(0),
    "index out of range": lambda x, y: x[3],
    "index of too many axes": lambda x, y: x[0, 0, 0],
    "index by numbers that aren't whole": lambda x, y: x[torch.tensor([0.5])],
    "index by a number that isn't whole": lambda x, y: x[1.5],
    "index by lists that don't broadcast": lambda x, y: x[[0, 1, 2], [0, 1]],
    "index by a mask of another shape": lambda x, y: x[torch.ones(2, 4, dtype=torch.bool)],
    "gather": lambda x, y: x.gather(2, torch.zeros(3, 4, dtype=torch.long)),
    "gather of the wrong rank": lambda x, y: x.gather(0, LONG),
    "index_select": lambda x, y: x.index_select(0, LONG + 7),
    "masked_select": lambda x, y: torch.masked_select(x, y > 0),
    "narrow past the end": lambda x, y: x.narrow(1, 2, 3),
    "narrow to less than nothing": lambda x, y: x.narrow(1, 2, -1),
    "narrow from beyond": lambda x, y: x.narrow(1, 5, 0),
    "narrow from a place that isn't whole": lambda x, y: torch.narrow(x, 0, torch.tensor(0.5), 1),
    "narrow of a number": lambda x, y: x.sum().narrow(0, 0, 1),
    "narrow_copy": lambda x, y: torch.narrow_copy(x, 2, 0, 1),
    "masked_scatter by numbers": lambda x, y: torch.masked_scatter(x, torch.ones(3, 4), y),
    "flip of the columns of a vector": lambda x, y: torch.fliplr(x[0]),
    "flip of the rows of a number": lambda x, y: torch.flipud(x.sum()),
    "ormqr": lambda x, y: torch.ormqr(x[0], x[0], x),
    "gelu": lambda x, y: torch.nn.functional.gelu(x, approximate="exact"),
    "addmm to something larger": lambda x, y: torch.addmm(x.expand(2, 3, 4), x, x.mT),
    "addmm to another dtype": lambda x, y: torch.addmm(torch.ones(3), x, x.mT),
    "addmv to a matrix": lambda x, y: torch.addmv(x, x, x[0]),
    "addbmm to a batch": lambda x, y: torch.addbmm(x.expand(2, 3, 4), x[None], x.mT[None]),
    "baddbmm of another dtype": lambda x, y: torch.baddbmm(torch.ones(3, 3), x[None], x.mT[None]),
    "addr to a batch": lambda x, y: torch.addr(x.expand(2, 3, 4), x[:, 0], x[0]),
    "linear with a batch of weights": lambda x, y: torch.nn.functional.linear(x, x.expand(2, 3, 4)),
    "linear with a vector and a bias": lambda x, y: torch.nn.functional.linear(x, x[0], x.sum()),
    "bilinear of other batches": lambda x, y: torch.nn.functional.bilinear(x, x[0], x.expand(2, 3, 4).mT),
    "bilinear of another dtype": lambda x, y: torch.nn.functional.bilinear(x, x, torch.ones(2, 4, 4)),
    "cross of another dtype": lambda x, y: torch.linalg.cross(x[:, :3], torch.ones(3, 3)),
    "cross of four axes": lambda x, y: torch.linalg.cross(x, x),
    "cross of another rank": lambda x, y: torch.linalg.cross(x[:, :3], x[0, :3]),
    "prelu of another dtype": lambda x, y: torch.nn.functional.prelu(x, torch.ones(4)),
    "tensordot over axes that aren't there": lambda x, y: torch.tensordot(x, x, ([3], [0])),
    "tensordot over too many axes": lambda x, y: torch.tensordot(x, x, 3),
    "tensordot over less than none": lambda x, y: torch.tensordot(x, x, -1),
    "tensordot over half an axis": lambda x, y: torch.tensordot(x, x, 1.5),
    "tensordot over three lists": lambda x, y: torch.tensordot(x, x, [[0], [0], [0]]),
    "einsum of a diagonal that isn't one": lambda x, y: torch.einsum("ii", x[:, :1]),
    "index_reduce of another shape": lambda x, y: torch.index_reduce(x, 0, LONG, y, "amax"),
    "index_reduce of too few slices": lambda x, y: torch.index_reduce(x, 0, LONG, x[:1], "amax"),
    "index_reduce at matrices": lambda x, y: torch.index_reduce(x, 0, LONG[None], x[:2], "amax"),
    "index_reduce out of range": lambda x, y: torch.index_reduce(x, 0, LONG + 2, x[:2], "amax"),
    "select_scatter of too little": lambda x, y: torch.select_scatter(x, x[0, 0], 0, 0),
    "slice_scatter of too little": lambda x, y: torch.slice_scatter(x, x[:1], 0, 0, 2),
    "take_along_dim of another rank": lambda x, y: torch.take_along_dim(x, LONG, 0),
    "take_along_dim along a third axis": lambda x, y: torch.take_along_dim(x, LONG[None], 2),
    "put of too few": lambda x, y: torch.put(x, LONG, x[0, :1]),
    "put at floats": lambda x, y: torch.put(x, torch.ones(1), x[0, :1]),
    "take at floats": lambda x, y: torch.take(x, torch.ones(1)),
    "masked_select by numbers": lambda x, y: torch.masked_select(x, torch.ones(3, 4)),
    "nuclear norm of a batch": lambda x, y: torch.norm(x[None], "nuc"),
    "aminmax of complex numbers": lambda x, y: torch.aminmax(torch.complex(x, x)),
    "xlog1py of complex numbers": lambda x, y: torch.special.xlog1py(torch.complex(x, x), x),
    "isin of complex numbers": lambda x, y: torch.isin(torch.complex(x, x), x),
    "mvlgamma of no dimension": lambda x, y: torch.mvlgamma(x.abs() + 3, 0),
    "det of a matrix that isn't square": lambda x, y: torch.linalg.det(x),
    "slogdet of a matrix that isn't square": lambda x, y: torch.linalg.slogdet(x),
    "cholesky of a matrix that isn't positive": lambda x, y: torch.linalg.cholesky(-x @ x.mT),
    "lstsq of too many axes": lambda x, y: torch.linalg.lstsq(x, x[None, None]),
    "lstsq of another batch": lambda x, y: torch.linalg.lstsq(x.expand(2, 3, 4), x),
    "householder_product of wide matrices": lambda x, y: torch.linalg.householder_product(x, x[0, :3]),
    "householder_product of another rank": lambda x, y: torch.linalg.householder_product(x.mT, x),
    "ormqr of another matrix": lambda x, y: torch.ormqr(x.mT, x[0, :3], y),
    "triangular_solve of another dtype": lambda x, y: torch.triangular_solve(torch.ones(3, 1), x[:, :3]),
    "cholesky_solve of another dtype": lambda x, y: torch.cholesky_solve(torch.ones(3, 1), x[:, :3]),
    "lu_solve of too few pivots": lambda x, y: torch.linalg.lu_solve(x[:, :3], LONG.int() + 1, x),
    "narrow from a float": lambda x, y: x.narrow(0, 1.5, 1),
    "split into no pieces": lambda x, y: torch.tensor_split(x, 0),
    "unflatten of a number": lambda x, y: x.sum().unflatten(0, (1, 1)),
    "padding of too many axes": lambda x, y: torch.nn.functional.pad(x[None, None], (1, 1), mode="reflect"),
    "index by lists of other lengths": lambda x, y: x[[[0], [0, 1]], 0],
    "cumsum in place, in another precision": lambda x, y: (x * 1).cumsum_(0, dtype=torch.float32),
    "abs in place, of complex numbers": lambda x, y: torch.complex(x, x).abs_(),
    "roll": lambda x, y: torch.roll(x, 1, 4),
    "diagonal": lambda x, y: x.diagonal(0, 0, 0),
    "item of several elements": lambda x, y: x.item(),
    "float of several elements": lambda x, y: float(x),
    "bool of several elements": lambda x, y: bool(x),
    "length of a number": lambda x, y: len(x.sum()),
    "iteration over a number": lambda x, y: list(x.sum()),
    "in place, larger": lambda x, y: (x * 1).sum(0).mul_(x),
    "in place, other shape": lambda x, y: (x * 1).add_(y),
    "assignment of another shape": lambda x, y: (x * 1).__setitem__(0, y),
    "assignment out of range": lambda x, y: (x * 1).__setitem__(7, 1.0),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_arguments_that_do_not_fit(name: str) -> None:
    function = OPERATIONS[name]
    x, y = leaf(3, 4), leaf(2, 5)
    x.grad = torch.ones(3, 4, dtype=torch.float64)
    kept = x * 2  # so that there is a graph to be disturbed
    theirs = [torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in ((3, 4), (2, 5))]
    with pytest.raises(Exception) as expected:  # whatever PyTorch raises
        function(*theirs)
    with unchanged(x, y, kept):
        failure = error_of(lambda: function(x, y))
    assert isinstance(failure, expected.type), f"{type(failure)} isn't the {expected.type} that torch raises"
    assert str(failure)
    kept.sum().backward()
    assert_close(x.grad, torch.full((3, 4), 3.0, dtype=torch.float64))


def error_of(function: Callable[[], Any]) -> Exception:
    """The error without its traceback, which would keep the tensors of the failed call alive."""
    with pytest.raises(Exception) as caught:
        function()
    error = caught.value
    del caught
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


def test_an_error_that_is_kept_keeps_nothing_in_the_graph() -> None:
    x, vector, shorter = leaf(3, 4), leaf(4) * 2, torch.ones(3, dtype=torch.float64)
    failures: dict[str, Callable[[], Any]] = {
        "by a composite, half-way": lambda: torch.dot(vector, shorter),
        "inside a function that is taken apart": lambda: torch.nn.functional.max_unpool1d(x, LONG, 2, 2),
    }
    for name, function in failures.items():
        nodes = current_graph().num_nodes()
        with pytest.raises(RuntimeError) as caught:
            function()
        assert current_graph().num_nodes() == nodes, name
        assert caught.value.__traceback__ is not None


def test_a_debugger_sees_the_frames_that_an_error_came_through() -> None:
    def user(x: Any) -> Any:
        mine = x * 2
        return torch.addcdiv(torch.ones(3, dtype=torch.float64), mine, torch.ones(4, dtype=torch.float64))

    with pytest.raises(RuntimeError) as caught:
        user(leaf(4))
    frames = {frame.f_code.co_name: frame.f_locals for frame, _ in traceback.walk_tb(caught.value.__traceback__)}
    assert frames["user"]["mine"].shape == (4,)
    assert any(value is frames["user"]["mine"] for value in frames["addcdiv"].values())
    assert not frames["add"]  # where the quotient is, which nobody needs any more


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x @ torch.ones(3, dtype=torch.float64),
        lambda x: x.dot(torch.ones(3, dtype=torch.float64)),
        lambda x: torch.ones(3, 3, dtype=torch.float64) @ x,
        lambda x: x.masked_scatter(torch.tensor(True), torch.ones(2, dtype=torch.float64)),
    ],
)
def test_methods_that_fail_leave_nothing_in_the_graph(call: Any) -> None:
    x = leaf(4)
    x.exp()  # so that the leaf has its node
    nodes = current_graph().num_nodes()
    with pytest.raises(RuntimeError) as caught:
        call(x)
    assert current_graph().num_nodes() == nodes
    assert isinstance(caught.value, NeuronixError)


@pytest.mark.parametrize(
    "name", ["add", "matmul", "sum over an axis that isn't there", "reshape", "cat", "index_select"]
)
def test_errors_name_the_operation_and_the_values(name: str) -> None:
    error = error_of(lambda: OPERATIONS[name](leaf(3, 4), leaf(2, 5)))
    assert isinstance(error, NeuronixError)
    assert "(3, 4)" in str(error) or "3, 4" in str(error)


# Backward passes that must not happen


def mean_square(x: CustomTensor) -> CustomTensor:
    return (x * x).mean()


def foreign(x: CustomTensor) -> CustomTensor:
    with AutogradGraph(auto_cleanup=False):
        return x * 2


def closed(x: CustomTensor) -> CustomTensor:
    with AutogradGraph():
        return mean_square(x)


def twice(x: CustomTensor) -> CustomTensor:
    y = mean_square(x)
    grad(y, x)
    return y


def changed_behind(x: CustomTensor) -> CustomTensor:
    y = x * 2
    y.data.mul_(3)
    return y


BACKWARDS: dict[str, tuple[type[NeuronixError], str, Callable[[CustomTensor], Any]]] = {
    "several elements": (GradientError, "scalar", lambda x: (x * 2).backward()),
    "gradient of another shape": (ShapeError, r"\(3,\)", lambda x: (x * 2).backward(torch.ones(3))),
    "gradient of a number": (ShapeError, r"\(1,\)", lambda x: mean_square(x).backward(torch.ones(1))),
    "complex gradient": (NeuronixError, "complex", lambda x: mean_square(x).backward(torch.tensor(1j))),
    "create_graph": (GradientError, "leak", lambda x: mean_square(x).backward(create_graph=True)),
    "constant": (GradientError, "does not require grad", lambda x: mean_square(x.detach()).backward()),
    "integers": (GradientError, "does not require grad", lambda x: (x > 0).sum().backward()),
    "under no_grad": (GradientError, "does not require grad", lambda x: no_grad(mean_square)(x).backward()),
    "no inputs": (GradientError, "empty", lambda x: mean_square(x).backward(inputs=[])),
    "grad of no inputs": (GradientError, "empty", lambda x: grad(mean_square(x), [])),
    "plain input": (NeuronixError, "CustomTensor", lambda x: grad(mean_square(x), [x.data])),
    "constant input": (GradientError, "does not require grad", lambda x: grad(mean_square(x), x.detach())),
    "unused input": (GradientError, "not used", lambda x: grad(mean_square(x), leaf(2))),
    "plain output": (NeuronixError, "CustomTensor", lambda x: grad([x.data], x)),
    "too few grad_outputs": (ShapeError, "2 outputs", lambda x: grad([x.sum(), x.mean()], x, [torch.tensor(1.0)])),
    "closed": (GraphError, "closed", lambda x: closed(x).backward()),
    "operation on closed": (GraphError, "closed", lambda x: closed(x) * 2),
    "foreign": (GraphError, "recorded on", lambda x: foreign(x) + x),
    "freed": (GraphError, "second time", lambda x: twice(x).backward()),
    "freed below": (GraphError, "second time", lambda x: (twice(x) * 2).backward()),
    "changed behind the engine's back": (GradientError, "changed in place", lambda x: changed_behind(x).sum()),
    "hook of a constant": (GradientError, "hook", lambda x: x.detach().register_hook(print)),
    "retain_grad of a constant": (GradientError, "retain_grad", lambda x: x.detach().retain_grad()),
    "in place on a leaf": (GradientError, "leaf", lambda x: x.mul_(2)),
    "assignment to a leaf": (GradientError, "leaf", lambda x: x.__setitem__(0, 1.0)),
    "numpy": (GradientError, "numpy", lambda x: x.numpy()),
    "numpy, implicitly": (GradientError, "detach", lambda x: np.asarray(x)),
    "integer data": (GradientError, "int64", lambda x: setattr(x, "data", LONG)),
    "data of a result in another shape": (ShapeError, "replaced", lambda x: setattr(x * 2, "data", LONG.double())),
    "grad of another shape": (ShapeError, r"\(2,\)", lambda x: setattr(x, "grad", LONG.double())),
    "grad of another dtype": (NeuronixError, "float32", lambda x: setattr(x, "grad", torch.ones(2, 3))),
    "grad elsewhere": (NeuronixError, "meta", lambda x: setattr(x, "grad", x.data.to("meta"))),
    "a result made a constant": (GradientError, "leaf", lambda x: setattr(x * 2, "requires_grad", False)),
    "integers that require grad": (GradientError, "floating point", lambda x: CustomTensor(LONG, requires_grad=True)),
}


@pytest.mark.parametrize("name", BACKWARDS)
@pytest.mark.parametrize("scoped", [False, True], ids=["default graph", "block"])
def test_what_cannot_be_differentiated(name: str, scoped: bool) -> None:
    kind, words, function = BACKWARDS[name]
    x = leaf(2, 3)
    x.grad = torch.full((2, 3), 7.0, dtype=torch.float64)

    def check() -> None:
        kept = x * 3
        with unchanged(x, kept):
            error = error_of(lambda: function(x))
        assert isinstance(error, kind)
        assert isinstance(error, (RuntimeError, TypeError))  # as in torch
        with pytest.raises(kind, match=words):
            raise error
        kept.sum().backward()
        assert_close(x.grad, torch.full((2, 3), 10.0, dtype=torch.float64))

    if scoped:
        with AutogradGraph():
            check()
    else:
        check()


def test_devices_that_differ() -> None:
    x = leaf(2)
    elsewhere = CustomTensor(torch.ones(2, dtype=torch.float64, device="meta"), requires_grad=True)
    with unchanged(x):
        error = error_of(lambda: x * elsewhere)
    assert isinstance(error, RuntimeError)
    assert "mul" in str(error)
    assert "meta" in str(error)
    (elsewhere * elsewhere).sum().backward()
    assert elsewhere.grad is not None
    assert elsewhere.grad.device.type == "meta"


# Passes that fail half-way


class Broken(Exception):
    """What a hook or a rule of a user's may raise."""


@primitive
def fails(x: Tensor) -> Tensor:
    """The identity, whose rule raises."""
    return x.clone()


@fails.vjp("x")
def fails_wrt_x(grad: Tensor) -> Tensor:
    raise Broken


@primitive
def misshapen(x: Tensor) -> Tensor:
    """The identity, whose rule returns a gradient of another shape."""
    return x.clone()


@misshapen.vjp("x")
def misshapen_wrt_x(grad: Tensor) -> Tensor:
    return grad.new_ones(7)


def breaking(gradient: Any) -> None:
    raise Broken


def with_hook(x: CustomTensor) -> CustomTensor:
    y = x * 2
    y.register_hook(breaking)
    return y


def with_misshapen_hook(x: CustomTensor) -> CustomTensor:
    y = x * 2
    y.register_hook(lambda gradient: torch.ones(7))
    return y


def changed_argument(x: CustomTensor) -> CustomTensor:
    factor = CustomTensor(torch.full((3,), 2.0, dtype=torch.float64))
    y = x * factor
    factor.data.zero_()
    return y


HALF_WAY: dict[str, tuple[type[Exception], Callable[[CustomTensor], CustomTensor]]] = {
    "a rule raises": (Broken, fails),
    "a rule returns another shape": (ShapeError, misshapen),
    "a hook raises": (Broken, with_hook),
    "a hook returns another shape": (ShapeError, with_misshapen_hook),
    "a saved value was changed": (GradientError, changed_argument),
}


# grad() writes nothing, so there it is the caller who sees a gradient of another shape.
PASSES = [
    (name, recording) for name in HALF_WAY for recording in (False, True) if not (recording and "rule returns" in name)
]


@pytest.mark.parametrize("rules", [False, True], ids=["kernels", "rules"])
@pytest.mark.parametrize(("name", "recording"), PASSES)
def test_a_pass_that_fails_half_way_writes_nothing(name: str, recording: bool, rules: bool) -> None:
    kind, function = HALF_WAY[name]
    x, other = leaf(3), leaf(3)
    other.grad = torch.ones(3, dtype=torch.float64)
    # `other` is reached before the failure, and `x` after it
    total = (torch.tanh(other) * function(x).exp()).sum()
    with unchanged(x, other, total):
        if rules:
            with rules_only():
                error = error_of(lambda: run(total, [x, other], recording))
        else:
            error = error_of(lambda: run(total, [x, other], recording))
    assert type(error) is kind
    (x * 2).sum().backward()  # what has nothing to do with it goes on
    assert_close(x.grad, torch.full((3,), 2.0, dtype=torch.float64))


def run(total: CustomTensor, inputs: list[CustomTensor], recording: bool) -> None:
    if recording:
        grad(total, inputs, create_graph=True)
    else:
        total.backward()


def test_a_leafs_hook_that_raises_leaves_the_other_leaves_alone() -> None:
    x, other = leaf(3), leaf(3)
    x.register_hook(breaking)
    total = (x * other).sum()
    with unchanged(x, other, total):
        assert type(error_of(total.backward)) is Broken


def test_a_gradient_that_no_longer_fits_is_refused_before_any_is_written() -> None:
    first, second, third = leaf(3), leaf(3), leaf(3)
    for x in (first, second, third):
        (x * 1).sum().backward()
    total = (first * second * third).sum()
    second.data = torch.ones(4, dtype=torch.float64)
    with unchanged(first, third):
        error = error_of(total.backward)
    assert isinstance(error, ShapeError)
    with pytest.raises(ShapeError, match=r"still has a \.grad of shape \(3,\)"):
        (second * 2).sum().backward()
    second.grad = None
    (second * 2).sum().backward()
    assert_close(second.grad, torch.full((4,), 2.0, dtype=torch.float64))


def test_recording_on_a_cleared_graph() -> None:
    x = leaf(3)
    with AutogradGraph() as graph:
        y = x * 2
        graph.clear()
        for function in (lambda: x * 2, lambda: y * 2, lambda: torch.cat([x, y]), lambda: x.max(0)):
            with pytest.raises(GraphError, match="closed"):
                function()
        with no_grad():
            assert (y * 2).shape == (3,)
    (x * 2).sum().backward()


def test_a_thread_keeps_its_default_graph_when_it_is_cleared() -> None:
    x = leaf(3)
    y = (x * x).sum()
    current_graph().clear()
    with pytest.raises(GraphError):
        y.backward()
    assert x.grad is None
    (x * 2).sum().backward()
    assert_close(x.grad, torch.full((3,), 2.0, dtype=torch.float64))


# torch's own modes


def test_inference_mode_is_refused_where_something_is_recorded() -> None:
    x = leaf(3)
    with torch.inference_mode():
        made_inside = CustomTensor(torch.full((3,), 2.0, dtype=torch.float64))
        with unchanged(x):
            for function in (lambda: x * 2, lambda: x.sum(), lambda: torch.cat([x, x]), lambda: x.max(0).values.exp()):
                error = error_of(function)
                assert isinstance(error, GradientError)
                assert "inference_mode" in str(error)
        with no_grad():  # here nothing is recorded, and everything works
            y = x * 2
            y *= 3
            y[0] = 1.0
            assert torch.add(y, 1, out=y) is y
            x *= 2
    assert not y.requires_grad
    with pytest.raises(GradientError, match="clone"):
        x * made_inside  # its value would have to be saved
    (x + made_inside).sum().backward()  # and here it needn't
    assert_close(x.grad, torch.ones(3, dtype=torch.float64))


def test_torchs_no_grad_is_no_concern_of_ours() -> None:
    x = leaf(3)
    with torch.no_grad():
        y = x * 2
    y.sum().backward()
    assert_close(x.grad, torch.full((3,), 2.0, dtype=torch.float64))


def test_vmap_takes_no_custom_tensors_but_they_work_inside() -> None:
    batch = torch.randn(5, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match="in_dim"):
        torch.vmap(lambda x: x * 2)(CustomTensor(batch))

    def gradient(values: Tensor) -> Tensor:
        x = CustomTensor(values, requires_grad=True)
        torch.exp((x * x).sum()).backward()
        assert isinstance(x.grad, Tensor)
        (found,) = grad((x.sin() * x).sum(), x)
        return x.grad + found.data

    expected = 2 * batch * torch.exp((batch * batch).sum(1, keepdim=True)) + batch.cos() * batch + batch.sin()
    assert_close(torch.vmap(gradient)(batch), expected, rtol=1e-12, atol=1e-12)


def test_a_number_that_is_no_tensor() -> None:
    for value in ("text", object(), {"a": 1}):
        with pytest.raises((TypeError, ValueError, RuntimeError)):
            tensor(value)
        with pytest.raises(TypeError):
            leaf(2) + value
