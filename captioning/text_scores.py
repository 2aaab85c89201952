"""What a sentence says of itself: length, repetition, hedging, quoted speech, language.

Numbers without judgement, as measurements of sounds are; `select` applies them. Nothing here hears the clip.
"""

import functools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from captioning.metrics.words import words

REPEATED_WORDS = 3
"""Runs of so many words count as repeated. Source: ours; shorter ones repeat in good sentences (`on the`)."""

ECHO_WORDS = 5
"""A run of so many words in common with the prompt is an echo. Source: ours."""

HEDGES = (
    r"\b(?:cannot|can't|can not|could not|couldn't|unable to|not able to) (?:be )?(?:hear|heard|listen|determine|tell|"
    r"identify|process|access|provide|describe)",
    r"\bas an? (?:ai|language|audio)\b",
    r"\bi(?:'m| am) sorry\b",
    r"\b(?:no|without) (?:audio|sound) (?:is |was |has been )?(?:provided|given|attached|available)\b",
    r"\b(?:it is|it's) (?:unclear|difficult to|hard to|impossible to|not clear|not possible)\b",
    r"\b(?:may|might|could) (?:be|have been|suggest|indicate)\b",
    r"\b(?:possibly|perhaps|probably|presumably|seems? to|appears? to)\b",
)
"""Phrases in which a model speaks of itself or guesses. Source: ours, from what such models answer about silence."""

QUOTED = re.compile(r'["\u201c\u201e\u00ab]([^"\u201c\u201d\u201e\u00ab\u00bb]+)["\u201d\u201c\u00bb]')

_HEDGES = re.compile("|".join(HEDGES), re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class TextScores:
    """Numbers about one sentence.

    Attributes:
        words: How many it has.
        repetition: Share of its runs of three words that stood in it before, 0 to 1.
        hedges: How many phrases guess, or speak of the model.
        quoted_words: Words inside quotation marks: what is said instead of how it sounds.
        language: Most likely language, ISO 639-1; of a few words a guess.
        english_margin: Log likelihood of English minus that of the best other language, nats a word. Of Clotho's test
            captions all lie above 0.3, of AudioCaps' 99.9 % above -1.3; a German sentence lies near -6.
    """

    words: int
    repetition: float
    hedges: int
    quoted_words: int
    language: str
    english_margin: float


def text_scores(sentence: str) -> TextScores:
    """Score a sentence that is not empty."""
    said = words(sentence)
    runs = Counter(tuple(said[start : start + REPEATED_WORDS]) for start in range(len(said) - REPEATED_WORDS + 1))
    ranking = dict(_identifier().rank(sentence))
    language = max(ranking, key=lambda name: ranking[name])
    other = max(value for name, value in ranking.items() if name != "en")
    return TextScores(
        words=len(said),
        repetition=1 - len(runs) / runs.total() if runs else 0.0,
        hedges=len(_HEDGES.findall(sentence.replace("\u2019", "'"))),
        quoted_words=sum(len(words(quote)) for quote in QUOTED.findall(sentence)),
        language=language,
        english_margin=float(ranking["en"] - other) / max(len(said), 1),
    )


def echo_ratio(sentence: str, prompt: str) -> float:
    """Share of a sentence's runs of five words that stand in the prompt, 0 to 1; 0 for a shorter sentence."""
    runs, asked = _runs(words(sentence)), set(_runs(words(prompt)))
    return sum(run in asked for run in runs) / len(runs) if runs else 0.0


def _runs(said: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(said[start : start + ECHO_WORDS]) for start in range(len(said) - ECHO_WORDS + 1)]


@functools.cache
def _identifier() -> Any:
    """py3langid with its own model (M. Lui and T. Baldwin 2012, langid.py; weights in the package)."""
    import py3langid

    return py3langid
