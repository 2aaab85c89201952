"""A selection: which clips are in, with which captions, and for every other clip why not and what refused it.

    selections/<name>.parquet    one row a clip of the dataset, sorted by clip_id
    selections/<name>.json       settings, counts by reason, sha256 of the Parquet file

Measurements are facts that were stored without judging; thresholds, evaluation lists and duplicates are applied here
and nowhere else. A selection holds all that packing needs, so a shard depends on it and on the media alone. The same
dataset and settings give the same bytes. How captions are chosen is not decided here: candidates come as SQL.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from curation import guard
from curation.dataset import Dataset
from curation.errors import ArgumentError, DatasetError
from curation.facts import REQUESTS_FILE, FactTable
from curation.keys import file_sha256
from curation.names import plain_name
from curation.schema import SCHEMA_VERSION, TEXTS, column, table
from curation.tables import write_bytes, write_parquet

Split = Literal["train", "val", "test"]

SPLIT_RANKS: dict[str, int] = {"train": 0, "val": 1, "test": 2}
"""The higher, the stricter: a clip belongs to the strictest split that any list gives it or its video."""


class Reason(StrEnum):
    """Why a clip is refused that no stage has set aside, in the order in which the reasons are tried."""

    PENDING = "PENDING"
    SPLIT = "SPLIT"
    WHERE = "WHERE"
    GUARD = "GUARD"
    DUPLICATE_OF_EVALUATION = "DUPLICATE_OF_EVALUATION"
    DUPLICATE = "DUPLICATE"


REASONS: dict[Reason, str] = {
    Reason.PENDING: "a stage has not finished with the clip; `refused_by` is the stage",
    Reason.SPLIT: "the clip belongs to another split; `refused_by` is that split",
    Reason.WHERE: "the condition is false or null for the clip",
    Reason.GUARD: "the clip shares time with an evaluation list; `refused_by` is the list",
    Reason.DUPLICATE_OF_EVALUATION: "its sound is in a stricter split or an evaluation list; `refused_by` is that clip",
    Reason.DUPLICATE: "the same sound is kept once already; `refused_by` is the kept clip",
}
"""Reason -> meaning. Before all of these stands the code with which `fetch`, `cut` or `measure` set the clip aside."""

SELECTION = table(
    "One row a clip of the dataset.",
    column("clip_id", pa.string(), "the clip"),
    column("kept", pa.bool_(), "whether the clip is in"),
    column("reason", pa.string(), "why it is not, as a code or a reason; null when kept"),
    column("refused_by", pa.string(), "what refused it: a stage, a split, an evaluation list, or another clip_id"),
    column("split", pa.string(), "`train`, `val` or `test`: the strictest of its annotations"),
    column("labels", TEXTS, "class names, sorted"),
    column("captions", TEXTS, "the chosen sentences, sorted by source and text"),
    column("caption_sources", TEXTS, "where each sentence is from, as `human:<list>`"),
    column("lists", TEXTS, "the lists that name the clip or its video, sorted"),
    column("platform", pa.string(), "platform of its video"),
    column("video_id", pa.string(), "its video's id there"),
    column("url", pa.string(), "address of its video, for platform `url`, without user and password"),
    column("start_ms", pa.int64(), "start in the video, ms"),
    column("duration_ms", pa.int64(), "length, ms"),
    column("prev_clip_id", pa.string(), "the clip that ends where this one starts, where segments follow each other"),
    column("licence", pa.string(), "licence as the platform states it"),
    column("original_sha256", pa.string(), "sha256 of the file that it was cut from"),
    column("audio_sha256", pa.string(), "sha256 of its .flac in the media store"),
    column("video_sha256", pa.string(), "sha256 of its .mp4 there; null without a picture"),
    column("sample_rate_hz", pa.int64(), "sample rate of its sound, Hz"),
)

HUMAN_CAPTIONS = """
SELECT clips.clip_id, unnest(annotations.captions) AS text, 'human:' || annotations.list AS source
FROM clips JOIN annotations ON annotations.grain = 'clip' AND annotations.key = clips.clip_id
UNION ALL
SELECT clips.clip_id, unnest(annotations.captions), 'human:' || annotations.list
FROM clips JOIN annotations ON annotations.grain = 'video' AND annotations.key = clips.video_key"""
"""The captions by people that lists give a clip or its video: what a selection takes unless told otherwise."""

_SAID = f"""
CREATE TEMP TABLE chosen_captions AS
SELECT clip_id, list(text ORDER BY source, text) AS captions, list(source ORDER BY source, text) AS caption_sources
FROM (SELECT clip_id, text, min(source) AS source FROM ({{captions}}) WHERE text IS NOT NULL GROUP BY clip_id, text)
GROUP BY clip_id;

CREATE TEMP TABLE said AS
WITH annotated AS (
    SELECT clips.clip_id, annotations.* FROM clips
    JOIN annotations ON annotations.grain = 'clip' AND annotations.key = clips.clip_id
    UNION ALL
    SELECT clips.clip_id, annotations.* FROM clips
    JOIN annotations ON annotations.grain = 'video' AND annotations.key = clips.video_key
)
SELECT clip_id,
    max(CASE split WHEN 'test' THEN {SPLIT_RANKS["test"]} WHEN 'val' THEN {SPLIT_RANKS["val"]}
        ELSE {SPLIT_RANKS["train"]} END) AS split_rank,
    list_sort(list_distinct(flatten(list(coalesce(labels, []))))) AS labels,
    list_sort(list_distinct(list(list))) AS lists
FROM annotated GROUP BY clip_id;

CREATE TEMP TABLE described AS
SELECT clips.*, coalesce(said.split_rank, 0) AS split_rank,
    ['train', 'val', 'test'][coalesce(said.split_rank, 0) + 1] AS split,
    coalesce(said.labels, []) AS labels, coalesce(said.lists, []) AS lists,
    coalesce(chosen_captions.captions, []) AS captions,
    coalesce(chosen_captions.caption_sources, []) AS caption_sources
FROM clips LEFT JOIN said USING (clip_id) LEFT JOIN chosen_captions USING (clip_id)"""

_STAGES = """
CREATE TEMP TABLE clip_fetch AS
SELECT * FROM (
    SELECT "fetch".* REPLACE (clips.clip_id AS key) FROM clips JOIN "fetch" ON "fetch".key = clips.clip_id
    UNION ALL
    SELECT "fetch".* REPLACE (clips.clip_id AS key) FROM clips JOIN "fetch" ON "fetch".key = clips.video_key
)
QUALIFY row_number() OVER (PARTITION BY key ORDER BY
    CASE state WHEN 'done' THEN 0 WHEN 'pending' THEN 1 ELSE 2 END, finished_at DESC, label) = 1;

CREATE TEMP TABLE clip_cut AS SELECT * FROM cut WHERE label = 'cut';

CREATE TEMP TABLE clip_measure AS
SELECT measure.* FROM measure JOIN ({measure_requests}) AS requested USING (key, input)
WHERE measure.label = 'measure'"""
"""The answer of each stage per clip: of a fetched video and a fetched clip the better one, and of `measure` only what
was measured on the sound that `cut` gives now."""

_JOINED = """described AS clips JOIN videos USING (video_key)
LEFT JOIN clip_fetch AS "fetch" ON "fetch".key = clips.clip_id
LEFT JOIN clip_cut AS cut ON cut.key = clips.clip_id
LEFT JOIN clip_measure AS measure ON measure.key = clips.clip_id"""

_WHERE = """
CREATE TEMP TABLE wanted AS SELECT clips.clip_id FROM {joined} WHERE (
{where}
)"""

_STATES = """
CREATE TEMP TABLE guards AS SELECT clip_id, min(guard) AS guard FROM guarded GROUP BY clip_id;

CREATE TEMP TABLE states AS
SELECT clips.clip_id, clips.split_rank, measure.pcm_sha256,
    guards.guard,
    CASE
        WHEN cut.state = 'set_aside' THEN {{reason: cut.code, refused_by: 'cut'}}
        WHEN cut.state = 'pending' THEN {{reason: 'PENDING', refused_by: 'cut'}}
        WHEN cut.state IS NULL AND "fetch".state = 'set_aside' THEN {{reason: "fetch".code, refused_by: 'fetch'}}
        WHEN cut.state IS NULL AND "fetch".state = 'done' THEN {{reason: 'PENDING', refused_by: 'cut'}}
        WHEN cut.state IS NULL THEN {{reason: 'PENDING', refused_by: 'fetch'}}
        WHEN measure.state = 'set_aside' THEN {{reason: measure.code, refused_by: 'measure'}}
        WHEN measure.state IS NULL OR measure.state = 'pending' THEN {{reason: 'PENDING', refused_by: 'measure'}}
        WHEN clips.split_rank <> {rank} THEN {{reason: 'SPLIT', refused_by: clips.split}}
        WHEN wanted.clip_id IS NULL THEN {{reason: 'WHERE', refused_by: NULL}}
        WHEN guards.guard IS NOT NULL THEN {{reason: 'GUARD', refused_by: guards.guard}}
    END AS refused
FROM {joined} LEFT JOIN wanted USING (clip_id) LEFT JOIN guards USING (clip_id);

CREATE TEMP TABLE evaluation AS
SELECT pcm_sha256, min(clip_id) AS refused_by FROM states
WHERE pcm_sha256 IS NOT NULL AND (split_rank > {rank} OR guard IS NOT NULL) GROUP BY pcm_sha256;

CREATE TEMP TABLE firsts AS
SELECT pcm_sha256, min(clip_id) AS refused_by FROM states
WHERE pcm_sha256 IS NOT NULL AND refused IS NULL GROUP BY pcm_sha256"""

_ROWS = """
SELECT clips.clip_id, judged.verdict IS NULL AS kept,
    judged.verdict.reason AS reason, judged.verdict.refused_by AS refused_by,
    clips.split, clips.labels, clips.captions, clips.caption_sources, clips.lists,
    videos.platform, videos.video_id, regexp_replace(videos.url, '//[^/]*@', '//') AS url,
    clips.start_ms, clips.duration_ms, clips.prev_clip_id, "fetch".licence, cut.input AS original_sha256,
    cut.audio_sha256, cut.video_sha256, cut.sample_rate_hz
FROM {joined}
JOIN (
    SELECT states.clip_id, CASE
        WHEN refused IS NOT NULL THEN refused
        WHEN evaluation.refused_by IS NOT NULL
            THEN {{reason: 'DUPLICATE_OF_EVALUATION', refused_by: evaluation.refused_by}}
        WHEN firsts.refused_by <> states.clip_id THEN {{reason: 'DUPLICATE', refused_by: firsts.refused_by}}
    END AS verdict
    FROM states LEFT JOIN evaluation USING (pcm_sha256) LEFT JOIN firsts USING (pcm_sha256)
) AS judged ON judged.clip_id = clips.clip_id
ORDER BY clips.clip_id"""


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectionReport:
    """What a selection came to; `kept_clips` and the counts of `refused` add up to `clips`.

    Args:
        name: Name of the selection.
        path: Its Parquet file.
        sha256: sha256 of that file: equal for equal selections.
        settings: What was asked for.
        clips: Clips of the dataset.
        kept_clips: How many are in.
        refused: Reason or code -> how many it refused.
    """

    name: str
    path: Path
    sha256: str
    settings: dict[str, Any]
    clips: int
    kept_clips: int
    refused: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """The content of `selections/<name>.json`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "sha256": self.sha256,
            "settings": self.settings,
            "clips": self.clips,
            "kept_clips": self.kept_clips,
            "refused": self.refused,
        }


def select(
    dataset: Dataset,
    *,
    name: str,
    where: str | None = None,
    split: Split = "train",
    guards: Sequence[str] = (),
    captions_sql: str | None = None,
) -> SelectionReport:
    """Judge every clip of the dataset and write the selection; one of the same name is replaced.

    Args:
        dataset: The dataset; `cut` and `measure` must have run on it.
        name: Name of the selection.
        where: SQL condition over one row a clip, with the tables `clips` (and its `split`, `labels`, `captions`,
            `lists`), `videos`, `"fetch"` (a word of SQL, so in quotes), `cut` and `measure`; null counts as false.
            None keeps all.
        split: The split that is taken.
        guards: Evaluation lists whose spans are refused; only for the train split.
        captions_sql: Query that gives `clip_id`, `text`, `source` of the chosen captions; None takes those by people.
            A clip without any is kept.

    Raises:
        ArgumentError: The condition is not SQL, a guard is not registered, or a stage has not run.
    """
    path = selection_path(dataset, name)
    if split not in SPLIT_RANKS:
        raise ArgumentError(f"split {split!r} is none of {', '.join(SPLIT_RANKS)}")
    if guards and split != "train":
        raise ArgumentError(f"guards keep evaluation clips out of training; split {split!r} takes none: drop them")
    for stage in ("cut", "measure"):
        if not dataset.has_stage(stage):
            verb = "fetch" if stage == "cut" else stage
            raise ArgumentError(f"stage {stage!r} has not run on {dataset.path}; run `foundsound {verb}` first")
    guarded = guard.overlaps(dataset, guards)
    rows = _judge(dataset, guarded, where, SPLIT_RANKS[split], captions_sql or HUMAN_CAPTIONS)
    write_parquet(path, rows)
    settings = {
        "where": where,
        "split": split,
        "guards": {name: file_sha256(guard.guard_path(dataset, name)) for name in sorted(set(guards))},
        "captions_sql": captions_sql,
    }
    report = _report(name, path, settings, rows)
    content = json.dumps(report.as_dict(), indent=2, sort_keys=True, ensure_ascii=False)
    write_bytes(path.with_name(f"{name}.json"), content.encode())
    return report


def selection_path(dataset: Dataset, name: str) -> Path:
    """Where the rows of the selection of this name are, or would be."""
    return dataset.folder("selections") / f"{plain_name(name, 'selection')}.parquet"


def read_report(dataset: Dataset, name: str) -> SelectionReport:
    """The settings and counts of a selection.

    Raises:
        ArgumentError: There is no such selection.
        DatasetError: Its two files do not belong together, as after a kill between them.
    """
    path = selection_path(dataset, name)
    described = path.with_name(f"{name}.json")
    if not path.is_file() or not described.is_file():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.json"))) or "none"
        raise ArgumentError(
            f"{dataset.path} has no selection {name!r} (selections: {known}); make it with `foundsound select`"
        )
    try:
        fields = json.loads(described.read_text(encoding="utf-8"))
        version = fields.pop("schema_version")
        report = SelectionReport(name=name, path=path, **fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{described} is damaged ({error}); run `foundsound select` again") from error
    if version > SCHEMA_VERSION:
        raise DatasetError(f"{described} has schema version {version}; this foundsound reads up to {SCHEMA_VERSION}")
    if file_sha256(path) != report.sha256:
        raise DatasetError(f"{path} is not the file that {described.name} describes; run `foundsound select` again")
    return report


def read_rows(dataset: Dataset, name: str, *, kept_only: bool = False) -> pa.Table:
    """The rows of a selection, with the columns of `SELECTION`, sorted by clip_id.

    Raises:
        ArgumentError: There is no such selection.
        DatasetError: It is damaged.
    """
    path = read_report(dataset, name).path
    filters = [("kept", "=", True)] if kept_only else None
    return pq.read_table(path, filters=filters)


def _judge(dataset: Dataset, guarded: pa.Table, where: str | None, rank: int, captions: str) -> pa.Table:
    """One row a clip, with the columns of `SELECTION`."""
    measured = FactTable.current(dataset.path / "facts" / "measure")["measure"]
    with dataset.connect() as connection:
        connection.register("guarded", guarded)
        if not dataset.has_stage("fetch"):
            connection.execute(
                "CREATE TEMP VIEW fetch AS SELECT * REPLACE (NULL::VARCHAR AS key), NULL::VARCHAR AS licence "
                "FROM cut WHERE false"
            )
        _execute(connection, _SAID.format(captions=captions), f"the query for captions {captions!r}")
        connection.execute(_STAGES.format(measure_requests=(measured / REQUESTS_FILE).read_text()))
        condition = _WHERE.format(joined=_JOINED, where=where or "true")
        _execute(connection, condition, f"the condition {where!r}")
        connection.execute(_STATES.format(joined=_JOINED, rank=rank))
        rows = connection.sql(_ROWS.format(joined=_JOINED)).to_arrow_table()
    return rows.cast(SELECTION).combine_chunks()


def _execute(connection: duckdb.DuckDBPyConnection, query: str, what: str) -> None:
    """Run a query that a person wrote a part of."""
    try:
        connection.execute(query)
    except (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError) as error:
        raise ArgumentError(f"{what} is refused by DuckDB: {error}") from error


def _report(name: str, path: Path, settings: dict[str, Any], rows: pa.Table) -> SelectionReport:
    counted = rows.group_by("reason").aggregate([([], "count_all")]).to_pylist()
    refused = {row["reason"]: row["count_all"] for row in counted if row["reason"] is not None}
    return SelectionReport(
        name=name,
        path=path,
        sha256=file_sha256(path),
        settings=settings,
        clips=rows.num_rows,
        kept_clips=rows.num_rows - sum(refused.values()),
        refused=dict(sorted(refused.items())),
    )
