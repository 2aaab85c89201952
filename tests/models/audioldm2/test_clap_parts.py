"""CLAP's parts as pipelines have them say the same of words and sounds."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.audioldm2.clap_parts import clap_parts
from models.encoders.clap import ClapEncoder
from models.encoders.clap_fit import TinyClapConfig, build_tiny_clap

TEXTS = ["a dog barks twice", "rain", "", "some word that is not known"]


def test_a_clap_in_parts_is_the_same_clap(tmp_path: Path) -> None:
    built = build_tiny_clap(TEXTS[:2], replace(TinyClapConfig(), dimension=8, window_s=1, text_tokens=20))
    clap = ClapEncoder.from_pretrained(built.save(tmp_path / "whole"))
    for name, part in clap_parts(clap).items():
        part.save_pretrained(tmp_path / name)
    folders = [tmp_path / name for name in ("text_encoder", "tokenizer", "feature_extractor")]
    again = ClapEncoder.from_parts(*folders)
    torch.testing.assert_close(again.embed_text(TEXTS), clap.embed_text(TEXTS))
    assert not torch.allclose(clap.embed_text(["rain"]), clap.embed_text(["a dog barks twice"]), atol=1e-3)
    wave = torch.sin(torch.arange(9_000) / 7)[None]
    torch.testing.assert_close(again.embed_sound(wave), clap.embed_sound(wave))
    assert again.mel == clap.mel and again.tokenizer.model_max_length == clap.text_tokens_at_most


def test_other_tokenizers_are_refused(tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    from models.audiox.pretrained import T5TextTokens
    from models.encoders.word_t5 import save_word_t5

    clap = ClapEncoder.from_pretrained(build_tiny_clap(TEXTS[:2], TinyClapConfig()).save(tmp_path / "clap"))
    t5 = T5TextTokens.from_pretrained(save_word_t5(TEXTS[:2], tmp_path / "t5", width=16, depth=1))
    clap._tokenizer = PreTrainedTokenizerFast(tokenizer_object=t5.tokenizer.backend_tokenizer)
    with pytest.raises(ValueError, match="none of byte pairs"):
        clap_parts(clap)
