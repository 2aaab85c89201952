"""The SQL that reads part files: what is seen of a table in which rows may lie twice, and what is not final yet.

Every table has a rule that makes one row of all that is said about a key. The rule costs memory for each row, so it is
applied only where it is needed: a settled part (`curation/compact.py`) holds keys about which nothing else is said, and
is read as it is, without those keys that loose parts name too.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from curation.errors import FINAL_CODES, MAX_ATTEMPTS
from curation.tables import part_files, table_parts
from curation.takedowns.deny import allowed_sql


@dataclass(frozen=True, kw_only=True, slots=True)
class TableRule:
    """How the rows of one table are read.

    Args:
        key: The column by which rows belong together.
        one: SQL that makes one row of all that `{rows}` say about a key.
        seen: SQL condition: a loose row is to be seen; `{lists}` are the committed lists. Of settled rows it was true.
        same: Columns that tell whether two rows say the same; a key with two such rows is not settled.
        needs: Views that `seen` reads.
        merges: Whether `one` of rows that are seen says all that they say, so that they need not be kept.
    """

    key: str
    one: str
    same: str
    seen: str = "true"
    needs: tuple[str, ...] = ()
    merges: bool = True


TABLE_RULES: dict[str, TableRule] = {
    "annotations": TableRule(
        key="key",
        same="key, list, line",
        one="SELECT DISTINCT ON (key, list, line) * FROM {rows}",
        seen="list IN ({lists})",
    ),
    "rejects": TableRule(
        key="line", same="line, list", one="SELECT DISTINCT ON (list, line) * FROM {rows}", seen="list IN ({lists})"
    ),
    "clips": TableRule(
        key="clip_id",
        same="clip_id",
        one="SELECT clip_id, any_value(COLUMNS(* EXCLUDE (clip_id, prev_clip_id, origin))), "
        "max(prev_clip_id) AS prev_clip_id, min(origin) AS origin FROM {rows} GROUP BY clip_id",  # `list` < `segment`
        seen="(origin = 'segment' OR clip_id IN (SELECT key FROM annotations))",
        needs=("annotations",),
    ),
    "videos": TableRule(
        key="video_key",
        same="video_key",
        one="SELECT video_key, any_value(COLUMNS(* EXCLUDE (video_key, segment_ms))), max(segment_ms) AS segment_ms "
        "FROM {rows} GROUP BY video_key",  # a later list may ask to segment a video that was known by its clips
        seen="video_key IN (SELECT key FROM annotations UNION ALL SELECT video_key FROM clips)",
        needs=("annotations", "clips"),
    ),
}
"""Rows of a list count only once its source stands in `dataset.json`, so half an ingest is never seen: neither its
annotations nor the clips and videos that only they name. What the deny list names is not seen at all."""

_LATEST = """SELECT * FROM {{rows}}
QUALIFY row_number() OVER (PARTITION BY {by} ORDER BY finished_at DESC, attempt DESC) = 1"""

FACT_RULE = TableRule(key="key", same="key", one=_LATEST.format(by="key"), merges=False)
"""Earlier attempts, and answers for other inputs, are kept beside the latest fact of a key."""


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def parts_sql(files: Iterable[Path]) -> str:
    """SQL that reads part files, older ones lacking newer columns."""
    return f"read_parquet([{', '.join(quoted(str(file)) for file in files)}], union_by_name=true)"


def is_final_sql() -> str:
    """SQL condition: a fact row will not be tried again, being done, finally set aside, or out of attempts.

    A row with attempt 0 is no attempt: it says that the thing is open (again), and its code is the last one seen.
    """
    codes = ", ".join(quoted(code) for code in sorted(FINAL_CODES))
    return f"(code IS NULL OR attempt > 0 AND code IN ({codes}) OR attempt >= {MAX_ATTEMPTS})"


def rows_sql(folder: Path, rule: TableRule, one: str | None = None, seen: str = "true", settled: str = "true") -> str:
    """SQL of the rows of a table, each key by its rule.

    Args:
        folder: Where its parts are.
        rule: Its rule.
        one: Another way to make one row of several of a key.
        seen: SQL condition: a loose row is to be seen.
        settled: SQL condition: a settled row is to be seen.
    """
    parts, one = table_parts(folder), one or rule.one
    loose = parts_sql(parts.loose)
    if parts.settled is None:
        return one.format(rows=f"(SELECT * FROM {loose} WHERE {seen})")
    kept = f"SELECT * FROM {parts_sql([parts.settled])} AS settled"
    named = f"JOIN (SELECT {rule.key} FROM {loose}) AS loose USING ({rule.key})"
    several = f"({kept} SEMI {named} WHERE {settled} UNION ALL BY NAME SELECT * FROM {loose} WHERE {seen})"
    return f"{kept} ANTI {named} WHERE {settled} UNION ALL BY NAME ({one.format(rows=several)})"


def latest_sql(folder: Path, by: str = "key") -> str:
    """SQL of the latest fact of each key, or each `key, input`, in one folder of facts."""
    return rows_sql(folder, FACT_RULE, one=_LATEST.format(by=by))


def table_sql(dataset: Path, name: str, lists: Iterable[str]) -> str:
    """SQL of the view of one of `TABLES`.

    Args:
        dataset: Folder of the dataset.
        name: Name of the table.
        lists: Names of the lists whose ingest is committed.
    """
    rule = TABLE_RULES[name]
    committed = ", ".join(map(quoted, lists)) or "''"
    allowed = "true" if name == "rejects" else allowed_sql(dataset, name, parts_sql(part_files(dataset / "clips")))
    seen = f"{rule.seen.format(lists=committed)} AND {allowed}"
    return rows_sql(dataset / name, rule, seen=seen, settled=seen if not rule.needs else allowed)


def stage_sql(folders: Mapping[str, Path]) -> str:
    """SQL of the view of a stage: the latest fact of each key and label, and its `state`.

    Args:
        folders: Label -> folder of its facts.
    """
    union = " UNION ALL BY NAME ".join(
        f"(SELECT {quoted(label)} AS label, * FROM ({latest_sql(folder)}))" for label, folder in folders.items()
    )
    return f"""SELECT *, CASE WHEN code IS NULL THEN 'done' WHEN {is_final_sql()} THEN 'set_aside'
        ELSE 'pending' END AS state FROM ({union})"""


def answers_sql(requests: str, folder: Path, reopen: str | None = None) -> str:
    """SQL of every request of a stage with its latest answer.

    Args:
        requests: SQL of the requests, with `key`, `input` and, where a stage has it, `inherited`.
        folder: Where the stage's facts are.
        reopen: SQL condition over the facts: an answer that is set aside counts as none.

    Returns:
        SQL of the columns of the requests, `inherited` (null where the stage has none), `attempts`, `code`, and
        `state`: `done`, `set_aside` or `pending`.
    """
    reopened = f"(code IS NOT NULL AND ({reopen}))" if reopen else "false"
    return f"""
    WITH requested AS (({requests}) UNION ALL BY NAME SELECT NULL::VARCHAR AS inherited WHERE false),
    answers AS (
        SELECT key, input, code, attempt, {is_final_sql()} AND NOT {reopened} AS final
        FROM ({latest_sql(folder, "key, input")})
    )
    SELECT requested.*, coalesce(answers.attempt, 0) AS attempts, coalesce(requested.inherited, answers.code) AS code,
        CASE WHEN requested.inherited IS NOT NULL THEN 'set_aside'
            WHEN NOT coalesce(answers.final, false) THEN 'pending'
            WHEN answers.code IS NULL THEN 'done' ELSE 'set_aside' END AS state
    FROM requested LEFT JOIN answers ON requested.key = answers.key AND requested.input = answers.input"""
