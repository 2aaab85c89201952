"""Where a frozen encoder of conditions comes from, so that a saved model can bring it along or name it."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from models.audiox.conditioning import ConditionEncoders, FrameEncoder, FramePatches, TextEncoder

_COPIED_SUFFIXES = (".json", ".safetensors", ".txt", ".model")
"""Settings, weights, vocabularies. Never a pickle."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderSource:
    """A kind of encoder, and where it lies.

    Attributes:
        kind: "clap" or "t5" for text, "clip" for pictures.
        path: A folder, or a name on the Hub.
    """

    kind: Literal["clap", "t5", "clip"]
    path: str

    def __post_init__(self) -> None:
        if self.kind not in ("clap", "t5", "clip"):
            raise ValueError(f"kind of encoder is {self.kind!r}: choose 'clap', 't5' or 'clip'")

    def text_encoder(self, device: torch.device | str) -> TextEncoder:
        """Loads it as a text encoder.

        Raises:
            ValueError: if its kind reads no text.
        """
        if self.kind == "clap":
            from models.encoders.clap import ClapEncoder

            return ClapEncoder.from_pretrained(self.path, device=device)
        if self.kind == "t5":
            from models.audiox.pretrained import T5TextTokens

            return T5TextTokens.from_pretrained(self.path, device=device)
        raise ValueError(f"an encoder of kind {self.kind!r} reads no text: choose 'clap' or 't5'")

    def frame_encoder(self, device: torch.device | str) -> FrameEncoder:
        """Loads it as a frame encoder.

        Raises:
            ValueError: if its kind reads no pictures.
        """
        if self.kind == "clip":
            from models.audiox.pretrained import ClipFrames

            return ClipFrames.from_pretrained(self.path, device=device)
        raise ValueError(f"an encoder of kind {self.kind!r} reads no pictures: choose 'clip', or FramePatches")

    def saved(self, folder: Path, name: str) -> "EncoderSource":
        """This source as seen from a model's folder: a folder is copied to `folder/name`, a Hub name stays a name."""
        if not Path(self.path).is_dir():
            return self
        target = folder / name
        target.mkdir()
        for path in sorted(Path(self.path).iterdir()):
            if path.is_file() and path.suffix in _COPIED_SUFFIXES:
                shutil.copyfile(path, target / path.name)
        return replace(self, path=name)

    def found(self, folder: Path) -> "EncoderSource":
        """A source read from a model's folder, with its path as seen from here."""
        inside = folder / self.path
        if inside.is_dir() and inside.resolve().is_relative_to(folder.resolve()):
            return replace(self, path=str(inside))
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class ConditionSources:
    """Sources of both encoders.

    Attributes:
        text: Of the text encoder.
        frames: Of the frame encoder; `FramePatches` has no weights and is its own source.
    """

    text: EncoderSource
    frames: EncoderSource | FramePatches

    def encoders(self, device: torch.device | str = "cpu") -> ConditionEncoders:
        """Loads both."""
        frames = self.frames if isinstance(self.frames, FramePatches) else self.frames.frame_encoder(device)
        return ConditionEncoders(self.text.text_encoder(device), frames, device)

    def save(self, folder: Path) -> dict[str, Any]:
        """Copies what lies in folders into a model's folder; returns what its `config.json` says of them."""
        text = asdict(self.text.saved(folder, "text_encoder"))
        if isinstance(self.frames, FramePatches):
            return {"text_encoder": text, "frame_encoder": {"kind": "patches", **asdict(self.frames)}}
        return {"text_encoder": text, "frame_encoder": asdict(self.frames.saved(folder, "frame_encoder"))}

    @classmethod
    def from_saved(cls, config: Mapping[str, Any], folder: Path) -> "ConditionSources":
        """Reads back what `save` returned."""
        frames = dict(config["frame_encoder"])
        if frames["kind"] == "patches":
            del frames["kind"]
            return cls(text=EncoderSource(**config["text_encoder"]).found(folder), frames=FramePatches(**frames))
        return cls(
            text=EncoderSource(**config["text_encoder"]).found(folder), frames=EncoderSource(**frames).found(folder)
        )
