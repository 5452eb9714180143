"""`adopt`: what an adopted module is, beside computing what torch computes (tests-integration/test_adopt.py)."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from neuronix import nn
from neuronix.autograd import CustomTensor, detect_anomaly, enable_grad, no_grad, tensor
from neuronix.autograd.disguise import Disguised
from neuronix.autograd.errors import AnomalyError, GradientError, UnsupportedError
from neuronix.nn.errors import ModuleAttributeError, ModuleTypeError, StateDictError


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU(inplace=True))
        self.head = torch.nn.Linear(4, 2)
        self.scale = 2.0

    def forward(self, x: Any, times: int = 1) -> Any:
        return self.head(self.body(x)) * self.scale * times

    def embed(self, x: Any) -> Any:
        """The features."""
        return self.body(x)

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        self.body[1].eval()  # its statistics stay
        return self


@pytest.fixture
def theirs() -> Net:
    torch.manual_seed(0)
    return Net().double().train()


X = torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.3, -0.7]], dtype=torch.float64)


def test_the_torch_module_stays_as_it_is(theirs: Net) -> None:
    before = copy.deepcopy(theirs.state_dict())
    ours = nn.adopt(theirs)
    ours.eval()
    ours(X).sum().backward()
    for parameter in ours.parameters():
        parameter.data.zero_()
    ours.requires_grad_(False)
    assert theirs.training
    assert all(p.requires_grad and p.grad is None and type(p) is torch.nn.Parameter for p in theirs.parameters())
    assert all(torch.equal(value, before[name]) for name, value in theirs.state_dict().items())


def test_names_modes_and_states_are_torchs(theirs: Net) -> None:
    ours = nn.adopt(theirs)
    assert isinstance(ours, nn.Module)
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    assert [n for n, _ in ours.named_buffers()] == [n for n, _ in theirs.named_buffers()]
    assert [n for n, _ in ours.named_modules()] == [n for n, _ in theirs.named_modules()]
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(ours) == repr(theirs)
    assert ours.eval().training is False
    assert ours.train().body.training
    assert not ours.body[1].training  # the model's own train() keeps it frozen
    with pytest.raises(ModuleTypeError, match="boolean"):
        ours.train("yes")  # type: ignore[arg-type]


def test_states_are_exchanged(theirs: Net) -> None:
    other = Net().double().train()
    ours = nn.adopt(other)
    ours.load_state_dict(theirs.state_dict())
    assert_close(ours(X).data, theirs(X).detach(), rtol=1e-12, atol=1e-12)
    other.load_state_dict(ours.state_dict())
    assert torch.equal(other.head.weight, theirs.head.weight)
    weight = ours.head.weight.data.clone()
    with pytest.raises(StateDictError, match=r"(?s)size mismatch for head\.weight.*head\.bias"):
        ours.load_state_dict({**theirs.state_dict(), "head.weight": torch.zeros(1)} | {"head.bias": "no"})
    assert torch.equal(ours.head.weight.data, weight)


def test_moving(theirs: Net) -> None:
    ours = nn.adopt(theirs).float()
    weight = ours.head.weight
    assert ours(X.float()).dtype is torch.float32
    assert ours.double().head.weight is weight
    assert ours.body[1].running_mean.dtype is torch.float64
    assert_close(ours(X).data, theirs(X).detach(), rtol=1e-6, atol=1e-6)  # weights were rounded to float32


def test_attributes_and_methods_are_the_models(theirs: Net) -> None:
    ours = nn.adopt(theirs)
    assert (ours.scale, ours.body[0].in_features, len(ours.body)) == (2.0, 3, 3)
    assert [type(layer.torch_module) for layer in ours.body] == [type(layer) for layer in theirs.body]
    assert ours.body[-1] in ours.body
    features = ours.embed(X)
    assert isinstance(features, CustomTensor)
    assert ours.embed.__doc__ == "The features."
    assert_close(features.data, theirs.body(X).detach(), rtol=1e-12, atol=1e-12)
    ours.scale = 3.0
    assert ours.torch_module.scale == 3.0
    assert_close(ours(X, times=2).data, 3 * theirs(X).detach(), rtol=1e-12, atol=1e-12)
    with pytest.raises(ModuleAttributeError, match="nothing"):
        _ = ours.nothing
    for value in (nn.Linear(4, 2), torch.nn.Linear(4, 2)):
        with pytest.raises(ModuleTypeError, match="head"):
            ours.head = value
    with pytest.raises(ModuleTypeError, match="weight"):
        ours.head.weight = None


def test_a_part_is_a_module_itself(theirs: Net) -> None:
    ours = nn.adopt(theirs)
    model = nn.Sequential(nn.Linear(3, 3).double(), ours.body, nn.Linear(4, 1).double())
    model(X).sum().backward()
    assert ours.body[0].weight.grad is not None
    assert ours.head.weight.grad is None
    assert "1.0.weight" in model.state_dict()


def test_hooks_see_custom_tensors(theirs: Net) -> None:
    ours = nn.adopt(theirs)
    seen: list[Any] = []
    handles = [
        ours.body.register_forward_pre_hook(lambda module, args: seen.append((module, args[0]))),
        ours.body[0].register_forward_hook(lambda module, args, out: out * 2),
        ours.register_forward_hook(lambda module, args, kwargs, out: seen.append(kwargs), with_kwargs=True),
    ]
    ours(X, times=1)
    assert seen[0][0] is ours.body
    assert isinstance(seen[0][1], CustomTensor)
    assert seen[1] == {"times": 1}
    doubled = copy.deepcopy(theirs)
    doubled.body[0].weight.data *= 2
    doubled.body[0].bias.data *= 2
    assert_close(ours(X).data, doubled(X).detach(), rtol=1e-12, atol=1e-12)
    for handle in handles:
        handle.remove()
    assert_close(ours(X).data, theirs(X).detach(), rtol=1e-12, atol=1e-12)


def test_modes_of_the_caller(theirs: Net) -> None:
    """Neuronix's modes count, as everywhere; torch's are the model's own affair."""
    ours = nn.adopt(theirs)
    with torch.no_grad():
        assert ours(X).requires_grad
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        assert ours(X).requires_grad
    with no_grad():
        assert not ours(X).requires_grad
        with enable_grad():
            assert ours(X).requires_grad
    assert torch.is_grad_enabled()


class Asks(torch.nn.Module):
    def __init__(self, block: Any) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(2.0))
        self.block = block

    def forward(self, x: Any) -> Any:
        before = torch.is_grad_enabled()
        with self.block():
            inside, y = torch.is_grad_enabled(), x * self.w
        return before, inside, torch.is_grad_enabled(), y.requires_grad, y


@pytest.mark.parametrize("outside", [no_grad, enable_grad])
@pytest.mark.parametrize(
    "block, records",
    [
        (torch.no_grad, False),
        (torch.enable_grad, True),
        (lambda: torch.set_grad_enabled(False), False),
        (lambda: torch.set_grad_enabled(True), True),
        (torch.inference_mode, False),
    ],
)
def test_blocks_of_the_model(outside: Any, block: Any, records: bool) -> None:
    ours = nn.adopt(Asks(block))
    with outside(), torch.no_grad():
        before, inside, after, required, y = ours(torch.ones(2))
    assert before is after is (outside is enable_grad)
    assert inside is required is records
    assert y.requires_grad is records


def test_decorated_methods_and_exceptions() -> None:
    class Fails(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))
            self.w = torch.nn.Parameter(torch.ones(2))

        @torch.no_grad()
        def forward(self, x: Any) -> Any:
            self.calls += 1
            self.calls.add_(x.sum() * 0)
            if len(x) == 3:
                raise KeyError("three")
            return x * self.w

    ours = nn.adopt(Fails())
    calls = ours.calls
    assert not ours(torch.ones(2)).requires_grad
    with pytest.raises(KeyError, match="three"):
        ours(torch.ones(3))
    assert torch.is_grad_enabled()
    assert type(ours.calls) is torch.Tensor
    assert ours.calls is calls  # changed in place, as in torch
    assert ours.calls.item() == 2
    assert torch.zeros(2).__class__ is torch.Tensor  # nothing of it is left


def test_a_copy_is_independent(theirs: Net) -> None:
    theirs.tied = theirs.head
    ours = nn.adopt(theirs)
    other = copy.deepcopy(ours)
    assert other.tied is other.head
    assert other.tied.weight is other.head.weight is not ours.head.weight
    other(X).sum().backward()
    assert other.head.weight.grad is not None
    assert ours.head.weight.grad is None
    other.head.weight.data.zero_()
    assert ours.head.weight.data.abs().sum() > 0
    assert not (other(X).data - other.head.bias.data * 2).any()


def test_results_of_any_shape() -> None:
    @dataclass
    class Output:
        loss: Any
        parts: dict[str, Any]
        name: str = "out"

    class Gives(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.ones(3))

        def forward(self, x: Any) -> Any:
            y = x * self.w
            best = y.max(dim=0)
            return Output(y.sum(), {"y": [y, (x, 3, None)], "best": best.indices}, "named")

    result = nn.adopt(Gives())(torch.arange(6.0).reshape(2, 3))
    assert (type(result).__name__, result.name) == ("Output", "named")
    assert type(result.loss) is type(result.parts["y"][0]) is type(result.parts["y"][1][0]) is CustomTensor
    assert result.parts["y"][1][1:] == (3, None)
    assert result.parts["best"].tolist() == [1, 1, 1]
    assert type(result.parts["best"]) is CustomTensor


def test_buffers_that_are_assigned_and_added() -> None:
    class Grows(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.ones(3))
            self.register_buffer("mean", torch.zeros(3))
            self.register_buffer("none", None)

        def forward(self, x: Any) -> Any:
            y = x * self.w
            self.mean = 0.5 * self.mean + y.mean(0)  # keeps its history in torch; a plain value here
            if not hasattr(self, "cache"):
                self.register_buffer("cache", y.detach().clone(), persistent=False)
                self.late = torch.nn.Linear(3, 1, bias=False)
            return self.late(y) + self.cache.sum() + self.mean.sum()

    ours = nn.adopt(Grows())
    ours(torch.ones(2, 3)).sum().backward()
    ours(torch.ones(2, 3)).sum().backward()
    assert ours.mean.tolist() == [1.5] * 3
    assert type(ours.mean) is torch.Tensor
    assert [n for n, _ in ours.named_buffers()] == ["mean", "cache"]
    assert list(ours.state_dict()) == ["w", "mean", "late.weight"]
    assert ours.late.weight.grad is not None


def test_what_cannot_be_adopted() -> None:
    with pytest.raises(ModuleTypeError, match="Linear"):
        nn.adopt(nn.Linear(2, 2))  # type: ignore[arg-type]
    with pytest.raises(ModuleTypeError, match="weight.* has no shape"):
        nn.adopt(torch.nn.Sequential(torch.nn.LazyLinear(2)))
    hooked = torch.nn.Sequential(torch.nn.Linear(2, 2))
    hooked[0].register_full_backward_hook(lambda *_: None)
    with pytest.raises(UnsupportedError, match="0 .Linear. has backward hooks"):
        nn.adopt(hooked)


def test_a_function_of_torchs_autograd_is_refused_not_ignored_where_it_cannot_be_caught() -> None:
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad * 2

    class Uses(torch.nn.Linear):
        def forward(self, x: Any) -> Any:
            below = super(torch.autograd.Function, Double)  # what torch's apply calls
            return below.apply(super().forward(x))

    ours = nn.adopt(Uses(2, 2))
    with pytest.raises(UnsupportedError, match="mul: called by torch's own differentiation"):
        ours(torch.ones(1, 2))


TRANSFORMED: dict[str, Any] = {
    "vmap": lambda layer, x: torch.vmap(lambda row: (row @ layer.weight.T).sin())(x),
    "vmap of numbers": lambda layer, x: torch.vmap(lambda row: row.sin() + 1)(x),
    "grad": lambda layer, x: torch.func.grad(lambda row: layer.weight.mv(row[0]).sum())(x),
    "jacrev": lambda layer, x: torch.func.jacrev(lambda row: layer.weight @ row.mT)(x),
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_torchs_transforms_inside_are_refused(name: str) -> None:
    class Transforms(torch.nn.Linear):
        def forward(self, x: Any) -> Any:
            return TRANSFORMED[name](self, x)

    ours = nn.adopt(Transforms(2, 2))
    with pytest.raises(UnsupportedError, match="called inside torch.vmap or another function of torch.func"):
        ours(torch.ones(3, 2))


def test_vmap_of_integers_inside_and_of_the_model_outside(theirs: Net) -> None:
    class Masks(torch.nn.Linear):
        def forward(self, x: Any) -> Any:
            mask = torch.vmap(lambda i: torch.arange(2) <= i)(torch.arange(3))
            return super().forward(x) * mask

    masks, ours = Masks(2, 2), nn.adopt(theirs)
    x = torch.randn(3, 2)
    assert_close(nn.adopt(masks)(x).data, masks(x).detach())
    found = torch.vmap(lambda row: ours.head(row.expand(1, 4)).data)(X[:, :1])
    assert_close(found, theirs.head(X[:, :1].expand(2, 4)).detach().unsqueeze(1))


def test_in_place_on_a_parameter_is_refused() -> None:
    class Changes(torch.nn.Linear):
        def forward(self, x: Any) -> Any:
            self.weight.mul_(0.5)
            return super().forward(x)

    ours = nn.adopt(Changes(2, 2))
    before = ours.weight.data.clone()
    with pytest.raises(GradientError, match="leaf"):
        ours(torch.ones(1, 2))
    assert torch.equal(ours.weight.data, before)


def test_an_input_that_requires_grad(theirs: Net) -> None:
    ours = nn.adopt(theirs)
    x = tensor(X, requires_grad=True)
    ours(x).square().sum().backward()
    y = X.clone().requires_grad_()
    theirs(y).square().sum().backward()
    assert y.grad is not None
    assert_close(x.grad, y.grad, rtol=1e-12, atol=1e-12)


def test_anomalies_are_found_in_the_models_own_lines() -> None:
    class Norm(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(2, 2, bias=False)

        def forward(self, x: Any) -> Any:
            y = self.fc(x)
            return y / y.square().sum(-1).sqrt()

    ours = nn.adopt(Norm())
    with (
        pytest.raises(AnomalyError, match=r"(?s)div: its backward.* in forward: return y / y\.square"),
        detect_anomaly(check_nan=False),
    ):
        ours.fc.weight.data.zero_()
        ours(torch.ones(2, 2)).sum().backward()


def test_a_disguise_answers_like_a_tensor() -> None:
    x = Disguised(tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True))
    assert isinstance(x, torch.Tensor)
    assert (x.shape, x.dtype, x.device.type, x.ndim, len(x)) == ((2, 2), torch.float32, "cpu", 2, 2)
    assert (x.is_cuda, x.is_leaf, x.requires_grad, x.layout) == (False, True, True, torch.strided)
    assert [row.tolist() for row in x] == [[1.0, 2.0], [3.0, 4.0]]
    assert x.data_ptr() == x.custom.data_ptr()
    assert x.new_tensor([1.0]).requires_grad is False
    assert torch.as_tensor(x) is x
    assert torch.asarray(x).tolist() == x.tolist()
    assert 3.0 in x
    assert (x[0, 1] + torch.tensor(1.0)).item() == 3.0
    assert "CustomTensor" in repr(x)
    x.sum().backward()
    assert x.grad.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    x.grad = None
    assert x.custom.grad is None
    x.data.mul_(2)
    assert x.custom.tolist() == [[2.0, 4.0], [6.0, 8.0]]
