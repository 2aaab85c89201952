"""Which clips are in which batch: batch b is a function of (seed, b) and of nothing else.

Samples are positions in a seeded permutation, one permutation an epoch, so resuming is one integer and the number of
ranks changes nothing. No clip is dropped or doubled: a batch that an epoch does not fill goes on into the next one.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchPlan:
    """The order in which samples are seen.

    Args:
        n_samples: How many there are, >= 1.
        batch_size: Samples of one global batch, over all ranks, >= 1; it may exceed `n_samples`.
        seed: Seed of the permutations, >= 0.
    """

    n_samples: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        for name, least in (("n_samples", 1), ("batch_size", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")

    def indices(self, batch: int) -> Indices:
        """The samples of a global batch; rank r of w takes `[r::w]` of them.

        Args:
            batch: Number of the batch, counted from 0 over all epochs.

        Returns:
            int64, shape (batch_size,), values in [0, n_samples).
        """
        if batch < 0:
            raise ValueError(f"batches are counted from 0, not {batch}")
        position, end = batch * self.batch_size, (batch + 1) * self.batch_size
        pieces = []
        while position < end:
            epoch, begin = divmod(position, self.n_samples)
            piece = permutation(self.seed, epoch, self.n_samples)[begin : begin + end - position]
            pieces.append(piece)
            position += len(piece)
        return np.concatenate(pieces)

    def epoch(self, batch: int) -> float:
        """How many epochs have been seen before this batch."""
        return batch * self.batch_size / self.n_samples


@lru_cache(maxsize=2)
def permutation(seed: int, epoch: int, n_samples: int) -> Indices:
    """The order of one epoch, int64, shape (n_samples,), read-only; the last two are kept.

    Source: numpy's PCG64 and Generator.permutation, which NumPy keeps equal within a release but not for ever (NEP 19):
    a run is resumed with the NumPy that began it.
    """
    order = np.random.default_rng([seed, epoch]).permutation(n_samples)
    order.flags.writeable = False
    return order
