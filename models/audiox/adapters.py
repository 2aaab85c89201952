"""From features of conditions to the tokens that the transformer reads: the trained half of conditioning.

An absent modality is a learned "empty" token, as AudioX published it; a part that masked training hides is a learned
"hidden" one. `PublishedConditioner` (`published_conditioner.py`) reads the checkpoints that were published.

Legend: B batch, L tokens, N pictures, P features of a picture, V their width, T width of the text features, F latent
frames of a prompt, D latent channels, C context width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.audiox.conditioning import AudioPrompt, Features
from models.audiox.fusion import Fusion, FusionConfig
from models.audiox.temporal import TemporalReader
from models.diffusion.guidance import Context


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapters:
    """What becomes of the conditions before the blocks read them.

    Attributes:
        audio: Whether prompts of sound are read.
        video_tokens: Tokens of a video, made by a small transformer over time; None: every feature is a token. 128 as
            published.
        video_pictures: Pictures of a video; only with `video_tokens`. 50 as published (5 a second).
        video_depth: Blocks of that transformer. 4 as published.
        video_heads: Its heads, of 64 channels each. 16 as published.
        fusion: How the modalities are mixed before they are read; None: they are not.
        published: Whether absent modalities are whole sequences and nothing is masked, as in published checkpoints.
        text_tokens: Tokens that a text is filled up to; only if `published`.
        audio_tokens: Frames that a prompt of sound has; only if `published`.
    """

    audio: bool = False
    video_tokens: int | None = None
    video_pictures: int = 50
    video_depth: int = 4
    video_heads: int = 16
    fusion: FusionConfig | None = None
    published: bool = False
    text_tokens: int = 128
    audio_tokens: int = 215

    def __post_init__(self) -> None:
        names = ("video_tokens", "video_pictures", "video_depth", "video_heads", "text_tokens", "audio_tokens")
        for name in names:
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} is {value}: it must be at least 1")
        if self.published and (self.video_tokens is None or not self.audio):
            raise ValueError("published adapters read prompts of sound and have a number of video_tokens")


class Conditioner(nn.Module):
    """Features of each modality to tokens of one width, beside each other.

    An adapter of text is a norm and a projection; one of pictures also adds where on the picture and when in the clip,
    one of sounds when, and whether the prompt is what sounded before.
    """

    def __init__(
        self,
        adapters: Adapters,
        *,
        text_width: int,
        frame_width: int,
        frame_patches: int,
        latent_channels: int,
        context_width: int,
    ) -> None:
        super().__init__()
        self.text = nn.Sequential(nn.LayerNorm(text_width), nn.Linear(text_width, context_width))
        self.frames = nn.Sequential(nn.LayerNorm(frame_width), nn.Linear(frame_width, context_width))
        self.frame_place_PC = nn.Parameter(0.02 * torch.randn(frame_patches, context_width))
        self.frame_time = nn.Linear(context_width, context_width)
        self.empty_text_C = nn.Parameter(0.02 * torch.randn(context_width))
        self.empty_frames_C = nn.Parameter(0.02 * torch.randn(context_width))
        self.hidden_text_C = nn.Parameter(torch.zeros(context_width))
        self.hidden_frames_C = nn.Parameter(torch.zeros(context_width))
        self.audio = AudioAdapter(latent_channels, context_width) if adapters.audio else None
        self.temporal: TemporalReader | None = None
        if adapters.video_tokens is not None:
            self.temporal = TemporalReader(
                width=context_width,
                pictures=adapters.video_pictures,
                patches=frame_patches,
                tokens=adapters.video_tokens,
                depth=adapters.video_depth,
                heads=adapters.video_heads,
            )
        self.fusion = None if adapters.fusion is None else Fusion(adapters.fusion, context_width)

    def forward(self, features: Features) -> Context:
        """Tokens of all modalities; those of an absent one are masked, its empty token is not."""
        read = [self._text(features), self._frames(features)]
        if self.audio is not None:
            read.append(self.audio(features.audio, features.has_text_B))
        if self.fusion is not None:
            read = self.fusion(read)
        return Context(
            tokens_BLC=torch.cat([part.tokens_BLC for part in read], dim=1),
            mask_BL=torch.cat([part.mask_BL for part in read if part.mask_BL is not None], dim=1),
        )

    def _text(self, features: Features) -> Context:
        text_BLC = shown(self.text(features.text_BLT), features.text_shown_BL, self.hidden_text_C)
        return beside_empty(self.empty_text_C, features.has_text_B, text_BLC, features.text_mask_BL)

    def _frames(self, features: Features) -> Context:
        if features.frames_BNPV is None:
            return beside_empty(self.empty_frames_C, torch.zeros_like(features.has_text_B), None, None)
        frames_BNPC = shown(self.frames(features.frames_BNPV), features.frames_shown_BNP, self.hidden_frames_C)
        frames_BNPC = frames_BNPC + self.frame_place_PC
        frames_BNPC = frames_BNPC + self._time_of(frames_BNPC)[:, None]
        frames_BLC = frames_BNPC.flatten(1, 2) if self.temporal is None else self.temporal(frames_BNPC)
        return beside_empty(self.empty_frames_C, features.has_frames_B, frames_BLC, None)

    def _time_of(self, frames_BNPC: Tensor) -> Tensor:
        """An embedding of each picture's place in the clip, (N, C), from sines of it."""
        features_NC = clock_features(frames_BNPC.shape[1], frames_BNPC.shape[-1], frames_BNPC.device)
        return self.frame_time(features_NC)  # type: ignore[no-any-return]


class AudioAdapter(nn.Module):
    """Latents of a prompt of sound to tokens: a projection, when in the prompt, and of which kind the prompt is.

    Source of the projection: AudioX's code; the rest is ours.
    """

    def __init__(self, latent_channels: int, context_width: int) -> None:
        super().__init__()
        self.enter = nn.Linear(latent_channels, context_width)
        self.time = nn.Linear(context_width, context_width)
        self.before_C = nn.Parameter(0.02 * torch.randn(context_width))
        self.empty_C = nn.Parameter(0.02 * torch.randn(context_width))
        self.hidden_C = nn.Parameter(torch.zeros(context_width))

    def forward(self, prompt: AudioPrompt | None, like_B: Tensor) -> Context:
        """Tokens of the prompts; `like_B` is one value a sample, for batches in which no sample has a prompt."""
        if prompt is None:
            return beside_empty(self.empty_C, torch.zeros_like(like_B, dtype=torch.bool), None, None)
        tokens_BFC = shown(self.enter(prompt.latents_BFD), prompt.shown_BF, self.hidden_C)
        clock_FC = clock_features(tokens_BFC.shape[1], tokens_BFC.shape[2], tokens_BFC.device)
        tokens_BFC = tokens_BFC + self.time(clock_FC) + prompt.before_B[:, None, None] * self.before_C
        return beside_empty(self.empty_C, prompt.has_B, tokens_BFC, None)


def clock_features(count: int, width: int, device: torch.device) -> Tensor:
    """Where each of `count` evenly spaced things is in its clip, as sines and cosines: (count, width).

    Half a turn to 64 turns over the clip: apart at 50 pictures, smooth between neighbours. Source: ours.
    """
    when_N = (torch.arange(count, device=device) + 0.5) / count
    angles = when_N[:, None] * torch.pi * 128 ** torch.linspace(0, 1, width // 2, device=device)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def shown(tokens: Tensor, is_shown: Tensor | None, hidden_C: Tensor) -> Tensor:
    """Tokens (..., C), with those that are not shown replaced by the hidden one."""
    return tokens if is_shown is None else torch.where(is_shown[..., None], tokens, hidden_C.to(tokens.dtype))


def beside_empty(empty_C: Tensor, has_B: Tensor, tokens_BLC: Tensor | None, mask_BL: Tensor | None) -> Context:
    """The empty token, real where a sample has none of a modality, and its tokens, real where it has.

    Args:
        empty_C: Learned.
        has_B: bool.
        tokens_BLC: None where no sample has any.
        mask_BL: bool, which of the tokens are real; None: all.
    """
    if tokens_BLC is None:
        return Context(tokens_BLC=empty_C.expand(len(has_B), 1, -1), mask_BL=~has_B[:, None])
    empty_B1C = empty_C.to(tokens_BLC.dtype).expand(len(tokens_BLC), 1, -1)
    real_BL = has_B[:, None].expand(-1, tokens_BLC.shape[1]) if mask_BL is None else mask_BL & has_B[:, None]
    return Context(
        tokens_BLC=torch.cat([empty_B1C, tokens_BLC], dim=1), mask_BL=torch.cat([~has_B[:, None], real_BL], dim=1)
    )
