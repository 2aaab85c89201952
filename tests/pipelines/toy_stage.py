"""A stage for tests of the runner: doubles a number, and fails as the number says."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from curation.errors import ClipError, Code
from curation.schema import column, table
from curation.stage import Stage, Work, each, how


@dataclass(frozen=True, kw_only=True)
class Double(Stage):
    NAME: ClassVar[str] = "double"
    VERSION: ClassVar[int] = 1
    RESULTS: ClassVar[pa.Schema] = table("Doubled numbers.", column("doubled", pa.int64(), "twice the number"))

    factor: int = 2
    seen: Path = how()
    bug_at: int = how(default=-1)
    dies_at: int = how(default=-1)

    def requests(self) -> str:
        return "SELECT clip_id AS key, clip_id AS input, start_ms FROM clips"

    def open(self) -> Work:
        def work(row: Mapping[str, Any]) -> dict[str, Any]:
            number = row["start_ms"]
            with (self.seen / str(number)).open("a") as file:
                file.write("x")
            if number == self.dies_at:
                os._exit(1)
            if number == self.bug_at:
                raise RuntimeError(f"a bug at {number}")
            if number % 10 == 3:
                raise ClipError(Code.NO_AUDIO, "ends in three")
            if number % 10 == 7 and row["attempts"] == 0:
                raise ClipError(Code.NETWORK, "ends in seven, first try")
            if number % 10 == 9:
                raise ClipError(Code.TIMEOUT, "ends in nine, always")
            return {"doubled": self.factor * number}

        return each(work)
