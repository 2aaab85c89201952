"""Rows of a list on their way into a dataset: annotations and rejects as parts, and what the rows name as a file.

The sure lines come as tables, keys computed by DuckDB; the others come one by one from the list's reader.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.aliases import known_as_sql
from curation.dataset import Dataset
from curation.keys import KEY_HEX_DIGITS
from curation.lists.row import Entry, ListRow, Reject
from curation.schema import ANNOTATIONS, CLIPS, VIDEOS
from curation.tables import Row, rows_to_table
from curation.takedowns.deny import denied

NAMED = pa.schema([*VIDEOS, *(field for field in CLIPS if field.name in ("clip_id", "start_ms", "duration_ms"))])
"""What one row of a list names: a video, and a clip of it where the row has a span."""

_KEY = f"substr(sha256('[\"youtube\",\"' || video_id || '\"' || {{span}} || ']'), 1, {KEY_HEX_DIGITS})"

_KEYED = f"""
SELECT *, {_KEY.format(span="''")} AS video_key,
    CASE WHEN start_ms IS NOT NULL THEN {_KEY.format(span="',' || start_ms || ',' || duration_ms")} END AS clip_id
FROM sure"""
"""`video_key` and `clip_id` of `curation/keys.py` in SQL: in canonical JSON ids of these characters need no escapes."""


class ListWriter:
    """Writes what a list says; nothing of it is seen before the list's source is committed.

    Args:
        dataset: Where to; its deny list is obeyed.
        name: Name of the list.
        root: Folder below which `path` rows lie.
        segment_ms: Length of the clips of videos without spans, ms.
        named: File for what the rows name; written with the columns of `NAMED`.
        progress: Is told how many rows have been read since it was told last.
    """

    def __init__(
        self,
        dataset: Dataset,
        name: str,
        *,
        root: str,
        segment_ms: int,
        named: Path,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.accepted = self.rejected = self.denied = 0
        self.first_reject: Reject | None = None
        self._dataset, self._name, self._root, self._segment_ms = dataset, name, root, segment_ms
        self._denied = denied(dataset.path)
        self._named = pq.ParquetWriter(named, NAMED, compression="zstd")
        self._connection = dataset.connect("")
        self._progress = progress

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._named.close()
        self._connection.close()

    def put(self, entries: Iterable[Entry]) -> None:
        """Write rows and rejects as a reader gives them."""
        read = list(entries)
        rows = [entry for entry in read if isinstance(entry, ListRow)]
        rejects = [entry for entry in read if isinstance(entry, Reject)]
        spans = [_named_row(row, self._root, self._segment_ms) for row in rows]
        annotations = [_annotation(row, span, self._name) for row, span in zip(rows, spans, strict=True)]
        self._write(rows_to_table(annotations, ANNOTATIONS), rows_to_table(spans, NAMED))
        self._dataset.append("rejects", ({"list": self._name, **asdict(reject)} for reject in rejects))
        self.rejected += len(rejects)
        self.first_reject = self.first_reject or next(iter(rejects), None)
        self._tell(len(read))

    def take(self, sure: pa.Table) -> None:
        """Write rows with the columns of `curation.lists.sieve.SURE`."""
        self._connection.register("sure", sure)
        keyed = self._connection.sql(_KEYED).to_arrow_table()
        is_clip = pc.is_valid(keyed["clip_id"])
        texts = ANNOTATIONS.field("labels").type
        has_label = pc.cast(pc.is_valid(keyed["label"]), pa.int32())
        ends = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(has_label).combine_chunks()])
        labels = pa.ListArray.from_arrays(ends, keyed["label"].drop_null().combine_chunks(), type=texts)
        annotations = {
            "key": pc.coalesce(keyed["clip_id"], keyed["video_key"]),
            "grain": pc.if_else(is_clip, "clip", "video"),
            "list": pa.repeat(pa.scalar(self._name), len(keyed)),
            "labels": labels,
            "captions": pa.array([[]] * len(keyed), texts),
        }
        named = {
            "platform": pa.repeat(pa.scalar("youtube"), len(keyed)),
            "segment_ms": pc.if_else(is_clip, pa.scalar(None, pa.int64()), pa.scalar(self._segment_ms, pa.int64())),
        }
        self._write(_table(keyed, annotations, ANNOTATIONS), _table(keyed, named, NAMED))
        self._tell(len(sure))

    def _write(self, annotations: pa.Table, named: pa.Table) -> None:
        """Commit rows and what they name, in the same order, without those of denied videos under whatever name."""
        if self._denied.video_keys and len(named):
            allowed = pc.invert(pc.is_in(named["video_key"], self._refused(named)))
            self.denied += len(named) - pc.sum(allowed).as_py()
            annotations, named = annotations.filter(allowed), named.filter(allowed)
        self._dataset.append("annotations", annotations)
        self._named.write_table(named)
        self.accepted += len(named)

    def _refused(self, named: pa.Table) -> pa.Array:
        """Keys of the videos among these that are denied under one of their names."""
        self._connection.register("named", named.select(["video_key", "platform", "url", "path"]))
        self._connection.register("denied", pa.table({"key": pa.array(sorted(self._denied.video_keys), pa.string())}))
        query = f"SELECT DISTINCT video_key FROM ({known_as_sql('named')}) WHERE source_key IN (SELECT key FROM denied)"
        return self._connection.sql(query).to_arrow_table()["video_key"].combine_chunks()

    def _tell(self, rows: int) -> None:
        if self._progress is not None:
            self._progress(rows)


def _table(keyed: pa.Table, columns: dict[str, Any], schema: pa.Schema) -> pa.Table:
    """A table of this schema, columns from the given ones first, then from `keyed`, the rest null."""
    found = {**{name: keyed[name] for name in keyed.column_names}, **columns}
    values = [found[field.name] if field.name in found else pa.nulls(len(keyed), field.type) for field in schema]
    return pa.table(values, schema=schema)


def _named_row(row: ListRow, root: str, segment_ms: int) -> Row:
    clip_id = row.clip_id
    return {
        "video_key": row.video_key,
        "platform": row.platform,
        "video_id": row.video_id,
        "url": row.url,
        "path": row.path,
        "root": root if row.path is not None else None,
        "segment_ms": segment_ms if clip_id is None else None,
        "clip_id": clip_id,
        "start_ms": row.start_ms,
        "duration_ms": row.duration_ms,
    }


def _annotation(row: ListRow, named: Row, name: str) -> Row:
    is_clip = named["clip_id"] is not None
    return {
        "key": named["clip_id"] if is_clip else named["video_key"],
        "grain": "clip" if is_clip else "video",
        "list": name,
        "line": row.line,
        "split": row.split,
        "labels": list(row.labels),
        "captions": list(row.captions),
        "transcript": row.transcript,
        "type": row.type,
    }
