"""BEATs (S. Chen et al. 2022, arXiv 2212.09058): a transformer over patches of a spectrogram, with gated positions.

Modules have the names of the published weights (microsoft/unilm, `beats`, MIT). Not what makes the spectrogram or reads
a file (`beats.py`), nor the tokenizers of its training. Dropout is left out: the network is used as it is, frozen.

Shapes: B sounds, F frames, M mel bands, P patches of which time is the slower, D width, H heads, d width of a head,
L classes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

GATE_PARTS = 8
"""Outputs of a gate's layer, of which four each are added up. Source: the published code, after WavLM."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BeatsConfig:
    """Sizes; the defaults are those of the published models, `BEATs_iter3_plus_AS2M` and others.

    Attributes:
        patch: Frames, and mel bands, of a patch.
        patch_width: Numbers that a patch is mapped to, before `width`.
        width: Of the transformer, a multiple of `heads` and of `position_groups`.
        hidden: Of the two layers of a block.
        depth: Blocks, at least 3.
        heads: Of the attention.
        position_kernel: Patches that the convolution for positions sees.
        position_groups: Of that convolution.
        buckets: Of distances, a multiple of 4.
        max_distance: Patches; further ones are in the last bucket.
        is_deep_norm: Whether what goes past a block's halves is scaled by (2 depth)^(1/4) (arXiv 2203.00555).
        has_patch_bias: Whether the patches' layer has a bias.
        classes: Of the predictor, or None where the network was not fine-tuned.
    """

    patch: int = 16
    patch_width: int = 512
    width: int = 768
    hidden: int = 3072
    depth: int = 12
    heads: int = 12
    position_kernel: int = 128
    position_groups: int = 16
    buckets: int = 320
    max_distance: int = 800
    is_deep_norm: bool = True
    has_patch_bias: bool = False
    classes: int | None = None

    def __post_init__(self) -> None:
        for name in ("patch", "patch_width", "width", "hidden", "heads", "position_kernel", "position_groups"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.depth < 3:
            raise ValueError(f"depth must be at least 3, got {self.depth}")
        if self.width % self.heads or self.width % self.position_groups:
            raise ValueError(
                f"width must be a multiple of heads ({self.heads}) and position_groups ({self.position_groups}), "
                f"got {self.width}"
            )
        if self.buckets < 4 or self.buckets % 4 or self.max_distance <= self.buckets // 4:
            raise ValueError(
                f"buckets must be a multiple of 4 and max_distance above a quarter of it, got {self.buckets} and "
                f"{self.max_distance}"
            )
        if self.classes is not None and self.classes < 1:
            raise ValueError(f"classes must be at least 1, got {self.classes}")

    @property
    def taps(self) -> tuple[int, int, int]:
        """Blocks, from 1, after each third of them: 4, 8 and 12 of twelve, as AudioToken has them."""
        return self.depth // 3, 2 * self.depth // 3, self.depth

    @classmethod
    def of_published(cls, settings: Mapping[str, Any]) -> Self:
        """Reads the `cfg` of a published checkpoint; what it leaves out has the value of the published code.

        Raises:
            ValueError: It asks for a network that was never published.
        """
        only = {
            "activation_fn": ("gelu", "gelu"),
            "layer_norm_first": (False, False),
            "relative_position_embedding": (True, False),
            "gru_rel_pos": (True, False),
        }
        for name, (known, default) in only.items():
            if settings.get(name, default) != known:
                raise ValueError(f"cfg has {name}={settings.get(name, default)!r}: only {known!r} is known of BEATs")
        return cls(
            patch=settings.get("input_patch_size", -1),
            patch_width=settings.get("embed_dim", 512),
            width=settings.get("encoder_embed_dim", 768),
            hidden=settings.get("encoder_ffn_embed_dim", 3072),
            depth=settings.get("encoder_layers", 12),
            heads=settings.get("encoder_attention_heads", 12),
            position_kernel=settings.get("conv_pos", 128),
            position_groups=settings.get("conv_pos_groups", 16),
            buckets=settings.get("num_buckets", 320),
            max_distance=settings.get("max_distance", 1280),
            is_deep_norm=settings.get("deep_norm", False),
            has_patch_bias=settings.get("conv_bias", False),
            classes=settings.get("predictor_class", 527) if settings.get("finetuned_model", False) else None,
        )


def distance_buckets(patches: int, config: BeatsConfig) -> Tensor:
    """The bucket of the distance from each patch to each: near ones have one each, further ones share, by logarithm.

    Source: T5 (C. Raffel et al. 2020), with the same number of buckets for either direction.

    Returns:
        int64 (P, P), of the asking patch and the asked one, in [0, buckets).
    """
    half, exact = config.buckets // 2, config.buckets // 4
    place_P = torch.arange(patches)
    distance_PP = place_P[None, :] - place_P[:, None]
    far_PP = distance_PP.abs()
    logarithm_PP = torch.log(far_PP.clamp_min(1).float() / exact) / math.log(config.max_distance / exact)
    shared_PP = (exact + (logarithm_PP * (half - exact)).long()).clamp_max(half - 1)
    return torch.where(far_PP < exact, far_PP, shared_PP) + half * (distance_PP > 0)


class PositionConv(nn.Module):
    """A grouped convolution over the patches, with weights as direction and length along its kernel."""

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight_g = nn.Parameter(torch.ones(1, 1, kernel))
        self.weight_v = nn.Parameter(torch.randn(width, width // groups, kernel) * math.sqrt(4 / (kernel * width)))
        self.bias = nn.Parameter(torch.zeros(width))
        with torch.no_grad():
            self.weight_g.copy_(self.weight_v.norm(dim=(0, 1), keepdim=True))

    def forward(self, x_BDP: Tensor) -> Tensor:
        """(B, D, P) -> (B, D, P); of an even kernel the last column is dropped."""
        kernel = self.weight_v.shape[-1]
        weight = self.weight_g * self.weight_v / self.weight_v.norm(dim=(0, 1), keepdim=True)
        y_BDP = nn.functional.conv1d(x_BDP, weight, self.bias, padding=kernel // 2, groups=self.groups)
        return y_BDP[..., : x_BDP.shape[-1]]


class GatedAttention(nn.Module):
    """Self-attention with a bias of relative positions, which each patch lets in by a gate of its own."""

    def __init__(self, config: BeatsConfig, relative_attention_bias: nn.Embedding) -> None:
        super().__init__()
        self.heads = config.heads
        self.relative_attention_bias = relative_attention_bias
        self.k_proj = nn.Linear(config.width, config.width)
        self.v_proj = nn.Linear(config.width, config.width)
        self.q_proj = nn.Linear(config.width, config.width)
        self.out_proj = nn.Linear(config.width, config.width)
        self.grep_linear = nn.Linear(config.width // config.heads, GATE_PARTS)
        self.grep_a = nn.Parameter(torch.ones(1, config.heads, 1, 1))

    def forward(self, x_BPD: Tensor, bias_HPP: Tensor) -> Tensor:
        """Attends; the gate is 2 + a (b g - 1) with a and b from the patch's own query, and g learned for each head.

        Source: S. Chen et al. 2021 (WavLM, arXiv 2110.13900), whose update gate is 1 - a and whose reset gate is b.

        Args:
            x_BPD: float32.
            bias_HPP: of relative positions, not yet gated.

        Returns:
            float32 (B, P, D).
        """
        query, key, value = (
            layer(x_BPD).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        a_BHP1, b_BHP1 = self.grep_linear(query).unflatten(3, (2, -1)).sum(-1).sigmoid().chunk(2, dim=-1)
        gate_BHP1 = a_BHP1 * (b_BHP1 * self.grep_a - 1.0) + 2.0
        heard_BHPd = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=gate_BHP1 * bias_HPP)
        return torch.as_tensor(self.out_proj(heard_BHPd.transpose(1, 2).flatten(2)))


class BeatsBlock(nn.Module):
    """A transformer's block, normalised after each of its halves."""

    def __init__(self, config: BeatsConfig, relative_attention_bias: nn.Embedding) -> None:
        super().__init__()
        self.self_attn = GatedAttention(config, relative_attention_bias)
        self.self_attn_layer_norm = nn.LayerNorm(config.width)
        self.fc1 = nn.Linear(config.width, config.hidden)
        self.fc2 = nn.Linear(config.hidden, config.width)
        self.final_layer_norm = nn.LayerNorm(config.width)
        self.past_scale = (2 * config.depth) ** 0.25 if config.is_deep_norm else 1.0

    def forward(self, x_BPD: Tensor, bias_HPP: Tensor) -> Tensor:
        """(B, P, D) and the biases of relative positions -> (B, P, D)."""
        x_BPD = self.self_attn_layer_norm(self.past_scale * x_BPD + self.self_attn(x_BPD, bias_HPP))
        y_BPD = self.fc2(nn.functional.gelu(self.fc1(x_BPD)))
        return torch.as_tensor(self.final_layer_norm(self.past_scale * x_BPD + y_BPD))


class BeatsEncoder(nn.Module):
    """The transformer."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.config = config
        # A list, for the weights name the convolution `pos_conv.0`.
        self.pos_conv = nn.ModuleList([PositionConv(config.width, config.position_kernel, config.position_groups)])
        # One for all blocks; each names it, as the weights do.
        shared = nn.Embedding(config.buckets, config.heads)
        self.layers = nn.ModuleList([BeatsBlock(config, shared) for _ in range(config.depth)])
        self.layer_norm = nn.LayerNorm(config.width)

    def forward(self, x_BPD: Tensor) -> list[Tensor]:
        """(B, P, D) -> the output of each block, (B, P, D)."""
        place_BPD = nn.functional.gelu(self.pos_conv[0](x_BPD.transpose(1, 2))).transpose(1, 2)
        x_BPD = self.layer_norm(x_BPD + place_BPD)
        bucket_PP = distance_buckets(x_BPD.shape[1], self.config).to(x_BPD.device)
        shared = cast(BeatsBlock, self.layers[0]).self_attn.relative_attention_bias
        bias_HPP = shared(bucket_PP).permute(2, 0, 1)
        outputs = []
        for layer in self.layers:
            x_BPD = layer(x_BPD, bias_HPP)
            outputs.append(x_BPD)
        return outputs


class BeatsNetwork(nn.Module):
    """Spectrograms to the outputs of each block, and to logits of classes where there is a predictor."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embedding = nn.Conv2d(
            1, config.patch_width, kernel_size=config.patch, stride=config.patch, bias=config.has_patch_bias
        )
        self.layer_norm = nn.LayerNorm(config.patch_width)
        is_equal = config.patch_width == config.width
        self.post_extract_proj = None if is_equal else nn.Linear(config.patch_width, config.width)
        self.encoder = BeatsEncoder(config)
        self.predictor = None if config.classes is None else nn.Linear(config.width, config.classes)

    def forward(self, mel_BFM: Tensor) -> list[Tensor]:
        """Listens.

        Args:
            mel_BFM: float32 (B, F, M), at least a patch; frames that fill no patch are not heard.

        Returns:
            Of each block, float32 (B, P, D).
        """
        patch_BPD = self.layer_norm(self.patch_embedding(mel_BFM[:, None]).flatten(2).transpose(1, 2))
        if self.post_extract_proj is not None:
            patch_BPD = self.post_extract_proj(patch_BPD)
        return list(self.encoder(patch_BPD))

    def classify(self, last_BPD: Tensor) -> Tensor:
        """Logits of the classes (B, L), means over the patches, from the last block's output.

        Raises:
            ValueError: The network has no predictor.
        """
        if self.predictor is None:
            raise ValueError("this BEATs was not fine-tuned: it has no classes; take a checkpoint with a predictor")
        return torch.as_tensor(self.predictor(last_BPD)).mean(1)
