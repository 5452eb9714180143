"""Checks that several operations share: what torch's kernels refuse, where ours are made of more lenient ones."""

from __future__ import annotations

from typing import Any

import torch

from neuronix.autograd.errors import DtypeError

__all__ = ["check_dtypes"]


def check_dtypes(name: str, **tensors: Any) -> None:
    """Refuse tensors of several element types: products and solvers don't promote.

    Args:
        name: The operation, for the error.
        tensors: The arguments by their names; ``None`` for one that is left out.

    Raises:
        DtypeError: If two have different types, unless ``torch.autocast`` is going to convert them.
    """
    types = [x.dtype for x in tensors.values() if x is not None]
    if all(dtype is types[0] for dtype in types) or torch._C._is_any_autocast_enabled():
        return
    given = ", ".join(f"{name} {str(x.dtype)[6:]}" for name, x in tensors.items() if x is not None)
    raise DtypeError(
        f"{name}: the arguments must have the same dtype, but got {given}", hint="convert one of them with .to()"
    )
