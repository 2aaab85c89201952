"""The tables of a dataset: their columns, types, units and meaning. `docs/format.md` is generated from this file.

Columns are only ever added. `SCHEMA_VERSION` grows when a reader of the older version would misunderstand a new
dataset; an older dataset opens, a newer one is refused.
"""

import pyarrow as pa

SCHEMA_VERSION = 1


def column(name: str, kind: pa.DataType, meaning: str) -> pa.Field:
    """A column with its meaning kept in the field's metadata."""
    return pa.field(name, kind, metadata={"meaning": meaning})


def table(meaning: str, *columns: pa.Field) -> pa.Schema:
    """A table with its meaning kept in the schema's metadata."""
    return pa.schema(list(columns), metadata={"meaning": meaning})


TEXTS = pa.list_(pa.string())

VIDEOS = table(
    "One row a video: the thing that is fetched.",
    column("video_key", pa.string(), "hash of platform and video_id"),
    column("platform", pa.string(), "`youtube`, `url` or `file`"),
    column("video_id", pa.string(), "the platform's id; for `url` and `file` the hash of the URL or relative path"),
    column("url", pa.string(), "http(s) address, for platform `url`"),
    column("path", pa.string(), "path relative to `root`, for platform `file`"),
    column("root", pa.string(), "folder that `path` may not leave: the list's own, or the media root given"),
    column(
        "segment_ms",
        pa.int64(),
        "length of the clips that `segment` writes; 0: one clip, the whole length; null: lists name only spans of it",
    ),
)

CLIPS = table(
    "One row a clip: a span of a video, in whole milliseconds.",
    column("clip_id", pa.string(), "hash of platform, video_id, start_ms and duration_ms"),
    column("video_key", pa.string(), "the video it is cut from"),
    column("start_ms", pa.int64(), "start in the video, ms"),
    column("duration_ms", pa.int64(), "length, ms"),
    column("prev_clip_id", pa.string(), "the clip that ends where this one starts, where segments follow each other"),
    column("origin", pa.string(), "`list` (a list names the span) or `segment` (cut from a whole video)"),
)

ANNOTATIONS = table(
    "One row per (clip or video, list, line): what a list says.",
    column("key", pa.string(), "clip_id, or video_key for a row without a span"),
    column("grain", pa.string(), "`clip` or `video`: what `key` is"),
    column("list", pa.string(), "name of the list"),
    column("line", pa.int64(), "line in the list's file, counted from 1 (the row number for Parquet)"),
    column("split", pa.string(), "`train`, `val`, `test` or null"),
    column("labels", TEXTS, "class names"),
    column("captions", TEXTS, "sentences by people"),
    column("transcript", pa.string(), "what is said, where the list has it"),
    column("type", pa.string(), "what it trains, where the list has it, as AudioX names it: `text_condition-audio`"),
)

REJECTS = table(
    "One row a line of a list that could not be understood; code MALFORMED.",
    column("list", pa.string(), "name of the list"),
    column("line", pa.int64(), "line in the list's file, counted from 1"),
    column("reason", pa.string(), "what is wrong with it"),
    column("text", pa.string(), "the first 200 characters of the line"),
)

TABLES: dict[str, pa.Schema] = {"videos": VIDEOS, "clips": CLIPS, "annotations": ANNOTATIONS, "rejects": REJECTS}

FACT_COLUMNS = (
    column("key", pa.string(), "clip_id or video_key: what the stage worked on"),
    column("input", pa.string(), "hash of what the stage read; another input is worked on anew"),
    column("code", pa.string(), "null when done, otherwise why it was set aside"),
    column("detail", pa.string(), "what exactly was seen, for a code"),
    column("attempt", pa.int32(), "1 for the first try of this (key, input); 0: no try, it is open (again)"),
    column("seconds", pa.float64(), "time the work took, s"),
    column("finished_at", pa.timestamp("us", tz="UTC"), "when the work ended"),
)
"""The columns with which every fact table begins; a stage's own results follow."""


def fact_schema(results: pa.Schema) -> pa.Schema:
    """Schema of a stage's facts: the common columns, then its results."""
    return pa.schema([*FACT_COLUMNS, *results], metadata=results.metadata)
