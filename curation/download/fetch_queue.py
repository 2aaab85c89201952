"""What the stage `fetch` still has to do: one row a video or cut clip, with the sources that are left to ask.

For each source the latest row decides: one that was never asked, or whose last word is neither done nor final nor its
last attempt, has a turn. So a source that is named later is asked, and none is asked twice for what it does not have.
"""

from typing import Literal

import pyarrow as pa

from curation.dataset import Dataset
from curation.download.egress import ROW_LINE
from curation.download.source import Source
from curation.fetch import Fetch
from curation.stage import Stage
from curation.views import is_final_sql, latest_sql, quoted

_HOST_LINE = f"'{ROW_LINE} ' || lower(regexp_extract(video.url, '^[^:]*://([^/?#]*)', 1))"
"""SQL of the line in which a row with a url waits: that of its host (and port), so that none waits for another."""

_SPAN = "{{clip_id: spans.clip_id, start_ms: spans.start_ms, duration_ms: spans.duration_ms, attempts: {attempts}}}"


def _latest(dataset: Dataset, stage: Stage, by: str, reopen: str | None) -> str:
    reopened = f"code IS NOT NULL AND {reopen}" if reopen else "false"
    latest = latest_sql(dataset.facts(stage).folder, by)
    return f"SELECT *, {is_final_sql()} AND NOT ({reopened}) AS final FROM ({latest})"


def _answers(dataset: Dataset, stage: Fetch) -> str:
    """SQL of what is there: the latest answers of the three stages, videos to be segmented, clips that are cut.

    An answer that this run reopens is not final, be it the video's own or one that its clips or segments got from it.

    A clip is cut when the fetch of its original, of either grain, is committed too; a kill between the two commits
    leaves a cut whose video is fetched again.
    """
    reopen = stage.reopen()
    return f"""fetched AS ({_latest(dataset, stage, "key", reopen)}),
    asked AS ({_latest(dataset, stage, "key, source", reopen)}),
    cuts AS ({_latest(dataset, stage.cut, "key, input", reopen)}),
    segmented AS ({_latest(dataset, stage.segment, "key", reopen)}),
    whole AS (
        SELECT DISTINCT annotations.key AS video_key, coalesce(segmented.attempt, 0) AS attempts,
            NOT coalesce(segmented.final, false) AS is_due
        FROM annotations LEFT JOIN segmented ON segmented.key = annotations.key WHERE annotations.grain = 'video'
    ),
    had AS (
        SELECT DISTINCT cuts.key FROM cuts JOIN clips ON clips.clip_id = cuts.key
        JOIN "fetch" AS got ON got.original_sha256 = cuts.input AND got.key IN (clips.clip_id, clips.video_key)
        WHERE cuts.code IS NULL
    )"""


def fetch_queue(dataset: Dataset, stage: Fetch, *, rows: Literal["all", "whole"] = "all") -> pa.Table:
    """What `fetch` still has to do.

    A video is due when it has no final answer yet and something is wanted of it, or when it was fetched and some of
    its clips were not cut from what was fetched (a kill, a new version of `cut`). A clip that was fetched by itself is
    not cut from its video again.

    Args:
        dataset: The dataset.
        stage: The stage with its knobs.
        rows: `whole` takes only videos that are to be segmented.

    Returns:
        One row a video (or clip), sorted by key: the video's columns, `clips` to cut as structs, `clips_before` that
        were cut from the file fetched last, `to_segment`, `is_whole` (a list names it without a span),
        `segment_attempts`, `fetched`, `original_sha256`, `original_suffix`, `section_start_ms`, `is_cut`, `turns` (the
        sources still to be asked in their order, as structs of `source`, `line` and `attempts`), `attempts` of the
        first of them, and `line`: where it waits, null for what is on this machine.
    """
    is_clip = stage.grain == "clip"
    unit, start = ("spans.clip_id", "spans.start_ms") if is_clip else ("videos.video_key", "NULL")
    own = " AND videos.platform = 'youtube'" if is_clip else ""
    if not stage.sources:
        own += " AND videos.platform <> 'youtube'"
    with dataset.reading():
        return dataset.sql(_query(dataset, stage, unit=unit, start=start, own=own, only_whole=rows == "whole"))


def _query(dataset: Dataset, stage: Fetch, *, unit: str, start: str, own: str, only_whole: bool) -> str:
    """The SQL of `fetch_queue`.

    Args:
        dataset, stage: As there.
        unit, start: SQL of what one request is, and of its start.
        own: SQL condition on the videos that may be asked for.
        only_whole: Only videos that are to be segmented.
    """
    is_clip = stage.grain == "clip"
    return f"""
    WITH {_answers(dataset, stage)},
    spans AS (
        SELECT clips.clip_id, clips.video_key, clips.start_ms, clips.duration_ms, coalesce(cuts.attempt, 0) AS attempts,
            NOT coalesce(cuts.final, false) AND (had.key IS NULL OR {is_clip} AND fetched.key IS NOT NULL)
                AND {"clips.origin = 'segment'" if only_whole else "true"} AS is_due,
            coalesce(cuts.final, false) AS is_before
        FROM clips
        LEFT JOIN fetched ON fetched.key = {"clips.clip_id" if is_clip else "clips.video_key"} AND fetched.code IS NULL
        LEFT JOIN cuts ON cuts.key = clips.clip_id AND cuts.input = fetched.original_sha256
        LEFT JOIN had ON had.key = clips.clip_id
        {"WHERE clips.origin = 'list'" if is_clip else ""}
    ),
    due AS (
        SELECT {unit} AS key, any_value(videos) AS video, any_value({start}) AS start_ms,
            list({_SPAN.format(attempts="spans.attempts")} ORDER BY spans.start_ms, spans.clip_id)
                FILTER (spans.is_due) AS clips,
            list({_SPAN.format(attempts="0")} ORDER BY spans.start_ms, spans.clip_id)
                FILTER (spans.is_before) AS clips_before,
            NOT {is_clip} AND coalesce(bool_or(whole.is_due), false) AS to_segment,
            NOT {is_clip} AND count(whole.video_key) > 0 AS is_whole,
            coalesce(max(whole.attempts), 0) AS segment_attempts
        FROM videos
        LEFT JOIN spans ON spans.video_key = videos.video_key
        LEFT JOIN whole ON whole.video_key = videos.video_key
        WHERE true {own}
        GROUP BY {unit}
    ),
    turned AS (
        SELECT due.key, due.key AS input, video.*, due.* EXCLUDE (key, video),
            {is_clip} AS is_cut,
            fetched.key IS NOT NULL AND fetched.code IS NULL AS fetched,
            fetched.original_sha256, fetched.original_suffix, fetched.section_start_ms, {_turns(stage)} AS turns
        FROM due LEFT JOIN fetched ON fetched.key = due.key {_joins(stage)}
        WHERE due.clips IS NOT NULL OR due.to_segment
    )
    SELECT *, turns[1].attempts AS attempts,
        {"CASE WHEN NOT fetched THEN turns[1].line END" if stage.originals else "turns[1].line"} AS line
    FROM turned WHERE len(turns) > 0
    ORDER BY key"""


def line_of(source: Source) -> str | None:
    """The line in which requests wait for a source; None for files on this machine, which nobody waits for."""
    return None if source.kind == "folder" else str(source)


def _joins(stage: Fetch) -> str:
    """SQL that joins the last word of every source, and of a row's own address, to what is due."""
    names = ["row", *map(str, stage.sources)]
    return " ".join(
        f"LEFT JOIN asked AS asked_{n} ON asked_{n}.key = due.key AND asked_{n}.source = {quoted(name)}"
        for n, name in enumerate(names)
    )


def _turns(stage: Fetch) -> str:
    """SQL list of the turns; a video that was fetched before may be had from all, first from where it came from."""

    def turn(number: int, source: str, line: str) -> str:
        had = f"coalesce(fetched.key IS NOT NULL AND fetched.code IS NULL AND fetched.source = {quoted(source)}, false)"
        return (
            f"{{source: {quoted(source)}, line: {line}, had: {had},"
            f" attempts: CASE WHEN fetched.code IS NULL THEN 0 ELSE coalesce(asked_{number}.attempt, 0) END,"
            f" is_due: fetched.code IS NULL OR NOT coalesce(asked_{number}.final, false)}}"
        )

    own = turn(0, "row", f"CASE video.platform WHEN 'url' THEN {_HOST_LINE} END")
    lines = [line_of(source) for source in stage.sources]
    given = [
        turn(number, str(source), quoted(line) if line else "NULL::VARCHAR")
        for number, (source, line) in enumerate(zip(stage.sources, lines, strict=True), start=1)
    ]
    kept = "struct_pack(source := x.source, line := x.line, attempts := x.attempts)"
    turns = f"CASE WHEN video.platform = 'youtube' THEN [{', '.join(given)}] ELSE [{own}] END" if given else f"[{own}]"
    ordered = f"list_concat([x FOR x IN {turns} IF x.had], [x FOR x IN {turns} IF NOT x.had])"
    return f"[{kept} FOR x IN {ordered} IF x.is_due]"
