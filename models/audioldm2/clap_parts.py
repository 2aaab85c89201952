"""CLAP in the three parts in which diffusers' pipelines keep it."""

import json
from typing import Any

from models.encoders.clap import ClapEncoder


def clap_parts(clap: ClapEncoder) -> dict[str, Any]:
    """A CLAP's network, tokenizer and feature extractor, by the names of their folders.

    The pipeline tells tokenizers by their class, so that of a CLAP that was trained here is brought into RoBERTa's,
    which has the same pieces but no lower-casing: given to such a model by the pipeline, words should be in lower case.

    Raises:
        ValueError: the tokenizer is none of byte pairs.
    """
    from transformers import ClapFeatureExtractor, RobertaTokenizer

    tokenizer = clap.tokenizer
    if not isinstance(tokenizer, RobertaTokenizer):
        told = json.loads(tokenizer.backend_tokenizer.to_str())
        if told["model"]["type"] != "BPE" or (told["pre_tokenizer"] or {}).get("type") != "ByteLevel":
            raise ValueError("CLAP's tokenizer is none of byte pairs, which AudioLDM 2's layout asks for")
        tokenizer = RobertaTokenizer(
            vocab=told["model"]["vocab"],
            merges=[tuple(pair) for pair in told["model"]["merges"]],
            add_prefix_space=told["pre_tokenizer"]["add_prefix_space"],
            padding_side="right",
        )
    tokenizer.model_max_length = clap.text_tokens_at_most
    mel = clap.mel
    extractor = ClapFeatureExtractor(
        feature_size=mel.mel_bins,
        sampling_rate=mel.sample_rate_hz,
        hop_length=mel.hop_samples,
        max_length_s=mel.window_s,
        fft_window_size=mel.n_fft,
        frequency_min=mel.f_min_hz,
        frequency_max=mel.f_max_hz,
        truncation="rand_trunc" if mel.mel_scale == "slaney" else "fusion",
        padding=mel.padding,
    )
    return {"text_encoder": clap.model, "tokenizer": tokenizer, "feature_extractor": extractor}
