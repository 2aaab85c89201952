"""The folder of a run, apart from its checkpoints: what was asked for, and what was reported.

config.json     the resolved settings, and the versions of what computed
log.jsonl       one line a report
"""

import fcntl
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import safetensors
import torch

_SHOWN, _SHOWN_CHARACTERS = 6, 160
"""Of settings that differ, how many are shown, and how much of each. Source: ours; what a terminal shows at once."""


def open_run(folder: Path, settings: Mapping[str, Any]) -> None:
    """Writes `config.json`, or checks that a run that is there was started with the same settings.

    Args:
        folder: Made if it is not there.
        settings: What determines the run's result, as JSON. How often it reports or saves does not belong here.

    Raises:
        ValueError: if the folder holds a run with other settings; names them. If what says its settings is damaged, or
            missing beside checkpoints.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.json"
    wanted = json.loads(json.dumps(settings))
    if path.exists():
        if different := sorted(_differences(_settings(path), wanted)):
            raise ValueError(
                f"{folder} holds a run with other settings ({_some(different)}): "
                "go on with those, or give another folder"
            )
        return
    if (saved := next(_checkpoints_in(folder), None)) is not None:
        raise ValueError(f"{saved} is of a run whose {path.name} is gone: put that back, or give another folder")
    write_whole(path, json.dumps({"settings": wanted, "versions": versions()}, indent=1) + "\n")


def _settings(path: Path) -> Any:
    """What a run was started with."""
    try:
        return json.loads(path.read_text())["settings"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged, put it back or give another folder: {error}") from error


def _checkpoints_in(folder: Path) -> Iterator[Path]:
    """What a run has saved, and the parts of one that has several; not what other runs below the folder have."""
    yield from folder.glob("checkpoints/*")
    for part in folder.glob("*/checkpoints"):
        if not (part.parent / "config.json").exists():
            yield from part.iterdir()


def _some(different: Sequence[str]) -> str:
    """The first of what differs; of another recipe's run that is nearly everything."""
    shown = [one if len(one) <= _SHOWN_CHARACTERS else f"{one[:_SHOWN_CHARACTERS]}..." for one in different[:_SHOWN]]
    more = len(different) - len(shown)
    return "; ".join([*shown, *([f"and {more} more"] if more else [])])


def versions() -> dict[str, str]:
    """Versions of what computes a run."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "safetensors": safetensors.__version__,
    }


class ReportLog:
    """`log.jsonl`: one JSON object a line, in order of steps."""

    def __init__(self, path: Path, *, after_step: int) -> None:
        """Opens a log; lines of steps that a resumed run will do again are removed, and a line that was cut short."""
        self.path = path
        if path.exists():
            lines = [line for line in path.read_text().splitlines() if _step_of(line) <= after_step]
            write_whole(path, "".join(line + "\n" for line in lines))

    def add(self, report: Mapping[str, float]) -> None:
        """Appends one report, which has a `step`."""
        with self.path.open("a") as file:
            file.write(json.dumps(report) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Writes a text file so that after a kill it is the old one or the new one."""
    partial = path.with_name(f".partial-{path.name}-{os.getpid()}")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def sync_path(path: Path) -> None:
    """Has the system put a file, or the names in a folder, on the disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Holds the folder of a run, made if it is not there; the kernel lets go of it when the process dies.

    Raises:
        BlockingIOError: another process trains there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "run.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(f"another process trains in {folder}: wait for it, or give another folder") from error
        yield


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except json.JSONDecodeError:  # The last line of a run that was killed while writing it.
        return float("inf")


def _differences(found: Any, wanted: Any, name: str = "") -> list[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        return [
            line
            for key in found.keys() | wanted.keys()
            for line in _differences(found.get(key), wanted.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if found == wanted else [f"{name}: {found!r} there, {wanted!r} here"]
