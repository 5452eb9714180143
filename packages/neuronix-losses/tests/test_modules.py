"""The loss classes: torch's own module database, states, copies, options."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch.testing._internal.common_modules import module_db

from neuronix import losses
from neuronix.autograd import CustomTensor, errors, tensor
from neuronix.losses.errors import LossArgumentError, LossTypeError

# The others are tested in test_further.py.
CLASSES = [
    name
    for name in losses.__all__
    if name.endswith("Loss")
    and getattr(losses, name).__module__.rpartition(".")[2] in ("regression", "classification", "binary", "divergence")
]
ENTRIES = {info.module_cls.__name__: info for info in module_db if info.module_cls.__name__ in CLASSES}

pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")


def test_the_database_has_every_class() -> None:
    assert set(ENTRIES) == set(CLASSES)


def inputs_of(name: str, dtype: torch.dtype) -> Iterator[Any]:
    info = ENTRIES[name]
    assert not info.train_and_eval_differ
    yield from info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", CLASSES)
def test_module_database(check_against_torch: Callable[..., None], name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    seen = 0
    for sample in inputs_of(name, dtype):
        options, given = sample.constructor_input, sample.forward_input
        theirs = ENTRIES[name].module_cls(*options.args, **options.kwargs)
        ours = getattr(losses, name)(*options.args, **options.kwargs)
        args, call = list(given.args), lambda loss, *args: loss(*args)
        if args[0] is args[1]:  # so it is for KLDivLoss: one leaf, used twice
            args, call = args[:1], lambda loss, x: loss(x, x)
        ours_of, theirs_of = partial(call, ours), partial(call, theirs)
        rtol = None
        if name == "BCELoss":  # torch's second derivative has an ε in its denominator, here as small as 0.01²
            check_against_torch(ours_of, *args, torch_function=theirs_of, second_order=False)
            rtol = {torch.float64: 1e-9, torch.float32: 1e-3}[dtype]
        check_against_torch(ours_of, *args, torch_function=theirs_of, rtol=rtol)
        if sample.reference_fn is not None:
            values = [value.detach() for value in given.args]
            expected = sample.reference_fn(theirs, *values)
            torch.testing.assert_close(ours(*values).data, expected, rtol=1e-5, atol=1e-6, equal_nan=True)
        seen += 1
    assert seen > 0


@pytest.mark.parametrize("name", CLASSES)
def test_errors_of_the_module_database(name: str) -> None:
    info = ENTRIES[name]
    if info.module_error_inputs_func is None:
        return
    for sample in info.module_error_inputs_func(
        info, device="cpu", dtype=torch.float64, requires_grad=False, training=True
    ):
        options, given = sample.module_error_input.constructor_input, sample.module_error_input.forward_input
        with pytest.raises(sample.error_type) as caught:
            getattr(losses, name)(*options.args, **options.kwargs)(*given.args, **given.kwargs)
        assert isinstance(caught.value, errors.NeuronixError)


@pytest.mark.parametrize("name", CLASSES)
def test_signatures_are_torchs(name: str) -> None:
    ours, theirs = (inspect.signature(getattr(place, name)).parameters for place in (losses, torch.nn))
    assert [(p.name, p.default, p.kind) for p in ours.values()] == [
        (p.name, p.default, p.kind) for p in theirs.values()
    ]
    forward = (list(inspect.signature(getattr(place, name).forward).parameters) for place in (losses, torch.nn))
    assert next(forward) == next(forward)


@pytest.mark.parametrize(
    "name, options",
    [
        ("CrossEntropyLoss", {"weight": torch.tensor([1.0, 2.0])}),
        ("NLLLoss", {"weight": torch.tensor([1.0, 2.0])}),
        ("BCELoss", {"weight": torch.tensor([1.0, 2.0])}),
        ("BCEWithLogitsLoss", {"weight": torch.tensor([1.0, 2.0]), "pos_weight": torch.tensor([3.0, 4.0])}),
        ("BCEWithLogitsLoss", {"pos_weight": torch.tensor([3.0, 4.0])}),
        ("MSELoss", {}),
        ("CrossEntropyLoss", {}),
    ],
)
def test_states_are_torchs(name: str, options: dict[str, Any]) -> None:
    ours = getattr(losses, name)(**{key: value.clone() for key, value in options.items()})
    theirs = getattr(torch.nn, name)(**{key: value.clone() for key, value in options.items()})
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value)
    other = getattr(torch.nn, name)(**{key: value + 1 for key, value in options.items()})
    ours.load_state_dict(other.state_dict())
    theirs.load_state_dict(ours.state_dict())
    assert all(torch.equal(value, options[key] + 1) for key, value in theirs.state_dict().items())


def test_weights_move_with_the_module() -> None:
    loss = losses.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0])).double()
    assert loss(torch.zeros(1, 2, dtype=torch.float64), torch.tensor([0])).dtype is torch.float64


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))], ids=["copy", "pickle"]
)
def test_copies(copied: Callable[[Any], Any]) -> None:
    loss = losses.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]), label_smoothing=0.1, ignore_index=1)
    other = copied(loss)
    x, y = torch.randn(4, 2), torch.tensor([0, 1, 0, 0])
    assert torch.equal(other(x, y).data, loss(x, y).data)


@pytest.mark.parametrize("name", CLASSES)
def test_unknown_reductions_are_refused(name: str) -> None:
    with pytest.raises(LossArgumentError, match=f"{name}: 'avg' is not a valid value"):
        getattr(losses, name)(reduction="avg")
    with pytest.raises(ValueError):
        getattr(losses, name)(reduction="avg")


def test_batchmean_is_for_divergences() -> None:
    assert losses.KLDivLoss(reduction="batchmean").reduction == "batchmean"
    with pytest.raises(LossArgumentError):
        losses.MSELoss(reduction="batchmean")


def test_delta_is_a_number() -> None:
    with pytest.raises(LossTypeError, match="got str '1'"):
        losses.HuberLoss(delta="1")  # type: ignore[arg-type]


def test_deprecated_arguments_of_the_classes() -> None:
    with pytest.warns(UserWarning, match="please use reduction='sum' instead"):
        assert losses.MSELoss(size_average=False).reduction == "sum"
    with pytest.warns(UserWarning, match="please use reduction='none' instead"):
        assert losses.CrossEntropyLoss(None, None, -100, False).reduction == "none"


def test_kl_div_says_that_its_mean_is_not_the_mathematical_one() -> None:
    with pytest.warns(UserWarning, match="'batchmean' divides only by the batch size"):
        losses.KLDivLoss()(tensor([0.0]), tensor([1.0]))


def test_eval_mode_is_differentiable() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    losses.MSELoss().eval()(x, tensor([0.0, 0.0])).backward()
    assert x.grad.tolist() == [1.0, 2.0]


def test_a_weight_is_a_constant() -> None:
    loss = losses.CrossEntropyLoss(weight=CustomTensor(torch.ones(2), requires_grad=True))
    assert type(loss.weight) is torch.Tensor
    assert not loss.weight.requires_grad
