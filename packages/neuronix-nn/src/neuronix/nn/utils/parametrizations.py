"""Parametrizations of weights: a norm apart from the direction, a norm of one, orthogonal columns.

Names, arguments and ``state_dict`` keys of ``torch.nn.utils.parametrizations``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, no_grad
from neuronix.autograd.errors import AxisError
from neuronix.nn.conv import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from neuronix.nn.errors import LayerArgumentError
from neuronix.nn.module import Module
from neuronix.nn.tensor_like import TensorLike
from neuronix.nn.utils.parametrize import register_parametrization

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]

M = TypeVar("M", bound=Module)


def _weight_of(module: Module, name: str) -> Any:
    weight = getattr(module, name, None)
    if not isinstance(weight, (Tensor, CustomTensor)):
        raise LayerArgumentError(f"{type(module).__name__} has no parameter or buffer with name {name!r}")
    return weight


# Weight normalisation


def weight_norm(module: M, name: str = "weight", dim: int | None = 0) -> M:
    r"""Learn the norm of a weight apart from its direction: $w = g\, v / \lVert v \rVert$.

    Args:
        module: The layer.
        name: The name of its weight.
        dim: The axis along which each slice has a norm of its own (the outputs, for most layers); ``None`` for one norm
            of the whole weight.

    Returns:
        The layer, with $g$ as ``parametrizations.weight.original0`` and $v$ as ``original1``.  States of the older form
        (``weight_g``, ``weight_v``) are loaded, too.

    Raises:
        LayerArgumentError: If it has no such weight.

    Example:
        >>> from neuronix import nn
        >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
        >>> {key: tuple(value.shape) for key, value in layer.named_parameters()}
        {'bias': (2,), 'parametrizations.weight.original0': (2, 1), 'parametrizations.weight.original1': (2, 3)}

    References:
        Salimans & Kingma 2016, Weight normalization.
    """
    _weight_of(module, name)
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)
    module.register_load_state_dict_pre_hook(partial(_take_older_names, name))
    return module


def _take_older_names(name: str, module: Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    older = [f"{prefix}{name}_{letter}" for letter in "gv"]
    if all(key in state for key in older):
        for number, key in enumerate(older):
            state[f"{prefix}parametrizations.{name}.original{number}"] = state.pop(key)


def norm_except(v: Any, dim: int) -> Any:
    """The norm over all axes but one, which keeps its place; over all for -1."""
    if dim == -1:
        return torch.linalg.vector_norm(v)
    return torch.linalg.vector_norm(v, dim=tuple(axis for axis in range(v.ndim) if axis != dim), keepdim=True)


class _WeightNorm(Module):
    def __init__(self, dim: int | None) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, g: TensorLike, v: TensorLike) -> Any:
        return v * (g / norm_except(v, self.dim))

    def right_inverse(self, weight: TensorLike) -> tuple[Any, Any]:
        return norm_except(weight, self.dim), weight


# Spectral normalisation


def spectral_norm(
    module: M, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> M:
    r"""Divide a weight by its largest singular value, so that the layer can't stretch anything: $W / \sigma(W)$.

    With the singular vectors $u$, $v$ of the largest singular value, $\sigma = u^\mathsf{H} W v$.  They are
    approximated: each use of the weight in training makes ``n_power_iterations`` steps of the power method, in which
    $u$ becomes $W v$ and $v$ becomes $W^\mathsf{H} u$, with norm 1.  They count as constants.  A weight with one axis
    is divided by its norm.

    Args:
        module: The layer.
        name: The name of its weight.
        n_power_iterations: Steps for each use.
        eps: The least norm that is divided by.
        dim: The axis of the outputs; the others are joined into one.  By default 0, and 1 for transposed convolutions.

    Returns:
        The layer, with $W$ as ``parametrizations.weight.original``, and $u$, $v$ as buffers ``_u``, ``_v``.

    Raises:
        LayerArgumentError: If it has no such weight, or there are no steps.
        AxisError: If the weight has no such axis.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> layer = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 2), n_power_iterations=30)
        >>> round(torch.linalg.matrix_norm(layer.weight, 2).item(), 3)
        1.0

    References:
        Miyato et al. 2018, Spectral normalization for generative adversarial networks.
    """
    weight = _weight_of(module, name)
    if dim is None:
        dim = 1 if isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)) else 0
    values = weight.data if isinstance(weight, CustomTensor) else weight
    return register_parametrization(module, name, _SpectralNorm(values, n_power_iterations, dim, eps))


class _SpectralNorm(Module):
    _u: Tensor  # (rows,)
    _v: Tensor  # (columns,)

    def __init__(self, weight: Tensor, n_power_iterations: int, dim: int, eps: float) -> None:
        super().__init__()
        if not -weight.ndim <= dim < weight.ndim:
            raise AxisError(f"spectral_norm: dim={dim} is out of range for a weight of shape {tuple(weight.shape)}")
        if n_power_iterations <= 0:
            raise LayerArgumentError(f"spectral_norm: n_power_iterations must be positive, got {n_power_iterations}")
        self.dim = dim % weight.ndim
        self.eps = eps
        self.n_power_iterations = n_power_iterations
        if weight.ndim > 1:
            matrix = self._matrix(weight)
            for name, size in zip(("_u", "_v"), matrix.shape, strict=True):
                self.register_buffer(name, self._normalized(matrix.new_empty(size).normal_()))
            self._step(matrix, 15)  # a good start

    def _matrix(self, weight: Any) -> Any:  # (rows, columns), a row for each output
        return weight.movedim(self.dim, 0).flatten(1)

    def _normalized(self, vector: Any) -> Any:
        return vector / torch.linalg.vector_norm(vector).clamp_min(self.eps)

    def _step(self, matrix: Tensor, times: int) -> None:
        """Change the buffers in place, by the power method."""
        for _ in range(times):
            self._u.copy_(self._normalized(matrix @ self._v))
            self._v.copy_(self._normalized(matrix.mH @ self._u))

    def forward(self, weight: Any) -> Any:
        if weight.ndim == 1:
            return self._normalized(weight)
        matrix = self._matrix(weight)
        if self.training:
            self._step(matrix.data if isinstance(matrix, CustomTensor) else matrix, self.n_power_iterations)
        # Copies, for the next use changes the buffers, and this one's gradient needs them as they are.
        u, v = self._u.clone(), self._v.clone()
        return weight / (u.conj() * (matrix @ v)).sum()

    def right_inverse(self, value: Any) -> Any:
        return value


# Orthogonal matrices


def orthogonal(
    module: M, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> M:
    r"""Keep a weight orthogonal: $Q^\mathsf{H} Q = I$ for (…, m, n) with m ≥ n, and $Q Q^\mathsf{H} = I$ otherwise.

    It is computed from a matrix of the same shape by one of three maps, which don't look above its diagonal:

    - ``"matrix_exp"``: $\exp A$ of a skew-Hermitian matrix $A = X - X^\mathsf{H}$.
    - ``"cayley"``: $(I - A/2)^{-1} (I + A/2)$.
    - ``"householder"``: a product of reflections $I - \tau_i a_i a_i^\mathsf{T}$, real only.

    Args:
        module: The layer.
        name: The name of its weight, a matrix or a batch of them.
        orthogonal_map: The map; by default ``"matrix_exp"`` if it is square or complex, else ``"householder"``.
        use_trivialization: Whether the result is ``base @ Q`` with a constant matrix ``base``, so that optimization
            starts at the identity, where the map is best behaved.

    Returns:
        The layer.  If its weight was orthogonal it keeps its value; otherwise it is made so by a QR decomposition.

    Raises:
        LayerArgumentError: If it has no such weight, that is a vector, or the map is unknown.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> layer = nn.utils.parametrizations.orthogonal(nn.Linear(2, 4))
        >>> bool(torch.allclose((layer.weight.mT @ layer.weight).data, torch.eye(2), atol=1e-6))
        True

    References:
        Lezcano-Casado 2019, Trivializations for gradient-based optimization on manifolds.
    """
    weight = _weight_of(module, name)
    if weight.ndim < 2:
        raise LayerArgumentError(f"orthogonal: a matrix or a batch of matrices is expected, got {tuple(weight.shape)}")
    if orthogonal_map is None:
        square = weight.shape[-2] == weight.shape[-1]
        orthogonal_map = "matrix_exp" if square or weight.is_complex() else "householder"
    made = _Orthogonal(weight.shape, weight.is_complex(), orthogonal_map, use_trivialization)
    return register_parametrization(module, name, made, unsafe=True)


class _Orthogonal(Module):
    base: Tensor | None  # (…, m, m) for m ≥ n, else (…, n, n)

    def __init__(self, shape: torch.Size, is_complex: bool, orthogonal_map: str, use_trivialization: bool) -> None:
        super().__init__()
        if orthogonal_map not in _MAPS:
            raise LayerArgumentError(
                f"orthogonal: orthogonal_map must be one of {', '.join(map(repr, _MAPS))}, got {orthogonal_map!r}"
            )
        if is_complex and orthogonal_map == "householder":
            raise LayerArgumentError("orthogonal: the Householder map has no complex form")
        self.shape = shape
        self.orthogonal_map = orthogonal_map
        self.use_trivialization = use_trivialization
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, x: Any) -> Any:
        wide = x.shape[-2] < x.shape[-1]
        q = _MAPS[self.orthogonal_map](x.mT if wide else x)
        if self.use_trivialization:
            q = self.base @ q
        return q.mT if wide else q

    @no_grad()
    def right_inverse(self, q: Any) -> Any:
        values = q.data if isinstance(q, CustomTensor) else q
        if values.shape != self.shape:
            raise LayerArgumentError(f"orthogonal: expected the shape {tuple(self.shape)}, got {tuple(values.shape)}")
        wide = values.shape[-2] < values.shape[-1]
        tall = values.mT if wide else values
        if self.use_trivialization:
            self.base = _completed(tall)
            start = torch.zeros_like(values)  # where each map gives the identity, as -1 is the sign of a reflection
            start.diagonal(dim1=-2, dim2=-1).fill_(-1)
            return start
        if self.orthogonal_map != "householder":
            raise NotImplementedError(
                "orthogonal: the inverse of the Cayley map and of the matrix exponential isn't known for matrices that "
                "aren't square; with use_trivialization=True any value can be assigned"
            )
        reflections, tau = torch.geqrf(tall)
        diagonal = reflections.diagonal(dim1=-2, dim2=-1)  # of R, whose signs would be lost
        diagonal.sign_()
        diagonal[tau == 0] *= -1  # LAPACK's mark of a reflection that it left out
        return reflections.mT if wide else reflections


def _completed(tall: Any) -> Any:
    """A square orthogonal matrix whose first columns are those of ``tall``, or made of them by Gram and Schmidt."""
    rows, columns = tall.shape[-2:]
    if rows == columns:
        identity = torch.eye(rows, dtype=tall.dtype, device=tall.device)
        if torch.allclose(tall.mH @ tall, identity, atol=10 * rows * torch.finfo(tall.dtype).eps):
            return tall.clone()
    more = torch.randn(*tall.shape[:-2], rows, rows - columns, dtype=tall.dtype, device=tall.device)
    q, r = torch.linalg.qr(torch.cat([tall, more], -1))
    signs = r.diagonal(dim1=-2, dim2=-1).sgn()
    return q * signs.unsqueeze(-2)  # with a positive diagonal of R it is unique


def _skew_hermitian(x: Any) -> Any:  # of a tall matrix: (…, m, m)
    lower = x.tril()
    rows, columns = x.shape[-2:]
    lower = torch.cat([lower, lower.new_zeros(*x.shape[:-1], rows - columns)], -1)
    return lower - lower.mH


def _by_exponential(x: Any) -> Any:
    return torch.linalg.matrix_exp(_skew_hermitian(x))[..., : x.shape[-1]]


def _by_cayley(x: Any) -> Any:
    half = _skew_hermitian(x) / 2
    identity = torch.eye(half.shape[-1], dtype=half.dtype, device=half.device)
    return torch.linalg.solve(identity - half, identity + half)[..., : x.shape[-1]]


def _by_reflections(x: Any) -> Any:
    below = x.tril(-1)
    tau = 2 / (1 + below.square().sum(-2))
    q = torch.linalg.householder_product(below, tau)
    # The diagonal holds signs, which aren't trained: as integers they are constants.
    return q * x.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2)


_MAPS: Mapping[str, Any] = {"matrix_exp": _by_exponential, "cayley": _by_cayley, "householder": _by_reflections}
