"""Pronunciations become tokens of one sign each; the linear adapter of their stream is a table of embeddings."""

import torch

from models.audioldm2.language import LanguageConfig, LanguageOfAudio
from models.audioldm2.phonemes import (
    PHONEMES,
    SIGNS,
    UNKNOWN,
    phoneme_numbers,
    phoneme_stream,
    phoneme_tokens,
    stream_of_phonemes,
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
