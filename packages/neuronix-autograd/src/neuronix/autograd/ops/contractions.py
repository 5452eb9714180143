"""Products over named axes: einsum, tensordot and their kin, composed of `matmul` on tensors in matrix form."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd.dispatch.inplace import unwrap
from neuronix.autograd.errors import ArgumentError, RankError, ShapeError
from neuronix.autograd.errors.checks import check_dtypes
from neuronix.autograd.ops.joining import diagonal
from neuronix.autograd.ops.linalg import matmul_
from neuronix.autograd.ops.reductions import sum
from neuronix.autograd.ops.shapes import axis_of, permute_, reshape_, squeeze_
from neuronix.autograd.primitive import composite

__all__ = [
    "bilinear",
    "einsum",
    "inner",
    "kron",
    "tensordot",
]


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

    Raises:
        ArgumentError: If the number of axes is negative.
        AxisError: If an axis is out of range, or a tensor has fewer than n.
        ShapeError: If axes of different sizes are paired, or ``dims`` is neither of both.
    """
    del out
    dims = unwrap(dims)
    dims = dims.tolist() if isinstance(dims, Tensor) else dims
    if isinstance(dims, int):
        if dims < 0:
            raise ArgumentError(f"tensordot: the number of axes must be 0 or more, got dims={dims}")
        if dims > a.ndim or dims > b.ndim:
            raise RankError(f"tensordot: {dims} axes can't be taken of shapes {tuple(a.shape)} and {tuple(b.shape)}")
        left, right = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    elif isinstance(dims, (tuple, list)) and len(dims) == 2:
        left, right = ([axes] if isinstance(axes, int) else list(axes) for axes in dims)
    else:
        raise ShapeError(f"tensordot: dims must be a number, or two lists of axes, got {dims!r}")
    left, right = ([axis_of(axis, x.ndim, "tensordot") for axis in axes] for x, axes in ((a, left), (b, right)))
    # An axis of size one broadcasts against its partner: it has one summand for all of them.
    a, b = _summed_to_one(a, left, b, right), _summed_to_one(b, right, a, left)
    if [a.shape[i] for i in left] != [b.shape[i] for i in right]:
        raise ShapeError(
            f"tensordot: contracted dimensions need to match, but axes {left} of {tuple(a.shape)} have sizes "
            f"{[a.shape[i] for i in left]}, and axes {right} of {tuple(b.shape)} {[b.shape[i] for i in right]}"
        )
    kept_left = [axis for axis in range(a.ndim) if axis not in left]
    kept_right = [axis for axis in range(b.ndim) if axis not in right]
    inner_size = math.prod(a.shape[axis] for axis in left)
    sizes = [a.shape[axis] for axis in kept_left], [b.shape[axis] for axis in kept_right]
    rows = reshape_(permute_(a, (*kept_left, *left)), (math.prod(sizes[0]), inner_size))
    columns = reshape_(permute_(b, (*right, *kept_right)), (inner_size, math.prod(sizes[1])))
    return reshape_(matmul_(rows, columns), (*sizes[0], *sizes[1]))


def _summed_to_one(x: Any, axes: list[int], partner: Any, partners: list[int]) -> Any:
    """``x`` summed over those ``axes`` whose partner has size one."""
    if len(axes) != len(partners):
        raise ShapeError(f"tensordot: axes {axes} of one tensor can't be paired with axes {partners} of the other")
    gone = tuple(i for i, j in zip(axes, partners, strict=True) if partner.shape[j] == 1 and x.shape[i] != 1)
    return sum(x, gone, True) if gone else x


@composite(names="inner")
def inner(x: Any, other: Any) -> Any:
    """The sums of products over the last axes of both."""
    if not x.ndim or not other.ndim:
        return torch.mul(x, other)
    return tensordot(x, other, ([-1], [-1]))


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

    Each operand is brought into the form (batch, kept, summed) or (batch, summed, kept), and two at a time are
    multiplied as matrices.

    Args:
        equation: A letter for each axis of each operand, ``...`` for broadcast ones, and after ``->`` those of the
            result; by default the letters that occur once, in alphabetical order.
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
    """The labels of each operand's axes and those of the result; ``...`` is labelled by numbers from behind."""
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
        if extra < 0 or (extra and not dots) or (before + after and not (before + after).isalpha()):
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
            f"einsum: the labels {output!r} of the result in {equation!r} must each occur in an operand, and not twice"
        )
    return labels, result


def _without_repeated(x: Any, axes: list[str]) -> tuple[Any, list[str]]:
    """The diagonal over axes of the same label."""
    for label in [axis for i, axis in enumerate(axes) if axis in axes[:i]]:
        first = axes.index(label)
        second = axes.index(label, first + 1)
        if x.shape[first] != x.shape[second]:
            raise ShapeError(
                f"einsum: the label {label!r} is repeated for an operand of shape {tuple(x.shape)}, but its axes differ"
            )
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
                    f"einsum: the label {axis!r} in {equation!r} stands for sizes {sizes[axis]} and {size}",
                    hint="give axes of different sizes different letters",
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


@composite(names="bilinear")
def bilinear(x: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    """x₁ᵀ · W_k · x₂ + b_k for each output feature k."""
    check_dtypes("bilinear", input1=x, input2=input2, weight=weight, bias=bias)
    if x.ndim != input2.ndim or x.shape[:-1] != input2.shape[:-1]:
        raise ShapeError(f"bilinear: the inputs' batch axes differ: shapes {tuple(x.shape)} and {tuple(input2.shape)}")
    if weight.ndim != 3 or (bias is not None and tuple(bias.shape) != (weight.shape[0],)):
        given = tuple(weight.shape), None if bias is None else tuple(bias.shape)
        raise RankError(f"bilinear: the weight must be (out, in1, in2) and the bias (out,), got {given[0]}, {given[1]}")
    product = einsum("...i,kij,...j->...k", x, weight, input2)
    return product if bias is None else torch.add(product, bias)
