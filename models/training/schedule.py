"""The learning rate as a function of clips seen. Not the optimizer."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A linear warm-up, then a constant or half a cosine down to a floor.

    Source of the cosine: Loshchilov and Hutter 2016, arXiv 1608.03983, equation 5, without restarts.

    Attributes:
        peak: Learning rate after the warm-up.
        warmup_clips: Clips until the peak.
        decay: "constant" or "cosine".
        floor: The cosine's end, as a fraction of the peak.
    """

    peak: float
    warmup_clips: int
    decay: Literal["constant", "cosine"] = "constant"
    floor: float = 0.0

    def __post_init__(self) -> None:
        if not self.peak > 0:
            raise ValueError(f"peak is {self.peak}: the learning rate must be above 0")
        if self.warmup_clips < 0:
            raise ValueError(f"warmup_clips is {self.warmup_clips}: it cannot be negative")
        if self.decay not in ("constant", "cosine"):
            raise ValueError(f"decay is {self.decay!r}: choose 'constant' or 'cosine'")
        if not 0 <= self.floor <= 1:
            raise ValueError(f"floor is {self.floor}: it is a fraction of the peak, from 0 to 1")

    def rate(self, clips: int, total_clips: int) -> float:
        """The learning rate of the step that ends at `clips` clips seen, of a run of `total_clips`."""
        if clips < self.warmup_clips:
            return self.peak * clips / self.warmup_clips
        if self.decay == "constant":
            return self.peak
        progress = min(1.0, (clips - self.warmup_clips) / max(1, total_clips - self.warmup_clips))
        return self.peak * (self.floor + (1 - self.floor) * (1 + math.cos(math.pi * progress)) / 2)
