"""The learnt numbers of a normalisation: ``weight``, which it is multiplied with, and ``bias``, which is added."""

from __future__ import annotations

from typing import Any

import torch

from neuronix.nn import init
from neuronix.nn.parameter import Parameter

__all__ = ["add_scale_and_shift", "reset_scale_and_shift"]


def add_scale_and_shift(
    layer: Any,
    shape: int | tuple[int, ...],
    *,
    weight: bool,
    bias: bool,
    device: torch.device | str | None,
    dtype: torch.dtype | None,
) -> None:
    """Register both parameters, without values yet; one that there isn't to be is ``None``."""
    for name, wanted in (("weight", weight), ("bias", bias)):
        made = Parameter(torch.empty(shape, device=device, dtype=dtype)) if wanted else None
        layer.register_parameter(name, made)


def reset_scale_and_shift(layer: Any) -> None:
    """Set weights to one and biases to zero, so that neither does anything."""
    if layer.weight is not None:
        init.ones_(layer.weight)
    if layer.bias is not None:
        init.zeros_(layer.bias)
