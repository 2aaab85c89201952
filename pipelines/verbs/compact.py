"""`foundsound compact`: many small parts of the tables become few."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from curation.compact import Compaction, table_folders
from curation.compact import compact as compact_tables
from curation.dataset import Dataset
from pipelines.progress import Progress


@dataclass(frozen=True, slots=True)
class CompactResult:
    """What became of the tables that had several parts."""

    tables: list[Compaction]

    def as_dict(self) -> dict[str, Any]:
        """For every table that was merged: parts before and after, rows, files deleted, seconds."""
        return {"tables": [asdict(table) for table in self.tables]}

    def __str__(self) -> str:
        lines = [
            f"{table.table:<40} {table.parts_before:>7,} parts to {table.parts_after}, {table.rows:,} rows, "
            f"{table.seconds:.1f} s"
            for table in self.tables
        ]
        return "\n".join(lines or ["every table has one part already"])


def compact(dataset: Path, /) -> CompactResult:
    """Merge the small part files of every table, as runs do by themselves when there are many.

    Other processes may read and append meanwhile.

    Args:
        dataset: Folder of the dataset.
    """
    opened = Dataset(dataset)
    done: list[Compaction] = []
    folders = len(table_folders(opened))
    with Progress("compact", total=folders, unit="tables") as progress:
        for table in compact_tables(opened):
            done.append(table)
            progress.advance()
        progress.advance(folders - len(done))
    return CompactResult(done)
