"""The folder of a run, apart from its checkpoints: what was asked for, and what was reported.

config.json     the resolved settings, and the versions of what computed
log.jsonl       one line a report
"""

import fcntl
import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import safetensors
import torch


def open_run(folder: Path, settings: Mapping[str, Any]) -> None:
    """Writes `config.json`, or checks that a run that is there was started with the same settings.

    Args:
        folder: Made if it is not there.
        settings: What determines the run's result, as JSON. How often it reports or saves does not belong here.

    Raises:
        ValueError: if the folder holds a run with other settings; names them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.json"
    wanted = json.loads(json.dumps(settings))
    if path.exists():
        found = json.loads(path.read_text())["settings"]
        if different := sorted(_differences(found, wanted)):
            raise ValueError(
                f"{folder} holds a run with other settings ({', '.join(different)}): "
                "go on with those, or give another folder"
            )
        return
    write_whole(path, json.dumps({"settings": wanted, "versions": versions()}, indent=1) + "\n")


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
