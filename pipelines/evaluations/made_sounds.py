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
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import soundfile

from curation.errors import ArgumentError
from curation.keys import short_hash
from curation.tables import write_bytes
from pipelines.evaluations.sound_sets import LISTS, RealClip
from pipelines.makers.maker import How, Maker, System, model_in, name_of, system_named
from pipelines.makers.manner import PLAIN, Manner
from pipelines.progress import Progress
from pipelines.prompts import Prompt

PromptKind = Literal["text", "video", "text+video", "transcript"]

AT_ONCE = 16
"""Sounds made at once. Source: ours; as `generate` does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Making:
    """How sounds are made.

    Args:
        prompt: What of a clip is given: its caption, its picture, both, or what is said in it with its caption.
        seconds: Length, s, above 0.
        steps: Of the solver.
        guidance: How strongly the prompt is followed; 1 is as learned.
        seed: Of the noise, at least 0.
        manner: What is rarely said.
    """

    prompt: PromptKind = "text"
    seconds: float
    steps: int = 25
    guidance: float = 3.0
    seed: int = 0
    manner: Manner = PLAIN

    def __post_init__(self) -> None:
        if self.prompt not in get_args(PromptKind):
            raise ArgumentError(f"--prompt {self.prompt!r} is none of {', '.join(get_args(PromptKind))}")
        if not 0 < self.seconds <= 3600:
            raise ArgumentError(f"--seconds must be above 0 and at most 3600, not {self.seconds}")
        if self.seed < 0:
            raise ArgumentError(f"--seed must be at least 0, not {self.seed}")
        self.how()

    def how(self) -> How:
        """The same, as makers take it; refuses what they do not take."""
        return How(seconds=self.seconds, steps=self.steps, guidance=self.guidance, manner=self.manner)

    def as_dict(self) -> dict[str, Any]:
        """All of it, for naming what was made."""
        names = ("prompt", "seconds", "steps", "guidance", "seed")
        return {**{name: getattr(self, name) for name in names}, **self.manner.identity()}

    def can_use(self, clip: RealClip) -> bool:
        """Whether a clip has what is given; of who says a transcript nothing needs to be known."""
        if self.prompt == "transcript":
            return bool(clip.transcript)
        return bool(clip.caption or self.prompt == "video") and (clip.open_picture is not None or self.prompt == "text")


def holds_model(folder: Path) -> bool:
    """Whether a folder is that of a model, or of a run with one."""
    return folder.is_dir() and model_in(folder, system_named(name_of(folder))) is not None


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
    name, system = sound_system(run)
    system.require(name, (), making.manner)
    takes = "transcript" in system.options if making.prompt == "transcript" else "video" in system.media
    if making.prompt != "text" and not takes:
        raise ArgumentError(
            f"a run of {name} takes no {making.prompt.split('+')[-1]}; leave out --prompt {making.prompt}"
        )
    named = {**making.as_dict(), "network_sha256": system.weights_sha256(run)}
    inside = folder / f"sounds-{short_hash(named, 8)}"
    missing = [clip for clip in clips if not (inside / _name(clip)).is_file()]
    if missing:
        maker = system.loaded(run)
        parts = [missing[first : first + AT_ONCE] for first in range(0, len(missing), AT_ONCE)]
        with Progress("generate", total=len(missing), unit="sounds") as progress:
            for part in parts:
                waves = make_some(maker, part, making)
                for clip, wave_CT in zip(part, waves, strict=True):
                    write_sound(inside / _name(clip), wave_CT, maker.sample_rate_hz)
                progress.advance(len(part))
    write_list(inside, [(_name(clip), clip, making) for clip in clips])
    write_bytes(inside / "made.json", json.dumps(named, indent=1).encode())
    return inside


def _name(clip: RealClip) -> str:
    return f"{clip.clip_id}.wav"


def sound_system(run: Path) -> tuple[str, System]:
    """Name and system of a run that makes sounds.

    Raises:
        ArgumentError: It makes pictures.
    """
    name = name_of(run)
    system = system_named(name)
    if system.makes != "sound":
        raise ArgumentError(f"{run} is a run of {name}, which makes no sounds; see `foundsound evaluate pictures`")
    return name, system


def make_some(maker: Maker, clips: Sequence[RealClip], making: Making) -> list[npt.NDArray[np.float32]]:
    """Sounds for clips, all at once: (C, T) float32 each.

    Raises:
        ArgumentError: The network was not made for such prompts.
    """
    seeds = [(making.seed, int(short_hash(clip.clip_id, 12), 16)) for clip in clips]
    with tempfile.TemporaryDirectory() as scratch:
        prompts = [_prompt(clip, making, Path(scratch)) for clip in clips]
        return [np.asarray(wave_CT, np.float32) for wave_CT in maker.make(prompts, seeds, making.how())]


def _prompt(clip: RealClip, making: Making, scratch: Path) -> Prompt:
    """What is given of a clip."""
    text = "" if making.prompt == "video" else clip.caption
    if making.prompt in ("text", "transcript"):
        said = clip.transcript if making.prompt == "transcript" else ""
        return Prompt(text=text, transcript=said, clip=clip.clip_id)
    if clip.open_picture is None:
        raise ArgumentError(f"clip {clip.clip_id} has no picture; leave --prompt video")
    file = scratch / f"{clip.clip_id}.mp4"
    file.write_bytes(clip.open_picture())
    return Prompt(text=text, video=file, clip=clip.clip_id)


def write_sound(file: Path, wave_CT: npt.NDArray[np.float32], sample_rate_hz: int) -> None:
    """Write a 16-bit wav in one step."""
    buffer = io.BytesIO()
    soundfile.write(buffer, wave_CT.T, sample_rate_hz, subtype="PCM_16", format="WAV")
    write_bytes(file, buffer.getvalue())


def write_list(folder: Path, made: Sequence[tuple[str, RealClip, Making]]) -> None:
    """Write the list of a folder's sounds: names of files, the clips that they are for, and how they were made."""
    rows = [
        {"file": name, "clip_id": clip.clip_id, "text": "" if making.prompt == "video" else clip.caption}
        | ({"transcript": clip.transcript} if making.prompt == "transcript" else {})
        for name, clip, making in made
    ]
    write_bytes(folder / LISTS[0], "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
