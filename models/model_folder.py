"""The folder of a trained model: found in that of its run, read by its format, and written whole or not at all."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RUN_MODEL = "model"
"""Folder in that of a run, with what was trained."""


def model_in(folder: str | Path, *marks: str) -> Path:
    """The folder itself, or `model` in it.

    Args:
        folder: Of a model, or of the run that made it.
        marks: Files, any of which a model's folder has.

    Raises:
        FileNotFoundError: Neither has one.
    """
    for place in (Path(folder) / RUN_MODEL, Path(folder)):
        if any((place / mark).is_file() for mark in marks):
            return place
    raise FileNotFoundError(
        f"{folder} holds no trained model ({marks[0]}): give the folder of a run that has ended, or of a saved model"
    )


def read_config(file: Path, wanted: str, *needed: str) -> dict[str, Any]:
    """What the configuration of a model says.

    Args:
        file: JSON.
        wanted: The `format` that it must have.
        needed: Names that it must have too.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or of another format.
    """
    with damage_named(file):
        config = json.loads(file.read_text(encoding="utf-8"))
        told = config.get("format")
    if told != wanted:
        raise ValueError(f"{file} has format {told!r}, not {wanted!r}")
    if missing := [name for name in needed if name not in config]:
        raise ValueError(f"{file} is damaged, copy the model again: it has no {', '.join(missing)}")
    return dict(config)


@contextmanager
def damage_named(file: Path) -> Iterator[None]:
    """Has what is wrong with what a file says name the file: as a ValueError, whatever it is."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{file} is damaged, copy the model again: it has no {error}") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is damaged, copy the model again: {error}") from error


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """Has a folder written beside its place and then put there: it is whole or not there, and an older one stays till
    then.

    Args:
        folder: Where it shall be.

    Yields:
        Where it is written meanwhile.
    """
    partial = folder.with_name(f".partial-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
