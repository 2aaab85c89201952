"""What is said, as a stream of phonemes: each sign of the International Phonetic Alphabet is a token.

A token is a vector of zeros and a one, so the language model's linear adapter of the stream is its table of embeddings.
That the language model itself reads the phonemes is ours; the paper has a transformer before it.

Source: Liu et al. 2023, arXiv 2308.05734, which gives the language model phonemes for speech.

Legend: B batch, T tokens, V signs.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.audioldm2.language import Stream, StreamConfig

PHONEMES = "phonemes"
"""Name of the stream."""

_PULMONIC = "pbtdʈɖcɟkɡqɢʔmɱnɳɲŋɴʙrʀⱱɾɽɸβfvθðszʃʒʂʐçʝxɣχʁħʕhɦɬɮʋɹɻjɰlɭʎʟ"
_OTHER_CONSONANTS = "ʘǀǃǂǁɓɗʄɠʛʼʍwɥʜʢʡɕʑɺɧ"
_VOWELS = "iyɨʉɯuɪʏʊeøɘɵɤoəɛœɜɞʌɔæɐaɶɑɒɚɝ"
_DIACRITICS = (
    "\u0325\u030a\u032c\u02b0\u0339\u031c\u031f\u0320\u0308\u033d\u0329\u032f\u02de\u0324\u0330\u033c\u02b7\u02b2"
    "\u02e0\u02e4\u0334\u031d\u031e\u0318\u0319\u032a\u033a\u033b\u0303\u207f\u02e1\u031a\u0361\u035c"
)
_SUPRASEGMENTALS = "ˈˌːˑ\u0306|‖.‿\u030b\u0301\u0304\u0300\u030f\u030c\u0302˥˦˧˨˩ꜛꜜ↗↘"
_OF_ESPEAK = "ᵻɫᵊgε-12345678"
"""What eSpeak NG writes beside the chart's signs: vowels, a dark l, a plain g, Danish's epsilon, tones as digits."""

UNKNOWN = 0
"""Number of every sign that is not known."""

SIGNS = ("", " ", *_PULMONIC, *_OTHER_CONSONANTS, *_VOWELS, *_DIACRITICS, *_SUPRASEGMENTALS, *_OF_ESPEAK)
"""The signs by number; a space is between words.

Source: the chart of the International Phonetic Association, revised to 2020.
"""

_NUMBERS = {sign: number for number, sign in enumerate(SIGNS)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Spoken:
    """A prompt of speech.

    Attributes:
        text: Who speaks, or what else is heard; empty: nothing is said about it.
        phonemes: What is said, in the International Phonetic Alphabet; empty: nothing.
    """

    text: str = ""
    phonemes: str = ""


def phoneme_stream() -> StreamConfig:
    """The stream, as a language model has it."""
    return StreamConfig(name=PHONEMES, width=len(SIGNS))


def phoneme_numbers(ipa: str) -> list[int]:
    """The numbers of the signs of a pronunciation; marks that are written into a letter are taken out of it."""
    apart = unicodedata.normalize("NFD", ipa).replace("c\u0327", "ç")
    return [_NUMBERS.get(sign, UNKNOWN) for sign in apart]


def phoneme_tokens(ipas: Sequence[str]) -> tuple[Tensor, list[int]]:
    """Pronunciations as a batch has them.

    Args:
        ipas: B pronunciations; one is empty where nothing is said.

    Returns:
        float32 (B, T, V), T at least 1, zeros where a pronunciation has ended; and the length of each.
    """
    numbers = [phoneme_numbers(ipa) for ipa in ipas]
    lengths = [len(one) for one in numbers]
    tokens_BTV = torch.zeros(len(ipas), max([1, *lengths]), len(SIGNS))
    for row_TV, one in zip(tokens_BTV, numbers, strict=True):
        row_TV[: len(one)] = nn.functional.one_hot(torch.tensor(one, dtype=torch.int64), len(SIGNS)).float()
    return tokens_BTV, lengths


def stream_of_phonemes(ipas: Sequence[str], device: torch.device | str = "cpu") -> Stream:
    """The stream of some pronunciations."""
    tokens_BTV, lengths = phoneme_tokens(ipas)
    return Stream.of_tokens(tokens_BTV.to(device), lengths)
