"""A video's features to few tokens: a small transformer along time for every place, then a mixture of all of them.

Source: AudioX's code: four blocks over the 50 pictures for each of CLIP's 50 places, then 2,500 features to 128 tokens.
`as_published` mixes them in the order of the published code, which takes the table of features row by row; otherwise
a token is a mixture of features, channel by channel.

Legend: B batch, N pictures, P features of a picture, Q heads x 64, L tokens, C width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.audiox.attention import joined_heads, split_heads
from models.audiox.conditioning import evenly_spaced, repeated

HEAD_CHANNELS = 64


class TemporalReader(nn.Module):
    """Features of pictures to a fixed number of tokens."""

    def __init__(
        self,
        *,
        width: int,
        pictures: int,
        patches: int,
        tokens: int,
        depth: int,
        heads: int,
        as_published: bool = False,
    ) -> None:
        super().__init__()
        self.as_published = as_published
        self.place_NC = nn.Parameter(torch.randn(pictures, width))
        # Not `blocks`: those are what every batch goes through (`models.training.execution`), these only read pictures.
        self.layers = nn.ModuleList(TemporalBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Linear(pictures * patches, tokens)

    def forward(self, frames_BNPC: Tensor) -> Tensor:
        """Features to (B, L, C); fewer or more pictures than it was made for are repeated or left out, evenly."""
        pictures = len(self.place_NC)
        frames_BNPC = evenly_spaced(repeated(frames_BNPC, pictures), pictures)
        batch, _, patches, width = frames_BNPC.shape
        h = frames_BNPC.transpose(1, 2).flatten(0, 1) + self.place_NC
        for layer in self.layers:
            h = layer(h)
        h_BNPC = self.norm(h).unflatten(0, (batch, patches)).transpose(1, 2)
        if self.as_published:
            mixed = self.mix(h_BNPC.reshape(batch, width, pictures * patches))
            return mixed.reshape(batch, -1, width)  # type: ignore[no-any-return]
        return self.mix(h_BNPC.flatten(1, 2).transpose(1, 2)).transpose(1, 2)  # type: ignore[no-any-return]


class TemporalBlock(nn.Module):
    """Attention along time and an MLP, each behind a norm. Source: Vaswani et al. 2017, arXiv 1706.03762, pre-norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * HEAD_CHANNELS * heads, bias=False)
        self.leave = nn.Linear(HEAD_CHANNELS * heads, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, h: Tensor) -> Tensor:
        """The stream (B x P, N, C), passed on."""
        query, key, value = (split_heads(part, self.heads) for part in self.qkv(self.attention_norm(h)).chunk(3, -1))
        h = h + self.leave(joined_heads(functional.scaled_dot_product_attention(query, key, value)))
        return h + self.mlp(self.mlp_norm(h))  # type: ignore[no-any-return]
