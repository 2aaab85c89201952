"""Which clips are in which batch: batch b is a function of (seed, b) and of nothing else.

Clips are positions in seeded permutations, one an epoch of each source, so resuming is one integer and the number of
ranks changes nothing. No clip is dropped or doubled within its source: a batch that an epoch does not fill goes on into
the next one. Several sources are mixed by weights, which no number of clips overrides: a source that is smaller than
its weight is seen more often. Clips of unlike lengths lie in buckets, and a batch is of one bucket.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]

BLOCK = 10_000
"""Draws in which sources have exactly their shares; a smaller share is lifted to one of so many. Source: ours."""


@dataclass(frozen=True, slots=True)
class Places:
    """The clips of one batch.

    Args:
        bucket: The bucket that all are from.
        sources: (batch_size,) which source each clip is from.
        clips: (batch_size,) its number within that source's part of the bucket.
    """

    bucket: int
    sources: Indices
    clips: Indices


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """The order in which clips are seen.

    Args:
        sizes: For each bucket the clips of each source, as ((n,),) for one bucket and one source; every bucket has as
            many sources, and some clip.
        batch_size: Clips of one global batch, over all ranks, >= 1; it may exceed what there is.
        seed: Seed of the permutations, >= 0.
        weights: Share of each source in what is seen, above 0, in any unit; () for shares by clips.
    """

    sizes: tuple[tuple[int, ...], ...]
    batch_size: int
    seed: int
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name, value, least in (("batch_size", self.batch_size, 1), ("seed", self.seed, 0)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, not {value}")
        if not self.sizes or any(sum(bucket) < 1 or min(bucket) < 0 for bucket in self.sizes):
            raise ValueError(f"sizes must name a clip in every bucket, not {self.sizes}")
        sources = {len(bucket) for bucket in self.sizes} | ({len(self.weights)} if self.weights else set())
        if len(sources) != 1:
            raise ValueError(f"every bucket and the weights have as many sources: {self.sizes}, {self.weights}")
        if any(not 0 < weight < np.inf for weight in self.weights):
            raise ValueError(f"weights must be above 0, not {self.weights}")

    @cached_property
    def _shares(self) -> npt.NDArray[np.float64]:
        """(buckets, sources) share of what is seen, of sum 1."""
        sizes = np.asarray(self.sizes, np.float64)
        of_source = sizes.sum(axis=0)
        weights = np.asarray(self.weights or of_source, np.float64) * (of_source > 0)
        return np.asarray(sizes / np.maximum(of_source, 1) * weights / weights.sum())

    @cached_property
    def _buckets(self) -> "Interleave":
        return Interleave(tuple(self._shares.sum(axis=1)), (self.seed, *_KINDS["bucket"]))

    @cached_property
    def _mixes(self) -> tuple["Interleave", ...]:
        return tuple(
            Interleave(tuple(shares), (self.seed, *_KINDS["source"], bucket))
            for bucket, shares in enumerate(self._shares)
        )

    def batch(self, number: int) -> Places:
        """The clips of a global batch; rank r of w takes `[r::w]` of them.

        Args:
            number: Of the batch, counted from 0 over all epochs.
        """
        if number < 0:
            raise ValueError(f"batches are counted from 0, not {number}")
        which, nth = self._buckets.at(number, 1)
        bucket = int(which[0])
        sources, draws = self._mixes[bucket].at(int(nth[0]) * self.batch_size, self.batch_size)
        clips = np.empty(self.batch_size, np.int64)
        for source in np.unique(sources):
            here = sources == source
            clips[here] = self._clips(bucket, int(source), draws[here])
        return Places(bucket, sources, clips)

    def _clips(self, bucket: int, source: int, draws: Indices) -> Indices:
        """The clips that are some draws of a source: each epoch in an order of its own."""
        size = self.sizes[bucket][source]
        found = np.empty(len(draws), np.int64)
        for epoch in np.unique(draws // size):
            here = draws // size == epoch
            found[here] = permutation((self.seed, int(epoch), *_origin(bucket, source)), size)[draws[here] % size]
        return found


_KINDS = {"bucket": (0, 1), "source": (0, 2)}
"""So that the orders of buckets and sources have other seeds than those of clips."""


def _origin(bucket: int, source: int) -> tuple[int, ...]:
    return (bucket, source) if bucket or source else ()


@dataclass(frozen=True)
class Interleave:
    """A sequence of numbers 0, 1, ... without end, in which each has its share within every `BLOCK`.

    Args:
        shares: Of each number, in any unit.
        seed: Of the order within blocks.
    """

    shares: tuple[float, ...]
    seed: tuple[int, ...]

    @cached_property
    def counts(self) -> Indices:
        """How often each number stands in a block, by largest remainders; at least once where its share is not 0.

        Raises:
            ValueError: There are more numbers than a block has places.
        """
        wanted = np.asarray(self.shares) / np.sum(self.shares) * BLOCK
        counts: Indices = np.floor(wanted).astype(np.int64)
        counts[np.argsort(counts - wanted, kind="stable")[: BLOCK - int(counts.sum())]] += 1
        lost = (counts == 0) & (wanted > 0)
        counts[lost] = 1
        counts[np.argmax(counts)] -= int(lost.sum())
        if counts.min() < 0 or counts.sum() != BLOCK:
            raise ValueError(f"{len(self.shares)} shares do not fit into blocks of {BLOCK}")
        return counts

    def at(self, begin: int, length: int) -> tuple[Indices, Indices]:
        """The numbers at some places, and how many of the same stand before each.

        Args:
            begin: First place, >= 0.
            length: How many places.
        """
        if len(self.shares) == 1:
            return np.zeros(length, np.int64), np.arange(begin, begin + length)
        pieces = []
        for block in range(begin // BLOCK, (begin + length - 1) // BLOCK + 1):
            numbers, nth = _block(tuple(self.counts.tolist()), (*self.seed, block))
            first, last = max(begin - block * BLOCK, 0), min(begin + length - block * BLOCK, BLOCK)
            here = numbers[first:last]
            pieces.append((here, nth[first:last] + block * self.counts[here]))
        return np.concatenate([piece[0] for piece in pieces]), np.concatenate([piece[1] for piece in pieces])


@lru_cache(maxsize=16)
def _block(counts: tuple[int, ...], seed: tuple[int, ...]) -> tuple[Indices, Indices]:
    """The numbers of a block in their order, and how many of the same stand before each within it."""
    numbers = np.random.default_rng(list(seed)).permutation(np.repeat(np.arange(len(counts)), counts))
    nth = np.empty(BLOCK, np.int64)
    for number, count in enumerate(counts):
        nth[numbers == number] = np.arange(count)
    return numbers, nth


@lru_cache(maxsize=4)
def permutation(seed: tuple[int, ...], size: int) -> Indices:
    """A seeded order, int64, shape (size,), read-only; the last ones are kept.

    Source: numpy's PCG64 and Generator.permutation, which NumPy keeps equal within a release but not for ever (NEP 19):
    a run is resumed with the NumPy that began it.
    """
    order = np.random.default_rng(list(seed)).permutation(size)
    order.flags.writeable = False
    return order
