"""Which clip of a dataset a row of a published set is about; never guessed.

A row of a video's span belongs to the clip of that video that is the same span, but for what lists round. A row of an
AudioSet copy says no time; unless AudioSet's own list is given, it belongs to the one clip of its video that a list of
AudioSet's or AudioCaps' names, since AudioSet has one segment a video. A row of a recording belongs to the whole file
of its name or address that is as long.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice

import duckdb
import pyarrow as pa

from captioning.imported.entry import Caption, Entry
from curation.dataset import Dataset
from curation.lists.row import Reject
from curation.views import quoted

SAME_SPAN = 0.9
"""Two spans are the same when they share this much of the time that both cover together. Source: ours; two of 10 s may
lie 0.5 s apart, which is what a start that a list rounds to whole seconds loses."""

SEGMENT_KINDS = ("audioset", "audiocaps")
"""Kinds of lists whose spans are AudioSet's segments."""

BATCH_ROWS = 100_000
"""Rows that are joined at a time. Source: ours; about 50 MB."""

SHOWN_REJECTS = 5

_CLIPS = """
CREATE TEMP TABLE targets AS
SELECT clips.clip_id, videos.platform, videos.video_id, videos.url, clips.start_ms, clips.duration_ms,
    regexp_extract(videos.path, '([^/]*?)(?:[.][^./]*)?$', 1) AS name,
    clips.clip_id IN (SELECT key FROM annotations WHERE list IN ({segments})) AS is_segment
FROM clips JOIN videos USING (video_key)"""

_JOIN = """
WITH met AS (
    SELECT asked.line, targets.clip_id, CASE WHEN asked.start_ms IS NULL THEN targets.is_segment ELSE
            (least(asked.start_ms + asked.duration_ms, targets.start_ms + targets.duration_ms)
                - greatest(asked.start_ms, targets.start_ms))
            / (greatest(asked.start_ms + asked.duration_ms, targets.start_ms + targets.duration_ms)
                - least(asked.start_ms, targets.start_ms))::DOUBLE >= {same} END AS fits,
        asked.start_ms IS NULL AND NOT targets.is_segment AS is_untimed
    FROM asked JOIN targets ON targets.platform = 'youtube' AND targets.video_id = asked.video_id
    UNION ALL
    SELECT asked.line, targets.clip_id, {whole}, false
    FROM asked JOIN targets ON targets.platform = 'file' AND targets.name = asked.name
    UNION ALL
    SELECT asked.line, targets.clip_id, {whole}, false
    FROM asked JOIN targets ON targets.platform = 'url' AND targets.url = asked.url
)
SELECT line, count(DISTINCT clip_id) FILTER (fits) AS fitting, min(clip_id) FILTER (fits) AS clip_id,
    bool_and(is_untimed) AS untimed
FROM met GROUP BY line"""


_WHOLE = """asked.duration_ms IS NOT NULL AND targets.start_ms = 0
        AND least(asked.duration_ms, targets.duration_ms) / greatest(asked.duration_ms, targets.duration_ms)::DOUBLE
        >= {same}"""
"""A clip from the beginning of a file, as long as the recording. DuckDB's `least` passes over nulls."""


class Fate(StrEnum):
    """What became of a row of a set."""

    JOINED = "joined"
    ABSENT = "absent"
    OTHER_SPAN = "other span"
    NO_TIME = "no time"
    SEVERAL_CLIPS = "several clips"
    MALFORMED = "malformed"


FATES: dict[Fate, str] = {
    Fate.JOINED: "a clip has it",
    Fate.ABSENT: "its recording is not in the dataset",
    Fate.OTHER_SPAN: "the dataset has other spans of its recording",
    Fate.NO_TIME: "it says no time, and no list of AudioSet's segments names a clip of its video",
    Fate.SEVERAL_CLIPS: "several clips are the same span",
    Fate.MALFORMED: "it cannot be understood",
}
"""Fate -> its meaning."""


@dataclass(slots=True)
class Joined:
    """What was found.

    Attributes:
        captions: Clip -> its captions, in the order of the file.
        fates: How many rows had which fate; their sum is the number of rows.
        rejects: The first rows that could not be understood.
    """

    captions: dict[str, list[Caption]] = field(default_factory=dict)
    fates: Counter[Fate] = field(default_factory=Counter)
    rejects: list[Reject] = field(default_factory=list)


def join(dataset: Dataset, entries: Iterable[Entry], progress: Callable[[int], None] | None = None) -> Joined:
    """Find the clip of every row.

    In memory are the clips of the dataset (about 200 bytes each, spilled by DuckDB above its limit), a batch of rows,
    and the captions that were joined.

    Args:
        dataset: Whose clips; those of denied videos are not there.
        entries: Rows of a set.
        progress: Called with the number of rows that were looked at.
    """
    found = Joined()
    segments = [source["list"] for source in dataset.config["sources"] if source.get("kind") in SEGMENT_KINDS]
    clips = _CLIPS.format(segments=", ".join(map(quoted, segments)) or "''")
    with dataset.connect(clips) as connection:
        connection.execute(clips)
        for batch in _batches(entries):
            rejects = [entry for entry in batch if isinstance(entry, Reject)]
            found.fates[Fate.MALFORMED] += len(rejects)
            found.rejects += rejects[: SHOWN_REJECTS - len(found.rejects)]
            _join_batch(connection, [entry for entry in batch if isinstance(entry, Caption)], found)
            if progress is not None:
                progress(len(batch))
    return found


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    iterator = iter(entries)
    while batch := list(islice(iterator, BATCH_ROWS)):
        yield batch


def _join_batch(connection: duckdb.DuckDBPyConnection, rows: list[Caption], found: Joined) -> None:
    schema = pa.schema(
        {
            "line": pa.int64(),
            "name": pa.string(),
            "video_id": pa.string(),
            "url": pa.string(),
            "start_ms": pa.int64(),
            "duration_ms": pa.int64(),
        }
    )
    asked = [{name: getattr(row, name) for name in schema.names} for row in rows]
    connection.register("asked", pa.Table.from_pylist(asked, schema=schema))
    met = connection.sql(_JOIN.format(same=SAME_SPAN, whole=_WHOLE.format(same=SAME_SPAN))).to_arrow_table().to_pylist()
    connection.unregister("asked")
    by_line = {row["line"]: row for row in met}
    for row in rows:
        fate = _fate(by_line.get(row.line))
        found.fates[fate] += 1
        if fate is Fate.JOINED:
            found.captions.setdefault(by_line[row.line]["clip_id"], []).append(row)


def _fate(met: dict[str, int | str | bool] | None) -> Fate:
    if met is None:
        return Fate.ABSENT
    if met["fitting"] == 1:
        return Fate.JOINED
    if met["fitting"]:
        return Fate.SEVERAL_CLIPS
    return Fate.NO_TIME if met["untimed"] else Fate.OTHER_SPAN
