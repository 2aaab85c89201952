"""What a filter may name: columns of clips, of their videos and of what stages found.

Nothing that says where a file lies or how a machine is called is among them: texts are listed here one by one.
Numbers, switches and lists of texts of every stage of clips may be named.
"""

import re
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from curation.current import variants
from curation.dataset import Dataset
from curation.errors import ArgumentError

Kind = Literal["number", "text", "bool", "list"]

CLIPS: dict[str, Kind] = {
    "clip_id": "text",
    "start_ms": "number",
    "duration_ms": "number",
    "split": "text",
    "labels": "list",
    "lists": "list",
    "captions": "list",
    "caption_sources": "list",
}
"""Columns of `clips` as a condition sees them."""

VIDEOS: dict[str, Kind] = {"platform": "text", "video_id": "text"}

FETCHED: dict[str, Kind] = {
    "title": "text",
    "channel": "text",
    "channel_id": "text",
    "licence": "text",
    "language": "text",
    "upload_date": "text",
    "tags": "list",
    "categories": "list",
    "duration_s": "number",
}
"""Columns of `fetch`, not among them its addresses and ways out."""

TEXTS = frozenset({"state", "code", "text", "picture_code"})
"""Texts of other stages."""

HIDDEN = frozenset({"blob", "key", "input", "finished_at", "seconds", "attempt"})
"""Columns of every stage that describe the work and not the clip."""

_PART = re.compile(r'"([^"]+)"|([A-Za-z_]\w*)')


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a filter may name.

    Args:
        said: Its name, as `measure.loudness_lufs`.
        sql: The same, quoted.
        kind: What is in it.
    """

    said: str
    sql: str
    kind: Kind


class Columns:
    """The columns of a dataset that a filter may name.

    Args:
        tables: Table -> column -> kind.
    """

    def __init__(self, tables: dict[str, dict[str, Kind]]) -> None:
        self._known = {
            (table, name): Column(f"{table}.{name}", f'"{table}"."{name}"', kind)
            for table, columns in tables.items()
            for name, kind in columns.items()
        }

    @classmethod
    def of(cls, dataset: Dataset) -> "Columns":
        """Those of a dataset as it is now."""
        tables: dict[str, dict[str, Kind]] = {"clips": CLIPS, "videos": VIDEOS}
        if dataset.has_stage("fetch"):
            tables["fetch"] = FETCHED
        for name, (stage, _) in variants(dataset, {}).items():
            schema = dataset.sql(f'SELECT * FROM "{stage}" LIMIT 0').schema
            kinds = {field.name: _kind(field) for field in schema if field.name not in HIDDEN}
            tables[name] = {column: kind for column, kind in kinds.items() if kind is not None}
        return cls(tables)

    def named(self, text: str) -> Column:
        """The column of this name; without a table where only one has it.

        Raises:
            ArgumentError: There is none, or several.
        """
        parts = [quoted or bare for quoted, bare in _PART.findall(text)]
        if len(parts) == 2 and (parts[0], parts[1]) in self._known:
            return self._known[parts[0], parts[1]]
        found = [column for (_, name), column in self._known.items() if len(parts) == 1 and name == parts[0]]
        if len(found) == 1:
            return found[0]
        if found:
            raise ArgumentError(f"{text} is a column of several tables: {', '.join(column.said for column in found)}")
        raise ArgumentError(f"a filter cannot name {text[:60]!r}; the service lists the columns that it can")

    def as_dict(self) -> dict[str, Kind]:
        """Name -> kind of all of them."""
        return {column.said: column.kind for column in self._known.values()}


def _kind(field: pa.Field) -> Kind | None:
    """What a filter sees in a column; None where it may not name it."""
    kind = field.type
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return None if field.name.endswith("_bytes") else "number"
    if pa.types.is_string(kind) and field.name in TEXTS:
        return "text"
    return None
