"""The functions of layers against torch's: values, gradients of first and second order, by fused kernels and by rules.

Each row calls ``torch.nn.functional.<name>``, with CustomTensors and with torch's tensors, so that it also tests that
torch's functions find ours.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from neuronix.autograd import CustomTensor, grad, rules_only
from neuronix.autograd.testing import check_against_finite_differences
from neuronix.nn import functional

DTYPES = [torch.float64, torch.float32]


class Make:
    """Seeded inputs that require grad unless told otherwise."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        self.dtype = dtype
        self.generator = torch.Generator().manual_seed(0)

    def real(self, *shape: int, requires_grad: bool = True) -> Tensor:
        made = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        return made.to(self.dtype).requires_grad_(requires_grad)

    def positive(self, *shape: int) -> Tensor:
        made = 0.5 + torch.rand(shape, generator=self.generator, dtype=torch.float64)
        return made.to(self.dtype)

    def uniform(self, *shape: int) -> Tensor:
        return self.positive(*shape) - 0.5

    def index(self, *shape: int, below: int) -> Tensor:
        return torch.randint(below, shape, generator=self.generator)


Inputs = Callable[[Make], tuple[Any, ...]]


def row(name: str, note: str, inputs: Inputs, *, torch_fails: bool = False, kinks: bool = False, **options: Any) -> Any:
    """A call ``F.name(*inputs, **options)``.

    ``torch_fails``: in its own second order, with an internal error; ours is then checked by finite differences.
    ``kinks``: the gradient isn't what finite differences find, on purpose.
    """
    return pytest.param(name, inputs, options, torch_fails, kinks, id=f"{name}-{note}".replace(" ", "_"))


CONVOLUTIONS = [
    row("conv1d", "plain", lambda m: (m.real(2, 3, 7), m.real(4, 3, 3), m.real(4))),
    row("conv1d", "unbatched", lambda m: (m.real(3, 7), m.real(4, 3, 3), m.real(4))),
    row("conv1d", "same, odd total", lambda m: (m.real(2, 3, 7), m.real(4, 3, 4), m.real(4)), padding="same"),
    row("conv2d", "plain", lambda m: (m.real(2, 3, 6, 5), m.real(4, 3, 3, 2), m.real(4))),
    row("conv2d", "no bias", lambda m: (m.real(2, 3, 6, 5), m.real(4, 3, 3, 3))),
    row("conv2d", "batch of one", lambda m: (m.real(1, 2, 5, 5), m.real(3, 2, 3, 3), m.real(3)), padding=1),
    row("conv2d", "pointwise", lambda m: (m.real(2, 4, 3, 3), m.real(5, 4, 1, 1), m.real(5))),
    row("conv2d", "kernel as large as image", lambda m: (m.real(2, 2, 4, 4), m.real(3, 2, 4, 4), m.real(3))),
    row("conv2d", "stride", lambda m: (m.real(2, 2, 9, 8), m.real(3, 2, 3, 3), m.real(3)), stride=(2, 3)),
    row("conv2d", "stride and padding", lambda m: (m.real(2, 2, 8, 7), m.real(3, 2, 3, 3)), stride=2, padding=(1, 2)),
    row(
        "conv2d", "dilation", lambda m: (m.real(2, 2, 9, 9), m.real(3, 2, 3, 2), m.real(3)), dilation=(2, 3), padding=2
    ),
    row("conv2d", "groups", lambda m: (m.real(2, 4, 5, 5), m.real(6, 2, 3, 3), m.real(6)), groups=2, padding=1),
    row("conv2d", "depthwise", lambda m: (m.real(2, 4, 5, 5), m.real(4, 1, 3, 3), m.real(4)), groups=4),
    row("conv2d", "same", lambda m: (m.real(2, 2, 5, 6), m.real(3, 2, 3, 3), m.real(3)), padding="same"),
    row(
        "conv2d",
        "same, odd totals",
        lambda m: (m.real(2, 2, 5, 6), m.real(3, 2, 2, 4), m.real(3)),
        padding="same",
        dilation=(3, 1),
    ),
    row("conv2d", "valid", lambda m: (m.real(2, 2, 5, 6), m.real(3, 2, 3, 3), m.real(3)), padding="valid"),
    row("conv2d", "unbatched", lambda m: (m.real(2, 5, 5), m.real(3, 2, 3, 3), m.real(3)), padding=1),
    row("conv2d", "unbatched, same", lambda m: (m.real(2, 5, 5), m.real(3, 2, 2, 2)), padding="same"),
    row("conv2d", "empty batch", lambda m: (m.real(0, 2, 5, 5), m.real(3, 2, 3, 3), m.real(3))),
    row("conv2d", "sizes in lists", lambda m: (m.real(1, 2, 5, 5), m.real(3, 2, 3, 3)), stride=[2], padding=[1, 0]),
    row("conv3d", "plain", lambda m: (m.real(2, 2, 4, 4, 3), m.real(3, 2, 2, 3, 2), m.real(3)), padding=(1, 0, 1)),
    row("conv_transpose1d", "plain", lambda m: (m.real(2, 3, 5), m.real(3, 2, 3), m.real(2)), stride=2),
    row("conv_transpose2d", "plain", lambda m: (m.real(2, 3, 4, 3), m.real(3, 2, 3, 3), m.real(2))),
    row(
        "conv_transpose2d",
        "everything",
        lambda m: (m.real(2, 4, 4, 3), m.real(4, 3, 3, 2), m.real(6)),
        stride=(2, 3),
        padding=(1, 0),
        output_padding=(1, 2),
        groups=2,
        dilation=(1, 2),
    ),
    row("conv_transpose2d", "unbatched", lambda m: (m.real(3, 4, 3), m.real(3, 2, 3, 3))),
    row("conv_transpose3d", "plain", lambda m: (m.real(1, 2, 3, 3, 2), m.real(2, 2, 2, 2, 2), m.real(2)), padding=1),
]

POOLS = [
    row("max_pool1d", "plain", lambda m: (m.real(2, 3, 7),), kernel_size=2),
    row("max_pool1d", "everything", lambda m: (m.real(2, 3, 9),), kernel_size=3, stride=2, padding=1, dilation=2),
    row("max_pool2d", "plain", lambda m: (m.real(2, 3, 6, 4),), kernel_size=2),
    row("max_pool2d", "overlapping", lambda m: (m.real(2, 3, 7, 7),), kernel_size=3, stride=1),
    row("max_pool2d", "padding", lambda m: (m.real(2, 2, 6, 5),), kernel_size=(3, 2), stride=2, padding=(1, 0)),
    row("max_pool2d", "dilation", lambda m: (m.real(2, 2, 8, 8),), kernel_size=2, stride=1, dilation=(2, 3)),
    row("max_pool2d", "ceil mode", lambda m: (m.real(2, 2, 7, 5),), kernel_size=2, ceil_mode=True),
    row("max_pool2d", "unbatched", lambda m: (m.real(2, 7, 5),), kernel_size=2),
    row("max_pool2d", "with indices", lambda m: (m.real(2, 2, 6, 5),), kernel_size=2, return_indices=True),
    row("max_pool2d", "unbatched, with indices", lambda m: (m.real(2, 6, 5),), kernel_size=2, return_indices=True),
    row(
        "max_pool2d",
        "ties",
        lambda m: (m.real(2, 2, 4, 4).detach().round().requires_grad_(),),
        kernel_size=2,
        kinks=True,
    ),
    row("max_pool2d", "one window", lambda m: (m.real(2, 2, 4, 4),), kernel_size=4),
    row("max_pool3d", "plain", lambda m: (m.real(2, 2, 4, 5, 4),), kernel_size=2, ceil_mode=True),
    row("avg_pool1d", "plain", lambda m: (m.real(2, 3, 7),), kernel_size=2),
    row(
        "avg_pool1d", "padding", lambda m: (m.real(3, 7),), kernel_size=3, stride=2, padding=1, count_include_pad=False
    ),
    row("avg_pool2d", "plain", lambda m: (m.real(2, 3, 6, 4),), kernel_size=2),
    row("avg_pool2d", "padding", lambda m: (m.real(2, 3, 6, 5),), kernel_size=3, stride=2, padding=1),
    row(
        "avg_pool2d",
        "padding not counted",
        lambda m: (m.real(2, 3, 6, 5),),
        kernel_size=(3, 2),
        stride=1,
        padding=(1, 0),
        count_include_pad=False,
    ),
    row("avg_pool2d", "ceil mode", lambda m: (m.real(2, 2, 7, 5),), kernel_size=2, ceil_mode=True),
    row("avg_pool2d", "ceil, padding", lambda m: (m.real(2, 2, 6, 5),), kernel_size=3, padding=1, ceil_mode=True),
    row("avg_pool2d", "divisor", lambda m: (m.real(2, 2, 6, 5),), kernel_size=2, divisor_override=3),
    row("avg_pool2d", "unbatched", lambda m: (m.real(2, 6, 5),), kernel_size=2),
    row("avg_pool3d", "plain", lambda m: (m.real(2, 2, 4, 5, 4),), kernel_size=2, padding=1, divisor_override=5),
    row("adaptive_avg_pool1d", "uneven", lambda m: (m.real(2, 3, 7),), output_size=3),
    row("adaptive_avg_pool2d", "one", lambda m: (m.real(2, 3, 5, 4),), output_size=1),
    row("adaptive_avg_pool2d", "uneven", lambda m: (m.real(2, 3, 5, 7),), output_size=(2, 3)),
    row("adaptive_avg_pool2d", "larger than the image", lambda m: (m.real(2, 3, 2, 2),), output_size=5),
    row("adaptive_avg_pool2d", "None", lambda m: (m.real(2, 3, 5, 4),), output_size=(None, 2)),
    row("adaptive_avg_pool2d", "unbatched", lambda m: (m.real(3, 5, 4),), output_size=(2, 2)),
    row("adaptive_avg_pool3d", "uneven", lambda m: (m.real(2, 2, 4, 5, 3),), output_size=(2, None, 2)),
    row("adaptive_max_pool1d", "uneven", lambda m: (m.real(2, 3, 7),), output_size=3),
    row("adaptive_max_pool1d", "unbatched", lambda m: (m.real(3, 7),), output_size=2, return_indices=True),
    row("adaptive_max_pool2d", "one", lambda m: (m.real(2, 3, 5, 4),), output_size=1),
    row("adaptive_max_pool2d", "uneven", lambda m: (m.real(2, 3, 5, 7),), output_size=(2, 3), return_indices=True),
    row("adaptive_max_pool2d", "larger than the image", lambda m: (m.real(2, 3, 2, 2),), output_size=5),
    row("adaptive_max_pool2d", "None", lambda m: (m.real(2, 3, 5, 4),), output_size=(None, 2)),
    row("adaptive_max_pool2d", "unbatched", lambda m: (m.real(3, 5, 4),), output_size=(2, 2), return_indices=True),
    row("adaptive_max_pool2d", "no batch", lambda m: (m.real(0, 3, 5, 4),), output_size=2),
    row("adaptive_max_pool3d", "uneven", lambda m: (m.real(2, 2, 4, 5, 3),), output_size=(2, None, 2)),
    row("adaptive_max_pool3d", "unbatched", lambda m: (m.real(2, 4, 5, 3),), output_size=2, return_indices=True),
]


def with_statistics(*shape: int) -> Inputs:
    """Input, running statistics, weight and bias."""
    channels = shape[1]
    return lambda m: (
        m.real(*shape), m.real(channels, requires_grad=False), m.positive(channels), m.real(channels), m.real(channels)
    )  # fmt: skip


NORMS = [
    row("batch_norm", "training", with_statistics(4, 3, 5, 2), training=True),
    row("batch_norm", "training, flat", with_statistics(4, 3), training=True, momentum=0.3, eps=1e-3),
    row("batch_norm", "training, signal", with_statistics(2, 3, 7), training=True),
    row("batch_norm", "training, volume", with_statistics(2, 3, 2, 3, 2), training=True),
    row("batch_norm", "training, one sample", with_statistics(1, 3, 4, 4), training=True),
    row("batch_norm", "training, no statistics", lambda m: (m.real(4, 3, 2, 2), None, None), training=True),
    row("batch_norm", "training, weight only", lambda m: (m.real(4, 3), None, None, m.real(3)), training=True),
    row(
        "batch_norm",
        "training, bias only",
        lambda m: (m.real(4, 3), None, None, None, m.real(3)),
        training=True,
        torch_fails=True,
    ),
    row("batch_norm", "evaluation", with_statistics(4, 3, 5, 2)),
    row("batch_norm", "evaluation, flat", with_statistics(4, 3), eps=1e-3),
    row("batch_norm", "evaluation, one value", with_statistics(1, 3)),
    row("batch_norm", "evaluation, plain", lambda m: (m.real(4, 3, 2), m.real(3, requires_grad=False), m.positive(3))),
    row("batch_norm", "empty batch", with_statistics(0, 3, 2, 2), training=True),
    row("batch_norm", "empty batch, plain", lambda m: (m.real(0, 3), None, None), training=True),
    row("batch_norm", "empty vector", lambda m: (m.real(0), None, None), training=True),
    row("layer_norm", "one axis", lambda m: (m.real(2, 3, 4), (4,), m.real(4), m.real(4))),
    row("layer_norm", "two axes", lambda m: (m.real(2, 3, 4), (3, 4), m.real(3, 4), m.real(3, 4))),
    row("layer_norm", "all axes", lambda m: (m.real(3, 4), (3, 4), m.real(3, 4), m.real(3, 4))),
    row("layer_norm", "no bias", lambda m: (m.real(2, 3, 4), (4,), m.real(4))),
    row("layer_norm", "no weight", lambda m: (m.real(2, 3, 4), (4,), None, m.real(4)), torch_fails=True),
    row("layer_norm", "plain", lambda m: (m.real(2, 3, 4), [4]), eps=1e-3),
    row("layer_norm", "empty batch", lambda m: (m.real(0, 4), (4,), m.real(4), m.real(4))),
]

EMBEDDINGS = [
    row("embedding", "plain", lambda m: (m.index(2, 3, below=5), m.real(5, 4))),
    row("embedding", "one index", lambda m: (torch.tensor(3), m.real(5, 4))),
    row("embedding", "no index", lambda m: (torch.empty(0, dtype=torch.long), m.real(5, 4)), torch_fails=True),
    row("embedding", "repeated", lambda m: (torch.tensor([[1, 1, 2], [1, 0, 2]]), m.real(3, 2))),
    row("embedding", "int32", lambda m: (m.index(7, below=5).int(), m.real(5, 4))),
    row("embedding", "padding", lambda m: (torch.tensor([0, 2, 2, 1]), m.real(3, 2)), padding_idx=2, kinks=True),
    row(
        "embedding",
        "padding from the end",
        lambda m: (torch.tensor([0, 2, 2, 1]), m.real(3, 2)),
        padding_idx=-3,
        kinks=True,
    ),
    row("embedding", "not contiguous", lambda m: (m.index(4, 3, below=5).T, m.real(5, 4))),
]

BAG = torch.tensor([0, 4, 2, 2, 1, 4, 0])
STARTS = torch.tensor([0, 3, 3, 5])  # the second of four bags is empty


def bags(note: str, options: dict[str, Any], inputs: Inputs | None = None, kinks: bool = False) -> Any:
    inputs = inputs or (lambda m: (BAG, m.real(5, 3), STARTS))
    # torch has no second derivative of it: ours is checked by finite differences
    return row("embedding_bag", note, inputs, torch_fails=True, kinks=kinks, **options)


BAGS = [
    *(bags(mode, {"mode": mode}) for mode in ("sum", "mean", "max")),
    *(
        bags(f"{mode}, one size", {"mode": mode}, lambda m: (m.index(2, 4, below=5), m.real(5, 3)))
        for mode in ("sum", "mean", "max")
    ),
    *(bags(f"{mode}, padding", {"mode": mode, "padding_idx": -1}) for mode in ("sum", "mean", "max")),
    *(
        bags(
            f"{mode}, last offset",
            {"mode": mode, "include_last_offset": True},
            lambda m: (BAG, m.real(5, 3), torch.tensor([0, 3, 3, 5, 7])),
        )
        for mode in ("sum", "mean", "max")
    ),
    *(
        bags(f"{mode}, no index", {"mode": mode}, lambda m: (BAG[:0], m.real(5, 3), torch.tensor([0, 0])))
        for mode in ("sum", "mean")
    ),
    bags(
        "equal rows",
        {"mode": "max"},
        lambda m: (BAG, m.real(1, 3).detach().expand(5, 3).clone().requires_grad_(), STARTS),
        kinks=True,
    ),
    bags("int32", {"mode": "mean"}, lambda m: (BAG.int(), m.real(5, 3), STARTS.int())),
]


def powers(m: Make, *shape: int) -> Tensor:
    return m.positive(*shape).requires_grad_()


CHANNELS = [
    row("group_norm", "plain", lambda m: (m.real(2, 4, 3), 2, m.real(4), m.real(4))),
    row("group_norm", "images without weights", lambda m: (m.real(2, 4, 3, 2), 4)),
    row("group_norm", "empty batch", lambda m: (m.real(0, 4, 3), 2, m.real(4), m.real(4))),
    row("instance_norm", "plain", lambda m: (m.real(2, 3, 4),)),
    row("instance_norm", "affine", lambda m: (m.real(2, 3, 4, 2), None, None, m.real(3), m.real(3)), eps=1e-3),
    row(
        "instance_norm",
        "running statistics",
        lambda m: (m.real(2, 3, 4), m.real(3, requires_grad=False), m.positive(3), m.real(3), None),
        use_input_stats=False,
    ),
    row("rms_norm", "plain", lambda m: (m.real(2, 3, 4), (4,), m.real(4))),
    row("rms_norm", "two axes", lambda m: (m.real(2, 3, 4), (3, 4)), eps=1e-2),
    row("local_response_norm", "odd", lambda m: (m.real(2, 5, 3), 3, 0.5)),
    row("local_response_norm", "even", lambda m: (m.real(2, 5, 2, 2), 4, 0.5, 0.5, 2.0)),
]

VARIANTS = [
    *(
        row(f"lp_pool{axes}d", "plain", lambda m, axes=axes: (powers(m, 2, 1, *(4,) * axes), 3.0, 2))
        for axes in (1, 2, 3)
    ),
    row("lp_pool2d", "overlapping", lambda m: (powers(m, 1, 5, 4), 2, (3, 2), 1), ceil_mode=True),
    *(
        row(
            f"max_unpool{axes}d",
            "plain",
            lambda m, axes=axes: (
                m.real(1, 1, *(2,) * axes),
                torch.randperm(4**axes, generator=m.generator)[: 2**axes].reshape(1, 1, *(2,) * axes),
            ),
            kernel_size=2,
        )
        for axes in (1, 2, 3)
    ),
    row(
        "max_unpool2d",
        "strided",
        lambda m: (m.real(1, 2, 1), torch.tensor([[[0], [7]]])),
        kernel_size=3,
        stride=2,
        padding=1,
        output_size=[4, 2],
    ),
    row("fractional_max_pool2d", "size", lambda m: (m.real(2, 2, 6, 5), 2, 3, None, False, m.uniform(2, 2, 2))),
    row("fractional_max_pool3d", "ratio", lambda m: (m.real(1, 2, 5, 5, 4), 2, None, 0.6, False, m.uniform(1, 2, 3))),
    row(
        "fractional_max_pool2d_with_indices",
        "size",
        lambda m: (m.real(2, 2, 6, 5), 2, 3, None, False, m.uniform(2, 2, 2)),
    ),
    row(
        "fractional_max_pool3d_with_indices",
        "size",
        lambda m: (m.real(1, 2, 5, 5, 4), 2, 2, None, False, m.uniform(1, 2, 3)),
    ),
]

SIZES = [
    *(
        row("interpolate", f"nearest {axes}", lambda m, axes=axes: (m.real(1, 2, *(3, 4, 2)[:axes]),), scale_factor=1.7)
        for axes in (1, 2, 3)
    ),
    row("interpolate", "nearest exact", lambda m: (m.real(1, 2, 3, 4),), size=(5, 2), mode="nearest-exact"),
    row("interpolate", "linear", lambda m: (m.real(1, 2, 4),), scale_factor=2.5, mode="linear"),
    row(
        "interpolate",
        "bilinear corners",
        lambda m: (m.real(1, 2, 3, 4),),
        size=(5, 2),
        mode="bilinear",
        align_corners=True,
    ),
    row("interpolate", "bilinear antialias", lambda m: (m.real(1, 2, 5, 6),), size=3, mode="bilinear", antialias=True),
    row("interpolate", "bicubic", lambda m: (m.real(1, 2, 3, 4),), scale_factor=(1.5, 2.0), mode="bicubic"),
    row("interpolate", "bicubic antialias", lambda m: (m.real(1, 2, 5, 6),), size=3, mode="bicubic", antialias=True),
    row(
        "interpolate",
        "trilinear",
        lambda m: (m.real(1, 1, 2, 3, 2),),
        scale_factor=1.6,
        mode="trilinear",
        recompute_scale_factor=True,
    ),
    row("interpolate", "area", lambda m: (m.real(1, 2, 5, 6),), size=3, mode="area"),
    row("upsample", "plain", lambda m: (m.real(1, 2, 3),), scale_factor=2),
    row("upsample_nearest", "plain", lambda m: (m.real(1, 2, 3, 2),), scale_factor=2),
    row("upsample_bilinear", "plain", lambda m: (m.real(1, 2, 3, 2),), scale_factor=2),
    row("unfold", "plain", lambda m: (m.real(2, 2, 4, 5), (2, 3))),
    row("unfold", "all arguments", lambda m: (m.real(2, 5, 5), 2, 2, (1, 0), (2, 1))),
    row("fold", "plain", lambda m: (m.real(2, 12, 9), (4, 5), (2, 3)), padding=1, stride=2),
    row("fold", "unbatched", lambda m: (m.real(8, 4), 4, 2, 2)),
    row("pixel_shuffle", "plain", lambda m: (m.real(2, 8, 2, 3), 2)),
    row("pixel_shuffle", "unbatched", lambda m: (m.real(9, 2, 1), 3)),
    row("pixel_unshuffle", "plain", lambda m: (m.real(1, 2, 2, 4, 6), 2)),
    row("channel_shuffle", "plain", lambda m: (m.real(2, 6, 2), 3)),
    row("conv_tbc", "plain", lambda m: (m.real(5, 2, 3), m.real(2, 3, 4), m.real(4)), pad=1),
    row("rrelu", "evaluation", lambda m: (m.real(3, 4),), lower=0.25, upper=0.5),
]

DISTANCES = [
    row("cosine_similarity", "plain", lambda m: (m.real(4, 3), m.real(4, 3))),
    row("cosine_similarity", "broadcast", lambda m: (m.real(4, 1, 3), m.real(2, 3)), dim=-1),
    row("cosine_similarity", "short vectors", lambda m: (m.real(4, 3), m.real(4, 3)), eps=10.0, kinks=True),
    row("pairwise_distance", "plain", lambda m: (m.real(4, 3), m.real(4, 3))),
    row("pairwise_distance", "p 3", lambda m: (m.real(4, 3), m.real(3)), p=3.0, keepdim=True),
    row("normalize", "plain", lambda m: (m.real(4, 3),)),
    row("normalize", "p 3", lambda m: (m.real(2, 4, 3),), p=3.0, dim=-1),
]


def sampled(note: str, image: tuple[int, ...], grid: tuple[int, ...], **options: Any) -> Any:
    # places a little beyond the edges too; torch has no second derivative: ours is checked by finite differences
    inputs = lambda m: (m.real(*image), (1.3 * torch.tanh(m.real(*grid).detach())).requires_grad_())  # noqa: E731
    return row("grid_sample", note, inputs, torch_fails=True, **options)


GRIDS = [
    *(
        sampled(
            f"{mode}, {padding}{', corners' if corners else ''}",
            (2, 3, 4, 5),
            (2, 3, 2, 2),
            mode=mode,
            padding_mode=padding,
            align_corners=corners,
        )
        for mode in ("bilinear", "bicubic")
        for padding in ("zeros", "border", "reflection")
        for corners in (False, True)
    ),
    *(
        sampled(f"3d, {padding}", (2, 2, 3, 4, 5), (2, 2, 3, 2, 3), padding_mode=padding, align_corners=True)
        for padding in ("zeros", "border", "reflection")
    ),
    sampled("one pixel", (1, 2, 1, 1), (1, 2, 2, 2), padding_mode="reflection", align_corners=False),
    sampled("no place", (1, 2, 3, 3), (1, 0, 2, 2), align_corners=False),
    sampled("nearest", (2, 3, 4, 5), (2, 3, 2, 2), mode="nearest", align_corners=False),
    sampled("3d, nearest", (2, 2, 3, 4, 5), (2, 2, 3, 2, 3), mode="nearest", align_corners=True),
    row(
        "grid_sample",
        "nearest, a grid that requires grad alone",  # torch's samples require grad then, and its gradient is zeros
        lambda m: (m.real(2, 3, 4, 5).detach(), torch.tanh(m.real(2, 3, 2, 2).detach()).requires_grad_()),
        torch_fails=True,
        mode="nearest",
        align_corners=False,
    ),
    row(
        "grid_sample",
        "strides",
        lambda m: (m.real(2, 5, 4, 3).mT, torch.tanh(m.real(2, 3, 2, 2)).transpose(1, 2)),
        torch_fails=True,
        align_corners=False,
    ),
]

ROWS = [*CONVOLUTIONS, *POOLS, *NORMS, *EMBEDDINGS, *BAGS, *GRIDS, *CHANNELS, *VARIANTS, *SIZES, *DISTANCES]


CALLS = [pytest.param(*each.values[:3], id=each.id) for each in ROWS]
SMOOTH = [pytest.param(*each.values[:3], each.values[3], id=each.id) for each in ROWS if not each.values[4]]


# Torch says so of its own way of padding by an odd number.
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths", "ignore:.*upsample.* is deprecated")
@pytest.mark.parametrize("dtype", DTYPES, ids=["float64", "float32"])
@pytest.mark.parametrize("name, inputs, options, torch_fails, kinks", ROWS)
def test_against_torch(
    name: str,
    inputs: Inputs,
    options: dict[str, Any],
    torch_fails: bool,
    kinks: bool,
    dtype: torch.dtype,
    check_against_torch: Callable[..., None],
) -> None:
    check_against_torch(partial(getattr(F, name), **options), *inputs(Make(dtype)), second_order=not torch_fails)


def varied(name: str, inputs: Inputs, options: dict[str, Any]) -> tuple[Callable[..., Any], list[Tensor]]:
    """The call as a function of its inputs that require grad, and these inputs; nothing else changes between calls."""
    places = [at for at, value in enumerate(inputs(Make())) if isinstance(value, Tensor) and value.requires_grad]

    def call(*values: Any) -> Any:
        arguments = list(inputs(Make()))
        for at, value in zip(places, values, strict=True):
            arguments[at] = value
        out = getattr(functional, name)(*arguments, **options)
        return out[0] if isinstance(out, tuple) else out

    return call, [inputs(Make())[at].detach() for at in places]


@pytest.mark.parametrize("name, inputs, options, torch_fails", SMOOTH)
def test_against_finite_differences(name: str, inputs: Inputs, options: dict[str, Any], torch_fails: bool) -> None:
    function, arguments = varied(name, inputs, options)
    check_against_finite_differences(function, *arguments, second_order=torch_fails)


@pytest.mark.parametrize("name, inputs, options", CALLS)
def test_kernels_equal_rules(name: str, inputs: Inputs, options: dict[str, Any]) -> None:
    """A plain backward pass with fused kernels, and the same one with the rules that define the derivatives."""

    def gradients() -> list[Tensor]:
        arguments = [
            CustomTensor(value.detach().clone(), requires_grad=True)
            if isinstance(value, Tensor) and value.requires_grad
            else value
            for value in inputs(Make())
        ]
        out = getattr(functional, name)(*arguments, **options)
        out = out[0] if isinstance(out, tuple) else out
        weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        (out * weights).sum().backward()
        return [value.grad for value in arguments if isinstance(value, CustomTensor)]

    by_kernels = gradients()
    with rules_only():
        by_rules = gradients()
    for a, b in zip(by_kernels, by_rules, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


THIRD = [
    each
    for each in SMOOTH
    # third order of the same operations in other dimensions would say nothing new; empty batches have no gradient
    if each.values[0] in ("conv2d", "conv_transpose2d", "max_pool2d", "avg_pool2d", "batch_norm", "layer_norm")
    and "empty" not in str(each.id)
]


@pytest.mark.parametrize("name, inputs, options, torch_fails", THIRD)
def test_rules_hold_to_third_order(name: str, inputs: Inputs, options: dict[str, Any], torch_fails: bool) -> None:
    """The gradient of the squared norm of a gradient of a cube, against its finite differences."""
    function, arguments = varied(name, inputs, options)

    def squared_gradient(*values: CustomTensor) -> CustomTensor:
        grads = grad((function(*values) ** 3).sum(), values, create_graph=True)
        return sum((g**2).sum() for g in grads)  # type: ignore[return-value]

    leaves = [CustomTensor(value, requires_grad=True) for value in arguments]
    found = grad(squared_gradient(*leaves), leaves)
    generator = torch.Generator().manual_seed(3)
    directions = [torch.randn(value.shape, generator=generator, dtype=torch.float64) for value in arguments]

    def along(step: float) -> float:
        moved = [value + step * way for value, way in zip(arguments, directions, strict=True)]
        return float(squared_gradient(*(CustomTensor(value, requires_grad=True) for value in moved)).data)

    received = sum(float((g.data * way).sum()) for g, way in zip(found, directions, strict=True))
    expected = (along(1e-6) - along(-1e-6)) / 2e-6
    assert received == pytest.approx(expected, rel=1e-6, abs=1e-5)


# Convolution


def test_convolution_is_one_trilinear_form() -> None:
    """⟨g, conv(x, w)⟩ = ⟨x, conv_input(g, w)⟩ = ⟨w, conv_weight(g, x)⟩."""
    m = Make()
    x, w = (CustomTensor(v, requires_grad=True) for v in (m.real(2, 4, 7, 6), m.real(6, 2, 3, 2)))
    out = functional.conv2d(x, w, stride=2, padding=(1, 0), dilation=(1, 2), groups=2)
    g = m.real(*out.shape, requires_grad=False)
    out.backward(g)
    form = float((out.data * g).sum())
    assert float((x.data * x.grad).sum()) == pytest.approx(form, rel=1e-12)
    assert float((w.data * w.grad).sum()) == pytest.approx(form, rel=1e-12)


@pytest.mark.parametrize("name", ["conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d"])
@pytest.mark.parametrize("biased", [True, False])
def test_convolution_of_complex_numbers(name: str, biased: bool, check_against_torch: Callable[..., None]) -> None:
    dimensions = int(name[-2])
    generator = torch.Generator().manual_seed(1)
    shapes = [(2, 4, *(6, 5)[:dimensions]), (4, 2, *(3, 2)[:dimensions]), *([(4,)] if biased else [])]
    tensors = [torch.randn(shape, generator=generator, dtype=torch.complex128).requires_grad_() for shape in shapes]

    def convolve(*tensors: Any) -> Any:
        return getattr(F, name)(*tensors, stride=2, padding=1, groups=2)

    check_against_torch(convolve, *tensors)


def test_convolution_by_its_definition() -> None:
    """The sum of the docstring, written out with loops."""
    m = Make()
    x, w, b = m.real(2, 4, 6, 5).detach(), m.real(4, 2, 3, 2).detach(), m.real(4).detach()
    stride, padding, dilation, groups = 2, 1, 2, 2
    padded = F.pad(x, (padding,) * 4)
    got = functional.conv2d(x, w, b, stride, padding, dilation, groups).data
    for n, k, i, j in np.ndindex(*got.shape):
        first = (k // (4 // groups)) * 2
        expected = float(b[k]) + sum(
            float(w[k, c, u, v] * padded[n, first + c, i * stride + u * dilation, j * stride + v * dilation])
            for c, u, v in np.ndindex(2, 3, 2)
        )
        assert float(got[n, k, i, j]) == pytest.approx(expected, abs=1e-12)


def test_convolution_keeps_only_what_its_rules_need() -> None:
    m = Make()
    x, w = CustomTensor(m.real(2, 2, 5, 5).detach(), requires_grad=True), m.real(3, 2, 3, 3).detach()
    saved = functional.conv2d(x, w).grad_fn.saved_values
    assert saved["weight"] is w or torch.equal(saved["weight"], w)
    assert all(value is not x.data for value in saved.values())


def test_first_layers_input_gradient_is_never_computed() -> None:
    m = Make()
    w = CustomTensor(m.real(3, 2, 3, 3).detach(), requires_grad=True)
    out = functional.conv2d(m.real(2, 2, 5, 5).detach(), w)
    assert out.grad_fn.parents[0] is None
    out.sum().backward()
    assert w.grad is not None


# Pooling


def test_a_pixel_that_wins_twice_gets_both_gradients() -> None:
    x = CustomTensor(torch.tensor([[[0.0, 5.0, 0.0]]]), requires_grad=True)
    functional.max_pool1d(x, 2, stride=1).backward(torch.tensor([[[1.0, 10.0]]]))
    assert x.grad.tolist() == [[[0.0, 11.0, 0.0]]]


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_max_pool_finds_torchs_indices(dimensions: int) -> None:
    x = Make().real(2, 3, *(5, 6, 4)[:dimensions]).detach()
    out, indices = getattr(functional, f"max_pool{dimensions}d")(x, 2, return_indices=True)
    expected, expected_indices = getattr(F, f"max_pool{dimensions}d")(x, 2, return_indices=True)
    assert torch.equal(out.data, expected)
    assert torch.equal(indices.data, expected_indices)
    assert isinstance(indices, CustomTensor)
    assert not indices.requires_grad
    direct, _ = getattr(F, f"max_pool{dimensions}d_with_indices")(CustomTensor(x), 2)
    assert torch.equal(direct.data, expected)


# Batch normalisation


def test_running_statistics_move_as_torchs() -> None:
    m = Make()
    ours, theirs = (torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)), None
    theirs = tuple(value.clone() for value in ours)
    for _ in range(3):
        x = m.real(4, 3, 2, 2).detach()
        functional.batch_norm(x, *ours, training=True, momentum=0.3)
        F.batch_norm(x, *theirs, training=True, momentum=0.3)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_torch_batch_norm_with_its_own_argument_order(check_against_torch: Callable[..., None]) -> None:
    """torch.batch_norm takes weight and bias before the statistics."""
    m = Make()
    statistics = m.real(3, requires_grad=False), m.positive(3)
    check_against_torch(
        lambda x, w, b: torch.batch_norm(x, w, b, *(s.clone() for s in statistics), True, 0.1, 1e-5, False),
        *(m.real(4, 3, 2), m.real(3), m.real(3)),
    )


# Embedding


def test_torch_embedding_with_its_own_argument_order(check_against_torch: Callable[..., None]) -> None:
    """torch.embedding takes the table first."""
    check_against_torch(torch.embedding, Make().real(5, 3), torch.tensor([1, 4, 1]))


def test_embedding_gradient_scaled_by_frequency(check_against_torch: Callable[..., None]) -> None:
    indices = torch.tensor([[1, 1, 2], [1, 0, 2]])
    check_against_torch(
        lambda w: F.embedding(indices, w, scale_grad_by_freq=True, padding_idx=0), Make().real(4, 3), second_order=False
    )
    # Torch's own second order forgets the frequencies: the adjoint of the scatter is checked by itself.
    w = CustomTensor(Make().real(4, 3).detach(), requires_grad=True)
    g = CustomTensor(Make().real(2, 3, 3).detach(), requires_grad=True)
    (by_w,) = grad(functional.embedding(indices, w, 0, scale_grad_by_freq=True), [w], [g], create_graph=True)
    v = Make().real(4, 3).detach()
    (back,) = grad(by_w, [g], [v])
    assert float((back.data * g.data).sum()) == pytest.approx(float((by_w.data * v).sum()), rel=1e-12)


@pytest.mark.parametrize("norm_type", [1.0, 2.0])
def test_embedding_shortens_long_rows_as_torch(norm_type: float) -> None:
    table = 3 * Make().real(5, 4).detach()
    ours, theirs = CustomTensor(table.clone(), requires_grad=True), table.clone().requires_grad_()
    indices = torch.tensor([[1, 3], [3, 0]])
    out = functional.embedding(indices, ours, max_norm=1.0, norm_type=norm_type)
    expected = F.embedding(indices, theirs, max_norm=1.0, norm_type=norm_type)
    torch.testing.assert_close(out.data, expected.detach())
    torch.testing.assert_close(ours.data, theirs.detach())
    out.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("padding_idx", [None, 2])
def test_weights_of_an_embedding_bags_rows(padding_idx: int | None, check_against_torch: Callable[..., None]) -> None:
    def call(rows: Any, weights: Any) -> Any:
        return F.embedding_bag(BAG, rows, STARTS, mode="sum", per_sample_weights=weights, padding_idx=padding_idx)

    m = Make()
    rows, weights = m.real(5, 3), m.real(7)
    check_against_torch(call, rows, weights, second_order=False)  # which torch lacks
    if padding_idx is None:  # else a row gets no gradient on purpose
        check_against_finite_differences(call, rows.detach(), weights.detach(), second_order=True)


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_embedding_bag_gradient_scaled_by_frequency(mode: str) -> None:
    """By its definition: torch's kernel for the CPU divides some rows' gradients by another row's frequency."""

    def gradient(**options: Any) -> Tensor:
        table = CustomTensor(Make().real(5, 3).detach(), requires_grad=True)
        (functional.embedding_bag(BAG, table, STARTS, mode=mode, **options) ** 2).sum().backward()
        assert table.grad is not None
        return table.grad

    frequency = torch.bincount(BAG, minlength=5).clamp(min=1)
    expected = gradient() / frequency.unsqueeze(-1)
    torch.testing.assert_close(gradient(scale_grad_by_freq=True), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_embedding_bag_gives_a_sparse_gradient(mode: str) -> None:
    tables = [CustomTensor(Make().real(5, 3).detach(), requires_grad=True) for _ in range(2)]
    for table, sparse in zip(tables, (False, True), strict=True):
        out = functional.embedding_bag(BAG, table, STARTS, mode=mode, padding_idx=4, sparse=sparse)
        (out**2).sum().backward()
    dense, sparse_gradient = (table.grad for table in tables)
    assert dense is not None
    assert sparse_gradient is not None
    assert sparse_gradient.is_sparse
    assert set(sparse_gradient.coalesce().indices().flatten().tolist()) == {0, 1, 2}
    torch.testing.assert_close(sparse_gradient.to_dense(), dense, rtol=1e-12, atol=1e-13)


# Shuffling


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.pixel_shuffle(x, 1),
        lambda x: F.pixel_shuffle(x[:, :, :1, :1], 2),
        lambda x: F.pixel_unshuffle(x, 1),
        lambda x: F.pixel_unshuffle(x, 2),
        lambda x: F.channel_shuffle(x, 1),
    ],
)
def test_shuffled_pixels_are_copies(function: Callable[[Any], Any]) -> None:
    """Also where they stay in their order: as in torch they don't change with their source."""
    x = CustomTensor(torch.ones(1, 4, 2, 2), requires_grad=True) * 1
    shuffled = function(x)
    assert shuffled.data.untyped_storage().data_ptr() != x.data.untyped_storage().data_ptr()
    x.mul_(2)
    assert shuffled.data.unique().tolist() == function(torch.ones(1, 4, 2, 2)).unique().tolist() == [1.0]


# Sampling


@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_samples_at_the_edges_and_centres(mode: str, padding_mode: str) -> None:
    """The places of an affine grid: exactly on pixels and on edges, where a derivative is a choice. It is torch's."""
    grid = F.affine_grid(torch.eye(2, 3, dtype=torch.float64).unsqueeze(0), [1, 1, 3, 4], align_corners=True)
    image = Make().real(1, 2, 3, 4).detach()
    options: dict[str, Any] = {"mode": mode, "padding_mode": padding_mode, "align_corners": True}
    weights = torch.randn(1, 2, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    theirs = [image.clone().requires_grad_(), grid.clone().requires_grad_()]
    ours = [CustomTensor(image, requires_grad=True), CustomTensor(grid, requires_grad=True)]
    expected = torch.autograd.grad((F.grid_sample(*theirs, **options) * weights).sum(), theirs)
    found = grad((functional.grid_sample(*ours, **options) * weights).sum(), ours, materialize_grads=True)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.data, b, rtol=1e-10, atol=1e-11)


# Dropout


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dropout_draws_torchs_numbers(p: float, dtype: torch.dtype, check_against_torch: Callable[..., None]) -> None:
    def dropped(x: Any) -> Any:
        torch.manual_seed(5)
        return F.dropout(x, p)

    check_against_torch(dropped, Make(dtype).real(20, 30))
    check_against_torch(dropped, Make(dtype).real(30, 20).detach().T.requires_grad_())


def test_dropout_leaves_the_generator_where_torch_leaves_it() -> None:
    torch.manual_seed(0)
    functional.dropout(torch.ones(7), 0.3)
    ours = torch.rand(3)
    torch.manual_seed(0)
    F.dropout(torch.ones(7), 0.3)
    assert torch.equal(ours, torch.rand(3))


def test_dropout_in_place_is_differentiated() -> None:
    x = CustomTensor(torch.ones(50), requires_grad=True)
    y = x * 3
    torch.manual_seed(1)
    assert functional.dropout(y, 0.5, inplace=True) is y
    y.sum().backward()
    assert torch.equal(x.grad, y.data)


def test_dropout_in_evaluation_is_the_identity() -> None:
    x = CustomTensor(torch.ones(5), requires_grad=True)
    assert functional.dropout(x, 0.5, training=False) is x


# All of them

# By the file that they are in: operations of neuronix-autograd under torch's spelling; what has tests of its own.
FILES = {
    name: getattr(functional, name).__module__.removeprefix("neuronix.nn.functional.") for name in functional.__all__
}
OWN = [name for name, file in FILES.items() if file not in ("recurrent", "attention")]


def test_every_public_function_has_a_row() -> None:
    tested = {each.values[0] for each in ROWS}
    of_chance = {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"}
    own = {name for name in OWN if FILES[name] != "spelling"}
    assert own == tested | of_chance  # which have tests of their own, and as layers


@pytest.mark.parametrize("name", OWN)
def test_arguments_are_named_and_ordered_as_torchs(name: str) -> None:
    """Compared where torch's function says its signature: those written in C only have it in their documentation."""
    theirs = getattr(F, name)
    ours = list(inspect.signature(getattr(functional, name)).parameters)
    text = inspect.getdoc(theirs) or ""
    documented = re.search(rf"{name}\(([^)]*(?:\([^)]*\)[^)]*)*)\) ->", text)
    if name == "conv_tbc":  # whose documentation doesn't say it in this form
        expected = ["input", "weight", "bias", "pad"]
    elif documented and not inspect.isfunction(theirs):
        expected = [part.split("=")[0].strip() for part in documented.group(1).split(",")]
    else:
        expected = list(inspect.signature(theirs).parameters)
    if expected == ["args", "kwargs"]:  # max_pool, which chooses by return_indices
        expected = list(inspect.signature(getattr(F, f"{name}_with_indices")).parameters)
    assert ours == expected


def test_arrays_and_torch_tensors_are_constants() -> None:
    image = np.ones((1, 2, 4, 4))
    out = functional.conv2d(image, torch.ones(1, 2, 2, 2, dtype=torch.float64))
    assert isinstance(out, CustomTensor)
    assert not out.requires_grad
    assert out.data.unique().tolist() == [8.0]
    assert isinstance(functional.max_pool2d(image, 2), CustomTensor)
    assert isinstance(functional.embedding(np.array([1, 0]), np.ones((2, 3))), CustomTensor)


def test_vmap_goes_through_the_rules() -> None:
    """Per-example gradients of a convolution: one backward pass under torch.vmap."""
    m = Make()
    w, x = m.real(3, 2, 3, 3).detach(), m.real(4, 2, 5, 5).detach()

    def gradient(image: Tensor) -> Tensor:
        weight = CustomTensor(w, requires_grad=True)
        out = functional.max_pool2d(functional.conv2d(image.unsqueeze(0), weight), 2)
        (found,) = grad((out**2).sum(), [weight])
        return found.data

    together = torch.vmap(gradient)(x)
    for one, image in zip(together, x, strict=True):
        torch.testing.assert_close(one, gradient(image), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rules", [False, True], ids=["kernels", "rules"])
def test_gradients_of_mixed_types_go_back_in_their_own(rules: bool) -> None:
    """Normalisation under autocast: half precision in, single-precision weights; a product follows on the way back."""
    values, weight, matrix = torch.randn(3, 4), torch.rand(4) + 0.5, torch.randn(4, 4, dtype=torch.bfloat16)
    leaves = [CustomTensor(leaf.clone(), requires_grad=True) for leaf in (values.bfloat16(), weight)]
    reference = [leaf.clone().requires_grad_() for leaf in (values.bfloat16(), weight)]
    result = functional.layer_norm(leaves[0] @ matrix, (4,), leaves[1], leaves[1])
    expected = F.layer_norm(reference[0] @ matrix, (4,), reference[1], reference[1])
    assert result.dtype is expected.dtype is torch.bfloat16
    with rules_only() if rules else nullcontext():
        result.float().square().sum().backward()
    expected.float().square().sum().backward()
    for ours, theirs in zip(leaves, reference, strict=True):
        assert theirs.grad is not None
        assert ours.grad.dtype is theirs.grad.dtype
        # numbers of 8 bits, which the rule rounds after each of its steps
        assert_close(ours.grad, theirs.grad, rtol=2**-5, atol=2**-5 * float(theirs.grad.abs().max()))
