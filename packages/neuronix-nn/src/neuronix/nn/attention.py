"""Multi-head attention.  What it computes stands in ``functional/attention.py``; here are parameters and layouts."""

from __future__ import annotations

from typing import Any

import torch

from neuronix.autograd import ops
from neuronix.nn import functional, init
from neuronix.nn.checks import check_probability
from neuronix.nn.errors import LayerArgumentError
from neuronix.nn.linear import NonDynamicallyQuantizableLinear
from neuronix.nn.module import Module
from neuronix.nn.parameter import Parameter
from neuronix.nn.tensor_like import TensorLike

__all__ = ["MultiheadAttention"]


class MultiheadAttention(Module):
    """Attention in several heads, each on its own projection of queries, keys and values.

        head_i = softmax(Q_i K_iᵀ / √(E / h)) V_i,    result = (head_1 … head_h) W^O

    Args:
        embed_dim: E, the size of queries and results.
        num_heads: h, which divides E.
        dropout: The probability with which a weight is dropped, in training.
        bias: Whether the projections have biases.
        add_bias_kv: Whether a key and a value are learnt that stand behind all others.
        add_zero_attn: Whether a key and a value of zeros stand behind all others.
        kdim: The size of the keys; by default E.
        vdim: The size of the values; by default E.
        batch_first: Whether inputs and result are (N, L, E) instead of (L, N, E).
        device: Where the parameters live.
        dtype: Their element type.

    It is called with ``query``, ``key`` and ``value`` and torch's masks, in which ``True`` forbids:
    ``key_padding_mask`` (N, S), ``attn_mask`` (L, S) or (N · h, L, S).  It returns the result and the weights, averaged
    over the heads unless ``average_attn_weights=False``; ``None`` with ``need_weights=False``, which is quicker.

    Raises:
        LayerArgumentError: If sizes aren't positive, or heads don't divide E.
        ShapeError: If shapes don't fit.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> layer = nn.MultiheadAttention(8, num_heads=2, batch_first=True)
        >>> x = torch.zeros(5, 7, 8)
        >>> out, weights = layer(x, x, x)
        >>> out.shape, weights.shape
        (torch.Size([5, 7, 8]), torch.Size([5, 7, 7]))

    References:
        Vaswani et al. 2017, Attention is all you need, section 3.2.2.

    Differs from torch:
        A wrong number of heads raises a LayerArgumentError, where torch raises an AssertionError.
    """

    in_proj_weight: Parameter | None  # (3 E, E); None where kdim or vdim differ
    q_proj_weight: Parameter | None  # (E, E); these three only there
    k_proj_weight: Parameter | None  # (E, kdim)
    v_proj_weight: Parameter | None  # (E, vdim)
    in_proj_bias: Parameter | None  # (3 E,)
    bias_k: Parameter | None  # (1, 1, E)
    bias_v: Parameter | None  # (1, 1, E)

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0 or embed_dim % num_heads:
            raise LayerArgumentError(
                "MultiheadAttention: embed_dim and num_heads must be greater than 0, and embed_dim must be divisible "
                f"by num_heads; got embed_dim={embed_dim} and num_heads={num_heads}"
            )
        check_probability(self, dropout)
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        self.add_zero_attn = add_zero_attn
        together = self.kdim == embed_dim and self.vdim == embed_dim

        def parameter(name: str, there: bool, *shape: int) -> None:
            value = Parameter(torch.empty(shape, device=device, dtype=dtype)) if there else None
            self.register_parameter(name, value)

        # In the order in which torch has them, here and in each state_dict.
        if together:
            parameter("in_proj_weight", True, 3 * embed_dim, embed_dim)
        parameter("q_proj_weight", not together, embed_dim, embed_dim)
        parameter("k_proj_weight", not together, embed_dim, self.kdim)
        parameter("v_proj_weight", not together, embed_dim, self.vdim)
        if not together:
            parameter("in_proj_weight", False)
        parameter("in_proj_bias", bias, 3 * embed_dim)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias=bias, device=device, dtype=dtype)
        parameter("bias_k", add_bias_kv, 1, 1, embed_dim)
        parameter("bias_v", add_bias_kv, 1, 1, embed_dim)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                init.xavier_normal_(extra)

    def forward(
        self,
        query: TensorLike,
        key: TensorLike,
        value: TensorLike,
        key_padding_mask: TensorLike | None = None,
        need_weights: bool = True,
        attn_mask: TensorLike | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Any, Any]:
        """Apply the layer; see above."""
        swap = self.batch_first and query.ndim == 3
        inputs = (query, key, value)
        if swap:  # once for each input, so that self-attention stays that
            swapped = {id(x): ops.transpose(x, 0, 1) for x in inputs}
            inputs = tuple(swapped[id(x)] for x in inputs)
        result, weights = functional.multi_head_attention_forward(
            *inputs,
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            training=self.training,
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            attn_mask=attn_mask,
            use_separate_proj_weight=self.in_proj_weight is None,
            q_proj_weight=self.q_proj_weight,
            k_proj_weight=self.k_proj_weight,
            v_proj_weight=self.v_proj_weight,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )
        return (ops.transpose(result, 0, 1) if swap else result), weights
