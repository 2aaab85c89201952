"""Rows in a Parquet file and a description of them as JSON beside it, which names their sha256: selections, duplicates.

The description is written last, so that after a kill between the two it is seen that they do not belong together.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from curation.errors import ArgumentError, DatasetError
from curation.keys import file_sha256
from curation.schema import SCHEMA_VERSION

T = TypeVar("T")


def read_described(path: Path, make: Callable[..., T], *, what: str, verb: str) -> T:
    """The description of a file of rows.

    Args:
        path: The rows, in a folder right below that of the dataset; the description has the same name with `.json`.
        make: Is given `name`, `path`, and the fields of the description but for its version; `sha256` is among them.
        what: What it is, for messages, as `selection`.
        verb: Which verb writes it.

    Raises:
        ArgumentError: There is none of this name.
        DatasetError: The description is damaged or of a newer version, or of other rows.
    """
    described = path.with_name(f"{path.stem}.json")
    again = f"run `foundsound {verb}` again"
    if not path.is_file() or not described.is_file():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.json"))) or "none"
        raise ArgumentError(
            f"{path.parents[1]} has no {what} {path.stem!r} (there are: {known}); make it with `foundsound {verb}`"
        )
    try:
        fields = json.loads(described.read_text(encoding="utf-8"))
        version = fields.pop("schema_version")
        if version <= SCHEMA_VERSION:
            made, sha256 = make(name=path.stem, path=path, **fields), fields["sha256"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{described} is damaged ({error}); {again}") from error
    if version > SCHEMA_VERSION:
        raise DatasetError(f"{described} has schema version {version}; this foundsound reads up to {SCHEMA_VERSION}")
    if file_sha256(path) != sha256:
        raise DatasetError(f"{path} is not the file that {described.name} describes; {again}")
    return made
