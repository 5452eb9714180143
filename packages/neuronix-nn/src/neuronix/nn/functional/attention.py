"""Attention: each query takes a weighted mean of the values, with weights by how well it agrees with their keys."""

from __future__ import annotations

import math
from typing import Any

import torch

from neuronix.autograd import CustomTensor, composite, ops
from neuronix.autograd.errors import ArgumentError, DtypeError, RankError, ShapeError
from neuronix.nn.errors import AssertedError
from neuronix.nn.functional.arguments import number
from neuronix.nn.functional.dropout import dropout

__all__ = ["multi_head_attention_forward", "scaled_dot_product_attention"]


def attend(
    query: Any, key: Any, value: Any, bias: Any, dropout_p: float, scale: float | None, dead_rows: bool
) -> tuple[Any, Any]:
    """softmax(scale · Q Kᵀ + bias) V, and the weights, which are what the softmax gives.

    Args:
        query: (…, L, E).
        key: (…, S, E).
        value: (…, S, F).
        bias: Added to the scores, (…, L, S); −∞ forbids.
        dropout_p: The probability with which a weight is dropped.
        scale: By default 1/√E: the scalar product of vectors of independent entries has a variance of E.
        dead_rows: Whether a query that may attend to nothing gets zeros; otherwise it gets 0/0.

    Returns:
        (…, L, F), and the weights (…, L, S).
    """
    dropout_p = number(dropout_p, "dropout_p")
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = ops.matmul(query * scale, ops.transpose(key, -2, -1))
    if bias is None:
        weights = ops.softmax(scores, -1)
    elif not dead_rows:
        weights = ops.softmax(scores + bias, -1)
    else:
        weights = ops.safe_softmax(scores + bias, -1)
    if dropout_p > 0.0:
        weights = dropout(weights, dropout_p)
    return ops.matmul(weights, value), weights


def as_bias(mask: Any, dtype: torch.dtype, name: str, *, forbids: bool) -> Any:
    """A mask as what is added to the scores.

    Args:
        mask: Booleans, or numbers, which are added as they are.
        dtype: The type of the scores.
        name: What it is, for the error.
        forbids: Whether ``True`` forbids or allows.

    Returns:
        The numbers.

    Raises:
        DtypeError: If it holds integers, or numbers of another precision than ``dtype`` or float32.
    """
    if mask is None or mask.dtype is dtype or mask.dtype is torch.float32:
        return mask
    if mask.is_floating_point() and torch._C._is_any_autocast_enabled():
        return mask  # it will be converted
    if mask.dtype is not torch.bool:
        raise DtypeError(
            f"attention: {name} must be of bool, float32 or the query's dtype {dtype}, got {mask.dtype}",
            hint="use mask.bool(), or mask.to() the query's dtype",
        )
    values = mask.data if isinstance(mask, CustomTensor) else mask
    return torch.zeros_like(values, dtype=dtype).masked_fill(values if forbids else ~values, -math.inf)


@composite(names="nn.functional.scaled_dot_product_attention")
def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Scaled dot-product attention.

        softmax(scale · Q Kᵀ + mask) V

    Args:
        query: (…, L, E).
        key: (…, S, E).
        value: (…, S, F).
        attn_mask: (…, L, S): booleans, where ``True`` lets a query attend to a key, or numbers to add to the scores.
            A query that may attend to nothing gets zeros.
        dropout_p: The probability with which a weight is dropped (at every call; there is no training mode here).
        is_causal: Whether query i attends to the keys up to i only.
        scale: By default 1/√E.
        enable_gqa: Whether several heads (axis −3) of the query share one of key and value.

    Returns:
        (…, L, F).

    Raises:
        ArgumentError: If both a mask and ``is_causal`` are given, or if heads can't be shared evenly.
        RankError: If the mask has fewer than two axes.
        DtypeError: If the mask holds integers, or numbers of another precision than the query's or float32.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> q, k, v = torch.zeros(1, 2), torch.randn(3, 2), torch.tensor([[1.0], [2.0], [6.0]])
        >>> functional.scaled_dot_product_attention(q, k, v)  # no preference: the mean of the values
        CustomTensor([[3.]])

    References:
        Vaswani et al. 2017, Attention is all you need, equation 1.
    """
    if is_causal:
        if attn_mask is not None:
            raise ArgumentError(
                "scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True",
                hint="leave one of them out, or merge the causal mask into attn_mask",
            )
        attn_mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    bias = as_bias(attn_mask, query.dtype, "attn_mask", forbids=False)
    if bias is not None and bias.ndim < 2:
        raise RankError(f"scaled_dot_product_attention: attn_mask must be (…, L, S), got shape {tuple(bias.shape)}")
    if enable_gqa:
        key, value = (_for_each_head(query, shared) for shared in (key, value))
    x = query if isinstance(query, CustomTensor) else CustomTensor(query)
    return attend(x, key, value, bias, dropout_p, scale, dead_rows=not is_causal)[0]


def _for_each_head(query: Any, shared: Any) -> Any:
    heads, groups = query.shape[-3], shared.shape[-3]
    if heads % groups:
        raise ArgumentError(
            f"scaled_dot_product_attention: with enable_gqa the number of query heads ({heads}) must be a multiple of "
            f"that of key and value ({groups})"
        )
    return ops.repeat_interleave(shared, heads // groups, -3)


def _projected(inputs: tuple[Any, Any, Any], weights: Any, separate: Any, bias: Any) -> Any:
    """Queries, keys and values: each input times its weight."""
    query, key, value = inputs
    if separate is None:
        if query is key and key is value:  # self-attention: one product instead of three
            return ops.chunk(ops.linear(query, weights, bias), 3, -1)
        separate = ops.chunk(weights, 3)
    biases = (None, None, None) if bias is None else ops.chunk(bias, 3)
    return [ops.linear(*each) for each in zip(inputs, separate, biases, strict=True)]


def _check_shapes(query: Any, key: Any, value: Any, embed_dim: int, separate: bool) -> None:
    name = "multi_head_attention_forward"
    if query.ndim not in (2, 3) or key.ndim != query.ndim or value.ndim != query.ndim:
        raise AssertedError(
            f"{name}: expected query, key and value to be all unbatched (2-D) or all batched (3-D), got "
            f"{query.ndim}-D, {key.ndim}-D and {value.ndim}-D"
        )
    if query.shape[-1] != embed_dim:
        raise AssertedError(f"{name}: was expecting embedding dimension of {embed_dim}, but got {query.shape[-1]}")
    theirs, ours = (key.shape[:-1], value.shape[:-1]) if separate else (key.shape, value.shape)
    if theirs != ours:
        raise AssertedError(f"{name}: key shape {tuple(key.shape)} does not match value shape {tuple(value.shape)}")


def _check_extra_keys(embed_dim: int, bias_k: Any, bias_v: Any) -> None:
    for what, extra in (("bias_k", bias_k), ("bias_v", bias_v)):
        if extra is not None and (not extra.ndim or extra.shape[-1] != embed_dim):
            raise ShapeError(
                f"multi_head_attention_forward: {what} must be (1, 1, {embed_dim}), got shape {tuple(extra.shape)}"
            )


def _with_batch_axis(query: Any, key: Any, value: Any) -> tuple[Any, Any, Any]:
    new = ops.unsqueeze(query, 1)
    if query is key and key is value:
        return new, new, new  # still one input: see `_projected`
    return new, ops.unsqueeze(key, 1), ops.unsqueeze(value, 1)


def _by_head(x: Any, heads: tuple[int, int], static: Any = None) -> Any:
    """(S, N, E) as (N, h, S, E / h); or what is used instead, (N · h, S, E / h)."""
    if static is not None:
        expected = heads[0] * heads[1], x.shape[2] // heads[1]
        if static.ndim != 3 or (static.shape[0], static.shape[2]) != expected:
            raise AssertedError(
                f"multi_head_attention_forward: static keys and values must be ({expected[0]}, S, {expected[1]}), got "
                f"{tuple(static.shape)}"
            )
        return ops.reshape(static, (*heads, *static.shape[1:]))
    return ops.permute(ops.reshape(x, (x.shape[0], *heads, x.shape[2] // heads[1])), (1, 2, 0, 3))


def _merged_mask(attn_mask: Any, padding: Any, batch: int, heads: int, lengths: tuple[int, int]) -> Any:
    """Both masks as one that can be added to scores (batch, heads, L, S)."""
    if attn_mask is not None:
        expected = {2: lengths, 3: (batch * heads, *lengths)}.get(attn_mask.ndim)
        if tuple(attn_mask.shape) != expected:
            raise AssertedError(
                f"The shape of the attn_mask is {tuple(attn_mask.shape)}, but should be {lengths} or "
                f"{(batch * heads, *lengths)}"
            )
        if attn_mask.ndim == 3:
            attn_mask = attn_mask.reshape(batch, heads, *lengths)
    if padding is None:
        return attn_mask
    if tuple(padding.shape) != (batch, lengths[1]):
        raise ShapeError(
            f"The shape of the key_padding_mask is {tuple(padding.shape)}, but should be {(batch, lengths[1])}"
        )
    padding = padding.reshape(batch, 1, 1, lengths[1])
    return padding if attn_mask is None else attn_mask + padding


@composite(names="nn.functional.multi_head_attention_forward")
def multi_head_attention_forward(
    query: Any,
    key: Any,
    value: Any,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Any,
    in_proj_bias: Any,
    bias_k: Any,
    bias_v: Any,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Any,
    out_proj_bias: Any,
    training: bool = True,
    key_padding_mask: Any = None,
    need_weights: bool = True,
    attn_mask: Any = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Any = None,
    k_proj_weight: Any = None,
    v_proj_weight: Any = None,
    static_k: Any = None,
    static_v: Any = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Any, Any]:
    """Attention in several heads, each on its own projection of queries, keys and values.

        head_i = attention(Q W_i^Q, K W_i^K, V W_i^V),    result = (head_1 … head_h) W^O

    Args:
        query: (L, N, E) or (L, E).
        key: (S, N, E_k) or (S, E_k).
        value: (S, N, E_v) or (S, E_v).
        embed_dim_to_check: E.
        num_heads: h, which divides E.
        in_proj_weight: (3 E, E), the three projections one above the other; or see ``use_separate_proj_weight``.
        in_proj_bias: (3 E,) or ``None``.
        bias_k: (1, 1, E), a key that is put behind the projected ones, or ``None``.
        bias_v: Its value.
        add_zero_attn: Whether to put a key and a value of zeros behind them.
        dropout_p: The probability with which a weight is dropped in training.
        out_proj_weight: (E, E), W^O.
        out_proj_bias: (E,) or ``None``.
        training: Whether dropout is active.
        key_padding_mask: (N, S) or (S,): ``True`` for keys that nobody attends to, or numbers to add to the scores.
        need_weights: Whether to return the weights.
        attn_mask: (L, S) or (N · h, L, S): ``True`` forbids a query to attend to a key; or numbers to add.
        use_separate_proj_weight: Whether the next three are used instead of ``in_proj_weight``.
        q_proj_weight: (E, E).
        k_proj_weight: (E, E_k).
        v_proj_weight: (E, E_v).
        static_k: (N · h, S, E / h), used instead of the projected keys.
        static_v: Likewise.
        average_attn_weights: Whether the weights are averaged over the heads.
        is_causal: Says that ``attn_mask`` is the causal one.

    Returns:
        The result, of the shape of ``query``, and the weights (N, L, S), (N, h, L, S) or without N; or ``None``.

    Raises:
        AssertedError: If the inputs' shapes don't fit, or heads don't divide E.
        ShapeError: If other shapes don't fit.
        ArgumentError: If ``is_causal`` is set without ``attn_mask``.

    References:
        Vaswani et al. 2017, Attention is all you need, section 3.2.2.
    """
    _check_shapes(query, key, value, embed_dim_to_check, use_separate_proj_weight)
    _check_extra_keys(embed_dim_to_check, bias_k, bias_v)
    if embed_dim_to_check % num_heads:
        raise AssertedError(f"embed_dim {embed_dim_to_check} not divisible by num_heads {num_heads}")
    if is_causal and attn_mask is None:
        raise ArgumentError(
            "Need attn_mask if specifying the is_causal hint", hint="Transformer.generate_square_subsequent_mask()"
        )
    inputs, batched = (query, key, value), query.ndim == 3
    if not batched:
        inputs = _with_batch_axis(*inputs)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    length, batch, width = inputs[0].shape
    padding = as_bias(key_padding_mask, query.dtype, "key_padding_mask", forbids=True)
    mask = as_bias(attn_mask, query.dtype, "attn_mask", forbids=True)
    hint = is_causal and padding is None and not need_weights  # then the mask itself isn't needed
    sizes = (length, inputs[1].shape[0] if static_k is None else static_k.shape[1])
    mask = None if hint else _merged_mask(mask, padding, batch, num_heads, sizes)

    separate = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None
    q, k, v = _projected(inputs, in_proj_weight, separate, in_proj_bias)
    zeros = [torch.zeros(1, 1, width, dtype=query.dtype, device=query.device)] * 2
    for extra in [(bias_k, bias_v)] * (bias_k is not None) + [zeros] * add_zero_attn:
        k, v = (ops.cat([x, ops.expand(one, (1, batch, width))]) for x, one in zip((k, v), extra, strict=True))
        mask = None if mask is None else ops.pad(mask, (0, 1))

    heads = (batch, num_heads)
    q, k, v = (_by_head(q, heads), _by_head(k, heads, static_k), _by_head(v, heads, static_v))
    dropout_p = dropout_p if training else 0.0
    if need_weights:
        out, weights = attend(q, k, v, mask, dropout_p, None, dead_rows=False)
        weights = weights.mean(1) if average_attn_weights else weights
        weights = weights if batched else weights.squeeze(0)
    else:
        out, weights = scaled_dot_product_attention(q, k, v, mask, dropout_p, hint), None
    joined = ops.reshape(ops.permute(out, (2, 0, 1, 3)), (length, batch, width))
    result = ops.linear(joined, out_proj_weight, out_proj_bias)
    return result if batched else result.squeeze(1), weights
