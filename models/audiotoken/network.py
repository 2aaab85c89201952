"""The embedder: what BEATs heard becomes one vector that stands where a word would. All else of AudioToken is frozen.

That vector is the paper's audio token. It is called the sound's word, since a text is cut into tokens too.

Legend: B sounds, P patches of BEATs, H width of what was heard, D width of a word of the text encoder.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioTokenConfig:
    """Sizes; the defaults are those for BEATs and Stable Diffusion 1.

    Source: the published code (guyyariv/AudioToken, MIT): 2304 of BEATs' blocks 4, 8 and 12, words of 768 (Stable
    Diffusion 1) or 1024 (2). Its dropout of a half is on at inference too; here it is off there.

    Attributes:
        heard_width: H.
        token_width: D.
        dropout: Of the unary potential, while training.
    """

    heard_width: int = 2304
    token_width: int = 768
    dropout: float = 0.5

    def __post_init__(self) -> None:
        for name in ("heard_width", "token_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}: it goes from 0 to below 1")


class AttentivePooling(nn.Module):
    """A weighted mean of vectors, by what each is (unary) and by how like the others it is (pairwise).

    Source: factor graph attention, I. Schwartz et al. 2019, arXiv 1904.05880, with one utility: the self-pairwise
    potential of a vector is its mean cosine, in two learned spaces, to all of them. Since a mean of cosines is the
    cosine's product with the mean direction, no table of all pairs is made.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.unary = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.unary_potential = nn.Linear(width, 1)
        self.asking = nn.Linear(width, width)
        self.asked = nn.Linear(width, width)
        self.mix = nn.Linear(2, 1, bias=False)

    def weights(self, x_BPD: Tensor) -> Tensor:
        """How much each vector counts, (B, P) of sum 1."""
        unary_BP = self.unary_potential(self.dropout(self.unary(x_BPD).relu()))[..., 0]
        asking_BPD = nn.functional.normalize(self.asking(x_BPD), dim=-1)
        asked_BD = nn.functional.normalize(self.asked(x_BPD), dim=-1).mean(1)
        pairwise_BP = torch.einsum("bpd,bd->bp", asking_BPD, asked_BD)
        potential_BP = self.mix(torch.stack([unary_BP, pairwise_BP], dim=-1))[..., 0]
        return torch.as_tensor(potential_BP.softmax(dim=1))

    def forward(self, x_BPD: Tensor) -> Tensor:
        """(B, P, D) -> (B, D)."""
        return torch.einsum("bp,bpd->bd", self.weights(x_BPD), x_BPD)


class AudioTokenNetwork(nn.Module):
    """Linear, GELU, linear, attentive pooling: a sound's word."""

    def __init__(self, config: AudioTokenConfig) -> None:
        super().__init__()
        self.config = config
        self.enter = nn.Linear(config.heard_width, config.heard_width)
        self.leave = nn.Linear(config.heard_width, config.token_width)
        self.pooling = AttentivePooling(config.token_width, config.dropout)

    def forward(self, heard_BPH: Tensor) -> Tensor:
        """Says a sound in a word.

        Args:
            heard_BPH: float32, features of BEATs' patches.

        Returns:
            float32 (B, D), to stand among the text encoder's embeddings of tokens.
        """
        return torch.as_tensor(self.pooling(self.leave(nn.functional.gelu(self.enter(heard_BPH)))))
