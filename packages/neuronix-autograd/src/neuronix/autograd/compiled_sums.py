"""An option: sum gradients back to the shapes of broadcast arguments by code that torch.compile has made.

That sum stands on the critical path of every pass through a bias, so compiling it is an obvious idea.  It loses: the
sum is one kernel, of which a compiler has nothing to fuse, and calling compiled code costs more than calling the
kernel.  So it is off by default; `benchmarks/kernels.py` measures it.  What gains is compiling a whole step.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextvars import ContextVar
from types import FunctionType
from typing import cast

import torch
from torch import Tensor

from neuronix.autograd.modes import _FixedMode

__all__ = ["compiled_reductions", "sum_back", "uses_compiled_reductions"]

_compiled_reductions: ContextVar[bool] = ContextVar("compiled_reductions", default=False)
uses_compiled_reductions = _compiled_reductions.get

# (the gradient's shape and dtype, the argument's) -> compiled code
_Key = tuple[torch.Size, torch.dtype, torch.Size, torch.dtype]
_programs: dict[_Key, Callable[[Tensor], Tensor]] = {}


class compiled_reductions(_FixedMode):
    """Sum gradients back to the shapes of broadcast arguments by compiled code.  A context manager and a decorator.

    The gradients are the same up to rounding.  The first sum of each shape compiles, which takes seconds; recorded
    passes (``create_graph=True``), complex numbers and passes under ``torch.vmap`` or a tracer stay as they are.  It
    was slower than the default wherever it was measured; see the page on fused kernels.

    Example:
        >>> from neuronix.autograd import compiled_reductions, tensor
        >>> x, bias = tensor([[1.0, 2.0], [3.0, 4.0]]), tensor([0.0, 0.0], requires_grad=True)
        >>> y = (x * (x + bias)).sum()
        >>> with compiled_reductions():
        ...     y.backward()
        >>> bias.grad
        tensor([4., 6.])
    """

    variable = _compiled_reductions
    fixed = True


def sum_back(grad: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor | None:
    """``grad`` summed to ``shape`` and cast to ``dtype`` by compiled code; ``None`` where that isn't offered."""
    if type(grad) is not Tensor or grad.is_complex() or torch._C._functorch.is_batchedtensor(grad):
        return None
    if torch._C._len_torch_dispatch_stack():  # somebody is watching or tracing the operations
        return None
    key = (grad.shape, grad.dtype, shape, dtype)
    program = _programs.get(key)
    if program is not None:
        return program(grad)
    program = _programs[key] = _compile(shape, dtype)
    with warnings.catch_warnings():  # torch's compiler uses what torch deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        return program(grad)


def _compile(shape: torch.Size, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    def summed(grad: Tensor) -> Tensor:
        return grad.sum_to_size(shape).to(dtype)

    # torch.compile gives up on a function that needs many versions, and counts them by its code: one code each.
    code = summed.__code__.replace(co_name=f"summed_{len(_programs)}")
    alone = FunctionType(code, summed.__globals__, code.co_name, None, summed.__closure__)
    return cast(Callable[[Tensor], Tensor], torch.compile(alone, dynamic=False, fullgraph=True))
