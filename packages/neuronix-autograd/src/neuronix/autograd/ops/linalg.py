"""Products of vectors and matrices.

One bilinear operation is differentiated, the product of (batches of) matrices; vectors are lifted to matrices first.
`linear` has rules of its own, because every layer uses it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd.dispatch.inplace import is_recorded, not_a_number
from neuronix.autograd.errors import RankError, ShapeError, UnsupportedError
from neuronix.autograd.errors.checks import check_dtypes
from neuronix.autograd.ops.conversions import copy
from neuronix.autograd.ops.reductions import sum
from neuronix.autograd.ops.shapes import axis_of, unsqueeze
from neuronix.autograd.primitive import Shape, composite, primitive
from neuronix.autograd.tensor import CustomTensor

__all__ = [
    "addbmm",
    "addmm",
    "addmv",
    "addr",
    "baddbmm",
    "bmm",
    "dot",
    "grouped_mm",
    "linear",
    "matmul",
    "mm",
    "mv",
    "outer",
    "sparse_mm",
    "vdot",
]


def _check_axes(name: str, **expected: tuple[Any, int]) -> None:
    """Refuse tensors that have another number of axes than the operation is for."""
    for argument, (x, ndim) in expected.items():
        if x.ndim != ndim:
            raise RankError(
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


@primitive
def regrouped(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`x` in another shape on its way into a product or out of it.

    Unlike ``reshape`` it isn't declared a view: only `matmul` sees the tensor on its other side, so whoever gets the
    product may change it in place.
    """
    return x.reshape(shape)


@regrouped.vjp("x")
def regrouped_wrt_x(grad: Tensor, x: Shape) -> Tensor:
    return grad.reshape(x)


@composite(names="matmul __matmul__")
def matmul(x: Any, other: Any) -> Any:
    """The matrix product, batched over leading axes.

    A vector is lifted to a matrix; a batch of matrices times one matrix is one large product, so that the gradient of
    that matrix is one product too, and no sum over a batch of them.  Several batch axes are merged to one: matrices
    that are spread over memory (as the heads of an attention are) are gathered once, not for each product again.

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
    inner = other.shape[max(0, other_ndim - 2)]
    if 1 in (len(shape), other_ndim) and shape[-1] != inner:  # said before a vector is lifted
        raise ShapeError(f"matmul: {tuple(shape)} times {tuple(other.shape)}: {shape[-1]} and {inner} must be equal")
    if other_ndim == 1:
        return regrouped(matmul(x, unsqueeze(other, -1)), shape[:-1])
    if len(shape) == 1:
        return regrouped(matmul(unsqueeze(x, 0), other), (*other.shape[:-2], other.shape[-1]))
    if other_ndim == 2 and shape[-1] == other.shape[0]:
        rows = regrouped(x, (math.prod(shape[:-1]), shape[-1]))
        return regrouped(matmul_(rows, other), (*shape[:-1], other.shape[1]))
    batch = shape[:-2]
    if len(batch) > 1 and other.shape[:-2] == batch and shape[-1] == other.shape[-2]:
        count = math.prod(batch)
        product = matmul_(regrouped(x, (count, *shape[-2:])), regrouped(other, (count, *other.shape[-2:])))
        return regrouped(product, (*batch, shape[-2], other.shape[-1]))
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


# The affine map of a layer


@primitive
def linear_(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The affine map x · Wᵀ + b, with a matrix W and a vector b."""
    return torch.nn.functional.linear(x, weight, bias)


@linear_.vjp("x")
def linear_wrt_x(grad: Tensor, weight: Tensor) -> Tensor:
    return grad @ weight


@linear_.vjp("weight")
def linear_wrt_weight(grad: Tensor, x: Tensor) -> Tensor:
    # dL/dW = Σ over all rows of dL/dz · xᵀ: one product with the rows of all batch axes
    return _rows(grad).mT @ _rows(x)


@linear_.vjp("bias")
def linear_wrt_bias(grad: Tensor) -> Tensor:
    return _rows(grad).sum(0)  # it was added to every row


def _rows(x: Tensor) -> Tensor:
    """All vectors along the last axis, as the rows of a matrix."""
    if x.ndim > 2:
        return x.flatten(0, -2)
    return x if x.ndim == 2 else x.unsqueeze(0)


@composite(names="linear", aten="linear.default")
def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """The affine map of a layer, x · Wᵀ + b.

    Args:
        x: Any batch axes, and (in_features,) last.
        weight: (out_features, in_features), or (in_features,) for one output without an axis.
        bias: (out_features,), what broadcasts to the result, or ``None``.

    Returns:
        The batch axes of ``x``, and (out_features,) last.

    Raises:
        ShapeError: If the last axis of ``x`` isn't the weight's, or the weight has more than two axes.
    """
    if weight.ndim == 2 and (bias is None or bias.shape == weight.shape[:1]):
        return linear_(x, weight, bias)
    _check_weight(weight, bias)
    product = linear_(x, weight) if weight.ndim == 2 else matmul(x, weight)
    result = product if bias is None else torch.add(product, bias)
    if result.shape != product.shape:
        raise ShapeError(
            f"linear: a bias of shape {tuple(bias.shape)} doesn't fit a product of shape {tuple(product.shape)}",
            hint="it must have one element for each output feature",
        )
    return result


def _check_weight(weight: Any, bias: Any) -> None:
    if weight.ndim > 2 or (weight.ndim < 2 and bias is not None):
        raise ShapeError(
            f"linear: the weight must be a matrix, or a vector without a bias, but its shape is {tuple(weight.shape)}",
            hint="matmul takes batches of matrices",
        )


# Products added to something


def _added_product(
    name: str, multiply: Callable[[Any, Any], Any], x: Any, beta: float, alpha: float, **factors: Any
) -> Any:
    """The sum beta · x + alpha · the product of two factors, all three of one type."""
    first, second = factors.values()
    if x.dtype is not first.dtype:  # the product itself compares the factors
        check_dtypes(name, input=x, **factors)
    return _scaled_sum(name, x, multiply(first, second), beta, alpha)


def _scaled_sum(name: str, x: Any, product: Any, beta: float, alpha: float) -> Any:
    """The sum beta · x + alpha · product; with beta = 0, torch doesn't look at ``x`` (nor at NaN in it)."""
    if is_recorded(beta, alpha):
        raise not_a_number()
    product = product if alpha == 1 else torch.mul(product, alpha)
    if beta == 0:
        expanded = torch.broadcast_to(x, product.shape)
        return copy(expanded, product) if is_recorded(x) else product
    total = torch.add(x if beta == 1 else torch.mul(x, beta), product)
    if total.shape != product.shape:
        raise ShapeError(
            f"{name}: 'input' of shape {tuple(x.shape)} can't be expanded to the product's {tuple(product.shape)}",
            hint="only the product says how large the result is",
        )
    return total


@composite(names="addmm", aten="addmm.default")
def addmm(x: Any, mat1: Any, mat2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """Adds to a product: beta · x + alpha · (mat1 · mat2)."""
    return _added_product("addmm", mm, x, beta, alpha, mat1=mat1, mat2=mat2)


@composite(names="addmv", aten="addmv.default")
def addmv(x: Any, mat: Any, vec: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """Adds to a product: beta · x + alpha · (mat · vec)."""
    return _added_product("addmv", mv, x, beta, alpha, mat=mat, vec=vec)


@composite(names="baddbmm", aten="baddbmm.default")
def baddbmm(x: Any, batch1: Any, batch2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """Adds to a product: beta · x + alpha · (batch1 · batch2), for each pair of matrices."""
    return _added_product("baddbmm", bmm, x, beta, alpha, batch1=batch1, batch2=batch2)


@composite(names="addbmm", aten="addbmm.default")
def addbmm(x: Any, batch1: Any, batch2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """Adds to a product: beta · x + alpha · Σ (batch1 · batch2), summed over the batch."""
    return _added_product("addbmm", _summed_products, x, beta, alpha, batch1=batch1, batch2=batch2)


def _summed_products(batch1: Any, batch2: Any) -> Any:
    return sum(bmm(batch1, batch2), 0)


@composite(names="addr", aten="addr.default")
def addr(x: Any, vec1: Any, vec2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """Adds to a product: beta · x + alpha · (vec1 ⊗ vec2)."""
    product = outer(vec1, vec2)
    if x.dtype is not product.dtype:  # unlike the others it promotes; an input without axes too, which is expanded
        common = torch.promote_types(x.dtype, product.dtype)
        x, product = x.to(common), product.to(common)
    return _scaled_sum("addr", x, product, beta, alpha)


# Products with sparse matrices, as of a graph


@composite(names="torch.sparse.mm", aten="_sparse_mm.default")
def sparse_mm(mat1: Any, mat2: Any) -> Any:
    """The product of a sparse matrix, which is a constant, with a dense one.

    Args:
        mat1: (m, n), sparse.
        mat2: (n, p).

    Returns:
        The product, dense.

    Raises:
        UnsupportedError: If the sparse matrix requires grad.
    """
    if is_recorded(mat1):
        raise UnsupportedError(
            "sparse.mm: the sparse matrix requires grad, which isn't offered",
            hint="make it dense, with .to_dense(), or give the values of edges by index_add",
        )
    return matmul_(mat1, mat2)


# The product of vectors in space


@composite(names="", aten="linalg_cross.default")
def _cross(x: Any, other: Any, *, dim: int = -1) -> Any:
    """The cross product, xᵢ₊₁ · yᵢ₊₂ − xᵢ₊₂ · yᵢ₊₁, of vectors along an axis of size three."""
    check_dtypes("linalg.cross", input=x, other=other)
    if x.ndim != other.ndim:
        raise ShapeError(
            f"linalg.cross: inputs must have the same number of dimensions, got {tuple(x.shape)} and "
            f"{tuple(other.shape)}"
        )
    dim = axis_of(dim, x.ndim, "linalg.cross")
    if x.shape[dim] != 3 or other.shape[dim] != 3:
        raise ShapeError(
            f"linalg.cross: axis {dim} must have size 3 in both inputs, got {tuple(x.shape)} and {tuple(other.shape)}"
        )
    return cross_(x, other, dim)


@primitive(broadcasts=True)
def cross_(x: Tensor, other: Tensor, dim: int) -> Any:
    """The cross product of vectors along an axis."""
    return torch.linalg.cross(x, other, dim=dim)


@cross_.vjp("x")
def cross_wrt_x(grad: Tensor, other: Tensor, dim: int) -> Any:
    return torch.linalg.cross(other, grad, dim=dim)  # g · (dx × y) = dx · (y × g)


@cross_.vjp("other")
def cross_wrt_other(grad: Tensor, x: Tensor, dim: int) -> Any:
    return torch.linalg.cross(grad, x, dim=dim)  # g · (x × dy) = dy · (g × x)


# Products of groups of rows, as in a mixture of experts


@primitive
def grouped_mm_(x: Tensor, mat2: Tensor, offs: Tensor) -> Tensor:
    """X_g · Y_g for each group g; ``offs`` says where the groups end.

    With matrices mat2 (g, k, n) the groups are rows of x (t, k), and the result is (t, n).  With mat2 (t, n) they are
    columns of x (m, t) and rows of mat2, and the result is (g, m, n).
    """
    x, mat2 = (each if 1 in each.stride()[-2:] else each.contiguous() for each in (x, mat2))
    return torch._grouped_mm(x, mat2, offs=offs)


@grouped_mm_.vjp("x")
def grouped_mm_wrt_x(grad: Tensor, mat2: Tensor, offs: Tensor) -> Any:
    # dL/dX_g = dL/dZ_g · Y_gᵀ; where the groups are columns of X, its transpose
    if mat2.ndim == 3:
        return grouped_mm_(grad, mat2.mT, offs)
    return grouped_mm_(mat2, grad.mT, offs).mT


@grouped_mm_.vjp("mat2")
def grouped_mm_wrt_mat2(grad: Tensor, x: Tensor, offs: Tensor) -> Any:
    # dL/dY_g = X_gᵀ · dL/dZ_g
    return grouped_mm_(x.mT, grad, offs)


@composite(names="torch._grouped_mm", aten="_grouped_mm.default")
def grouped_mm(x: Any, mat2: Any, offs: Any = None, bias: None = None, out_dtype: torch.dtype | None = None) -> Any:
    """The products of groups of rows or columns with a matrix each: torch's ``nn.functional.grouped_mm``.

    Args:
        x: (t, k), in groups of rows; (m, t), in groups of columns; or (g, m, k).
        mat2: (g, k, n), a matrix for each group; (t, n), in groups of rows; or for (g, m, k) (g, k, n) or (k, t).
        offs: Where each group ends, as int32; none if both are batches of matrices.
        bias: Not offered, as in torch.
        out_dtype: The result's element type.

    Returns:
        (t, n), (g, m, n) or (m, t).
    """
    if bias is not None:
        raise UnsupportedError("grouped_mm: a bias isn't offered", hint="add it to the product")
    if offs is None:
        product = bmm(x, mat2)
    elif x.ndim == 3:
        product = grouped_mm_(mat2.mT, x.mT, offs).mT
    else:
        product = grouped_mm_(x, mat2, offs)
    return product if out_dtype is None else product.to(out_dtype)
