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
    "backward.py", "gradients.py", "graph.py", "modes.py", "node.py", "tensor.py",
    "primitive/__init__.py", "primitive/calls.py", "primitive/codegen.py", "primitive/names.py",
    "primitive/pullbacks.py", "primitive/runtime.py",
    "dispatch/fallback.py", "dispatch/inplace.py", "dispatch/registry.py", "dispatch/torch_function.py",
    "errors/__init__.py", "errors/messages.py", "transforms/products.py", "watching/anomaly.py", "watching/hooks.py",
    "watching/saved_tensors.py", "watching/watcher.py",
)  # fmt: skip

if __name__ == "__main__":
    worker.serve("neuronix-autograd", "neuronix.autograd", ENGINE, VARIANTS, torch_like.questions(EAGER))
