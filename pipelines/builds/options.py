"""What a user says of a build, and the commands of its steps."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from curation.errors import ArgumentError
from pipelines.verbs.ways import DIRECT, Ways

SPLITS = ("train", "val", "test")

LAYOUTS: Mapping[str, str] = {
    "audiocaps-val": "audiocaps",
    "audiocaps-test": "audiocaps",
    "vggsound-test": "vggsound",
    "musiccaps": "musiccaps",
    "v2m-bench": "v2m",
}
"""Evaluation list -> layout of its file, as its authors publish it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a build.

    Args:
        verb: Its verb.
        words: What follows the verb on the command line.
    """

    verb: str
    words: tuple[str, ...]

    @property
    def command(self) -> list[str]:
        """The words after `foundsound`."""
        return [self.verb, *self.words]

    def __str__(self) -> str:
        return f"foundsound {shlex.join(self.shown())}"

    def shown(self) -> list[str]:
        """The words without the user and password of an address."""
        return [re.sub(r"(://)[^/@\s]+@", r"\1***@", word) for word in self.command]


def _words(ways: Ways) -> list[str]:
    """The options that say what differs from the default."""
    words = []
    for field in fields(ways):
        value, option = getattr(ways, field.name), f"--{field.name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value != field.default:
            each = value if isinstance(value, tuple) else (value,)
            words += [word for one in each for word in (option, str(one))]
    return words


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOptions:
    """What the steps are made from.

    Args:
        out: Folder of the dataset.
        lists: Published lists: FILE, or SPLIT=FILE where the files say no split.
        sources: Where media come from, in order of preference.
        ways: The ways out of this machine and what bounds them.
        guards: NAME=FILE of evaluation lists, NAME:LAYOUT=FILE for names that are not known here.
        unguarded: Names of evaluation lists that are left out on purpose.
        tagger: Weights of an AudioSet tagger; None tags nothing.
        captioner: As for `caption`.
        embedder: As for `embed`; None makes no vectors and no index.
        rules: Names of published thresholds, separated by commas; None takes the recipe's, an empty text takes none.
        workers: As for the stages; 0 works in this process.
        address: Address of a Ray cluster.
    """

    out: Path
    lists: Sequence[str]
    sources: Sequence[str] = ()
    ways: Ways = DIRECT
    guards: Sequence[str] = ()
    unguarded: Sequence[str] = ()
    tagger: str | None = None
    captioner: str = "label"
    embedder: str | None = None
    rules: str | None = None
    workers: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        if not self.lists:
            raise ArgumentError("a build needs the published list: give --list FILE")

    def step(self, verb: str, *words: str) -> Step:
        """A command on the dataset."""
        return Step(verb, (str(self.out), *words))

    def stage(self, verb: str, *words: str) -> Step:
        """A command that runs a stage on the dataset, with its workers."""
        workers = () if self.workers is None else ("--workers", str(self.workers))
        address = () if self.address is None else ("--address", self.address)
        return self.step(verb, *words, *workers, *address)

    def fetch(self, verb: str) -> Step:
        """The step `fetch` or `segment`, with the sources and the ways to them."""
        sources = [word for source in self.sources for word in ("--from", source)]
        return self.stage(verb, *sources, *_words(self.ways))

    def guard_files(self, needed: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Name of every evaluation list -> layout and file.

        Args:
            needed: Those that the recipe names.

        Raises:
            ArgumentError: One that is needed is not given, or what is given cannot be understood.
        """
        found: dict[str, tuple[str, str]] = {}
        for text in self.guards:
            named, _, file = text.partition("=")
            name, _, layout = named.partition(":")
            if not file or not (layout or name in LAYOUTS):
                raise ArgumentError(
                    f"--guard {text!r}: give NAME=FILE, as audiocaps-test=test.csv, with one of the names "
                    f"{', '.join(LAYOUTS)}, or NAME:LAYOUT=FILE for another list"
                )
            found[name] = (layout or LAYOUTS[name], file)
        missing = [name for name in needed if name not in {*found, *self.unguarded}]
        if missing:
            given = " ".join(f"--guard {name}=FILE" for name in missing)
            without = " ".join(f"--unguarded {name}" for name in missing)
            raise ArgumentError(
                f"this recipe must not train on {', '.join(missing)}: give {given}, or say {without} to do without"
            )
        return found
