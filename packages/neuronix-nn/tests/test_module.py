"""Module: registering, walking, calling, modes, moving; and the containers."""

from __future__ import annotations

import gc
from collections import OrderedDict
from typing import Any

import pytest
import torch

from neuronix import nn
from neuronix.autograd import CustomTensor, no_grad, tensor
from neuronix.autograd.errors import UnsupportedError
from neuronix.nn.errors import ModuleAttributeError, ModuleKeyError, ModuleTypeError


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.register_buffer("offset", torch.zeros(3))
        self.register_buffer("scratch", torch.zeros(3), persistent=False)
        self.linear = nn.Linear(3, 3, bias=False)
        self.label = "a plain attribute"

    def forward(self, x: Any) -> Any:
        return self.linear(x) * self.scale + self.offset


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = Block()
        self.blocks = nn.Sequential(Block(), nn.ReLU())
        self.tied = self.first.linear  # shared
        self.nothing: nn.Module | None = None

    def forward(self, x: Any) -> Any:
        return self.tied(self.blocks(self.first(x)))


class TorchBlock(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(3))
        self.register_buffer("offset", torch.zeros(3))
        self.register_buffer("scratch", torch.zeros(3), persistent=False)
        self.linear = torch.nn.Linear(3, 3, bias=False)


class TorchNet(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = TorchBlock()
        self.blocks = torch.nn.Sequential(TorchBlock(), torch.nn.ReLU())
        self.tied = self.first.linear


def names(pairs: Any) -> list[str]:
    return [name for name, _ in pairs]


# Walking


def test_walks_as_torch() -> None:
    ours, theirs = Net(), TorchNet()
    assert names(ours.named_parameters()) == names(theirs.named_parameters())
    assert names(ours.named_parameters(recurse=False)) == names(theirs.named_parameters(recurse=False)) == []
    assert names(ours.named_parameters("p", remove_duplicate=False)) == names(
        theirs.named_parameters("p", remove_duplicate=False)
    )
    assert names(ours.named_buffers()) == names(theirs.named_buffers())
    assert names(ours.named_children()) == names(theirs.named_children())
    assert names(ours.named_modules()) == names(theirs.named_modules())
    assert names(ours.named_modules(remove_duplicate=False)) == names(theirs.named_modules(remove_duplicate=False))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert list(ours.state_dict(prefix="net.")) == list(theirs.state_dict(prefix="net."))


def test_shared_parameters_appear_once_and_sum_their_gradients() -> None:
    net = Net()
    assert sum(parameter is net.tied.weight for parameter in net.parameters()) == 1
    assert len(list(net.modules())) == len({id(module) for module in net.modules()})
    net(torch.ones(2, 3)).sum().backward()
    assert net.tied.weight.grad is net.first.linear.weight.grad is not None


def test_parameters_that_are_shared_without_their_module() -> None:
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    b.weight = a.weight
    both = nn.Sequential(a, b)
    assert names(both.named_parameters()) == ["0.weight", "0.bias", "1.bias"]
    assert list(both.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_get_submodule_and_get_parameter() -> None:
    net = Net()
    assert net.get_submodule("") is net
    assert net.get_submodule("blocks.0.linear") is net.blocks[0].linear
    assert net.get_parameter("blocks.0.scale") is net.blocks[0].scale
    for bad in ("blocks.7", "first.label", "first.scale", "nowhere.at.all"):
        with pytest.raises(ModuleAttributeError):
            net.get_submodule(bad)
    with pytest.raises(ModuleAttributeError, match="not a parameter"):
        net.get_parameter("first.linear")


def test_apply_visits_children_first() -> None:
    seen: list[str] = []
    net = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.ReLU()))
    assert net.apply(lambda module: seen.append(type(module).__name__)) is net
    assert seen == ["Linear", "ReLU", "Sequential", "Sequential"]


# Registering


def test_assigning_registers_in_order() -> None:
    module = nn.Module()
    module.b = nn.Parameter(torch.zeros(1))
    module.a = nn.Parameter(torch.zeros(1))
    module.b = nn.Parameter(torch.ones(1))  # keeps its place
    assert names(module.named_parameters()) == ["b", "a"]
    module.b = None
    assert names(module.named_parameters()) == ["a"]
    assert list(module.state_dict()) == ["a"]
    module.b = nn.Parameter(torch.ones(1))
    assert names(module.named_parameters()) == ["b", "a"]
    del module.b
    assert names(module.named_parameters()) == ["a"]
    with pytest.raises(AttributeError):
        _ = module.b


def test_a_name_is_one_thing_at_a_time() -> None:
    module = nn.Module()
    module.thing = nn.Parameter(torch.zeros(1))
    module.thing = nn.ReLU()
    assert names(module.named_parameters()) == []
    assert names(module.named_children()) == ["thing"]
    module.plain = 3
    module.plain = nn.Parameter(torch.zeros(1))
    assert names(module.named_parameters()) == ["plain"]


def test_buffers_are_torch_tensors() -> None:
    module = nn.Module()
    module.register_buffer("mean", tensor([1.0, 2.0]))
    assert type(module.mean) is torch.Tensor
    module.mean = torch.ones(2)
    assert names(module.named_buffers()) == ["mean"]
    module.mean = tensor([3.0, 4.0])
    assert type(module.mean) is torch.Tensor
    module.register_buffer("none", None)
    assert names(module.named_buffers()) == ["mean"]
    assert list(module.state_dict()) == ["mean"]


def test_parameter_is_a_leaf_that_shares_its_tensor() -> None:
    data = torch.ones(2)
    parameter = nn.Parameter(data)
    assert isinstance(parameter, CustomTensor)
    assert parameter.data is data
    assert parameter.requires_grad
    assert parameter.is_leaf
    assert not nn.Parameter(torch.ones(2), requires_grad=False).requires_grad
    assert "Parameter([1., 1.], requires_grad=True)" in repr(parameter)


WRONG = [
    (lambda m: setattr(m, "weight", torch.ones(2)), ModuleTypeError, "cannot assign 'Tensor' as parameter 'weight'"),
    (lambda m: setattr(m, "weight", tensor([1.0])), ModuleTypeError, "nn.Parameter"),
    (lambda m: setattr(m, "child", 3), ModuleTypeError, "cannot assign 'int' as child module 'child'"),
    (lambda m: setattr(m, "count", "three"), ModuleTypeError, "cannot assign 'str' object to buffer 'count'"),
    (lambda m: m.register_parameter("new", torch.ones(2)), ModuleTypeError, "cannot register 'Tensor' as parameter"),
    (lambda m: m.register_parameter("a.b", None), ModuleKeyError, "contains '.'"),
    (lambda m: m.register_parameter("", None), ModuleKeyError, "is empty"),
    (lambda m: m.register_parameter("label", None), ModuleKeyError, "has an attribute 'label' already"),
    (lambda m: m.register_buffer("weight", torch.ones(1)), ModuleKeyError, "has an attribute 'weight' already"),
    (lambda m: m.register_buffer("new", [1.0]), ModuleTypeError, "a torch tensor or None"),
    (lambda m: m.add_module("new", 3), ModuleTypeError, "int 'new' is not a Module subclass"),
    (lambda m: m.add_module("forward", nn.ReLU()), ModuleKeyError, "is a method"),
    (lambda m: m.add_module(3, nn.ReLU()), ModuleTypeError, "must be a string"),
    (lambda m: m.missing, ModuleAttributeError, "its parameters, buffers and submodules: weight, count, child"),
    (lambda m: m.train("yes"), ModuleTypeError, "expected to be boolean, got 'yes'"),
    (lambda m: m.to(torch.int64), ModuleTypeError, "floating point"),
    (lambda m: m.to([1]), ModuleTypeError, "neither a device nor a dtype nor a tensor"),
    (lambda m: m.load_state_dict([1]), ModuleTypeError, "dict-like"),
    (lambda m: m(torch.ones(2)), UnsupportedError, "Module has no forward"),
]


@pytest.mark.parametrize("do, error, message", WRONG, ids=[message for *_, message in WRONG])
def test_what_is_refused(do: Any, error: type[Exception], message: str) -> None:
    module = nn.Module()
    module.label = "plain"
    module.weight = nn.Parameter(torch.zeros(2))
    module.register_buffer("count", torch.tensor(0))
    module.child = nn.ReLU()
    before = dict(vars(module))
    with pytest.raises(error) as caught:
        do(module)
    assert message in str(caught.value)
    after = vars(module)
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    assert names(module.named_parameters()) == ["weight"]
    assert names(module.named_buffers()) == ["count"]
    assert names(module.named_children()) == ["child"]


def test_a_result_is_no_parameter() -> None:
    with pytest.raises(ModuleTypeError, match="int"):
        nn.Module().register_parameter("w", 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [nn.Parameter(torch.ones(1)), nn.ReLU()], ids=["parameter", "module"])
def test_forgetting_super_init_is_explained(value: Any) -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            self.part = value

    with pytest.raises(ModuleAttributeError, match=r"super\(\).__init__\(\) first"):
        Forgetful()


def test_hasattr_and_getattr_with_default() -> None:
    module = nn.Linear(1, 1)
    assert hasattr(module, "weight")
    assert not hasattr(module, "wieght")
    assert getattr(module, "wieght", None) is None


# Calling


def test_hooks_see_and_change_what_passes() -> None:
    layer = nn.Flatten()
    seen: list[Any] = []
    first = layer.register_forward_pre_hook(lambda module, args: seen.append(("pre", module, len(args))))
    second = layer.register_forward_pre_hook(lambda module, args: args[0] + 1)
    third = layer.register_forward_hook(lambda module, args, out: out * 10)
    fourth = layer.register_forward_hook(lambda module, args, out: seen.append(("post", tuple(out.shape))))
    assert layer(torch.zeros(1, 2, 2)).tolist() == [[10.0] * 4]
    assert seen == [("pre", layer, 1), ("post", (1, 4))]
    for handle in (first, second, third, fourth):
        handle.remove()
        handle.remove()
    assert layer(torch.zeros(1, 2, 2)).tolist() == [[0.0] * 4]
    assert len(seen) == 2


def test_hooks_with_keyword_arguments_and_order() -> None:
    class Scale(nn.Module):
        def forward(self, x: float, factor: float = 1.0) -> float:
            return x * factor

    module, order = Scale(), []
    module.register_forward_pre_hook(lambda m, args: order.append("later"))
    module.register_forward_pre_hook(lambda m, args: order.append("sooner"), prepend=True)
    module.register_forward_pre_hook(lambda m, args, kwargs: (args, {"factor": kwargs["factor"] + 1}), with_kwargs=True)
    module.register_forward_hook(lambda m, args, kwargs, out: (out, kwargs["factor"]), with_kwargs=True)
    assert module(2.0, factor=2.0) == (6.0, 3.0)
    assert order == ["sooner", "later"]


def test_hook_as_a_context_manager() -> None:
    layer, seen = nn.ReLU(), []
    with layer.register_forward_hook(lambda *_: seen.append(1)):
        layer(torch.zeros(1))
    layer(torch.zeros(1))
    assert seen == [1]


# Modes


def test_train_and_eval_reach_everything() -> None:
    net = Net()
    assert net.training
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    net.blocks.train()
    assert net.blocks[0].training
    assert not net.first.training
    assert net.train() is net
    assert all(module.training for module in net.modules())


def test_zero_grad_and_requires_grad() -> None:
    layer = nn.Linear(2, 1)
    layer(torch.ones(1, 2)).sum().backward()
    kept = layer.weight.grad
    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad is kept
    assert kept.tolist() == [[0.0, 0.0]]
    layer.zero_grad()
    assert layer.weight.grad is None
    assert layer.requires_grad_(False) is layer
    assert not layer(torch.ones(1, 2)).requires_grad
    assert layer.requires_grad_()(torch.ones(1, 2)).requires_grad


def test_to_keeps_parameters_and_moves_gradients() -> None:
    layer = nn.BatchNorm1d(2)
    layer(torch.randn(3, 2)).sum().backward()
    weight = layer.weight
    assert layer.double() is layer
    assert layer.weight is weight
    assert weight.dtype == weight.grad.dtype == layer.running_mean.dtype == torch.float64
    assert layer.num_batches_tracked.dtype == torch.int64
    assert layer(torch.randn(3, 2, dtype=torch.float64)).dtype == torch.float64
    moves: list[tuple[Any, torch.dtype]] = [
        (lambda: layer.half(), torch.float16),
        (lambda: layer.bfloat16(), torch.bfloat16),
        (lambda: layer.to("cpu", torch.float64), torch.float64),
        (lambda: layer.to(dtype=torch.float16, device="cpu"), torch.float16),
        (lambda: layer.to(torch.zeros(1)), torch.float32),
        (lambda: layer.to(tensor([1.0], dtype=torch.float64)), torch.float64),
        (lambda: layer.float().cpu(), torch.float32),
    ]
    for move, dtype in moves:
        assert move() is layer
        assert layer.weight.dtype == layer.weight.grad.dtype == layer.running_var.dtype == dtype
    meta = nn.Linear(2, 2).to("meta")
    assert meta.weight.device.type == "meta"


def test_made_on_a_device_with_a_dtype() -> None:
    for layer in (
        nn.Linear(2, 2, dtype=torch.float64),
        nn.Conv2d(1, 1, 1, dtype=torch.float64, device="cpu"),
        nn.BatchNorm2d(2, dtype=torch.float64),
        nn.LayerNorm(2, dtype=torch.float64),
        nn.Embedding(2, 2, dtype=torch.float64),
    ):
        assert {value.dtype for value in layer.state_dict().values()} <= {torch.float64, torch.int64}
        assert layer.weight.dtype == torch.float64


def test_no_grad_records_nothing() -> None:
    with no_grad():
        assert not nn.Linear(2, 2)(torch.ones(1, 2)).requires_grad


def test_a_dropped_model_is_freed_without_the_collector() -> None:
    import weakref

    gc.collect()
    gc.disable()
    try:
        model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 1))
        loss = model(torch.randn(4, 2)).sum()
        watched = [weakref.ref(parameter) for parameter in model.parameters()] + [weakref.ref(model), weakref.ref(loss)]
        del model, loss
        assert [ref() for ref in watched] == [None] * len(watched)
    finally:
        gc.enable()


# Showing


def test_repr_of_nested_modules() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.ReLU())

        def extra_repr(self) -> str:
            return "one\ntwo"

    assert repr(Named()) == "Named(\n  one\n  two\n  (inner): Sequential(\n    (0): ReLU()\n  )\n)"
    assert repr(nn.Sequential()) == "Sequential()"
    assert repr(nn.Module()) == "Module()"


# Containers


def test_sequential() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert len(model) == 3
    assert [type(layer).__name__ for layer in model] == ["Linear", "ReLU", "Linear"]
    assert model[-1] is model[2]
    head = model[:2]
    assert isinstance(head, nn.Sequential)
    assert head[0] is model[0]
    x = torch.ones(4, 2)
    assert torch.equal(model(x).data, model[2](head(x)).data)
    assert model.append(nn.Tanh()) is model
    model.insert(0, nn.Identity())
    assert names(model.named_children()) == ["0", "1", "2", "3", "4"]
    assert isinstance(model[0], nn.Identity)
    del model[0]
    model[1] = nn.GELU()
    assert [type(layer).__name__ for layer in model] == ["Linear", "GELU", "Linear", "Tanh"]
    del model[1:3]
    assert names(model.named_children()) == ["0", "1"]
    with pytest.raises(IndexError):
        model[2]


def test_sequential_with_names() -> None:
    model = nn.Sequential(OrderedDict(hidden=nn.Linear(2, 3), act=nn.ReLU()))
    assert list(model.state_dict()) == ["hidden.weight", "hidden.bias"]
    assert model.hidden is model[0]
    model[0] = nn.Linear(2, 4)
    assert model.hidden.out_features == 4
    assert nn.Sequential()(3) == 3


def test_module_list() -> None:
    layers = nn.ModuleList([nn.Linear(1, 1), nn.ReLU()])
    layers.extend([nn.Tanh()]).append(nn.Sigmoid())
    assert [type(layer).__name__ for layer in layers] == ["Linear", "ReLU", "Tanh", "Sigmoid"]
    assert isinstance(layers[1:], nn.ModuleList)
    assert list(layers.state_dict()) == ["0.weight", "0.bias"]
    with pytest.raises(UnsupportedError, match="no forward"):
        layers(1)


def test_module_dict() -> None:
    heads = nn.ModuleDict({"a": nn.Linear(1, 1), "b": nn.ReLU()})
    heads["c"] = nn.Tanh()
    assert list(heads) == list(heads.keys()) == ["a", "b", "c"]
    assert "a" in heads
    assert len(heads) == 3
    assert heads["a"] is heads.a is heads.values()[0]
    assert names(heads.items()) == names(heads.named_children())
    del heads["b"]
    assert "b" not in heads
    with pytest.raises(ModuleKeyError, match="it has: a, c"):
        heads["b"]
    with pytest.raises(ModuleTypeError, match="pair"):
        nn.ModuleDict([nn.ReLU()])  # type: ignore[arg-type]
