"""The AudioX network: a diffusion transformer over latents that reads condition tokens by cross-attention.

Source: AudioX, arXiv 2503.10522, and its code's shapes; the block follows Peebles and Xie 2022, arXiv 2212.09748.
It knows no files, no run, no codec and no frozen encoder: condition features come in (`conditioning.py`).

Legend: B batch, F latent frames, D latent channels, N positions (one for each `frames_per_token` frames,
and one more where time is a token), W width, H heads, E channels of a head, L context tokens, C context width,
P a block's six modulations, G width of a global condition, S width of a teacher's vectors.
"""

from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.audiox.adapters import Adapters, Conditioner, clock_features
from models.audiox.attention import CrossAttention, GatedMlp, QkNorm, Rotation, SelfAttention, rotary_angles, zeroed
from models.audiox.conditioning import Features
from models.audiox.published_conditioner import PublishedConditioner
from models.audiox.temporal import TemporalReader
from models.audiox.time_conditions import TimeAsModulation, TimeAsToken, Timed, TimeEmbedding
from models.diffusion.guidance import Context
from models.diffusion.latent_scale import LatentScale


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioXConfig:
    """Sizes of the network. The defaults of `mlp_ratio` and `time_features` are those of the published code.

    Attributes:
        latent_channels: D, of the codec.
        text_width: Channels of the text encoder's hidden states.
        frame_width: Channels of the frame encoder's features.
        frame_patches: Features per picture.
        width: W, divisible by `heads`, with an even head.
        depth: Blocks.
        heads: H.
        context_width: C, the width of condition tokens.
        adapters: What becomes of the conditions before the blocks read them.
        mlp_ratio: Inner width of the MLP over W.
        time_conditioning: "adaln" (scales, shifts and gates of every block) or "token" (prepended, as published).
        time_features: Fourier features of the time, even.
        frames_per_token: Neighbouring latent frames that make one position: 1 as published, more is cheaper.
        gains: Whether the network also reads magnitudes, and also predicts a gain for each value of its input, as masks
            do in speech enhancement (Wang and Chen 2018, arXiv 1708.07524). Ours, for codecs whose signs say little:
            on MDCT latents the loss at time 0.5 fell from 1.14 to 0.82 after 4,800 clips. Published: no.
        qk_norm: Of queries and keys: "rms", "l2", or "none" as published.
        context_heads: Heads of keys and values in cross-attention, dividing `heads`; None: as many. Published: C / E.
        turned_channels: Channels of a head that rotary positions turn, even; None: all. Published: max(E / 2, 32).
        published_ends: Whether what surrounds the blocks is as published: a small MLP on the condition tokens, no clock
            beside the frames, no norm before the last projection. Needs `time_conditioning` "token".
        global_width: G, of a condition of the whole sample that is added to the time; None: there is none.
        teacher_width: S, of a frozen encoder whose vectors the middle of the network is pulled to; None: there is none.
    """

    latent_channels: int
    text_width: int
    frame_width: int
    frame_patches: int
    width: int
    depth: int
    heads: int
    context_width: int
    adapters: Adapters = field(default_factory=Adapters)
    mlp_ratio: float = 4.0
    time_conditioning: Literal["adaln", "token"] = "adaln"
    time_features: int = 256
    frames_per_token: int = 1
    gains: bool = False
    qk_norm: QkNorm = "rms"
    context_heads: int | None = None
    turned_channels: int | None = None
    published_ends: bool = False
    global_width: int | None = None
    teacher_width: int | None = None

    def __post_init__(self) -> None:
        counts = ("latent_channels", "text_width", "frame_width", "frame_patches", "depth", "heads", "frames_per_token")
        for name in (*counts, "context_heads", "global_width", "teacher_width"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} is {value}: it must be at least 1")
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} over {self.heads} heads is not a whole, even number of channels")
        for name in ("context_width", "time_features", "turned_channels"):
            if (value := getattr(self, name)) is not None and (value < 2 or value % 2):
                raise ValueError(f"{name} is {value}: it must be even, and at least 2")
        for name, kinds in (("time_conditioning", ("adaln", "token")), ("qk_norm", ("rms", "l2", "none"))):
            if getattr(self, name) not in kinds:
                raise ValueError(f"{name} is {getattr(self, name)!r}: choose one of {', '.join(kinds)}")
        if self.mlp_ratio <= 0:
            raise ValueError(f"mlp_ratio is {self.mlp_ratio}: it must be above 0")
        if self.turned_channels is not None and self.turned_channels > self.head_width:
            raise ValueError(f"turned_channels is {self.turned_channels}: a head has {self.head_width}")
        if self.context_heads is not None and self.heads % self.context_heads:
            raise ValueError(f"context_heads is {self.context_heads}: it must divide {self.heads} heads")
        if self.published_ends and (self.time_conditioning != "token" or self.gains):
            raise ValueError("published_ends goes with time_conditioning 'token' and without gains")

    @property
    def mlp_width(self) -> int:
        """Inner width of the MLP."""
        return int(self.width * self.mlp_ratio)

    @property
    def head_width(self) -> int:
        """E."""
        return self.width // self.heads


class Prediction(NamedTuple):
    """What the network says of a batch.

    Attributes:
        v_BFD: The prediction.
        student_BS: For each sample a vector in the space of a teacher; None where there is none.
    """

    v_BFD: Tensor
    student_BS: Tensor | None


class AudioXNetwork(nn.Module):
    """All that is trained: adapters of the conditions, the transformer, and the scale of its latents."""

    def __init__(self, config: AudioXConfig) -> None:
        super().__init__()
        self.config = config
        self.scale = LatentScale(config.latent_channels)
        self.conditioner: Conditioner | PublishedConditioner = (
            _published_conditioner(config) if config.adapters.published else _conditioner(config)
        )
        self.transformer = AudioXTransformer(config)
        self.student = None if config.teacher_width is None else nn.Linear(config.width, config.teacher_width)

    def forward(self, x_BFD: Tensor, t_B: Tensor, features: Features) -> Prediction:
        """Predicts from features of the conditions; sampling makes the context once and calls `transformer`."""
        context: Context = self.conditioner(features)
        v_BFD, middle_BNW = self.transformer.predicted(x_BFD, t_B, context)
        student_BS = None if self.student is None else self.student(middle_BNW.mean(1))
        return Prediction(v_BFD, student_BS)


class AudioXTransformer(nn.Module):
    """The diffusion transformer."""

    def __init__(self, config: AudioXConfig) -> None:
        super().__init__()
        width = config.width
        self.turned = config.turned_channels or config.head_width
        self.time = TimeEmbedding(config.time_features, width)
        self.time_condition: TimeAsModulation | TimeAsToken = (
            TimeAsModulation(width, config.context_width, config.latent_channels)
            if config.time_conditioning == "adaln"
            else TimeAsToken()
        )
        self.frames_per_token = config.frames_per_token
        self.gains = config.gains
        ways = 2 if config.gains else 1
        self.enter = nn.Linear(ways * config.frames_per_token * config.latent_channels, width)
        self.clock = None if config.published_ends else zeroed(nn.Linear(config.context_width, width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.Identity() if config.published_ends else nn.LayerNorm(width)
        self.leave = zeroed(nn.Linear(width, ways * config.frames_per_token * config.latent_channels))
        self.context = _two_layers(config.context_width, config.context_width) if config.published_ends else None
        self.whole = None if config.global_width is None else _two_layers(config.global_width, width)

    def forward(
        self,
        x_BFD: Tensor,
        t_B: Tensor,
        context_BLC: Tensor,
        context_mask_BL: Tensor | None = None,
        global_BG: Tensor | None = None,
    ) -> Tensor:
        """Predicts v_BFD.

        Args:
            x_BFD: Latents mixed with noise.
            t_B: Times from 0 (data) to 1 (noise).
            context_BLC: Condition tokens.
            context_mask_BL: bool, True where a token is real; at least one in each row. None: all are.
            global_BG: A condition of the whole sample; only with `global_width`.
        """
        context = Context(tokens_BLC=context_BLC, mask_BL=context_mask_BL)
        return self.predicted(x_BFD, t_B, context, global_BG)[0]

    def predicted(
        self, x_BFD: Tensor, t_B: Tensor, context: Context, global_BG: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """v_BFD as `forward` returns it, and the stream after half of the blocks, (B, N, W)."""
        frames, together = x_BFD.shape[1], self.frames_per_token
        filled_BFD = functional.pad(x_BFD, (0, 0, 0, -frames % together)) if frames % together else x_BFD
        given_BFD = torch.cat([filled_BFD, filled_BFD.abs()], dim=2) if self.gains else filled_BFD
        h_BNW = self.enter(given_BFD.reshape(len(x_BFD), -1, together * given_BFD.shape[2]))
        positions = h_BNW.shape[1]
        if self.clock is not None:
            # As beside the pictures: rotary positions alone say how far apart two frames are, not when they are.
            h_BNW = h_BNW + self.clock(clock_features(positions, self.clock.in_features, x_BFD.device).to(x_BFD.dtype))
        if self.context is not None:
            context = replace(context, tokens_BLC=self.context(context.tokens_BLC))
        time_BW = self.time(t_B)
        if self.whole is not None and global_BG is not None:
            time_BW = time_BW + self.whole(global_BG)
        timed: Timed = self.time_condition(h_BNW, time_BW, context)
        h_BNW = middle_BNW = timed.h_BNW
        rotation = rotary_angles(h_BNW.shape[1], self.turned, device=x_BFD.device)
        for number, block in enumerate(self.blocks, start=1):
            h_BNW = block(h_BNW, timed.added_BPW, context.tokens_BLC, context.mask_BL, rotation)
            middle_BNW = h_BNW if number == len(self.blocks) // 2 else middle_BNW
        v_BFD: Tensor = self.leave(self.norm(h_BNW[:, -positions:])).reshape(given_BFD.shape)[:, :frames]
        return self._with_gains(v_BFD, x_BFD, timed.straight_BD), middle_BNW

    def _with_gains(self, v_BFD: Tensor, x_BFD: Tensor, straight_BD: Tensor | None) -> Tensor:
        gain_BFD = None if straight_BD is None else straight_BD[:, None]
        if self.gains:
            v_BFD, more_BFD = v_BFD.chunk(2, dim=2)
            gain_BFD = more_BFD if gain_BFD is None else gain_BFD + more_BFD
        return v_BFD if gain_BFD is None else torch.addcmul(v_BFD, gain_BFD, x_BFD)


class Block(nn.Module):
    """Self-attention, cross-attention, MLP, each added to the stream.

    The last layer of each branch starts at zero, so that a new block passes its input on; gates then start at one.
    Where time is a token there are no modulations: norms then have weights of their own.
    """

    def __init__(self, config: AudioXConfig) -> None:
        super().__init__()
        width, is_modulated = config.width, config.time_conditioning == "adaln"
        self.modulation_PW = nn.Parameter(torch.zeros(6, width)) if is_modulated else None
        self.self_norm = nn.LayerNorm(width, elementwise_affine=not is_modulated)
        self.self_attention = SelfAttention(width, config.heads, config.qk_norm)
        self.cross_norm = nn.LayerNorm(width)
        self.cross_attention = CrossAttention(
            width, config.heads, config.context_width, context_heads=config.context_heads, qk_norm=config.qk_norm
        )
        self.mlp_norm = nn.LayerNorm(width, elementwise_affine=not is_modulated)
        self.mlp = GatedMlp(width, config.mlp_width)

    def forward(
        self,
        h_BNW: Tensor,
        added_BPW: Tensor | None,
        context_BLC: Tensor,
        context_mask_BL: Tensor | None,
        rotation: Rotation,
    ) -> Tensor:
        """Passes the stream on, with what the three branches add."""
        if self.modulation_PW is None or added_BPW is None:
            h_BNW = h_BNW + self.self_attention(self.self_norm(h_BNW), rotation)
            h_BNW = h_BNW + self.cross_attention(self.cross_norm(h_BNW), context_BLC, context_mask_BL)
            return h_BNW + self.mlp(self.mlp_norm(h_BNW))  # type: ignore[no-any-return]
        modulation = (self.modulation_PW + added_BPW).unsqueeze(2).unbind(1)
        self_shift, self_scale, self_gate, mlp_shift, mlp_scale, mlp_gate = modulation
        h_in = self.self_norm(h_BNW) * (1 + self_scale) + self_shift
        h_BNW = h_BNW + (1 + self_gate) * self.self_attention(h_in, rotation)
        h_BNW = h_BNW + self.cross_attention(self.cross_norm(h_BNW), context_BLC, context_mask_BL)
        h_in = self.mlp_norm(h_BNW) * (1 + mlp_scale) + mlp_shift
        return h_BNW + (1 + mlp_gate) * self.mlp(h_in)  # type: ignore[no-any-return]


def _conditioner(config: AudioXConfig) -> Conditioner:
    return Conditioner(
        config.adapters,
        text_width=config.text_width,
        frame_width=config.frame_width,
        frame_patches=config.frame_patches,
        latent_channels=config.latent_channels,
        context_width=config.context_width,
    )


def _published_conditioner(config: AudioXConfig) -> PublishedConditioner:
    adapters = config.adapters
    if not config.text_width == config.frame_width == config.context_width:
        raise ValueError(
            f"published adapters project neither text nor pictures: text_width {config.text_width}, frame_width "
            f"{config.frame_width} and context_width {config.context_width} must be the same"
        )
    return PublishedConditioner(
        video=TemporalReader(
            width=config.context_width,
            pictures=adapters.video_pictures,
            patches=config.frame_patches,
            tokens=adapters.video_tokens or 1,
            depth=adapters.video_depth,
            heads=adapters.video_heads,
            as_published=True,
        ),
        latent_channels=config.latent_channels,
        context_width=config.context_width,
        text_tokens=adapters.text_tokens,
        audio_tokens=adapters.audio_tokens,
    )


def _two_layers(given: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(given, width, bias=False), nn.SiLU(), nn.Linear(width, width, bias=False))
