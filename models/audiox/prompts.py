"""Prompts as one gives them, checked and brought together: texts, videos, pictures and sounds of a batch.

Legend: B sounds, C channels, T samples, F latent frames, D latent channels, N pictures, H and W their pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from models.audiox.conditioning import AudioPrompt, ConditionEncoders, Features, evenly_spaced, repeated
from models.audiox.sampling import Known
from models.codecs.codec import Codec
from models.diffusion.latent_scale import LatentScale

Array = Tensor | np.ndarray
Gap = tuple[float, float]

_FADE_S = 0.01
"""How long what is kept fades into what is made, s. Ours: no click, and hardly any of what is kept."""


class MorePrompts(TypedDict, total=False):
    """Prompts beside the text; each may be left out, or be None.

    Attributes:
        video: uint8 pictures evenly spaced over the sound's length, (B, N, H, W, 3), or a list of B, each (N, H, W, 3)
            or None where a sound has none.
        image: uint8, (B, H, W, 3), or such a list: a video that stands still.
        audio: float32 sounds at the codec's rate, (B, C, T), or such a list: what is to be heard, aligned in time.
        music: likewise: what sounded before; what is made goes on from there.
        gaps: Spans of `audio` in s that are to be made, the same for all sounds; all else of it is kept as it is, but
            for the codec's frames that a gap touches and 10 ms beside them.
    """

    video: Array | Sequence[Array | None] | None
    image: Array | Sequence[Array | None] | None
    audio: Array | Sequence[Array | None] | None
    music: Array | Sequence[Array | None] | None
    gaps: Sequence[Gap] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptLatents:
    """What a codec makes of prompts of sound.

    Attributes:
        prompt: As the network reads them; None where no sound has one.
        known: What is not to be made; None where everything is.
        wave_BCT: The sounds themselves, as long as what is made; None where no sound has one.
    """

    prompt: AudioPrompt | None = None
    known: Known | None = None
    wave_BCT: Tensor | None = None

    def put_back(self, made_BCT: Tensor, codec: Codec) -> Tensor:
        """What was made, with the sounds themselves over their known frames: a codec's copy of them is not the same.

        Inside its known frames a sound fades linearly over 10 ms into the codec's copy of it.
        """
        if self.known is None or self.wave_BCT is None:
            return made_BCT
        fade = max(1, round(_FADE_S * codec.sample_rate_hz))
        is_known_BT = self.known.is_known_BF.repeat_interleave(codec.hop_samples, dim=1)
        share_BT = torch.minimum(_since_unknown(is_known_BT), _since_unknown(is_known_BT.flip(1)).flip(1)) / fade
        return torch.lerp(made_BCT, self.wave_BCT.to(made_BCT), share_BT.clamp(max=1)[:, None].to(made_BCT))


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompts:
    """The prompts of some sounds.

    Attributes:
        texts: One a sound, empty where absent.
        videos: uint8 (N, H, W, 3), or None where absent.
        sounds: float32 (C, T), or None.
        are_before: Whether a sound is what sounded before.
        gaps: Spans in s of the sounds that are to be made; empty: the sounds are prompts and nothing is kept.
    """

    texts: list[str]
    videos: list[Tensor | None]
    sounds: list[Tensor | None]
    are_before: list[bool]
    gaps: tuple[Gap, ...] = ()

    @classmethod
    def of(cls, text: Sequence[str] | None, more: MorePrompts, *, channels: int) -> "Prompts":
        """Brings prompts together.

        Args:
            text: B prompts.
            more: All others.
            channels: C, of the codec; sounds of one channel are doubled, of several averaged.

        Raises:
            ValueError: if there is no prompt, kinds differ in number, or one is of a wrong shape.
        """
        if isinstance(text, str):
            raise ValueError(f"text is one string, {text!r}: give a list of prompts")
        videos, images = _listed(more.get("video")), _listed(more.get("image"))
        sounds, earlier = _listed(more.get("audio")), _listed(more.get("music"))
        texts = None if text is None else list(text)
        counts = {len(one) for one in (texts, videos, images, sounds, earlier) if one is not None}
        if not counts - {0}:
            raise ValueError("there is no prompt: give text, video, image, audio or music")
        if len(counts) > 1:
            raise ValueError(
                f"prompts of {' and '.join(map(str, sorted(counts)))} sounds: give each kind for all of them"
            )
        count = counts.pop()
        stills = [None if one is None else _picture(one)[None] for one in images or [None] * count]
        moving = [None if one is None else _video(one) for one in videos or [None] * count]
        heard = [None if one is None else _wave(one, channels) for one in sounds or [None] * count]
        before = [None if one is None else _wave(one, channels) for one in earlier or [None] * count]
        gaps = tuple(more.get("gaps") or ())
        _require_gaps(gaps, heard)
        return cls(
            texts=texts if texts is not None else [""] * count,
            videos=_either(moving, stills, "video", "image"),
            sounds=_either(heard, before, "audio", "music"),
            are_before=[one is not None for one in before],
            gaps=gaps,
        )

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def has_sound(self) -> bool:
        """Whether any prompt is a sound."""
        return any(sound is not None for sound in self.sounds)

    def part(self, which: slice) -> "Prompts":
        """Some of the prompts."""
        return replace(
            self,
            texts=self.texts[which],
            videos=self.videos[which],
            sounds=self.sounds[which],
            are_before=self.are_before[which],
        )

    def features(self, encoders: ConditionEncoders, latents: PromptLatents, *, reads_sound: bool) -> Features:
        """Features of all prompts."""
        has = torch.tensor([video is not None for video in self.videos])
        videos = _stacked(self.videos, encoders.frames.pictures)
        features = encoders.features(self.texts, videos, None if videos is None else has)
        return replace(features, audio=latents.prompt) if reads_sound else features

    def latents(self, codec: Codec, scale: LatentScale, frames: int, *, device: torch.device) -> PromptLatents:
        """Latents of the sounds: the first `frames` of what is to be heard, the last of what sounded before.

        Shorter ones are filled with silence, behind and before.
        """
        if not self.has_sound:
            return PromptLatents()
        samples = frames * codec.hop_samples
        silence = torch.zeros(codec.channels, samples)
        waves = [silence if sound is None else sound for sound in self.sounds]
        fitted = [_fitted(w, samples, is_end=b) for w, b in zip(waves, self.are_before, strict=True)]
        wave_BCT = torch.stack(fitted).to(device)
        x_BFD = scale.scaled(codec.encode(wave_BCT).to(device))
        has_B = torch.tensor([sound is not None for sound in self.sounds], device=device)
        before_B = torch.tensor(self.are_before, device=device)
        reached = [0 if sound is None else sound.shape[-1] // codec.hop_samples for sound in self.sounds]
        frame_F = torch.arange(frames, device=device)
        shown_BF = frame_F < torch.tensor(reached, device=device)[:, None]
        for begin_s, end_s in self.gaps:
            rate_hz = codec.latent_rate_hz
            shown_BF = shown_BF & ((frame_F + 1 <= begin_s * rate_hz) | (frame_F >= end_s * rate_hz))
        if not self.gaps:
            shown_BF = torch.ones_like(shown_BF)
        prompt = AudioPrompt(latents_BFD=x_BFD, has_B=has_B, before_B=before_B, shown_BF=shown_BF)
        known = Known(latents_BFD=x_BFD, is_known_BF=shown_BF & (has_B & ~before_B)[:, None]) if self.gaps else None
        return PromptLatents(prompt=prompt, known=known, wave_BCT=wave_BCT)


def _since_unknown(is_known_BT: Tensor) -> Tensor:
    """Samples since the last one that is not known: 0 there, 1 behind it; as if none were where there was none yet."""
    place_T = torch.arange(is_known_BT.shape[1], device=is_known_BT.device)
    last_BT = torch.where(is_known_BT, -len(place_T), place_T).cummax(1).values
    return place_T - last_BT


def _listed(given: Array | Sequence[Array | None] | None) -> list[Array | None] | None:
    return None if given is None else list(given)


def _video(given: Array) -> Tensor:
    pictures = torch.as_tensor(given)
    if pictures.ndim != 4 or pictures.shape[-1] != 3 or pictures.dtype != torch.uint8 or not len(pictures):
        raise ValueError(f"a video is {pictures.dtype} {tuple(pictures.shape)}: give uint8 (N, H, W, 3)")
    return pictures


def _picture(given: Array) -> Tensor:
    picture = torch.as_tensor(given)
    if picture.ndim != 3 or picture.shape[-1] != 3 or picture.dtype != torch.uint8:
        raise ValueError(f"a picture is {picture.dtype} {tuple(picture.shape)}: give uint8 (H, W, 3)")
    return picture


def _wave(given: Array, channels: int) -> Tensor:
    wave = torch.as_tensor(given)
    if wave.ndim != 2 or not wave.is_floating_point() or not wave.numel():
        raise ValueError(f"a sound is {wave.dtype} {tuple(wave.shape)}: give float32 (C, T) at the codec's rate")
    wave = wave.float()
    if not bool(wave.isfinite().all()):
        raise ValueError("a sound has samples that are not finite: give one without NaN and infinity")
    return wave if len(wave) == channels else wave.mean(0, keepdim=True).expand(channels, -1)


def _either(first: list[Tensor | None], second: list[Tensor | None], *names: str) -> list[Tensor | None]:
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        if one is not None and other is not None:
            raise ValueError(f"sound {number} has both {names[0]} and {names[1]}: give one of them")
    return [one if one is not None else other for one, other in zip(first, second, strict=True)]


def _require_gaps(gaps: tuple[Gap, ...], heard: Sequence[Tensor | None]) -> None:
    if gaps and any(sound is None for sound in heard):
        raise ValueError("gaps are of audio: give audio for every sound")
    for begin_s, end_s in gaps:
        if not 0 <= begin_s < end_s:
            raise ValueError(f"a gap goes from {begin_s} to {end_s} s: it begins at 0 or later and ends after that")


def _stacked(videos: Sequence[Tensor | None], pictures: int) -> Tensor | None:
    """Videos side by side, each brought to as many pictures by itself, so that none depends on the others."""
    given = [video for video in videos if video is not None]
    if not given:
        return None
    sides = {tuple(video.shape[1:3]) for video in given}
    if len(sides) > 1:
        raise ValueError(f"pictures of {' and '.join(map(str, sorted(sides)))} px: bring them to one size")
    blank = torch.zeros_like(given[0][:1])
    shown = [blank if video is None else video for video in videos]
    return torch.cat([repeated(evenly_spaced(video[None], pictures), pictures) for video in shown])


def _fitted(wave_CT: Tensor, samples: int, *, is_end: bool) -> Tensor:
    """So many samples: the last ones with silence before, or the first ones with silence behind."""
    missing = max(0, samples - wave_CT.shape[-1])
    if is_end:
        return torch.nn.functional.pad(wave_CT[:, -samples:], (missing, 0))
    return torch.nn.functional.pad(wave_CT[:, :samples], (0, missing))
