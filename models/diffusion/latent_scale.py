"""The scale of latents: diffusion mixes them with noise of unit variance, so they must have about that too.

Not a codec: a codec's latents keep the codec's own units, and decode from them.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class LatentScale(nn.Module):
    """Per-channel mean and standard deviation of latents, kept with the network's weights.

    Shapes: B batch, F frames, D channels.
    """

    mean_D: Tensor
    std_D: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean_D", torch.zeros(channels))
        self.register_buffer("std_D", torch.ones(channels))

    @torch.no_grad()
    def fit(self, batches: Iterable[Tensor]) -> None:
        """Measures the scale.

        Args:
            batches: Latents (B, F, D), each float32.

        Raises:
            ValueError: if there are no latents.
        """
        rows = [latents_BFD.flatten(0, 1).double() for latents_BFD in batches]
        if not rows:
            raise ValueError("no latents to measure the scale from: give at least one batch")
        values = torch.cat(rows)
        std_D = values.std(0, correction=0)
        # A channel that never moves (a silent band) must not be blown up: it gets at least 1e-3 of the overall spread.
        overall = float(std_D.square().mean().sqrt())
        self.mean_D.copy_(values.mean(0))
        self.std_D.copy_(std_D.clamp_min(max(1e-3 * overall, 1e-8)))

    def scaled(self, latents_BFD: Tensor) -> Tensor:
        """From a codec's units to about unit variance."""
        return (latents_BFD - self.mean_D) / self.std_D

    def unscaled(self, x_BFD: Tensor) -> Tensor:
        """Back to a codec's units."""
        return x_BFD * self.std_D + self.mean_D
