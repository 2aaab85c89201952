"""Times on a path: drawn for a training step, laid out for sampling. Not the path itself (`paths.py`)."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeDraw:
    """How the time of a training sample is drawn.

    Source of the logit-normal: Esser et al. 2024, arXiv 2403.03206, equation 19, and its `mean` 0 and `std` 1.

    Attributes:
        kind: "uniform" on [0, 1), or "logit_normal": sigmoid(mean + std n) with n standard normal.
        mean: Above 0 leans toward noise. Only for the logit-normal.
        std: Above 0. Only for the logit-normal.
    """

    kind: Literal["uniform", "logit_normal"] = "logit_normal"
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in ("uniform", "logit_normal"):
            raise ValueError(f"kind of time draw is {self.kind!r}: choose 'uniform' or 'logit_normal'")
        if not self.std > 0:
            raise ValueError(f"std is {self.std}: the spread of the logit-normal must be above 0")

    def draw(self, rng: np.random.Generator) -> float:
        """One time in [0, 1], from one sample's own generator."""
        if self.kind == "uniform":
            return float(rng.random())
        return 1 / (1 + math.exp(-(self.mean + self.std * float(rng.standard_normal()))))


def sampling_times(steps: int) -> Tensor:
    """Evenly spaced times from noise to data: (steps + 1,) float32, the first 1, the last 0.

    Raises:
        ValueError: if there is not at least one step.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}: sampling needs at least 1")
    return torch.linspace(1.0, 0.0, steps + 1)
