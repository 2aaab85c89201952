"""`foundsound generate`: sounds from words, pictures and sounds, or pictures from sounds, by a trained run."""

import io
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import soundfile
from cyclopts import Parameter

from curation.errors import ArgumentError, ClipError
from curation.keys import short_hash
from curation.programs.soundtrack import lay_under
from curation.tables import write_bytes
from pipelines.makers.maker import How, Maker, System, name_of, system_named
from pipelines.makers.manner import PLAIN, Manner
from pipelines.progress import Progress
from pipelines.prompts import Prompt, read_prompts

SUFFIXES = {"sound": ".wav", "picture": ".png"}

MOST_SECONDS = 600.0
"""Longest sound that is made, s. Ours: sixty times what AudioX was trained on; slips beyond fill the memory."""


@dataclass(frozen=True, slots=True)
class GenerateResult:
    """The sounds or pictures that were written."""

    files: list[Path]
    seconds: float
    movies: Sequence[Path] = ()

    def as_dict(self) -> dict[str, Any]:
        """The files, the videos with sounds laid under them, and the time."""
        files, movies = ([str(file) for file in some] for some in (self.files, self.movies))
        return {"files": files, "movies": movies, "seconds": self.seconds}

    def __str__(self) -> str:
        return "\n".join(str(file) for file in (*self.files, *self.movies))


def write_wav(path: Path, wave_CT: np.ndarray, sample_rate_hz: int, about: dict[str, Any]) -> Path:
    """Write a 16-bit wav in one step, and beside it what it was made from."""
    content = io.BytesIO()  # libsndfile says of a full disk no more than "System error"
    soundfile.write(content, wave_CT.T, sample_rate_hz, subtype="PCM_16", format="WAV")
    write_bytes(path, content.getvalue())
    write_bytes(path.with_suffix(".json"), json.dumps(about, indent=1, ensure_ascii=False).encode())
    return path


def write_picture(path: Path, pixels_HW3: np.ndarray, about: dict[str, Any]) -> Path:
    """Write a PNG in one step, and beside it what it was made from."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels_HW3).save(content, format="PNG")
    write_bytes(path, content.getvalue())
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


def _make_all(system: System, run: Path, wanted: Sequence[_Wanted], how: How) -> None:
    """Make and write what is wanted, some at once."""
    if system.check is not None:
        system.check(run, [one.prompt for one in wanted], how.manner)
    maker, at_once = system.loaded(run), how.manner.at_once
    parts = [wanted[first : first + at_once] for first in range(0, len(wanted), at_once)]
    with Progress("generate", total=how.steps * len(parts), unit="steps") as progress:
        for part in parts:
            _make(maker, part, how, progress)


def _make(maker: Maker, wanted: Sequence[_Wanted], how: How, progress: Progress) -> None:
    """Make some things at once, and write each."""
    prompts, seeds = [one.prompt for one in wanted], [one.seed for one in wanted]
    made = maker.make(prompts, seeds, how, on_step=lambda done, total: progress.advance())
    for one, content in zip(wanted, made, strict=True):
        if one.file.suffix == SUFFIXES["picture"]:
            write_picture(one.file, content, one.about)
            continue
        write_wav(one.file, content, maker.sample_rate_hz, one.about)
        if (movie := one.movie(how.manner)) is not None and one.prompt.video is not None:
            write_mp4(movie, one.prompt.video, one.file, how.seconds)


def _asked(text: list[str] | None, media: tuple[Path | None, ...], manner: Manner) -> list[Prompt]:
    """The prompts of a call; `media` are its video, image, audio and music."""
    video, image, audio, music = media
    if manner.prompts is None:
        if not text and not manner.transcript and not any(media):
            raise ArgumentError(
                "give --text, --transcript, --video, --image, --audio, --music, --continue or --prompts"
            )
        return [
            Prompt(text=one, transcript=said, video=video, image=image, audio=audio, music=music)
            for one, said in _beside(text or [""], manner.transcript or ("",))
        ]
    if text or manner.transcript or any(media):
        raise ArgumentError("--prompts names all prompts: give neither text nor media beside it")
    found = read_prompts(manner.prompts)
    if manner.fill and any(one.audio is None for one in found):
        raise ArgumentError(f"--fill needs audio in every prompt of {manner.prompts}")
    return found


def _beside(texts: Sequence[str], said: Sequence[str]) -> list[tuple[str, str]]:
    """Each text with what is said; where there is one of either, it goes with all of the others."""
    if len(texts) != len(said) and 1 not in (len(texts), len(said)):
        raise ArgumentError(f"{len(texts)} --text and {len(said)} --transcript: give as many, or one of either")
    count = max(len(texts), len(said))
    return [(texts[number % len(texts)], said[number % len(said)]) for number in range(count)]


def generate(
    run: Path,
    /,
    *,
    text: Annotated[list[str] | None, Parameter(name="--text")] = None,
    video: Path | None = None,
    image: Path | None = None,
    audio: Path | None = None,
    seconds: float | None = None,
    count: int = 1,
    steps: int | None = None,
    guidance: float | None = None,
    seed: int = 0,
    out: Path | None = None,
    manner: Annotated[Manner, Parameter(name="*")] = PLAIN,
) -> GenerateResult:
    """Generate sounds from texts, a video, a picture, a sound, or any mix; those that are there are not made again.

    A run of AudioToken makes pictures from sounds.

    Args:
        run: Folder of a finished run, or of a model.
        text: What is to be heard; may be given several times.
        video: A video to make the sound for; also written as MP4 with the sound laid under it.
        image: A picture to make the sound for.
        audio: A sound that it should be like; with --fill, one that is kept elsewhere.
        seconds: Length of the sounds, s; that of the samples it was trained on when not given, 4 s for AudioX where its
            folder does not say it.
        count: Sounds for each prompt.
        steps: Steps of the solver; more is better and slower. AudioX usually has 25.
        guidance: How strongly the prompt is followed; 1 is as learned. AudioX usually has 3.
        seed: Of the noise.
        out: Folder for the files; RUN/generated when not given.
        manner: How else.
    """
    begun = time.perf_counter()
    if manner.fill and audio is None and manner.prompts is None:
        raise ArgumentError("--fill needs --audio")
    if manner.go_on is not None and audio is not None:
        raise ArgumentError("--continue is the sound that is kept: give no --audio beside it")
    name = name_of(run)
    system = system_named(name)
    how = system.usual_of(run).but(seconds=seconds, steps=steps, guidance=guidance, manner=manner)
    folder = (out or run / "generated").resolve()
    _require(how, {"count": count, "seed": seed}, folder)
    asked = _asked(text, (video, image, audio or manner.go_on, manner.music), manner)
    system.require(name, asked, manner)
    made_by: dict[str, Any] = {"seconds": how.seconds, "steps": how.steps, "guidance": how.guidance, "seed": seed}
    made_by |= {**manner.identity(), "network_sha256": system.weights_sha256(run)}
    wanted = _named([(one, copy) for one in asked for copy in range(count)], folder, made_by, SUFFIXES[system.makes])
    missing = [one for one in wanted if not one.is_there(manner)]
    if missing:
        _make_all(system, run, missing, how)
    movies = [movie for one in wanted if (movie := one.movie(manner)) is not None]
    return GenerateResult([one.file for one in wanted], time.perf_counter() - begun, movies)


def _require(how: How, counts: dict[str, int], folder: Path) -> None:
    """Refuses what cannot be made, before anything is loaded."""
    for name, value in counts.items():
        if value < (least := 0 if name == "seed" else 1):
            raise ArgumentError(f"--{name} must be at least {least}, not {value}")
    seconds = how.seconds
    if seconds > MOST_SECONDS:
        raise ArgumentError(f"--seconds is {seconds}: it must be above 0 and at most {MOST_SECONDS:g}")
    how.manner.guidance(how.guidance)
    if late := [begin_s for begin_s, _ in how.manner.gaps() if begin_s >= seconds]:
        raise ArgumentError(f"--fill begins at {late[0]:g} s and --seconds is {seconds:g}: nothing is there to fill")
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        raise ArgumentError(f"--out {folder}: {there} is a file, name a folder")


def _named(prompts: Sequence[tuple[Prompt, int]], folder: Path, made_by: dict[str, Any], suffix: str) -> list[_Wanted]:
    """Where each thing goes: named by its number and by all that decides it."""
    found, identities = [], {prompt: prompt.identity() for prompt, _ in set(prompts)}
    for number, (prompt, copy) in enumerate(prompts):
        seed = (made_by["seed"], number) if prompt.seed is None else (prompt.seed, copy)
        about = {**identities[prompt], "number": number, **made_by, "seed": seed[0]}
        file = folder / f"{number:03d}-{short_hash(about, 8)}{suffix}"
        found.append(_Wanted(prompt=prompt, seed=seed, file=file, about=about))
    return found
