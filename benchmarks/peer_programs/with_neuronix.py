"""Neuronix's side, step by step and with the whole step compiled."""

from __future__ import annotations

from typing import Any

import torch_like
import worker

from neuronix import autograd, losses, nn, optim


def compile_step(step: Any, model: Any, optimizer: Any) -> Any:
    """The whole step, compiled at its first call."""
    return autograd.compile(step, state=(model, optimizer))


EAGER = torch_like.Library(
    nn,
    losses,
    optim,
    lambda values: autograd.CustomTensor(values.clone(), requires_grad=True),
    autograd.CustomTensor,
    autograd.grad,
)
VARIANTS = {
    "eager": torch_like.workloads(EAGER),
    "compiled": torch_like.workloads(EAGER._replace(compile=compile_step)),
}
ENGINE = (
    "anomaly.py", "backward.py", "codegen.py", "errors.py", "fallback.py", "graph.py", "inplace.py", "modes.py",
    "node.py", "primitive.py", "products.py", "recording.py", "registry.py", "saved_tensors.py", "tensor.py",
    "torch_function.py",
)  # fmt: skip

if __name__ == "__main__":
    worker.serve("neuronix-autograd", "neuronix.autograd", ENGINE, VARIANTS, torch_like.questions(EAGER))
