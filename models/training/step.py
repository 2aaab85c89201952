"""What the loop asks of a system: an objective, called once a step. Not the loop (`loop.py`).

A batch is a mapping. Every batch has `keys`, the name of each of its samples, and may have `seconds`, how long each is,
all of one length; the rest is between the one who makes the
batches and the objective: an entry a sample, or None. Tensors in it arrive on the network's device.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

Batch = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """What one step came to.

    Attributes:
        loss: Scalar to minimise, the mean over the batch.
        tallies: By name, a tensor (2,) of a sum and a count, without gradient: means over steps are then exact, also
            where a step had none (a time bin without a sample).
    """

    loss: Tensor
    tallies: Mapping[str, Tensor] = field(default_factory=dict)


class Objective(Protocol):
    """What a step minimises."""

    def __call__(self, network: nn.Module, batch: Batch, rngs: Sequence[np.random.Generator]) -> StepResult:
        """The loss of a batch, with one generator for each sample, from which all its random numbers come."""


def sample_rngs(seed: int, first_clip: int, count: int, stride: int = 1) -> list[np.random.Generator]:
    """A generator for each sample, from the run's seed and the sample's number in the run: every `stride`-th one.

    So a step draws the same numbers however the batch is split, on whichever device, and after any resume.
    """
    return [np.random.default_rng([seed, number]) for number in range(first_clip, first_clip + count * stride, stride)]
