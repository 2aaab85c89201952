"""`foundsound generate`: sounds from words and pictures, by a trained run."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import soundfile
from cyclopts import Parameter

from curation.encode import read_frames
from curation.errors import ArgumentError
from curation.keys import file_sha256, short_hash
from curation.tables import Row, publish, temporary_beside, write_bytes
from models.audiox import AudioX
from pipelines.progress import Progress
from pipelines.wiring.devices import UNLOADABLE, device_name

FRAME_RATE_HZ = 5.0
WEIGHTS = "network.safetensors"


@dataclass(frozen=True, slots=True)
class GenerateResult:
    """The sounds that were written."""

    files: list[Path]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """The files and the time."""
        return {"files": [str(file) for file in self.files], "seconds": self.seconds}

    def __str__(self) -> str:
        return "\n".join(str(file) for file in self.files)


def write_wav(path: Path, wave_CT: np.ndarray, sample_rate_hz: int, about: dict[str, Any]) -> Path:
    """Write a 16-bit wav in one step, and beside it what it was made from."""
    temporary = temporary_beside(path)
    try:
        soundfile.write(temporary, wave_CT.T, sample_rate_hz, subtype="PCM_16", format="WAV")
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    write_bytes(path.with_suffix(".json"), json.dumps(about, indent=1, ensure_ascii=False).encode())
    return path


def _pictures(video: Path, side_px: int) -> np.ndarray:
    from curation.programs.probe import probe

    if probe(video).picture is None:
        raise ArgumentError(f"{video} has no picture; give a video")
    return read_frames(video, FRAME_RATE_HZ, side_px)


def _load(run: Path) -> AudioX:
    try:
        return AudioX.from_pretrained(run, device=device_name())
    except UNLOADABLE as error:
        raise ArgumentError(f"no model can be loaded from {run}: {error}") from error


def _weights_sha256(run: Path) -> str:
    """Hash of the network that a run or model folder holds, so that sounds of an older one are not taken for its."""
    found = [place for place in (run / "model" / WEIGHTS, run / WEIGHTS) if place.is_file()]
    if not found:
        raise ArgumentError(f"{run} holds no trained model ({WEIGHTS}); give the folder of a run that has ended")
    return file_sha256(found[0])


def _sound(run: Path, prompts: list[Row], frames_of: Path | None) -> tuple[np.ndarray, int]:
    """The waves of all prompts, (B, C, T), and their rate; the settings are those of the first."""
    model, settings = _load(run), prompts[0]
    frames = None
    if frames_of is not None:
        side_px = int(getattr(model.encoders.frames, "side_px", 224))
        frames = np.repeat(_pictures(frames_of, side_px)[None], len(prompts), axis=0)
    with Progress("generate", total=settings["steps"], unit="steps") as progress:
        try:
            waves_BCT = model.generate(
                [prompt["text"] for prompt in prompts],
                frames,
                seconds=settings["seconds"],
                steps=settings["steps"],
                guidance=settings["guidance"],
                seed=settings["seed"],
                on_step=lambda done, total: progress.advance(),
            ).numpy()
        except ValueError as error:
            raise ArgumentError(str(error)) from error
    return waves_BCT, model.codec.sample_rate_hz


def generate(
    run: Path,
    /,
    *,
    text: Annotated[list[str] | None, Parameter(name="--text")] = None,
    video: Path | None = None,
    seconds: float = 4.0,
    count: int = 1,
    steps: int = 25,
    guidance: float = 3.0,
    seed: int = 0,
    out: Path | None = None,
) -> GenerateResult:
    """Generate sounds from texts, a video, or both; sounds that are there already are not made again.

    Args:
        run: Folder of a finished run, or of a model.
        text: What is to be heard; may be given several times.
        video: A video to make the sound for.
        seconds: Length of the sounds, s.
        count: Sounds for each text.
        steps: Calls of the network; more is better and slower.
        guidance: How strongly the prompt is followed; 1 is as learned.
        seed: Of the noise.
        out: Folder for the wavs; RUN/generated when not given.
    """
    begun = time.perf_counter()
    if not text and video is None:
        raise ArgumentError("give --text, --video, or both")
    if count < 1:
        raise ArgumentError(f"--count must be at least 1, not {count}")
    if video is not None and not video.is_file():
        raise ArgumentError(f"there is no video {video}")
    settings = {"seconds": seconds, "steps": steps, "guidance": guidance, "seed": seed}
    made_by = {"network_sha256": _weights_sha256(run), "video_sha256": file_sha256(video) if video else None}
    texts = [one for one in text or [""] for _ in range(count)]
    prompts: list[Row] = [{"text": one, "number": n, **settings, **made_by} for n, one in enumerate(texts)]
    folder = (out or run / "generated").resolve()
    files = [folder / f"{prompt['number']:03d}-{short_hash(prompt, 8)}.wav" for prompt in prompts]
    if not all(file.is_file() and file.with_suffix(".json").is_file() for file in files):
        waves_BCT, rate_hz = _sound(run, prompts, video)
        for file, prompt, wave_CT in zip(files, prompts, waves_BCT, strict=True):
            write_wav(file, wave_CT, rate_hz, prompt)
    return GenerateResult(files, time.perf_counter() - begun)
