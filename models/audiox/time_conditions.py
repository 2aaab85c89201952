"""How the time reaches the blocks: as a token before the first frame, or as modulations of every block.

Legend: B batch, N positions, W width, C context width, D latent channels, P a block's six modulations.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.audiox.attention import zeroed
from models.diffusion.guidance import Context


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """A stream that the time has reached.

    Attributes:
        h_BNW: The stream, with tokens before it if there are any.
        added_BPW: Added to the modulations of every block; None where blocks have none.
        straight_BD: How much of each latent channel goes straight to the prediction; None where nothing does.
    """

    h_BNW: Tensor
    added_BPW: Tensor | None = None
    straight_BD: Tensor | None = None


class TimeEmbedding(nn.Module):
    """Fourier features of the time, and an MLP. Source: Tancik et al. 2020, arXiv 2006.10739; learned frequencies."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(torch.randn(features // 2))
        self.mlp = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t_B: Tensor) -> Tensor:
        """Times to (B, W)."""
        angles = 2 * math.pi * t_B.float()[:, None] * self.frequencies
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1))  # type: ignore[no-any-return]


class TimeAsModulation(nn.Module):
    """Time and the mean of the condition tokens scale, shift and gate every block, by one projection that all share.

    They also set how much of each latent channel goes straight from the input to the prediction: of a sound
    like noise a network can know little more than how loud each channel is, and need not carry every value through.
    Source: adaLN, arXiv 2212.09748; shared as in PixArt-alpha, Chen et al. 2023, arXiv 2310.00426 (adaLN-single); the
    mean of the condition as in MMAudio, Cheng et al. 2024, arXiv 2412.15322; the straight way is ours.
    """

    def __init__(self, width: int, context_width: int, latent_channels: int) -> None:
        super().__init__()
        self.pool = nn.Linear(context_width, width)
        self.project = zeroed(nn.Linear(width, 6 * width))
        self.straight = zeroed(nn.Linear(width, latent_channels))

    def forward(self, h_BNW: Tensor, time_BW: Tensor, context: Context) -> Timed:
        """The stream as it was, and what is added elsewhere."""
        condition_BW = functional.silu(time_BW + self.pool(mean_token(context)))
        return Timed(
            h_BNW=h_BNW,
            added_BPW=self.project(condition_BW).reshape(len(h_BNW), 6, -1),
            straight_BD=self.straight(condition_BW),
        )


class TimeAsToken(nn.Module):
    """Time is a token before the first frame, as AudioX published it."""

    def forward(self, h_BNW: Tensor, time_BW: Tensor, context: Context) -> Timed:
        """The stream with one position more."""
        return Timed(h_BNW=torch.cat([time_BW[:, None].to(h_BNW.dtype), h_BNW], dim=1))


def mean_token(context: Context) -> Tensor:
    """The mean of the real tokens of each sample, (B, C)."""
    if context.mask_BL is None:
        return context.tokens_BLC.mean(1)
    real_BL1 = context.mask_BL[..., None].to(context.tokens_BLC.dtype)
    return (context.tokens_BLC * real_BL1).sum(1) / real_BL1.sum(1)
