"""The network of Re-AudioLDM: AudioLDM's UNet, which reads what retrieval found beside the noisy latents.

Source: Yuan et al. 2023, arXiv 2309.08051: a CLAP vector of the prompt as AudioLDM has it, AudioMAE's features of the
neighbours' sounds and T5's of their captions through cross-attention, shared by all its layers. Ours: how they go into
diffusers' UNet of AudioLDM 2 (sounds are its first stream, captions its second), and a learned token that stands in
each stream, so that there is something to read where nothing was found. The same class without streams is AudioLDM.

Legend: B batch, F latent frames, D latent channels, Z channels of an autoencoder, W its bins of frequency (D = Z W),
S width of a CLAP vector, M tokens of neighbours' sounds, H their width, N tokens of their captions, T their width.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from models.diffusion.latent_scale import LatentScale
from models.re_audioldm.conditioning import Conditions, Streams, streams_of

Retrieval = Literal["none", "audio", "audio+text"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReAudioLdmConfig:
    """Sizes.

    Attributes:
        latent_channels: Z.
        latent_bins: W; 1 where latents have no order of frequency.
        said_width: S.
        heard_width: H; of no use where no sounds are read.
        text_width: T; of no use where no captions are read.
        retrieval: What is read of neighbours: nothing (AudioLDM), their sounds, or their captions too.
        neighbours: How many are read at most, the nearest.
        text_tokens: Tokens that are read of each caption. Source: 50 in Re-AudioLDM.
        width: Channels of the first level. Source: Re-AudioLDM, 128 (S) and 196 (L).
        multiples: Channels of each level, in widths; each but the first halves frames and bins. Source: AudioLDM.
        layers: Residual blocks of a level. Source: AudioLDM.
        head_channels: Channels of a head of attention; divides every level. Ours.
        norm_groups: Groups of the normalisation; divides every level. Source: 32 in AudioLDM.
    """

    latent_channels: int
    latent_bins: int
    said_width: int
    heard_width: int = 0
    text_width: int = 0
    retrieval: Retrieval = "audio+text"
    neighbours: int = 10
    text_tokens: int = 50
    width: int = 128
    multiples: tuple[int, ...] = (1, 2, 3, 5)
    layers: int = 2
    head_channels: int = 32
    norm_groups: int = 32

    def __post_init__(self) -> None:
        if self.retrieval not in get_args(Retrieval):
            raise ValueError(f"retrieval is {self.retrieval!r}: choose one of {', '.join(get_args(Retrieval))}")
        read = [*(["heard_width"] * self.reads_sound), *(["text_width"] * self.reads_text)]
        sizes = ("latent_channels", "latent_bins", "said_width", "neighbours", "text_tokens", "width", "layers")
        for name in (*sizes, "head_channels", "norm_groups", *read):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if len(self.multiples) < 2 or min(self.multiples) < 1:
            raise ValueError(f"multiples are {self.multiples}: give at least two levels, each at least 1 wide")
        for channels in self.channels:
            for name in ("head_channels", "norm_groups"):
                if channels % getattr(self, name):
                    raise ValueError(f"{name} is {getattr(self, name)}: it must divide {channels} channels of a level")

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.width * multiple for multiple in self.multiples)

    @property
    def reads_sound(self) -> bool:
        """Whether neighbours' sounds are read."""
        return self.retrieval != "none"

    @property
    def reads_text(self) -> bool:
        """Whether neighbours' captions are read."""
        return self.retrieval == "audio+text"


class ReAudioLdmNetwork(nn.Module):
    """Predicts the noise in latents, or what else its schedule asks for (`DiscreteSchedule.target`)."""

    def __init__(self, config: ReAudioLdmConfig) -> None:
        """Makes a network with weights from torch's generator.

        Raises:
            ImportError: diffusers is not installed.
        """
        super().__init__()
        self.config = config
        self.scale = LatentScale(config.latent_channels * config.latent_bins)
        self.unet = _unet(config)
        self.nothing_heard_H = nn.Parameter(torch.randn(config.heard_width)) if config.reads_sound else None
        self.nothing_text_T = nn.Parameter(torch.randn(config.text_width)) if config.reads_text else None

    @property
    def blocks(self) -> nn.ModuleList:
        """The parts that are compiled, recomputed and spread one by one."""
        return nn.ModuleList([*self.unet.down_blocks, self.unet.mid_block, *self.unet.up_blocks])

    def forward(self, z_BFD: Tensor, level_B: Tensor, conditions: Conditions) -> Tensor:
        """What the network finds in noisy latents: their noise, or where it was trained for them, velocities.

        Args:
            z_BFD: Float32 noisy latents, of unit variance; D channel by channel.
            level_B: int64, how noisy, from 0.
            conditions: B of them.

        Returns:
            float32 (B, F, D).

        Raises:
            ValueError: D is another one than the network's.
        """
        config = self.config
        if z_BFD.shape[2] != config.latent_channels * config.latent_bins:
            raise ValueError(
                f"latents have {z_BFD.shape[2]} channels, the network was made for {config.latent_channels} x "
                f"{config.latent_bins}"
            )
        z_BZFW = z_BFD.reshape(*z_BFD.shape[:2], config.latent_channels, config.latent_bins).transpose(1, 2)
        streams = streams_of(conditions, self.nothing_heard_H, self.nothing_text_T, config.text_tokens)
        (noise_BZFW,) = self.unet(
            z_BZFW.contiguous(),
            level_B,
            **_named(streams),
            class_labels=conditions.said_BS,
            return_dict=False,
        )
        return noise_BZFW.transpose(1, 2).flatten(2)  # type: ignore[no-any-return]


def _named(streams: Streams) -> dict[str, Tensor | None]:
    """Streams as the UNet calls them."""
    heard, text = streams.heard, streams.text
    return {
        "encoder_hidden_states": None if heard is None else heard.tokens_BLC,
        "encoder_attention_mask": None if heard is None else heard.mask_BL,
        "encoder_hidden_states_1": None if text is None else text.tokens_BLC,
        "encoder_attention_mask_1": None if text is None else text.mask_BL,
    }


def _unet(config: ReAudioLdmConfig) -> Any:
    """diffusers' UNet. In each list of widths the first layer attends to itself, the others to one stream each.

    Source: AudioLDM's published configuration: no attention at full length, and the vector of the prompt stands beside
    that of the level, which each residual block adds.
    """
    try:
        from diffusers import AudioLDM2UNet2DConditionModel
    except ImportError as error:
        raise ImportError("Re-AudioLDM needs diffusers: pip install 'diffusers>=0.38'") from error
    streams = [None, *([config.heard_width] * config.reads_sound), *([config.text_width] * config.reads_text)]
    levels = len(config.channels)
    return AudioLDM2UNet2DConditionModel(
        in_channels=config.latent_channels,
        out_channels=config.latent_channels,
        block_out_channels=config.channels,
        down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * (levels - 1)),
        up_block_types=(*["CrossAttnUpBlock2D"] * (levels - 1), "UpBlock2D"),
        layers_per_block=config.layers,
        cross_attention_dim=[streams] * levels,
        # diffusers calls the number of heads so.
        attention_head_dim=[channels // config.head_channels for channels in config.channels],
        norm_num_groups=config.norm_groups,
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=config.said_width,
        class_embeddings_concat=True,
    )
