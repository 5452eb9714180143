"""What layers and functions take."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from neuronix.autograd import CustomTensor

__all__ = ["Size", "TensorLike"]

TensorLike: TypeAlias = CustomTensor | Tensor | np.ndarray[Any, Any]
"""A tensor; torch tensors and numpy arrays are constants."""

Size: TypeAlias = int | tuple[int, ...]
"""One number for each spatial axis, or one for all."""
