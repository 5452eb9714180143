"""Models of the transformers library, from small configurations: nothing is downloaded.

Each row makes a model and the keyword arguments of its forward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers as hf

IDS = torch.tensor([[5, 6, 7, 8, 1], [3, 2, 9, 1, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
CLASSES = torch.tensor([0, 1])

TEXT: dict[str, Any] = dict(
    vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24
)
SHORT: dict[str, Any] = TEXT | dict(max_position_embeddings=16)
GROUPED: dict[str, Any] = TEXT | dict(num_attention_heads=4, num_key_value_heads=2)
IMAGES: dict[str, Any] = dict(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, image_size=8, patch_size=4
)
SEQ2SEQ: dict[str, Any] = dict(
    vocab_size=30, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
    encoder_ffn_dim=24, decoder_ffn_dim=24,
)  # fmt: skip


def pixels(size: int) -> torch.Tensor:
    return torch.randn(2, 3, size, size)


ROWS: dict[str, tuple[Callable[[], torch.nn.Module], Callable[[], dict[str, Any]]]] = {
    "BERT": (
        lambda: hf.BertForSequenceClassification(hf.BertConfig(**SHORT)),
        lambda: dict(input_ids=IDS, attention_mask=MASK, labels=CLASSES),
    ),
    "GPT-2": (
        lambda: hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=30, n_embd=16, n_layer=2, n_head=2, n_positions=16)),
        lambda: dict(input_ids=IDS, labels=IDS),
    ),
    "Llama": (
        lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**GROUPED, max_position_embeddings=16)),
        lambda: dict(input_ids=IDS, labels=IDS),
    ),
    "ViT": (
        lambda: hf.ViTForImageClassification(hf.ViTConfig(**IMAGES)),
        lambda: dict(pixel_values=pixels(8), labels=CLASSES),
    ),
    "T5": (
        lambda: hf.T5ForConditionalGeneration(
            hf.T5Config(vocab_size=30, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, decoder_start_token_id=0)
        ),
        lambda: dict(input_ids=IDS, attention_mask=MASK, labels=IDS),
    ),
    "DistilBERT": (
        lambda: hf.DistilBertForMaskedLM(
            hf.DistilBertConfig(vocab_size=30, dim=16, n_layers=2, n_heads=2, hidden_dim=24, max_position_embeddings=16)
        ),
        lambda: dict(input_ids=IDS, attention_mask=MASK, labels=IDS),
    ),
    "RoBERTa": (
        lambda: hf.RobertaForTokenClassification(hf.RobertaConfig(**SHORT)),
        lambda: dict(input_ids=IDS, attention_mask=MASK, labels=IDS % 2),
    ),
    "Mixtral": (
        # torch's grouped matrix product, which it would use otherwise, has no float64
        lambda: hf.MixtralForCausalLM(
            hf.MixtralConfig(**GROUPED, num_local_experts=4, output_router_logits=True, experts_implementation="eager")
        ),
        lambda: dict(input_ids=IDS, labels=IDS),
    ),
    "Whisper": (
        lambda: hf.WhisperForConditionalGeneration(
            hf.WhisperConfig(
                **SEQ2SEQ,
                num_mel_bins=8,
                max_source_positions=10,
                max_target_positions=16,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=2,
                decoder_start_token_id=1,
            )
        ),
        lambda: dict(input_features=torch.randn(2, 8, 20), labels=IDS),
    ),
    "CLIP": (
        lambda: hf.CLIPModel(
            hf.CLIPConfig(
                text_config=SHORT | dict(eos_token_id=9, pad_token_id=0, bos_token_id=0),
                vision_config=IMAGES,
                projection_dim=8,
            )
        ),
        lambda: dict(input_ids=IDS, attention_mask=MASK, pixel_values=pixels(8), return_loss=True),
    ),
    "Mamba": (
        lambda: hf.MambaForCausalLM(hf.MambaConfig(vocab_size=30, hidden_size=16, num_hidden_layers=2, state_size=4)),
        lambda: dict(input_ids=IDS, labels=IDS),
    ),
    "Bloom": (  # with a torch.autograd.Function of its own
        lambda: hf.BloomForCausalLM(hf.BloomConfig(vocab_size=30, hidden_size=16, n_layer=2, n_head=2)),
        lambda: dict(input_ids=IDS, labels=IDS),
    ),
    "Swin": (
        lambda: hf.SwinForImageClassification(
            hf.SwinConfig(image_size=16, patch_size=2, embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=4)
        ),
        lambda: dict(pixel_values=pixels(16), labels=CLASSES),
    ),
}
