"""A random Qwen2-Audio of 46 M parameters, saved as a published one is: the class is real, its words mean nothing."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)

from captioning.prompt import load_prompt

SPECIAL = {"audio_token": "<|AUDIO|>", "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>"}

SPREAD = 0.1
"""Standard deviation of the random weights: with the usual 0.02 all sounds get the same few words."""

SHORTEST, LONGEST = 14, 84
"""Tokens of an answer: published captions of sounds have 10 to 60 words (`captioning/decoding.py`), of 1.4 tokens."""


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Words of the prompt are a token or two, as in a published one."""
    texts = [load_prompt("sound-v1").text, "You are a helpful assistant. user system Audio 1:"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet))
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>", "<|endoftext|>", *SPECIAL.values()])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        extra_special_tokens=SPECIAL,
    )


def save_random_model(folder: Path, *, hidden: int = 640, layers: int = 8, seed: int = 0) -> int:
    """Save it; its encoder does as much of the arithmetic as the published one's. Returns the number of parameters."""
    tokenizer = byte_tokenizer()
    ids = tokenizer.convert_tokens_to_ids
    usual = ids(["<|im_end|>", "<|endoftext|>"])
    text = {
        "model_type": "qwen2",
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "intermediate_size": 11 * hidden // 4,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 64,
        "num_key_value_heads": hidden // 64,
        "initializer_range": SPREAD,
        "eos_token_id": usual[0],
        "pad_token_id": usual[1],
    }
    audio = {
        "model_type": "qwen2_audio_encoder",
        "d_model": 256,
        "encoder_layers": 3,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 1024,
        "num_mel_bins": 128,
        "max_source_positions": 1500,
    }
    config = Qwen2AudioConfig(audio_config=audio, text_config=text, audio_token_index=ids(SPECIAL["audio_token"]))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen2AudioForConditionalGeneration(config)
    model.generation_config = GenerationConfig(eos_token_id=usual, pad_token_id=usual[1])
    model.save_pretrained(folder)
    extractor = WhisperFeatureExtractor(feature_size=128, sampling_rate=16_000)
    Qwen2AudioProcessor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


class Ending:
    """A logits processor that ends each answer after some tokens, since a random model has no sense of an end.

    How many they are follows from the first one, so that an answer is as long in a batch as it is alone.

    Args:
        prompt_tokens: How many tokens stand before the answers.
        end: The token that ends an answer.
    """

    def __init__(self, prompt_tokens: int, end: int) -> None:
        self._prompt_tokens = prompt_tokens
        self._end = end

    def __call__(self, input_ids: torch.Tensor, scores_BV: torch.Tensor) -> torch.Tensor:
        said = input_ids.shape[1] - self._prompt_tokens
        scores_BV[:, self._end] = -torch.inf
        if said:
            lengths_B = SHORTEST + input_ids[:, self._prompt_tokens] % (LONGEST - SHORTEST)
            scores_BV[lengths_B <= said, self._end] = torch.inf
        return scores_BV


def with_endings(model: Any) -> Any:
    """The model, whose answers end."""
    generate, (end, *_) = model.generate, model.generation_config.eos_token_id

    def ending(**inputs: Any) -> Any:
        return generate(**{**inputs, "logits_processor": [Ending(inputs["input_ids"].shape[1], end)]})

    model.generate = ending
    return model
