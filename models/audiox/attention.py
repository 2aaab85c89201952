"""The parts of a block: self-attention with rotary positions, cross-attention, and the gated MLP.

Legend: B batch, N positions, W width, H heads, K heads of keys and values, E channels of a head, R channels of a head
that are turned, L context tokens, C context width.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

QkNorm = Literal["rms", "l2", "none"]
Rotation = tuple[Tensor, Tensor]


class SelfAttention(nn.Module):
    """Attention among the latent frames, with rotary positions and normalised queries and keys.

    Source: rotary positions, Su et al. 2021, arXiv 2104.09864; QK-norm, Henry et al. 2020, arXiv 2010.04245.
    """

    def __init__(self, width: int, heads: int, qk_norm: QkNorm = "rms") -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.query_norm = _head_norm(qk_norm, width // heads)
        self.key_norm = _head_norm(qk_norm, width // heads)
        self.leave = zeroed(nn.Linear(width, width))

    def forward(self, h_BNW: Tensor, rotation: Rotation) -> Tensor:
        """Attends from every position to every position."""
        query, key, value = (split_heads(part, self.heads) for part in self.qkv(h_BNW).chunk(3, dim=-1))
        query = rotated(self.query_norm(query), rotation).to(value.dtype)
        key = rotated(self.key_norm(key), rotation).to(value.dtype)
        mixed_BHNE = functional.scaled_dot_product_attention(query, key, value)
        return self.leave(joined_heads(mixed_BHNE))  # type: ignore[no-any-return]


class CrossAttention(nn.Module):
    """Attention from the latent frames to the condition tokens; tokens that are not real are never read.

    With fewer heads of keys and values than of queries, neighbouring query heads share one (Ainslie et al. 2023,
    arXiv 2305.13245), as published, where keys and values stay as wide as the context.
    """

    def __init__(
        self, width: int, heads: int, context_width: int, *, context_heads: int | None = None, qk_norm: QkNorm = "rms"
    ) -> None:
        super().__init__()
        self.heads = heads
        self.context_heads = heads if context_heads is None else context_heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(context_width, 2 * self.context_heads * (width // heads), bias=False)
        self.query_norm = _head_norm(qk_norm, width // heads)
        self.key_norm = _head_norm(qk_norm, width // heads)
        self.leave = zeroed(nn.Linear(width, width))

    def forward(self, h_BNW: Tensor, context_BLC: Tensor, context_mask_BL: Tensor | None) -> Tensor:
        """Attends from every position to the real tokens; without a mask, to all."""
        key, value = (split_heads(part, self.context_heads) for part in self.key_value(context_BLC).chunk(2, dim=-1))
        query = self.query_norm(split_heads(self.query(h_BNW), self.heads)).to(value.dtype)
        key = self.key_norm(key).to(value.dtype)
        mask_BHNL = None if context_mask_BL is None else context_mask_BL[:, None, None, :]
        # Heads that share a key stand one behind the other as positions: keys and values are not repeated.
        positions = query.shape[2]
        query = query.reshape(len(query), self.context_heads, -1, query.shape[-1])
        mixed_BKNE = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask_BHNL)
        mixed_BHNE = mixed_BKNE.reshape(len(query), self.heads, positions, -1)
        return self.leave(joined_heads(mixed_BHNE))  # type: ignore[no-any-return]


class GatedMlp(nn.Module):
    """SiLU(a) b, then out. Source: Shazeer 2020, arXiv 2002.05202 (SwiGLU)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.enter = nn.Linear(width, 2 * inner)
        self.leave = zeroed(nn.Linear(inner, width))

    def forward(self, h_BNW: Tensor) -> Tensor:
        """Works on each position by itself."""
        gate, value = self.enter(h_BNW).chunk(2, dim=-1)
        return self.leave(functional.silu(gate) * value)  # type: ignore[no-any-return]


class UnitNorm(nn.Module):
    """Vectors of length one: QK-norm as arXiv 2010.04245 has it."""

    def forward(self, x_BHNE: Tensor) -> Tensor:
        """Divides by the length."""
        return functional.normalize(x_BHNE, dim=-1)


def rotary_angles(count: int, turned: int, *, device: torch.device | None = None) -> Rotation:
    """Cosines and sines of positions 0 to count - 1, each (count, R / 2). Base 10,000, as in arXiv 2104.09864."""
    rate = 10_000 ** (-torch.arange(0, turned, 2, device=device, dtype=torch.float32) / turned)
    angles = torch.arange(count, device=device, dtype=torch.float32)[:, None] * rate
    return angles.cos(), angles.sin()


def rotated(x_BHNE: Tensor, rotation: Rotation) -> Tensor:
    """Turns each pair of channels (e, e + R/2) of position n by n times the pair's rate; the other E - R stay."""
    cos, sin = rotation
    half = cos.shape[-1]
    first, second, rest = x_BHNE.float().tensor_split((half, 2 * half), dim=-1)
    turned = torch.cat([first * cos - second * sin, first * sin + second * cos, rest], dim=-1)
    return turned.to(x_BHNE.dtype)


def split_heads(h_BNW: Tensor, heads: int) -> Tensor:
    """(B, N, W) to (B, H, N, E)."""
    return h_BNW.reshape(*h_BNW.shape[:2], heads, -1).transpose(1, 2)


def joined_heads(h_BHNE: Tensor) -> Tensor:
    """(B, H, N, E) to (B, N, W)."""
    return h_BHNE.transpose(1, 2).flatten(2)


def zeroed(layer: nn.Linear) -> nn.Linear:
    """The layer with all its weights zero, so that a branch that ends in it starts by adding nothing."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _head_norm(kind: QkNorm, channels: int) -> nn.Module:
    if kind == "rms":
        return nn.RMSNorm(channels)
    return UnitNorm() if kind == "l2" else nn.Identity()
