"""From conditions to tokens: what is frozen makes features of words and pictures, what is trained tokens of those.

`ConditionEncoders` is frozen and outside the network; its `Features` can be made once a sample. `Conditioner` is inside
the network and trained. An absent modality is one learned "empty" token, as AudioX published it.

Legend: B batch, L text tokens (or, after the conditioner, all tokens), N pictures, P features of a picture, V their
width, T width of the text features, C context width, H and W height and width in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.diffusion.guidance import Context


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
    def frame_width(self) -> int:
        """Channels of its features."""

    @property
    def frame_patches(self) -> int:
        """Features per picture."""

    def frame_features(self, frames_BNHW3: Tensor) -> Tensor:
        """uint8 pictures to features (B, N, P, V)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """Conditions as frozen features, and which of them each sample has.

    Attributes:
        text_BLT: Hidden states of the text.
        text_mask_BL: bool, True where a token is real.
        has_text_B: bool.
        frames_BNPV: Features of the pictures, evenly spaced over the clip, or None where no sample has any.
        has_frames_B: bool.
    """

    text_BLT: Tensor
    text_mask_BL: Tensor
    has_text_B: Tensor
    frames_BNPV: Tensor | None
    has_frames_B: Tensor

    def keeping(self, text_B: Tensor, frames_B: Tensor) -> "Features":
        """These features with the modalities of some samples taken away (where False)."""
        return replace(self, has_text_B=self.has_text_B & text_B, has_frames_B=self.has_frames_B & frames_B)

    def emptied(self) -> "Features":
        """These features with every modality taken away: the condition that guidance leads away from."""
        nothing_B = torch.zeros_like(self.has_text_B)
        return self.keeping(nothing_B, nothing_B)


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
    def features(self, texts: Sequence[str], frames_BNHW3: Tensor | None, has_frames_B: Tensor | None) -> Features:
        """Features of a batch.

        Args:
            texts: One a sample; an empty string is an absent text.
            frames_BNHW3: uint8 pictures, or None where no sample has any.
            has_frames_B: bool, which samples have pictures; None with pictures means all of them.

        Raises:
            ValueError: if texts and pictures differ in number.
        """
        if frames_BNHW3 is not None and len(frames_BNHW3) != len(texts):
            raise ValueError(f"{len(texts)} texts and pictures of {len(frames_BNHW3)} samples: give one text a sample")
        rows = [self._tokens_of(text) for text in texts]
        text_BLT = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths_B = torch.tensor([len(row) for row in rows], device=self.device)
        has_text_B = torch.tensor([bool(text.strip()) for text in texts], device=self.device)
        features_BNPV = None
        if frames_BNHW3 is None:
            has_frames_B = torch.zeros_like(has_text_B)
        else:
            features_BNPV = self.frames.frame_features(frames_BNHW3.to(self.device))
            has_frames_B = torch.ones_like(has_text_B) if has_frames_B is None else has_frames_B.to(self.device)
        return Features(
            text_BLT=text_BLT,
            text_mask_BL=torch.arange(text_BLT.shape[1], device=self.device) < lengths_B[:, None],
            has_text_B=has_text_B,
            frames_BNPV=features_BNPV,
            has_frames_B=has_frames_B,
        )

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


class Conditioner(nn.Module):
    """The trained half: features of each modality to tokens of one width, beside each other.

    An adapter of text is a norm and a projection; one of pictures also adds where on the picture and when in the clip.
    """

    def __init__(self, *, text_width: int, frame_width: int, frame_patches: int, context_width: int) -> None:
        super().__init__()
        self.text = nn.Sequential(nn.LayerNorm(text_width), nn.Linear(text_width, context_width))
        self.frames = nn.Sequential(nn.LayerNorm(frame_width), nn.Linear(frame_width, context_width))
        self.frame_place_PC = nn.Parameter(0.02 * torch.randn(frame_patches, context_width))
        self.frame_time = nn.Linear(context_width, context_width)
        self.empty_text_C = nn.Parameter(0.02 * torch.randn(context_width))
        self.empty_frames_C = nn.Parameter(0.02 * torch.randn(context_width))

    def forward(self, features: Features) -> Context:
        """Tokens of all modalities; those of an absent one are masked, its empty token is not."""
        tokens, masks = [], []
        has_B = features.has_text_B
        text_BLC = self.text(features.text_BLT)
        tokens += [_everywhere(self.empty_text_C, text_BLC), text_BLC]
        masks += [~has_B[:, None], features.text_mask_BL & has_B[:, None]]
        tokens.append(_everywhere(self.empty_frames_C, text_BLC))
        masks.append(~features.has_frames_B[:, None])
        if features.frames_BNPV is not None:
            frames_BNPC = self.frames(features.frames_BNPV) + self.frame_place_PC
            frames_BNPC = frames_BNPC + self._time_of(frames_BNPC)[:, None]
            tokens.append(frames_BNPC.flatten(1, 2))
            masks.append(features.has_frames_B[:, None].expand(-1, tokens[-1].shape[1]))
        return Context(tokens_BLC=torch.cat(tokens, dim=1), mask_BL=torch.cat(masks, dim=1))

    def _time_of(self, frames_BNPC: Tensor) -> Tensor:
        """An embedding of each picture's place in the clip, (N, C), from sines of it."""
        features_NC = clock_features(frames_BNPC.shape[1], frames_BNPC.shape[-1], frames_BNPC.device)
        return self.frame_time(features_NC)  # type: ignore[no-any-return]


def clock_features(count: int, width: int, device: torch.device) -> Tensor:
    """Where each of `count` evenly spaced things is in its clip, as sines and cosines: (count, width).

    Half a turn to 64 turns over the clip: apart at 50 pictures, smooth between neighbours. Source: ours.
    """
    when_N = (torch.arange(count, device=device) + 0.5) / count
    angles = when_N[:, None] * torch.pi * 128 ** torch.linspace(0, 1, width // 2, device=device)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _everywhere(token_C: Tensor, like_BLC: Tensor) -> Tensor:
    return token_C.to(like_BLC.dtype).expand(len(like_BLC), 1, -1)


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


def evenly_spaced(frames_BNHW3: Tensor, count: int) -> Tensor:
    """At most `count` of the pictures, from the first to the last."""
    given = frames_BNHW3.shape[1]
    if given <= count:
        return frames_BNHW3
    picked = torch.linspace(0, given - 1, count).round().long()
    return frames_BNHW3[:, picked.to(frames_BNHW3.device)]
