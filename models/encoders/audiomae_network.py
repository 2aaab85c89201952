"""AudioMAE's encoder (P.-Y. Huang et al. 2022, arXiv 2207.06405): a vision transformer over patches of a spectrogram.

Modules have timm's names (`patch_embed.proj`, `blocks.N.attn.qkv`, ...), which the published weights have. Not what
makes the spectrogram or reads a file (`audiomae.py`), nor its training (`audiomae_fit.py`).

Shapes: B sounds, F frames, M mel bands, T and K patches along time and frequency, P = T * K patches of which time is
the slower, L tokens (a first one of no patch, then patches), D width, H heads.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from models.encoders.kaldi_fbank import KaldiFbankConfig

NORM_EPSILON = 1e-6
"""Of layer normalisation. Source: the published code, and timm."""

HEAD_WIDTH = 64
"""Width of a head in all published vision transformers: weights do not tell the number of heads."""

MLP_RATIO = 4

_BLOCK = re.compile(r"blocks\.(\d+)\.")


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioMaeConfig:
    """Sizes; the defaults are the published ones, ViT-B/16 over 10.24 s.

    Attributes:
        frames: Of a spectrogram, 10 ms each, a multiple of `patch`.
        mel_bins: Of a spectrogram, a multiple of `patch`.
        patch: Frames, and mel bands, of a patch.
        width: Of the tokens, a multiple of 4 and of `heads`.
        depth: Blocks.
        heads: Of the attention.
        averaged_blocks: Of the last blocks, whose normalised outputs are averaged for the language of audio. Source:
            the published code of AudioLDM 2: three of twelve.
        mean, deviation: The log-mel becomes (log - mean) / (2 deviation). Source: AudioSet, as published.
    """

    frames: int = 1024
    mel_bins: int = 128
    patch: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    averaged_blocks: int = 3
    mean: float = -4.2677393
    deviation: float = 4.5689974

    def __post_init__(self) -> None:
        for name in ("frames", "mel_bins", "patch", "width", "depth", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.frames % self.patch or self.mel_bins % self.patch:
            raise ValueError(
                f"frames and mel_bins must be multiples of patch ({self.patch}), got {self.frames} and {self.mel_bins}"
            )
        if self.width % 4 or self.width % self.heads:
            raise ValueError(f"width must be a multiple of 4 and of heads ({self.heads}), got {self.width}")
        if not 1 <= self.averaged_blocks <= self.depth:
            raise ValueError(f"averaged_blocks must be in 1..{self.depth}, got {self.averaged_blocks}")

    @property
    def grid(self) -> tuple[int, int]:
        """Patches along time and along frequency, (T, K)."""
        return self.frames // self.patch, self.mel_bins // self.patch

    @property
    def patches(self) -> int:
        """Patches of a sound, P."""
        return self.grid[0] * self.grid[1]

    @property
    def fbank(self) -> KaldiFbankConfig:
        """The spectrogram that it takes. Source: AudioMAE and AudioLDM 2's `extract_kaldi_fbank_feature`."""
        return KaldiFbankConfig(
            window="hann",
            full_scale=1.0,
            mean=self.mean,
            deviation=self.deviation,
            frames=self.frames,
            mel_bins=self.mel_bins,
        )

    @classmethod
    def of_weights(cls, state: Mapping[str, Tensor]) -> Self:
        """Reads the sizes off published weights; they listen to 128 bands and have heads of 64.

        Raises:
            ValueError: What says the sizes is not there, or says no such network.
        """
        kernel, table = state.get("patch_embed.proj.weight"), state.get("pos_embed")
        depth = 1 + max((int(found[1]) for name in state if (found := _BLOCK.match(name))), default=-1)
        if kernel is None or table is None or kernel.ndim != 4 or table.ndim != 3 or not depth:
            raise ValueError("no patch_embed.proj.weight, pos_embed and blocks: these are not weights of an AudioMAE")
        width, patch, mel_bins = kernel.shape[0], kernel.shape[-1], cls().mel_bins
        if width % HEAD_WIDTH or mel_bins % patch or (table.shape[1] - 1) % (mel_bins // patch):
            raise ValueError(
                f"width {width}, patches of {patch} and {table.shape[1] - 1} positions are not an AudioMAE of "
                f"{mel_bins} bands with heads of {HEAD_WIDTH}"
            )
        return cls(
            frames=(table.shape[1] - 1) // (mel_bins // patch) * patch,
            patch=patch,
            width=width,
            depth=depth,
            heads=width // HEAD_WIDTH,
            averaged_blocks=min(cls().averaged_blocks, depth),
        )


def sincos_positions(grid: tuple[int, int], width: int) -> Tensor:
    """Fixed positions of patches: sines and cosines of the place along frequency, then of that along time.

    Source: the published code of MAE, with the grid as the patches lie. AudioMAE's own made the table with the two
    lengths exchanged; published weights bring their table along.

    Args:
        grid: Patches along time and along frequency, (T, K).
        width: D, a multiple of 4.

    Returns:
        float32 (1, 1 + T * K, D); the first, of the token that is no patch, is 0.
    """
    times, bands = grid
    rate = 10_000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    place_TK2 = torch.stack(
        torch.meshgrid(
            torch.arange(times, dtype=torch.float64), torch.arange(bands, dtype=torch.float64), indexing="ij"
        ),
        dim=-1,
    )
    angle_P2W = place_TK2.reshape(-1, 2).flip(-1)[..., None] * rate
    table_PD = torch.cat([angle_P2W.sin(), angle_P2W.cos()], dim=-1).flatten(1)
    return torch.cat([torch.zeros(1, width, dtype=torch.float64), table_PD])[None].float()


class PatchEmbed(nn.Module):
    """Cuts a spectrogram into patches and maps each to a token."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, width, kernel_size=patch, stride=patch)

    def forward(self, mel_BFM: Tensor) -> Tensor:
        """(B, F, M) -> (B, P, D)."""
        return torch.as_tensor(self.proj(mel_BFM[:, None])).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(B, L, D) -> the same shape."""
        query, key, value = self.qkv(x_BLD).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        heard_BHLd = nn.functional.scaled_dot_product_attention(query, key, value)
        return torch.as_tensor(self.proj(heard_BHLd.transpose(1, 2).flatten(2)))


class Mlp(nn.Module):
    """Two layers with GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, MLP_RATIO * width)
        self.fc2 = nn.Linear(MLP_RATIO * width, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(B, L, D) -> the same shape."""
        return torch.as_tensor(self.fc2(nn.functional.gelu(self.fc1(x_BLD))))


class Block(nn.Module):
    """A transformer's block, normalised before each of its halves."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.mlp = Mlp(width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(B, L, D) -> the same shape."""
        x_BLD = x_BLD + self.attn(self.norm1(x_BLD))
        return x_BLD + torch.as_tensor(self.mlp(self.norm2(x_BLD)))


class AudioMaeEncoder(nn.Module):
    """Spectrograms to vectors of patches."""

    pos_embed: Tensor

    def __init__(self, config: AudioMaeConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config.patch, config.width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.register_buffer("pos_embed", sincos_positions(config.grid, config.width))
        self.blocks = nn.ModuleList([Block(config.width, config.heads) for _ in range(config.depth)])
        self.norm = nn.LayerNorm(config.width, eps=NORM_EPSILON)

    def embed(self, mel_BFM: Tensor) -> Tensor:
        """Patches with their positions: (B, F, M) -> (B, P, D)."""
        return torch.as_tensor(self.patch_embed(mel_BFM)) + self.pos_embed[:, 1:]

    def with_first(self, patch_BPD: Tensor) -> Tensor:
        """Puts the token of no patch before any number of patches."""
        first_11D = self.cls_token + self.pos_embed[:, :1]
        return torch.cat([first_11D.expand(patch_BPD.shape[0], -1, -1), patch_BPD], dim=1)

    def forward(self, mel_BFM: Tensor) -> Tensor:
        """Listens to all patches.

        Args:
            mel_BFM: float32 (B, F, M), as `config.fbank` has it.

        Returns:
            float32 (B, P, D): the mean of the normalised outputs of the last `config.averaged_blocks` blocks.

        Raises:
            ValueError: of another size.
        """
        if mel_BFM.shape[1:] != (self.config.frames, self.config.mel_bins):
            raise ValueError(
                f"this AudioMAE takes spectrograms (B, {self.config.frames}, {self.config.mel_bins}), got "
                f"{tuple(mel_BFM.shape)}"
            )
        x_BLD = self.with_first(self.embed(mel_BFM))
        outputs = []
        for block in self.blocks:
            x_BLD = block(x_BLD)
            outputs.append(x_BLD)
        last = [self.norm(output_BLD) for output_BLD in outputs[-self.config.averaged_blocks :]]
        return torch.stack(last).mean(0)[:, 1:]
