"""The network of AudioLDM 2: a language model that says the language of audio, and a UNet that is conditioned on it.

Source: Liu et al. 2023, arXiv 2308.05734; the sizes are those of the published configuration. The UNet is diffusers'
`AudioLDM2UNet2DConditionModel`, whose first stream is the LOA and whose second are T5's tokens.

Legend: B batch, F latent frames, D latent channels side by side, Z channels of the autoencoder, V its bins of frequency
(D = Z V), L LOA vectors, W their width.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.audioldm2.language import LanguageConfig, LanguageOfAudio, Stream


@dataclass(frozen=True, kw_only=True, slots=True)
class UNetConfig:
    """Sizes of the UNet. The defaults are the published ones.

    Attributes:
        latent_channels: Z.
        latent_frames: F of a training sample, by which a pipeline knows its usual length.
        loa_width: W.
        text_width: Of the stream that is read beside the LOA; None: none is. Source: FLAN-T5-large, 1024.
        width: Channels of the first level.
        multiples: Channels of each level, in widths; each but the first halves frames and bins.
        plain_levels: Levels without attention, the first ones. Source: 1.
        layers: Residual blocks of a level.
        depth: Transformer blocks of each attention. Source: 1; 2 in the large model.
        more_attention: Whether behind them latents attend to themselves once more. Source: the large model.
        head_channels: Channels of a head of attention; divides every level.
        norm_groups: Groups of the normalisation; divides every level.
    """

    latent_channels: int = 8
    latent_frames: int = 256
    loa_width: int = 768
    text_width: int | None = 1024
    width: int = 128
    multiples: tuple[int, ...] = (1, 2, 3, 5)
    plain_levels: int = 1
    layers: int = 2
    depth: int = 1
    more_attention: bool = False
    head_channels: int = 32
    norm_groups: int = 32

    def __post_init__(self) -> None:
        sizes = ("latent_channels", "latent_frames", "loa_width", "width", "layers", "depth", "head_channels")
        for name in (*sizes, "norm_groups"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.text_width is not None and self.text_width < 1:
            raise ValueError(f"text_width is {self.text_width}: it must be at least 1, or None")
        if len(self.multiples) < 2 or min(self.multiples) < 1:
            raise ValueError(f"multiples are {self.multiples}: give at least two levels, each at least 1 wide")
        if not 0 <= self.plain_levels < len(self.multiples):
            raise ValueError(f"plain_levels is {self.plain_levels}: the last level always has attention")
        for channels in self.channels:
            for name in ("head_channels", "norm_groups"):
                if channels % getattr(self, name):
                    raise ValueError(f"{name} is {getattr(self, name)}: it must divide {channels} channels of a level")

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.width * multiple for multiple in self.multiples)


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioLdm2Config:
    """Sizes of both parts.

    Attributes:
        language: Of the language model.
        unet: Of the UNet.
        text_stream: Name of the stream that the UNet reads beside the LOA; None: none.
    """

    language: LanguageConfig
    unet: UNetConfig
    text_stream: str | None = "t5"

    def __post_init__(self) -> None:
        widths = {stream.name: stream.width for stream in self.language.streams}
        if self.unet.loa_width != self.language.width:
            raise ValueError(
                f"the language model says vectors of {self.language.width}, the UNet reads {self.unet.loa_width}"
            )
        wanted = None if self.text_stream is None else widths.get(self.text_stream, 0)
        if wanted != self.unet.text_width:
            raise ValueError(
                f"the UNet reads {self.unet.text_width} channels beside the LOA, stream {self.text_stream!r} has "
                f"{wanted}"
            )


class AudioLdm2Network(nn.Module):
    """Both parts, and what the diffusion is measured in.

    Attributes:
        language: Says the LOA.
        unet: Finds the noise, or what else its schedule asks for (`DiscreteSchedule.target`).
        text_stream: Name of the stream that the UNet reads beside the LOA; None: none.
        latent_scale: float32 scalar that latents are multiplied by, to be of unit variance: the autoencoder's
            `scaling_factor`.
        mean_loa_LW: The LOA of no sound in particular.
    """

    latent_scale: Tensor
    mean_loa_LW: Tensor

    def __init__(self, language: LanguageOfAudio, unet: Any, *, text_stream: str | None = "t5") -> None:
        super().__init__()
        self.language = language
        self.unet = unet
        self.text_stream = text_stream
        self.register_buffer("latent_scale", torch.ones(()))
        self.register_buffer("mean_loa_LW", torch.zeros(language.config.vectors, language.config.width))

    @classmethod
    def of_config(cls, config: AudioLdm2Config) -> "AudioLdm2Network":
        """A network with weights from torch's generator.

        Raises:
            ImportError: diffusers is not installed.
        """
        return cls(LanguageOfAudio(config.language), _unet(config.unet), text_stream=config.text_stream)

    @property
    def blocks(self) -> nn.ModuleList:
        """The parts that are compiled, recomputed and spread one by one."""
        return nn.ModuleList([*self.unet.down_blocks, self.unet.mid_block, *self.unet.up_blocks])

    def noise(self, z_BFD: Tensor, level_B: Tensor, loa_BLW: Tensor, text: Stream | None) -> Tensor:
        """What the UNet finds in noisy latents: their noise, or where it was trained for them, velocities.

        Args:
            z_BFD: Noisy latents, of unit variance; D channel by channel.
            level_B: int64, how noisy, from 0.
            loa_BLW: What the sound is, in the language of audio.
            text: The stream that is read beside it.

        Returns:
            (B, F, D).

        Raises:
            ValueError: D is no multiple of the network's channels.
        """
        channels = int(self.unet.config.in_channels)
        if z_BFD.shape[2] % channels:
            raise ValueError(f"latents have {z_BFD.shape[2]} channels, no multiple of the network's {channels}")
        z_BZFV = z_BFD.reshape(*z_BFD.shape[:2], channels, -1).transpose(1, 2)
        beside = {}
        if text is not None:
            beside = {"encoder_hidden_states_1": text.tokens_BTC, "encoder_attention_mask_1": text.shown_BT}
        (noise_BZFV,) = self.unet(
            z_BZFV.contiguous(), level_B, encoder_hidden_states=loa_BLW, **beside, return_dict=False
        )
        return noise_BZFV.transpose(1, 2).flatten(2)  # type: ignore[no-any-return]

    @torch.no_grad()
    def fit_scale(self, latents: list[Tensor]) -> None:
        """Measures the scale of latents. Source: the published code divides by their standard deviation, too."""
        values = torch.cat([one.flatten().double() for one in latents])
        self.latent_scale.fill_(1 / max(float(values.std(correction=0)), 1e-8))

    @torch.no_grad()
    def fit_mean_loa(self, heard: list[Tensor]) -> None:
        """Measures the mean of LOAs (B, L, W)."""
        self.mean_loa_LW.copy_(torch.cat([one.double() for one in heard]).mean(0))


def _unet(config: UNetConfig) -> Any:
    """diffusers' UNet. Each attention has one for itself, then one for each stream.

    Source: the published configuration: no attention at full length, 32 channels a head, first one for itself. In
    diffusers' list of widths None attends to itself; of the others the first reads the LOA, the second the text.
    """
    try:
        from diffusers import AudioLDM2UNet2DConditionModel
    except ImportError as error:
        raise ImportError("AudioLDM 2 needs diffusers: pip install 'diffusers>=0.38'") from error
    text = [] if config.text_width is None else [config.text_width]
    widths = [None, config.loa_width, *text, *([None] if config.more_attention else [])]
    levels, plain = len(config.channels), config.plain_levels
    return AudioLDM2UNet2DConditionModel(
        sample_size=config.latent_frames,
        in_channels=config.latent_channels,
        out_channels=config.latent_channels,
        block_out_channels=config.channels,
        down_block_types=(*["DownBlock2D"] * plain, *["CrossAttnDownBlock2D"] * (levels - plain)),
        up_block_types=(*["CrossAttnUpBlock2D"] * (levels - plain), *["UpBlock2D"] * plain),
        layers_per_block=config.layers,
        transformer_layers_per_block=config.depth,
        cross_attention_dim=[widths] * levels,
        # diffusers calls the number of heads so.
        attention_head_dim=[channels // config.head_channels for channels in config.channels],
        norm_num_groups=config.norm_groups,
    )
