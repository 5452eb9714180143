"""AdamW on NumPy arrays, for peers that have no such optimizer."""

from __future__ import annotations

from typing import Any

import numpy as np
import worker


class AdamW:
    """Loshchilov & Hutter 2019, in place, with PyTorch's defaults."""

    def __init__(self, parameters: list[Any]) -> None:
        self.parameters = parameters
        self.first = [np.zeros_like(p) for p in parameters]
        self.second = [np.zeros_like(p) for p in parameters]
        self.steps = 0

    def update(self, grads: list[Any]) -> None:
        """One step down."""
        self.steps += 1
        first_correction = 1 - worker.BETA1**self.steps
        root_correction = (1 - worker.BETA2**self.steps) ** 0.5
        for p, grad, m, v in zip(self.parameters, grads, self.first, self.second, strict=True):
            p *= 1 - worker.LEARNING_RATE * worker.DECAY
            m += (1 - worker.BETA1) * (grad - m)
            v *= worker.BETA2
            v += (1 - worker.BETA2) * grad * grad
            p -= (worker.LEARNING_RATE / first_correction) * m / (np.sqrt(v) / root_correction + worker.EPSILON)
