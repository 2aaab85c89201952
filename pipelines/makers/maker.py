"""What makes sounds or pictures of prompts, whichever system it is, and how it is found by the folder of its run."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from curation.errors import ArgumentError
from curation.keys import file_sha256, short_hash
from models.model_folder import RUN_MODEL
from pipelines.makers.manner import GENERAL, PLAIN, Manner, option_of
from pipelines.prompts import MEDIA, Prompt
from pipelines.wiring.devices import load_quietly, loading

Made = npt.NDArray[np.float32] | npt.NDArray[np.uint8]
"""A sound (C, T) float32, full scale 1, or a picture (H, W, 3) uint8."""

Seed = tuple[int, int]
OnStep = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class How:
    """How things are made.

    Args:
        seconds: Length of sounds that are made, or are listened to, s, above 0.
        steps: Of the solver, at least 1.
        guidance: How strongly the prompt is followed; 1 is as learned.
        manner: What is rarely said.
    """

    seconds: float
    steps: int
    guidance: float
    manner: Manner = PLAIN

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise ArgumentError(f"--seconds is {self.seconds}: it must be above 0 and finite")
        if self.steps < 1:
            raise ArgumentError(f"--steps must be at least 1, not {self.steps}")
        if not math.isfinite(self.guidance):
            raise ArgumentError(f"--guidance must be a finite number, not {self.guidance}")

    def but(self, *, seconds: float | None, steps: int | None, guidance: float | None, manner: Manner) -> "How":
        """This, but for what is given."""
        return How(
            seconds=self.seconds if seconds is None else seconds,
            steps=self.steps if steps is None else steps,
            guidance=self.guidance if guidance is None else guidance,
            manner=manner,
        )


class Maker(Protocol):
    """A loaded model with all that it needs."""

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the sounds that it makes or listens to."""

    def make(
        self, prompts: Sequence[Prompt], seeds: Sequence[Seed], how: How, on_step: OnStep | None = None
    ) -> Sequence[Made]:
        """One thing for each prompt, all at once; each depends on its own prompt and seed alone.

        Raises:
            ArgumentError: A prompt is of a kind, or a number out of a range, that the model was not made for, a file
                cannot be read, or what comes out is not finite.
        """


def trained_seconds(run: Path) -> float | None:
    """Length of the samples that a run was trained on, s; None where its folder does not say."""
    config = run / "config.json"
    told = json.loads(config.read_text()) if config.is_file() else {}
    seconds = told.get("settings", {}).get("data", {}).get("seconds")
    return float(seconds) if isinstance(seconds, int | float) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class System:
    """What is known of a system before its weights are read.

    Args:
        weights: Patterns of the files of its weights in a model's folder; the first has to be there.
        load: Gives the maker of a run's or model's folder; raises what loading weights raises.
        media: What of a prompt it takes beside text.
        takes_text: Whether it takes text.
        options: Fields of `Manner` that it takes.
        makes: Sounds or pictures.
        usual: Seconds, steps and guidance where nothing is said, neither by a run of its training.
        seconds_of: How long sounds of a run or model usually are, s; None: as the run's training samples.
        check: Refuses prompts that one model of the system cannot take, before its weights are read.
    """

    weights: tuple[str, ...]
    load: Callable[[Path], Maker]
    media: frozenset[str] = frozenset()
    takes_text: bool = True
    options: frozenset[str] = frozenset()
    makes: Literal["sound", "picture"] = "sound"
    usual: How = How(seconds=4.0, steps=25, guidance=3.0)
    seconds_of: Callable[[Path], float] | None = None
    check: Callable[[Path, Sequence[Prompt], Manner], None] | None = None

    def usual_of(self, run: Path) -> How:
        """Seconds, steps and guidance of a run where nothing is said.

        Raises:
            ArgumentError: What the run says of itself cannot be read.
        """
        with loading("model", run):
            if self.seconds_of is not None:
                return replace(self.usual, seconds=self.seconds_of(run))
            seconds = trained_seconds(run) if self.makes == "sound" else None
        return self.usual if seconds is None else replace(self.usual, seconds=seconds)

    def require(self, name: str, prompts: Sequence[Prompt], manner: Manner) -> None:
        """Refuses prompts and options that it has no use for.

        Raises:
            ArgumentError: Which.
        """
        useless = sorted(manner.changed().keys() - GENERAL - self.options)
        if useless:
            raise ArgumentError(f"a run of {name} knows no {option_of(useless[0])}")
        for kind in MEDIA:
            if kind not in self.media and any(getattr(prompt, kind) for prompt in prompts):
                raise ArgumentError(f"a run of {name} takes no --{kind}")
        if not self.takes_text and any(prompt.text for prompt in prompts):
            raise ArgumentError(f"a run of {name} takes no --text")
        if "transcript" not in self.options and any(prompt.transcript for prompt in prompts):
            raise ArgumentError(f"a run of {name} takes no --transcript")

    def model_in(self, run: Path) -> Path:
        """The folder with the model: the run's own, or `model` in it.

        Raises:
            ArgumentError: There is none.
        """
        found = model_in(run, self)
        if found is None:
            raise ArgumentError(
                f"{run} holds no trained model that makes sounds or pictures ({self.weights[0]}); give the folder of a "
                "run of AudioX, AudioLDM 2, Re-AudioLDM or AudioToken that has ended"
            )
        return found

    def weights_sha256(self, run: Path) -> str:
        """Hash of a run's weights, so that what an older model made is not taken for its work."""
        folder = self.model_in(run)
        files = sorted({file for pattern in self.weights for file in folder.glob(pattern)})
        sums = [file_sha256(file) for file in files]
        return sums[0] if len(sums) == 1 else short_hash(sums, 64)

    def loaded(self, run: Path) -> Maker:
        """The maker of a run.

        Raises:
            ArgumentError: It cannot be loaded.
        """
        load_quietly()
        with loading("model", run):
            return self.load(run)


SYSTEMS = ("audiox", "audiotoken", "re_audioldm", "audioldm2")
"""Names of the systems, and of the files beside this one that hold a `SYSTEM`."""


def model_in(run: Path, system: System) -> Path | None:
    """The folder with a model of a system, or None."""
    places = (run / RUN_MODEL, run)
    return next((place for place in places if next(place.glob(system.weights[0]), None) is not None), None)


def system_named(name: str) -> System:
    """A system by its name."""
    found: System = import_module(f"pipelines.makers.{name}").SYSTEM
    return found


def name_of(run: Path) -> str:
    """Name of the system whose model a folder, or `model` in it, holds; AudioX where it does not say.

    Raises:
        ArgumentError: There is no such folder, or it is of a system that is not known.
    """
    if not run.is_dir():
        raise ArgumentError(f"there is no folder {run}; give that of a run, or of a saved model")
    for place in (run / RUN_MODEL, run):
        files = (("config.json", "system"), ("foundsound.json", "system"), ("model_index.json", "_class_name"))
        for file, key in files:
            told = _told(place / file, key)
            if told is not None:
                name = {"AudioLDM2Pipeline": "audioldm2"}.get(told, told)
                if name not in SYSTEMS:
                    raise ArgumentError(f"{place / file} is of {told!r}: known are {', '.join(SYSTEMS)}")
                return name
    return SYSTEMS[0]


def _told(file: Path, key: str) -> str | None:
    """What a file of JSON says; None where it says nothing, or is none."""
    try:
        told = json.loads(file.read_text(encoding="utf-8")).get(key)
    except (OSError, ValueError, AttributeError):
        return None
    return told if isinstance(told, str) else None
