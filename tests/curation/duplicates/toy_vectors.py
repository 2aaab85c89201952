"""A stage in the place of `embed`: two numbers a clip, given."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from curation.schema import column, table
from curation.stage import Outcome, Stage, Work, how
from curation.tables import Row


@dataclass(frozen=True, kw_only=True)
class ToyVectors(Stage):
    NAME, VERSION, GRAIN = "embed", 1, "clip"
    RESULTS: ClassVar[pa.Schema] = table(
        "",
        column("blob", pa.string(), ""),
        column("offset_bytes", pa.int64(), ""),
        column("windows", pa.int32(), ""),
        column("dimension", pa.int32(), ""),
    )
    places: dict[str, tuple[str, int]] = how()

    @property
    def label(self) -> str:
        return "toy"

    def requests(self) -> str:
        return "SELECT key, audio_sha256 AS input FROM cut WHERE state = 'done'"

    def open(self) -> Work:
        def work(rows: Sequence[Row]) -> list[Outcome]:
            return [
                Outcome(key=row["key"], values={"blob": blob, "offset_bytes": offset, "windows": 1, "dimension": 2})
                for row in rows
                for blob, offset in [self.places[row["key"]]]
            ]

        return work
