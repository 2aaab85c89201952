"""A pretrained model pinned to its bytes: one folder on this machine, whether it came from the Hub or from a disk.

Only configuration, tokenizer and safetensors files are fetched or looked at; code that a model brings is never run. No
tensor is loaded here.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from curation.errors import ArgumentError
from curation.keys import file_sha256
from curation.weights_sums import weights_sha256

WEIGHTS = "*.safetensors"
SETTINGS = ("*.json", "*.jinja", "*.txt")
"""Configuration, tokenizer, chat template, and the index of the weights' shards."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pretrained:
    """Which model, exactly. Make one with `find`, on the machine that drives the work; workers open its `folder`.

    Args:
        name_or_path: Name on the Hub, or a folder.
        revision: Commit on the Hub; None for a folder.
        weights_sha256: sha256 of the safetensors file; of several, of the list of their names and hashes.
        settings_sha256: Hash of the other files that decide what the model says.
    """

    name_or_path: str
    revision: str | None
    weights_sha256: str
    settings_sha256: str

    @classmethod
    def find(cls, name_or_path: str | Path, *, revision: str | None = None) -> Self:
        """Fetch what is not here yet, pin the revision to a commit, and hash the files (see `weights_sums.py`).

        Args:
            name_or_path: Name on the Hub, or a folder written by `save_pretrained`.
            revision: Branch, tag or commit on the Hub; None takes its main branch.

        Raises:
            ArgumentError: The folder is not a model, or a revision was given for one.
        """
        given = str(name_or_path)
        is_folder = Path(given).is_dir()
        if is_folder and revision is not None:
            raise ArgumentError(f"{given} is a folder, which has no revision {revision!r}; leave the revision out")
        folder = Path(given).resolve() if is_folder else _snapshot(given, revision)
        weights = sorted(folder.glob(WEIGHTS))
        if not weights or not (folder / "config.json").is_file():
            raise ArgumentError(
                f"{given} is not a model of transformers with safetensors weights: it lacks "
                f"{'config.json' if weights else '*.safetensors'}; save it there with save_pretrained()"
            )
        settings = sorted(path for pattern in SETTINGS for path in folder.glob(pattern))
        return cls(
            name_or_path=str(folder) if is_folder else given,
            revision=None if is_folder else folder.name,
            weights_sha256=weights_sha256(weights[0]) if len(weights) == 1 else _sha256_of(weights, weights_sha256),
            settings_sha256=_sha256_of(settings, file_sha256),
        )

    @property
    def model(self) -> str:
        """The name to show: the name on the Hub, or the last part of the folder's path."""
        return self.name_or_path if self.revision is not None else Path(self.name_or_path).name

    def folder(self) -> Path:
        """The files on the machine that asks, fetched from the Hub if it is another than the one that found them."""
        return Path(self.name_or_path) if self.revision is None else _snapshot(self.name_or_path, self.revision)

    def model_type(self) -> str:
        """The family that `config.json` names, as `qwen2_audio`."""
        return str(json.loads((self.folder() / "config.json").read_text(encoding="utf-8")).get("model_type"))


def _snapshot(name: str, revision: str | None) -> Path:
    """Folder of the Hub's cache that is named for the commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    unavailable = (HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError)

    try:
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=[WEIGHTS, *SETTINGS], ignore_patterns=["*/*"])
        )
    except unavailable as error:
        raise ArgumentError(
            f"{name!r} is neither a folder here nor a model that can be had from the Hub "
            f"({str(error).splitlines()[0]}); check the name, or give the folder of a model saved by save_pretrained()"
        ) from error


def _sha256_of(paths: list[Path], sum_of: Callable[[Path], str]) -> str:
    """Hash of files with their names, so that two files that trade contents give another hash."""
    lines = "".join(f"{path.name} {sum_of(path)}\n" for path in paths)
    return hashlib.sha256(lines.encode()).hexdigest()
