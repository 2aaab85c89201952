"""The sounds that a run makes for real clips, with fixed seeds: a file each, and the list that says what they are for.

A file that is there is not made again. A sound depends on its clip, its prompt, the seed and the settings, and on the
others that are made at once only in rounding.
"""

import io
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import soundfile

from curation.encode import read_frames
from curation.errors import ArgumentError
from curation.keys import file_sha256, short_hash
from curation.tables import write_bytes
from pipelines.evaluations.sound_sets import LISTS, RealClip
from pipelines.progress import Progress
from pipelines.prompts import FRAME_RATE_HZ
from pipelines.wiring.devices import UNLOADABLE, device_name

if TYPE_CHECKING:
    from models.audiox import AudioX

PromptKind = Literal["text", "video", "text+video"]

AT_ONCE = 16
"""Sounds made at once. Source: ours; as `generate` does."""

WEIGHTS = "network.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Making:
    """How sounds are made.

    Args:
        prompt: What of a clip is given: its caption, its picture, or both.
        seconds: Length, s, above 0.
        steps: Of the solver, at least 1.
        guidance: How strongly the prompt is followed; 1 is as learned.
        seed: Of the noise.
    """

    prompt: PromptKind = "text"
    seconds: float
    steps: int = 25
    guidance: float = 3.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.prompt not in get_args(PromptKind):
            raise ArgumentError(f"--prompt {self.prompt!r} is none of {', '.join(get_args(PromptKind))}")
        if not 0 < self.seconds <= 3600:
            raise ArgumentError(f"--seconds must be above 0 and at most 3600, not {self.seconds}")
        if self.steps < 1 or self.seed < 0:
            raise ArgumentError(f"--steps must be at least 1 and --seed at least 0, not {self.steps} and {self.seed}")

    def as_dict(self) -> dict[str, Any]:
        """All of it, for naming what was made."""
        names = ("prompt", "seconds", "steps", "guidance", "seed")
        return {name: getattr(self, name) for name in names}

    def can_use(self, clip: RealClip) -> bool:
        """Whether a clip has what is given."""
        return bool(clip.caption or self.prompt == "video") and (clip.open_picture is not None or self.prompt == "text")


def weights_of(folder: Path) -> Path | None:
    """The weights of the model that a run or model folder holds; None where it holds none."""
    return next((file for file in (folder / "model" / WEIGHTS, folder / WEIGHTS) if file.is_file()), None)


def trained_seconds(run: Path) -> float | None:
    """Length of the samples that a run was trained on, s; None where its folder does not say."""
    config = run / "config.json"
    told = json.loads(config.read_text()) if config.is_file() else {}
    seconds = told.get("settings", {}).get("data", {}).get("seconds")
    return float(seconds) if isinstance(seconds, int | float) else None


def load_model(run: Path) -> "AudioX":
    """The model of a run, on the GPU where there is one.

    Raises:
        ArgumentError: It cannot be loaded.
    """
    from models.audiox import AudioX

    try:
        return AudioX.from_pretrained(run, device=device_name())
    except UNLOADABLE as error:
        raise ArgumentError(f"no model can be loaded from {run}: {error}") from error


def make_sounds(run: Path, clips: Sequence[RealClip], making: Making, folder: Path) -> Path:
    """Make a sound for each clip that has none yet.

    Args:
        run: Folder of a finished run, or of a model.
        clips: What they are for; each has what `making.prompt` asks for.
        making: How.
        folder: Below which a folder is made, named by the weights and by how they are made.

    Returns:
        That folder, with `sounds.jsonl`.

    Raises:
        ArgumentError: The model cannot be loaded, or was not made for such prompts.
    """
    weights = weights_of(run)
    if weights is None:
        raise ArgumentError(f"{run} holds no trained model ({WEIGHTS}); give the folder of a run that has ended")
    named = {**making.as_dict(), "network_sha256": file_sha256(weights)}
    inside = folder / f"sounds-{short_hash(named, 8)}"
    missing = [clip for clip in clips if not (inside / _name(clip)).is_file()]
    if missing:
        model = load_model(run)
        parts = [missing[first : first + AT_ONCE] for first in range(0, len(missing), AT_ONCE)]
        with Progress("generate", total=len(missing), unit="sounds") as progress:
            for part in parts:
                waves = make_some(model, part, making)
                for clip, wave_CT in zip(part, waves, strict=True):
                    write_sound(inside / _name(clip), wave_CT, model.codec.sample_rate_hz)
                progress.advance(len(part))
    write_list(inside, [(_name(clip), clip, making) for clip in clips])
    write_bytes(inside / "made.json", json.dumps(named, indent=1).encode())
    return inside


def _name(clip: RealClip) -> str:
    return f"{clip.clip_id}.wav"


def make_some(model: "AudioX", clips: Sequence[RealClip], making: Making) -> npt.NDArray[np.float32]:
    """Sounds for clips, all at once: (B, C, T) float32.

    Raises:
        ArgumentError: The network was not made for such prompts.
    """
    video = None
    if making.prompt != "text":
        side_px = int(getattr(model.encoders.frames, "side_px", 224))
        video = [_pictures(clip, making.seconds, side_px) for clip in clips]
    try:
        waves_BCT = model.generate(
            None if making.prompt == "video" else [clip.caption for clip in clips],
            seconds=making.seconds,
            steps=making.steps,
            guidance=making.guidance,
            seed=[(making.seed, int(short_hash(clip.clip_id, 12), 16)) for clip in clips],
            video=video,
        )
    except (ValueError, FloatingPointError) as error:
        raise ArgumentError(str(error)) from error
    return np.asarray(waves_BCT.numpy(), np.float32)


def _pictures(clip: RealClip, seconds: float, side_px: int) -> npt.NDArray[np.uint8]:
    """Pictures over the length of the sound, (N, S, S, 3); the last stands still where the video is shorter."""
    if clip.open_picture is None:
        raise ArgumentError(f"clip {clip.clip_id} has no picture; leave --prompt video")
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "clip.mp4"
        file.write_bytes(clip.open_picture())
        frames = read_frames(file, FRAME_RATE_HZ, side_px)
    if not len(frames):
        raise ArgumentError(f"the picture of clip {clip.clip_id} has no frame")
    count = max(1, round(seconds * FRAME_RATE_HZ))
    return np.concatenate([frames[:count], np.repeat(frames[-1:], max(0, count - len(frames)), axis=0)])


def write_sound(file: Path, wave_CT: npt.NDArray[np.float32], sample_rate_hz: int) -> None:
    """Write a 16-bit wav in one step."""
    buffer = io.BytesIO()
    soundfile.write(buffer, wave_CT.T, sample_rate_hz, subtype="PCM_16", format="WAV")
    write_bytes(file, buffer.getvalue())


def write_list(folder: Path, made: Sequence[tuple[str, RealClip, Making]]) -> None:
    """Write the list of a folder's sounds: names of files, the clips that they are for, and how they were made."""
    rows = [
        {"file": name, "clip_id": clip.clip_id, "text": "" if making.prompt == "video" else clip.caption}
        for name, clip, making in made
    ]
    write_bytes(folder / LISTS[0], "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
