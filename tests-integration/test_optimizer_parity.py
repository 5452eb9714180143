"""Every optimizer against torch's own database of optimizers: every input that it lists for the CPU, in training.

The package's own tests go over the same table in 200 steps with given gradients. Here torch trains first; then Neuronix
trains the same network with its own engine, while torch's differentiation is replaced by functions that raise.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.testing._internal.common_optimizers import OptimizerErrorEnum, optim_db

from neuronix import optim
from neuronix.autograd import CustomTensor, rules_only, tensor
from neuronix.optim.errors import OptimizerError

INFOS = {info.optim_cls.__name__: info for info in optim_db}
DTYPES = [torch.float64, torch.float32]
STEPS = 12
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
ROWS = [
    pytest.param(name, inputs.kwargs, dtype, id=f"{name}-{inputs.desc.replace(' ', '_')}-{str(dtype)[6:]}")
    for name, info in INFOS.items()
    for dtype in DTYPES
    for inputs in info.optim_inputs_func(device="cpu", dtype=dtype)
    if (name, dtype) != ("LBFGS", torch.float32)  # its 20 iterations a step magnify rounding to nearly anything
]

# What torch lists as an error and Neuronix can do, and why.
ACCEPTED = {
    "lr as Tensor doesn't work with foreach & not capturable": "a list of tensors goes with its number",
    r"betas\[0\] as a Tensor is not supported for capturable=False and foreach=True": "a list of tensors goes with it",
}
# What is another error here.
OTHER = {"a param group cannot have duplicate parameters": "an error here, a warning in torch"}
ERRORS = [
    pytest.param(name, each, id=f"{name}-{each.optimizer_error_input.desc.replace(' ', '_')}")
    for name, info in INFOS.items()
    for each in info.optim_error_inputs_func(device="cpu", dtype=torch.float64)
]


def numbers(*shape: int, seed: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def start(name: str, dtype: torch.dtype) -> list[torch.Tensor]:
    """The weights of a small network, and one that it doesn't use; only matrices for Muon."""
    biases = [(1, 6), (1, 3)] if name == "Muon" else [(6,), (3,)]
    shapes: list[tuple[int, ...]] = [(5, 6), biases[0], (6, 3), biases[1], (2, 2)]
    return [numbers(*shape, seed=seed, dtype=dtype) for seed, shape in enumerate(shapes)]


def train(name: str, optimizer: Any, params: list[Any], dtype: torch.dtype) -> list[list[torch.Tensor]]:
    """Train a small network, on another batch at each step; return copies of its weights after each.

    LBFGS, which is meant for losses without noise, has one batch and 2 times 20 iterations. A penalty gives it a bowl
    to fall into: elsewhere its path is chaotic, and a last digit that differs is soon all that differs.
    """
    history = []
    for step in range(2 if name == "LBFGS" else STEPS):
        batch = 0 if name == "LBFGS" else step
        x, y = numbers(8, 5, seed=100 + batch, dtype=dtype), numbers(8, 3, seed=200 + batch, dtype=dtype)
        penalty = 0.5 if name == "LBFGS" else 0.0
        step_once(name, optimizer, params, lambda x=x, y=y, penalty=penalty: loss_of(params, x, y, penalty))
        history.append([param.data.clone() for param in params])
    return history


def loss_of(params: list[Any], x: torch.Tensor, y: torch.Tensor, penalty: float = 0.0) -> Any:
    out = (x @ params[0] + params[1]).tanh() @ params[2] + params[3]
    loss = ((out - y) ** 2).mean()
    return loss + penalty * sum((param**2).sum() for param in params[:4]) if penalty else loss


def step_once(name: str, optimizer: Any, params: list[Any], loss_function: Callable[[], Any]) -> None:
    def closure() -> Any:
        optimizer.zero_grad()
        loss = loss_function()
        loss.backward()
        if name == "SparseAdam":
            for param in params[:4]:
                make_sparse(param)
        return loss

    if name == "LBFGS":
        optimizer.step(closure)
    else:
        closure()
        optimizer.step()


def make_sparse(param: Any) -> None:
    """Let the gradient name every other row only."""
    grad, param.grad = param.grad, None
    rows = torch.arange(0, grad.shape[0], 2)
    sparse = torch.sparse_coo_tensor(rows[None], grad[rows], grad.shape, check_invariants=True)
    if isinstance(param, CustomTensor):
        param._grad = sparse
    else:
        param.grad = sparse


def groups_of(name: str, params: list[Any], grouping: str) -> list[Any]:
    named: list[Any] = [(f"weight{i}", param) for i, param in enumerate(params)]
    if grouping == "one":
        return params
    if grouping == "named":
        return named
    own = {"eps": 1e-4} if name == "SparseAdam" else {"weight_decay": 0.2}
    if name == "Rprop":
        own = {"etas": (0.4, 1.3)}
    return [{"params": params[:2], "lr": 0.003}, {"params": params[2], **own}, {"params": params[3:]}]


@contextmanager
def without_torchs_differentiation() -> Iterator[None]:
    """Let torch's backward and grad raise."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("torch's differentiation was used")

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in [
            (torch.Tensor, "backward"),
            (torch.autograd, "backward"),
            (torch.autograd, "grad"),
            *((torch.func, name) for name in ("grad", "vjp", "jvp", "jacrev", "jacfwd", "hessian", "linearize")),
        ]:
            patch.setattr(owner, name, refuse)
        yield


def assert_alike(got: Any, wanted: Any, dtype: torch.dtype) -> None:
    """Compare numbers, tensors and lists of them; a count of steps may be a tensor on one side only."""
    if isinstance(wanted, list):
        assert len(got) == len(wanted)
        for a, b in zip(got, wanted, strict=True):
            assert_alike(a, b, dtype)
        return
    got, wanted = (torch.as_tensor(value, dtype=torch.float64) for value in (got, wanted))
    torch.testing.assert_close(got, wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def train_ours(name: str, options: dict[str, Any], dtype: torch.dtype, grouping: str) -> tuple[Any, Any]:
    """Train with Neuronix alone; return the optimizer and the weights after each step."""
    ours: list[CustomTensor] = [tensor(value, requires_grad=True) for value in start(name, dtype)]
    with without_torchs_differentiation():
        optimizer = getattr(optim, name)(groups_of(name, ours, grouping), **copy.deepcopy(options))
        return optimizer, train(name, optimizer, ours, dtype)


def assert_same_training(optimizer: Any, got: Any, reference: Any, expected: Any, dtype: torch.dtype) -> None:
    """Compare the weights after each step, and what is saved in the end."""
    for mine, wanted in zip(got, expected, strict=True):
        for a, b in zip(mine, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=TOLERANCE[dtype])
    saved, wanted_state = optimizer.state_dict(), reference.state_dict()
    assert list(saved) == list(wanted_state)
    assert saved["state"].keys() == wanted_state["state"].keys()
    for number, wanted in wanted_state["state"].items():
        mine, theirs = dict(saved["state"][number]), dict(wanted)
        theirs.pop("al", None)  # scratch memory of torch's LBFGS
        assert set(mine) == set(theirs)
        for each in (mine, theirs):
            if "ro" in each:  # LBFGS keeps the curvatures as reciprocals, which are large at the end of the path
                each["ro"] = [1 / curvature for curvature in each["ro"]]
        for key, value in theirs.items():
            assert_alike(mine[key], value, dtype)
    assert saved["param_groups"] == wanted_state["param_groups"]


@pytest.mark.parametrize("grouping", ["named", "several"])
@pytest.mark.parametrize(("name", "options", "dtype"), ROWS)
def test_trains_like_torch(name: str, options: dict[str, Any], dtype: torch.dtype, grouping: str) -> None:
    """As a user would train, and in double precision by the rules and definitions alone too."""
    if name == "LBFGS" and grouping == "several":
        with pytest.raises(OptimizerError, match="one parameter group only"):
            optim.LBFGS([{"params": [torch.ones(1)]}, {"params": [torch.ones(1)]}])
        return
    # Torch computes with a learning rate that is a tensor in the precision of that tensor.
    options = {key: value.double() if isinstance(value, torch.Tensor) else value for key, value in options.items()}
    theirs = [torch.nn.Parameter(value) for value in start(name, dtype)]
    reference = INFOS[name].optim_cls(groups_of(name, theirs, grouping), **copy.deepcopy(options))
    expected = train(name, reference, theirs, dtype)
    assert not torch.equal(expected[-1][0], start(name, dtype)[0])
    assert torch.equal(expected[-1][4], start(name, dtype)[4])
    optimizer, got = train_ours(name, options, dtype, grouping)
    assert_same_training(optimizer, got, reference, expected, dtype)
    if dtype is torch.float64 and grouping == "named":
        with rules_only():
            optimizer, got = train_ours(name, options, dtype, grouping)
        assert_same_training(optimizer, got, reference, expected, dtype)


@pytest.mark.parametrize(("name", "each"), ERRORS)
def test_refuses_what_torch_refuses(name: str, each: Any) -> None:
    given = each.optimizer_error_input
    params = [torch.zeros(2, 2)] if given.params is None else given.params
    kind = getattr(optim, name)
    if given.desc in ACCEPTED:
        kind(params, **given.kwargs)
        return
    # What torch says at the first step, Neuronix says when the parameter is given.
    assert each.error_on in (OptimizerErrorEnum.CONSTRUCTION_ERROR, OptimizerErrorEnum.STEP_ERROR)
    with pytest.raises(OptimizerError) as caught:
        kind(params, **given.kwargs)
    assert given.desc in OTHER or isinstance(caught.value, each.error_type)


@pytest.mark.parametrize("name", INFOS)
def test_has_torchs_signature(name: str) -> None:
    """Names, order, kinds and defaults of all arguments."""

    def parameters(kind: Any) -> list[tuple[str, Any, Any]]:
        found = inspect.signature(kind).parameters.values()
        return [(each.name, each.kind, each.default) for each in found]

    assert parameters(getattr(optim, name)) == parameters(INFOS[name].optim_cls)


@pytest.mark.parametrize("name", INFOS)
def test_goes_on_where_torch_stopped_and_back(name: str) -> None:
    """Ten steps of torch, ten of ours from its state, ten of torch from ours: as if all were torch's.

    Of LBFGS two each, which are up to 40 iterations.
    """
    dtype = torch.float64
    turn_length = 2 if name == "LBFGS" else 10

    def fresh(library: Any) -> tuple[list[Any], Any]:
        values = start(name, dtype)
        params: list[Any] = (
            [torch.nn.Parameter(value) for value in values]
            if library is torch.optim
            else [tensor(value, requires_grad=True) for value in values]
        )
        return params, getattr(library, name)(params, lr=0.01)

    def advance(params: list[Any], optimizer: Any, steps: range) -> None:
        for step in steps:
            x, y = numbers(8, 5, seed=100 + step % 3, dtype=dtype), numbers(8, 3, seed=200 + step % 3, dtype=dtype)
            step_once(name, optimizer, params, lambda x=x, y=y: loss_of(params, x, y))

    def relay(*libraries: Any) -> list[Any]:
        params, optimizer = fresh(torch.optim)
        advance(params, optimizer, range(turn_length))
        for turn, library in enumerate(libraries, 1):
            others, other = fresh(library)
            other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
            for source, target in zip(params, others, strict=True):
                target.data.copy_(source.data)
            params, optimizer = others, other
            advance(params, optimizer, range(turn_length * turn, turn_length * (turn + 1)))
        return params

    for a, b in zip(relay(optim, torch.optim), relay(torch.optim, torch.optim), strict=True):
        # Torch's ASGD rounds its learning rate to single precision, also after it has loaded one in double.
        torch.testing.assert_close(a.data, b.data, rtol=0, atol=1e-8 if name == "ASGD" else 1e-10)


def test_the_database_lists_what_is_expected() -> None:
    """A newer torch may list more, never less: an empty table would let everything pass."""
    assert len(INFOS) >= 15
    assert len(ROWS) >= 170
    assert len(ERRORS) >= 120
    listed = {
        each.optimizer_error_input.desc
        for info in INFOS.values()
        for each in info.optim_error_inputs_func(device="cpu", dtype=torch.float64)
    }
    assert listed >= {*OTHER, *ACCEPTED}
