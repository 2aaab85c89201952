"""The facts of one stage with one identity: a folder of part files, and which identity is the current one.

facts/<stage>/<label>-<hash8>/part-*.parquet, identity.json
facts/<stage>/current.json                      label -> folder of the identity that ran last
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from curation.keys import canonical
from curation.schema import fact_schema
from curation.stage import Outcome, Stage
from curation.tables import SCHEMA_PART, append_part, rows_to_table, write_bytes, write_parquet

CURRENT_FILE = "current.json"
IDENTITY_FILE = "identity.json"
REQUESTS_FILE = "requests.sql"
"""What the stage works on, kept so that `status` can count it without the stage's weights and knobs."""


@dataclass(frozen=True, slots=True)
class FactTable:
    """Where a stage's facts of one identity are appended.

    Args:
        folder: `facts/<stage>/<label>-<hash8>`.
        schema: The fact columns and the stage's results.
    """

    folder: Path
    schema: pa.Schema

    @classmethod
    def of(cls, facts: Path, stage: Stage) -> Self:
        """The fact table of a stage below the folder `facts`; made, and marked current, when it is not there."""
        folder = facts / stage.NAME / stage.folder_name
        schema = fact_schema(stage.RESULTS)
        if not (folder / IDENTITY_FILE).is_file():
            write_parquet(folder / SCHEMA_PART, schema.empty_table())
            write_bytes(folder / IDENTITY_FILE, canonical(stage.identity()))
        return cls(folder, schema)

    def make_current(self, stage: Stage) -> None:
        """Let the SQL view of the stage read this identity under its label, and `status` count its requests."""
        label = stage.label
        schema_part = self.folder / SCHEMA_PART
        if set(self.schema.names) - set(pq.read_schema(schema_part).names):  # columns are added by later versions
            write_parquet(schema_part, self.schema.empty_table())
        requests = self.folder / REQUESTS_FILE
        if not requests.is_file() or requests.read_text() != stage.requests():
            write_bytes(requests, stage.requests().encode())
        known = {name: folder.name for name, folder in self.current(self.folder.parent).items()}
        if known.get(label) != self.folder.name:
            content = json.dumps({**known, label: self.folder.name}, indent=2, sort_keys=True)
            write_bytes(self.folder.parent / CURRENT_FILE, content.encode())

    @staticmethod
    def current(stage_folder: Path) -> dict[str, Path]:
        """Label -> folder of the identity that ran last, for the folder `facts/<stage>`; empty before the first run."""
        file = stage_folder / CURRENT_FILE
        if not file.is_file():
            return {}
        return {label: stage_folder / name for label, name in json.loads(file.read_text()).items()}

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Commit fact rows as one part."""
        append_part(self.folder, rows_to_table(rows, self.schema))


def fact_row(outcome: Outcome, *, input_hash: str, attempt: int, seconds: float) -> dict[str, Any]:
    """The row that records an outcome.

    Args:
        outcome: What became of the request.
        input_hash: Hash of what was read.
        attempt: 1 for the first try.
        seconds: How long it took, s.
    """
    error = outcome.error
    return {
        "key": outcome.key,
        "input": input_hash,
        "code": error.code.value if error else None,
        "detail": error.detail if error else None,
        "attempt": attempt,
        "seconds": seconds,
        "finished_at": datetime.now(UTC),
        **outcome.values,
    }
