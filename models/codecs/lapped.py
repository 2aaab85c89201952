"""The modified discrete cosine transform of a whole sound: rotations across block edges, then a DCT-IV in each block.

It is orthonormal and critically sampled: n blocks of M samples become n blocks of M coefficients and nothing is
padded, because at the two ends of the sound there is nothing to overlap with.

Shapes: B sounds, C channels, n blocks, M samples or coefficients of a block, T = n M.
"""

import math

import torch
from torch import Tensor, nn


class LappedTransform(nn.Module):
    """MDCT with a sine window of two blocks. Has no weights to learn.

    Source: Princen and Bradley 1986; as rotation and DCT-IV, Malvar 1992, *Signal Processing with Lapped Transforms*.
    """

    cosines: Tensor
    near: Tensor
    far: Tensor

    def __init__(self, block_samples: int) -> None:
        """Builds the transform.

        Args:
            block_samples: samples of a block, even, at least 2.
        """
        super().__init__()
        if block_samples < 2 or block_samples % 2:
            raise ValueError(f"block_samples must be even and at least 2, got {block_samples}")
        self.block_samples = block_samples
        middle = torch.arange(block_samples, dtype=torch.float64) + 0.5
        cosines = math.sqrt(2 / block_samples) * torch.cos(math.pi / block_samples * middle[:, None] * middle[None, :])
        window = torch.sin(math.pi / (2 * block_samples) * middle)
        half = block_samples // 2
        # For the sample at distance i from an edge: the window on its own side of the edge, and on the other side.
        self.register_buffer("near", window[half:].float(), persistent=False)
        self.register_buffer("far", window[:half].flip(0).float(), persistent=False)
        self.register_buffer("cosines", cosines.float(), persistent=False)

    def forward(self, wave_BCT: Tensor) -> Tensor:
        """Transforms sounds.

        Args:
            wave_BCT: float32 (B, C, T), T a multiple of `block_samples`.

        Returns:
            float32 (B, C, n, M).
        """
        blocks = wave_BCT.reshape(*wave_BCT.shape[:-1], -1, self.block_samples)
        head, tail = torch.split(blocks, self.block_samples // 2, dim=-1)
        # The DCT-IV continues evenly to the left of its block and oddly to the right.
        inner_head, inner_tail = head[..., 1:, :], tail[..., :-1, :].flip(-1)
        new_head = torch.cat([head[..., :1, :], self.near * inner_head + self.far * inner_tail], dim=-2)
        new_tail = torch.cat([(self.near * inner_tail - self.far * inner_head).flip(-1), tail[..., -1:, :]], dim=-2)
        return torch.cat([new_head, new_tail], dim=-1) @ self.cosines

    def inverse(self, coefficients_BCnM: Tensor) -> Tensor:
        """Transforms back; exact up to rounding.

        Args:
            coefficients_BCnM: float32 (B, C, n, M).

        Returns:
            float32 (B, C, T).
        """
        blocks = coefficients_BCnM @ self.cosines
        head, tail = torch.split(blocks, self.block_samples // 2, dim=-1)
        inner_head, inner_tail = head[..., 1:, :], tail[..., :-1, :].flip(-1)
        new_head = torch.cat([head[..., :1, :], self.near * inner_head - self.far * inner_tail], dim=-2)
        new_tail = torch.cat([(self.near * inner_tail + self.far * inner_head).flip(-1), tail[..., -1:, :]], dim=-2)
        return torch.cat([new_head, new_tail], dim=-1).flatten(-2)
