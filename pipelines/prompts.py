"""What `foundsound generate` is asked for: prompts from options or a file, and the media they name, read safely."""

import csv
import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from curation.encode import read_frames, read_sound
from curation.errors import ArgumentError, ClipError
from curation.keys import file_sha256
from curation.programs.picture_copy import picture_copy
from curation.programs.sound_copy import sound_copy

FRAME_RATE_HZ = 5.0
"""Pictures a second that a video is looked at. Source: AudioX."""

MEDIA = ("video", "image", "audio", "music")
"""Fields of a prompt that are files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """What one sound is made from.

    Args:
        text: What is to be heard; empty: nothing is said.
        transcript: What is said in it, in words; empty: nothing is told.
        video: A video to make the sound for.
        image: A picture to make it for.
        audio: A sound that it should be like, or, with spans to fill, that is kept elsewhere.
        music: What sounded before it.
        seed: Of its noise; None: the seed of all, and its number.
        clip: The clip that the text is said of, by clip_id: what retrieves finds neither it nor others of its video.
    """

    text: str = ""
    transcript: str = ""
    video: Path | None = None
    image: Path | None = None
    audio: Path | None = None
    music: Path | None = None
    seed: int | None = None
    clip: str | None = None

    def __post_init__(self) -> None:
        if not (self.text + self.transcript).strip() and not any(getattr(self, name) for name in MEDIA):
            raise ArgumentError("a prompt says nothing: give it text, video, image, audio or music")
        for first, second in (("video", "image"), ("audio", "music")):
            if getattr(self, first) and getattr(self, second):
                raise ArgumentError(f"a prompt has both {first} and {second}: give one of them")
        for name in MEDIA:
            if (path := getattr(self, name)) is not None and not path.is_file():
                raise ArgumentError(f"there is no {name} {path}")
        for text in (self.text, self.transcript):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise ArgumentError(f"the text {text!r} is not Unicode: {error}") from error
        if self.seed is not None and self.seed < 0:
            raise ArgumentError(f"the seed of a prompt is {self.seed}: it cannot be negative")

    def identity(self) -> dict[str, Any]:
        """What decides the sound, for naming it: media by their content."""
        named = {name: getattr(self, name) for name in MEDIA}
        sums = {f"{name}_sha256": file_sha256(path) if path is not None else None for name, path in named.items()}
        more = {"transcript": self.transcript or None, "clip": self.clip}
        return {"text": self.text, **sums, **{name: value for name, value in more.items() if value is not None}}


def read_prompts(path: Path) -> list[Prompt]:
    """The prompts of a file, one a line.

    Args:
        path: JSONL, or CSV with a header, with the fields of `Prompt`; files are named from its own folder.

    Raises:
        ArgumentError: The file or a line of it is not such a one; says which line.
    """
    if path.suffix not in (".jsonl", ".csv"):
        raise ArgumentError(f"{path} is neither .jsonl nor .csv")
    prompts = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = (line.rstrip("\r\n") if path.suffix == ".jsonl" else line for line in file if line.strip())
            rows: Iterable[Any] = csv.DictReader(lines) if path.suffix == ".csv" else lines
            for number, row in enumerate(rows, start=1):
                try:
                    prompts.append(_prompt(json.loads(row) if isinstance(row, str) else row, path.parent))
                except (ArgumentError, TypeError, ValueError, RecursionError) as error:
                    raise ArgumentError(f"{path}, prompt {number}: {error}") from error
    except (OSError, ValueError, csv.Error) as error:
        raise ArgumentError(f"{path} cannot be read as prompts: {error}") from error
    if not prompts:
        raise ArgumentError(f"{path} holds no prompt")
    return prompts


def _prompt(row: Mapping[str, Any], folder: Path) -> Prompt:
    if not isinstance(row, Mapping):
        raise ArgumentError(f"{row!r} is no object with fields")
    if None in row:
        raise ArgumentError("there are more values than names in the header: put quotes around a value with commas")
    known = [field.name for field in fields(Prompt)]
    if unknown := [str(name) for name in row if name not in known]:
        raise ArgumentError(f"unknown fields {', '.join(unknown)}: choose of {', '.join(known)}")
    given = {name: value for name, value in row.items() if value not in (None, "")}
    for name in ("text", "transcript", "clip"):
        if not isinstance(given.get(name, ""), str):
            raise ArgumentError(f"{name} is {given[name]!r}: it must be a string")
    media = {name: folder / str(given[name]) for name in MEDIA if name in given}
    return Prompt(
        text=given.get("text", ""),
        transcript=given.get("transcript", ""),
        video=media.get("video"),
        image=media.get("image"),
        audio=media.get("audio"),
        music=media.get("music"),
        seed=_seed(given["seed"]) if "seed" in given else None,
        clip=given.get("clip"),
    )


def _seed(given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, int | str):
        raise ArgumentError(f"seed is {given!r}: it must be a whole number")
    try:
        return int(given)
    except ValueError as error:
        raise ArgumentError(f"seed is {str(given)[:40]!r}: it must be a whole number") from error


class Hears(Protocol):
    """What is asked of a codec to read sounds for it."""

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the sounds."""

    @property
    def channels(self) -> int:
        """Channels of the sounds."""


class Media:
    """The media of prompts as arrays; each file is read once, by a contained program.

    Args:
        side_px: Side of the square pictures, px.
        codec: At whose rate sounds are read.
        seconds: Length of the sounds that are made: no more of a video is looked at.
    """

    def __init__(self, *, side_px: int, codec: Hears, seconds: float) -> None:
        self._side_px, self._codec, self._seconds = side_px, codec, seconds
        self._read: dict[tuple[str, Path], np.ndarray] = {}

    def of(self, prompt: Prompt, name: str) -> np.ndarray | None:
        """One of a prompt's media: pictures (N, S, S, 3) or a picture (S, S, 3) uint8, sounds (C, T) float32.

        Raises:
            ArgumentError: It cannot be read.
        """
        path = getattr(prompt, name)
        if path is None:
            return None
        kind = "sound" if name in ("audio", "music") else name
        if (kind, path) not in self._read:
            try:
                self._read[kind, path] = self._sound(path) if kind == "sound" else self._pictures(path, kind)
            except ClipError as error:
                raise ArgumentError(f"the {name} {path} cannot be used: {error}") from error
        found = self._read[kind, path]
        return found[0] if name == "image" else found

    def _sound(self, path: Path) -> np.ndarray:
        with tempfile.TemporaryDirectory() as scratch:
            wave_CT = read_sound(sound_copy(path, Path(scratch)), self._codec.sample_rate_hz, self._codec.channels)
        if not np.isfinite(wave_CT).all():
            raise ArgumentError(f"the sound {path} has samples that are not finite: give one without NaN and infinity")
        return wave_CT

    def _pictures(self, path: Path, kind: str) -> np.ndarray:
        """Pictures of a video over the length of the sound; the last one stands still where the video is shorter."""
        with tempfile.TemporaryDirectory() as scratch:
            frames = read_frames(picture_copy(path, Path(scratch)), FRAME_RATE_HZ, self._side_px)
        count = 1 if kind == "image" else max(1, round(self._seconds * FRAME_RATE_HZ))
        missing = max(0, count - len(frames))
        return np.concatenate([frames[:count], np.repeat(frames[-1:], missing, axis=0)])
