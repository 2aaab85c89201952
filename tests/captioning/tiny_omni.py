"""Tiny random Omni models of the real classes, saved whole (thinker, talker and all) as the published ones are."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    Qwen2_5OmniConfig,
    Qwen2_5OmniForConditionalGeneration,
    Qwen3OmniMoeConfig,
    Qwen3OmniMoeForConditionalGeneration,
    WhisperFeatureExtractor,
)

from tests.captioning.tiny_models import byte_tokenizer, ends

TOKENS = {
    "audio_token": "<|AUDIO|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
    "image_token": "<|IMAGE|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
}

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>"
    "{% elif part['type'] == 'video' %}<|vision_bos|><|VIDEO|><|vision_eos|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Ours, in the layout of Qwen's chats, which the published template has too."""

ROPE = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]}
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.5,
    "rope_parameters": ROPE,
}
AUDIO = {
    "d_model": 16,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "num_mel_bins": 128,
    "max_source_positions": 1500,
    "output_dim": 32,
    "n_window": 50,
    "initializer_range": 0.5,
}
EYES = {
    "depth": 1,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_heads": 2,
    "out_hidden_size": 32,
    "initializer_range": 0.5,
}
SIGHT = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "merge_size": 2,
    "temporal_patch_size": 2,
    "min_pixels": 56 * 56,
    "max_pixels": 112 * 112,
    "image_mean": [0.48, 0.46, 0.41],
    "image_std": [0.27, 0.26, 0.28],
}


def _token_ids(tokenizer: Any) -> dict[str, int]:
    ids = tokenizer.convert_tokens_to_ids
    return {
        "audio_token_id": ids("<|AUDIO|>"),
        "image_token_id": ids("<|IMAGE|>"),
        "video_token_id": ids("<|VIDEO|>"),
        "audio_start_token_id": ids("<|audio_bos|>"),
        "vision_start_token_id": ids("<|vision_bos|>"),
    }


def qwen2_5_omni(folder: Path, *, seed: int = 0) -> Path:
    """A whole Qwen2.5-Omni of about 0.2 M parameters: thinker, talker and the parts that make a voice."""
    tokenizer = byte_tokenizer(TOKENS)
    thinker = {
        "text_config": {**TEXT, "vocab_size": len(tokenizer)},
        "audio_config": AUDIO,
        "vision_config": {**EYES, "fullatt_block_indexes": [0], "window_size": 56},
        **{name.replace("_token_id", "_token_index"): n for name, n in list(_token_ids(tokenizer).items())[:3]},
        **dict(list(_token_ids(tokenizer).items())[3:]),
        "audio_end_token_id": tokenizer.convert_tokens_to_ids("<|audio_eos|>"),
    }
    talker = {**TEXT, "vocab_size": 64, "embedding_size": 32, "head_dim": 8, "pad_token_id": 0}
    drawer = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "head_dim": 8,
        "emb_dim": 8,
        "num_embeds": 70,
        "enc_dim": 8,
        "enc_emb_dim": 8,
        "enc_channels": [8, 8, 8, 8, 24],
        "enc_attention_channels": 4,
        "enc_res2net_scale": 2,
        "enc_se_channels": 4,
    }
    voice = {
        "upsample_initial_channel": 16,
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3, 5]],
        "upsample_rates": [2, 2],
        "upsample_kernel_sizes": [4, 4],
    }
    config = Qwen2_5OmniConfig(
        thinker_config=thinker,
        talker_config=talker,
        token2wav_config={"dit_config": drawer, "bigvgan_config": voice},
    )
    settings = {"processor_class": "Qwen2_5OmniProcessor", "patch_size": 14, **SIGHT}
    extractor = WhisperFeatureExtractor(feature_size=128, sampling_rate=16_000, chunk_length=300)
    return _save(folder, Qwen2_5OmniForConditionalGeneration, config, tokenizer, extractor, settings, seed)


def qwen3_omni(folder: Path, *, seed: int = 0, speaks: bool = False) -> Path:
    """A Qwen3-Omni of about 0.1 M parameters; without `speaks` as the Captioner is saved, whole but for its talker."""
    tokenizer = byte_tokenizer(TOKENS)
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8}
    thinker = {
        "text_config": {**TEXT, **experts, "vocab_size": len(tokenizer)},
        "audio_config": {**AUDIO, "downsample_hidden_size": 8},
        "vision_config": {
            **EYES,
            "patch_size": 16,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
        },
        **_token_ids(tokenizer),
    }
    text = {**TEXT, **experts, "shared_expert_intermediate_size": 16, "vocab_size": 64}
    predictor = {**TEXT, "head_dim": 8, "vocab_size": 64, "num_code_groups": 2}
    talker = {"text_config": text, "code_predictor_config": predictor, "num_code_groups": 2, "thinker_hidden_size": 32}
    talker["spatial_merge_size"] = 2
    voice = {
        "hidden_size": 16,
        "codebook_size": 64,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_quantizers": 2,
        "upsample_rates": [2],
        "upsampling_ratios": [2],
        "decoder_dim": 16,
    }
    config = Qwen3OmniMoeConfig(
        thinker_config=thinker, talker_config=talker, code2wav_config=voice, enable_audio_output=speaks
    )
    settings = {"processor_class": "Qwen3OmniMoeProcessor", "patch_size": 16, **SIGHT}
    extractor = WhisperFeatureExtractor(feature_size=128, sampling_rate=16_000, chunk_length=30)
    return _save(folder, Qwen3OmniMoeForConditionalGeneration, config, tokenizer, extractor, settings, seed)


def _save(folder: Path, kind: Any, config: Any, tokenizer: Any, extractor: Any, settings: dict, seed: int) -> Path:
    """All in the files that the published ones have: one preprocessor_config.json, a chat_template.json."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(config)
    pad = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    model.generation_config = GenerationConfig(eos_token_id=ends(tokenizer), pad_token_id=pad)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    extractor.save_pretrained(folder)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    return folder
