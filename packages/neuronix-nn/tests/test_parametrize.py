"""`nn.utils.parametrize` and `nn.utils.parametrizations` beside torch's: values, gradients, states, several steps."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.utils import parametrizations as torch_parametrizations
from torch.nn.utils import parametrize as torch_parametrize
from torch.testing import assert_close

from neuronix import nn
from neuronix.autograd import CustomTensor, compile, grad
from neuronix.autograd.errors import AxisError
from neuronix.nn.errors import LayerArgumentError, ModuleKeyError, ModuleValueError
from neuronix.nn.utils import parametrizations, parametrize

# Name, arguments of the layer, what it is given, and what is done to it: the same for both libraries.
ROWS: dict[str, tuple[str, tuple[Any, ...], tuple[int, ...], Callable[[Any, Any], Any]]] = {
    "weight_norm": ("Linear", (4, 3), (5, 4), lambda p, m: p.weight_norm(m)),
    "weight_norm of a whole": ("Linear", (4, 3), (5, 4), lambda p, m: p.weight_norm(m, dim=None)),
    "weight_norm of a convolution": ("Conv1d", (2, 3, 3), (2, 2, 6), lambda p, m: p.weight_norm(m, dim=1)),
    "weight_norm of a bias": ("Linear", (4, 3), (5, 4), lambda p, m: p.weight_norm(m, "bias", None)),
    "weight_norm of a recurrent layer": (
        "LSTM", (4, 3), (5, 2, 4), lambda p, m: p.weight_norm(p.weight_norm(m, "weight_hh_l0"), "weight_ih_l0")
    ),
    "spectral_norm": ("Linear", (4, 3), (5, 4), lambda p, m: p.spectral_norm(m)),
    "spectral_norm, three steps": ("Conv2d", (2, 3, 2), (2, 2, 4, 4), lambda p, m: p.spectral_norm(m, "weight", 3)),
    "spectral_norm, transposed": ("ConvTranspose1d", (2, 3, 2), (2, 2, 4), lambda p, m: p.spectral_norm(m)),
    "spectral_norm of a bias": ("Linear", (4, 3), (5, 4), lambda p, m: p.spectral_norm(m, name="bias")),
    "orthogonal, square": ("Linear", (4, 4), (5, 4), lambda p, m: p.orthogonal(m)),
    "orthogonal, tall": ("Linear", (2, 4), (5, 2), lambda p, m: p.orthogonal(m)),
    "orthogonal, wide": ("Linear", (4, 2), (5, 4), lambda p, m: p.orthogonal(m)),
    "orthogonal, wide, exponential": ("Linear", (4, 2), (5, 4), lambda p, m: p.orthogonal(m, "weight", "matrix_exp")),
    "orthogonal, Cayley": ("Linear", (3, 3), (5, 3), lambda p, m: p.orthogonal(m, orthogonal_map="cayley")),
    "orthogonal, Cayley, tall": ("Linear", (2, 4), (5, 2), lambda p, m: p.orthogonal(m, orthogonal_map="cayley")),
    "orthogonal without base": ("Linear", (2, 4), (5, 2), lambda p, m: p.orthogonal(m, use_trivialization=False)),
    "exponential without base": (
        "Linear", (3, 3), (5, 3), lambda p, m: p.orthogonal(m, "weight", "matrix_exp", use_trivialization=False)
    ),
    "two of them": ("Linear", (3, 3), (5, 3), lambda p, m: p.spectral_norm(p.weight_norm(m))),
}  # fmt: skip


def pair(name: str) -> tuple[Any, Any, torch.Tensor]:
    """Our layer and torch's, made from the same seed and parametrized from the same, and inputs."""
    kind, arguments, shape, apply = ROWS[name]
    theirs = getattr(torch.nn, kind)(*arguments).double()
    ours = getattr(nn, kind)(*arguments).double()
    ours.load_state_dict(theirs.state_dict())
    for library, layer in ((parametrizations, ours), (torch_parametrizations, theirs)):
        torch.manual_seed(3)
        apply(library, layer)
    return ours, theirs, torch.randn(shape, dtype=torch.float64)


def first(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result


def check_equal_states(ours: Any, theirs: Any) -> None:
    state, expected = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    assert_close(state, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ROWS)
def test_registered_used_and_trained_like_torchs(name: str) -> None:
    ours, theirs, x = pair(name)
    assert repr(ours) == repr(theirs)
    assert [key for key, _ in ours.named_parameters()] == [key for key, _ in theirs.named_parameters()]
    check_equal_states(ours, theirs)
    for _ in range(3):  # steps of descent, each with one of the power method
        found, expected = first(ours(x)), first(theirs(x))
        assert_close(found.data, expected.detach(), rtol=1e-9, atol=1e-9)
        found.square().sum().backward()
        expected.square().sum().backward()
        for parameter, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert_close(parameter.grad, reference.grad, rtol=1e-8, atol=1e-9)
            for each, g in ((parameter.data, parameter.grad), (reference.data, reference.grad)):
                each.sub_(0.01 * g)
        ours.zero_grad()
        theirs.zero_grad()
        check_equal_states(ours, theirs)
    ours.eval()
    theirs.eval()
    assert_close(first(ours(x)).data, first(theirs(x)).detach(), rtol=1e-9, atol=1e-9)
    check_equal_states(ours, theirs)


@pytest.mark.parametrize("name", ROWS)
def test_states_go_both_ways_and_copies_are_equal(name: str) -> None:
    ours, theirs, x = pair(name)
    changed = {key: value * 1.5 for key, value in theirs.state_dict().items()}
    theirs.load_state_dict(changed)
    assert repr(ours.load_state_dict(changed)) == "<All keys matched successfully>"
    theirs.load_state_dict(ours.state_dict())
    ours.eval()
    theirs.eval()
    expected = first(ours(x))
    assert_close(expected.data, first(theirs(x)).detach(), rtol=1e-9, atol=1e-9)
    for copied in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert type(copied) is type(ours)
        assert torch.equal(first(copied(x)).data, expected.data)
        for parameter in copied.parameters():
            parameter.data.zero_()
    assert torch.equal(first(ours(x)).data, expected.data)


class WrittenOut(torch.nn.Module):
    """Weight normalisation for torch, whose own has a wrong second derivative: its gradgradcheck says so (2.13)."""

    def forward(self, g: Any, v: Any) -> Any:
        return v * (g / v.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("name", ["weight_norm", "orthogonal, square", "orthogonal, tall", "orthogonal, Cayley"])
def test_second_derivatives(name: str) -> None:
    ours, theirs, x = pair(name)
    if name == "weight_norm":
        theirs.parametrizations.weight[0] = WrittenOut()

    def norm(layer: Any, grad: Any, library: Any) -> Any:
        parameters = list(layer.parameters())
        gradients = grad(layer(x).sin().sum(), parameters, create_graph=True)
        return grad(sum(library(g) for g in gradients), parameters)

    found = norm(ours, grad, lambda g: g.square().sum())
    expected = norm(theirs, torch.autograd.grad, lambda g: g.square().sum())
    for a, b in zip(found, expected, strict=True):
        assert_close(a.data, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("leave", [True, False])
@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm", "orthogonal, wide"])
def test_removed_like_torchs(name: str, leave: bool) -> None:
    ours, theirs, x = pair(name)
    if name == "weight_norm" and not leave:
        with pytest.raises(LayerArgumentError, match="computed from 2 tensors"):
            parametrize.remove_parametrizations(ours, "weight", False)
        assert parametrize.is_parametrized(ours, "weight")
        return
    for library, layer in ((parametrize, ours), (torch_parametrize, theirs)):
        assert library.is_parametrized(layer)
        assert not library.is_parametrized(layer, "bias")
        assert library.type_before_parametrizations(layer).__name__ == "Linear"
        library.remove_parametrizations(layer, "weight", leave)
        assert not library.is_parametrized(layer)
    assert type(ours) is nn.Linear
    assert type(ours.weight) is nn.Parameter
    check_equal_states(ours, theirs)
    assert_close(ours(x).data, theirs(x).detach(), rtol=1e-9, atol=1e-9)


class Symmetric(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.triu() + x.triu(1).mT

    def right_inverse(self, x: Any) -> Any:
        return x.triu()


class Exponential(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.exp()


class RankOne(nn.Module):
    def forward(self, u: Any, v: Any) -> Any:
        return u.unsqueeze(-1) * v

    def right_inverse(self, x: Any) -> Any:
        return x[:, 0], x[0] / x[0, 0]


class AsFloat(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.float()


class Part(nn.Module):
    def forward(self, x: Any) -> Any:
        return x[:1]


def test_a_value_can_be_assigned() -> None:
    layer = nn.Linear(3, 3).double()
    original = layer.weight
    parametrize.register_parametrization(layer, "weight", Symmetric())
    assert layer.parametrizations.weight.original is original  # which an optimizer may hold
    value = torch.arange(9.0, dtype=torch.float64).reshape(3, 3)
    layer.weight = value + value.mT
    assert layer.parametrizations.weight.original is original
    assert torch.equal(layer.weight.data, value + value.mT)
    assert torch.equal(original.data, (value + value.mT).triu())
    layer.weight = CustomTensor(torch.eye(3, dtype=torch.float64), requires_grad=True)
    assert torch.equal(original.data, torch.eye(3, dtype=torch.float64))
    with pytest.raises(LayerArgumentError, match="may not change the dtype"):
        layer.weight = torch.eye(3)
    with pytest.raises(ModuleKeyError, match="'weight' of ParametrizedLinear is parametrized"):
        layer.weight = nn.Parameter(torch.eye(3))  # type: ignore[assignment]
    parametrize.register_parametrization(layer, "weight", Exponential())
    with pytest.raises(LayerArgumentError, match="Exponential has no right_inverse"):
        layer.weight = torch.eye(3, dtype=torch.float64)
    assert torch.equal(original.data, torch.eye(3, dtype=torch.float64))


def test_several_originals() -> None:
    layer = nn.Linear(3, 2).double()
    parametrize.register_parametrization(layer, "weight", RankOne())
    assert list(layer.state_dict()) == [
        "bias",
        "parametrizations.weight.original0",
        "parametrizations.weight.original1",
    ]
    value = torch.outer(torch.tensor([1.0, 2.0]), torch.tensor([1.0, -1.0, 3.0])).double()
    layer.weight = value
    assert torch.equal(layer.weight.data, value)
    parametrize.remove_parametrizations(layer, "weight")
    assert torch.equal(layer.weight.data, value)
    assert layer.weight.requires_grad


def test_a_buffer() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.tensor([0.0, 1.0]))

    module = parametrize.register_parametrization(Scaled(), "scale", Exponential())
    assert_close(module.scale, torch.tensor([0.0, 1.0]).exp())
    assert list(module.state_dict()) == ["parametrizations.scale.original"]
    assert not list(module.parameters())
    parametrize.remove_parametrizations(module, "scale", leave_parametrized=False)
    assert torch.equal(module.scale, torch.tensor([0.0, 1.0]))
    assert list(module.state_dict()) == ["scale"]


def test_cached_computes_once_in_each_thread() -> None:
    layer = parametrizations.spectral_norm(nn.Linear(3, 3))
    with parametrize.cached():
        weight = layer.weight
        with parametrize.cached():
            assert layer.weight is weight
        assert layer.weight is weight
        others: list[Any] = []
        thread = threading.Thread(target=lambda: others.append(layer.weight))
        thread.start()
        thread.join()
        assert others[0] is not weight
        layer(torch.ones(2, 3)).sum().backward()
    assert layer.weight is not weight
    assert layer.parametrizations.weight.original.grad is not None


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m: parametrize.register_parametrization(m, "none", Symmetric()), LayerArgumentError, "no parameter"),
        (lambda m: parametrize.register_parametrization(m, "weight", AsFloat()), LayerArgumentError, "the dtype"),
        (lambda m: parametrize.register_parametrization(m, "weight", Part()), LayerArgumentError, "the shape"),
        (lambda m: parametrize.remove_parametrizations(m, "weight"), LayerArgumentError, "no parametrization on"),
        (lambda m: parametrizations.weight_norm(m, "none"), LayerArgumentError, "no parameter or buffer"),
        (lambda m: parametrizations.spectral_norm(m, dim=2), AxisError, "dim=2 is out of range"),
        (lambda m: parametrizations.spectral_norm(m, "weight", 0), LayerArgumentError, "must be positive, got 0"),
        (lambda m: parametrizations.orthogonal(m, "bias"), LayerArgumentError, r"a matrix .* expected, got \(3,\)"),
        (lambda m: parametrizations.orthogonal(m, "weight", "qr"), LayerArgumentError, "orthogonal_map must be one of"),
    ],
)
def test_refused_and_nothing_changed(call: Callable[[Any], Any], error: type[Exception], words: str) -> None:
    layer = nn.Linear(3, 3).double()
    before = layer.weight
    with pytest.raises(error, match=words):
        call(layer)
    assert type(layer) is nn.Linear
    assert layer.weight is before


def test_what_may_change_the_kind_of_a_tensor() -> None:
    layer = parametrize.register_parametrization(nn.Linear(3, 3).double(), "weight", AsFloat(), unsafe=True)
    assert layer.weight.dtype is torch.float32
    with pytest.raises(LayerArgumentError, match="shape"):
        parametrize.register_parametrization(layer, "weight", Part())
    assert len(layer.parametrizations.weight) == 1


def test_a_compiled_step_changes_the_originals_and_the_singular_vectors() -> None:
    x = torch.randn(5, 4, dtype=torch.float64)
    states = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)).double()
        parametrizations.spectral_norm(model[0])
        parametrizations.orthogonal(model[2])

        def step(x: Any, model: Any = model) -> Any:
            model.zero_grad()
            loss = model(x).square().sum()
            loss.backward()
            for parameter in model.parameters():
                parameter.data.sub_(0.05 * parameter.grad)
            return loss

        run = compile(step, state=model, backend="eager") if compiled else step
        states.append(([run(x).data for _ in range(4)], model.state_dict()))
    assert_close(states[1], states[0], rtol=1e-9, atol=1e-9)


def test_weight_norm_takes_states_of_the_older_form() -> None:
    theirs = torch.nn.Linear(3, 2)
    with pytest.warns(FutureWarning, match="deprecated"):
        torch.nn.utils.weight_norm(theirs)
    ours = parametrizations.weight_norm(nn.Linear(3, 2))
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(4, 3)
    assert_close(ours(x).data, theirs(x).detach(), rtol=1e-6, atol=1e-6)


def test_orthogonal_is_assigned() -> None:
    layer = parametrizations.orthogonal(nn.Linear(4, 4).double(), use_trivialization=False, orthogonal_map="cayley")
    with pytest.raises(NotImplementedError, match="use_trivialization=True"):
        layer.weight = torch.eye(4, dtype=torch.float64)
    layer = parametrizations.orthogonal(nn.Linear(4, 2).double())
    rotation = torch.linalg.qr(torch.randn(4, 2, dtype=torch.float64))[0].mT
    layer.weight = rotation
    assert_close(layer.weight.data, rotation, rtol=1e-12, atol=1e-12)
    with pytest.raises(LayerArgumentError, match=r"expected the shape \(2, 4\), got \(4, 4\)"):
        layer.weight = torch.eye(4, dtype=torch.float64)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["Conv1d", "ConvTranspose2d", "Linear"])
def test_fused_with_batch_normalisation(kind: str, bias: bool) -> None:
    torch.manual_seed(0)
    arguments, shape, norm = {
        "Conv1d": ((3, 4, 2), (5, 3, 6), "BatchNorm1d"),
        "ConvTranspose2d": ((3, 4, 2), (5, 3, 4, 4), "BatchNorm2d"),
        "Linear": ((3, 4), (5, 3), "BatchNorm1d"),
    }[kind]
    theirs = getattr(torch.nn, kind)(*arguments, bias=bias).double(), getattr(torch.nn, norm)(4).double()
    theirs[1].weight.data.uniform_()
    theirs[1].bias.data.uniform_()
    x = torch.randn(shape, dtype=torch.float64)
    theirs[1](theirs[0](x))
    ours = [nn.from_torch(layer.eval()) for layer in theirs]
    if kind == "Linear":
        fused, expected = nn.utils.fuse_linear_bn_eval(*ours), torch.nn.utils.fuse_linear_bn_eval(*theirs)
    else:
        options = kind.startswith("ConvTranspose")
        fused = nn.utils.fuse_conv_bn_eval(*ours, options)
        expected = torch.nn.utils.fuse_conv_bn_eval(*theirs, options)
    assert_close(fused.state_dict(), expected.state_dict(), rtol=1e-12, atol=1e-12)
    assert [p.requires_grad for p in fused.parameters()] == [p.requires_grad for p in expected.parameters()]
    assert_close(fused(x).data, theirs[1](theirs[0](x)).detach(), rtol=1e-12, atol=1e-12)


def test_what_cannot_be_fused() -> None:
    conv, linear = nn.Conv2d(3, 4, 1), nn.Linear(3, 4).eval()
    with pytest.raises(ModuleValueError, match="both layers must be in evaluation"):
        nn.utils.fuse_conv_bn_eval(conv, nn.BatchNorm2d(4).eval())
    with pytest.raises(ModuleValueError, match="no running statistics"):
        nn.utils.fuse_conv_bn_eval(conv.eval(), nn.BatchNorm2d(4, track_running_stats=False).eval())
    with pytest.raises(ModuleValueError, match="the layer gives 4 features, the normalisation takes 3"):
        nn.utils.fuse_linear_bn_eval(linear, nn.BatchNorm1d(3).eval())


def test_names_that_are_elsewhere() -> None:
    with pytest.raises(AttributeError, match=r"it is neuronix\.nn\.utils\.parametrizations\.weight_norm"):
        nn.utils.weight_norm  # type: ignore[attr-defined]
