"""Fingerprints that are of the same recording: pairs found through an inverted index, confirmed by bit error rate.

A re-encoded copy has the same words with a few bits flipped; a shifted or trimmed one has them at another place. An
index of partial words finds places that might fit, the neighbourhood of each place is looked at, and what is left is
compared over the whole overlap. Memory grows with the number of words, time a little faster than that; no pair of
clips is ever looked at that shares no partial word.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]
Places = npt.NDArray[np.int64]

WORD_BITS = 32
PARTS = 4
"""An index key is a word without one of its four bytes, so words that differ in one byte meet in one of four indexes.
Source: ours; of 61 real sounds at 24 kbit/s Opus 10 % share no whole word with the original, none is without a word
that differs in at most two bits."""

CONTEXT_WORDS = 3
"""Words to either side of a meeting place that are looked at first. Source: ours."""

MAX_WORDS = 30_000
"""What is compared of one sound: an hour. Source: ours; offsets are packed into 16 bits."""

BATCH_WORDS = 1 << 22
"""Words that are compared or indexed at a time, which bounds memory. Source: ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrintRule:
    """When two fingerprints are of the same recording.

    Args:
        max_error: Largest share of differing bits over the overlap, 0 to 0.5. Source: ours, measured
            (`python -m benchmarks duplicates`): of 30,993 pairs of different ESC-50 recordings one lies below 0.10, two
            alarm clocks that may be one; unrelated sounds lie about 0.43.
        min_words: Fewest words of the overlap that count. Source: ours; with 6 the same measurement has five wrong
            pairs below 0.11.
        min_share: Least share of the shorter sound that both have. Source: ours: with less than half in common, more
            is lost than kept twice.
        neighbours: Places with the same key that each place is compared with. Source: ours; words that stand in more
            sounds say little, and real copies meet through others of their words.
    """

    max_error: float = 0.10
    min_words: int = 8
    min_share: float = 0.5
    neighbours: int = 64

    def __post_init__(self) -> None:
        if not 0 <= self.max_error < 0.5:
            raise ValueError(f"max_error must be in [0, 0.5), not {self.max_error}; unrelated sounds have 0.5")
        if self.min_words < 1 or self.neighbours < 1:
            raise ValueError(f"min_words {self.min_words} and neighbours {self.neighbours} must be at least 1")
        if not 0 < self.min_share <= 1:
            raise ValueError(f"min_share must be in (0, 1], not {self.min_share}")


@dataclass(frozen=True, slots=True)
class Prints:
    """Many fingerprints, one behind the other.

    A word that repeats the one before says nothing new (silence, a steady tone), so `fresh` marks those that differ;
    only they are indexed and counted.

    Args:
        words: All words, W of them.
        starts: Where each fingerprint begins, and W at the end; (N + 1,).
        fresh: Whether a word differs from the one before it; (W,) bool.
    """

    words: Words
    starts: Places
    fresh: npt.NDArray[np.bool_] = field(repr=False)

    @classmethod
    def of(cls, fingerprints: Sequence[bytes]) -> Self:
        """From the bytes that the stage `print` keeps."""
        return cls.joined([np.frombuffer(text, "<u4") for text in fingerprints])

    @classmethod
    def joined(cls, fingerprints: Sequence[Words]) -> Self:
        """From the words of each sound."""
        kept = [words[:MAX_WORDS] for words in fingerprints]
        lengths = np.array([len(words) for words in kept], np.int64)
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        joined = np.concatenate([np.zeros(0, np.uint32), *kept]).astype(np.uint32)
        fresh = np.ones(len(joined), bool)
        fresh[1:] = joined[1:] != joined[:-1]
        fresh[starts[:-1][lengths > 0]] = True
        return cls(joined, starts, fresh)

    def __len__(self) -> int:
        return len(self.starts) - 1


@dataclass(frozen=True, slots=True)
class Pairs:
    """Sounds that belong together.

    Args:
        first: Number of one sound; (P,) int64.
        second: Number of the other, above `first`; (P,) int64.
        distance: How much they differ; (P,) float64: here the share of differing bits.
    """

    first: Places
    second: Places
    distance: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.first)


def same_recordings(prints: Prints, rule: PrintRule, *, own: int | None = None) -> Pairs:
    """The pairs of sounds that are of the same recording, each once, at the alignment that fits best.

    Args:
        prints: The fingerprints.
        rule: When two are the same.
        own: Of the fingerprints so many at the beginning are looked for; pairs among the rest are left out. None: all.

    Returns:
        Pairs ordered by first and second.
    """
    if len(prints) >= 1 << 24:
        raise ValueError(f"{len(prints)} fingerprints are too many at once; up to {(1 << 24) - 1} can be compared")
    aligned = _candidates(prints, rule, len(prints) if own is None else own)
    firsts, seconds, offsets = _unpack(aligned)
    errors = np.concatenate([np.zeros(0), *_errors(prints, rule, firsts, seconds, offsets)])
    keep = errors <= rule.max_error
    firsts, seconds, errors = firsts[keep], seconds[keep], errors[keep]
    order = np.lexsort((errors, seconds, firsts))
    firsts, seconds, errors = firsts[order], seconds[order], errors[order]
    is_best = np.ones(len(firsts), bool)
    is_best[1:] = (firsts[1:] != firsts[:-1]) | (seconds[1:] != seconds[:-1])
    return Pairs(firsts[is_best], seconds[is_best], errors[is_best])


def _candidates(prints: Prints, rule: PrintRule, own: int) -> npt.NDArray[np.uint64]:
    """Packed (first, second, offset) of places whose keys and neighbourhood fit."""
    places = np.flatnonzero(prints.fresh)
    sound_of = np.repeat(np.arange(len(prints)), np.diff(prints.starts))
    found = np.zeros(0, np.uint64)
    for keys, held in _partitions(prints.words, places):
        order = np.argsort(keys, kind="stable")
        keys, held = keys[order], held[order]
        for lag in range(1, min(rule.neighbours, len(keys) - 1) + 1):
            meets = np.flatnonzero(keys[lag:] == keys[:-lag])
            if not len(meets):
                break
            new = []
            for batch in _batches(meets):
                ones, others = held[batch], held[batch + lag]
                first, second = sound_of[ones], sound_of[others]
                differs = (first != second) & (first < own)
                ones, others, first, second = (side[differs] for side in (ones, others, first, second))
                near = _fits_nearby(prints, rule, ones, others, first, second)
                offset = (ones - prints.starts[first]) - (others - prints.starts[second])
                new.append(_pack(first[near], second[near], offset[near]))
            found = np.unique(np.concatenate([found, *new]))
    return found


def _partitions(words: Words, places: Places) -> Iterator[tuple[Words, Places]]:
    """Keys and their places, in portions that fit into memory; equal keys are in one portion, places ascending."""
    count = 1 << max(0, int(np.ceil(np.log2(max(len(places), 1) / BATCH_WORDS))))
    for part in range(PARTS):
        mask = np.uint32(0xFFFFFFFF ^ (0xFF << (8 * part)))
        keys = words[places] & mask
        portion = (keys * np.uint32(2_654_435_761)) >> np.uint32(22) & np.uint32(count - 1)  # Knuth's hash
        for number in range(count):
            chosen = portion == number
            yield keys[chosen], places[chosen]


def _batches(items: Places) -> Iterator[Places]:
    for begin in range(0, len(items), BATCH_WORDS):
        yield items[begin : begin + BATCH_WORDS]


def _fits_nearby(
    prints: Prints, rule: PrintRule, ones: Places, others: Places, first: Places, second: Places
) -> npt.NDArray[np.bool_]:
    """Whether the few words around two places differ in at most twice the bits that whole sounds may."""
    wrong = np.zeros(len(ones), np.int64)
    seen = np.zeros(len(ones), np.int64)
    last = len(prints.words) - 1
    for step in range(-CONTEXT_WORDS, CONTEXT_WORDS + 1):
        a, b = ones + step, others + step
        inside = (a >= prints.starts[first]) & (a < prints.starts[first + 1])
        inside &= (b >= prints.starts[second]) & (b < prints.starts[second + 1])
        bits = np.bitwise_count(prints.words[np.clip(a, 0, last)] ^ prints.words[np.clip(b, 0, last)])
        wrong += np.where(inside, bits, 0)
        seen += inside
    return wrong <= 2 * rule.max_error * WORD_BITS * seen


def _errors(
    prints: Prints, rule: PrintRule, firsts: Places, seconds: Places, offsets: Places
) -> Iterator[npt.NDArray[np.float64]]:
    """Share of differing bits of each alignment; 1 where too little overlaps or too little of it says anything."""
    lengths = np.diff(prints.starts)
    told = np.concatenate([np.zeros(1, np.int64), np.cumsum(prints.fresh)])[prints.starts]
    fresh_counts = np.diff(told)
    begins = np.maximum(offsets, 0)
    counts = np.minimum(lengths[firsts], offsets + lengths[seconds]) - begins
    needed = np.maximum(rule.min_words, rule.min_share * np.minimum(fresh_counts[firsts], fresh_counts[seconds]))
    sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    begin = 0
    while begin < len(firsts):
        end = max(begin + 1, int(np.searchsorted(sums, sums[begin] + BATCH_WORDS, side="right")) - 1)
        part = slice(begin, end)
        steps = np.arange(sums[end] - sums[begin]) - np.repeat(sums[begin:end] - sums[begin], counts[part])
        a = np.repeat(prints.starts[firsts[part]] + begins[part], counts[part]) + steps
        b = np.repeat(prints.starts[seconds[part]] + begins[part] - offsets[part], counts[part]) + steps
        says = prints.fresh[a] | prints.fresh[b]
        bits = np.bitwise_count(prints.words[a] ^ prints.words[b]).astype(np.int64) * says
        edges = sums[begin:end] - sums[begin]
        spoken = np.add.reduceat(says.astype(np.int64), edges)
        wrong = np.add.reduceat(bits, edges)
        yield np.where(spoken >= needed[part], wrong / (WORD_BITS * np.maximum(spoken, 1)), 1.0)
        begin = end


def _pack(first: Places, second: Places, offset: Places) -> npt.NDArray[np.uint64]:
    """One number an alignment, the smaller sound first: 24, 24 and 16 bits."""
    swap = first > second
    low, high = np.where(swap, second, first), np.where(swap, first, second)
    place = np.where(swap, -offset, offset) + (1 << 15)
    return np.asarray(low << 40 | high << 16 | place, np.uint64)


def _unpack(packed: npt.NDArray[np.uint64]) -> tuple[Places, Places, Places]:
    first = (packed >> np.uint64(40)).astype(np.int64)
    second = ((packed >> np.uint64(16)) & np.uint64((1 << 24) - 1)).astype(np.int64)
    return first, second, (packed & np.uint64(0xFFFF)).astype(np.int64) - (1 << 15)
