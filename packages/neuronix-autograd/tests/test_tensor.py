"""CustomTensor as a Python object: construction, conversion, protocols, representation."""

from __future__ import annotations

import copy
import pickle
import weakref

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from neuronix.autograd import CustomTensor, tensor
from neuronix.autograd.errors import DtypeError, GradientError, GraphError, ShapeError


def test_data_is_the_very_tensor() -> None:
    values = torch.tensor([1.0, 2.0])
    x = CustomTensor(values, requires_grad=True)
    assert x.data is values
    assert not isinstance(x, torch.Tensor)


def test_data_never_requires_torchs_grad() -> None:
    values = torch.ones(2, requires_grad=True)
    x = CustomTensor(values, requires_grad=True)
    assert not x.data.requires_grad
    assert x.data.data_ptr() == values.data_ptr()
    y = x * values
    assert not y.data.requires_grad
    x.data = values
    assert not x.data.requires_grad


def test_tensor_copies() -> None:
    values = torch.tensor([1.0, 2.0])
    x = tensor(values)
    values[0] = 5
    assert x.tolist() == [1.0, 2.0]
    assert tensor(x).data is not x.data
    array = np.array([1.0, 2.0])
    assert tensor(array).dtype is torch.float64
    assert tensor([1, 2]).dtype is torch.int64
    assert tensor([1, 2], dtype=torch.float32, requires_grad=True).requires_grad


def test_attributes_are_torchs() -> None:
    x = CustomTensor(torch.zeros(2, 3, dtype=torch.float64))
    assert (x.shape, x.ndim, x.dim(), x.numel(), x.size(1), x.dtype) == ((2, 3), 2, 2, 6, 3, torch.float64)
    assert (x.is_leaf, x.grad_fn, x.grad, x.requires_grad) == (True, None, None, False)
    assert x.device == torch.device("cpu")
    assert x.is_floating_point()
    assert not x.is_complex()
    assert x.is_contiguous()
    assert (x.element_size(), x.nbytes, x.stride()) == (8, 48, (3, 1))


QUESTIONS = (
    "const_data_ptr data_ptr dense_dim dim element_size get_device is_contiguous numel sparse_dim stride".split()
)


@pytest.mark.parametrize("name", [*QUESTIONS, "storage_offset", "tolist", "size", "is_complex", "is_neg", "dim_order"])
def test_questions_about_values_are_answered_by_the_values(name: str) -> None:
    x = tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    for tracked in (x, (x * 2)[1:]):
        assert getattr(tracked, name)() == getattr(tracked.data, name)()
        assert tracked.untyped_storage().data_ptr() == tracked.data.untyped_storage().data_ptr()


def test_the_object_protocol() -> None:
    x = tensor([3.0, 0.0], requires_grad=True)
    assert (x[0].item(), int(x[0]), bool(x[1]), len(x)) == (3.0, 3, False, 2)
    assert range(5)[tensor(2)] == 2
    assert [v.item() for v in x] == [3.0, 0.0]
    assert all(v.requires_grad for v in x)
    assert 3.0 in x
    assert 4.0 not in x
    assert all(tensor([True, True]))
    assert not any(tensor([False]))
    assert hash(x) == hash(x)
    assert len({x, x}) == 1
    assert {x: "found"}[x] == "found"
    assert weakref.ref(x)() is x
    assert f"{x[0]:.2f}" == "3.00"
    with pytest.raises(TypeError, match="0-d"):
        iter(tensor(1.0))
    with pytest.raises(RuntimeError):
        bool(x)


def test_leaves_are_copied_and_pickled_with_their_values() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    for twin in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert type(twin) is CustomTensor
        assert twin.requires_grad
        assert twin.is_leaf
        assert twin.data is not x.data
        assert_close(twin.data, x.data)
    assert_close(copy.deepcopy(x).grad, x.grad)
    pair = copy.deepcopy([x, x])
    assert pair[0] is pair[1]
    y = x * 2
    for copying in (copy.deepcopy, pickle.dumps):
        with pytest.raises(GraphError, match="only leaf"):
            copying(y)


def test_numpy() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(GradientError, match="detach"):
        x.numpy()
    with pytest.raises(GradientError, match="detach"):
        np.asarray(x)
    assert_close(torch.as_tensor(x.detach().numpy()), x.data)
    assert np.asarray(x.detach(), dtype=np.float64).dtype == np.float64


@pytest.mark.parametrize("make", [torch.tensor, torch.as_tensor, torch.asarray, torch.from_dlpack, np.from_dlpack])
@pytest.mark.parametrize("values", [[1.0, 2.0], 3.0, [[1, 2], [3, 4]]], ids=str)
def test_constants_become_plain_tensors_and_tracked_tensors_do_not(make: object, values: object) -> None:
    assert torch.equal(torch.as_tensor(make(tensor(values))), torch.tensor(values))  # type: ignore[operator]
    tracked = tensor(values, dtype=torch.float32, requires_grad=True)
    with pytest.raises(GradientError, match="gradient would be lost"):
        make(tracked)  # type: ignore[operator]


@pytest.mark.parametrize(
    "operand",
    [2.0, 2, True, np.float64(2), np.array([2.0, 3.0]), torch.tensor([2.0, 3.0], dtype=torch.float64), [2.0][0]],
    ids=repr,
)
def test_constants_are_accepted_on_either_side(operand: object) -> None:
    values = torch.tensor([1.5, -2.5], dtype=torch.float64)
    plain = torch.as_tensor(operand) if isinstance(operand, (np.ndarray, np.generic)) else operand
    x = CustomTensor(values, requires_grad=True)
    for mine, theirs in [(x * operand, values * plain), (operand * x, plain * values), (operand + x, plain + values)]:
        assert isinstance(mine, CustomTensor)
        assert mine.requires_grad
        assert_close(mine.data, theirs)


def test_requires_grad_of_a_result_cannot_be_taken_away() -> None:
    x = tensor([1.0], requires_grad=True)
    y = x * 2
    with pytest.raises(GradientError, match="leaf"):
        y.requires_grad = False
    assert y.detach().requires_grad is False
    x.requires_grad_(False)
    assert not (x * 2).requires_grad


def test_grad_can_be_set_and_is_checked() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    x.grad = torch.ones(2)
    (x * 3).sum().backward()
    assert_close(x.grad, torch.tensor([4.0, 4.0]))
    with pytest.raises(ShapeError, match=r"\(3,\)"):
        x.grad = torch.ones(3)
    with pytest.raises(DtypeError, match="float64"):
        x.grad = torch.ones(2, dtype=torch.float64)
    with pytest.raises(DtypeError, match="list"):
        x.grad = [1.0, 2.0]
    assert_close(x.grad, torch.tensor([4.0, 4.0]))
    x.grad = None
    assert x.grad is None


def test_representation() -> None:
    x = tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    assert repr(x) == "CustomTensor([[1., 2.],\n              [3., 4.]], requires_grad=True)"
    assert repr(x * 2).endswith("grad_fn=<mul>)")
    assert repr(tensor(1)) == "CustomTensor(1)"


def test_history_can_be_walked() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    y = x * tensor([3.0, 4.0])
    node = y.grad_fn
    assert node is not None
    assert (node.name, tuple(node.shape), len(node.parents)) == ("mul", (2,), 2)
    assert node.parents[1] is None
    assert node.parents[0].is_leaf
    assert_close(node.saved_values["other"], torch.tensor([3.0, 4.0]))
    assert node.saved_values["x"] is None  # the constant needs no gradient, so x isn't kept for it
    assert node.next_functions[0][0] is node.parents[0]
    assert repr(node) == "<mul(leaf, constant) -> (2,)>"
    y.sum().backward()
    assert node.saved_values == {}
    assert "freed" in repr(node)


def test_methods_without_a_declaration_are_there_too() -> None:
    x = tensor([3.0, 1.0, 2.0], requires_grad=True)
    assert x.argsort().tolist() == [1, 2, 0]
    assert x.detach().sort().values.tolist() == [1.0, 2.0, 3.0]
    assert not hasattr(x, "no_such_method")
