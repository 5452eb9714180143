"""Operations on shapes, each row against torch (values, gradients of both orders) and against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from neuronix.autograd import CustomTensor, errors, ops, tensor
from neuronix.autograd.testing import check_against_finite_differences

Row = tuple[str, Callable[..., Any], list[Any]]


def made(what: Any, dtype: torch.dtype = torch.float64) -> Any:
    """A leaf of random numbers for a shape; anything else is itself."""
    if isinstance(what, tuple):
        generator = torch.Generator().manual_seed(sum(what) + len(what))
        return torch.randn(what, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    return [made(item, dtype) for item in what] if isinstance(what, list) else what


ROWS: list[Row] = [
    ("reshape", lambda x: x.reshape(6, 4), [(2, 3, 4)]),
    ("reshape by tuple", lambda x: x.reshape((4, 6)), [(2, 3, 4)]),
    ("reshape by size", lambda x: x.reshape(torch.Size([4, 6])), [(2, 3, 4)]),
    ("reshape by keyword", lambda x: torch.reshape(x, shape=(24,)), [(2, 3, 4)]),
    ("reshape with -1", lambda x: x.reshape(-1, 2), [(2, 3, 4)]),
    ("reshape to a scalar", lambda x: x.reshape(()), [(1, 1)]),
    ("reshape of a scalar", lambda x: x.reshape(1, 1), [()]),
    ("reshape of nothing", lambda x: x.reshape(3, 0), [(0, 5)]),
    ("reshape that copies", lambda x: x.T.reshape(12), [(3, 4)]),
    ("reshape_as", lambda x, y: x.reshape_as(y), [(2, 6), (3, 4)]),
    ("view", lambda x: x.view(4, 6), [(2, 3, 4)]),
    ("view by tuple", lambda x: x.view((4, -1)), [(2, 3, 4)]),
    ("view by keyword", lambda x: x.view(size=(24,)), [(2, 3, 4)]),
    ("view_as", lambda x, y: x.view_as(y), [(2, 6), (3, 4)]),
    ("flatten", lambda x: x.flatten(), [(2, 3, 4)]),
    ("flatten from an axis", lambda x: x.flatten(1), [(2, 3, 4)]),
    ("flatten between axes", lambda x: torch.flatten(x, start_dim=0, end_dim=-2), [(2, 3, 4)]),
    ("flatten of a scalar", lambda x: x.flatten(), [()]),
    ("flatten of nothing", lambda x: x.flatten(1), [(2, 0, 4)]),
    ("ravel", lambda x: torch.ravel(x), [(2, 3)]),
    ("unflatten", lambda x: x.unflatten(1, (2, -1)), [(3, 4)]),
    ("unflatten the last axis", lambda x: torch.unflatten(x, -1, (2, 2)), [(3, 4)]),
    ("transpose", lambda x: x.transpose(0, 2), [(2, 3, 4)]),
    ("transpose by keyword", lambda x: torch.transpose(x, dim0=0, dim1=-1), [(2, 3, 4)]),
    ("transpose an axis with itself", lambda x: x.transpose(1, 1), [(2, 3)]),
    ("transpose of a scalar", lambda x: x.transpose(0, -1), [()]),
    ("swapaxes", lambda x: x.swapaxes(0, 1), [(2, 3)]),
    ("swapdims", lambda x: torch.swapdims(x, -1, 0), [(2, 3)]),
    ("permute", lambda x: x.permute(2, 0, 1), [(2, 3, 4)]),
    ("permute by tuple", lambda x: x.permute((1, -1, 0)), [(2, 3, 4)]),
    ("permute by keyword", lambda x: torch.permute(x, dims=(1, 0)), [(2, 3)]),
    ("permute of a scalar", lambda x: x.permute(()), [()]),
    ("T", lambda x: x.T, [(2, 3)]),
    ("mT", lambda x: x.mT, [(2, 3, 4)]),
    ("H", lambda x: x.H, [(2, 3)]),
    ("mH", lambda x: x.mH, [(2, 3, 4)]),
    ("adjoint", lambda x: torch.adjoint(x), [(2, 3, 4)]),
    ("t", lambda x: x.t(), [(2, 3)]),
    ("t of a vector", lambda x: torch.t(x), [(3,)]),
    ("t of a scalar", lambda x: x.t(), [()]),
    ("movedim", lambda x: x.movedim(0, 2), [(2, 3, 4)]),
    ("movedim of several", lambda x: torch.movedim(x, (0, 1), (-1, 0)), [(2, 3, 4)]),
    ("moveaxis", lambda x: torch.moveaxis(x, -1, 0), [(2, 3, 4)]),
    ("expand", lambda x: x.expand(4, 3), [(1, 3)]),
    ("expand with -1", lambda x: x.expand(-1, 3), [(2, 1)]),
    ("expand new axes", lambda x: x.expand((2, 4, 3)), [(3,)]),
    ("expand of a scalar", lambda x: x.expand(2, 3), [()]),
    ("expand to nothing", lambda x: x.expand(0, 3), [(1, 3)]),
    ("expand by keyword", lambda x: x.expand(size=(4, 3)), [(1, 3)]),
    ("expand_as", lambda x, y: x.expand_as(y), [(3, 1), (2, 3, 4)]),
    ("broadcast_to", lambda x: torch.broadcast_to(x, (2, 3, 4)), [(3, 1)]),
    ("broadcast_tensors", lambda x, y: torch.broadcast_tensors(x, y), [(3, 1), (2, 1, 4)]),
    ("sum_to_size", lambda x: x.sum_to_size(3, 1), [(2, 3, 4)]),
    ("sum_to_size, the same", lambda x: x.sum_to_size((2, 3)) * 1, [(2, 3)]),
    ("squeeze", lambda x: x.squeeze(), [(1, 3, 1)]),
    ("squeeze an axis", lambda x: x.squeeze(0), [(1, 3, 1)]),
    ("squeeze axes", lambda x: x.squeeze((0, -1)), [(1, 3, 1)]),
    ("squeeze by keyword", lambda x: torch.squeeze(x, dim=-1), [(1, 3, 1)]),
    ("squeeze an axis that stays", lambda x: x.squeeze(1), [(1, 3, 1)]),
    ("squeeze of a scalar", lambda x: x.squeeze(0), [()]),
    ("unsqueeze", lambda x: x.unsqueeze(1), [(2, 3)]),
    ("unsqueeze at the end", lambda x: torch.unsqueeze(x, dim=-1), [(2, 3)]),
    ("unsqueeze of a scalar", lambda x: x.unsqueeze(0), [()]),
    ("atleast_1d", lambda x: torch.atleast_1d(x), [()]),
    ("atleast_2d", lambda x, y: torch.atleast_2d(x, y), [(3,), (2, 3)]),
    ("atleast_3d", lambda x, y, z: torch.atleast_3d([x, y, z]), [(), (3,), (2, 3)]),
    ("repeat", lambda x: x.repeat(2, 3), [(2, 3)]),
    ("repeat with new axes", lambda x: x.repeat((2, 1, 2)), [(3,)]),
    ("repeat of a scalar", lambda x: x.repeat(3), [()]),
    ("repeat to nothing", lambda x: x.repeat(0, 1), [(2, 3)]),
    ("tile", lambda x: x.tile(2), [(2, 3)]),
    ("tile with new axes", lambda x: torch.tile(x, (2, 1, 2)), [(2, 3)]),
    ("repeat_interleave", lambda x: x.repeat_interleave(2), [(2, 3)]),
    ("repeat_interleave along an axis", lambda x: torch.repeat_interleave(x, 3, dim=1), [(2, 3)]),
    ("repeat_interleave by numbers", lambda x, n: x.repeat_interleave(n, 0), [(2, 3), torch.tensor([1, 3])]),
    ("cat", lambda x, y: torch.cat([x, y]), [(2, 3), (4, 3)]),
    ("cat along the last axis", lambda x, y: torch.cat((x, y), dim=-1), [(2, 3), (2, 1)]),
    ("cat by keywords", lambda x, y: torch.cat(tensors=[x, y, x], dim=1), [(2, 3), (2, 1)]),
    ("cat with a constant", lambda x: torch.cat([x, torch.ones(1, 3, dtype=x.dtype)]), [(2, 3)]),
    ("cat with nothing", lambda x, y: torch.cat([x, y]), [(2, 3), (0, 3)]),
    ("cat with an empty vector", lambda x, y: torch.cat([y, x], 1), [(2, 3), (0,)]),
    ("cat of a list of inputs", lambda xs: torch.cat(xs), [[(2,), (3,)]]),
    ("concat", lambda x, y: torch.concat([x, y], 0), [(2,), (3,)]),
    ("stack", lambda x, y: torch.stack([x, y]), [(2, 3), (2, 3)]),
    ("stack along the last axis", lambda x, y: torch.stack((x, y), dim=-1), [(2, 3), (2, 3)]),
    ("stack of scalars", lambda x, y: torch.stack([x, y]), [(), ()]),
    ("hstack", lambda x, y: torch.hstack([x, y]), [(2, 3), (2, 1)]),
    ("hstack of vectors", lambda x, y: torch.hstack((x, y)), [(2,), (3,)]),
    ("vstack", lambda x, y: torch.vstack([x, y]), [(3,), (2, 3)]),
    ("dstack", lambda x, y: torch.dstack([x, y]), [(2, 3), (2, 3)]),
    ("column_stack", lambda x, y: torch.column_stack([x, y]), [(2,), (2, 3)]),
    ("split", lambda x: x.split(2), [(5, 3)]),
    ("split by sizes", lambda x: x.split([1, 3], dim=1), [(2, 4)]),
    ("split by keyword", lambda x: torch.split(x, 2, dim=-1), [(2, 4)]),
    ("split of nothing", lambda x: x.split(2), [(0, 3)]),
    ("split, one piece used", lambda x: x.split([1, 3], 1)[1], [(2, 4)]),
    ("split_with_sizes", lambda x: torch.split_with_sizes(x, [2, 2], 1), [(2, 4)]),
    ("chunk", lambda x: x.chunk(3), [(7, 2)]),
    ("chunk along an axis", lambda x: torch.chunk(x, 2, dim=1), [(3, 4)]),
    ("tensor_split", lambda x: torch.tensor_split(x, 3), [(7, 2)]),
    ("tensor_split at places", lambda x: x.tensor_split([1, 4], dim=1), [(2, 6)]),
    ("unbind", lambda x: x.unbind(), [(3, 2)]),
    ("unbind along the last axis", lambda x: torch.unbind(x, dim=-1), [(3, 2)]),
    ("unbind, one used", lambda x: x.unbind(1)[0], [(3, 2)]),
    ("iteration", lambda x: [row * i for i, row in enumerate(x)], [(3, 2)]),
    ("flip", lambda x: x.flip(0), [(3, 2)]),
    ("flip along axes", lambda x: torch.flip(x, dims=(0, -1)), [(3, 2)]),
    ("flip by several arguments", lambda x: x.flip(0, 1), [(3, 2)]),
    ("fliplr", lambda x: torch.fliplr(x), [(3, 2)]),
    ("flipud", lambda x: x.flipud(), [(3, 2)]),
    ("roll", lambda x: x.roll(2), [(3, 2)]),
    ("roll along an axis", lambda x: x.roll(1, 0), [(3, 2)]),
    ("roll along axes", lambda x: torch.roll(x, (1, -1), dims=(0, 1)), [(3, 2)]),
    ("diagonal", lambda x: x.diagonal(), [(3, 4)]),
    ("diagonal of batches", lambda x: torch.diagonal(x, 1, dim1=-2, dim2=-1), [(2, 3, 4)]),
    ("linalg.diagonal", lambda x: torch.linalg.diagonal(x, offset=-1), [(2, 3, 4)]),
    ("diagonal_scatter", lambda x, y: torch.diagonal_scatter(x, y), [(3, 4), (3,)]),
    ("diag of a matrix", lambda x: x.diag(1), [(3, 4)]),
    ("diag of a vector", lambda x: torch.diag(x, diagonal=-1), [(3,)]),
    ("diag_embed", lambda x: x.diag_embed(1), [(2, 3)]),
    ("trace", lambda x: x.trace(), [(3, 4)]),
    ("tril", lambda x: x.tril(), [(3, 4)]),
    ("triu", lambda x: torch.triu(x, diagonal=1), [(2, 3, 4)]),
    ("pad", lambda x: F.pad(x, (1, 2)), [(3, 4)]),
    ("pad with a value", lambda x: F.pad(x, (1, 2, 0, 1), value=3.0), [(3, 4)]),
    ("pad by negative sizes", lambda x: F.pad(x, [-1, 2, 0, -1]), [(3, 4)]),
    ("pad, reflecting", lambda x: F.pad(x, (2, 1), mode="reflect"), [(2, 3, 4)]),
    ("pad, reflecting two axes", lambda x: F.pad(x, (2, 1, 1, 2), "reflect"), [(1, 2, 3, 4)]),
    ("pad, replicating", lambda x: F.pad(x, (2, 5), mode="replicate"), [(2, 3, 4)]),
    ("pad, circular", lambda x: F.pad(x, (2, 1), mode="circular"), [(2, 3, 4)]),
    ("pad, circular and cropping", lambda x: F.pad(x, (1, 2, -1, 1), mode="circular"), [(1, 2, 3, 4)]),
    ("as_strided", lambda x: x.as_strided((2, 2), (1, 2), 1), [(3, 4)]),
    ("as_strided with overlap", lambda x: torch.as_strided(x, (3, 3), (1, 1)), [(3, 4)]),
    ("as_strided of a transpose", lambda x: x.t().as_strided((3, 2), (1, 2), 3), [(3, 4)]),
    ("as_strided of nothing", lambda x: x.as_strided((0,), (1,)), [(3,)]),
    ("unfold", lambda x: x.unfold(0, 2, 1), [(4, 3)]),
    ("unfold along the last axis", lambda x: x.unfold(-1, 3, 2), [(2, 7)]),
    ("unfold of a scalar", lambda x: x.unfold(0, 1, 1), [()]),
    ("copy_", lambda x, y: (y * 2).copy_(x), [(3,), (2, 3)]),
    ("diff", lambda x: torch.diff(x, dim=1), [(2, 4)]),
    ("rot90", lambda x: torch.rot90(x), [(2, 3)]),
    ("clone", lambda x: x.clone(), [(2, 3)]),
    ("clone, contiguous", lambda x: torch.clone(x.T, memory_format=torch.contiguous_format), [(2, 3)]),
    ("contiguous", lambda x: x.T.contiguous(), [(2, 3)]),
    ("positive", lambda x: +x, [(2, 3)]),
    ("to float64", lambda x: x.to(torch.float64), [(2, 3)]),
    ("to float64, by keyword, copied", lambda x: x.to(dtype=torch.float64, copy=True), [(2, 3)]),
    ("to a device and dtype", lambda x: x.to("cpu", torch.float64), [(2, 3)]),
    ("to the like of another", lambda x, y: x.to(y), [(2, 3), torch.ones(1, dtype=torch.float64)]),
    ("double", lambda x: x.double(), [(2, 3)]),
    ("cpu", lambda x: x.cpu(), [(2, 3)]),
    ("type", lambda x: x.type(torch.float64), [(2, 3)]),
    ("type_as", lambda x, y: x.type_as(y), [(2, 3), torch.ones(1, dtype=torch.float64)]),
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize(("name", "function", "inputs"), ROWS, ids=[row[0] for row in ROWS])
def test_against_torch(
    check_against_torch: Callable[..., None],
    name: str,
    function: Callable[..., Any],
    inputs: list[Any],
    dtype: torch.dtype,
) -> None:
    check_against_torch(function, *(made(what, dtype) for what in inputs))


@pytest.mark.parametrize(("name", "function", "inputs"), ROWS, ids=[row[0] for row in ROWS])
def test_against_finite_differences(name: str, function: Callable[..., Any], inputs: list[Any]) -> None:
    def detached(value: Any) -> Any:
        return [detached(item) for item in value] if isinstance(value, list) else value.detach()

    arguments = [detached(made(what)) for what in inputs]
    if isinstance(arguments[0], list):
        check_against_finite_differences(lambda *items: function(list(items)), *arguments[0])
    else:
        check_against_finite_differences(function, *arguments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.complex128])
def test_conversion_and_back(check_against_torch: Callable[..., None], dtype: torch.dtype) -> None:
    check_against_torch(lambda x: x.to(dtype), made((2, 3)), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.int(),
        lambda x: x.long(),
        lambda x: x.bool(),
        lambda x: x.to(torch.int8),
        lambda x: x.type(torch.uint8),
        lambda x: x.detach(),
        lambda x: x.view(torch.int64),
        lambda x: x.view(dtype=torch.float32),
        lambda x: torch.detach(x),
        lambda x: torch.zeros_like(x),
        lambda x: torch.ones_like(x, dtype=torch.float32),
        lambda x: torch.full_like(x, 3.0),
        lambda x: torch.full_like(x, fill_value=2),
        lambda x: x.new_zeros(2, 3),
        lambda x: x.new_zeros((2, 3), dtype=torch.int32),
        lambda x: x.new_ones(4),
        lambda x: x.new_full((2,), 7.0),
        lambda x: x.new_tensor([1.0, 2.0]),
        lambda x: x.new_full(size=(2,), fill_value=7.0),
    ],
)
def test_constants_of_tracked_tensors(function: Callable[[Any], Any]) -> None:
    values = torch.tensor([[1.5, 0.0], [-2.0, 3.0]], dtype=torch.float64)
    received = function(CustomTensor(values, requires_grad=True) * 1)
    assert isinstance(received, CustomTensor)
    assert not received.requires_grad
    assert received.is_leaf
    torch.testing.assert_close(received.data, function(values), rtol=0, atol=0)


def test_new_tensors_are_leaves_where_asked() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    made_like = torch.zeros_like(x, requires_grad=True)
    assert isinstance(made_like, CustomTensor)
    assert made_like.requires_grad
    assert not made_like.data.requires_grad
    assert torch.empty_like(x).shape == x.new_empty(2).shape == torch.rand_like(x).shape == torch.randn_like(x).shape


def test_conversions_that_change_nothing_return_the_tensor_itself() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    assert x.to(torch.float32) is x
    assert x.float() is x
    assert x.cpu() is x
    assert x.to(x) is x
    assert x.to(torch.float32, copy=True) is not x


def test_size_and_shape_are_torchs() -> None:
    x = tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    assert x.size() == x.shape == torch.Size([1, 3])
    assert x.size(0) == 1
    assert x.size(-1) == 3
    assert x.type() == "torch.FloatTensor"


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda x: x.reshape(5), errors.ShapeError),
        (lambda x: x.T.view(6), errors.ShapeError),
        (lambda x: x.flatten(1, 0), errors.ShapeError),
        (lambda x: x.flatten(3), errors.AxisError),
        (lambda x: x.unflatten(0, (3, 2)), errors.ShapeError),
        (lambda x: x.transpose(0, 2), errors.AxisError),
        (lambda x: x.permute(0, 0), errors.ShapeError),
        (lambda x: x.expand(4, 3), errors.ShapeError),
        (lambda x: torch.cat([x, x.T]), errors.ShapeError),
        (lambda x: torch.stack([x, x.T]), errors.ShapeError),
        (lambda x: x.split(0), errors.ShapeError),
        (lambda x: x.split([1, 2]), errors.ShapeError),
        (lambda x: x.chunk(0), errors.ShapeError),
        (lambda x: x.movedim((0, 1), (0, 0)), errors.ShapeError),
        (lambda x: x.sum_to_size(5), errors.ShapeError),
        (lambda x: x[0].mT, errors.ShapeError),
        (lambda x: x.unsqueeze(0).H, errors.ShapeError),
        (lambda x: x.unsqueeze(0).t(), errors.ShapeError),
        (lambda x: torch.diag(x.unsqueeze(0)), errors.ShapeError),
        (lambda x: torch.trace(x[0]), errors.ShapeError),
    ],
)
def test_bad_arguments_raise_typed_errors(function: Callable[[Any], Any], error: type[Exception]) -> None:
    x = tensor(np.ones((2, 3)), requires_grad=True)
    with pytest.raises(error):
        function(x)
    assert x.grad is None


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.diff(x, n=0),
        lambda x: x[0].sum_to_size(()),
        lambda x: torch.unfold_copy(x, 0, 1, 1),
        lambda x: torch.view_copy(x, (3,)),
        lambda x: torch.alias_copy(x),
    ],
)
def test_a_copy_stays_as_it_is_when_its_source_changes(function: Callable[[Any], Any]) -> None:
    """Also where it has all elements of the source in their order, and a view would do."""
    for leaf in (torch.ones(3, requires_grad=True), tensor([1.0, 1.0, 1.0], requires_grad=True)):
        x = leaf * 1
        copied = function(x)
        x.mul_(2)
        copied.sum().backward()
        assert copied.data.unique().tolist() == [1.0]
        assert leaf.grad is not None
        assert leaf.grad.unique().tolist()[-1] == 1.0


def test_plain_tensors_are_constants() -> None:
    result = ops.reshape(torch.ones(2, 3), 6)
    assert isinstance(result, CustomTensor)
    assert not result.requires_grad
