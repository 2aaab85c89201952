"""`foundsound generate`: sounds from words, pictures and sounds, by a trained run."""

import json
import math
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import soundfile
from cyclopts import Parameter

from curation.errors import ArgumentError, ClipError
from curation.keys import file_sha256, short_hash
from curation.programs.soundtrack import lay_under
from curation.tables import publish, temporary_beside, write_bytes
from models.audiox import AudioX
from models.audiox.conditioning import MODALITIES, Modality
from models.audiox.generate import sizes_of
from models.audiox.prompts import Gap, MorePrompts
from models.audiox.sampling import Sampling
from pipelines.progress import Progress
from pipelines.prompts import MEDIA, Media, Prompt, read_prompts
from pipelines.wiring.devices import UNLOADABLE, device_name

WEIGHTS = "network.safetensors"

MOST_SECONDS = 600.0
"""Longest sound that is made, s. Ours: sixty times what AudioX was trained on; slips beyond fill the memory."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Manner:
    """What is rarely said about how sounds are made.

    Args:
        prompts: JSONL or CSV with a prompt a line, of text, video, image, audio, music and seed.
        music: A sound file; what is made goes on from there.
        go_on: A sound file that is kept, and that goes on until --seconds.
        fill: A span of --audio that is made anew while the rest is kept, in s, as 1.5-3; again for each further span.
        guide: Guidance of one modality, as text=5 or video=3 or audio=1; those not named are then 1.
        solver: euler, heun or dpm_solver_2m; the usual one of the network's kind when not given.
        times: How steps are laid out: even, or exponential as AudioX's authors do.
        rescale: How far the spread that guidance adds is taken back, 0 to 1.
        at_once: Sounds made at once; changes memory and speed.
        wav_only: With a video, write no MP4 with the sound laid under it.
    """

    prompts: Path | None = None
    music: Path | None = None
    go_on: Annotated[Path | None, Parameter(name="--continue")] = None
    fill: tuple[str, ...] = ()
    guide: tuple[str, ...] = ()
    solver: Literal["euler", "heun", "dpm_solver_2m"] | None = None
    times: Literal["even", "exponential"] = "even"
    rescale: float = 0.0
    at_once: int = 16
    wav_only: bool = False

    def __post_init__(self) -> None:
        if self.go_on is not None and self.fill:
            raise ArgumentError("--continue keeps a whole file and --fill parts of one: give one of them")
        if self.at_once < 1:
            raise ArgumentError(f"--at-once must be at least 1, not {self.at_once}")
        if not 0 <= self.rescale <= 1:
            raise ArgumentError(f"--rescale goes from 0 to 1 and is {self.rescale}")

    def gaps(self) -> tuple[Gap, ...]:
        """The spans to fill."""
        return tuple(_gap(text) for text in self.fill)

    def guidance(self, of_all: float) -> float | dict[Modality, float]:
        """Guidance as the model takes it: of everything, or of each modality."""
        if not self.guide:
            return of_all
        found: dict[Modality, float] = {}
        for text in self.guide:
            match = re.fullmatch(r"([a-z]+)=(-?\d+(?:\.\d+)?)", text)
            modality = next((one for one in MODALITIES if match and one == match[1]), None)
            if match is None or modality is None:
                raise ArgumentError(f"--guide {text!r} is not of the form text=5 (or video=, audio=)")
            found[modality] = float(match[2])
        return found


PLAIN = Manner()


def _gap(text: str) -> Gap:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)", text)
    if match is None or not float(match[1]) < float(match[2]):
        raise ArgumentError(f"--fill {text!r} is not a span in s, as 1.5-3")
    return float(match[1]), float(match[2])


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


def write_mp4(path: Path, video: Path, sound: Path, seconds: float) -> Path:
    """Write a video with a sound laid under it, in one step."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            laid = lay_under(video, sound, Path(scratch), seconds=seconds)
        except ClipError as error:
            raise ArgumentError(f"no sound can be laid under the video {video}: {error}") from error
        write_bytes(path, laid.read_bytes())
    return path


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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wanted:
    """One file to be written.

    Args:
        prompt: What it is made from.
        seed: Of its noise.
        file: Where it goes.
        about: What is written beside it.
    """

    prompt: Prompt
    seed: tuple[int, int]
    file: Path
    about: dict[str, Any]

    def movie(self, manner: Manner) -> Path | None:
        """The MP4 that goes with it."""
        return None if self.prompt.video is None or manner.wav_only else self.file.with_suffix(".mp4")

    def is_there(self, manner: Manner) -> bool:
        """Whether all its files are written."""
        files = (self.file, self.file.with_suffix(".json"), self.movie(manner))
        return all(file is None or file.is_file() for file in files)


class _Maker:
    """Makes sounds of a loaded model, some at once, and writes them."""

    def __init__(self, model: AudioX, settings: dict[str, Any], manner: Manner) -> None:
        self.model, self.settings, self.manner = model, settings, manner
        side_px = int(getattr(model.encoders.frames, "side_px", 224))
        self.media = Media(side_px=side_px, codec=model.codec, seconds=settings["seconds"])

    def make(self, wanted: Sequence[_Wanted], progress: Progress) -> None:
        """Make and write some sounds."""
        more: MorePrompts = {}
        for name in MEDIA:
            given = [self.media.of(one.prompt, name) for one in wanted]
            if any(one is not None for one in given):
                more[name] = given  # type: ignore[literal-required]
        if gaps := self._gaps(wanted[0].prompt):
            more["gaps"] = gaps
        manner, settings = self.manner, self.settings
        try:
            waves_BCT = self.model.generate(
                [one.prompt.text for one in wanted],
                seconds=settings["seconds"],
                steps=settings["steps"],
                guidance=manner.guidance(settings["guidance"]),
                seed=[one.seed for one in wanted],
                sampling=Sampling(solver=manner.solver, times=manner.times, rescale=manner.rescale),
                on_step=lambda done, total: progress.advance(),
                **more,
            ).numpy()
        except (ValueError, FloatingPointError) as error:
            raise ArgumentError(str(error)) from error
        for one, wave_CT in zip(wanted, waves_BCT, strict=True):
            write_wav(one.file, wave_CT, self.model.codec.sample_rate_hz, one.about)
            if (movie := one.movie(manner)) is not None and one.prompt.video is not None:
                write_mp4(movie, one.prompt.video, one.file, settings["seconds"])

    def _gaps(self, prompt: Prompt) -> tuple[Gap, ...]:
        if self.manner.go_on is None:
            return self.manner.gaps()
        kept = self.media.of(prompt, "audio")
        seconds = self.settings["seconds"]
        kept_s = 0.0 if kept is None else kept.shape[-1] / self.model.codec.sample_rate_hz
        if kept_s >= seconds:
            raise ArgumentError(
                f"{self.manner.go_on} lasts {kept_s:.2f} s and --seconds is {seconds}: nothing is left to be made"
            )
        return ((kept_s, seconds),)


def _asked(text: list[str] | None, media: tuple[Path | None, ...], manner: Manner) -> list[Prompt]:
    """The prompts of a call; `media` are its video, image, audio and music."""
    video, image, audio, music = media
    if manner.prompts is None:
        if not text and not any(media):
            raise ArgumentError("give --text, --video, --image, --audio, --music, --continue or --prompts")
        return [Prompt(text=one, video=video, image=image, audio=audio, music=music) for one in text or [""]]
    if text or any(media):
        raise ArgumentError("--prompts names all prompts: give neither text nor media beside it")
    found = read_prompts(manner.prompts)
    if manner.fill and any(one.audio is None for one in found):
        raise ArgumentError(f"--fill needs audio in every prompt of {manner.prompts}")
    return found


def generate(
    run: Path,
    /,
    *,
    text: Annotated[list[str] | None, Parameter(name="--text")] = None,
    video: Path | None = None,
    image: Path | None = None,
    audio: Path | None = None,
    seconds: float = 4.0,
    count: int = 1,
    steps: int = 25,
    guidance: float = 3.0,
    seed: int = 0,
    out: Path | None = None,
    manner: Annotated[Manner, Parameter(name="*")] = PLAIN,
) -> GenerateResult:
    """Generate sounds from texts, a video, a picture, a sound, or any mix; those that are there are not made again.

    Args:
        run: Folder of a finished run, or of a model.
        text: What is to be heard; may be given several times.
        video: A video to make the sound for; also written as MP4 with the sound laid under it.
        image: A picture to make the sound for.
        audio: A sound that it should be like; with --fill, one that is kept elsewhere.
        seconds: Length of the sounds, s.
        count: Sounds for each prompt.
        steps: Steps of the solver; more is better and slower.
        guidance: How strongly the prompt is followed; 1 is as learned.
        seed: Of the noise.
        out: Folder for the files; RUN/generated when not given.
        manner: How else.
    """
    begun = time.perf_counter()
    if manner.fill and audio is None and manner.prompts is None:
        raise ArgumentError("--fill needs --audio")
    if manner.go_on is not None and audio is not None:
        raise ArgumentError("--continue is the sound that is kept: give no --audio beside it")
    media = (video, image, audio or manner.go_on, manner.music)
    settings = {"seconds": seconds, "steps": steps, "guidance": guidance, "seed": seed}
    folder = (out or run / "generated").resolve()
    _require({**settings, "count": count}, folder, manner)
    given = [(one, copy) for one in _asked(text, media, manner) for copy in range(count)]
    wanted = _named(given, folder, {**settings, **_changes(manner), "network_sha256": _weights_sha256(run)})
    missing = [one for one in wanted if not one.is_there(manner)]
    if missing:
        _require_hearing(run, [one.prompt for one in missing], manner)
        maker = _Maker(_load(run), settings, manner)
        parts = [missing[first : first + manner.at_once] for first in range(0, len(missing), manner.at_once)]
        with Progress("generate", total=steps * len(parts), unit="steps") as progress:
            for part in parts:
                maker.make(part, progress)
    return GenerateResult([one.file for one in wanted], time.perf_counter() - begun)


def _require(settings: dict[str, Any], folder: Path, manner: Manner) -> None:
    """Refuses what cannot be made, before anything is loaded."""
    for name, least in (("count", 1), ("steps", 1), ("seed", 0)):
        if settings[name] < least:
            raise ArgumentError(f"--{name} must be at least {least}, not {settings[name]}")
    seconds = settings["seconds"]
    if not 0 < seconds <= MOST_SECONDS:
        raise ArgumentError(f"--seconds is {seconds}: it must be above 0 and at most {MOST_SECONDS:g}")
    if not math.isfinite(settings["guidance"]):
        raise ArgumentError(f"--guidance must be a finite number, not {settings['guidance']}")
    manner.guidance(settings["guidance"])
    if late := [begin_s for begin_s, _ in manner.gaps() if begin_s >= seconds]:
        raise ArgumentError(f"--fill begins at {late[0]:g} s and --seconds is {seconds:g}: nothing is there to fill")
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        raise ArgumentError(f"--out {folder}: {there} is a file, name a folder")


def _require_hearing(run: Path, prompts: Sequence[Prompt], manner: Manner) -> None:
    """Refuses prompts of sound for a network that reads none, before its weights are loaded."""
    if manner.fill or manner.go_on is not None or not any(one.audio or one.music for one in prompts):
        return
    try:
        sizes = sizes_of(run)
    except UNLOADABLE as error:
        raise ArgumentError(f"no model can be loaded from {run}: {error}") from error
    if not sizes.adapters.audio:
        raise ArgumentError(
            f"the network of {run} was trained without prompts of sound: give text or pictures, --continue, or --fill"
        )


def _changes(manner: Manner) -> dict[str, Any]:
    """What of the manner changes the sounds, where it is not as usual."""
    usual = replace(PLAIN)
    names = ("fill", "guide", "solver", "times", "rescale")
    changed = {name: getattr(manner, name) for name in names if getattr(manner, name) != getattr(usual, name)}
    return {**changed, **({"continues": True} if manner.go_on is not None else {})}


def _named(prompts: Sequence[tuple[Prompt, int]], folder: Path, made_by: dict[str, Any]) -> list[_Wanted]:
    """Where each sound goes: named by its number and by all that decides it."""
    found, identities = [], {prompt: prompt.identity() for prompt, _ in set(prompts)}
    for number, (prompt, copy) in enumerate(prompts):
        seed = (made_by["seed"], number) if prompt.seed is None else (prompt.seed, copy)
        about = {**identities[prompt], "number": number, **made_by, "seed": seed[0]}
        file = folder / f"{number:03d}-{short_hash(about, 8)}.wav"
        found.append(_Wanted(prompt=prompt, seed=seed, file=file, about=about))
    return found
