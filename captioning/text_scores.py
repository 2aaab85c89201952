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

ECHO_WORDS, MAX_ECHO = 5, 0.5
"""An answer of whose runs of so many words more than this share stand in the prompt repeats it. Source: ours."""

LONGEST_ECHO = 8
"""An answer with a run of so many words of the prompt repeats an instruction. Source: ours; of 97,229 captions by
people (Clotho, AudioCaps, MusicCaps) none shares more than 7 in a row with a prompt that comes with foundsound."""

SHORTEST_ECHO = 3
"""Fewer words in common are chance: `the sound`. Source: ours."""

REFUSALS = (
    r"\b(?:cannot|can't|can not|could not|couldn't|unable to|not able to) (?:be )?(?:hear|heard|listen|determine|tell|"
    r"identify|process|access|provide|describe)",
    r"\bas an? (?:ai|language|audio)\b",
    r"\bi(?:'m| am) sorry\b",
    r"\b(?:no|without) (?:audio|sound) (?:is |was |has been )?(?:provided|given|attached|available)\b",
)
"""Phrases in which a model speaks of itself, or says that it cannot. Source: ours, from what such models answer about
silence."""

GUESSES = (
    r"\b(?:it is|it's) (?:unclear|difficult to|hard to|impossible to|not clear|not possible)\b",
    r"\b(?:may|might|could) (?:be|have been|suggest|indicate)\b",
    r"\b(?:possibly|perhaps|probably|presumably|seems? to|appears? to)\b",
)
"""Phrases in which a model guesses. Source: ours, likewise."""

TOLD = re.compile(
    r"\b(?:say|says|said|saying|tell|tells|told|telling|ask|asks|asked|asking|announces?|announced|announcing)"
    r" (?:that |the (?:words?|phrase|name) )?(.*?)(?=[.,;:!?\"\u201c]|$|\b(?:and|or|while|as|then|followed|before|"
    r"after|over|in|on|with|to|into|at|from|for|by|through|during|until|about|near|nearby|along|around|loudly|softly|"
    r"quietly|repeatedly|together)\b)"
)
"""What follows a verb of speaking, up to where the sentence goes on. Source: ours."""

UNTOLD = frozenset(
    words(
        "something anything nothing things a an the some few several its his their them him her it us me one two "
        "another each again once twice times other people crowd group word words phrase phrases out off back up "
        "down away loud aloud numbers question questions announcement announcements information story stories"
    )
)
"""Words that follow a verb of speaking and tell nothing of what is said. Source: ours."""

OTHER_LANGUAGE = -3.5
"""An answer with a smaller `english_margin` is in another language. Source: ours; captions by people reach down to -2.5
(`Scraping and banging`), sentences of other languages up to -4 (`Ein Hund bellt.`)."""

TELLING_WORDS = 5
"""Fewer words in Latin letters do not tell a language. Source: ours; `Flamenco guitar` has a margin of -5.6. Of 9,465
captions by people (Clotho, AudioCaps, MusicCaps) none is taken for another language."""

LAST_LATIN = "\u024f"
"""The last letter of Unicode's blocks of Latin letters."""

QUOTED = re.compile(r'["\u201c\u201e\u00ab]([^"\u201c\u201d\u201e\u00ab\u00bb]+)["\u201d\u201c\u00bb]')

_REFUSALS = re.compile("|".join(REFUSALS), re.IGNORECASE)
_GUESSES = re.compile("|".join(GUESSES), re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class TextScores:
    """Numbers about one sentence.

    Attributes:
        words: How many it has.
        repetition: Share of its runs of three words that stood in it before, 0 to 1.
        hedges: How many phrases guess, or speak of the model.
        refusals: How many of them speak of the model, or refuse.
        quoted_words: Words inside quotation marks: what is said instead of how it sounds.
        told_words: Words that tell what is said without quotation marks, as `hello there` in `a man says hello there`.
        language: Most likely language, ISO 639-1; of a few words a guess.
        english_margin: Log likelihood of English minus that of the best other language, nats a word. Of Clotho's test
            captions all lie above 0.3, of AudioCaps' 99.9 % above -1.3; a German sentence lies near -6.
    """

    words: int
    repetition: float
    hedges: int
    refusals: int
    quoted_words: int
    told_words: int
    language: str
    english_margin: float


def text_scores(sentence: str) -> TextScores:
    """Score a sentence that is not empty."""
    said = words(sentence)
    runs = Counter(tuple(said[start : start + REPEATED_WORDS]) for start in range(len(said) - REPEATED_WORDS + 1))
    ranking = dict(_identifier().rank(sentence))
    language = max(ranking, key=lambda name: ranking[name])
    straight = sentence.replace("\u2019", "'")
    refusals = len(_REFUSALS.findall(straight))
    other = max(value for name, value in ranking.items() if name != "en")
    return TextScores(
        words=len(said),
        repetition=1 - len(runs) / runs.total() if runs else 0.0,
        hedges=refusals + len(_GUESSES.findall(straight)),
        refusals=refusals,
        told_words=told_words(straight),
        quoted_words=sum(len(words(quote)) for quote in QUOTED.findall(sentence)),
        language=language,
        english_margin=float(ranking["en"] - other) / max(len(said), 1),
    )


def other_language(answer: str, prompt: str) -> str | None:
    """The language of an answer that is not in the English of its prompt; None for one that is.

    Args:
        answer: What a model said.
        prompt: What it was asked, before labels were filled in; of another language than English anything is right.
    """
    if prompt.strip() and not _is_english(prompt):
        return None
    scores = text_scores(answer)
    letters = [character for character in answer if character.isalpha()]
    is_foreign = sum(character > LAST_LATIN for character in letters) > len(letters) / 2
    is_told = is_foreign or scores.words >= TELLING_WORDS
    return scores.language if is_told and scores.english_margin < OTHER_LANGUAGE else None


@functools.cache
def _is_english(prompt: str) -> bool:
    return text_scores(prompt).language == "en"


def told_words(sentence: str) -> int:
    """Words that tell what somebody says, without those of `UNTOLD`; quotations are counted apart."""
    told = TOLD.findall(QUOTED.sub('"', sentence.lower()))
    return sum(word not in UNTOLD for part in told for word in words(part))


def stem(word: str) -> str:
    """A word in small letters without its commonest endings. Source: ours; a coarse step 1 of Porter 1980."""
    for ending in ("ing", "ed", "es", "s", "e"):
        if len(word) - len(ending) >= 3 and word.endswith(ending):
            return word[: -len(ending)]
    return word


def is_echo(answer: str, prompt: str) -> bool:
    """Whether an answer repeats its prompt or an instruction in it: as a whole, for the most part, or at length.

    Args:
        answer: What a model said.
        prompt: What it was asked, before labels were filled in, which an answer may well name.
    """
    said, asked = words(answer), words(prompt)
    if _shares_run(said, asked, LONGEST_ECHO):
        return True
    if len(said) < ECHO_WORDS:
        return len(said) >= SHORTEST_ECHO and _shares_run(said, asked, len(said))
    runs, known = _runs(said, ECHO_WORDS), set(_runs(asked, ECHO_WORDS))
    return sum(run in known for run in runs) > MAX_ECHO * len(runs)


def _shares_run(said: Sequence[str], asked: Sequence[str], length: int) -> bool:
    return not set(_runs(said, length)).isdisjoint(_runs(asked, length))


def _runs(said: Sequence[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(said[start : start + length]) for start in range(len(said) - length + 1)]


@functools.cache
def _identifier() -> Any:
    """py3langid with its own model (M. Lui and T. Baldwin 2012, langid.py; weights in the package)."""
    import py3langid

    return py3langid
