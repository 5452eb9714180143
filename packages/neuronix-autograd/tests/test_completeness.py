"""Every operation has a row here, and each row is seen to run its operation, its rules and its kernels.

The tests in ``ops/`` go into depth, family by family.  This table goes into breadth: an operation that is declared
without a row fails `test_every_operation_has_a_row`.  Rows are checked against PyTorch (values, first order by kernels
and by rules, second order); which code has run is observed, so a row that misses its operation fails.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

import neuronix.autograd
from neuronix.autograd import CustomTensor, ops, rules_only
from neuronix.autograd.dispatch.registry import OPERATIONS
from neuronix.autograd.ops import systems
from neuronix.autograd.primitive import Primitive

PACKAGE = f"{ops.__name__}."


def declared() -> dict[str, Any]:
    """All operations of this package, registered or internal, as ``file.function``."""
    found = {name: function for name, function in OPERATIONS.items() if name.startswith(PACKAGE)}
    for name, module in list(sys.modules.items()):
        if name.startswith(PACKAGE):
            for function in vars(module).values():
                if isinstance(getattr(function, "primitive", None), Primitive) and function.__module__ == name:
                    found[f"{name}.{function.__name__}"] = function
    return {name.removeprefix(PACKAGE): function for name, function in found.items()}


# The inputs, each a letter.  All float64, so that 1e-10 can be asked for.


def tensors() -> dict[str, Any]:
    """Matrices (p and h: positive, u: inside (-1, 1), z: complex), vectors (v, b), a number (s), batches (t, r)."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    made = {
        "x": normal(3, 4),
        "y": normal(3, 4),
        "p": normal(3, 4).abs() + 0.3,
        "u": torch.tanh(normal(3, 4)) * 0.9,
        "h": normal(3, 4).abs() + 1.2,
        "v": normal(4),
        "b": normal(3),
        "s": normal(),
        "m": normal(4, 4),
        "t": normal(2, 3, 4),
        "r": normal(2, 4, 3),
        "z": normal(3, 4, dtype=torch.complex128),
    }
    return {name: value.requires_grad_() for name, value in made.items()}


MASK = torch.tensor([[True, False, True, True], [False, False, True, False], [True, True, False, True]])
ROWS_ = torch.tensor([2, 0, 2])
PLACES = torch.tensor([[0, 1, 2, 0], [2, 2, 0, 1]])
FLAT = torch.tensor([0, 5, 11])


def positive(x: Any) -> Any:
    """A symmetric matrix with positive eigenvalues."""
    return x @ x.mT + torch.eye(x.shape[0], dtype=torch.float64)


def steps(x: Any, v: Any) -> Any:
    """torch.heaviside(relu(x), v), which PyTorch can't differentiate."""
    return torch.where(x > 0, torch.sign(torch.relu(x)), v)


def paired(x: Any, y: Any) -> Any:
    """The distances with p = 3 of points in pairs."""
    return ((x - y).abs() ** 3).sum(-1) ** (1 / 3)


def every_other(x: Any, b: Any) -> Any:
    """What torch.as_strided_scatter(x, b, (3,), (2,), 1) is; torch's own gradient of that is wrong."""
    return x.reshape(-1).index_put((torch.tensor([1, 3, 5]),), b).reshape(x.shape)


def pairwise(x: Any, y: Any) -> Any:
    """torch.cdist with p = 3, of which PyTorch knows no second derivative."""
    return paired(x.unsqueeze(-2), y.unsqueeze(-3))


def pairwise_euclidean(x: Any, y: Any) -> Any:
    """torch.cdist, of which PyTorch knows no second derivative."""
    return (x.unsqueeze(-2) - y.unsqueeze(-3)).norm(dim=-1)


# The inputs, the call, and PyTorch's way to say it where that is another one (of // and % it knows no derivative).
Row = tuple[str, Callable[..., Any]] | tuple[str, Callable[..., Any], Callable[..., Any]]

ROWS: dict[str, Row] = {
    # activations
    "activations.relu": ("x", torch.relu),
    "activations._functional_relu": ("x", lambda x: F.relu(x)),
    "activations.threshold_": ("x", lambda x: F.threshold(x, 0.2, -1.0)),
    "activations.threshold": ("x", lambda x: F.threshold(x, 0.2, -1.0)),
    "activations.leaky_relu_": ("x", lambda x: F.leaky_relu(x, 0.1)),
    "activations.leaky_relu": ("x", lambda x: F.leaky_relu(x, 0.1)),
    "activations.prelu_": ("xv", F.prelu),
    "activations.prelu": ("xv", F.prelu),
    "activations.hardtanh_": ("x", lambda x: F.hardtanh(x, -0.5, 0.7)),
    "activations.hardtanh": ("x", lambda x: F.hardtanh(x, -0.5, 0.7)),
    "activations.relu6": ("x", lambda x: F.relu6(5 * x)),
    "activations.hardsigmoid_": ("x", lambda x: F.hardsigmoid(3 * x)),
    "activations.hardsigmoid": ("x", lambda x: F.hardsigmoid(3 * x)),
    "activations.hardswish_": ("x", lambda x: F.hardswish(3 * x)),
    "activations.hardswish": ("x", lambda x: F.hardswish(3 * x)),
    "activations.hardshrink": ("x", F.hardshrink),
    "activations.softshrink": ("x", F.softshrink),
    "activations.elu_": ("x", lambda x: F.elu(x, 0.7)),
    "activations.elu": ("x", lambda x: F.elu(x, 0.7)),
    "activations.selu": ("x", lambda x: F.selu(x)),
    "activations.celu": ("x", lambda x: F.celu(x, 0.5)),
    "activations.gelu": ("x", lambda x: F.gelu(x) + F.gelu(x, approximate="tanh")),
    "activations.silu_": ("x", F.silu),
    "activations.silu": ("x", lambda x: F.silu(x)),
    "activations.softplus": ("x", lambda x: F.softplus(x, 2.0, 3.0)),
    "activations.logsigmoid": ("x", F.logsigmoid),
    "activations.mish_": ("x", F.mish),
    "activations.mish": ("x", lambda x: F.mish(x)),
    "activations.tanhshrink": ("x", F.tanhshrink),
    "activations.softsign": ("x", F.softsign),
    "activations.glu_": ("x", lambda x: F.glu(x, 1)),
    "activations.glu": ("x", lambda x: F.glu(x, 1)),
    "activations._softmax_backward_kernel": (
        "xp",
        lambda x, p: torch._softmax_backward_data(x, p, 1, torch.float64),
    ),
    "activations.softmax": ("x", lambda x: torch.softmax(x, 1)),
    "activations.log_softmax": ("x", lambda x: torch.log_softmax(x, 0)),
    "activations.safe_softmax": ("x", lambda x: torch.ops.aten._safe_softmax(x, 1)),
    "activations._functional_softmax": ("x", lambda x: F.softmax(x, dim=1)),
    "activations._functional_log_softmax": ("x", lambda x: F.log_softmax(x, dim=1)),
    "activations.softmin": ("x", lambda x: F.softmin(x, dim=1)),
    # arithmetic
    "arithmetic.add": ("xv", lambda x, v: torch.add(x, v, alpha=2)),
    "arithmetic.sub": ("xv", lambda x, v: torch.sub(x, v, alpha=2)),
    "arithmetic.rsub": ("xv", lambda x, v: torch.rsub(x, v, alpha=2)),
    "arithmetic.neg": ("x", torch.neg),
    "arithmetic.mul": ("xv", lambda x, v: x * v),
    "arithmetic.div": ("xp", lambda x, p: x / p),
    "arithmetic.true_divide": ("xp", torch.true_divide),
    "arithmetic._rdiv": ("p", lambda p: 2 / p),
    "arithmetic.floor_divide": ("xp", torch.floor_divide, lambda x, p: torch.div(x, p, rounding_mode="floor")),
    "arithmetic._rfloordiv": ("p", lambda p: 2 // p, lambda p: torch.div(2, p, rounding_mode="floor")),
    "arithmetic.remainder": ("xp", torch.remainder),
    "arithmetic._rmod": ("p", lambda p: 2 % p, lambda p: torch.remainder(torch.full_like(p, 2), p)),
    "arithmetic.fmod": ("xp", torch.fmod),
    "arithmetic.reciprocal": ("p", torch.reciprocal),
    "arithmetic.pow": ("pv", torch.pow),
    "arithmetic._rpow": ("x", lambda x: 2**x),
    "arithmetic.square": ("x", torch.square),
    "arithmetic.float_power": ("px", torch.float_power),
    "arithmetic.copysign": ("xv", torch.copysign),
    "arithmetic.heaviside": ("xv", lambda x, v: torch.heaviside(torch.relu(x), v), steps),
    "arithmetic.hypot": ("xy", torch.hypot),
    "arithmetic.atan2": ("xy", torch.atan2),
    "arithmetic.lerp": ("xyv", torch.lerp),
    "arithmetic.addcmul": ("xyp", lambda x, y, p: torch.addcmul(x, y, p, value=2)),
    "arithmetic.addcdiv": ("xyp", lambda x, y, p: torch.addcdiv(x, y, p, value=2)),
    "arithmetic.maximum": ("xy", torch.maximum),
    "arithmetic.minimum": ("xy", torch.minimum),
    "arithmetic.fmax": ("xy", torch.fmax),
    "arithmetic.fmin": ("xy", torch.fmin),
    "arithmetic.clamp": ("xuh", lambda x, u, h: torch.clamp(x, u - 0.5, h)),
    "arithmetic.clamp_min": ("x", lambda x: torch.clamp_min(x, 0.1)),
    "arithmetic.clamp_max": ("x", lambda x: torch.clamp_max(x, 0.1)),
    "arithmetic.where_": ("xv", lambda x, v: torch.where(x > 0, x, v)),
    "arithmetic.where": ("xv", lambda x, v: torch.where(x > 0, x, v)),
    "arithmetic._where_method": ("xv", lambda x, v: x.where(x > 0, v)),
    "arithmetic._where_nonzero": ("x", lambda x: torch.where(x > 0)),
    # comparisons
    "comparisons.eq": ("xy", torch.eq),
    "comparisons.ne": ("xy", torch.ne),
    "comparisons._eq_operator": ("xy", lambda x, y: x == y),
    "comparisons._ne_operator": ("xy", lambda x, y: x != y),
    "comparisons.lt": ("xy", lambda x, y: x < y),
    "comparisons.le": ("xy", lambda x, y: x <= y),
    "comparisons.gt": ("xy", lambda x, y: x > y),
    "comparisons.ge": ("xy", lambda x, y: x >= y),
    "comparisons.isclose": ("xy", torch.isclose),
    "comparisons.isnan": ("x", torch.isnan),
    "comparisons.isinf": ("x", torch.isinf),
    "comparisons.isposinf": ("x", torch.isposinf),
    "comparisons.isneginf": ("x", torch.isneginf),
    "comparisons.isfinite": ("x", torch.isfinite),
    "comparisons.isreal": ("x", torch.isreal),
    "comparisons.signbit": ("x", torch.signbit),
    "comparisons.logical_not": ("x", torch.logical_not),
    "comparisons.logical_and": ("xy", torch.logical_and),
    "comparisons.logical_or": ("xy", torch.logical_or),
    "comparisons.logical_xor": ("xy", torch.logical_xor),
    "comparisons.bitwise_not": ("x", lambda x: ~(x > 0)),
    "comparisons.bitwise_and": ("xy", lambda x, y: (x > 0) & (y > 0)),
    "comparisons.bitwise_or": ("xy", lambda x, y: (x > 0) | (y > 0)),
    "comparisons.bitwise_xor": ("xy", lambda x, y: (x > 0) ^ (y > 0)),
    # complex numbers
    "complex_numbers.conj": ("z", lambda z: torch.conj(z) * z),
    "complex_numbers.conj_physical": ("z", lambda z: torch.conj_physical(z) * z),
    "complex_numbers.resolve_conj": ("z", lambda z: torch.conj(z).resolve_conj()),
    "complex_numbers.resolve_neg": ("z", lambda z: torch.resolve_neg(torch.imag(torch.conj(z)))),
    "complex_numbers.real": ("z", lambda z: torch.real(z) ** 2),
    "complex_numbers.imag": ("z", lambda z: torch.imag(z) ** 2),
    "complex_numbers.view_as_real": ("z", lambda z: torch.view_as_real(z) ** 2),
    "complex_numbers.view_as_complex": ("m", lambda m: torch.view_as_complex(m.reshape(4, 2, 2)) ** 2),
    "complex_numbers.complex": ("xy", lambda x, y: torch.complex(x, y) ** 2),
    "complex_numbers.polar": ("py", lambda p, y: torch.polar(p, y)),
    "complex_numbers.angle": ("z", torch.angle),
    # shapes
    "shapes.reshape_": ("x", lambda x: x.reshape(2, 6)),
    "shapes.reshape": ("x", lambda x: torch.reshape(x, (2, 6))),
    "shapes.view_": ("x", lambda x: x.view(6, 2)),
    "shapes.view": ("x", lambda x: x.view(6, 2)),
    "shapes.reshape_as": ("xt", lambda x, t: x.reshape_as(t[0])),
    "shapes.view_as": ("xt", lambda x, t: x.view_as(t[0])),
    "shapes.flatten": ("t", lambda t: torch.flatten(t, 1)),
    "shapes.ravel": ("x", torch.ravel),
    "shapes.unflatten": ("x", lambda x: x.unflatten(1, (2, 2))),
    "shapes.transpose": ("t", lambda t: torch.transpose(t, 0, 2)),
    "shapes.permute_": ("t", lambda t: t.permute(2, 0, 1)),
    "shapes.permute": ("t", lambda t: torch.permute(t, (2, 0, 1))),
    "shapes.t": ("x", torch.t),
    "shapes._conjugate_transposed": ("z", lambda z: z.mH @ z),
    "shapes.movedim": ("t", lambda t: torch.movedim(t, 0, 2)),
    "shapes.squeeze_": ("t", lambda t: t[:1].squeeze(0)),
    "shapes.squeeze": ("t", lambda t: torch.squeeze(t[:1])),
    "shapes.unsqueeze": ("x", lambda x: torch.unsqueeze(x, 1)),
    "shapes.atleast_1d": ("s", lambda s: torch.atleast_1d(s)),
    "shapes.atleast_2d": ("v", lambda v: torch.atleast_2d(v)),
    "shapes.atleast_3d": ("v", lambda v: torch.atleast_3d(v)),
    "shapes.expand_": ("v", lambda v: v.expand(3, 4)),
    "shapes.expand": ("v", lambda v: v.expand(3, -1)),
    "shapes.expand_as": ("vx", lambda v, x: v.expand_as(x)),
    "shapes.broadcast_to": ("v", lambda v: torch.broadcast_to(v, (3, 4))),
    "shapes.broadcast_tensors": ("vx", lambda v, x: torch.broadcast_tensors(v, x)),
    "shapes.sum_to_size": ("x", lambda x: x.sum_to_size(1, 4)),
    "shapes.repeat_": ("x", lambda x: x.repeat(2, 1, 3)),
    "shapes.repeat": ("x", lambda x: x.repeat((2, 1))),
    "shapes.tile": ("x", lambda x: torch.tile(x, (2, 1))),
    "shapes.repeat_interleave": ("x", lambda x: torch.repeat_interleave(x, 2, 0)),
    "shapes.as_strided_": ("x", lambda x: torch.as_strided(x, (2, 3), (4, 1), 1)),
    "shapes.as_strided_scatter_": ("xb", lambda x, b: torch.as_strided_scatter(x, b, (3,), (2,), 1), every_other),
    "shapes.as_strided_scatter": ("xb", lambda x, b: torch.as_strided_scatter(x, b, (3,), (2,), 1), every_other),
    "shapes.as_strided": ("x", lambda x: torch.as_strided(x, (2, 3), (4, 1), 1)),
    "shapes.windows": ("v", lambda v: v.unfold(0, 2, 1)),
    "shapes.windows_added": ("x", lambda x: torch.ops.aten.unfold_backward(x, [9], 0, 4, 2)),
    # conversions
    "conversions.as_strided_copy": ("x", lambda x: torch.as_strided_copy(x, (2, 3), (4, 1), 1)),
    "conversions.clone": ("x", torch.clone),
    "conversions.copy": ("xv", torch.ops.aten.copy.default, lambda x, v: x.clone().copy_(v)),
    "conversions.fill": ("xs", torch.fill),
    "conversions.to_dense": ("x", lambda x: x.to_dense()),
    "conversions.contiguous": ("x", lambda x: x.t().contiguous()),
    "conversions.alias": ("x", lambda x: +x),
    "conversions.detach": ("x", lambda x: torch.detach(x)),
    "conversions.to_": ("x", lambda x: x.to(torch.float32)),
    "conversions.to": ("x", lambda x: x.to(torch.float32)),
    "conversions.type_as": ("x", lambda x: x.type_as(torch.ones(1))),
    "conversions.float": ("x", lambda x: x.float()),
    "conversions.double": ("x", lambda x: x.float().double()),
    "conversions.half": ("x", lambda x: x.half()),
    "conversions.bfloat16": ("x", lambda x: x.bfloat16()),
    "conversions.int": ("x", lambda x: x.int()),
    "conversions.long": ("x", lambda x: x.long()),
    "conversions.short": ("x", lambda x: x.short()),
    "conversions.char": ("x", lambda x: x.char()),
    "conversions.byte": ("p", lambda p: p.byte()),
    "conversions.bool": ("x", lambda x: x.bool()),
    "conversions.cfloat": ("x", lambda x: x.cfloat()),
    "conversions.cdouble": ("x", lambda x: x.cdouble()),
    "conversions.type_": ("x", lambda x: x.type(torch.float32)),
    "conversions.cpu": ("x", lambda x: x.cpu() * 1),
    "conversions.zeros_like": ("x", torch.zeros_like),
    "conversions.ones_like": ("x", torch.ones_like),
    "conversions.full_like": ("x", lambda x: torch.full_like(x, 2.0)),
    "conversions.new_zeros": ("x", lambda x: x.new_zeros(2)),
    "conversions.new_ones": ("x", lambda x: x.new_ones(2)),
    "conversions.new_full": ("x", lambda x: x.new_full((2,), 3.0)),
    "conversions.new_tensor": ("x", lambda x: x.new_tensor([1.0, 2.0])),
    # joining
    "joining.cat": ("xy", lambda x, y: torch.cat([x, y], 1)),
    "joining.stack": ("xy", lambda x, y: torch.stack([x, y], 1)),
    "joining.hstack": ("xy", lambda x, y: torch.hstack([x, y])),
    "joining.vstack": ("xv", lambda x, v: torch.vstack([x, v])),
    "joining.dstack": ("xy", lambda x, y: torch.dstack([x, y])),
    "joining.column_stack": ("xb", lambda x, b: torch.column_stack([x, b])),
    "joining.split_with_sizes_": ("x", lambda x: torch.split(x, [1, 3], 1)),
    "joining.split": ("x", lambda x: torch.split(x, 3, 1)),
    "joining.split_with_sizes": ("x", lambda x: torch.split_with_sizes(x, [1, 3], 1)),
    "joining.chunk": ("x", lambda x: torch.chunk(x, 2, 1)),
    "joining.tensor_split": ("x", lambda x: torch.tensor_split(x, 3, 1)),
    "joining.unbind": ("x", lambda x: torch.unbind(x, 1)),
    "joining.flip_": ("x", lambda x: torch.flip(x, (0, 1))),
    "joining.flip": ("x", lambda x: torch.flip(x, (0, 1))),
    "joining.fliplr": ("x", torch.fliplr),
    "joining.flipud": ("x", torch.flipud),
    "joining.roll": ("x", lambda x: torch.roll(x, (1, -1), (0, 1))),
    "joining.diagonal": ("t", lambda t: torch.diagonal(t, 1, 1, 2)),
    "joining.diagonal_scatter": ("mb", lambda m, b: torch.diagonal_scatter(m, b, 1)),
    "joining.diag_embed": ("x", lambda x: torch.diag_embed(x, 1)),
    "joining.diag": ("m", lambda m: torch.diag(torch.diag(m, 1))),
    "joining.trace": ("m", torch.trace),
    "joining.tril": ("m", lambda m: torch.tril(m, 1)),
    "joining.triu": ("m", lambda m: torch.triu(m, -1)),
    "joining.constant_pad": ("x", lambda x: F.pad(x, (1, 2, 0, 1), value=3.0)),
    "joining.pad": ("x", lambda x: F.pad(x, (1, -1))),
    # running
    "running.cumsum": ("x", lambda x: torch.cumsum(x, 1)),
    "running.cumprod": ("x", lambda x: torch.cumprod(x, 1)),
    "running.logcumsumexp": ("x", lambda x: torch.logcumsumexp(x, 1)),
    # reductions
    "reductions.renorm": ("x", lambda x: torch.renorm(x, 2, 0, 1.5)),
    "reductions.sum": ("t", lambda t: torch.sum(t, (0, 2), keepdim=True)),
    "reductions.mean": ("t", lambda t: torch.mean(t, (0, 2))),
    "reductions.nansum": ("x", lambda x: torch.nansum(x, 1)),
    "reductions.nanmean": ("x", lambda x: torch.nanmean(x, 1)),
    "reductions.var_": ("x", lambda x: torch.var(x, 1, correction=0)),
    "reductions.std_": ("x", lambda x: torch.std(x, 1, correction=0)),
    "reductions.var": ("x", lambda x: torch.var(x)),
    "reductions.std": ("x", lambda x: torch.std(x, 0)),
    "reductions.var_mean": ("x", lambda x: torch.var_mean(x, 0)),
    "reductions.std_mean": ("x", lambda x: torch.std_mean(x, 0)),
    "reductions.prod_dim": ("x", lambda x: torch.prod(x, 1)),
    "reductions.prod": ("x", lambda x: torch.prod(x)),
    "reductions.logsumexp": ("x", lambda x: torch.logsumexp(x, 1)),
    "reductions.vector_norm": ("x", lambda x: torch.linalg.vector_norm(x, 3, 1)),
    "reductions.norm": ("x", lambda x: torch.norm(x)),
    "reductions.any": ("x", lambda x: torch.any(x, 1)),
    "reductions.all": ("x", lambda x: torch.all(x, 1)),
    "reductions.count_nonzero": ("x", torch.count_nonzero),
    # linear algebra
    "linalg._cross": ("xy", lambda x, y: torch.linalg.cross(x, y, dim=0)),
    "linalg.cross_": ("xb", lambda x, b: torch.linalg.cross(x, b[:, None], dim=0)),
    "linalg.matmul_": ("tr", torch.matmul),
    "linalg.matmul": ("xv", torch.matmul),
    "linalg.regrouped": ("tr", lambda t, r: torch.matmul(t.unsqueeze(1), r.unsqueeze(1))),
    "linalg.matmul_reflected": (
        "x",
        lambda x: np.ones((2, 3)) @ x,
        lambda x: torch.ones(2, 3, dtype=torch.float64) @ x,
    ),
    "linalg.mm": ("xm", torch.mm),
    "linalg.bmm": ("tr", torch.bmm),
    "linalg.mv": ("xv", torch.mv),
    "linalg.dot": ("v", lambda v: torch.dot(v, v.flip(0))),
    "linalg.vdot": ("v", lambda v: torch.vdot(v, v.flip(0))),
    "linalg.outer": ("vb", torch.outer),
    "linalg.linear_": ("xmv", F.linear),
    "linalg.linear": ("xmv", lambda x, m, v: F.linear(x, m, v)),
    "linalg.addmm": ("vxm", lambda v, x, m: torch.addmm(v, x, m, beta=2, alpha=3)),
    "linalg.addmv": ("bxv", torch.addmv),
    "linalg.addr": ("xbv", torch.addr),
    "linalg.baddbmm": ("str", lambda s, t, r: torch.baddbmm(s.expand(2, 3, 3), t, r)),
    "linalg.addbmm": ("str", lambda s, t, r: torch.addbmm(s.expand(3, 3), t, r)),
    # contractions
    "contractions.tensordot": ("tr", lambda t, r: torch.tensordot(t, r, ([1, 2], [2, 1]))),
    "contractions.inner": ("xy", torch.inner),
    "contractions.kron": ("xv", torch.kron),
    "contractions.einsum": ("trx", lambda t, r, x: torch.einsum("ijk,ikl,jk->il", t, r, x)),
    "contractions.bilinear": ("xmt", lambda x, m, t: F.bilinear(x, x, m.reshape(1, 4, 4) + t.sum())),
    # elementwise
    **{
        f"elementwise.{name}": (letter, getattr(torch, name))
        for letter, names in {
            "x": "exp exp2 expm1 sin cos tan atan sinc sinh cosh tanh asinh sigmoid erf erfc abs sgn sign floor ceil "
            "trunc round frac",
            "p": "log log2 log10 log1p sqrt rsqrt",
            "u": "asin acos atanh erfinv",
            "h": "acosh",
        }.items()
        for name in names.split()
    },
    "elementwise.frexp": ("x", lambda x: torch.frexp(x).mantissa),
    "elementwise.xlogy": ("xp", torch.xlogy),
    "elementwise.xlog1py": ("xp", torch.special.xlog1py),
    "elementwise.entr": ("p", torch.special.entr),
    "elementwise.logit": ("u", lambda u: torch.logit(u.abs(), 1e-3)),
    # indexing
    "indexing.getitem_": ("x", lambda x: x[1:, None, ::2]),
    "indexing.embed": ("x", lambda x: x[1:, None, ::2] ** 2),
    "indexing.setitem_": ("xb", lambda x, b: assigned(x, (slice(None), 1), b)),
    "indexing.index_": ("x", lambda x: x[ROWS_, [0, 1, 1]]),
    "indexing.index_put_": ("xv", lambda x, v: torch.index_put(x, (ROWS_[:2],), v, accumulate=True)),
    "indexing.index_put": ("xv", lambda x, v: torch.index_put(x, (ROWS_[:2],), v)),
    "indexing.getitem": ("x", lambda x: x[..., MASK[0]]),
    "indexing.set_item": ("xv", lambda x, v: assigned(x, (ROWS_[:2],), v)),
    "indexing.select": ("x", lambda x: torch.select(x, 1, 2)),
    "indexing.narrow": ("x", lambda x: torch.narrow(x, 1, 1, 2)),
    "indexing.narrow_copy": ("x", lambda x: torch.narrow_copy(x, 1, 1, 2)),
    "indexing.select_scatter": ("xb", lambda x, b: torch.select_scatter(x, b, 1, 2)),
    "indexing.slice_scatter": ("xb", lambda x, b: torch.slice_scatter(x, b[:, None], 1, 1, 2)),
    "indexing.masked_fill": ("xs", lambda x, s: torch.masked_fill(x, MASK, s)),
    "indexing.masked_select": ("x", lambda x: torch.masked_select(x, MASK)),
    "indexing.masked_scatter": ("xy", lambda x, y: torch.masked_scatter(x, MASK, y)),
    "indexing.argwhere": ("x", torch.argwhere),
    # gathering
    "gathering.index_select": ("x", lambda x: torch.index_select(x, 0, ROWS_)),
    "gathering.index_add": ("xy", lambda x, y: torch.index_add(x, 0, ROWS_, y, alpha=2)),
    "gathering.bincount": (
        "v",
        lambda v: torch.bincount(torch.tensor([2, 0, 2, 1]), v, 5),
        lambda v: torch.zeros(5, dtype=v.dtype).index_add(0, torch.tensor([2, 0, 2, 1]), v),  # torch has no gradient
    ),
    "gathering.index_copy": ("xy", lambda x, y: torch.index_copy(x, 0, ROWS_[:2], y[:2])),
    "gathering.index_fill": ("xs", lambda x, s: torch.index_fill(x, 0, ROWS_, s)),
    "gathering.gather": ("x", lambda x: torch.gather(x, 0, PLACES)),
    "gathering.scatter_add": ("xy", lambda x, y: torch.scatter_add(x, 0, PLACES, y[:2])),
    "gathering.scatter_src": ("xy", lambda x, y: torch.scatter(x, 0, PLACES[:1], y[:1])),
    "gathering.scatter_value": ("x", lambda x: torch.scatter(x, 0, PLACES, 2.0)),
    "gathering.scatter": ("xy", lambda x, y: torch.scatter(x, 0, PLACES[:1], y[:1])),
    "gathering.scatter_extreme": ("xy", lambda x, y: torch.scatter_reduce(x, 0, PLACES, y[:2], "amax")),
    "gathering.scatter_product": ("xy", lambda x, y: torch.scatter_reduce(x, 0, PLACES, y[:2], "prod")),
    "gathering.scatter_reduce": ("xy", lambda x, y: torch.scatter_reduce(x, 0, PLACES, y[:2], "sum")),
    "gathering.index_reduce": ("xy", lambda x, y: torch.index_reduce(x, 0, ROWS_, y, "amax")),
    "gathering.take_along_dim": ("x", lambda x: torch.take_along_dim(x, PLACES, 0)),
    "gathering.put": ("xb", lambda x, b: torch.put(x, FLAT, b)),
    "gathering.take": ("x", lambda x: torch.take(x, FLAT)),
    # segments
    "segments.segment_reduce": ("v", lambda v: torch.segment_reduce(v, "prod", lengths=torch.tensor([1, 3]))),
    # selections
    "selections.amax": ("t", lambda t: torch.amax(t, (0, 2))),
    "selections.amin": ("t", lambda t: torch.amin(t, (0, 2), keepdim=True)),
    "selections.aminmax": ("x", lambda x: tuple(torch.aminmax(x, dim=1))),
    "selections.max_": ("x", lambda x: torch.max(x)),
    "selections.min_": ("x", lambda x: torch.min(x)),
    "selections.max_dim": ("x", lambda x: tuple(torch.max(x, 1))),
    "selections.min_dim": ("x", lambda x: tuple(torch.min(x, 1, keepdim=True))),
    "selections.max": ("xy", lambda x, y: torch.max(x, y)),
    "selections.min": ("xy", lambda x, y: torch.min(x, y)),
    "selections.median_": ("x", lambda x: torch.median(x)),
    "selections.median_dim": ("x", lambda x: tuple(torch.median(x, 1))),
    "selections.median": ("x", lambda x: tuple(torch.median(x, 0))),
    "selections.nanmedian_": ("x", lambda x: torch.nanmedian(x)),
    "selections.nanmedian_dim": ("x", lambda x: tuple(torch.nanmedian(x, 1))),
    "selections.nanmedian": ("x", lambda x: torch.nanmedian(x)),
    "selections.kthvalue": ("x", lambda x: tuple(torch.kthvalue(x, 2, 1))),
    "selections.mode": ("x", lambda x: tuple(torch.mode(x, 1))),
    "selections.sort_": ("x", lambda x: tuple(torch.sort(x, 1))),
    "selections.sort": ("x", lambda x: tuple(torch.sort(x, 1, descending=True))),
    "selections.topk": ("x", lambda x: tuple(torch.topk(x, 2, 1))),
    "selections.cummax": ("x", lambda x: tuple(torch.cummax(x, 1))),
    "selections.cummin": ("x", lambda x: tuple(torch.cummin(x, 1))),
    "selections.argmax": ("x", lambda x: torch.argmax(x, 1)),
    "selections.argmin": ("x", lambda x: torch.argmin(x, 1)),
    # distances
    "distances.cdist_": ("xy", lambda x, y: torch.cdist(x, y, 3.0), pairwise),
    "distances.cdist": ("xy", lambda x, y: torch.cdist(x, y), pairwise_euclidean),
    "distances.pdist": ("x", lambda x: F.pdist(x, 3.0), lambda x: paired(x[[0, 0, 1]], x[[1, 2, 2]])),
    # factorizations
    "factorizations.cholesky_ex": ("m", lambda m: torch.linalg.cholesky(positive(m))),
    "factorizations.cholesky": ("m", lambda m: torch.cholesky(positive(m), upper=True)),
    "factorizations.lu_factor_ex": ("m", lambda m: torch.linalg.lu_factor(m)[0]),
    "factorizations.lu_unpack": ("x", lambda x: torch.lu_unpack(*torch.linalg.lu_factor(x))),
    "factorizations.linalg_lu": ("x", lambda x: tuple(torch.linalg.lu(x))),
    "factorizations.qr_": ("x", lambda x: tuple(torch.linalg.qr(x))),
    "factorizations.qr": ("x", lambda x: tuple(torch.linalg.qr(x.mT))),
    "factorizations.householder_product": ("xb", lambda x, b: torch.linalg.householder_product(x.mT, b)),
    "factorizations.ormqr": ("xbm", lambda x, b, m: torch.ormqr(x.mT, b, m)),
    "factorizations.eigh_": ("m", lambda m: tuple(torch.linalg.eigh(positive(m)))),
    "factorizations.eigh": ("m", lambda m: torch.linalg.eigvalsh(positive(m))),
    "factorizations.eig": ("m", lambda m: (torch.abs(torch.linalg.eig(m)[1]), torch.abs(torch.linalg.eigvals(m)))),
    "factorizations.svd_": ("x", lambda x: tuple(torch.linalg.svd(x, full_matrices=False))),
    "factorizations.svd": ("x", lambda x: torch.linalg.svdvals(x)),
    # spectral
    "spectral.fft_c2c": ("z", lambda z: torch.fft.fft(z)),
    "spectral.fft_r2c": ("x", lambda x: torch.fft.rfft2(x)),
    "spectral.fft_c2r": ("z", lambda z: torch.fft.irfft(z)),
    # systems
    "systems.solve_triangular": ("mx", lambda m, x: torch.linalg.solve_triangular(positive(m), x.mT, upper=True)),
    "systems.triangular_solve": ("mx", lambda m, x: tuple(torch.triangular_solve(x.mT, positive(m)))),
    "systems.cholesky_solve": ("mx", lambda m, x: torch.cholesky_solve(x.mT, torch.linalg.cholesky(positive(m)))),
    "systems.cholesky_inverse": ("m", lambda m: torch.cholesky_inverse(torch.linalg.cholesky(positive(m)))),
    "systems.lu_solve": ("mx", lambda m, x: torch.linalg.lu_solve(*torch.linalg.lu_factor(m), x.mT)),
    "systems.solve_factored": ("mx", lambda m, x: torch.linalg.solve(m, x.mT)),
    "systems.solve_ex": ("mv", torch.linalg.solve),
    "systems.inv_ex": ("m", torch.linalg.inv),
    "systems.det_factored": ("m", torch.linalg.det),
    "systems.cofactors": (
        "m",
        lambda m: systems.cofactors(m, *torch.linalg.lu_factor(m.detach())),
        lambda m: torch.linalg.det(m)[..., None, None] * torch.linalg.inv(m).mT,
    ),
    "systems.det": ("m", torch.det),
    "systems.slogdet_factored": ("m", lambda m: tuple(torch.linalg.slogdet(m))),
    "systems.slogdet": ("m", lambda m: torch.logdet(positive(m))),
    "systems.pinv": ("x", torch.linalg.pinv),
    "systems.lstsq_": ("xb", lambda x, b: torch.linalg.lstsq(x.mT, x.mT @ b).solution),
    "systems.lstsq": ("xv", lambda x, v: tuple(torch.linalg.lstsq(x.mT, v, driver="gelsd"))[:2]),
    "systems.matrix_exp": ("m", torch.matrix_exp),
    # special functions
    "special.lgamma": ("p", torch.lgamma),
    "special.digamma": ("p", torch.digamma),
    "special.polygamma": ("p", lambda p: torch.polygamma(1, p)),
    "special._polygamma_method": ("p", lambda p: p.polygamma(1)),
    "special._mvlgamma": ("h", lambda h: torch.mvlgamma(h, 2)),
    "special.erfcx": ("x", torch.special.erfcx),
    "special.log_ndtr": ("x", torch.special.log_ndtr),
    "special.ndtri": ("u", lambda u: torch.special.ndtri(u.abs())),
    "special.i0": ("x", torch.special.i0),
    "special.i0e": ("x", torch.special.i0e),
    "special.i1": ("x", torch.special.i1),
    "special.i1e": ("x", torch.special.i1e),
}

# PyTorch computes 1/6 in single precision there, and has no second derivative.
HARDSIGMOID: dict[str, Any] = {"second_order": False, "rtol": 1e-7}
OPTIONS: dict[str, dict[str, Any]] = {
    "activations.hardsigmoid_": HARDSIGMOID,
    "activations.hardsigmoid": HARDSIGMOID,
    "conversions.half": {"second_order": False},
    "segments.segment_reduce": {"second_order": False},  # torch has none
    "conversions.bfloat16": {"second_order": False},
    "conversions.cfloat": {"second_order": False},
}

# What has no row, and why.
WITHOUT_ROW = {
    **dict.fromkeys(
        ["linalg.grouped_mm", "linalg.grouped_mm_"], "torch has it in single precision only: see ops/test_linalg.py"
    ),
    "linalg.sparse_mm": "its first argument is sparse: see ops/test_linalg.py",
    "conversions.cuda": "needs another device than this test can count on",
    "gathering.sparse_scatter": "its result is sparse: see test_sparse.py",
    "conversions.empty_like": "its values are whatever stood in memory",
    "conversions.new_empty_strided": "its values are whatever stood in memory",
    "conversions.new_empty": "its values are whatever stood in memory",
    "conversions.rand_like": "its values are random",
    **dict.fromkeys(
        [f"random_numbers.{name}" for name in ("bernoulli", "normal", "poisson", "standard_gamma")],
        "its values are random: see ops/test_random_numbers.py",
    ),
    "conversions.randn_like": "its values are random",
    **dict.fromkeys(
        [
            "activations._log_sigmoid_forward",
            "activations._softmax_kernel",
            "activations._log_softmax_kernel",
            "arithmetic._add_scalar",
            "arithmetic._sub_scalar",
            "conversions.to_copy",
            "indexing.slice_along",
        ],
        "an ATen spelling that only torch's own composite functions use: see test_fallback.py",
    ),
}


def assigned(x: Any, place: Any, value: Any) -> Any:
    """A copy of ``x`` in which ``value`` has been assigned."""
    copy = x * 1
    copy[place] = value
    return copy


def test_every_operation_has_a_row() -> None:
    names = set(declared())
    missing = names - set(ROWS) - set(WITHOUT_ROW)
    assert not missing, f"give these a row in ROWS, or a reason in WITHOUT_ROW: {sorted(missing)}"
    stale = (set(ROWS) | set(WITHOUT_ROW)) - names
    assert not stale, f"these aren't declared any more: {sorted(stale)}"
    assert not set(ROWS) & set(WITHOUT_ROW)
    assert neuronix.autograd.ops is ops


@pytest.mark.filterwarnings(
    "ignore:index_reduce:UserWarning", "ignore:torch.(cholesky|triangular_solve) is:UserWarning"
)
@pytest.mark.kernels  # sees each kernel run
@pytest.mark.parametrize("name", ROWS)
def test_a_row_runs_its_operation_as_torch_does(name: str, check_against_torch: Callable[..., None]) -> None:
    function = declared()[name]
    letters, call, *expected = ROWS[name]
    inputs = [tensors()[letter] for letter in letters]
    seen: set[CodeType] = set()

    def observe(frame: Any, event: str, _: Any) -> None:
        if event == "call":
            seen.add(frame.f_code)

    if hasattr(function, "primitive"):
        str(function.primitive.source)  # generated, so that its code stays the same
    before = sys.getprofile()
    sys.setprofile(observe)
    try:
        check_against_torch(call, *inputs, torch_function=(expected or [None])[0], **OPTIONS.get(name, {}))
    finally:
        sys.setprofile(before)
    assert function.__code__ in seen, f"the row of {name} doesn't call it"
    op = getattr(function, "primitive", None)
    if op is not None and not op.constant:
        for argument, rule in op.rules.items():
            assert rule.function.__code__ in seen, f"the row of {name} doesn't run its rule for {argument!r}"
        for argument, kernel in op.kernels.items():
            if isinstance(kernel.function, type(observe)):
                assert kernel.function.__code__ in seen, f"the row of {name} doesn't run its kernel for {argument!r}"


# Memory


@pytest.mark.filterwarnings(
    "ignore:index_reduce:UserWarning", "ignore:torch.(cholesky|triangular_solve) is:UserWarning"
)
@pytest.mark.parametrize("name", [name for name in ROWS if not name.startswith("comparisons.")])
def test_a_result_that_shares_memory_is_known_as_a_view(name: str) -> None:
    """Else a change in place of one would change the other, whose gradient would then be wrong."""
    letters, call, *_ = ROWS[name]
    inputs = [CustomTensor(tensors()[letter].detach(), requires_grad=True) * 1 for letter in letters]
    results = call(*inputs)
    for result in results if isinstance(results, (tuple, list)) else [results]:
        for given in inputs:
            if result is given or not result.requires_grad or not shares_memory(result, given):
                continue
            assert result._base is given or result._base is given._base is not None
            if result.dtype is given.dtype:
                before = result.grad_fn
                given.add_(1)
                assert result.grad_fn is not before
                assert result.grad_fn.name == "as_strided"


def shares_memory(one: CustomTensor, other: CustomTensor) -> bool:
    return one.data.untyped_storage().data_ptr() == other.data.untyped_storage().data_ptr()


# Kernels

KERNELS = sorted(
    name for name, function in declared().items() if getattr(function, "primitive", None) and function.primitive.kernels
)
VALUES = [-1e4, -30.0, -3.0, -1.0, -0.5, -1e-3, -0.0, 0.0, 1e-3, 0.5, 1.0, 3.0, 6.0, 20.5, 30.0, 1e4]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_gives_what_its_rule_gives(name: str, dtype: torch.dtype) -> None:
    call = ROWS[name][1]
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(5, 16, generator=generator, dtype=torch.float64) * 3
    values = torch.cat([random, torch.tensor(VALUES, dtype=torch.float64)[None]]).to(dtype)
    weights = torch.randn(values.shape, generator=generator, dtype=torch.float64).to(dtype)

    def gradient() -> Tensor:
        x = CustomTensor(values.clone(), requires_grad=True)
        call(x).backward(weights)
        assert x.grad is not None
        return x.grad

    by_kernel = gradient()
    with rules_only():
        by_rule = gradient()
    rtol, atol = {torch.float64: (1e-12, 1e-13), torch.float32: (2e-6, 2e-6)}[dtype]
    if call is ROWS["activations.hardsigmoid_"][1]:  # the kernel takes 1/6 in single precision
        rtol = max(rtol, 1e-7)
    assert_close(by_rule, by_kernel, rtol=rtol, atol=atol)


def test_there_are_kernels_to_compare() -> None:
    assert len(KERNELS) >= 10
