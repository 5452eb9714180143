"""PyTorch's side: the unit of the table, and its own compiler."""

from __future__ import annotations

from typing import Any

import torch
import torch_like
import worker


def compile_step(step: Any, model: Any, optimizer: Any) -> Any:
    """Forward and backward by `torch.compile`; the update is the default optimizer's."""
    model.compile()
    return step


EAGER = torch_like.Library(
    torch.nn,
    torch.nn,
    torch.optim,
    lambda values: values.clone().requires_grad_(),
    lambda values: values,
    torch.autograd.grad,
)
VARIANTS = {
    "eager": torch_like.workloads(EAGER),
    "compiled": torch_like.workloads(EAGER._replace(compile=compile_step)),
}

if __name__ == "__main__":
    worker.serve("torch", "torch", (), VARIANTS, torch_like.questions(EAGER))
