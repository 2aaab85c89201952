"""Multimodal adaptive fusion: modalities weigh each other and exchange a summary before the transformer reads them.

Source: AudioX's third version and its code (arXiv 2503.10522v3), as far as it says; that absent tokens are masked is
ours. It is an option: the gates start so that nothing changes.

Legend: B batch, M modalities, L tokens of one, C context width, E learned queries.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.audiox.time_conditions import mean_token
from models.diffusion.guidance import Context

_SHUT = -10.0
"""Where the gate of what is added begins: a sigmoid of 4.5e-5. Source: AudioX's code."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FusionConfig:
    """Sizes of the fusion. At a width of 768, with three modalities, 8 layers come to 61 M parameters, 4 to 33 M.

    Attributes:
        modalities: M.
        queries: Learned queries of each modality. 64 as published.
        layers: Of the encoder that mixes them. The third version is said to have 60 M parameters, which 8 come to.
        heads: Of its attention, dividing the context width.
    """

    modalities: int = 3
    queries: int = 64
    layers: int = 8
    heads: int = 12

    def __post_init__(self) -> None:
        for name in ("modalities", "queries", "layers", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} of the fusion is {getattr(self, name)}: it must be at least 1")


class Fusion(nn.Module):
    """Gates every modality by what all of them say, and adds to each a summary that its own queries gathered."""

    def __init__(self, config: FusionConfig, width: int) -> None:
        super().__init__()
        count = config.modalities
        self.gates = nn.Sequential(nn.Linear(count * width, width), nn.GELU(), nn.Linear(width, count), nn.Sigmoid())
        self.queries_EC = nn.Parameter(torch.randn(count * config.queries, width))
        self.gather = nn.MultiheadAttention(width, config.heads, batch_first=True)
        self.gathered_norm = nn.LayerNorm(width)
        layer = nn.TransformerEncoderLayer(
            width, config.heads, 4 * width, dropout=0.0, activation=functional.gelu, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(count))
        self.opening_M = nn.Parameter(torch.full((count,), _SHUT))

    def forward(self, parts: list[Context]) -> list[Context]:
        """Tokens of each modality with what the others say of it; masks stay.

        Raises:
            ValueError: if there are not as many modalities as it was made for.
        """
        if len(parts) != len(self.norms):
            raise ValueError(f"{len(parts)} modalities: this fusion was made for {len(self.norms)}")
        gates_BM = self.gates(torch.cat([mean_token(part) for part in parts], dim=-1))
        gated = [gates_BM[:, m, None, None] * part.tokens_BLC for m, part in enumerate(parts)]
        absent_BL = torch.cat([_absent(part) for part in parts], dim=1)
        tokens_BLC = torch.cat(gated, dim=1)
        queries_BEC = self.queries_EC.expand(len(tokens_BLC), -1, -1)
        found_BEC, _ = self.gather(queries_BEC, tokens_BLC, tokens_BLC, absent_BL, need_weights=False)
        mixed_BEC: Tensor = self.encoder(self.gathered_norm(queries_BEC + found_BEC))
        summaries = [
            norm(own.mean(1)) for norm, own in zip(self.norms, mixed_BEC.chunk(len(parts), dim=1), strict=True)
        ]
        openings = self.opening_M.sigmoid()
        return [
            Context(tokens_BLC=part.tokens_BLC + opening * summary_BC[:, None], mask_BL=part.mask_BL)
            for part, summary_BC, opening in zip(parts, summaries, openings, strict=True)
        ]


def _absent(part: Context) -> Tensor:
    if part.mask_BL is None:
        return torch.zeros(part.tokens_BLC.shape[:2], dtype=torch.bool, device=part.tokens_BLC.device)
    return ~part.mask_BL
