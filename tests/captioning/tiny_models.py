"""Tiny random audio-language models of the real classes, saved as a user's would be."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AudioFlamingo3Config,
    AudioFlamingo3ForConditionalGeneration,
    AudioFlamingo3Processor,
    GenerationConfig,
    MusicFlamingoConfig,
    MusicFlamingoForConditionalGeneration,
    MusicFlamingoProcessor,
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)

TEXTS = [
    "Describe what can be heard in this recording in one sentence.",
    "A dog barks twice while rain falls on a tin roof.",
    "You are a helpful assistant. user system Audio 1:",
]


def qwen2_audio(folder: Path, *, seed: int = 0) -> Path:
    """A Qwen2-Audio of about 0.1 M parameters with its processor and the sampling settings of the published one."""
    tokenizer = byte_tokenizer(QWEN_TOKENS)
    ids = tokenizer.convert_tokens_to_ids
    text = {
        "model_type": "qwen2",
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.5,
        "eos_token_id": ids("<|im_end|>"),
        "pad_token_id": ids("<|endoftext|>"),
    }
    audio = {
        "model_type": "qwen2_audio_encoder",
        "d_model": 16,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "num_mel_bins": 128,
        "max_source_positions": 1500,
        "initializer_range": 0.5,
    }
    config = Qwen2AudioConfig(audio_config=audio, text_config=text, audio_token_index=ids("<|AUDIO|>"))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen2AudioForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.7,
        top_p=0.5,
        top_k=20,
        repetition_penalty=1.1,
        eos_token_id=ends(tokenizer),
        pad_token_id=ids("<|endoftext|>"),
    )
    model.save_pretrained(folder)
    extractor = WhisperFeatureExtractor(feature_size=128, sampling_rate=16_000)
    Qwen2AudioProcessor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(folder)
    return folder


def ends(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Ids that end an answer: the usual two, and every tenth, since a random model says those two too seldom."""
    usual = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    return sorted({*usual, *range(9, len(tokenizer), 10)})


FLAMINGO_TOKENS = {"audio_token": "<sound>", "audio_bos_token": "<|sound_bos|>", "audio_eos_token": "<|sound_eos|>"}

FLAMINGO_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'audio' %}<sound>{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Ours, in the layout of Qwen's chats, which the published template has too."""


def audio_flamingo_3(folder: Path, *, seed: int = 0) -> Path:
    """An Audio Flamingo 3 of about 0.1 M parameters."""
    return _flamingo(
        folder, AudioFlamingo3Config, AudioFlamingo3ForConditionalGeneration, AudioFlamingo3Processor, 16, seed
    )


def music_flamingo(folder: Path, *, seed: int = 0) -> Path:
    """A Music Flamingo of about 0.1 M parameters; its rotary time embedding wants a width of 80."""
    return _flamingo(
        folder, MusicFlamingoConfig, MusicFlamingoForConditionalGeneration, MusicFlamingoProcessor, 80, seed
    )


def _flamingo(folder: Path, config_class, model_class, processor_class, width: int, seed: int) -> Path:
    tokenizer = byte_tokenizer(FLAMINGO_TOKENS)
    ids = tokenizer.convert_tokens_to_ids
    text = {
        "model_type": "qwen2",
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.5,
        "eos_token_id": ids("<|im_end|>"),
        "pad_token_id": ids("<|endoftext|>"),
    }
    audio = {
        "model_type": "audioflamingo3_encoder",
        "hidden_size": width,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "num_mel_bins": 128,
        "max_source_positions": 1500,
        "initializer_range": 0.5,
    }
    config = config_class(audio_config=audio, text_config=text, audio_token_id=ids("<sound>"))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = model_class(config)
    model.generation_config = GenerationConfig(eos_token_id=ends(tokenizer), pad_token_id=ids("<|endoftext|>"))
    model.save_pretrained(folder)
    extractor = WhisperFeatureExtractor(feature_size=128, sampling_rate=16_000)
    processor_class(feature_extractor=extractor, tokenizer=tokenizer, chat_template=FLAMINGO_TEMPLATE).save_pretrained(
        folder
    )
    return folder


TINY = {"qwen2_audio": qwen2_audio, "audioflamingo3": audio_flamingo_3, "musicflamingo": music_flamingo}
"""model_type -> what saves a tiny one in a folder."""

QWEN_TOKENS = {
    "audio_token": "<|AUDIO|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}


def byte_tokenizer(special_tokens: dict[str, str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE of a few sentences with the control tokens of a family."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=alphabet, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        padding_side="right",
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        extra_special_tokens=special_tokens,
    )
