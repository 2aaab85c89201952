"""A sentence as words, for the metrics beside this file."""

import re
from collections import Counter
from collections.abc import Sequence

Words = Sequence[str]

_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")


def words(sentence: str) -> list[str]:
    """Small letters, without punctuation; hyphens and apostrophes inside a word stay.

    Source: ours; it gives on captions of sounds what the Penn Treebank tokenizer of coco-caption gives after its
    punctuation is removed, but for clitics, which that one splits off (`dog 's`).
    """
    return _WORD.findall(sentence.lower().replace("\u2019", "'"))


def ngrams(sentence: Words, longest: int) -> Counter[tuple[str, ...]]:
    """How often each run of 1 to `longest` words occurs."""
    return Counter(
        tuple(sentence[start : start + n]) for n in range(1, longest + 1) for start in range(len(sentence) - n + 1)
    )


def checked_pairs(candidates: Sequence[Words], references: Sequence[Sequence[Words]]) -> None:
    """Raises ValueError unless there is a candidate a clip and each clip has a reference."""
    if len(candidates) != len(references) or not candidates:
        raise ValueError(
            f"{len(candidates)} candidates and references of {len(references)} clips do not belong together"
        )
    for number, sentences in enumerate(references):
        if not sentences:
            raise ValueError(f"clip {number} has no reference")
