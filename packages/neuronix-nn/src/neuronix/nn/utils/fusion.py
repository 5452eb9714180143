"""A layer and the batch normalisation after it as one layer, for evaluation."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor
from neuronix.nn.batchnorm import NormWithStatistics
from neuronix.nn.errors import ModuleValueError
from neuronix.nn.module import Module
from neuronix.nn.parameter import Parameter
from neuronix.nn.tensor_like import TensorLike

__all__ = ["fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights"]

M = TypeVar("M", bound=Module)


def fuse_conv_bn_eval(conv: M, bn: NormWithStatistics, transpose: bool = False) -> M:
    r"""A convolution that computes what a convolution and a batch normalisation after it compute in evaluation.

    With the running mean $\mu$ and variance $\sigma^2$, the weight $\gamma$ and the bias $\beta$ of the normalisation,
    its weight is $W \gamma / \sqrt{\sigma^2 + \epsilon}$ and its bias $(b - \mu) \gamma / \sqrt{\sigma^2 + \epsilon} +
    \beta$.

    Args:
        conv: The convolution, in evaluation.
        bn: The normalisation, in evaluation, with running statistics.
        transpose: Whether the convolution is a transposed one, whose outputs are the second axis of its weight.

    Returns:
        A new layer of the class of ``conv``.

    Raises:
        ModuleValueError: If one of them is in training, or there are no running statistics.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> conv, bn = nn.Conv2d(3, 4, 3).eval(), nn.BatchNorm2d(4)
        >>> x = torch.randn(2, 3, 5, 5)
        >>> _ = bn(conv(x))
        >>> fused = nn.utils.fuse_conv_bn_eval(conv, bn.eval())
        >>> bool(torch.allclose(fused(x).data, bn(conv(x)).data, atol=1e-5))
        True
    """
    _check("fuse_conv_bn_eval", conv, bn)
    return _fused(conv, bn, 1 if transpose else 0)


def fuse_linear_bn_eval(linear: M, bn: NormWithStatistics) -> M:
    """As [`fuse_conv_bn_eval`][neuronix.nn.utils.fuse_conv_bn_eval], for a linear layer.

    Args:
        linear: The layer, in evaluation.
        bn: The normalisation, in evaluation, of as many features as the layer gives, or of one.

    Returns:
        A new layer of the class of ``linear``.

    Raises:
        ModuleValueError: If one of them is in training, there are no running statistics, or the numbers differ.
    """
    _check("fuse_linear_bn_eval", linear, bn)
    if bn.num_features not in (linear.out_features, 1):
        raise ModuleValueError(
            f"fuse_linear_bn_eval: the layer gives {linear.out_features} features, the normalisation takes "
            f"{bn.num_features}"
        )
    return _fused(linear, bn, 0)


def _check(name: str, layer: Module, bn: NormWithStatistics) -> None:
    if layer.training or bn.training:
        raise ModuleValueError(f"{name}: both layers must be in evaluation", hint="call eval() on them")
    if bn.running_mean is None or bn.running_var is None:
        raise ModuleValueError(f"{name}: the normalisation has no running statistics")


def _fused(layer: M, bn: Any, axis: int) -> M:
    fused = copy.deepcopy(layer)
    fused.weight, fused.bias = _weights(
        layer.weight, layer.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias, axis
    )
    return fused


def fuse_conv_bn_weights(
    conv_w: TensorLike,
    conv_b: TensorLike | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: TensorLike | None,
    bn_b: TensorLike | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """The weight and the bias of [`fuse_conv_bn_eval`][neuronix.nn.utils.fuse_conv_bn_eval], from those of the layers.

    Args:
        conv_w: The convolution's weight.
        conv_b: Its bias.
        bn_rm: The running mean.
        bn_rv: The running variance.
        bn_eps: What is added to it.
        bn_w: The normalisation's weight.
        bn_b: Its bias.
        transpose: Whether the convolution is a transposed one.
    """
    return _weights(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 1 if transpose else 0)


def fuse_linear_bn_weights(
    linear_w: TensorLike,
    linear_b: TensorLike | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: TensorLike | None,
    bn_b: TensorLike | None,
) -> tuple[Parameter, Parameter]:
    """As [`fuse_conv_bn_weights`][neuronix.nn.utils.fuse_conv_bn_weights], for a linear layer."""
    return _weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 0)


def _weights(
    weight: Any, bias: Any, mean: Any, var: Any, eps: float, gamma: Any, beta: Any, axis: int
) -> tuple[Parameter, Parameter]:
    w, b, gamma, beta = (
        given.data if isinstance(given, CustomTensor) else given for given in (weight, bias, gamma, beta)
    )
    scale = torch.rsqrt(var + eps) if gamma is None else gamma * torch.rsqrt(var + eps)
    shift = -mean * scale if b is None else (b - mean) * scale
    shift = shift if beta is None else shift + beta
    along = [-1 if place == axis else 1 for place in range(w.ndim)]
    return (
        Parameter((w * scale.reshape(along)).to(w.dtype), requires_grad=weight.requires_grad),
        Parameter(shift.to(w.dtype if b is None else b.dtype), requires_grad=b is not None and bias.requires_grad),
    )
