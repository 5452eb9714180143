"""ATen's array kernels for losses, with types: a forward for each primitive, a fused backward where ATen has one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = [
    "bce",
    "bce_backward",
    "bce_with_logits",
    "ctc",
    "ctc_backward",
    "huber",
    "huber_backward",
    "mse",
    "mse_backward",
    "nll",
    "nll_backward",
    "nll_images",
    "nll_images_backward",
    "smooth_l1",
    "smooth_l1_backward",
]

mse: Callable[..., Tensor] = torch.ops.aten.mse_loss.default
mse_backward: Callable[..., Tensor] = torch.ops.aten.mse_loss_backward.default
smooth_l1: Callable[..., Tensor] = torch.ops.aten.smooth_l1_loss.default
smooth_l1_backward: Callable[..., Tensor] = torch.ops.aten.smooth_l1_loss_backward.default
huber: Callable[..., Tensor] = torch.ops.aten.huber_loss.default
huber_backward: Callable[..., Tensor] = torch.ops.aten.huber_loss_backward.default
nll: Callable[..., tuple[Tensor, Tensor]] = torch.ops.aten.nll_loss_forward.default
nll_images: Callable[..., tuple[Tensor, Tensor]] = torch.ops.aten.nll_loss2d_forward.default
nll_backward: Callable[..., Tensor] = torch.ops.aten.nll_loss_backward.default
nll_images_backward: Callable[..., Tensor] = torch.ops.aten.nll_loss2d_backward.default
bce: Callable[..., Tensor] = torch.ops.aten.binary_cross_entropy.default
bce_backward: Callable[..., Tensor] = torch.ops.aten.binary_cross_entropy_backward.default
bce_with_logits: Callable[..., Tensor] = torch.binary_cross_entropy_with_logits
ctc: Callable[..., tuple[Tensor, Tensor]] = torch.ops.aten._ctc_loss.Tensor
ctc_backward: Callable[..., Tensor] = torch.ops.aten._ctc_loss_backward.Tensor
