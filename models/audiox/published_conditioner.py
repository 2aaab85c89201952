"""Conditions to tokens as the published AudioX does it, so that its checkpoints work; new networks use `adapters.py`.

Source: AudioX's code. Tokens of video, text and sound stand beside each other, always as many and none masked: a text
is filled up with zeros, an absent video or sound is a learned sequence. A sample without any condition is all zeros,
which is what its guidance leads away from. What differs from it: a sound's hidden parts are zero latents here, there
latents of silence.

Legend: B batch, N pictures, P features of a picture, V their width, F latent frames, D latent channels, L tokens,
C context width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.audiox.conditioning import Features
from models.audiox.temporal import TemporalReader
from models.diffusion.guidance import Context


class PublishedConditioner(nn.Module):
    """Features to 128 + 128 + 215 tokens (at the published sizes)."""

    def __init__(
        self,
        *,
        video: TemporalReader,
        latent_channels: int,
        context_width: int,
        text_tokens: int,
        audio_tokens: int,
    ) -> None:
        super().__init__()
        self.text_tokens = text_tokens
        self.video = video
        self.audio = nn.Linear(latent_channels, context_width)
        self.empty_video_LC = nn.Parameter(torch.zeros(video.mix.out_features, context_width))
        self.empty_audio_FC = nn.Parameter(torch.zeros(audio_tokens, context_width))

    def forward(self, features: Features) -> Context:
        """Tokens of all modalities, without a mask."""
        has_audio_B = torch.zeros_like(features.has_text_B) if features.audio is None else features.audio.has_B
        any_B = features.has_text_B | features.has_frames_B | has_audio_B
        tokens_BLC = torch.cat([self._video(features), self._text(features), self._audio(features)], dim=1)
        return Context(tokens_BLC=tokens_BLC * any_B[:, None, None].to(tokens_BLC.dtype), mask_BL=None)

    def _video(self, features: Features) -> Tensor:
        empty_BLC = self.empty_video_LC.expand(len(features.has_text_B), -1, -1)
        if features.frames_BNPV is None:
            return empty_BLC
        frames_BNPV = features.frames_BNPV
        if features.frames_shown_BNP is not None:
            frames_BNPV = frames_BNPV * features.frames_shown_BNP[..., None]
        return torch.where(features.has_frames_B[:, None, None], self.video(frames_BNPV), empty_BLC)

    def _text(self, features: Features) -> Tensor:
        real_BL = features.text_mask_BL & features.has_text_B[:, None]
        if features.text_shown_BL is not None:
            real_BL = real_BL & features.text_shown_BL
        return _filled(features.text_BLT * real_BL[..., None], self.text_tokens)

    def _audio(self, features: Features) -> Tensor:
        empty_BFC = self.empty_audio_FC.expand(len(features.has_text_B), -1, -1)
        if features.audio is None:
            return empty_BFC
        latents_BFD = features.audio.latents_BFD
        if features.audio.shown_BF is not None:
            latents_BFD = latents_BFD * features.audio.shown_BF[..., None]
        read_BFC = self.audio(_filled(latents_BFD, len(self.empty_audio_FC)))
        return torch.where(features.audio.has_B[:, None, None], read_BFC, empty_BFC)


def _filled(tokens_BLC: Tensor, count: int) -> Tensor:
    """So many tokens: cut, or with zeros behind."""
    return functional.pad(tokens_BLC[:, :count], (0, 0, 0, max(0, count - tokens_BLC.shape[1])))
