"""A generator of random numbers for each row of a batch: what a row draws does not depend on which rows are made."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence

WORDS = 4
"""64-bit numbers that a PCG64 is seeded with: 128 bits of state, 128 of increment."""


class _Words(ISeedSequence):
    """Words that were made beforehand, as a seed."""

    def __init__(self, words: np.ndarray) -> None:
        self._words = words

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        if n_words != WORDS or np.dtype(dtype) != np.uint64:
            raise ValueError(f"there are {WORDS} words of uint64, not {n_words} of {np.dtype(dtype)}")
        return self._words


class Generators:
    """Generators of the rows of a batch.

    The words of all rows are made at once: a generator costs a tenth of what `default_rng` does.
    Source: NumPy's SeedSequence and PCG64; NEP 19 keeps both streams equal within a release.

    Args:
        seed: Numbers that name the batch, >= 0.
        rows: How many rows the whole batch has.
    """

    def __init__(self, seed: Sequence[int], rows: int) -> None:
        self._words = np.random.SeedSequence(list(seed)).generate_state(rows * WORDS, np.uint64).reshape(rows, WORDS)

    def of(self, row: int) -> np.random.Generator:
        """The generator of a row, at its beginning."""
        words: Any = _Words(self._words[row])  # any ISeedSequence will do, which NumPy's stubs do not say
        return np.random.Generator(np.random.PCG64(words))
