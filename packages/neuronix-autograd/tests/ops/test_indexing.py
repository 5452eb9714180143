"""Indexing, each row against torch (values, gradients of both orders) and against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from neuronix.autograd import CustomTensor, errors, grad, no_grad, ops, tensor
from neuronix.autograd.testing import check_against_finite_differences

Row = tuple[str, Callable[..., Any], list[Any]]

IDX = torch.tensor([2, 0, 2])
PAIRS = torch.tensor([[0, 1], [2, 2]])
MASK = torch.tensor([True, False, True])
MASK2 = torch.tensor([[True, False, True, False], [False, False, True, True], [True, True, False, False]])
GATHERED = torch.tensor([[0, 0, 3], [1, 2, 2], [3, 3, 3]])


def made(what: Any, dtype: torch.dtype = torch.float64) -> Any:
    """A leaf of random numbers for a shape; anything else is itself."""
    if isinstance(what, tuple):
        generator = torch.Generator().manual_seed(sum(what) + len(what))
        return torch.randn(what, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    return what


def written(x: Any, index: Any, value: Any) -> Any:
    """``x``, not the leaf but a result, with ``value`` assigned at an index."""
    y = x * 2
    y[index] = value
    return y


def scattered(x: Any, y: Any, reduce: str) -> Any:
    """``y`` combined at the places of `GATHERED`, without what ``x`` holds there."""
    return x.scatter_reduce(1, GATHERED, y, reduce, include_self=False)


INDICES: list[tuple[str, Any, tuple[int, ...]]] = [
    ("an integer", 1, (3, 4)),
    ("a negative integer", -1, (3, 4)),
    ("a numpy integer", np.int64(1), (3, 4)),
    ("an integer tensor", torch.tensor(2), (3, 4)),
    ("integers", (1, 2), (3, 4)),
    ("a slice", slice(1, None), (3, 4)),
    ("a slice with a step", (slice(None), slice(None, None, 2)), (3, 4)),
    ("an empty slice", slice(2, 1), (3, 4)),
    ("an integer and a slice", (0, slice(1, 3)), (3, 4)),
    ("None", None, (3, 4)),
    ("None and a slice", (None, slice(1, 3), None), (3, 4)),
    ("an ellipsis", ..., (3, 4)),
    ("an ellipsis and an integer", (..., 1), (2, 3, 4)),
    ("an integer, an ellipsis and a slice", (0, ..., slice(2)), (2, 3, 4)),
    ("nothing", (), (3, 4)),
    ("nothing of a scalar", (), ()),
    ("None of a scalar", None, ()),
    ("true", True, (3, 4)),
    ("false", False, (3, 4)),
    ("true of a scalar", True, ()),
    ("true and a slice", (slice(1), True), (3, 4)),
    ("a list", [0, 2], (3, 4)),
    ("an empty list", [], (3, 4)),
    ("repeated integers in a list", [0, 2, 0], (3, 4)),
    ("nested lists", [[0, 1], [2, 2]], (3, 4)),
    ("two lists", ([0, 1], [1, 1]), (3, 4)),
    ("a list of booleans", [True, False, True], (3, 4)),
    ("a tensor", IDX, (3, 4)),
    ("a tensor of pairs", PAIRS, (3, 4)),
    ("a tensor of negative integers", torch.tensor([-1, -3, -1]), (3, 4)),
    ("an int32 tensor", IDX.int(), (3, 4)),
    ("an array", np.array([2, 0, 2]), (3, 4)),
    ("an array of booleans", np.array([True, False, True]), (3, 4)),
    ("a range", range(2), (3, 4)),
    ("a tensor and an integer", (IDX, 1), (3, 4)),
    ("an integer and a tensor", (1, IDX), (3, 4)),
    ("a slice and a tensor", (slice(1, 3), IDX), (3, 4)),
    ("a tensor and a slice", (IDX, slice(1, 3)), (3, 4)),
    ("two tensors", (IDX, torch.tensor([1, 1, 1])), (3, 4)),
    ("two tensors that broadcast", (IDX[:, None], torch.tensor([0, 3])), (3, 4)),
    ("tensors around a slice", (torch.tensor([0, 1]), slice(None), torch.tensor([1, 0])), (2, 3, 4)),
    ("an integer and a tensor around a slice", (0, slice(None), torch.tensor([1, 0, 1])), (2, 3, 4)),
    ("a tensor behind an ellipsis", (..., IDX), (2, 3, 4)),
    ("a tensor and None", (IDX, None), (3, 4)),
    ("None and a tensor", (None, IDX), (3, 4)),
    ("an empty tensor", torch.tensor([], dtype=torch.long), (3, 4)),
    ("a mask of rows", MASK, (3, 4)),
    ("a mask of elements", MASK2, (3, 4)),
    ("a mask of nothing", torch.zeros(3, 4, dtype=torch.bool), (3, 4)),
    ("a mask of a scalar", torch.tensor(True), ()),
    ("a mask and an integer", (MASK, 1), (3, 4)),
    ("a mask and a tensor", (MASK, torch.tensor([1, 1])), (3, 4)),
    ("a mask behind an integer", (1, MASK2), (2, 3, 4)),
    ("a mask in front of an ellipsis", (MASK2, ...), (3, 4, 2)),
    ("a mask of the last axes", (slice(None), MASK2), (2, 3, 4)),
]

# torch's words for lists in place of tuples.
OLD_LISTS = "ignore:Using a non-tuple sequence for multidimensional indexing:UserWarning"

ROWS: list[Row] = [
    ("select", lambda x: x.select(1, 2), [(3, 4)]),
    ("select from the end", lambda x: torch.select(x, dim=-1, index=-1), [(3, 4)]),
    ("narrow", lambda x: x.narrow(1, 1, 2), [(3, 4)]),
    ("narrow_copy", lambda x: torch.narrow_copy(x, 1, 1, 2), [(3, 4)]),
    ("narrow from the end", lambda x: torch.narrow(x, dim=0, start=-2, length=2), [(3, 4)]),
    ("select_scatter", lambda x, y: torch.select_scatter(x, y, 0, 1), [(3, 4), (4,)]),
    ("slice_scatter", lambda x, y: torch.slice_scatter(x, y, dim=1, start=1, end=4, step=2), [(3, 4), (3, 2)]),
    ("index_select", lambda x: x.index_select(1, IDX), [(3, 4)]),
    ("index_select by keyword", lambda x: torch.index_select(x, dim=0, index=IDX), [(3, 4)]),
    ("index_select of a scalar", lambda x: torch.index_select(x, 0, torch.tensor([0])), [()]),
    ("index_select of nothing", lambda x: x.index_select(0, torch.tensor([], dtype=torch.long)), [(3, 4)]),
    ("index_add", lambda x, y: x.index_add(0, IDX, y), [(3, 4), (3, 4)]),
    ("index_add with alpha", lambda x, y: torch.index_add(x, 1, IDX, y, alpha=2.5), [(2, 4), (2, 3)]),
    ("index_copy", lambda x, y: x.index_copy(0, torch.tensor([2, 0]), y), [(3, 4), (2, 4)]),
    ("index_fill", lambda x: x.index_fill(1, IDX, 3.0), [(3, 4)]),
    ("index_fill by a tensor", lambda x, y: torch.index_fill(x, 0, IDX, y), [(3, 4), ()]),
    ("index_put", lambda x, y: torch.index_put(x, (IDX, torch.tensor([0, 1, 2])), y), [(3, 4), (3,)]),
    ("index_put, accumulating", lambda x, y: x.index_put((IDX,), y, accumulate=True), [(3, 4), (3, 4)]),
    ("index_put of one number", lambda x, y: x.index_put((MASK2,), y), [(3, 4), ()]),
    ("gather", lambda x: x.gather(1, GATHERED), [(3, 4)]),
    ("gather by keyword", lambda x: torch.gather(x, dim=0, index=PAIRS), [(3, 4)]),
    ("gather of a scalar", lambda x: x.gather(0, torch.tensor([0, 0])), [()]),
    ("gather of nothing", lambda x: x.gather(0, torch.zeros(0, 4, dtype=torch.long)), [(3, 4)]),
    ("scatter_add", lambda x, y: x.scatter_add(1, GATHERED, y), [(3, 4), (3, 3)]),
    ("scatter of a number", lambda x: x.scatter(1, GATHERED, 2.0), [(3, 4)]),
    ("scatter of a number by keyword", lambda x: torch.scatter(x, 1, GATHERED, value=2.0), [(3, 4)]),
    ("scatter", lambda x, y: x.scatter(1, torch.tensor([[0, 3], [1, 0], [2, 3]]), y), [(3, 4), (3, 2)]),
    ("take_along_dim", lambda x: torch.take_along_dim(x, GATHERED, dim=1), [(3, 4)]),
    ("take_along_dim, broadcast", lambda x: x.take_along_dim(torch.tensor([[1], [0]]), 0), [(3, 4)]),
    ("take_along_dim of all", lambda x: torch.take_along_dim(x, IDX), [(3, 4)]),
    ("take_along_dim from the end", lambda x: torch.take_along_dim(x, torch.tensor([[-1], [0]]), 0), [(3, 4)]),
    ("put", lambda x, y: x.put(torch.tensor([[5, 0], [1, 11]]), y), [(3, 4), (4,)]),
    ("put, accumulating", lambda x, y: torch.put(x, torch.tensor([5, 0, 5]), y, accumulate=True), [(3, 4), (3,)]),
    ("scatter_reduce, sum", lambda x, y: x.scatter_reduce(1, GATHERED, y, "sum"), [(3, 4), (3, 3)]),
    ("scatter_reduce, sum without self", lambda x, y: scattered(x, y, "sum"), [(3, 4), (3, 3)]),
    ("scatter_reduce, mean", lambda x, y: torch.scatter_reduce(x, 1, GATHERED, y, reduce="mean"), [(3, 4), (3, 3)]),
    ("scatter_reduce, mean without self", lambda x, y: scattered(x, y, "mean"), [(3, 4), (3, 3)]),
    ("scatter_reduce, amax", lambda x, y: x.scatter_reduce(1, GATHERED, y, "amax"), [(3, 4), (3, 3)]),
    ("scatter_reduce, amin without self", lambda x, y: scattered(x, y, "amin"), [(3, 4), (3, 3)]),
    ("index_reduce, mean", lambda x, y: x.index_reduce(0, IDX, y, "mean"), [(5, 4), (3, 4)]),
    ("index_reduce, amax", lambda x, y: torch.index_reduce(x, 0, IDX, y, "amax"), [(5, 4), (3, 4)]),
    ("take", lambda x: x.take(torch.tensor([[5, 0], [5, 11]])), [(3, 4)]),
    ("masked_fill", lambda x: x.masked_fill(MASK2, -1.0), [(3, 4)]),
    ("masked_fill by a tensor", lambda x, y: torch.masked_fill(x, MASK2, y), [(3, 4), ()]),
    ("masked_fill with a broadcast mask", lambda x: x.masked_fill(MASK[:, None], 0), [(3, 4)]),
    ("masked_fill of a broadcast tensor", lambda x: torch.masked_fill(x, MASK2, 5.0), [(4,)]),
    ("masked_select", lambda x: x.masked_select(MASK2), [(3, 4)]),
    ("masked_select, broadcast", lambda x: torch.masked_select(x, MASK[:, None]), [(3, 4)]),
    ("masked_select of a scalar", lambda x: x.masked_select(torch.tensor(True)), [()]),
    ("masked_scatter", lambda x, y: x.masked_scatter(MASK2, y), [(3, 4), (12,)]),
    ("assignment of a tensor to a row", lambda x, y: written(x, 1, y), [(3, 4), (4,)]),
    ("assignment of a number", lambda x: written(x, (slice(None), 0), 7.0), [(3, 4)]),
    ("assignment of a tensor that broadcasts", lambda x, y: written(x, slice(1, None), y), [(3, 4), (4,)]),
    ("assignment of a tensor with more axes", lambda x, y: written(x, 0, y), [(3, 4), (1, 1, 4)]),
    ("assignment of a scalar", lambda x, y: written(x, (0, 0), y), [(3, 4), ()]),
    ("assignment to everything", lambda x, y: written(x, ..., y), [(3, 4), (4,)]),
    ("assignment to a scalar", lambda x, y: written(x, (), y), [(), ()]),
    ("assignment by a mask", lambda x: written(x, MASK2, 0.0), [(3, 4)]),
    ("assignment of a tensor by a mask", lambda x, y: written(x, MASK, y), [(3, 4), (2, 4)]),
    ("assignment by a list", lambda x, y: written(x, [2, 0], y), [(3, 4), (2, 4)]),
    ("assignment by a slice and a list", lambda x, y: written(x, (slice(1, 3), [3, 0]), y), [(3, 4), (2,)]),
    ("assignment by an integer and a tensor", lambda x, y: written(x, (1, torch.tensor([3, 0])), y), [(3, 4), (2,)]),
    ("assignment of a number by an integer and a mask", lambda x: written(x, (1, MASK2), 4), [(2, 3, 4)]),
    ("assignment by true", lambda x, y: written(x, True, y), [(3, 4), (4,)]),
]

# Where a place is assigned twice one value stays, but torch's gradient goes to both: no difference quotient says that.
REPEATED: list[Row] = [
    ("assignment of one number to repeated places", lambda x, y: written(x, IDX, y), [(3, 4), ()]),
    ("assignment to repeated places", lambda x, y: written(x, IDX, y), [(3, 4), (1, 4)]),
    ("index_put to repeated places", lambda x, y: x.index_put((IDX,), y), [(3, 4), ()]),
    ("scatter to repeated places", lambda x, y: x.scatter(1, torch.tensor([[0, 0]]), y.expand(1, 2)), [(3, 4), ()]),
]

# torch's own gradient of these raises; the source is larger than the index, and what is left over has gradient 0.
PARTLY: list[Row] = [
    ("scatter_add of a part", lambda x, y: torch.scatter_add(x, 1, PAIRS, y), [(3, 4), (3, 4)]),
    ("scatter", lambda x, y: x.scatter(1, torch.tensor([[0, 3], [1, 0]]), y), [(3, 4), (3, 4)]),
    ("assignment of an array", lambda x: written(x, 0, np.arange(4)), [(3, 4)]),
]


@pytest.mark.filterwarnings(OLD_LISTS)
@pytest.mark.parametrize(("name", "index", "shape"), INDICES, ids=[row[0] for row in INDICES])
def test_indexing_against_torch(
    check_against_torch: Callable[..., None], name: str, index: Any, shape: tuple[int, ...]
) -> None:
    check_against_torch(lambda x: x[index], made(shape))
    check_against_torch(lambda x: x[index], made(shape, torch.float32))


@pytest.mark.filterwarnings(OLD_LISTS)
@pytest.mark.parametrize(("name", "index", "shape"), INDICES, ids=[row[0] for row in INDICES])
def test_assignment_against_torch(
    check_against_torch: Callable[..., None], name: str, index: Any, shape: tuple[int, ...]
) -> None:
    check_against_torch(lambda x, y: written(x, index, y), made(shape), made(()))


@pytest.mark.filterwarnings(OLD_LISTS)
@pytest.mark.parametrize(("name", "index", "shape"), INDICES, ids=[row[0] for row in INDICES])
def test_indexing_against_finite_differences(name: str, index: Any, shape: tuple[int, ...]) -> None:
    check_against_finite_differences(lambda x: x[index], made(shape).detach())


@pytest.mark.filterwarnings("ignore:index_reduce.. is in beta:UserWarning")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize(("name", "function", "inputs"), ROWS + REPEATED, ids=[row[0] for row in ROWS + REPEATED])
def test_against_torch(
    check_against_torch: Callable[..., None],
    name: str,
    function: Callable[..., Any],
    inputs: list[Any],
    dtype: torch.dtype,
) -> None:
    check_against_torch(function, *(made(what, dtype) for what in inputs))


@pytest.mark.parametrize(("name", "function", "inputs"), ROWS + PARTLY, ids=[row[0] for row in ROWS + PARTLY])
def test_against_finite_differences(name: str, function: Callable[..., Any], inputs: list[Any]) -> None:
    check_against_finite_differences(function, *(made(what).detach() for what in inputs), second_order=True)


@pytest.mark.parametrize("index", [IDX, (IDX, slice(1, 3)), (1, torch.tensor([0, 3])), MASK2, torch.tensor(1)])
def test_indices_may_be_custom_tensors(index: Any) -> None:
    values = torch.arange(12.0).reshape(3, 4)

    def custom(item: Any) -> Any:
        return CustomTensor(item) if isinstance(item, torch.Tensor) else item

    ours = tuple(custom(item) for item in index) if isinstance(index, tuple) else custom(index)
    x = CustomTensor(values, requires_grad=True)
    torch.testing.assert_close(x[ours].data, values[index], rtol=0, atol=0)
    assert x[ours].requires_grad
    torch.testing.assert_close(CustomTensor(values)[ours].data, values[index], rtol=0, atol=0)
    y = x * 1
    y[ours] = 0.0
    expected = values.clone()
    expected[index] = 0.0
    torch.testing.assert_close(y.data, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    "select",
    [
        lambda x, i: x.gather(1, i),
        lambda x, i: x.index_select(1, i[0]),
        lambda x, i: x.take(i),
        lambda x, i: torch.take_along_dim(x, i, 1),
        lambda x, i: x.masked_select(i > 0),
        lambda x, i: x.masked_fill(i > 0, 1.0),
        lambda x, i: x.scatter(1, i, 1.0),
    ],
)
def test_functions_take_custom_tensors_as_indices(select: Callable[[Any, Any], Any]) -> None:
    values, index = torch.arange(9.0).reshape(3, 3), torch.tensor([[0, 0, 2], [1, 1, 1], [2, 0, 1]])
    received = select(CustomTensor(values, requires_grad=True), CustomTensor(index))
    assert received.requires_grad
    torch.testing.assert_close(received.data, select(values, index), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:indexing with dtype torch.uint8 is now deprecated:UserWarning")
def test_a_byte_mask_is_a_mask(check_against_torch: Callable[..., None]) -> None:
    check_against_torch(lambda x: x[MASK.byte()], made((3, 4)))


def test_what_is_taken_twice_gets_both_gradients() -> None:
    x = tensor([1.0, 2.0, 3.0], requires_grad=True)
    (x[[0, 0, 2]] * tensor([1.0, 10.0, 100.0])).sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([11.0, 0.0, 100.0]), rtol=0, atol=0)


def test_assignment_to_a_constant_makes_it_a_result() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    y = CustomTensor([0.0, 0.0, 0.0])
    y[1:] = x * 3
    assert y.requires_grad
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([3.0, 3.0]), rtol=0, atol=0)


def test_assignment_to_a_leaf_is_refused_unless_nothing_is_recorded() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(errors.GradientError, match="leaf"):
        x[0] = 5.0
    assert x.tolist() == [1.0, 2.0]
    with no_grad():
        x[0] = 5.0
    assert x.tolist() == [5.0, 2.0]
    assert x.is_leaf
    x.sum().backward()


def test_assignment_without_gradients_changes_the_values_in_place() -> None:
    values = torch.zeros(3)
    x = CustomTensor(values)
    x[1] = 2
    x[CustomTensor([True, False, False])] = CustomTensor(7.0)
    x[[2]] = np.array([4.0], dtype=np.float32)
    assert values.tolist() == [7.0, 2.0, 4.0]
    assert not x.requires_grad


def test_assignment_changes_the_views_that_are_alive() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    first, both = y[0], y.view(2, 1)
    y[1] = 0.5 * first
    assert y.tolist() == [3.0, 1.5]
    assert both.tolist() == [[3.0], [1.5]]
    (first + 10 * both.sum()).backward()
    assert x.grad is not None
    assert x.grad.tolist() == [3 * (1 + 10 + 5), 0.0]


@pytest.mark.parametrize(
    ("index", "error"),
    [
        (3, errors.AxisError),
        ((0, 0, 0), errors.AxisError),
        ((0, 0, [1]), errors.AxisError),
        ([3], errors.AxisError),
        (torch.tensor([0.5]), errors.AxisError),
        (torch.tensor([True, False]), errors.AxisError),
        ("a", errors.DtypeError),
        (1.5, errors.AxisError),
        (([0, 1], [0, 1, 2]), errors.AxisError),
    ],
)
def test_bad_indices_raise_typed_errors(index: Any, error: type[Exception]) -> None:
    x = tensor(np.ones((3, 4)), requires_grad=True)
    with pytest.raises(error):
        x[index]
    y = x * 1
    with pytest.raises(error):
        y[index] = 0.0
    assert y.tolist() == x.tolist()


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda x: x.gather(1, torch.tensor([[9]])), RuntimeError),
        (lambda x: x.gather(0, torch.tensor([0])), RuntimeError),
        (lambda x: x.index_select(2, torch.tensor([0])), errors.AxisError),
        (lambda x: x.select(0, 3), errors.AxisError),
        (lambda x: x.select(2, 0), errors.AxisError),
        (lambda x: x.narrow(0, 2, 2), errors.ArgumentError),
        (lambda x: x.scatter_reduce(0, GATHERED, x, "prod"), errors.ShapeError),
        (lambda x: x.scatter(0, GATHERED, 1.0, reduce="multiply"), errors.UnsupportedError),
        (lambda x: written(x, 0, tensor([1.0, 2.0])), errors.ShapeError),
        (lambda x: x.gather(0, x), errors.GradientError),
    ],
)
def test_bad_arguments_raise_typed_errors(function: Callable[[Any], Any], error: type[Exception]) -> None:
    x = tensor(np.ones((3, 4)), requires_grad=True)
    with pytest.raises(error):
        function(x)


def test_third_order_through_an_index() -> None:
    x = tensor([2.0, 3.0], dtype=torch.float64, requires_grad=True)
    y = x[[0, 1, 0]] ** 4
    for _ in range(3):
        (y,) = grad(y.sum(), x, create_graph=True)
    # x₀⁴ occurs twice: its third derivative is 2 · 24 x₀
    torch.testing.assert_close(y.data, torch.tensor([96.0, 72.0], dtype=torch.float64), rtol=1e-12, atol=0)


def test_plain_tensors_are_constants() -> None:
    assert isinstance(ops.getitem(torch.ones(3), 0), CustomTensor)
    assert isinstance(ops.gather(torch.ones(3), 0, torch.tensor([0])), CustomTensor)


def test_an_element_that_is_left_out_takes_no_share_of_an_extreme() -> None:
    """The largest of 5 and 1 is 5, whatever stood there before."""
    x, y = tensor([5.0], requires_grad=True), tensor([5.0, 1.0], requires_grad=True)
    torch.scatter_reduce(x, 0, torch.tensor([0, 0]), y, "amax", include_self=False).backward()
    assert x.grad is not None
    assert y.grad is not None
    assert (x.grad.tolist(), y.grad.tolist()) == ([0.0], [1.0, 0.0])
