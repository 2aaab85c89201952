"""Frozen encoders of pictures as the stage `encode_frames` wants them: CLIP's vision tower."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from curation.dataset import Dataset
from curation.encode_frames import EncodeFrames
from curation.errors import ArgumentError
from pipelines.wiring.devices import device_name, load_quietly, loading
from pipelines.wiring.hub import give_up_without_network

if TYPE_CHECKING:
    from models.audiox.encoder_source import EncoderSource
    from models.audiox.pretrained import ClipFrames


@dataclass(frozen=True, slots=True)
class NumpyFrameEncoder:
    """CLIP's vision tower with NumPy arrays on its far side."""

    encoder: "ClipFrames"

    def encode_frames(self, frames_NHW3: np.ndarray) -> np.ndarray:
        """Tokens of pictures, (N, P, V) float32; as many at once as a sample of training has."""
        import torch

        device, at_once = self.encoder.model.device, self.encoder.pictures
        parts = [torch.from_numpy(frames_NHW3[k : k + at_once])[None] for k in range(0, len(frames_NHW3), at_once)]
        seen = [self.encoder.frame_features(part_BNHW3.to(device))[0].cpu().numpy() for part_BNHW3 in parts]
        return np.concatenate(seen)


def frame_source(name_or_path: str) -> "EncoderSource":
    """An encoder of pictures by the kind that its configuration says.

    Raises:
        ArgumentError: It cannot be read, or is no CLIP.
    """
    from transformers import AutoConfig

    from models.audiox.encoder_source import EncoderSource

    give_up_without_network()
    try:
        kind = AutoConfig.from_pretrained(name_or_path).model_type
    except (OSError, ValueError) as error:
        raise ArgumentError(f"no encoder of pictures can be loaded from {name_or_path!r}: {error}") from error
    if kind not in ("clip", "clip_vision_model"):
        raise ArgumentError(f"the encoder of pictures {name_or_path!r} is of kind {kind!r}; give a CLIP")
    return EncoderSource(kind="clip", path=name_or_path)


def load_frame_encoder(source: "EncoderSource") -> NumpyFrameEncoder:
    """An encoder of pictures, on the GPU where there is one.

    Raises:
        ArgumentError: It cannot be loaded.
    """
    from models.audiox.pretrained import ClipFrames

    load_quietly()
    with loading("encoder of pictures", source.path):
        return NumpyFrameEncoder(ClipFrames.from_pretrained(source.path, device=device_name()))


def encode_frames_stage(
    dataset: Dataset, source: "EncoderSource", *, called: str, frame_rate_hz: float, frame_size_px: int
) -> EncodeFrames:
    """The stage `encode_frames` with a CLIP.

    Args:
        dataset: The dataset.
        source: The encoder; only its weights' sum and its settings are read now.
        called: Name of the tokens, that of the latents.
        frame_rate_hz: Pictures a second.
        frame_size_px: Their side, px.

    Raises:
        ArgumentError: The encoder is not there.
    """
    return EncodeFrames(
        encoder=_identity(source),
        frame_rate_hz=frame_rate_hz,
        frame_size_px=frame_size_px,
        build=partial(load_frame_encoder, source),
        media=dataset.media,
        blobs=dataset.root("latents"),
        called=called,
    )


def _identity(source: "EncoderSource") -> dict[str, Any]:
    """What decides the tokens of a picture; the network itself is not loaded."""
    from models.audiox.pretrained import ClipFrames

    with loading("encoder of pictures", source.path):
        return ClipFrames.identity_of(source.path)
