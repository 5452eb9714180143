"""The Transformer: layers of attention and of two linear maps, each with a way around it and a normalisation."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor

from neuronix.autograd.errors import ShapeError
from neuronix.nn import functional, init
from neuronix.nn.attention import MultiheadAttention
from neuronix.nn.containers import ModuleList
from neuronix.nn.dropout import Dropout
from neuronix.nn.errors import LayerArgumentError
from neuronix.nn.layernorm import LayerNorm
from neuronix.nn.linear import Linear
from neuronix.nn.module import Module
from neuronix.nn.tensor_like import TensorLike

__all__ = [
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
]

Activation: TypeAlias = str | Callable[[Any], Any]


def _activation(layer: Module, activation: Activation) -> Callable[[Any], Any]:
    if not isinstance(activation, str):
        return activation
    if activation not in ("relu", "gelu"):
        raise LayerArgumentError(
            f"{type(layer).__name__}: activation should be relu/gelu, not {activation!r}", hint="or give a function"
        )
    return {"relu": functional.relu, "gelu": functional.gelu}[activation]


class TransformerBlock(Module):
    """What the two kinds of layer share: parts that are added to what passes by them.

    A part f is x + f(norm(x)) with ``norm_first``, and norm(x + f(x)) without.  Each attention is a part, and the two
    linear maps are one; each part has a normalisation and a dropout (``norm1``, ``dropout1``, …).
    """

    _attentions: ClassVar[tuple[str, ...]]  # their names, in the order in which they are applied

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int,
        dropout: float,
        activation: Activation,
        layer_norm_eps: float,
        batch_first: bool,
        norm_first: bool,
        placed: dict[str, Any],
    ) -> None:
        super().__init__()
        for name in self._attentions:
            attention = MultiheadAttention(d_model, nhead, dropout=dropout, batch_first=batch_first, **placed)
            self.add_module(name, attention)
        self.linear1 = Linear(d_model, dim_feedforward, **placed)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, **placed)
        self.norm_first = norm_first
        parts = range(1, len(self._attentions) + 2)
        for part in parts:
            self.add_module(f"norm{part}", LayerNorm(d_model, eps=layer_norm_eps, **placed))
        for part in parts:
            self.add_module(f"dropout{part}", Dropout(dropout))
        self.activation = _activation(self, activation)

    def _around(self, norm: Module, part: Callable[[Any], Any], x: Any) -> Any:
        return x + part(norm(x)) if self.norm_first else norm(x + part(x))

    def _feed_forward(self, last_dropout: Module) -> Callable[[Any], Any]:
        return lambda x: last_dropout(self.linear2(self.dropout(self.activation(self.linear1(x)))))


class TransformerEncoderLayer(TransformerBlock):
    """Self-attention, then two linear maps with an activation between them; each added to its input and normalised.

        x = norm1(x + attention(x)),    x = norm2(x + linear2(activation(linear1(x))))

    Args:
        d_model: The size of the vectors.
        nhead: The number of heads.
        dim_feedforward: The size between the two linear maps.
        dropout: The probability of dropout: of attention weights, between the maps, and of both parts' results.
        activation: ``"relu"``, ``"gelu"`` or a function.
        layer_norm_eps: Added to the variances.
        batch_first: Whether input and result are (batch, time, d_model) instead of (time, batch, d_model).
        norm_first: Whether inputs of the parts are normalised instead of sums.
        bias: Whether linear maps and normalisations have biases.
        device: Where the parameters live.
        dtype: Their element type.

    Raises:
        LayerArgumentError: For an unknown activation, or if heads don't divide d_model.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> layer = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=16, batch_first=True)
        >>> layer(torch.zeros(5, 7, 8)).shape
        torch.Size([5, 7, 8])

    References:
        Vaswani et al. 2017, Attention is all you need, section 3.1; Xiong et al. 2020, On layer normalization in the
        Transformer architecture (``norm_first``).
    """

    _attentions = ("self_attn",)

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = functional.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        placed: dict[str, Any] = {"bias": bias, "device": device, "dtype": dtype}
        size = (d_model, nhead, dim_feedforward)
        super().__init__(*size, dropout, activation, layer_norm_eps, batch_first, norm_first, placed)

    def forward(
        self,
        src: TensorLike,
        src_mask: TensorLike | None = None,
        src_key_padding_mask: TensorLike | None = None,
        is_causal: bool = False,
    ) -> Any:
        """Apply the layer to a sequence or a batch; masks are those of `MultiheadAttention`."""

        def attention(x: Any) -> Any:
            out, _ = self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)
            return self.dropout1(out)

        x = self._around(self.norm1, attention, src)
        return self._around(self.norm2, self._feed_forward(self.dropout2), x)


class TransformerDecoderLayer(TransformerBlock):
    """As the encoder's layer, with attention to the encoder's result between the two parts.

        x = norm1(x + attention(x)),    x = norm2(x + attention(x, memory)),    x = norm3(x + feed-forward(x))

    Args:
        d_model: The size of the vectors.
        nhead: The number of heads.
        dim_feedforward: The size between the two linear maps.
        dropout: The probability of dropout: of attention weights, between the maps, and of all parts' results.
        activation: ``"relu"``, ``"gelu"`` or a function.
        layer_norm_eps: Added to the variances.
        batch_first: Whether inputs and result are (batch, time, d_model) instead of (time, batch, d_model).
        norm_first: Whether inputs of the parts are normalised instead of sums.
        bias: Whether linear maps and normalisations have biases.
        device: Where the parameters live.
        dtype: Their element type.

    Raises:
        LayerArgumentError: For an unknown activation, or if heads don't divide d_model.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> layer = nn.TransformerDecoderLayer(8, nhead=2, dim_feedforward=16)
        >>> layer(torch.zeros(7, 5, 8), memory=torch.zeros(9, 5, 8)).shape
        torch.Size([7, 5, 8])

    References:
        Vaswani et al. 2017, Attention is all you need, section 3.1.
    """

    _attentions = ("self_attn", "multihead_attn")

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = functional.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        placed: dict[str, Any] = {"bias": bias, "device": device, "dtype": dtype}
        size = (d_model, nhead, dim_feedforward)
        super().__init__(*size, dropout, activation, layer_norm_eps, batch_first, norm_first, placed)

    def forward(
        self,
        tgt: TensorLike,
        memory: TensorLike,
        tgt_mask: TensorLike | None = None,
        memory_mask: TensorLike | None = None,
        tgt_key_padding_mask: TensorLike | None = None,
        memory_key_padding_mask: TensorLike | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Any:
        """Apply the layer to a sequence or a batch; masks are those of `MultiheadAttention`."""

        def to_itself(x: Any) -> Any:
            out, _ = self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)
            return self.dropout1(out)

        def to_memory(x: Any) -> Any:
            out, _ = self.multihead_attn(
                x, memory, memory, memory_key_padding_mask, False, memory_mask, is_causal=memory_is_causal
            )
            return self.dropout2(out)

        x = self._around(self.norm1, to_itself, tgt)
        x = self._around(self.norm2, to_memory, x)
        return self._around(self.norm3, self._feed_forward(self.dropout3), x)


class TransformerStack(Module):
    """What encoder and decoder share: copies of a layer, one after the other, and a last normalisation."""

    def __init__(self, layer: Module, num_layers: int, norm: Module | None) -> None:
        super().__init__()
        self.layers = ModuleList([copy.deepcopy(layer) for _ in range(num_layers)])
        self.num_layers = num_layers
        self.norm = norm

    def _apply_layers(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        for layer in self.layers:
            x = layer(x, *args, **kwargs)
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(TransformerStack):
    """A stack of encoder layers.

    Args:
        encoder_layer: The layer, which is copied.
        num_layers: How many copies.
        norm: Applied to the last one's result, if given.
        enable_nested_tensor: Accepted for torch's sake; see below.
        mask_check: Likewise.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> layer = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=16, batch_first=True)
        >>> nn.TransformerEncoder(layer, num_layers=3)(torch.zeros(5, 7, 8)).shape
        torch.Size([5, 7, 8])

    References:
        Vaswani et al. 2017, Attention is all you need.

    Differs from torch:
        There are no nested tensors, so padded places are computed like all others, where torch's inference puts zeros
        there.  A causal mask is applied as any mask, without being detected.
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__(encoder_layer, num_layers, norm)
        self.enable_nested_tensor = enable_nested_tensor
        self.mask_check = mask_check

    def forward(
        self,
        src: TensorLike,
        mask: TensorLike | None = None,
        src_key_padding_mask: TensorLike | None = None,
        is_causal: bool | None = None,
    ) -> Any:
        """Apply all layers."""
        return self._apply_layers(
            src, src_mask=mask, is_causal=bool(is_causal), src_key_padding_mask=src_key_padding_mask
        )


class TransformerDecoder(TransformerStack):
    """A stack of decoder layers.

    Args:
        decoder_layer: The layer, which is copied.
        num_layers: How many copies.
        norm: Applied to the last one's result, if given.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, nhead=2, dim_feedforward=16), num_layers=2)
        >>> decoder(torch.zeros(7, 5, 8), memory=torch.zeros(9, 5, 8)).shape
        torch.Size([7, 5, 8])

    References:
        Vaswani et al. 2017, Attention is all you need.

    Differs from torch:
        A causal mask is applied as any mask, without being detected.
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__(decoder_layer, num_layers, norm)

    def forward(
        self,
        tgt: TensorLike,
        memory: TensorLike,
        tgt_mask: TensorLike | None = None,
        memory_mask: TensorLike | None = None,
        tgt_key_padding_mask: TensorLike | None = None,
        memory_key_padding_mask: TensorLike | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Any:
        """Apply all layers."""
        return self._apply_layers(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=bool(tgt_is_causal),
            memory_is_causal=memory_is_causal,
        )


class Transformer(Module):
    """An encoder, and a decoder that attends to its result.

    Args:
        d_model: The size of the vectors.
        nhead: The number of heads.
        num_encoder_layers: The number of encoder layers.
        num_decoder_layers: The number of decoder layers.
        dim_feedforward: The size between the two linear maps of each layer.
        dropout: The probability of dropout.
        activation: ``"relu"``, ``"gelu"`` or a function.
        custom_encoder: Takes the encoder's place.
        custom_decoder: Takes the decoder's place.
        layer_norm_eps: Added to the variances.
        batch_first: Whether inputs and result are (batch, time, d_model) instead of (time, batch, d_model).
        norm_first: Whether inputs of the parts are normalised instead of sums.
        bias: Whether linear maps and normalisations have biases.
        device: Where the parameters live.
        dtype: Their element type.

    Raises:
        LayerArgumentError: For an unknown activation, or if heads don't divide d_model.
        ShapeError: If source and target have different batches, or vectors of another size.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> model = nn.Transformer(8, nhead=2, num_encoder_layers=1, num_decoder_layers=1, dim_feedforward=16)
        >>> causal = nn.Transformer.generate_square_subsequent_mask(7)
        >>> model(torch.zeros(9, 5, 8), torch.zeros(7, 5, 8), tgt_mask=causal).shape
        torch.Size([7, 5, 8])

    References:
        Vaswani et al. 2017, Attention is all you need.
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = functional.relu,
        custom_encoder: Any = None,
        custom_decoder: Any = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        arguments: tuple[Any, ...] = (d_model, nhead, dim_feedforward, dropout, activation)
        arguments += (layer_norm_eps, batch_first, norm_first, bias, device, dtype)

        def norm() -> LayerNorm:
            return LayerNorm(d_model, eps=layer_norm_eps, bias=bias, device=device, dtype=dtype)

        if custom_encoder is None:
            encoder_layer = TransformerEncoderLayer(*arguments)
            self.encoder: Any = TransformerEncoder(encoder_layer, num_encoder_layers, norm())
        else:
            self.encoder = custom_encoder
        if custom_decoder is None:
            decoder_layer = TransformerDecoderLayer(*arguments)
            self.decoder: Any = TransformerDecoder(decoder_layer, num_decoder_layers, norm())
        else:
            self.decoder = custom_decoder
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first

    def forward(
        self,
        src: TensorLike,
        tgt: TensorLike,
        src_mask: TensorLike | None = None,
        tgt_mask: TensorLike | None = None,
        memory_mask: TensorLike | None = None,
        src_key_padding_mask: TensorLike | None = None,
        tgt_key_padding_mask: TensorLike | None = None,
        memory_key_padding_mask: TensorLike | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Any:
        """Encode ``src``, and decode ``tgt`` with it; masks are those of `MultiheadAttention`."""
        batch_axis = 0 if self.batch_first else 1
        if src.ndim == 3 and (tgt.ndim != 3 or src.shape[batch_axis] != tgt.shape[batch_axis]):
            raise ShapeError(
                f"Transformer: the batch number of src and tgt must be equal, got shapes {tuple(src.shape)} and "
                f"{tuple(tgt.shape)}, batch axis {batch_axis}"
            )
        if src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise ShapeError(
                f"Transformer: the feature number of src and tgt must be equal to d_model ({self.d_model}), got "
                f"{src.shape[-1]} and {tgt.shape[-1]}"
            )
        memory = self.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal)
        return self.decoder(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )

    @staticmethod
    def generate_square_subsequent_mask(
        sz: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """The causal mask (sz, sz): 0 where a query may attend, −∞ above the diagonal, where it may not.

        Example:
            >>> from neuronix import nn
            >>> nn.Transformer.generate_square_subsequent_mask(2)
            tensor([[0., -inf],
                    [0., 0.]])
        """
        return torch.full((sz, sz), float("-inf"), device=device, dtype=dtype).triu(1)
