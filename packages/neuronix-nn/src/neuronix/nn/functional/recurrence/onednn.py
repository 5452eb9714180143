"""An LSTM's layer in one direction by oneDNN's array kernels, which is how torch itself computes it where it can.

They are for single precision on the CPU, equally long sequences and no projection.  The forward kernel leaves a
*workspace*, bytes of a layout of its own, which the backward kernel takes; it does so only while torch's grad mode is
on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Layer", "computes", "computes_backward", "has_left", "lstm", "lstm_backward"]

_layer = torch.ops.aten.mkldnn_rnn_layer.default
_layer_backward = torch.ops.aten.mkldnn_rnn_layer_backward.default

_LSTM = 2  # among oneDNN's kinds of networks
_wrapped = torch._C._functorch.is_functorch_wrapped_tensor
_proxies = torch._C._TorchDispatchModeKey.PROXY


class Layer(NamedTuple):
    """What a layer in one direction is computed from."""

    rows: Tensor
    w_ih: Tensor
    w_hh: Tensor
    b_ih: Tensor | None
    b_hh: Tensor | None
    h: Tensor
    c: Tensor
    batch_sizes: list[int]


def computes(layer: Layer) -> bool:
    """Whether the kernels are there for this layer; all tensors must be plain ones, and nobody write down a program.

    The kernels don't look at shapes, so these are part of the question.
    """
    rows, w_ih, w_hh, b_ih, b_hh, h, c, batch_sizes = layer
    if batch_sizes[0] != batch_sizes[-1] or (b_ih is None) != (b_hh is None):
        return False
    batch, hidden = batch_sizes[0], h.shape[-1]
    expected = [
        (rows, (batch * len(batch_sizes), rows.shape[-1])),
        (w_ih, (4 * hidden, rows.shape[-1])),
        (w_hh, (4 * hidden, hidden)),
        (h, (batch, hidden)),
        (c, (batch, hidden)),
        *((bias, (4 * hidden,)) for bias in (b_ih, b_hh) if bias is not None),
    ]
    return (
        all(_is_plain(value) and value.shape == shape for value, shape in expected)
        and rows.numel() > 0
        and torch._C._has_mkldnn
        and torch._C._get_mkldnn_enabled()
        and torch._C._get_dispatch_mode(_proxies) is None
    )


def _is_plain(value: Tensor) -> bool:
    return (
        type(value) is Tensor
        and value.dtype is torch.float32
        and value.device.type == "cpu"
        and value.layout is torch.strided
        and not _wrapped(value)
    )


def lstm(layer: Layer, reverse: bool, kept: list[Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
    """The outputs of all rows, and the final h and c; ``kept`` receives them and the workspace."""
    values = _prepared(layer)
    options = (layer.h.shape[-1], 1, layer.b_ih is not None, False, False, kept is not None)
    if kept is None:
        with torch.no_grad():
            outputs, h, c, _ = _layer(*values, reverse, [], _LSTM, *options)
    else:
        outputs, h, c, workspace = _layer(*values, reverse, [], _LSTM, *options)
        if torch.is_grad_enabled():
            kept += (outputs, h, c, workspace)
    return outputs.flatten(0, 1), h, c


def has_left(kept: list[Tensor]) -> bool:
    """Whether ``kept`` is from `lstm`: there are four, and five where steps were taken one by one."""
    return len(kept) == 4


def computes_backward(kept: list[Tensor], grad: Sequence[Tensor | None]) -> bool:
    """Whether `lstm` has left a workspace, and the gradients aren't several at once, as under ``torch.vmap``."""
    return has_left(kept) and not any(_wrapped(g) for g in grad if g is not None)


def lstm_backward(grad: Sequence[Tensor | None], layer: Layer, reverse: bool, kept: list[Tensor]) -> tuple[Any, ...]:
    """The gradients of rows, W_ih, W_hh, b_ih, b_hh, h and c, and ``None`` for a projection."""
    by_outputs, by_h, by_c = grad
    outputs, final_h, final_c, workspace = kept
    by_rows, *others = _layer_backward(
        *_prepared(layer),
        outputs,
        final_h,
        final_c,
        None if by_outputs is None else by_outputs.reshape(outputs.shape),
        by_h,
        by_c,
        reverse,
        _LSTM,
        layer.h.shape[-1],
        1,
        layer.b_ih is not None,
        True,
        False,
        [],
        False,
        workspace,
    )
    return by_rows.flatten(0, 1), *others, None


def _prepared(layer: Layer) -> tuple[Tensor, ...]:
    """The tensors as the kernels take them: by times, without gaps, and with something in the place of biases."""
    rows, w_ih, w_hh, b_ih, b_hh, h, c, batch_sizes = layer
    steps = rows.contiguous().reshape(len(batch_sizes), batch_sizes[0], -1)
    biases = (w_ih, w_hh) if b_ih is None or b_hh is None else (b_ih, b_hh)
    return steps, w_ih, w_hh, *biases, h.contiguous(), c.contiguous()
