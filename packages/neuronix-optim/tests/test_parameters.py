"""Groups, names, closures, gradients that are absent; and bad input, which changes nothing."""

from typing import Any

import pytest
import torch

from neuronix.optim import SGD, AdamW, Lion, Momentum, Nesterov
from neuronix.optim.errors import OptimizerError, OptimizerKeyError, OptimizerRuntimeError, OptimizerTypeError

w = torch.ones(2, 3)
b = torch.ones(3)

BAD_OPTIONS: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    *(
        row
        for kind in (SGD, Momentum, Nesterov, AdamW, Lion)
        for row in [
            (kind, {"lr": -0.1}, OptimizerError, f"{kind.__name__}: `lr` must be at least 0, got -0.1"),
            (kind, {"lr": float("nan")}, OptimizerError, "`lr` must be finite, got nan"),
            (kind, {"lr": float("inf")}, OptimizerError, "`lr` must be finite, got inf"),
            (kind, {"lr": "0.1"}, OptimizerTypeError, r"`lr` must be a number, got '0.1' \(str\)"),
            (kind, {"lr": None}, OptimizerTypeError, "`lr` must be a number, got None"),
            (kind, {"lr": torch.ones(2)}, OptimizerError, r"`lr` as a tensor must have one element, got shape \(2,\)"),
            (kind, {"weight_decay": -1}, OptimizerError, "`weight_decay` must be at least 0, got -1"),
            (kind, {"maximize": "yes"}, OptimizerTypeError, "`maximize` must be True or False, got 'yes'"),
        ]
    ),
    (SGD, {"momentum": -0.5}, OptimizerError, "`momentum` must be at least 0, got -0.5"),
    (SGD, {"dampening": "a"}, OptimizerTypeError, "`dampening` must be a number"),
    (SGD, {"nesterov": 1}, OptimizerTypeError, "`nesterov` must be True or False, got 1"),
    (SGD, {"nesterov": True}, OptimizerError, "needs momentum above 0 and dampening 0, got momentum=0"),
    (SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, OptimizerError, "dampening=0.1"),
    (Momentum, {"momentum": -1.0}, OptimizerError, "Momentum: `momentum` must be at least 0, got -1"),
    (Nesterov, {"momentum": 0.0}, OptimizerError, "Nesterov: `nesterov` needs momentum above 0"),
    *(
        row
        for kind in (AdamW, Lion)
        for row in [
            (kind, {"betas": (1.0, 0.0)}, OptimizerError, r"`betas\[0\]` must be at least 0 and less than 1, got 1"),
            (kind, {"betas": (0.9, -0.1)}, OptimizerError, r"`betas\[1\]` must .* got -0.1"),
            (kind, {"betas": 0.9}, OptimizerError, "`betas` must be a pair"),
            (kind, {"betas": (0.9,)}, OptimizerError, "`betas` must be a pair"),
            (kind, {"betas": (0.9, torch.tensor(0.9))}, OptimizerError, "two numbers or two tensors"),
        ]
    ),
    (AdamW, {"eps": -1e-8}, OptimizerError, "`eps` must be at least 0, got -1e-08"),
    (AdamW, {"amsgrad": None}, OptimizerTypeError, "`amsgrad` must be True or False, got None"),
]


@pytest.mark.parametrize(("kind", "options", "error", "message"), BAD_OPTIONS)
def test_bad_options(kind: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        kind([w], **options)
    assert isinstance(caught.value, ValueError)  # what torch raises
    with pytest.raises(error, match=message):
        kind([{"params": [w], **options}], **({"momentum": 0.5} if kind is Nesterov else {}))
    optimizer = kind([w])
    with pytest.raises(error, match=message):
        optimizer.add_param_group({"params": [b], **options})
    assert [group["params"] for group in optimizer.param_groups] == [[w]]


class Sheet:
    """Something with parameters that isn't a list of them."""

    def parameters(self) -> list[torch.Tensor]:
        return [w]


BAD_PARAMS: list[tuple[str, Any, type[Exception], str]] = [
    ("empty", [], OptimizerError, "`params` is empty"),
    ("a spent generator", iter([]), OptimizerError, "read only once"),
    ("a tensor", w, OptimizerTypeError, "must be an iterable of parameters"),
    ("a group", {"params": [w]}, OptimizerTypeError, "put it in a list"),
    ("a number", 3, OptimizerTypeError, r"got 3 \(int\)"),
    ("None", None, OptimizerTypeError, r"got None \(NoneType\)"),
    ("a string", "w", OptimizerTypeError, r"got 'w' \(str\)"),
    ("a module", Sheet(), OptimizerTypeError, r"hint: pass its `.parameters\(\)`"),
    ("modules", [Sheet()], OptimizerTypeError, r"number 0 is not a tensor.*\n.*pass its `.parameters\(\)`"),
    ("a list of numbers", [w, 1.5], OptimizerTypeError, r"number 1 is not a tensor, got 1.5 \(float\)"),
    ("an array", [w.numpy()], OptimizerTypeError, r"number 0 is not a tensor.*ndarray"),
    ("twice in a group", [w, b, w], OptimizerError, r"number 2 of group 0, of shape \(2, 3\), is in group 0 already"),
    ("twice", [{"params": [w]}, {"params": [b, w]}], OptimizerError, "number 1 of group 1, .* is in group 0 already"),
    ("a group without params", [{"lr": 0.1}], OptimizerKeyError, "a parameter group lacks 'params'; it holds 'lr'"),
    ("a group and a tensor", [{"params": [w]}, b], OptimizerTypeError, "a parameter group must be a dict"),
    ("a tensor and a group", [w, {"params": [b]}], OptimizerTypeError, "number 1 is not a tensor"),
    ("a set", [{"params": {w}}], OptimizerTypeError, "must have an order, got a set of 1"),
    ("a number in a group", [{"params": 7}], OptimizerTypeError, r"must be parameters, got 7 \(int\)"),
    ("a module in a group", [{"params": Sheet()}], OptimizerTypeError, r"pass its `.parameters\(\)`"),
    ("some names", [("w", w), b], OptimizerError, "1 of 2 parameters have a name"),
    ("some groups named", [{"params": [w]}, {"params": [("b", b)]}], OptimizerError, "have names, .* have none"),
    ("some not", [{"params": [("b", b)]}, {"params": [w]}], OptimizerError, "have no names, .* have some"),
    ("computed", [torch.ones(2, requires_grad=True) * 2], OptimizerError, "is computed from other tensors"),
]


@pytest.mark.parametrize(
    ("params", "error", "message"), [row[1:] for row in BAD_PARAMS], ids=[r[0] for r in BAD_PARAMS]
)
def test_bad_parameters(params: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SGD(params)


def test_an_error_reads_as_it_was_written() -> None:
    with pytest.raises(KeyError) as caught:
        SGD([{"lr": 0.1}])
    assert str(caught.value) == "SGD: a parameter group lacks 'params'; it holds 'lr'."


def test_a_callers_group_stays_as_it_was() -> None:
    members = [w]
    group = {"params": members, "lr": 0.5}
    optimizer = SGD([group])
    optimizer.add_param_group({"params": b})
    assert group == {"params": members, "lr": 0.5}
    assert members == [w]
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 1e-3]


class Slot:
    """The least that an optimizer works on."""

    def __init__(self, data: torch.Tensor, grad: Any) -> None:
        self.data = data
        self.grad = grad


BAD_GRADS: list[tuple[str, Any, str]] = [
    ("shape", torch.ones(2), r"number 1 has shape \(2,\), the parameter has \(3,\)"),
    ("broadcastable", torch.ones(1), r"has shape \(1,\), the parameter has \(3,\)"),
    ("list", [1.0, 1.0, 1.0], r"must be a torch tensor or None, got \[1.0, 1.0, 1.0\] \(list\)"),
    ("sparse", torch.ones(3).to_sparse(), "must be dense, got torch.sparse_coo"),
    ("complex", torch.ones(3, dtype=torch.complex64), "is torch.complex64, the parameter is torch.float32"),
    ("device", torch.ones(3, device="meta"), "is on meta, the parameter is on cpu"),
]


@pytest.mark.parametrize(("grad", "message"), [row[1:] for row in BAD_GRADS], ids=[row[0] for row in BAD_GRADS])
def test_a_bad_gradient_changes_nothing(grad: Any, message: str) -> None:
    good, bad = Slot(torch.ones(2), torch.ones(2)), Slot(torch.ones(3), grad)
    optimizer = AdamW([good, bad], lr=0.1)
    with pytest.raises(OptimizerRuntimeError, match=message):
        optimizer.step()
    assert torch.equal(good.data, torch.ones(2))
    assert torch.equal(bad.data, torch.ones(3))
    assert optimizer.state_dict()["state"] == {}


def test_a_bad_gradient_is_named() -> None:
    param = torch.ones(3)
    param.grad = torch.ones(3).to_sparse()
    with pytest.raises(OptimizerRuntimeError, match=r"SGD.step: the gradient of parameter 'layer.bias' must be dense"):
        SGD([("layer.bias", param)], weight_decay=0.1).step()


@pytest.mark.parametrize("kind", [SGD, Momentum, Nesterov, AdamW, Lion])
def test_no_gradient_no_step_and_no_state(kind: Any) -> None:
    still, moving = torch.ones(2), torch.ones(2)
    moving.grad = torch.ones(2)
    optimizer = kind([still, moving], lr=0.1)
    optimizer.step()
    assert still.tolist() == [1.0, 1.0]
    assert moving.tolist() != [1.0, 1.0]
    assert 0 not in optimizer.state_dict()["state"]


def test_zero_grad() -> None:
    first, second = torch.ones(2), torch.ones(2)
    optimizer = SGD([first, second], lr=0.1, momentum=0.5)
    optimizer.zero_grad()
    first.grad = torch.ones(2)
    grad = first.grad
    optimizer.zero_grad(set_to_none=False)
    assert first.grad is grad
    assert grad.tolist() == [0.0, 0.0]
    assert second.grad is None
    optimizer.zero_grad()
    assert first.grad is None


def test_closure_is_called_once_and_its_value_returned() -> None:
    param = torch.tensor([3.0])
    calls = []

    def closure() -> str:
        calls.append(param.item())
        param.grad = 2 * param
        return "the loss"

    optimizer = SGD([param], lr=0.25)
    assert optimizer.step(closure) == "the loss"
    assert calls == [3.0]
    assert param.item() == 1.5
    assert optimizer.step() is None


def test_a_closure_that_fails_changes_nothing() -> None:
    param = torch.tensor([3.0])
    param.grad = torch.ones(1)

    def closure() -> float:
        raise ZeroDivisionError("in the model")

    optimizer = SGD([param], lr=0.25)
    with pytest.raises(ZeroDivisionError, match="in the model"):
        optimizer.step(closure)
    assert param.item() == 3.0


def test_a_gradient_that_requires_grad_records_nothing() -> None:
    param = torch.tensor([3.0], requires_grad=True)
    (param.grad,) = torch.autograd.grad((param**3).sum(), param, create_graph=True)
    optimizer = AdamW([param], lr=0.1)
    optimizer.step()
    assert not optimizer.state[param]["exp_avg"].requires_grad
    optimizer.zero_grad(set_to_none=False)
    assert param.grad is not None
    assert param.grad.item() == 0.0


def test_repr() -> None:
    optimizer = AdamW([{"params": [("w", w), ("b", b)]}, {"params": [("c", torch.ones(1000))], "lr": 0.5}])
    assert repr(optimizer) == (
        "AdamW(\n"
        "  group 0: 2 tensors of 9 numbers (w, b)\n"
        "    lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01, amsgrad=False, maximize=False\n"
        "  group 1: 1 tensors of 1,000 numbers (c)\n"
        "    lr=0.5, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01, amsgrad=False, maximize=False\n"
        ")"
    )
