"""A moving average of a network's weights, which is what samples are drawn from. Not a checkpoint."""

import math
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


@dataclass(frozen=True, kw_only=True, slots=True)
class EmaSettings:
    """How far back the average reaches, in clips.

    Source: Karras et al. 2022, arXiv 2206.00364, appendix F.2 and its code: the half-life grows with the clips seen,
    so that the first, random weights are soon forgotten. A decay of 0.9999 at 48 clips a step (AudioX) is a half-life
    of 48 ln(1/2) / ln(0.9999) = 332,693 clips.

    Attributes:
        halflife_clips: After so many clips a weight counts half.
        rampup_ratio: The half-life is at most this fraction of the clips seen.
    """

    halflife_clips: int
    rampup_ratio: float = 0.05

    def __post_init__(self) -> None:
        if self.halflife_clips < 1:
            raise ValueError(f"halflife_clips is {self.halflife_clips}: it must be at least 1")
        if not self.rampup_ratio > 0:
            raise ValueError(f"rampup_ratio is {self.rampup_ratio}: it must be above 0")

    def decay(self, clips: int, clips_before: int) -> float:
        """What is kept of the average by a step of `clips` clips after `clips_before`."""
        halflife = min(float(self.halflife_clips), clips_before * self.rampup_ratio)
        return math.exp2(-clips / max(halflife, 1e-8))


class Ema:
    """The average of a network, itself a network of the same kind.

    Attributes:
        network: Holds the averaged parameters and the newest buffers; needs no gradients.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, decay: float) -> None:
        """average = decay * average + (1 - decay) * weights."""
        averages: list[Tensor] = [local(one) for one in self.network.parameters()]
        torch._foreach_lerp_(averages, [local(one) for one in network.parameters()], 1 - decay)
        for average, buffer in zip(self.network.buffers(), network.buffers(), strict=True):
            average.copy_(buffer)


def local(tensor: Tensor) -> Tensor:
    """The part of a sharded tensor that is here; any other tensor itself."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
