"""A folder that Hugging Face `datasets` loads: Parquet files with an Audio feature, named in the card's header.

Source: https://huggingface.co/docs/datasets (repository structure; the schema's `huggingface` metadata carries the
features). Sounds lie in the files as FLAC, as they were cut; nothing is decoded here.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.exports.clip import ExportClip, Media
from curation.exports.target import MediaMode, Target, Written
from curation.tables import publish, temporary_beside

CLIPS_PER_FILE = 500
"""Source: ours; 500 clips of 10 s in FLAC are about 500 MB, the size that the Hub recommends."""

ROWS_PER_GROUP, GROUP_BYTES = 100, 64 << 20
"""A row group ends at so many rows, which is what `datasets` writes for sound, or once its media have so many bytes;
so much is in memory at a time."""

SPLIT_NAMES = {"val": "validation"}
"""What the Hub calls our splits, where it has another word."""


class HuggingFace:
    """Writes `data/<split>-<number>-of-<count>.parquet`."""

    def write(self, clips: Iterator[ExportClip], target: Target) -> Written:
        """One row a clip, with all its captions and labels; files that are there from an interrupted run are kept."""
        schema = features(target.pictures).arrow_schema
        count = -(-target.clips // CLIPS_PER_FILE)
        split = SPLIT_NAMES.get(target.split, target.split)
        for number in range(count):
            file = target.folder / "data" / f"{split}-{number:05d}-of-{count:05d}.parquet"
            of_file = islice(clips, CLIPS_PER_FILE)
            if file.is_file():
                for _ in of_file:  # they count, and are not read again
                    pass
            else:
                _write_file(file, of_file, schema, target)
        return Written(target.clips)

    def finish(self, folder: Path, final: Path) -> None:
        """There is nothing beside the splits."""


def features(pictures: bool) -> Any:
    """The columns, as `datasets.Features`."""
    from datasets import Audio, Features, List, Value, Video

    text, texts, number = Value("string"), List(Value("string")), Value("float64")
    columns = {
        "clip_id": text,
        "audio": Audio(),
        **({"video": Video()} if pictures else {}),
        "captions": texts,
        "caption_sources": texts,
        "labels": texts,
        "lists": texts,
        "platform": text,
        "video_id": text,
        "url": text,
        "start_s": number,
        "duration_s": number,
        "sample_rate_hz": Value("int64"),
        "licence": text,
    }
    return Features(columns)


def _write_file(file: Path, clips: Iterator[ExportClip], schema: pa.Schema, target: Target) -> None:
    temporary = temporary_beside(file)
    try:
        options = {"compression": "zstd", "use_dictionary": False, "write_statistics": False}
        with pq.ParquetWriter(temporary, schema, **options) as out:
            rows: list[dict[str, Any]] = []
            size_bytes = 0
            for clip in clips:
                rows.append(_row(clip, schema.names, target))
                size_bytes += sum(len(rows[-1][name]["bytes"] or b"") for name in _media_of(rows[-1]))
                if len(rows) == ROWS_PER_GROUP or size_bytes >= GROUP_BYTES:
                    out.write_table(pa.Table.from_pylist(rows, schema=schema))
                    rows, size_bytes = [], 0
            if rows:
                out.write_table(pa.Table.from_pylist(rows, schema=schema))
        publish(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def _media_of(row: dict[str, Any]) -> list[str]:
    return [name for name in ("audio", "video") if row.get(name)]


def _row(clip: ExportClip, columns: list[str], target: Target) -> dict[str, Any]:
    def cell(media: Media) -> dict[str, Any]:
        if target.media is MediaMode.REFERENCE:
            return {"bytes": None, "path": target.place(media, "")}
        return {"bytes": media.read(), "path": f"{clip.clip_id}{media.suffix}"}

    row = {name: getattr(clip, name) for name in columns if name not in ("audio", "video")}
    row = {name: list(value) if isinstance(value, tuple) else value for name, value in row.items()}
    pictures = {"video": cell(clip.picture) if clip.picture else None} if target.pictures else {}
    return {**row, "audio": cell(clip.sound), **pictures}
