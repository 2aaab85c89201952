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


def exponential_times(steps: int, *, sigma_least: float = 0.3, sigma_most: float = 500.0) -> Tensor:
    """Times whose ratio of noise to data falls by equal factors, then data: (steps + 1,) float32, falling to 0.

    On the quarter of a circle (`VPrediction`) sigma = tan(t pi/2), so t = atan(sigma) 2/pi. Source: AudioX and Stable
    Audio Open sample so, from 500 to 0.3.

    Raises:
        ValueError: if there is not at least one step, or the ratios are not 0 < least < most.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}: sampling needs at least 1")
    if not 0 < sigma_least < sigma_most < math.inf:
        raise ValueError(f"sigma goes from {sigma_most} to {sigma_least}: it must fall, and stay above 0")
    logarithms = torch.linspace(math.log(sigma_most), math.log(sigma_least), steps, dtype=torch.float64)
    times = torch.atan(logarithms.exp()) * (2 / math.pi)
    return torch.cat([times, times.new_zeros(1)]).float()
