"""`Parameter`: a leaf tensor that a module finds by itself."""

from __future__ import annotations

from typing import Any

from neuronix.autograd import CustomTensor

__all__ = ["Parameter"]


class Parameter(CustomTensor):
    """A `CustomTensor` that registers itself with the [`Module`][neuronix.nn.Module] it is assigned to.

    It overrides nothing but the default of ``requires_grad``.

    Args:
        data: A torch tensor (which then *is* ``.data``), another tensor, a numpy array or nested lists.
        requires_grad: Whether gradients are to be computed with respect to it.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> class Scale(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.factor = nn.Parameter(torch.tensor(2.0))
        ...     def forward(self, x):
        ...         return x * self.factor
        >>> [name for name, _ in Scale().named_parameters()]
        ['factor']
    """

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad=requires_grad)
