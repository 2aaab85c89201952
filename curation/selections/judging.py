"""The SQL by which a selection judges: every clip described, its stages' answers, and the one reason that refuses it.

`curation/selections/selection.py` says what may be asked for and writes what comes out. Tables are made one after the
other in the caller's connection; nothing here is read into Python, so millions of clips need no more memory than DuckDB
is given.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from curation.annotated import ANNOTATED, SPOKEN
from curation.current import FETCH_OF, current_sql, variants
from curation.dataset import Dataset
from curation.duplicates.found import covered_sql
from curation.errors import ArgumentError
from curation.selections.without import Without
from curation.views import quoted

SPLIT_RANKS: dict[str, int] = {"train": 0, "val": 1, "test": 2}
"""The higher, the stricter: a clip belongs to the strictest split that any list gives it or its video."""

ALWAYS = ("cut", "measure")
"""Stages of clips without which nothing can be selected."""

DESCRIBED = f"""
CREATE TEMP TABLE chosen_captions AS
SELECT clip_id, list(text ORDER BY source, text) AS captions, list(source ORDER BY source, text) AS caption_sources
FROM (SELECT clip_id, text, min(source) AS source FROM ({{captions}}) WHERE text IS NOT NULL GROUP BY clip_id, text)
GROUP BY clip_id;

CREATE TEMP TABLE said AS
SELECT clip_id, max(split_rank) AS split_rank, list_sort(list_distinct(flatten(list(labels)))) AS labels,
    list_sort(list_distinct(list(list))) AS lists,
    list_sort(list_distinct(list(type) FILTER (type IS NOT NULL))) AS types
FROM (
    SELECT clip_id, coalesce(labels, []) AS labels, list, type, CASE split WHEN 'test' THEN {SPLIT_RANKS["test"]}
        WHEN 'val' THEN {SPLIT_RANKS["val"]} ELSE {SPLIT_RANKS["train"]} END AS split_rank
    FROM (({ANNOTATED}) UNION ALL BY NAME SELECT NULL::VARCHAR AS type WHERE false)  -- older lists have no types
)
GROUP BY clip_id;

CREATE TEMP TABLE spoken AS {SPOKEN};

CREATE TEMP TABLE described AS
SELECT clips.*, coalesce(said.split_rank, 0) AS split_rank,
    ['train', 'val', 'test'][coalesce(said.split_rank, 0) + 1] AS split,
    coalesce(said.labels, []) AS labels, coalesce(said.lists, []) AS lists,
    coalesce(chosen_captions.captions, []) AS captions,
    coalesce(chosen_captions.caption_sources, []) AS caption_sources, spoken.transcript,
    coalesce(said.types, []) AS types
FROM clips LEFT JOIN said USING (clip_id) LEFT JOIN chosen_captions USING (clip_id)
    LEFT JOIN spoken USING (clip_id)"""

_ANSWERS = """
CREATE TEMP TABLE answers AS
SELECT clips.clip_id, clips.split_rank, CASE measure.state WHEN 'done' THEN measure.pcm_sha256 END AS pcm_sha256,
    "fetch".licence, cut.input AS original_sha256, cut.audio_sha256, cut.video_sha256, cut.sample_rate_hz,
    CASE
        WHEN cut.state = 'set_aside' THEN {{reason: cut.code, refused_by: 'cut'}}
        WHEN cut.state = 'pending' THEN {{reason: 'PENDING', refused_by: 'cut'}}
        WHEN cut.state IS NULL AND "fetch".state = 'set_aside' THEN {{reason: "fetch".code, refused_by: 'fetch'}}
        WHEN cut.state IS NULL AND "fetch".state = 'done' THEN {{reason: 'PENDING', refused_by: 'cut'}}
        WHEN cut.state IS NULL THEN {{reason: 'PENDING', refused_by: 'fetch'}}
        WHEN measure.state = 'set_aside' THEN {{reason: measure.code, refused_by: 'measure'}}
        WHEN measure.state IS NULL OR measure.state = 'pending' THEN {{reason: 'PENDING', refused_by: 'measure'}}
        WHEN clips.split_rank <> {rank} THEN {{reason: 'SPLIT', refused_by: clips.split}}
        {conditions}
    END AS refused,
    CASE WHEN clips.split_rank = {rank} THEN ({score}
    )::DOUBLE END AS score
FROM {joined}"""

_CONDITION = """WHEN NOT coalesce((
{condition}
), false) THEN {{reason: '{reason}', refused_by: {by}}}"""

_OF_SOUNDS = """
CREATE TEMP TABLE copies AS {copies};

CREATE TEMP TABLE guards AS SELECT clip_id, min(guard) AS guard FROM guarded GROUP BY clip_id;

CREATE TEMP TABLE states AS
SELECT answers.clip_id, answers.split_rank, answers.score, guards.guard, copies.sound, copies.rank, CASE
        WHEN answers.refused IS NOT NULL THEN answers.refused
        WHEN guards.guard IS NOT NULL THEN {{reason: 'GUARD', refused_by: guards.guard}}
        WHEN copies.guard_sound IS NOT NULL
            THEN {{reason: 'DUPLICATE_OF_EVALUATION', refused_by: copies.guard_sound}}
    END AS refused
FROM answers LEFT JOIN copies USING (clip_id) LEFT JOIN guards USING (clip_id);

CREATE TEMP TABLE evaluation AS
SELECT sound, min(clip_id) AS refused_by FROM states
WHERE sound IS NOT NULL AND (split_rank > {rank} OR guard IS NOT NULL) GROUP BY sound;

CREATE TEMP TABLE firsts AS
SELECT sound, arg_min(clip_id, (rank, clip_id)) AS refused_by FROM states
WHERE sound IS NOT NULL AND refused IS NULL GROUP BY sound;

CREATE TEMP TABLE unranked AS
SELECT states.clip_id, states.score, CASE
        WHEN refused IS NOT NULL THEN refused
        WHEN evaluation.refused_by IS NOT NULL
            THEN {{reason: 'DUPLICATE_OF_EVALUATION', refused_by: evaluation.refused_by}}
        WHEN firsts.refused_by <> states.clip_id THEN {{reason: 'DUPLICATE', refused_by: firsts.refused_by}}
    END AS verdict
FROM states LEFT JOIN evaluation USING (sound) LEFT JOIN firsts USING (sound)"""

_BY_SAMPLES = """
SELECT clip_id, pcm_sha256 AS sound, 0 AS rank, NULL::VARCHAR AS guard_sound FROM answers
WHERE pcm_sha256 IN (
    SELECT pcm_sha256 FROM answers WHERE pcm_sha256 IS NOT NULL GROUP BY pcm_sha256 HAVING count(*) > 1
)"""

_BY_TABLE = """
SELECT clip_id, "group" AS sound, rank,
    list_filter(guard_sounds, lambda named: list_contains({guards}, split_part(named, '/', 1)))[1] AS guard_sound
FROM duplicates"""

_RANKED = """
CREATE TEMP TABLE judged AS
WITH best AS (
    SELECT clip_id FROM unranked WHERE verdict IS NULL AND score IS NOT NULL AND NOT isnan(score)
    ORDER BY score DESC, clip_id LIMIT {best}
)
SELECT unranked.clip_id, CASE WHEN verdict IS NOT NULL THEN verdict
        WHEN best.clip_id IS NULL THEN {{reason: 'RANK', refused_by: NULL}} END AS verdict
FROM unranked LEFT JOIN best USING (clip_id)"""

_UNRANKED = "CREATE TEMP VIEW judged AS SELECT clip_id, verdict FROM unranked"

_ROWS = """
SELECT clips.clip_id, judged.verdict IS NULL AS kept,
    judged.verdict.reason AS reason, judged.verdict.refused_by AS refused_by,
    clips.split, clips.labels, clips.captions, clips.caption_sources, clips.transcript, clips.types,
    clips.lists,
    videos.platform, videos.video_id, regexp_replace(videos.url, '//[^/]*@', '//') AS url,
    clips.start_ms, clips.duration_ms, clips.prev_clip_id, answers.licence, answers.original_sha256,
    answers.audio_sha256, answers.video_sha256, answers.sample_rate_hz
FROM described AS clips JOIN videos USING (video_key) JOIN answers USING (clip_id) JOIN judged USING (clip_id)
ORDER BY clips.clip_id"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a selection asks of the clips, as SQL.

    Args:
        rank: Rank of the split that is taken, as in `SPLIT_RANKS`.
        captions: Query for the chosen captions: `clip_id`, `text`, `source`.
        where: Condition; None: every clip.
        rules: Name and condition of each further rule.
        best_clips: So many are kept at most; None: all.
        by: Expression, the higher the better; given with `best_clips`.
        using: Stage -> label, where several variants stand side by side.
        guards: Names of the guards.
        without: Lists of videos and clips that are left out.
        covered: Which clips the view `duplicates` is of; None: there is no such view, and equal samples are duplicates.
    """

    rank: int
    captions: str
    where: str | None = None
    rules: Sequence[tuple[str, str]] = ()
    best_clips: int | None = None
    by: str | None = None
    using: Mapping[str, str]
    guards: Sequence[str] = ()
    without: Sequence[Without] = ()
    covered: Mapping[str, Any] | None = None


def judge(connection: duckdb.DuckDBPyConnection, dataset: Dataset, asked: Asked) -> str:
    """Judge every clip; the tables that it leaves in the connection are read by the query that it returns.

    Args:
        connection: With the dataset's views, the table `guarded` (clip_id, guard), and `duplicates` if asked.
        dataset: The dataset.
        asked: What is asked for.

    Returns:
        A query for the rows of the selection, sorted by clip_id.

    Raises:
        ArgumentError: A condition is not SQL, names a stage that has not run, or the duplicates are of other clips.
    """
    divide_safely(connection)
    conditions: list[tuple[str, str | None, str]] = [("WHERE", None, asked.where)] if asked.where else []
    conditions += [("RULE", name, where) for name, where in asked.rules]
    if asked.without:
        connection.register("without_rows", pa.concat_tables([one.table() for one in asked.without]))
        connection.execute("CREATE TEMP TABLE without AS SELECT * FROM without_rows")
        conditions += [("RULE", one.name, one.condition()) for one in asked.without]
    texts = [text for _, _, text in conditions] + [asked.by or ""]
    joined = joined_sql(connection, dataset, asked.using, texts)
    confine(connection, dataset)
    what = f"the query for captions {asked.captions!r}"
    refuse_several(connection, asked.captions, what)
    execute(connection, DESCRIBED.format(captions=asked.captions), what)
    for _, name, text in conditions:
        what = f"rule {name}: the condition {text!r}" if name else f"the condition {text!r}"
        execute_one(connection, f"EXPLAIN SELECT 1 FROM {joined} WHERE (\n{text}\n)", what)
    if asked.by is not None:
        execute_one(connection, f"EXPLAIN SELECT (\n{asked.by}\n)::DOUBLE FROM {joined}", f"the rank {asked.by!r}")
    cases = [
        _CONDITION.format(condition=text, reason=reason, by=quoted(name) if name else "NULL")
        for reason, name, text in conditions
    ]
    answers = _ANSWERS.format(rank=asked.rank, conditions="\n".join(cases), score=asked.by or "NULL", joined=joined)
    named = " or ".join(f"the condition {text!r}" for text in texts if text)
    execute(connection, answers, named)
    _check_covered(connection, asked.covered)
    names = "[" + ", ".join(quoted(name) for name in sorted(set(asked.guards))) + "]::VARCHAR[]"
    copies = _BY_TABLE.format(guards=names) if asked.covered is not None else _BY_SAMPLES
    connection.execute(_OF_SOUNDS.format(copies=copies, rank=asked.rank))
    connection.execute(_UNRANKED if asked.best_clips is None else _RANKED.format(best=asked.best_clips))
    return _ROWS


def _check_covered(connection: duckdb.DuckDBPyConnection, covered: Mapping[str, Any] | None) -> None:
    """Refuse duplicates that were found among other clips than those that are judged."""
    if covered is None:
        return
    now = connection.sql(covered_sql("answers")).to_arrow_table().to_pylist()[0]
    if now != dict(covered):
        raise ArgumentError(
            f"duplicates were looked for among {covered['clips']:,} clips, and {now['clips']:,} or others are measured "
            "now; run `foundsound dedupe` again"
        )


def joined_sql(
    connection: duckdb.DuckDBPyConnection, dataset: Dataset, using: Mapping[str, str], texts: Sequence[str]
) -> str:
    """The tables that conditions see, each row a clip: what every selection reads, and the stages that texts name."""
    if dataset.has_stage("fetch"):
        connection.execute(f"CREATE TEMP TABLE fetch_of AS {FETCH_OF}")
        fetched = """(SELECT got.* REPLACE (fetch_of.clip_id AS key)
            FROM fetch_of JOIN "fetch" AS got ON got.key = fetch_of.fetch_key)"""
    else:
        fetched = "(SELECT * REPLACE (NULL::VARCHAR AS key), NULL::VARCHAR AS licence FROM cut WHERE false)"
    joins = {
        name: f'\nLEFT JOIN ({current_sql(dataset, stage, label)}) AS "{name}" ON "{name}".key = clips.clip_id'
        for name, (stage, label) in variants(dataset, using).items()
        if name in ALWAYS or any(_names(text, name) for text in texts)
    }
    return f"""described AS clips JOIN videos USING (video_key)
LEFT JOIN {fetched} AS "fetch" ON "fetch".key = clips.clip_id""" + "".join(joins.values())


def _names(text: str, name: str) -> bool:
    return re.search(rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])", text) is not None


def divide_safely(connection: duckdb.DuckDBPyConnection) -> None:
    """Let 0 / 0 and 1 / 0 be null, as what cannot be known, where they would be above every number."""
    connection.execute("SET ieee_floating_point_ops = false; SET error_on_division_by_zero = false")


def confine(connection: duckdb.DuckDBPyConnection, dataset: Dataset) -> None:
    """Let the connection read the dataset, spill where it did, and nothing else."""
    spill = connection.sql("SELECT current_setting('temp_directory')").fetchall()[0][0]
    places = ", ".join(quoted(f"{place}/") for place in (dataset.path, spill))
    connection.execute(f"SET allowed_directories = [{places}]; SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def execute(connection: duckdb.DuckDBPyConnection, query: str, what: str) -> None:
    """Run a query that a person wrote a part of."""
    try:
        connection.execute(query)
    except duckdb.PermissionException as error:
        raise ArgumentError(f"{what} reads what is outside of the dataset: {error}") from error
    except (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError, duckdb.IOException) as error:
        raise ArgumentError(f"{what} is refused by DuckDB: {error}") from error


def execute_one(connection: duckdb.DuckDBPyConnection, query: str, what: str) -> None:
    """Run a query that a person wrote a part of, if that part does not end it and begin another."""
    refuse_several(connection, query, what)
    execute(connection, query, what)


def refuse_several(connection: duckdb.DuckDBPyConnection, query: str, what: str) -> None:
    """Refuse what would be run as several queries: one of them might write files.

    Raises:
        ArgumentError: It would, or is no SQL.
    """
    try:
        statements = len(connection.extract_statements(query))
    except duckdb.ParserException as error:
        raise ArgumentError(f"{what} is refused by DuckDB: {error}") from error
    if statements != 1:
        raise ArgumentError(f"{what} is more than one expression")
