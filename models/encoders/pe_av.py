"""PE-AV (Perception Encoder Audio-Video, Meta, Apache-2.0) as a judge: does this sound go with this picture?

It takes any `PeAudioVideoModel` that transformers loads, as facebook/pe-av-base-16-frame. The picture is given as
frames of the network's own size: transformers' processor for them would only resize and scale. transformers builds the
network's eyes with timm, which needs torchvision; both are an extra.

Shapes: T samples, N frames, S side of a frame, D embedding.
"""

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from transformers import PeAudioFeatureExtractor, PeAudioVideoModel
from transformers.utils import cached_file

from models.weights import safetensors_paths, sha256_of_files

PREPROCESSING_VERSION = 1

FRAMES = 16
"""Frames of a sound where the checkpoint does not say how many. Source: the published checkpoints ...-16-frame."""

WINDOW_S = 10.0
"""Source: ours; the length of a clip. The published models take any length up to 400 s."""

LIBRARIES = ("timm", "torchvision")
INSTALL = "pip install 'foundsound[pe-av]' (timm 1.0.22, and the torchvision that belongs to the installed torch)"


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureConfig:
    """How frames are made for the network.

    Attributes:
        side_px: side of the square they are squeezed to.
        frames: how many are taken of a window.
        mean, deviation: of each colour, of values in [0, 1]: (value - mean) / deviation.
    """

    side_px: int = 336
    frames: int = FRAMES
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    deviation: tuple[float, ...] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        if self.side_px < 1 or self.frames < 1:
            raise ValueError(f"side_px and frames must be at least 1, got {self.side_px} and {self.frames}")
        if len(self.mean) != 3 or len(self.deviation) != 3 or min(self.deviation) <= 0:
            raise ValueError(f"three colours need a mean and a deviation above 0, got {self.mean}, {self.deviation}")

    @classmethod
    def of_processor(cls, processor: dict[str, Any]) -> Self:
        """Reads the settings of transformers' video processor, as its JSON has them.

        Raises:
            ValueError: its frames are not square, or it names no size.
        """
        size = processor.get("size") or {}
        if size.get("height") is None or size["height"] != size.get("width"):
            raise ValueError(f"the video processor's size is {size}, and squares are made here; get another checkpoint")
        return cls(
            side_px=size["height"],
            frames=processor.get("num_frames") or FRAMES,
            mean=tuple(processor.get("image_mean") or (0.5, 0.5, 0.5)),
            deviation=tuple(processor.get("image_std") or (0.5, 0.5, 0.5)),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PeAvParts:
    """A frozen network, and how sounds and frames are made for it.

    Attributes:
        model: in evaluation mode.
        rate_hz: of the sounds.
        step: what their length is filled up to a multiple of, samples.
        picture: how frames are made.
        weights_sha256: hex digest of the files the network came from.
    """

    model: PeAudioVideoModel
    rate_hz: int
    step: int
    picture: PictureConfig
    weights_sha256: str

    @classmethod
    def load(cls, name: str, *, device: str | torch.device, revision: str | None) -> Self:
        """Loads them from a folder or by the name on the Hub; safetensors only.

        Raises:
            ImportError: timm or torchvision are not installed; says how.
            OSError: files are missing.
            ValueError: the weights do not belong to the configuration.
        """
        model = load_network(name, revision).to(device)
        sound = PeAudioFeatureExtractor.from_pretrained(name, revision=revision)
        return cls(
            model=model.eval().requires_grad_(False),
            rate_hz=int(sound.sampling_rate),
            step=int(sound.hop_length),
            picture=PictureConfig.of_processor(video_processor(name, revision)),
            weights_sha256=sha256_of_files(safetensors_paths(name, revision=revision)),
        )

    def sounds(self, wave_BT: Tensor) -> Tensor:
        """See `filled`."""
        return filled(wave_BT, self.step, self.model.device)

    def pictures(self, frames_BNSSC: Tensor) -> Tensor:
        """See `colours`."""
        return colours(frames_BNSSC, self.picture, self.model.device)

    def identity(self, user: object) -> dict[str, Any]:
        """What decides what comes of them, by whoever uses them."""
        picture = self.picture
        return {
            "class": type(user).__name__,
            "weights_sha256": self.weights_sha256,
            "frames": [picture.frames, picture.side_px, list(picture.mean), list(picture.deviation)],
            "preprocessing": PREPROCESSING_VERSION,
        }


class PeAv:
    """A frozen judge. Make one with `from_pretrained`.

    Args:
        parts: what it is made of.
    """

    window_s = WINDOW_S

    def __init__(self, parts: PeAvParts) -> None:
        self._parts = parts
        self.sample_rate_hz = parts.rate_hz
        """Rate that it expects."""
        self.frames, self.frame_size_px = parts.picture.frames, parts.picture.side_px
        """Frames that it looks at, and their side, px."""

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path, *, device: str | torch.device = "cpu", revision: str | None = None
    ) -> Self:
        """Loads a PE-AV from a folder or by its name on the Hub; safetensors only.

        Args:
            name_or_path: for example `facebook/pe-av-base-16-frame`, or a folder.
            device: where it computes.
            revision: branch, tag or commit on the Hub.

        Raises:
            ImportError: timm or torchvision are not installed; says how.
            OSError: files are missing.
            ValueError: the weights do not belong to the configuration.
        """
        return cls(PeAvParts.load(str(name_or_path), device=device, revision=revision))

    def identity(self) -> dict[str, Any]:
        """What determines its scores."""
        return self._parts.identity(self)

    @torch.inference_mode()
    def score(self, wave_T: Tensor, frames_NSSC: Tensor) -> float:
        """Judges one sound and one picture.

        Args:
            wave_T: float32 (T,) at its rate, full scale 1, at least one sample.
            frames_NSSC: uint8 (N, S, S, 3), RGB, at least one.

        Returns:
            The logit with which the network was trained to tell a sound with its own picture from one with another's:
            0 is undecided, higher agrees more.

        Raises:
            ValueError: wrong shapes.
        """
        if wave_T.ndim != 1 or not len(wave_T):
            raise ValueError(f"PE-AV needs a mono sound as (T,), got shape {tuple(wave_T.shape)}")
        answer = self._parts.model(
            input_values=self._parts.sounds(wave_T[None]),
            pixel_values_videos=self._parts.pictures(frames_NSSC[None]),
        )
        return float(answer.logits_audio_video[0, 0])


def load_network(name: str, revision: str | None) -> PeAudioVideoModel:
    """The whole network in float32 on the CPU, from a folder or the Hub.

    Raises:
        ImportError: timm or torchvision are not installed; says how.
        OSError: Files are missing.
        ValueError: The weights do not belong to the configuration.
    """
    missing = [library for library in LIBRARIES if find_spec(library) is None]
    if missing:
        raise ImportError(f"PE-AV needs {' and '.join(missing)}: {INSTALL}")
    model, loading = PeAudioVideoModel.from_pretrained(
        name, revision=revision, use_safetensors=True, dtype=torch.float32, output_loading_info=True
    )
    if loading["missing_keys"]:
        lacking = sorted(loading["missing_keys"])
        raise ValueError(
            f"the weights of {name} lack {len(lacking)} tensors of PeAudioVideoModel, the first is {lacking[0]}; "
            "they would be random, so the network is refused"
        )
    return model


def filled(wave_BT: Tensor, step: int, device: torch.device) -> Tensor:
    """Sounds (B, T) as the network reads them, (B, 1, a multiple of `step`).

    Source: transformers' `PeAudioFeatureExtractor`, which fills up by mirroring.

    Raises:
        ValueError: Not (B, T), or without a sample.
    """
    if wave_BT.ndim != 2 or not wave_BT.shape[1]:
        raise ValueError(f"PE-AV needs mono sounds as (B, T), got shape {tuple(wave_BT.shape)}")
    padded = np.pad(wave_BT.cpu().numpy(), ((0, 0), (0, -wave_BT.shape[1] % step)), "reflect")
    return torch.from_numpy(padded).to(device)[:, None]


def colours(frames_BNSSC: Tensor, picture: PictureConfig, device: torch.device) -> Tensor:
    """Frames (B, N, S, S, 3) uint8 as the network sees them, (B, N, 3, S, S) float32.

    Raises:
        ValueError: Frames of another size, or none.
    """
    side = picture.side_px
    if frames_BNSSC.ndim != 5 or frames_BNSSC.shape[2:] != (side, side, 3) or not frames_BNSSC.shape[1]:
        shape = tuple(frames_BNSSC.shape[1:])
        raise ValueError(f"PE-AV needs frames as (N, {side}, {side}, 3), got shape {shape}")
    mean, deviation = (torch.tensor(value, device=device) for value in (picture.mean, picture.deviation))
    colour_BNSSC = (frames_BNSSC.to(device).float() / 255 - mean) / deviation
    return colour_BNSSC.permute(0, 1, 4, 2, 3)


def video_processor(name: str, revision: str | None) -> dict[str, Any]:
    """The JSON of transformers' video processor: a file of its own, or a part of the whole processor's."""
    for file, part in (("video_preprocessor_config.json", None), ("processor_config.json", "video_processor")):
        path = cached_file(name, file, revision=revision, _raise_exceptions_for_missing_entries=False)
        if path is not None:
            settings = json.loads(Path(path).read_text(encoding="utf-8"))
            found = settings.get(part) if part else settings
            if found:
                return dict(found)
    raise FileNotFoundError(f"{name} has no video_preprocessor_config.json: how its frames are made is not known")
