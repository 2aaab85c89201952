"""What is rarely said about how something is made; every system knows some of it, and refuses the rest."""

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from curation.errors import ArgumentError
from curation.keys import file_sha256
from models.audiox.conditioning import MODALITIES, Modality
from models.audiox.prompts import Gap
from retrieval_index.manifest import MANIFEST_FILE

GENERAL = frozenset({"prompts", "at_once", "wav_only"})
"""What concerns the files and the memory, and so every system."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manner:
    """What is rarely said about how something is made.

    Args:
        prompts: JSONL or CSV with a prompt a line, of text, transcript, video, image, audio, music and seed.
        transcript: What is said, in words, by a model of speech (AudioLDM 2); may be given several times, each with
            the text of its place or with the only one.
        music: A sound file; what is made goes on from there.
        go_on: A sound file that is kept, and that goes on until --seconds.
        fill: A span of --audio that is made anew while the rest is kept, in s, as 1.5-3; again for each further span.
        guide: Guidance of one modality, as text=5 or video=3 or audio=1; those not named are then 1.
        solver: euler, heun, dpm_solver_2m or dpm_solver_3m_sde (which draws noise on its way); the usual one of the
            network's kind when not given.
        times: How steps are laid out: even, or exponential as AudioX's authors do.
        rescale: How far the spread that guidance adds is taken back, 0 to 1.
        candidates: Sounds that are made for each that is kept, the one nearest to the words by CLAP (AudioLDM 2).
        index: Folder of a search index from which neighbours of the words are taken (Re-AudioLDM).
        neighbours: How many of them; as many as it was trained with when not given.
        at_once: How many are made at once; changes memory and speed.
        wav_only: With a video, write no MP4 with the sound laid under it.
    """

    prompts: Path | None = None
    transcript: tuple[str, ...] = ()
    music: Path | None = None
    go_on: Annotated[Path | None, Parameter(name="--continue")] = None
    fill: tuple[str, ...] = ()
    guide: tuple[str, ...] = ()
    solver: Literal["euler", "heun", "dpm_solver_2m", "dpm_solver_3m_sde"] | None = None
    times: Literal["even", "exponential"] = "even"
    rescale: float = 0.0
    candidates: int = 1
    index: Path | None = None
    neighbours: int | None = None
    at_once: int = 16
    wav_only: bool = False

    def __post_init__(self) -> None:
        if self.go_on is not None and self.fill:
            raise ArgumentError("--continue keeps a whole file and --fill parts of one: give one of them")
        for option, value in (("at-once", self.at_once), ("candidates", self.candidates)):
            if value < 1:
                raise ArgumentError(f"--{option} must be at least 1, not {value}")
        if self.neighbours is not None and self.neighbours < 0:
            raise ArgumentError(f"--neighbours must be at least 0, not {self.neighbours}")
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

    def changed(self) -> dict[str, Any]:
        """What is not as usual, by name."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in given.items() if value != getattr(PLAIN, name)}

    def identity(self) -> dict[str, Any]:
        """What of it decides what is made, where it is not as usual: an index by its content.

        Raises:
            ArgumentError: The index is none.
        """
        decides = {
            name: value for name, value in self.changed().items() if name not in GENERAL | {"music", "transcript"}
        }
        if decides.pop("go_on", None) is not None:
            decides["continues"] = True
        if (index := decides.pop("index", None)) is not None:
            if not (index / MANIFEST_FILE).is_file():
                raise ArgumentError(f"--index {index} is no search index; `foundsound index` makes one")
            decides["index_sha256"] = file_sha256(index / MANIFEST_FILE)
        return decides


PLAIN = Manner()


def option_of(name: str) -> str:
    """What a field of `Manner` is called on the command line."""
    return "--continue" if name == "go_on" else f"--{name.replace('_', '-')}"


def _gap(text: str) -> Gap:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)", text)
    if match is None or not float(match[1]) < float(match[2]):
        raise ArgumentError(f"--fill {text!r} is not a span in s, as 1.5-3")
    return float(match[1]), float(match[2])
