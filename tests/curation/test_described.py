"""A description is believed only where it is whole and of the rows beside it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from curation.described import read_described
from curation.errors import ArgumentError, DatasetError
from curation.keys import file_sha256
from curation.schema import SCHEMA_VERSION


@dataclass(frozen=True, kw_only=True)
class Described:
    name: str
    path: Path
    sha256: str
    count: int


def read(path: Path) -> Described:
    return read_described(path, Described, what="thing", verb="make")


def written(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "things" / "a.b.parquet"
    path.parent.mkdir()
    path.write_bytes(b"rows")
    fields = {"schema_version": SCHEMA_VERSION, "sha256": file_sha256(path), "count": 3, **changes}
    given = {key: value for key, value in fields.items() if value is not None}
    path.with_name("a.b.json").write_text(json.dumps(given))
    return path


def test_a_description_of_its_rows_is_read(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert read(path) == Described(name="a.b", path=path, sha256=file_sha256(path), count=3)
    with pytest.raises(ArgumentError, match=r"has no thing 'c' \(there are: a\.b\); make it with `foundsound make`"):
        read(path.with_name("c.parquet"))
    path.unlink()
    with pytest.raises(ArgumentError, match=r"has no thing 'a\.b'"):
        read(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sha256": "x"}, r"is not the file that a\.b\.json describes; run `foundsound make` again"),
        ({"sha256": None}, "damaged"),
        ({"count": None}, "damaged"),
        ({"more": 1}, "damaged"),
        ({"schema_version": SCHEMA_VERSION + 1}, "reads up to"),
        ({"schema_version": SCHEMA_VERSION + 1, "more": 1}, "reads up to"),
        ({"schema_version": "new"}, "damaged"),
    ],
)
def test_any_other_is_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=said):
        read(written(tmp_path, **changes))


@pytest.mark.parametrize("text", ["{", "[]", "null", '"x"'])
def test_what_is_no_object_is_damaged(text: str, tmp_path: Path) -> None:
    path = written(tmp_path)
    path.with_name("a.b.json").write_text(text)
    with pytest.raises(DatasetError, match="damaged"):
        read(path)
