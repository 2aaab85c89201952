"""A made dataset of millions of clips, as tables only: no media, and the same rows for the same number of clips.

Two clips of 10 s a video, from one list in VGGSound's layout. Every hundredth row or so is of each awkward kind: videos
that are gone or were tried again, clips that are too short or still pending, sounds that are there twice, and one that
6,000 clips share. Rows lie in many small parts, as years of short runs would leave them.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from curation.cut import Cut
from curation.dataset import Dataset
from curation.fetch import Fetch
from curation.keys import file_sha256
from curation.measure import Measure
from curation.schema import ANNOTATIONS, CLIPS, VIDEOS, fact_schema
from curation.stage import Stage, how

CLIPS_A_VIDEO = 2
CHUNK_VIDEOS = 100_000
LIST = "vggsound-made"
MALFORMED_EVERY = 100_000
"""One line of the list in so many is malformed: a wrong id, a wrong number, or a wrong number of cells."""

SHARES = {"annotations": 0.06, "clips": 0.05, "videos": 0.04, "fetch": 0.2, "cut": 0.33, "measure": 0.32}
"""Table -> its share of the part files."""

_UNITS = """
CREATE OR REPLACE TEMP TABLE units AS
WITH named AS (
    SELECT i, substr(translate(to_base64(unhex(sha256('video' || i))), '+/', '-_'), 1, 11) AS video_id,
        (i * 7919) % 200 * 1000 AS first_ms, unnest([0, 1]) AS nth
    FROM range({first}, {last}) AS numbers(i)
)
SELECT i, video_id, 2 * i + nth AS j, first_ms + nth * 30_000 AS start_ms,
    substr(sha256('["youtube","' || video_id || '"]'), 1, 20) AS video_key,
    substr(sha256('["youtube","' || video_id || '",' || (first_ms + nth * 30_000) || ',10000]'), 1, 20) AS clip_id,
    CASE WHEN (2 * i + nth) % 20 = 3 THEN 'test' WHEN (2 * i + nth) % 20 = 11 THEN 'val' ELSE 'train' END AS split,
    'class ' || floor(309 * pow((2 * i + nth) * 0.6180339887 % 1, 3))::INTEGER AS label
FROM named ORDER BY j"""
"""`curation/keys.py` in SQL: the canonical JSON of ids of these characters needs no escapes."""

_TIME = "make_timestamptz(1700000000000000 + {number} * 1000)"

_TABLES = {
    "videos": "SELECT DISTINCT ON (i) video_key, 'youtube' AS platform, video_id FROM units ORDER BY i",
    "clips": "SELECT clip_id, video_key, start_ms, 10000 AS duration_ms, 'list' AS origin FROM units ORDER BY j",
    "annotations": "SELECT clip_id AS key, 'clip' AS grain, '{list}' AS list, 1 + j + (j + 1) // {every} AS line, "
    "split, [label] AS labels, []::VARCHAR[] AS captions FROM units ORDER BY j",
    "list": "SELECT video_id, start_ms // 1000 AS start, label, split FROM units ORDER BY j",
}

_CODE = """CASE WHEN i % 100 < 12 THEN 'REMOVED' WHEN i % 100 < 15 THEN 'PRIVATE' WHEN i % 100 = 16 THEN 'AGE'
    WHEN i % 100 = 17 THEN 'GEO' WHEN i % 100 IN (18, 40, 41, 42) THEN 'NETWORK' END"""

_FETCH = f"""
WITH videos AS (SELECT DISTINCT ON (i) * FROM units WHERE i % 100 <> 19),
tried AS (
    SELECT *, {_CODE} AS code, 1 AS attempt FROM videos
    UNION ALL
    SELECT *, NULL, 2 FROM videos WHERE i % 100 IN (40, 41, 42)
)
SELECT video_key AS key, video_key AS input, code, CASE WHEN code IS NOT NULL THEN 'made' END AS detail, attempt,
    3.5 AS seconds, {_TIME.format(number="(2 * i + attempt)")} AS finished_at,
    CASE WHEN code IS NULL THEN sha256('original' || i) END AS original_sha256,
    '.mp4' AS original_suffix, 1_000_000 + i AS bytes, 'youtube' AS source,
    'title of video ' || i AS title, ['sound', 'video'] AS tags, ['Entertainment'] AS categories,
    'channel ' || i % 50_000 AS channel, 'UC' || i % 50_000 AS channel_id, '20240101' AS upload_date,
    240.0 + i % 100 AS duration_s
FROM tried ORDER BY i, attempt"""
"""Of 100 videos 12 are removed, 3 private, 1 for adults, 1 blocked, 1 failed once and is tried again, 1 was never
tried, and 3 came at the second try."""

_CUT = f"""
SELECT clip_id AS key, sha256('original' || i) AS input,
    CASE WHEN j % 200 = 61 THEN 'TOO_SHORT' WHEN j % 300 = 62 THEN 'NO_AUDIO' END AS code, 1 AS attempt, 0.6 AS seconds,
    {_TIME.format(number="(2 * j + 4)")} AS finished_at,
    CASE WHEN code IS NULL THEN sha256('sound' || j) END AS audio_sha256,
    CASE WHEN code IS NULL AND j % 10 <> 7 THEN sha256('picture' || j) END AS video_sha256,
    48_000 AS sample_rate_hz, 2 AS channels, 480_000 AS samples, 10_000 AS duration_ms_cut, 250 AS frames,
    25.0 AS frame_rate_hz, 456 AS width_px, 256 AS height_px, 0.0 AS av_offset_ms
FROM units WHERE i % 100 > 19 AND j % 101 <> 5 ORDER BY j"""

_MEASURE = f"""
SELECT units.clip_id AS key, requested.input, CASE WHEN j % 1000 = 63 THEN 'UNREADABLE' END AS code, 1 AS attempt,
    0.2 AS seconds, {_TIME.format(number="(2 * j + 5)")} AS finished_at, 10.0 AS duration_s, 48_000 AS sample_rate_hz,
    2 AS channels, -20.0 - j % 40 AS loudness_lufs, -1.0 - j % 10 AS peak_dbfs,
    (j % 50 = 0)::INT * 0.01 AS clipping_ratio,
    j % 100 / 100 AS silence_ratio, 4000.0 + j % 18 * 1000 AS bandwidth_hz, j % 20 / 20 AS still_ratio,
    CASE WHEN j % 1000 = 64 THEN sha256('silence') WHEN j % 50 = 49 THEN sha256('samples' || (j - 2))
        ELSE sha256('samples' || j) END AS pcm_sha256
FROM units JOIN ({{requests}}) AS requested ON requested.key = units.clip_id WHERE j % 103 <> 6 ORDER BY j"""

_EVALUATION = """
SELECT video_id, (start_ms // 1000 + 5) % 240 AS start, label, 'test' AS split FROM units WHERE j % 600 = 65
UNION ALL
SELECT substr(translate(to_base64(unhex(sha256('other' || j))), '+/', '-_'), 1, 11), 10, label, 'test' FROM units
WHERE j % 600 = 66"""
"""Half of an evaluation list's spans lie in videos of the dataset, 5 s beside one of their clips."""


@dataclass(frozen=True, kw_only=True)
class MadeFetch(Stage):
    """Stands where `Fetch` would: it needs no download session."""

    NAME: ClassVar[str] = "fetch"
    VERSION: ClassVar[int] = Fetch.VERSION
    GRAIN: ClassVar[Literal["video", "clip"]] = "video"
    RESULTS: ClassVar[pa.Schema] = Fetch.RESULTS

    grain: Literal["video"] = field(default="video", metadata=how().metadata)

    @property
    def label(self) -> str:
        return self.grain

    def requests(self) -> str:
        return "SELECT video_key AS key, video_key AS input FROM videos"


@dataclass
class _Parts:
    """Writes rows of one table as parts of equal size; what they hold is not synced."""

    folder: Path
    schema: pa.Schema
    rows_a_part: int
    count: int = 0

    def write(self, rows: pa.Table) -> None:
        columns = [
            rows[column.name].cast(column.type)
            if column.name in rows.column_names
            else pa.nulls(len(rows), column.type)
            for column in self.schema
        ]
        whole = pa.table(columns, schema=self.schema)
        for start in range(0, len(whole), self.rows_a_part):
            self.count += 1
            path = self.folder / f"part-{self.count:020d}-made.parquet"
            pq.write_table(whole.slice(start, self.rows_a_part), path, compression="zstd")


def make_dataset(folder: Path, clips: int = 6_000_000, *, parts: int = 20_000) -> Dataset:
    """Make a dataset below `folder`, with the lists it could have come from beside it.

        folder/dataset/           the dataset: videos, clips, annotations, facts of fetch, cut and measure, no media
        folder/list.csv           its list, for `manifest vggsound`, with one malformed line in 100,000
        folder/evaluation.csv     for `guard --kind vggsound`: half of its spans overlap clips of the dataset
        folder/v2m.txt            the ids of its videos, for `manifest v2m`
        folder/made.json          written last: clips and parts

    Args:
        folder: Where to; what an interrupted call left is made again, what is whole is opened as it is.
        clips: How many clips, a multiple of 2.
        parts: How many part files its tables have in all, about.
    """
    made = folder / "made.json"
    asked = {"clips": clips, "parts": parts}
    if made.is_file():
        if json.loads(made.read_text()) != asked:
            raise ValueError(f"{folder} holds {made.read_text()}, not {asked}; give another folder")
        return Dataset(folder / "dataset")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    dataset = Dataset.create(folder / "dataset")
    stages = (MadeFetch(), Cut(media=dataset.media), Measure(media=dataset.media))
    writers = _writers(dataset, stages, clips, parts)
    with duckdb.connect() as connection, (folder / "list.csv").open("w") as lines:
        connection.execute("SET threads = 2; SET enable_progress_bar = false; SET TimeZone = 'UTC'")
        evaluation = []
        for chunk in _chunks(connection, clips // CLIPS_A_VIDEO, writers, stages):
            lines.writelines(_csv_lines(chunk))
            evaluation += connection.sql(_EVALUATION).fetchall()
            with (folder / "v2m.txt").open("a") as ids:
                ids.writelines(f"{row['video_id']}\n" for row in chunk.to_pylist()[::CLIPS_A_VIDEO])
    (folder / "evaluation.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in evaluation))
    dataset.add_source(_source(folder / "list.csv", clips))
    made.write_text(json.dumps(asked))
    return dataset


def _writers(dataset: Dataset, stages: tuple[Stage, ...], clips: int, parts: int) -> dict[str, _Parts]:
    videos = clips // CLIPS_A_VIDEO
    writers = {
        name: (dataset.path / name, schema, rows)
        for name, schema, rows in (
            ("videos", VIDEOS, videos),
            ("clips", CLIPS, clips),
            ("annotations", ANNOTATIONS, clips),
        )
    }
    for stage in stages:
        facts = dataset.facts(stage)
        facts.make_current(stage)
        writers[stage.NAME] = (
            facts.folder,
            fact_schema(stage.RESULTS),
            videos if stage.NAME == "fetch" else 0.79 * clips,
        )
    return {
        name: _Parts(path, schema, max(1, round(rows / (SHARES[name] * parts))))
        for name, (path, schema, rows) in writers.items()
    }


def _chunks(
    connection: duckdb.DuckDBPyConnection, videos: int, writers: dict[str, _Parts], stages: tuple[Stage, ...]
) -> Iterator[pa.Table]:
    """Write the rows of so many videos at a time; what a list says of them."""
    for first in range(0, videos, CHUNK_VIDEOS):
        connection.execute(_UNITS.format(first=first, last=min(first + CHUNK_VIDEOS, videos)))
        for name in ("videos", "clips", "annotations"):
            query = _TABLES[name].format(list=LIST, every=MALFORMED_EVERY)
            writers[name].write(connection.sql(query).to_arrow_table())
            connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {query}")
        writers["fetch"].write(connection.sql(_FETCH).to_arrow_table())
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE cut AS SELECT *, if(code IS NULL, 'done', '') AS state FROM ({_CUT})"
        )
        writers["cut"].write(connection.sql("FROM cut").to_arrow_table())
        requests = stages[-1].requests()
        writers["measure"].write(connection.sql(_MEASURE.format(requests=requests)).to_arrow_table())
        yield connection.sql(_TABLES["list"]).to_arrow_table()


def _csv_lines(rows: pa.Table) -> Iterator[str]:
    """Lines of VGGSound's list; after every 99,999 good ones a malformed one."""
    malformed = ("not-an-id,10,class 1,train\n", "AAAAAAAAAAA,soon,class 1,train\n", "AAAAAAAAAAA,10,class 1\n")
    for number, row in enumerate(rows.to_pylist()):
        yield f"{row['video_id']},{row['start']},{row['label']},{row['split']}\n"
        if number % MALFORMED_EVERY == MALFORMED_EVERY - 2:
            yield malformed[number // MALFORMED_EVERY % 3]


def _source(file: Path, clips: int) -> dict[str, Any]:
    rejected = (clips + 1) // MALFORMED_EVERY
    return {
        "list": LIST,
        "kind": "vggsound",
        "file": file.name,
        "sha256": file_sha256(file),
        "rows": clips + rejected,
        "accepted": clips,
        "rejected": rejected,
        "licence": "made",
        "ingested_at": "2026-01-01T00:00:00+00:00",
    }
