"""From conditions to frozen features: what words, pictures and sounds are before anything trained reads them.

`ConditionEncoders` makes `Features`, once a sample; the trained half (`adapters.py`) makes tokens of those.

Legend: B batch, L text tokens, N pictures, P features of a picture, V their width, T width of the text features,
F latent frames of a prompt, D latent channels, H and W height and width in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

Modality = Literal["text", "video", "audio"]
MODALITIES: tuple[Modality, ...] = ("text", "video", "audio")
"""What a sample can be conditioned on; a picture is a video that stands still, music a prompt of sound."""


class TextEncoder(Protocol):
    """What is asked of a text encoder: CLAP's and T5's both offer it."""

    @property
    def text_width(self) -> int:
        """Channels of its hidden states."""

    def text_tokens(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Hidden states (B, L, T), and a mask (B, L), True or 1 where a token is real."""


class FrameEncoder(Protocol):
    """What is asked of a frame encoder: `FramePatches` and `ClipFrames` both offer it."""

    @property
    def pictures(self) -> int:
        """Pictures of a clip that it looks at; of fewer, features are repeated."""

    @property
    def frame_width(self) -> int:
        """Channels of its features."""

    @property
    def frame_patches(self) -> int:
        """Features per picture."""

    def frame_features(self, frames_BNHW3: Tensor) -> Tensor:
        """uint8 pictures to features (B, N, P, V)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioPrompt:
    """Sounds as conditions, one a sample.

    Attributes:
        latents_BFD: Scaled as the network's own latents are.
        has_B: bool, which samples have one.
        before_B: bool, True where it is what sounded before, False where it is the sound itself, with parts hidden.
        shown_BF: bool, False where a part is hidden; None: everything is shown.
    """

    latents_BFD: Tensor
    has_B: Tensor
    before_B: Tensor
    shown_BF: Tensor | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """Conditions as frozen features, and which of them each sample has.

    Attributes:
        text_BLT: Hidden states of the text.
        text_mask_BL: bool, True where a token is real.
        text_lengths: Real tokens of each text.
        has_text_B: bool.
        frames_BNPV: Features of the pictures, evenly spaced over the clip, or None where no sample has any.
        has_frames_B: bool.
        audio: Prompts of sound, or None where no sample has one.
        text_shown_BL: bool, False where a token is hidden; None: everything is shown.
        frames_shown_BNP: bool, likewise.
    """

    text_BLT: Tensor
    text_mask_BL: Tensor
    text_lengths: tuple[int, ...]
    has_text_B: Tensor
    frames_BNPV: Tensor | None
    has_frames_B: Tensor
    audio: AudioPrompt | None = None
    text_shown_BL: Tensor | None = None
    frames_shown_BNP: Tensor | None = None

    def keeping(self, text_B: Tensor, frames_B: Tensor, audio_B: Tensor | None = None) -> "Features":
        """These features with the modalities of some samples taken away (where False)."""
        audio = self.audio
        if audio is not None and audio_B is not None:
            audio = replace(audio, has_B=audio.has_B & audio_B)
        return replace(
            self, has_text_B=self.has_text_B & text_B, has_frames_B=self.has_frames_B & frames_B, audio=audio
        )

    def without(self, *modalities: Modality) -> "Features":
        """These features with whole modalities taken away from every sample."""
        taken_B = torch.zeros_like(self.has_text_B)
        keeps = [taken_B if name in modalities else ~taken_B for name in MODALITIES]
        return self.keeping(*keeps)

    def emptied(self) -> "Features":
        """These features with every modality taken away: the condition that guidance leads away from."""
        return self.without(*MODALITIES)


class ConditionEncoders:
    """The frozen half: words and pictures to features, on one device, without gradients."""

    MOST_TEXTS = 65_536
    """Texts remembered, each a few kB to about 100 kB. Ours: enough for a small set; larger ones store their tokens."""

    def __init__(self, text: TextEncoder, frames: FrameEncoder, device: torch.device | str = "cpu") -> None:
        self.text = text
        self.frames = frames
        self.device = torch.device(device)
        self._remembered: dict[str, Tensor] = {}

    @torch.no_grad()
    def features(
        self,
        texts: Sequence[str],
        frames_BNHW3: Tensor | None,
        has_frames_B: Tensor | None,
        *,
        tokens: tuple[Tensor, Sequence[int]] | None = None,
        seen_BNPV: Tensor | None = None,
    ) -> Features:
        """Features of a batch.

        Args:
            texts: One a sample; an empty string is an absent text.
            frames_BNHW3: uint8 pictures, or None where no sample has any.
            has_frames_B: bool, which samples have pictures; None with pictures means all of them.
            tokens: Hidden states of the texts, (B, L, T), that were made before, and how many of each are real; None:
                they are made now.
            seen_BNPV: Features of the pictures that were made before, in place of pictures.

        Raises:
            ValueError: if texts and pictures differ in number, or such features are not the frame encoder's.
        """
        pictures = frames_BNHW3 if seen_BNPV is None else seen_BNPV
        if pictures is not None and len(pictures) != len(texts):
            raise ValueError(f"{len(texts)} texts and pictures of {len(pictures)} samples: give one text a sample")
        if tokens is None:
            rows = [self._tokens_of(text) for text in texts]
        else:
            rows = [made_LT[:length].to(self.device, torch.float32) for made_LT, length in zip(*tokens, strict=True)]
        text_BLT = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths_B = torch.tensor([len(row) for row in rows], device=self.device)
        has_text_B = torch.tensor([bool(text.strip()) for text in texts], device=self.device)
        features_BNPV = None
        if pictures is None:
            has_frames_B = torch.zeros_like(has_text_B)
        else:
            features_BNPV = repeated(self._seen(pictures, seen_BNPV is not None), self.frames.pictures)
            has_frames_B = torch.ones_like(has_text_B) if has_frames_B is None else has_frames_B.to(self.device)
        return Features(
            text_BLT=text_BLT,
            text_mask_BL=torch.arange(text_BLT.shape[1], device=self.device) < lengths_B[:, None],
            text_lengths=tuple(len(row) for row in rows),
            has_text_B=has_text_B,
            frames_BNPV=features_BNPV,
            has_frames_B=has_frames_B,
        )

    def _seen(self, pictures: Tensor, are_features: bool) -> Tensor:
        """Features (B, N, P, V) float32 of as many pictures as the encoder looks at; they may have been made before."""
        if not are_features:
            return self.frames.frame_features(pictures.to(self.device))
        wanted = (self.frames.frame_patches, self.frames.frame_width)
        if pictures.shape[2:] != wanted:
            raise ValueError(f"features of pictures of shape {tuple(pictures.shape[2:])}: the encoder makes {wanted}")
        return evenly_spaced(pictures, self.frames.pictures).to(self.device, torch.float32)

    def _tokens_of(self, text: str) -> Tensor:
        """Hidden states of one text without padding, (L, T).

        Texts are encoded one by one: beside others a text would come out with other last bits, and a run that is
        resumed with nothing remembered would then differ from one that was never stopped.
        """
        if not text.strip():
            # Masked in any case, and some encoders cannot read nothing.
            return torch.zeros(1, self.text.text_width, device=self.device)
        found = self._remembered.get(text)
        if found is None:
            hidden_BLT, mask_BL = self.text.text_tokens([text])
            found = hidden_BLT[0][mask_BL[0].bool()].to(self.device, torch.float32)
            if len(self._remembered) < self.MOST_TEXTS:
                self._remembered[text] = found
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class FramePatches:
    """Pictures cut into square patches of their pixels: no weights, for recipes that learn to see from nothing.

    Attributes:
        pictures: Pictures kept of a clip, evenly spaced; fewer stay as they are.
        side_px: Every picture is resized to this square.
        patch_px: Side of a patch; divides `side_px`.
    """

    pictures: int = 8
    side_px: int = 32
    patch_px: int = 16

    def __post_init__(self) -> None:
        if self.pictures < 1 or self.patch_px < 1:
            raise ValueError(f"pictures {self.pictures} and patch_px {self.patch_px} must be at least 1")
        if self.side_px < 1 or self.side_px % self.patch_px:
            raise ValueError(f"side_px {self.side_px} is not a whole number of patches of {self.patch_px} px")

    @property
    def frame_width(self) -> int:
        """Values in a patch."""
        return 3 * self.patch_px**2

    @property
    def frame_patches(self) -> int:
        """Patches of a picture."""
        return (self.side_px // self.patch_px) ** 2

    def frame_features(self, frames_BNHW3: Tensor) -> Tensor:
        """uint8 pictures to float32 patches (B, N, P, V) with values from -1 to 1."""
        chosen = evenly_spaced(frames_BNHW3, self.pictures)
        count = chosen.shape[1]
        pixels = chosen.flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1
        pixels = functional.interpolate(pixels, size=(self.side_px, self.side_px), mode="area")
        patches = functional.unfold(pixels, self.patch_px, stride=self.patch_px)
        return patches.transpose(1, 2).reshape(-1, count, self.frame_patches, self.frame_width)


def evenly_spaced(pictures_BN: Tensor, count: int) -> Tensor:
    """At most `count` of the pictures, (B, N, ...), from the first to the last."""
    given = pictures_BN.shape[1]
    if given <= count:
        return pictures_BN
    picked = torch.linspace(0, given - 1, count).round().long()
    return pictures_BN[:, picked.to(pictures_BN.device)]


def repeated(pictures_BN: Tensor, count: int) -> Tensor:
    """At least `count` pictures, (B, N, ...): fewer are repeated evenly, as a picture is a still video."""
    given = pictures_BN.shape[1]
    if given >= count:
        return pictures_BN
    return pictures_BN[:, (torch.arange(count, device=pictures_BN.device) * given).div(count, rounding_mode="floor")]
