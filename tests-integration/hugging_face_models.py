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


def mixtral(experts: str) -> torch.nn.Module:
    return hf.MixtralForCausalLM(
        hf.MixtralConfig(**GROUPED, num_local_experts=4, output_router_logits=True, experts_implementation=experts)
    )


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
    # torch's grouped matrix product, which it would use otherwise, has no float64
    "Mixtral": (lambda: mixtral("eager"), lambda: dict(input_ids=IDS, labels=IDS)),
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
    "ELECTRA": (
        lambda: hf.ElectraForSequenceClassification(hf.ElectraConfig(**SHORT, embedding_size=8)),
        lambda: dict(input_ids=IDS, attention_mask=MASK, labels=CLASSES),
    ),
    "DeBERTa": (
        lambda: hf.DebertaV2ForSequenceClassification(
            hf.DebertaV2Config(**SHORT, relative_attention=True, pos_att_type=["c2p", "p2c"], conv_kernel_size=3)
        ),
        lambda: dict(input_ids=IDS, attention_mask=MASK, labels=CLASSES),
    ),
    "BART": (
        lambda: hf.BartForConditionalGeneration(hf.BartConfig(**SEQ2SEQ, max_position_embeddings=16)),
        lambda: dict(input_ids=IDS, labels=IDS),
    ),
    "GPT-NeoX": (lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**SHORT)), lambda: dict(input_ids=IDS, labels=IDS)),
    "OPT": (
        lambda: hf.OPTForCausalLM(
            hf.OPTConfig(
                vocab_size=30,
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                ffn_dim=24,
                max_position_embeddings=16,
                word_embed_proj_dim=16,
            )
        ),
        lambda: dict(input_ids=IDS, labels=IDS),
    ),
    "Falcon": (
        lambda: hf.FalconForCausalLM(
            hf.FalconConfig(vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2)
        ),
        lambda: dict(input_ids=IDS, labels=IDS),
    ),
    "Gemma": (
        lambda: hf.Gemma2ForCausalLM(
            hf.Gemma2Config(**GROUPED, max_position_embeddings=16, head_dim=4, sliding_window=4)
        ),
        lambda: dict(input_ids=IDS, labels=IDS),
    ),
    "Phi": (
        lambda: hf.Phi3ForCausalLM(hf.Phi3Config(**GROUPED, max_position_embeddings=16, pad_token_id=0)),
        lambda: dict(input_ids=IDS, labels=IDS),
    ),
    "XLNet": (
        lambda: hf.XLNetForSequenceClassification(
            hf.XLNetConfig(vocab_size=30, d_model=16, n_layer=2, n_head=2, d_inner=24)
        ),
        lambda: dict(input_ids=IDS, attention_mask=MASK, labels=CLASSES),
    ),
    "Longformer": (
        lambda: hf.LongformerForSequenceClassification(
            hf.LongformerConfig(**SHORT, attention_window=4, pad_token_id=1)
        ),
        lambda: dict(input_ids=IDS, attention_mask=torch.ones_like(IDS), labels=CLASSES),
    ),
    "Perceiver": (
        lambda: hf.PerceiverForSequenceClassification(
            hf.PerceiverConfig(
                num_latents=4,
                d_latents=8,
                d_model=8,
                num_blocks=1,
                num_self_attends_per_block=2,
                num_self_attention_heads=2,
                num_cross_attention_heads=2,
                vocab_size=30,
                max_position_embeddings=16,
            )
        ),
        lambda: dict(inputs=IDS, attention_mask=MASK, labels=CLASSES),
    ),
    "RWKV": (
        lambda: hf.RwkvForCausalLM(
            hf.RwkvConfig(vocab_size=30, hidden_size=16, num_hidden_layers=2, context_length=16)
        ),
        lambda: dict(input_ids=IDS, labels=IDS),
    ),
    "Wav2Vec2": (  # CTC
        lambda: hf.Wav2Vec2ForCTC(
            hf.Wav2Vec2Config(
                **TEXT,
                conv_dim=(8, 8),
                conv_kernel=(5, 3),
                conv_stride=(3, 2),
                num_feat_extract_layers=2,
                num_conv_pos_embeddings=4,
                num_conv_pos_embedding_groups=2,
                apply_spec_augment=False,
            )
        ),
        lambda: dict(input_values=torch.randn(2, 120), labels=torch.tensor([[3, 4, 5], [6, 7, -100]])),
    ),
    "AST": (
        lambda: hf.ASTForAudioClassification(
            hf.ASTConfig(
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=24,
                patch_size=4,
                frequency_stride=4,
                time_stride=4,
                max_length=12,
                num_mel_bins=8,
            )
        ),
        lambda: dict(input_values=torch.randn(2, 12, 8), labels=CLASSES),
    ),
    "EnCodec": (
        lambda: hf.EncodecModel(
            hf.EncodecConfig(
                num_filters=4,
                hidden_size=8,
                num_residual_layers=1,
                upsampling_ratios=[2, 2],
                codebook_size=16,
                codebook_dim=8,
                num_lstm_layers=1,
                target_bandwidths=[12.0],
                sampling_rate=8000,
            )
        ),
        lambda: dict(input_values=torch.randn(1, 1, 64), bandwidth=12.0),
    ),
    "ResNet": (
        lambda: hf.ResNetForImageClassification(hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])),
        lambda: dict(pixel_values=pixels(16), labels=CLASSES),
    ),
    "PatchTST": (
        lambda: hf.PatchTSTForPrediction(
            hf.PatchTSTConfig(
                num_input_channels=2,
                context_length=8,
                patch_length=2,
                patch_stride=2,
                d_model=8,
                num_hidden_layers=1,
                num_attention_heads=2,
                ffn_dim=8,
                prediction_length=2,
            )
        ),
        lambda: dict(past_values=torch.rand(2, 8, 2), future_values=torch.rand(2, 2, 2)),
    ),
    "Reformer": (  # reversible layers: a torch.autograd.Function that differentiates inside its backward
        lambda: hf.ReformerModelWithLMHead(
            hf.ReformerConfig(
                vocab_size=30,
                hidden_size=16,
                num_attention_heads=2,
                attention_head_size=8,
                feed_forward_size=24,
                attn_layers=["local", "lsh"],
                axial_pos_embds=False,
                max_position_embeddings=16,
                local_attn_chunk_length=4,
                lsh_attn_chunk_length=4,
                num_buckets=2,
                is_decoder=True,
            )
        ),
        lambda: dict(input_ids=torch.randint(3, 30, (2, 8)), labels=torch.randint(3, 30, (2, 8))),
    ),
}
