"""Products of vectors and matrices.

One bilinear operation is differentiated, the product of (batches of) matrices; vectors are lifted to matrices first, and
everything up to `einsum` is composed of it.  `linear` has rules of its own, because every layer uses it.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd.errors import ArgumentError, ShapeError
from neuronix.autograd.inplace import unwrap
from neuronix.autograd.ops.reductions import sum
from neuronix.autograd.ops.shapes import diagonal, permute_, reshape_, squeeze_, unsqueeze
from neuronix.autograd.primitive import Shape, composite, primitive
from neuronix.autograd.tensor import CustomTensor

__all__ = [
    "addbmm",
    "addmm",
    "addmv",
    "addr",
    "baddbmm",
    "bilinear",
    "bmm",
    "dot",
    "einsum",
    "inner",
    "kron",
    "linear",
    "matmul",
    "mm",
    "mv",
    "outer",
    "tensordot",
    "vdot",
]


def _check_axes(name: str, **expected: tuple[Any, int]) -> None:
    """Refuse tensors that have another number of axes than the operation is for."""
    for argument, (x, ndim) in expected.items():
        if x.ndim != ndim:
            raise ShapeError(
                f"{name}: {argument!r} must be {ndim}-d, but has shape {tuple(x.shape)}",
                hint="matmul takes vectors, matrices and batches of matrices",
            )


def _as_tensor(x: Any) -> Any:
    return x if isinstance(x, (CustomTensor, Tensor)) else torch.as_tensor(x)


# The product of matrices


@primitive(broadcasts=True, aten="mm.default bmm.default")
def matmul_(x: Tensor, other: Tensor) -> Tensor:
    """The product of matrices, X · Y; batch axes in front broadcast."""
    return torch.matmul(x, other)


@matmul_.vjp("x")
def matmul_wrt_x(grad: Tensor, other: Tensor) -> Tensor:
    # dL/dX = dL/dZ · Yᵀ
    return grad @ other.mT


@matmul_.vjp("other")
def matmul_wrt_other(grad: Tensor, x: Tensor) -> Tensor:
    # dL/dY = Xᵀ · dL/dZ
    return x.mT @ grad


@composite(names="matmul __matmul__")
def matmul(x: Any, other: Any) -> Any:
    """The matrix product, batched over leading axes.

    A vector is lifted to a matrix; a batch of matrices times one matrix is one large product, so that the gradient of
    that matrix is one product too, and no sum over a batch of them.

    Args:
        x: Vector (n,), matrix (m, n) or batch (…, m, n).
        other: Vector (n,), matrix (n, p) or batch (…, n, p).

    Returns:
        The product: a scalar, vector (m,) or (p,), matrix (m, p) or batch (…, m, p).

    Raises:
        ShapeError: If the inner sizes differ, or an argument is 0-d.

    Example:
        >>> from neuronix.autograd import tensor
        >>> a = tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
        >>> (a @ tensor([10.0, 1.0])).sum().backward()
        >>> a.grad
        tensor([[10.,  1.],
                [10.,  1.]])
    """
    x, other = _as_tensor(x), _as_tensor(other)
    shape, other_ndim = x.shape, other.ndim
    if other_ndim == 2 and len(shape) == 2:
        return matmul_(x, other)
    if not shape or not other_ndim:
        raise ShapeError(
            f"matmul: both arguments need to be at least 1-d, but they are {len(shape)}-d and {other_ndim}-d",
            hint="multiply by a number with `*`",
        )
    if other_ndim == 1:
        return squeeze_(matmul(x, unsqueeze(other, -1)), -1)
    if len(shape) == 1:
        return squeeze_(matmul(unsqueeze(x, 0), other), -2)
    if other_ndim == 2 and shape[-1] == other.shape[0]:
        rows = reshape_(x, (math.prod(shape[:-1]), shape[-1]))
        return reshape_(matmul_(rows, other), (*shape[:-1], other.shape[1]))
    return matmul_(x, other)


@composite(names="__rmatmul__")
def matmul_reflected(x: Any, other: Any) -> Any:
    """``other @ x``, where ``other`` isn't a CustomTensor."""
    return matmul(other, x)


@composite(names="mm")
def mm(x: Any, mat2: Any) -> Any:
    """The product of two matrices, (n, m) · (m, p)."""
    _check_axes("mm", input=(x, 2), mat2=(mat2, 2))
    return matmul_(x, mat2)


@composite(names="bmm")
def bmm(x: Any, mat2: Any) -> Any:
    """The products of two batches of matrices, (b, n, m) · (b, m, p)."""
    _check_axes("bmm", input=(x, 3), mat2=(mat2, 3))
    if x.shape[0] != mat2.shape[0]:
        raise ShapeError(
            f"bmm: the batches have different sizes, {tuple(x.shape)} and {tuple(mat2.shape)}",
            hint="matmul broadcasts batches of size 1",
        )
    return matmul_(x, mat2)


@composite(names="mv", aten="mv.default")
def mv(x: Any, vec: Any) -> Any:
    """The product of a matrix (n, m) and a vector (m,)."""
    _check_axes("mv", input=(x, 2), vec=(vec, 1))
    return matmul(x, vec)


@composite(names="dot", aten="dot.default")
def dot(x: Any, tensor: Any) -> Any:
    """The sum of the products of two vectors' elements."""
    _check_axes("dot", input=(x, 1), tensor=(tensor, 1))
    return matmul(x, tensor)


@composite(names="vdot", aten="vdot.default")
def vdot(x: Any, other: Any) -> Any:
    """`dot` with the first vector conjugated."""
    return dot(torch.conj(x) if x.is_complex() else x, other)


@composite(names="outer ger")
def outer(x: Any, vec2: Any) -> Any:
    """All products of two vectors' elements, a matrix."""
    _check_axes("outer", input=(x, 1), vec2=(vec2, 1))
    return torch.mul(unsqueeze(x, 1), vec2)


@composite(names="inner")
def inner(x: Any, other: Any) -> Any:
    """The sums of products over the last axes of both."""
    if not x.ndim or not other.ndim:
        return torch.mul(x, other)
    return tensordot(x, other, ([-1], [-1]))


# The affine map of a layer


@primitive(aten="linear.default")
def linear_(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x · Wᵀ + b."""
    return torch.nn.functional.linear(x, weight, bias)


@linear_.vjp("x")
def linear_wrt_x(grad: Tensor, weight: Tensor) -> Tensor:
    return grad @ weight


@linear_.vjp("weight")
def linear_wrt_weight(grad: Tensor, x: Tensor, weight: Shape) -> Tensor:
    # dL/dW = Σ over all rows of dL/dz · xᵀ: one product with the rows of all batch axes
    out_features, in_features = weight
    return grad.reshape(-1, out_features).mT @ x.reshape(-1, in_features)


@linear_.vjp("bias")
def linear_wrt_bias(grad: Tensor, bias: Shape) -> Tensor:
    return grad.sum_to_size(bias)


@composite(names="linear")
def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """The affine map of a layer, x · Wᵀ + b.

    Args:
        x: Any batch axes, and (in_features,) last.
        weight: (out_features, in_features), or (in_features,) for one output without an axis.
        bias: (out_features,) or ``None``.

    Returns:
        The batch axes of ``x``, and (out_features,) last.

    Raises:
        ShapeError: If the last axis of ``x`` isn't the weight's.
    """
    if weight.ndim == 2:
        return linear_(x, weight, bias)
    product = matmul(x, weight)
    return product if bias is None else torch.add(product, bias)


@composite(names="bilinear")
def bilinear(x: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    """x₁ᵀ · W_k · x₂ + b_k for each output feature k."""
    product = einsum("...i,kij,...j->...k", x, weight, input2)
    return product if bias is None else torch.add(product, bias)


# Products added to something


def _scaled_sum(x: Any, product: Any, beta: float, alpha: float) -> Any:
    """beta · x + alpha · product; with beta = 0, torch doesn't look at ``x`` (nor at NaN in it)."""
    product = product if alpha == 1 else torch.mul(product, alpha)
    if beta == 0:
        return product
    return torch.add(x if beta == 1 else torch.mul(x, beta), product)


@composite(names="addmm", aten="addmm.default")
def addmm(x: Any, mat1: Any, mat2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """beta · x + alpha · (mat1 · mat2)."""
    return _scaled_sum(x, mm(mat1, mat2), beta, alpha)


@composite(names="addmv", aten="addmv.default")
def addmv(x: Any, mat: Any, vec: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """beta · x + alpha · (mat · vec)."""
    return _scaled_sum(x, mv(mat, vec), beta, alpha)


@composite(names="addr", aten="addr.default")
def addr(x: Any, vec1: Any, vec2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """beta · x + alpha · (vec1 ⊗ vec2)."""
    return _scaled_sum(x, outer(vec1, vec2), beta, alpha)


@composite(names="baddbmm", aten="baddbmm.default")
def baddbmm(x: Any, batch1: Any, batch2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """beta · x + alpha · (batch1 · batch2), for each pair of matrices."""
    return _scaled_sum(x, bmm(batch1, batch2), beta, alpha)


@composite(names="addbmm", aten="addbmm.default")
def addbmm(x: Any, batch1: Any, batch2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """beta · x + alpha · Σ (batch1 · batch2), summed over the batch."""
    return _scaled_sum(x, sum(bmm(batch1, batch2), 0), beta, alpha)


# Products over named axes


@composite(names="tensordot")
def tensordot(a: Any, b: Any, dims: Any = 2, out: None = None) -> Any:
    """The sum of products over pairs of axes: ``dims`` names them for each side, or says how many.

    Args:
        a: Tensor.
        b: Tensor.
        dims: Two lists of axes; or a number n, for the last n axes of ``a`` and the first n of ``b``.
        out: Not offered for differentiated tensors; only ``None``.

    Returns:
        The remaining axes of ``a``, then those of ``b``.
    """
    del out
    dims = unwrap(dims)
    dims = dims.tolist() if isinstance(dims, Tensor) else dims
    if isinstance(dims, int):
        left, right = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    else:
        left, right = ([axes] if isinstance(axes, int) else list(axes) for axes in dims)
    left, right = [axis % a.ndim for axis in left], [axis % b.ndim for axis in right]
    if [a.shape[i] for i in left] != [b.shape[i] for i in right]:
        raise ShapeError(
            f"tensordot: contracted dimensions need to match, but {tuple(a.shape)} has sizes {[a.shape[i] for i in left]} "
            f"in axes {left} and {tuple(b.shape)} has {[b.shape[i] for i in right]} in {right}"
        )
    kept_left = [axis for axis in range(a.ndim) if axis not in left]
    kept_right = [axis for axis in range(b.ndim) if axis not in right]
    inner_size = math.prod(a.shape[axis] for axis in left)
    sizes = [a.shape[axis] for axis in kept_left], [b.shape[axis] for axis in kept_right]
    rows = reshape_(permute_(a, (*kept_left, *left)), (math.prod(sizes[0]), inner_size))
    columns = reshape_(permute_(b, (*right, *kept_right)), (inner_size, math.prod(sizes[1])))
    return reshape_(matmul_(rows, columns), (*sizes[0], *sizes[1]))


@composite(names="kron")
def kron(x: Any, other: Any) -> Any:
    """The Kronecker product: each element of ``x`` times all of ``other``, laid out in blocks."""
    ndim = max(x.ndim, other.ndim)
    mine, theirs = ((1,) * (ndim - y.ndim) + tuple(y.shape) for y in (x, other))
    left = reshape_(x, tuple(size for n in mine for size in (n, 1)))
    right = reshape_(other, tuple(size for n in theirs for size in (1, n)))
    return reshape_(torch.mul(left, right), [n * m for n, m in zip(mine, theirs, strict=True)])


@composite(names="einsum")
def einsum(equation: Any, *operands: Any) -> Any:
    """The sum of products over labelled axes, as in ``einsum("bij,bjk->bik", x, y)``.

    Each operand is brought into the form (batch, kept, summed) or (batch, summed, kept), and two at a time are multiplied as matrices.

    Args:
        equation: A letter for each axis of each operand, ``...`` for broadcast ones, and after ``->`` those of the result; by
            default the letters that occur once, in alphabetical order.
        operands: The tensors.  Also torch's other spelling: ``einsum(x, [0, 1], y, [1, 2], [0, 2])``.

    Returns:
        The tensor with the result's axes.

    Raises:
        ArgumentError: If the equation doesn't fit the operands.
        ShapeError: If a letter stands for two sizes.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.autograd.ops import einsum
        >>> a = tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> einsum("ii", a)
        CustomTensor(5.)
    """
    if not isinstance(equation, str):
        equation, operands = _equation_of_lists((equation, *operands))
    if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = tuple(operands[0])
    labels, result = _parsed(equation.replace(" ", ""), operands)
    tensors = [_without_repeated(x, list(axes)) for x, axes in zip(operands, labels, strict=True)]
    sizes = _sizes(equation, tensors)
    # An axis of size one that broadcasts is as good as none.
    tensors = [_without(x, axes, {a for a in axes if x.shape[axes.index(a)] != sizes[a]}) for x, axes in tensors]
    x, axes = tensors[0]
    for position, (y, others) in enumerate(tensors[1:], 2):
        needed = set(result).union(*(later for _, later in tensors[position:]))
        x, axes = _contracted(x, axes, y, others, needed, sizes)
    gone = tuple(i for i, axis in enumerate(axes) if axis not in result)
    x = sum(x, gone) if gone else x
    axes = [axis for axis in axes if axis in result]
    return permute_(x, tuple(axes.index(axis) for axis in result))


def _equation_of_lists(arguments: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """The equation of the spelling ``einsum(x, [0, 1], y, [1, 2], [0, 2])``, and its operands."""

    def spelled(axes: Any) -> str:
        return "".join("..." if axis is Ellipsis else string.ascii_letters[int(axis)] for axis in axes)

    operands, lists = arguments[0 : len(arguments) // 2 * 2 : 2], arguments[1::2]
    equation = ",".join(spelled(axes) for axes in lists)
    return (f"{equation}->{spelled(arguments[-1])}" if len(arguments) % 2 else equation), operands


def _parsed(equation: str, operands: Sequence[Any]) -> tuple[list[list[str]], list[str]]:
    """The labels of each operand's axes and those of the result; the axes of ``...`` are labelled by their number from behind."""
    inputs, arrow, output = equation.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(operands):
        raise ArgumentError(
            f"einsum: the equation {equation!r} is for {len(terms)} operands, but {len(operands)} were given",
            hint="separate the operands' labels by commas",
        )
    labels, broadcast = [], 0
    for term, x in zip(terms, operands, strict=True):
        before, dots, after = term.partition("...")
        extra = x.ndim - len(before) - len(after)
        if extra < 0 or (extra and not dots) or not (before + after).replace(" ", "").isalpha() and before + after:
            raise ArgumentError(
                f"einsum: the labels {term!r} in {equation!r} don't fit an operand of shape {tuple(x.shape)}",
                hint="give one letter for each axis, or `...` for several",
            )
        broadcast = max(broadcast, extra)
        labels.append([*before, *(f".{i}" for i in range(extra, 0, -1)), *after])
    dotted = [f".{i}" for i in range(broadcast, 0, -1)]
    if not arrow:
        letters = [axis for axes in labels for axis in axes if len(axis) == 1]
        return labels, [*dotted, *sorted(axis for axis in letters if letters.count(axis) == 1)]
    before, dots, after = output.partition("...")
    result = [*before, *(dotted if dots else []), *after]
    known = {axis for axes in labels for axis in axes}
    if len(set(result)) != len(result) or not known.issuperset(result):
        raise ArgumentError(
            f"einsum: the result's labels {output!r} in {equation!r} must each occur in an operand, and once in the result"
        )
    return labels, result


def _without_repeated(x: Any, axes: list[str]) -> tuple[Any, list[str]]:
    """The diagonal over axes of the same label."""
    for label in [axis for i, axis in enumerate(axes) if axis in axes[:i]]:
        first = axes.index(label)
        second = axes.index(label, first + 1)
        x = diagonal(x, 0, first, second)
        axes = [axis for i, axis in enumerate(axes) if i not in (first, second)] + [label]
    return x, axes


def _sizes(equation: str, tensors: list[tuple[Any, list[str]]]) -> dict[str, int]:
    """The size that each label stands for."""
    sizes: dict[str, int] = {}
    for x, axes in tensors:
        for axis, size in zip(axes, x.shape, strict=True):
            if sizes.get(axis, 1) == 1:
                sizes[axis] = size
            elif size not in (1, sizes[axis]):
                raise ShapeError(
                    f"einsum: the label {axis!r} in {equation!r} stands for an axis of size {sizes[axis]} and for one of size {size}"
                )
    return sizes


def _without(x: Any, axes: list[str], gone: set[str]) -> tuple[Any, list[str]]:
    """Take away the axes in ``gone``, which have size one."""
    if not gone:
        return x, axes
    return squeeze_(x, tuple(axes.index(a) for a in gone)), [axis for axis in axes if axis not in gone]


def _contracted(
    x: Any, axes: list[str], y: Any, others: list[str], needed: set[str], sizes: dict[str, int]
) -> tuple[Any, list[str]]:
    """The product of two operands, summed over the labels that nobody needs any more."""
    x, axes = _summed(x, axes, needed.union(others))
    y, others = _summed(y, others, needed.union(axes))
    batch = [axis for axis in axes if axis in others and axis in needed]
    summed = [axis for axis in axes if axis in others and axis not in needed]
    left = [axis for axis in axes if axis not in others]
    right = [axis for axis in others if axis not in axes]

    def grouped(z: Any, labels: list[str], *groups: list[str]) -> Any:
        order = [labels.index(axis) for group in groups for axis in group]
        return reshape_(permute_(z, order), [math.prod(sizes[axis] for axis in group) for group in groups])

    product = matmul_(grouped(x, axes, batch, left, summed), grouped(y, others, batch, summed, right))
    axes = [*batch, *left, *right]
    return reshape_(product, [sizes[axis] for axis in axes]), axes


def _summed(x: Any, axes: list[str], needed: set[str]) -> tuple[Any, list[str]]:
    """Sum over the axes that nobody needs."""
    gone = tuple(i for i, axis in enumerate(axes) if axis not in needed)
    return (sum(x, gone), [axis for axis in axes if axis in needed]) if gone else (x, axes)
