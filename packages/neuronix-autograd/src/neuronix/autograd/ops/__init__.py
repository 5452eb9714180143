"""All operations of `neuronix.autograd`, by what they do.

| file | operations |
|---|---|
| ``arithmetic.py`` | + - * / ** // %, maximum, minimum, clamp, where |
| ``comparisons.py`` | == < isnan logical_and & ~, … |
| ``complex_numbers.py`` | real, imag, conj, angle, … |
| ``elementwise.py`` | exp, log, sqrt, sin, tanh, … |
| ``activations.py`` | relu, gelu, softmax, … |
| ``reductions.py`` | sum, mean, var, max, prod, logsumexp, … |
| ``shapes.py`` | reshape, transpose, expand, cat, stack, split, detach, clone, to, … |
| ``indexing.py`` | x[i], x[i] = v, gather, index_select, masked_fill, … |
| ``linalg.py`` | matmul, linear, dot, einsum |
"""

from neuronix.autograd.ops import (
    activations,
    arithmetic,
    comparisons,
    complex_numbers,
    elementwise,
    indexing,
    linalg,
    reductions,
    shapes,
)
from neuronix.autograd.ops.activations import *
from neuronix.autograd.ops.arithmetic import *
from neuronix.autograd.ops.comparisons import *
from neuronix.autograd.ops.complex_numbers import *
from neuronix.autograd.ops.elementwise import *
from neuronix.autograd.ops.indexing import *
from neuronix.autograd.ops.linalg import *
from neuronix.autograd.ops.reductions import *
from neuronix.autograd.ops.shapes import *

__all__ = [
    *activations.__all__,
    *arithmetic.__all__,
    *comparisons.__all__,
    *complex_numbers.__all__,
    *elementwise.__all__,
    *indexing.__all__,
    *linalg.__all__,
    *reductions.__all__,
    *shapes.__all__,
]
