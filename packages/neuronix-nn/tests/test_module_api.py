"""The interface of `Module` beside torch's: the same script on both sides, and what it saw."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch

from neuronix import nn
from neuronix.autograd import CustomTensor, grad, tensor
from neuronix.autograd.errors import ArgumentError, GradientError, UnsupportedError
from neuronix.nn.errors import ModuleAttributeError, ModuleTypeError, ModuleValueError, StateDictError

LIBRARIES = [nn, torch.nn]


def leaf(library: Any, *values: float) -> Any:
    data = torch.tensor(values, dtype=torch.float64)
    return tensor(data, requires_grad=True) if library is nn else data.requires_grad_()


def seen(value: Any) -> Any:
    """Tensors as numbers, whichever side they are from."""
    if isinstance(value, (tuple, list)):
        return tuple(map(seen, value))
    return value.tolist() if isinstance(value, (torch.Tensor, CustomTensor)) else value


def agree(script: Callable[[Any], Any]) -> Any:
    """What the script returns, which is the same on both sides."""
    ours, theirs = (seen(script(library)) for library in LIBRARIES)
    assert ours == theirs
    return ours


def two_in_two_out(library: Any) -> Any:
    class Pair(library.Module):  # type: ignore[misc]
        def forward(self, a: Any, scale: float, b: Any, *, extra: Any = 1.0) -> Any:
            return (a * b * scale * extra, "no tensor", a + b)

    return Pair()


# Hooks around a backward pass


def test_backward_hooks_see_what_torchs_see() -> None:
    def script(library: Any) -> Any:
        log: list[Any] = []
        module = two_in_two_out(library)
        module.register_full_backward_hook(lambda m, gi, go: log.append(("hook", m is module, seen(gi), seen(go))))
        module.register_full_backward_pre_hook(lambda m, go: log.append(("pre", m is module, seen(go))))
        a, b, extra = leaf(library, 1.0, 2.0), leaf(library, 3.0, -1.0), leaf(library, 5.0, 7.0)
        product, _, total = module(a, 2.0, b, extra=extra)
        (product.sum() + 3 * total.sum()).backward()
        module(a, 2.0, b)[2].sum().backward()  # one output unused
        module(a, 2.0, b.detach())[0].sum().backward()  # one input a constant
        return log, a.grad, b.grad, extra.grad

    log, *_ = agree(script)
    assert len(log) == 6


def test_backward_hooks_change_gradients_as_in_torch() -> None:
    def script(library: Any) -> Any:
        order: list[str] = []
        layer = library.Linear(2, 2).double()
        layer.weight.data.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        layer.register_full_backward_pre_hook(lambda m, go: (go[0] * 10,))
        layer.register_full_backward_pre_hook(lambda m, go: order.append("sooner"), prepend=True)
        layer.register_full_backward_hook(lambda m, gi, go: (gi[0] + 100,))
        handle = layer.register_full_backward_hook(lambda m, gi, go: order.append(str(seen((gi, go)))))
        layer.register_full_backward_hook(lambda m, gi, go: order.append(str(seen((gi, go)))), prepend=True)
        x = leaf(library, 1.0, -1.0)
        layer(x).sum().backward()
        handle.remove()
        layer(x).sum().backward()
        return order, x.grad, layer.weight.grad

    agree(script)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # torch says so, of a module without such inputs
def test_backward_hooks_of_modules_whose_input_is_a_constant() -> None:
    def script(library: Any) -> Any:
        log: list[Any] = []
        layer = library.Linear(2, 1).double()
        layer.register_full_backward_hook(lambda m, gi, go: log.append((gi, seen(go))))
        layer.register_full_backward_pre_hook(lambda m, go: (go[0] * 3,))
        layer(torch.ones(4, 2, dtype=torch.float64)).sum().backward()
        return log, layer.weight.grad, layer.bias.grad

    assert agree(script)[0][0][0] == (None,)


def test_backward_hooks_in_a_model_with_changes_in_place() -> None:
    def script(library: Any) -> Any:
        log: list[Any] = []
        torch.manual_seed(0)
        model = library.Sequential(library.Linear(3, 4), library.ReLU(), library.Linear(4, 2)).double()
        for name, module in model.named_modules():
            module.register_full_backward_hook(lambda m, gi, go, name=name: log.append((name, seen(gi), seen(go))))
        model(leaf(library, 1.0, 2.0, 3.0)).square().sum().backward()
        return [name for name, *_ in log], log, [p.grad for p in model.parameters()]

    agree(script)
    layer = nn.ReLU(inplace=True)
    layer.register_full_backward_hook(lambda m, gi, go: None)
    x = tensor([-1.0, 2.0], requires_grad=True)
    y = x * 1
    layer(y).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0]


def test_backward_hooks_in_a_recorded_pass() -> None:
    layer, received = nn.Tanh(), []
    layer.register_full_backward_hook(lambda m, gi, go: received.append(gi[0]))
    x = tensor([0.5], dtype=torch.float64, requires_grad=True)
    (first,) = grad(layer(x).sum(), x, create_graph=True)
    assert isinstance(received[0], CustomTensor)
    assert first is not None
    (second,) = grad(first.sum(), x)
    y = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.functional.hessian(lambda v: torch.tanh(v).sum(), y)[0]
    assert second is not None
    torch.testing.assert_close(second.data, expected, rtol=1e-12, atol=0)


def test_backward_hooks_that_do_wrong() -> None:
    layer = nn.Tanh()
    x = tensor([0.5], requires_grad=True)
    with (
        layer.register_full_backward_hook(lambda m, gi, go: (gi[0], gi[0])),
        pytest.raises(GradientError, match="invalid number of grad_input, got 2, but expected 1"),
    ):
        layer(x).sum().backward()
    with (
        layer.register_full_backward_pre_hook(lambda m, go: ()),
        pytest.raises(GradientError, match="invalid number of grad_output, got 0, but expected 1"),
    ):
        layer(x).sum().backward()
    linear = nn.Linear(1, 1)
    with (
        linear.register_full_backward_hook(lambda m, gi, go: (torch.ones(1),)),
        pytest.raises(GradientError, match="no input requires gradient"),
    ):
        linear(torch.ones(1)).sum().backward()
    assert x.grad is None

    class Dictionary(nn.Module):
        def forward(self, x: Any) -> Any:
            return {"x": x}

    module = Dictionary()
    module.register_full_backward_hook(lambda m, gi, go: None)
    with pytest.warns(UserWarning, match="should be a Tensor or a tuple of Tensors"):
        module(x)


# Hooks around forward


def test_forward_hooks_that_are_always_called() -> None:
    def script(library: Any) -> Any:
        log: list[Any] = []

        class Fails(library.Module):  # type: ignore[misc]
            def forward(self, x: Any, fail: bool = True) -> Any:
                if fail:
                    raise ValueError("no")
                return x

        module = Fails()
        module.register_forward_hook(lambda m, args, out: log.append(("always", out)), always_call=True)
        module.register_forward_hook(
            lambda m, args, kwargs, out: log.append(("with", kwargs, out)), always_call=True, with_kwargs=True
        )
        module.register_forward_hook(lambda m, args, out: log.append(("usually", out)))
        with pytest.raises(ValueError, match="no"):
            module(1.0, fail=True)
        module(1.0, fail=False)
        bad = module.register_forward_hook(lambda m, args, out: log[99], always_call=True)
        with pytest.raises(ValueError, match="no"), pytest.warns(UserWarning, match="silenced"):
            module(1.0)
        with pytest.raises(IndexError):
            module(1.0, fail=False)
        bad.remove()
        return [str(entry) for entry in log]

    agree(script)


def test_a_pre_hook_with_keyword_arguments_returns_both() -> None:
    module = nn.Identity()
    module.register_forward_pre_hook(lambda m, args, kwargs: args, with_kwargs=True)
    with pytest.raises(ArgumentError, match="a tuple of"):
        module(1)


# States


class Versioned:
    """Makes a class of either library with a state of its own and an old name."""

    def __new__(cls, library: Any) -> Any:
        class Net(library.Module):  # type: ignore[misc]
            _version = 3

            def __init__(self) -> None:
                super().__init__()
                self.linear = library.Linear(2, 2)
                self.norm = library.BatchNorm1d(2)
                self.steps = 5
                self.register_load_state_dict_pre_hook(self.rename)

            @staticmethod
            def rename(module: Any, state: Any, prefix: str, metadata: Any, *_: Any) -> None:
                if metadata.get("version", 1) < 3 and f"{prefix}old.weight" in state:
                    state[f"{prefix}linear.weight"] = state.pop(f"{prefix}old.weight")

            def get_extra_state(self) -> Any:
                return {"steps": self.steps}

            def set_extra_state(self, state: Any) -> None:
                self.steps = state["steps"]

        return Net()


def test_metadata_extra_state_and_old_names() -> None:
    def script(library: Any) -> Any:
        net = library.Sequential(Versioned(library))
        state = net.state_dict()
        keys, metadata = list(state), {key: dict(value) for key, value in state._metadata.items()}
        state["0._extra_state"] = {"steps": 9}
        state["0.old.weight"] = state.pop("0.linear.weight") + 1
        state._metadata["0"]["version"] = 2
        del state["0.norm.num_batches_tracked"]  # as in states of before it was there
        del state._metadata["0.norm"]["version"]
        before = list(state)
        result = net.load_state_dict(state)
        return keys, metadata, net[0].steps, repr(result), list(state) == before

    assert agree(script)[2] == 9
    batch_norm = nn.BatchNorm1d(2)
    plain = dict(batch_norm.state_dict())
    del plain["num_batches_tracked"]
    assert batch_norm.load_state_dict(plain).missing_keys == []


def test_hooks_of_states() -> None:
    def script(library: Any) -> Any:
        log: list[Any] = []
        net = library.Sequential(library.Linear(1, 1), library.Linear(1, 1))

        def spoil(module: Any, keys: Any) -> None:
            log.append(("loaded", type(module).__name__, list(keys.missing_keys), list(keys.unexpected_keys)))
            keys.missing_keys.clear()
            keys.unexpected_keys.clear()

        net.register_state_dict_pre_hook(lambda m, prefix, keep: log.append(("pre", prefix, keep)))
        net[0].register_state_dict_post_hook(lambda m, state, prefix, metadata: state.pop(f"{prefix}bias") and None)
        net[1].register_load_state_dict_post_hook(lambda m, keys: log.append("inner"))
        net.register_load_state_dict_post_hook(spoil)
        state = net.state_dict(prefix="net.", keep_vars=True)
        log.append(list(state))
        plain = net.state_dict(destination=OrderedDict(first=1))
        log.append(list(plain))
        log.append(repr(net.load_state_dict(plain)))
        return [str(entry) for entry in log]

    agree(script)
    layer = nn.Linear(1, 1)
    layer.register_state_dict_post_hook(lambda *_: {})
    with pytest.raises(StateDictError, match="must return None"):
        layer.state_dict()


def test_a_load_that_fails_late_is_undone() -> None:
    net = Versioned(nn)

    def complain(module: Any, keys: Any) -> None:
        keys.missing_keys.append("linear.more")

    net.register_load_state_dict_post_hook(complain)
    before = {key: copy.deepcopy(value) for key, value in net.state_dict().items()}
    state = {key: value + 1 if isinstance(value, torch.Tensor) else value for key, value in before.items()}
    for assign in (False, True):
        held = net.linear.weight.data
        with pytest.raises(StateDictError, match=r"linear\.more"):
            net.load_state_dict(state, assign=assign)
        assert net.linear.weight.data is held
        for key, value in net.state_dict().items():
            assert torch.equal(value, before[key]) if isinstance(value, torch.Tensor) else value == before[key]


def test_misfits_of_assigned_and_meta_tensors() -> None:
    layer = nn.Linear(2, 1)
    weight = layer.weight.data
    with pytest.raises(StateDictError, match=r"'bias' requires grad in the module and holds torch\.int64"):
        layer.load_state_dict({"weight": torch.ones(1, 2), "bias": torch.ones(1, dtype=torch.int64)}, assign=True)
    with pytest.raises(StateDictError, match="'bias' has no values in the state: it is on the meta device"):
        layer.load_state_dict({"weight": torch.ones(1, 2), "bias": torch.ones(1, device="meta")})
    assert layer.weight.data is weight
    assert (weight != 1).any()
    empty = nn.Linear(2, 1, device="meta")
    with pytest.warns(UserWarning, match="does nothing"):
        empty.load_state_dict(layer.state_dict())
    empty.load_state_dict(layer.state_dict(), assign=True)
    assert torch.equal(empty.weight.data, weight)
    scalar = nn.Module()
    scalar.p = nn.Parameter(torch.tensor(0.0))
    scalar.load_state_dict({"p": torch.tensor([4.0])})
    assert scalar.p.item() == 4.0


def test_extra_state_must_be_defined() -> None:
    for call in (lambda: nn.ReLU().get_extra_state(), lambda: nn.ReLU().set_extra_state(1)):
        with pytest.raises(UnsupportedError, match="has no extra state"):
            call()


# Walking, replacing, moving


def test_get_buffer_and_set_submodule() -> None:
    net = nn.Sequential(OrderedDict(block=nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))))
    assert net.get_buffer("block.1.running_mean") is net.block[1].running_mean
    with pytest.raises(ModuleAttributeError, match="not a buffer"):
        net.get_buffer("block.0.weight")
    net.set_submodule("block.0", nn.Identity())
    net.set_submodule("head", nn.ReLU())
    assert [name for name, _ in net.named_modules()] == ["", "block", "block.0", "block.1", "head"]
    wrong: list[tuple[Any, type[Exception]]] = [
        (("", nn.ReLU()), ModuleValueError),
        (("block.0", 3), ModuleValueError),
        (("nowhere.x", nn.ReLU()), ModuleAttributeError),
        (("block.1.weight", nn.ReLU()), ModuleAttributeError),
        (("tail", nn.ReLU(), True), ModuleAttributeError),
    ]
    for args, error in wrong:
        with pytest.raises(error):
            net.set_submodule(*args)


@pytest.mark.filterwarnings("ignore:Casting complex values to real")  # both sides
def test_conversions_are_torchs() -> None:
    def script(library: Any) -> Any:
        log: list[Any] = []
        net = library.Sequential(library.Conv2d(1, 2, 3), library.BatchNorm2d(2))
        net.register_buffer("wave", torch.zeros(2, dtype=torch.complex64))

        def note() -> None:
            log.append([(key, str(value.dtype)) for key, value in net.state_dict().items()])

        for convert in ("half", "bfloat16", "double", "float", "cpu"):
            assert getattr(net, convert)() is net
            note()
        net.to(torch.float64).to(device="cpu", dtype=torch.float32, non_blocking=True)
        note()
        net.to(memory_format=torch.channels_last)
        log.append(net[0].weight.is_contiguous(memory_format=torch.channels_last))
        net.requires_grad_(False).type(torch.float64)
        note()
        log.append(tuple(net.to_empty(device="meta")[0].weight.shape))
        log.append(str(net[0].weight.device))
        return log

    agree(script)


def test_a_conversion_that_fails_changes_nothing() -> None:
    layer = nn.BatchNorm1d(2)
    held = list(layer.state_dict().values())
    with pytest.raises(ModuleTypeError, match=r"requires grad can't be converted to torch\.int32"):
        layer.type(torch.int32)
    assert [value.dtype for value in layer.state_dict().values()] == [value.dtype for value in held]
    assert nn.Linear(1, 1).share_memory().weight.data.is_shared()


def test_copies_and_pickles() -> None:
    net = Versioned(nn)
    net.tied = net.linear
    again = copy.deepcopy(net)
    assert again.tied is again.linear
    assert again.linear.weight is not net.linear.weight
    model = nn.Sequential(nn.LSTM(2, 3), nn.TransformerEncoderLayer(4, 2, 6), nn.BatchNorm1d(2)).eval()
    model[2].register_forward_hook(shown)
    twin = pickle.loads(pickle.dumps(model))
    assert repr(twin) == repr(model)
    assert not twin.training
    assert [key for key, _ in twin.named_parameters()] == [key for key, _ in model.named_parameters()]
    for ours, theirs in zip(twin.state_dict().values(), model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    assert twin[2](torch.zeros(1, 2)) == "shown"


def shown(*_: Any) -> str:
    return "shown"


def test_handles_have_numbers_and_belong_to_one_module() -> None:
    layer = nn.ReLU()
    first, second = (layer.register_forward_hook(lambda *_: None) for _ in range(2))
    assert first.id != second.id
    again = copy.deepcopy(layer)
    first.remove()
    assert len(layer._forward_hooks) == 1
    assert len(again._forward_hooks) == 2
