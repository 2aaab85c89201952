"""Pronunciations become tokens of one sign each; the linear adapter of their stream is a table of embeddings."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.audioldm2 import AudioLDM2
from models.audioldm2.language import LanguageConfig, LanguageOfAudio
from models.audioldm2.phonemes import (
    PHONEMES,
    SIGNS,
    UNKNOWN,
    Spoken,
    phoneme_numbers,
    phoneme_stream,
    phoneme_tokens,
    stream_of_phonemes,
)
from models.audioldm2.recipes import Widths, audioldm2_speech_base, audioldm2_speech_tiny
from tests.models.audioldm2.tiny_audioldm2 import (
    CONFIG,
    HEARING,
    codec,
    encoders,
    random_network,
    save_encoders,
    tiny_audioldm2,
)


def test_every_sign_has_one_number() -> None:
    assert len(set(SIGNS)) == len(SIGNS) and SIGNS[UNKNOWN] == ""
    known = [sign for sign in SIGNS if sign]
    assert [phoneme_numbers(sign) for sign in known] == [[number] for number in range(1, len(SIGNS))]
    assert phoneme_numbers("") == []


def test_marks_are_taken_out_of_letters_and_the_unknown_is_kept_in_its_place() -> None:
    assert phoneme_numbers("\u00e3") == phoneme_numbers("a\u0303") == [SIGNS.index("a"), SIGNS.index("\u0303")]
    assert phoneme_numbers("\u00e7") == [SIGNS.index("\u00e7")]
    assert phoneme_numbers("a\u4f60b") == [SIGNS.index("a"), UNKNOWN, SIGNS.index("b")]


def test_a_batch_has_a_one_for_each_sign_and_zeros_behind() -> None:
    tokens_BTV, lengths = phoneme_tokens(["sˈɪks", "", "a"])
    assert tokens_BTV.shape == (3, 5, len(SIGNS)) and lengths == [5, 0, 1]
    assert tokens_BTV.sum(2).tolist() == [[1] * 5, [0] * 5, [1, 0, 0, 0, 0]]
    assert tokens_BTV[0].argmax(1).tolist() == phoneme_numbers("sˈɪks")
    nothing_BTV, lengths = phoneme_tokens([""])
    assert nothing_BTV.shape == (1, 1, len(SIGNS)) and lengths == [0]


def test_the_language_model_hears_what_is_said_and_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    sizes = LanguageConfig(streams=(phoneme_stream(),), vectors=3, width=8, depth=1, heads=2, positions=64)
    model = LanguageOfAudio(sizes).eval()
    with torch.no_grad():
        alone = model.spoken({PHONEMES: stream_of_phonemes(["wˈʌn"])})
        beside = model.spoken({PHONEMES: stream_of_phonemes(["wˈʌn", "sˈɛvən", ""])})
        embedded = model.adapters[PHONEMES].projection(stream_of_phonemes(["wˈʌn"]).tokens_BTC)[0]
    assert torch.allclose(alone[0], beside[0], atol=1e-5)
    assert (beside[0] - beside[1]).abs().max() > 1e-3 and (beside[0] - beside[2]).abs().max() > 1e-3
    table = model.adapters[PHONEMES].projection
    assert torch.allclose(embedded, table.weight.T[phoneme_numbers("wˈʌn")] + table.bias, atol=1e-6)


def test_a_model_of_speech_says_what_it_is_told_and_lies_on_the_disk(tmp_path: Path) -> None:
    model = speech_model(tmp_path)
    said = model.generate([Spoken(text="a dog barks twice", phonemes="wˈʌn"), Spoken(phonemes="tˈuː"), ""], steps=2)
    assert said.shape == (3, 1, 10_240)
    alone = model.generate([Spoken(text="a dog barks twice", phonemes="wˈʌn")], steps=2)
    assert torch.allclose(said[:1], alone, atol=1e-3)  # rounding, through a vocoder that saturates
    other = model.generate([Spoken(text="a dog barks twice", phonemes="tˈuː")], steps=2)
    nothing = model.generate(["a dog barks twice"], steps=2)
    assert (alone - other).abs().max() > 1e-3 and (alone - nothing).abs().max() > 1e-3
    model.save_pretrained(tmp_path / "model")
    again = AudioLDM2.from_pretrained(tmp_path / "model")
    assert torch.allclose(
        again.generate([Spoken(text="a dog barks twice", phonemes="wˈʌn")], steps=2), alone, atol=1e-5
    )


def test_a_model_without_phonemes_refuses_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without phonemes"):
        tiny_audioldm2(tmp_path).generate([Spoken(phonemes="wˈʌn")], steps=1)


def test_the_recipes_of_speech_tell_phonemes_and_hear_every_patch() -> None:
    widths = Widths(latent_channels=2, latent_frames=16, said_width=8, text_width=8, loa_width=16, vectors=64)
    tiny = audioldm2_speech_tiny(widths)
    assert [one.name for one in tiny.network.language.streams] == ["clap", "t5", PHONEMES]
    assert tiny.network.language.vectors == 64 and tiny.network.text_stream == "t5"
    language = audioldm2_speech_base().network.language
    assert language.vectors == 512 and language.streams[-1] == phoneme_stream()
    assert language.positions > 512 + 128 + 1 + 3 * 2 + 250  # T5's longest text, CLAP, ends, and so many phonemes


def speech_model(folder: Path) -> AudioLDM2:
    """A whole model of random weights whose language model is told phonemes too."""
    streams = (*CONFIG.language.streams, phoneme_stream())
    config = replace(CONFIG, language=replace(CONFIG.language, streams=streams))
    return AudioLDM2(
        random_network(config=config).requires_grad_(False),
        codec=codec(),
        encoders=encoders(save_encoders(folder)),
        hearing=HEARING,
    )
