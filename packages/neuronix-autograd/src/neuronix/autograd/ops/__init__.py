"""All operations of `neuronix.autograd`, by what they do.

| file | operations |
|---|---|
| ``arithmetic.py`` | + - * / ** // %, maximum, minimum, clamp, where |
| ``comparisons.py`` | == < isnan logical_and & ~, … |
| ``complex_numbers.py`` | real, imag, conj, angle, … |
| ``elementwise.py`` | exp, log, sqrt, sin, tanh, … |
| ``special.py`` | lgamma, digamma, Bessel functions, … |
| ``activations.py`` | relu, gelu, softmax, … |
| ``shapes.py`` | reshape, transpose, expand, squeeze, … |
| ``conversions.py`` | clone, detach, to, zeros_like, … |
| ``running.py`` | cumsum, cumprod, … |
| ``reductions.py`` | sum, mean, var, prod, logsumexp, norm, … |
| ``selections.py`` | max, min, median, sort, topk, argmax, … |
| ``joining.py`` | cat, stack, split, unbind, flip, diagonal, pad, … |
| ``indexing.py`` | x[i], x[i] = v, masked_fill, … |
| ``gathering.py`` | gather, scatter, index_select, index_add, … |
| ``segments.py`` | segment_reduce |
| ``linalg.py`` | matmul, linear, dot, addmm, … |
| ``contractions.py`` | einsum, tensordot, … |
| ``factorizations.py`` | cholesky, lu, qr, eigh, svd, … |
| ``systems.py`` | solve, inv, det, pinv, lstsq, matrix_exp, … |
| ``spectral.py`` | Fourier transforms |
| ``distances.py`` | cdist, pdist |
| ``random_numbers.py`` | torch's draws from distributions whose parameters are tensors |
"""

# ruff: noqa: F403, PLE0604  (each file says in its own __all__ what it offers)

from neuronix.autograd.ops import (
    activations,
    arithmetic,
    comparisons,
    complex_numbers,
    contractions,
    conversions,
    distances,
    elementwise,
    factorizations,
    gathering,
    indexing,
    joining,
    linalg,
    random_numbers,
    reductions,
    running,
    segments,
    selections,
    shapes,
    special,
    spectral,
    systems,
)
from neuronix.autograd.ops.activations import *
from neuronix.autograd.ops.arithmetic import *
from neuronix.autograd.ops.comparisons import *
from neuronix.autograd.ops.complex_numbers import *
from neuronix.autograd.ops.contractions import *
from neuronix.autograd.ops.conversions import *
from neuronix.autograd.ops.distances import *
from neuronix.autograd.ops.elementwise import *
from neuronix.autograd.ops.factorizations import *
from neuronix.autograd.ops.gathering import *
from neuronix.autograd.ops.indexing import *
from neuronix.autograd.ops.joining import *
from neuronix.autograd.ops.linalg import *
from neuronix.autograd.ops.random_numbers import *
from neuronix.autograd.ops.reductions import *
from neuronix.autograd.ops.running import *
from neuronix.autograd.ops.segments import *
from neuronix.autograd.ops.selections import *
from neuronix.autograd.ops.shapes import *
from neuronix.autograd.ops.special import *
from neuronix.autograd.ops.spectral import *
from neuronix.autograd.ops.systems import *

__all__ = [
    *activations.__all__,
    *arithmetic.__all__,
    *comparisons.__all__,
    *complex_numbers.__all__,
    *contractions.__all__,
    *conversions.__all__,
    *distances.__all__,
    *elementwise.__all__,
    *factorizations.__all__,
    *gathering.__all__,
    *indexing.__all__,
    *joining.__all__,
    *linalg.__all__,
    *random_numbers.__all__,
    *reductions.__all__,
    *running.__all__,
    *segments.__all__,
    *selections.__all__,
    *shapes.__all__,
    *special.__all__,
    *spectral.__all__,
    *systems.__all__,
]
