"""The deny list of a dataset: videos and channels that were taken down, and that nothing takes in again.

    deny/part-*.parquet      one row a video, or a channel (then without a video)

`curation/takedowns/forget.py` writes it before it removes anything; ingest, fetch and the views of a dataset obey it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.schema import column, table
from curation.tables import append_part, part_files, rows_to_table

FOLDER = "deny"

DENY = table(
    "One row a video or a channel that was taken down; nothing takes it in again.",
    column("platform", pa.string(), "platform of the video; null for a channel"),
    column("video_id", pa.string(), "the platform's id of the video; null for a channel"),
    column("video_key", pa.string(), "hash of platform and video_id; null for a channel"),
    column("channel_id", pa.string(), "the channel that is denied, or the one because of which the video is"),
    column("reason", pa.string(), "what was asked for, in the words given"),
    column("denied_at", pa.timestamp("us", tz="UTC"), "when"),
)


@dataclass(frozen=True, slots=True)
class Denied:
    """What a dataset may not hold.

    Args:
        video_keys: Keys of denied videos.
        channel_ids: Ids of denied channels; their videos that were known then are among `video_keys` too.
    """

    video_keys: frozenset[str]
    channel_ids: frozenset[str]

    def refuses(self, video_key: str, channel_id: str | None = None) -> bool:
        """Whether a video may not be taken in; `channel_id` is None while it is not known."""
        return video_key in self.video_keys or channel_id in self.channel_ids


def denied(dataset: str | Path) -> Denied:
    """The deny list of the dataset in this folder; empty where nothing was ever denied."""
    rows = _rows(Path(dataset))
    videos, channels = rows["video_key"].to_pylist(), rows["channel_id"].to_pylist()
    return Denied(
        video_keys=frozenset(key for key in videos if key is not None),
        channel_ids=frozenset(c for v, c in zip(videos, channels, strict=True) if v is None and c is not None),
    )


def denied_ids(dataset: str | Path) -> frozenset[tuple[str, str]]:
    """(platform, video_id) of the denied videos of the dataset in this folder."""
    rows = _rows(Path(dataset))
    pairs = zip(rows["platform"].to_pylist(), rows["video_id"].to_pylist(), strict=True)
    return frozenset((platform, video_id) for platform, video_id in pairs if video_id is not None)


def deny(dataset: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append rows with the columns of `DENY`; a row that is there already, whenever it was written, is left out."""
    folder = Path(dataset)
    known = {_identity(row) for row in _rows(folder).to_pylist()}
    append_part(folder / FOLDER, rows_to_table((row for row in rows if _identity(row) not in known), DENY))


def allowed_sql(dataset: str | Path, view: str, clips_parts: str) -> str:
    """SQL condition over the rows of the tables `videos`, `clips` or `annotations`: they are of no denied video.

    Args:
        dataset: Folder of the dataset.
        view: Name of the table.
        clips_parts: SQL that reads all part files of the table `clips`.
    """
    files = [str(part).replace("'", "''") for part in part_files(Path(dataset) / FOLDER)]
    if not files:
        return "true"
    listed = ", ".join(f"'{file}'" for file in files)
    keys = f"SELECT video_key FROM read_parquet([{listed}]) WHERE video_key IS NOT NULL"
    if view == "annotations":
        clips = f"SELECT clip_id FROM {clips_parts} WHERE video_key IN ({keys})"
        return f"key NOT IN ({keys} UNION ALL {clips})"
    return f"video_key NOT IN ({keys})"


def _rows(dataset: Path) -> pa.Table:
    parts = [pq.read_table(part) for part in part_files(dataset / FOLDER)]
    return pa.concat_tables(parts, promote_options="default") if parts else DENY.empty_table()


def _identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row.get("video_key"), row.get("channel_id") if row.get("video_key") is None else None
