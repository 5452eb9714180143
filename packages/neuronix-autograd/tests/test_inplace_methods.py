"""Every in-place method of torch.Tensor, and torch's in-place functions, on results, leaves, constants and views.

Values, gradients and ``requires_grad`` are torch's, or a typed error comes before anything has changed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from neuronix.autograd import CustomTensor, no_grad
from neuronix.autograd.errors import NeuronixError

Change = Callable[[Any, Any], Any]

VALUES = torch.rand(3, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 0.9 + 0.05
MASK = torch.tensor([[True, False, True, True], [False, False, True, False], [True, True, False, True]])
ROWS = torch.tensor([0, 2])
PLACES = torch.tensor([[0, 1, 2, 0], [2, 2, 0, 1]])
ONES = torch.ones(4, 4, dtype=torch.float64)


def method(name: str, *arguments: Any, **options: Any) -> Change:
    return lambda y, w: getattr(y, name)(*arguments, **options)


def with_other(name: str, **options: Any) -> Change:
    return lambda y, w: getattr(y, name)(w, **options)


def drawn(change: Change) -> Change:
    """With the same random numbers each time."""

    def seeded(y: Any, w: Any) -> Any:
        torch.manual_seed(1)
        return change(y, w)

    return seeded


ALONE = (
    "abs_ absolute_ acos_ acosh_ arccos_ arccosh_ arcsin_ arcsinh_ arctan_ arctanh_ asin_ asinh_ atan_ atanh_ ceil_ "
    "conj_physical_ cos_ cosh_ deg2rad_ digamma_ erf_ erfc_ erfinv_ exp2_ exp_ expm1_ fix_ floor_ frac_ i0_ lgamma_ "
    "log10_ log1p_ log2_ log_ logit_ nan_to_num_ neg_ negative_ rad2deg_ reciprocal_ relu_ round_ rsqrt_ "
    "sgn_ sigmoid_ sign_ sin_ sinc_ sinh_ sqrt_ square_ tan_ tanh_ tril_ triu_ trunc_ zero_ squeeze_ t_ "
    "detach_ requires_grad_ share_memory_"
).split()
WITH_OTHER = (
    "add_ arctan2_ atan2_ copy_ copysign_ div_ divide_ eq_ float_power_ floor_divide_ fmod_ ge_ greater_ "
    "greater_equal_ gt_ heaviside_ hypot_ igamma_ igammac_ ldexp_ le_ less_ less_equal_ lt_ mul_ multiply_ "
    "ne_ nextafter_ not_equal_ pow_ remainder_ sub_ subtract_ true_divide_ xlogy_ "
    "__iadd__ __idiv__ __ifloordiv__ __imod__ __imul__ __ipow__ __isub__ __itruediv__"
).split()
CHANGES: dict[str, Change] = {
    **{name: method(name) for name in ALONE},
    **{name: with_other(name) for name in WITH_OTHER},
    **{f"{name} 2": method(name, 2.0) for name in WITH_OTHER if name.startswith("__") or name in ("add_", "pow_")},
    "add_ alpha": with_other("add_", alpha=3),
    "apply_": method("apply_", lambda value: value + 1),
    "addbmm_": lambda y, w: y.addbmm_(w.reshape(1, 3, 4), ONES[None]),
    "addcdiv_": lambda y, w: y.addcdiv_(w, w + 2, value=0.5),
    "addcmul_": lambda y, w: y.addcmul_(w, w + 2, value=0.5),
    "addmm_": lambda y, w: y.addmm_(w, ONES, beta=2),
    "addmv_": lambda y, w: y.sum(1).addmv_(w, ONES[0]),
    "addr_": lambda y, w: y.addr_(w[:, 0], w[0]),
    "as_strided_": method("as_strided_", (2, 2), (1, 2)),
    "baddbmm_": lambda y, w: (y.reshape(1, 3, 4) * 1).baddbmm_(w.reshape(1, 3, 4), ONES[None]),
    "bernoulli_": drawn(method("bernoulli_")),
    "bernoulli_ p": drawn(method("bernoulli_", 0.3)),
    "cauchy_": drawn(method("cauchy_")),
    "clamp_": method("clamp_", 0.2, 0.7),
    "clamp_ by a tensor": lambda y, w: y.clamp_(w * 0.5),
    "clamp_max_": method("clamp_max_", 0.4),
    "clamp_min_": method("clamp_min_", 0.4),
    "clip_": method("clip_", 0.2, 0.7),
    "cumprod_": method("cumprod_", 1),
    "cumsum_": method("cumsum_", 1),
    "div_ floor": with_other("div_", rounding_mode="floor"),
    "exponential_": drawn(method("exponential_")),
    "fill_": method("fill_", 2.0),
    "fill_ a tensor": lambda y, w: y.fill_(w[0, 0]),
    "fill_diagonal_": method("fill_diagonal_", 2.0),
    "geometric_": drawn(method("geometric_", 0.3)),
    "index_add_": lambda y, w: y.index_add_(0, ROWS, w[:2]),
    "index_copy_": lambda y, w: y.index_copy_(0, ROWS, w[:2]),
    "index_fill_": method("index_fill_", 0, ROWS, 2.0),
    "index_fill_ a tensor": lambda y, w: y.index_fill_(0, ROWS, w[0, 0]),
    "index_put_": lambda y, w: y.index_put_((ROWS,), w[:2]),
    "index_put_ accumulate": lambda y, w: y.index_put_((ROWS,), w[:2], accumulate=True),
    "index_reduce_": lambda y, w: y.index_reduce_(0, ROWS, w[:2], "amax"),
    "lerp_": with_other("lerp_", weight=0.3),
    "log_normal_": drawn(method("log_normal_")),
    "map2_": lambda y, w: y.map2_(w, w, lambda a, b, c: a + b),
    "map_": lambda y, w: y.map_(w, lambda a, b: a + b),
    "masked_fill_": method("masked_fill_", MASK, 2.0),
    "masked_fill_ a tensor": lambda y, w: y.masked_fill_(MASK, w[0, 0]),
    "masked_scatter_": lambda y, w: y.masked_scatter_(MASK, w),
    "mvlgamma_": lambda y, w: y.add_(3).mvlgamma_(2),
    "normal_": drawn(method("normal_")),
    "normal_ moments": drawn(method("normal_", 1, 2)),
    "polygamma_": method("polygamma_", 1),
    "put_": lambda y, w: y.put_(torch.tensor([1, 5]), w[0, :2]),
    "random_": drawn(method("random_", 5)),
    "renorm_": method("renorm_", 2, 0, 0.3),
    "resize_": method("resize_", (2, 2)),
    "resize_as_": method("resize_as_", ONES[:2, :2]),
    "round_ decimals": method("round_", decimals=1),
    "scatter_": lambda y, w: y.scatter_(0, PLACES[:1], w[:1]),
    "scatter_ a number": method("scatter_", 0, PLACES, 2.0),
    "scatter_add_": lambda y, w: y.scatter_add_(0, PLACES, w[:2]),
    "scatter_reduce_": lambda y, w: y.scatter_reduce_(0, PLACES, w[:2], "sum"),
    "set_": method("set_", VALUES.clone()),
    "swapaxes_": method("swapaxes_", 0, 1),
    "swapdims_": method("swapdims_", 0, 1),
    "transpose_": method("transpose_", 0, 1),
    "uniform_": drawn(method("uniform_")),
    "uniform_ within": drawn(method("uniform_", 0.2, 0.3)),
    "unsqueeze_": method("unsqueeze_", 0),
    **{
        f"torch.{name}": functools.partial(lambda function, y, w: function(y), getattr(torch, name))
        for name in "abs_ ceil_ celu_ exp_ fix_ neg_ relu_ selu_ sigmoid_ sin_ sqrt_ tanh_ zero_".split()
    },
    "torch.clamp_max_": lambda y, w: torch.clamp_max_(y, 0.4),
    "torch.fill_": lambda y, w: torch.fill_(y, 2.0),
    "torch.index_put_": lambda y, w: torch.index_put_(y, (ROWS,), w[:2]),
    "torch.threshold_": lambda y, w: torch.threshold_(y, 0.4, 0.1),
    "torch.xlogy_": lambda y, w: torch.xlogy_(y, w),
    "torch.dropout_": drawn(lambda y, w: torch.dropout_(y, 0.5, True)),
    **{
        f"F.{name}": functools.partial(lambda function, y, w: function(y), getattr(F, name))
        for name in "celu_ elu_ hardtanh_ leaky_relu_ relu_ selu_".split()
    },
    **{
        f"F.{name}(inplace=True)": functools.partial(lambda function, y, w: function(y, inplace=True), getattr(F, name))
        for name in "celu elu hardsigmoid hardswish hardtanh leaky_relu mish relu relu6 selu silu".split()
    },
    "F.threshold(inplace=True)": lambda y, w: F.threshold(y, 0.4, 0.1, inplace=True),
    "F.dropout(inplace=True)": drawn(lambda y, w: F.dropout(y, 0.5, True, True)),
    "F.alpha_dropout(inplace=True)": drawn(lambda y, w: F.alpha_dropout(y, 0.5, True, True)),
    "out=": lambda y, w: torch.add(w, w, out=y),
    "y[0] = w[0]": lambda y, w: (y.__setitem__(0, w[0]), y)[1],
    "y[mask] = 3": lambda y, w: (y.__setitem__(MASK, 3.0), y)[1],
}
# torch's methods that have no row, and why.
WITHOUT_ROW = {
    **dict.fromkeys(
        "bitwise_and_ bitwise_left_shift_ bitwise_not_ bitwise_or_ bitwise_right_shift_ bitwise_xor_ gcd_ lcm_ "
        "__iand__ __ilshift__ __ior__ __irshift__ __ixor__".split(),
        "of integers, which have no gradient",
    ),
    **dict.fromkeys(
        ["logical_and_", "logical_not_", "logical_or_", "logical_xor_"], "torch leaves the old history in place"
    ),
    **dict.fromkeys(
        "resize_as_sparse_ sparse_resize_ sparse_resize_and_clear_ _coalesced_".split(), "of sparse tensors"
    ),
    **dict.fromkeys("_philox_normal_ _philox_uniform_".split(), "not public"),
}


def test_every_in_place_method_has_a_row() -> None:
    names = {
        name
        for name in dir(torch.Tensor)
        if (name.endswith("_") and not name.endswith("__"))
        or (name.startswith("__i") and f"__{name[3:]}" in dir(int) and name != "__invert__")
    }
    names -= {"__index__", "__init__", "__init_subclass__", "__int__", "__iter__"}
    rows = {row.split()[0] for row in CHANGES}
    assert not names - rows - set(WITHOUT_ROW), sorted(names - rows - set(WITHOUT_ROW))


KINDS: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "a result": lambda x: (x * 1.0,),
    "a leaf": lambda x: (x,),
    "a constant": lambda x: (x.detach() * 1.0,),
    "a view": lambda x: (base := x * 1.0, base[:])[::-1],
    "a base": lambda x: (base := x * 1.0, base[:2]),
}


class Outcome:
    """What became of one change: an error, or values and gradients."""

    def __init__(self, leaf: Callable[[Tensor], Any], kind: str, change: Change, recorded: bool = True) -> None:
        x, w = leaf(VALUES.clone()), leaf(VALUES.flip(0) * 0.9 + 0.05)
        y, *others = KINDS[kind](x)
        before = y.detach().clone()
        self.error: Exception | None = None
        try:
            if recorded:
                out = change(y, w)
            else:
                with torch.no_grad(), no_grad():
                    out = change(y, w)
        except Exception as error:  # noqa: BLE001  # whatever it is: `compare` judges
            self.error = error
            self.unchanged = before.shape == y.shape and bool((y.detach() == before).all())
            return
        self.values = [_raw(value) for value in (out, y, *others)]
        self.same = out is y
        self.requires_grad = [value.requires_grad for value in (out, y, *others)]
        if not recorded:
            return
        loss: Any = (out * out).sum()
        for place, other in enumerate(others, 2):
            loss = loss + (place * other**3).sum()
        try:
            if loss.requires_grad:
                loss.backward()
        except RuntimeError as error:  # torch finds some of what it can't differentiate as late as that
            self.error = error
        self.grads = [torch.zeros_like(VALUES) if leaf.grad is None else _raw(leaf.grad) for leaf in (x, w)]


def _raw(value: Any) -> Tensor:
    found: Tensor = value.data.clone() if isinstance(value, CustomTensor) else value.detach().clone()
    return found


def compare(kind: str, change: Change, recorded: bool = True) -> None:
    theirs = Outcome(lambda values: values.requires_grad_(), kind, change, recorded)
    ours = Outcome(lambda values: CustomTensor(values, requires_grad=True), kind, change, recorded)
    if ours.error is not None:
        assert isinstance(ours.error, NeuronixError), repr(ours.error)
        assert ours.unchanged
        assert theirs.error is not None or isinstance(ours.error, NotImplementedError), repr(ours.error)
        return
    if theirs.error is not None:  # "the derivative of 'inplace version of asinh' isn't implemented"
        return
    assert ours.same == theirs.same
    if kind == "a constant":  # torch lets comparisons with a tracked tensor require grad, and gives zeros
        assert ours.requires_grad <= theirs.requires_grad
    else:
        assert ours.requires_grad == theirs.requires_grad
    for our, their in zip(ours.values, theirs.values, strict=True):
        assert_close(our, their, rtol=1e-12, atol=1e-13, equal_nan=True)
    if recorded:
        for our, their in zip(ours.grads, theirs.grads, strict=True):
            assert_close(our, their, rtol=1e-11, atol=1e-12, equal_nan=True)


# All pairs but one: torch takes the views of a base that has become another view anew, from what it has become.
# Of hardsigmoid the kernel is compared: torch's takes 1/6 in single precision, and the rule is more exact.
PAIRS = [
    pytest.param(name, kind, marks=[pytest.mark.kernels] if "hardsigmoid" in name else [])
    for name in CHANGES
    for kind in KINDS
    if (name, kind) != ("as_strided_", "a base")
]


@pytest.mark.filterwarnings("ignore:index_reduce:UserWarning")
@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_differentiated_as_in_torch_or_refused(name: str, kind: str) -> None:
    compare(kind, CHANGES[name])


@pytest.mark.filterwarnings("ignore:index_reduce:UserWarning")
@pytest.mark.parametrize("name", CHANGES)
def test_a_leaf_under_no_grad(name: str) -> None:
    compare("a leaf", CHANGES[name], recorded=False)


@pytest.mark.parametrize(
    "name", ["add_", "mul_", "relu_", "clamp_", "fill_", "zero_", "copy_", "masked_fill_", "index_add_", "scatter_"]
)
def test_the_common_ones_are_differentiated_and_not_refused(name: str) -> None:
    for kind in ("a result", "a constant", "a view", "a base"):
        ours = Outcome(lambda values: CustomTensor(values, requires_grad=True), kind, CHANGES[name])
        assert ours.error is None, (kind, ours.error)


def test_an_argument_by_keyword_may_be_the_tensor_itself() -> None:
    x = CustomTensor([2.0, 3.0], requires_grad=True)
    y = x * 1
    y.mul_(other=y)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [4.0, 6.0]
