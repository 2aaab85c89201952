"""Which rows and sounds the page shows: a few of each code and reason, drawn by seed, so that they stay the same.

Keys are hashes, so the first ones after a point that follows from the seed are a random draw that needs no shuffling.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from curation.dataset import Dataset, quoted
from curation.errors import CODES, DatasetError
from curation.keys import short_hash
from curation.selections.selection import REASONS, SelectionReport
from pipelines.progress import Progress
from pipelines.report.figures import rows_of
from pipelines.report.players import Budget, Player

CLIPS_SHOWN = 9
"""Clips of the dataset that are shown first."""

ROWS_A_CODE = 3
"""Rows or sounds shown of each code."""

UNHEARD = ("PENDING", "SPLIT")
"""Reasons of a selection that say nothing against a clip."""

MEANINGS = {str(code): text for code, (_, text) in CODES.items()} | {
    str(reason): text for reason, text in REASONS.items()
}

_ASIDE = """
SELECT had.code, had.key, had.detail, count(*) OVER (PARTITION BY had.code) AS frequency
FROM "{stage}" AS had WHERE had.state = 'set_aside'
QUALIFY row_number() OVER (PARTITION BY had.code ORDER BY had.key < '{pivot}', had.key) <= {rows}"""

VIDEO = "coalesce(regexp_replace(url, '//[^/]*@', '//'), path, video_id)"
"""What a video is called: its address is shown without user and password."""


@dataclass(slots=True)
class Shown:
    """One row or sound of the page.

    Args:
        text: What it is: a caption, a label or an address.
        detail: What was seen, or where it is from.
        key: The clip or video, of which `describe` tells what is missing here.
        sha256: Of its sound in the media store, if it has one there.
        file: Its sound, if that lies elsewhere.
        player: Filled in when the page is made.
    """

    text: str = ""
    detail: str = ""
    key: str | None = None
    sha256: str | None = None
    file: Path | None = None
    player: Player | None = None


@dataclass(slots=True)
class Section:
    """A group of rows or sounds under one heading.

    Args:
        title: Its heading.
        shown: What it shows.
        note: A sentence about them.
        code: The code or reason that they share.
        count: How many there are in all.
        is_pairs: Every two sounds belong together.
    """

    title: str
    shown: list[Shown] = field(default_factory=list)
    note: str = ""
    code: str = ""
    count: int = 0
    is_pairs: bool = False


def drawn_clips(connection: duckdb.DuckDBPyConnection, seed: int) -> Section:
    """Some clips of the dataset with their captions or labels."""
    (total,) = rows_of(connection, "SELECT count(*) AS n FROM cut WHERE state = 'done'")
    found = rows_of(
        connection,
        f"""SELECT key, audio_sha256 FROM cut WHERE state = 'done'
        ORDER BY key < '{_pivot(seed, "clips")}', key LIMIT {CLIPS_SHOWN}""",
    )
    shown = [Shown(key=row["key"], sha256=row["audio_sha256"]) for row in found]
    return Section("Clips", shown, f"{len(shown)} of {total['n']:,} clips, drawn by seed {seed}")


def set_aside(connection: duckdb.DuckDBPyConnection, stages: Sequence[str], seed: int) -> list[Section]:
    """The rows that stages set aside, a section a stage and code: what was seen, and the sound where there is one."""
    rejected = rows_of(
        connection,
        f"""SELECT list || ', line ' || line AS video, reason AS detail, count(*) OVER () AS frequency FROM rejects
        ORDER BY list, line LIMIT {ROWS_A_CODE}""",
    )
    sections = []
    if rejected:
        shown = [Shown(row["video"], row["detail"]) for row in rejected]
        sections.append(_section("lines of lists", "MALFORMED", shown, rejected[0]["frequency"]))
    for stage in stages:
        found = rows_of(connection, _ASIDE.format(stage=stage, pivot=_pivot(seed, stage), rows=ROWS_A_CODE))
        for code in sorted({row["code"] for row in found}):
            rows = [row for row in found if row["code"] == code]
            shown = [Shown(detail=row["detail"] or code, key=row["key"]) for row in rows]
            sections.append(_section(f"stage {stage}", code, shown, rows[0]["frequency"]))
    return sections


def refused(connection: duckdb.DuckDBPyConnection, report: SelectionReport, seed: int) -> list[Section]:
    """What a selection refused that no stage had set aside, a section a reason, to listen to."""
    path = str(report.path).replace("'", "''")
    pivot = _pivot(seed, report.name)
    found = rows_of(
        connection,
        f"""SELECT clip_id AS key, reason, refused_by, audio_sha256 FROM read_parquet('{path}')
        WHERE NOT kept AND audio_sha256 IS NOT NULL AND reason NOT IN ('{"', '".join(UNHEARD)}')
        QUALIFY row_number() OVER (PARTITION BY reason ORDER BY key < '{pivot}', key) <= {ROWS_A_CODE}""",
    )
    clips = {row["refused_by"] for row in found} & _clips(connection, [row["refused_by"] for row in found]).keys()
    sections = []
    for reason in sorted({row["reason"] for row in found}):
        rows = [row for row in found if row["reason"] == reason]
        shown = []
        for row in rows:
            against, by = row["refused_by"] in clips, row["refused_by"]
            shown.append(Shown(detail="" if against or not by else f"refused by {by}", key=row["key"]))
            if against:
                shown.append(Shown("the clip that it was compared with", key=by))
        section = _section(f"selection {report.name}", reason, shown, report.refused.get(reason, len(rows)))
        section.is_pairs = all(row["refused_by"] in clips for row in rows)
        sections.append(section)
    return sections


def generated(dataset: Dataset) -> list[Section]:
    """The sounds that `generate` wrote below the runs of the dataset, a section a run."""
    sections = []
    for run in sorted(dataset.folder("runs").glob("*/generated")):
        shown = [
            Shown(json.loads(file.read_text()).get("text") or "", file=file.with_suffix(".wav"))
            for file in sorted(run.glob("*.json"))[: 2 * CLIPS_SHOWN]
            if file.with_suffix(".wav").is_file()
        ]
        sections.append(Section(f"Generated by {run.parent.name}", shown))
    return sections


def fill(dataset: Dataset, sections: Sequence[Section], budget: Budget) -> None:
    """Make the players: first one of every section, then the second ones, so that a full page has some of all."""
    longest = max([len(section.shown) for section in sections] + [0])
    turns = [section.shown[n] for n in range(longest) for section in sections if n < len(section.shown)]
    heard = [one for one in turns if one.sha256 or one.file]
    if not heard:
        return
    with Progress("report", total=len(heard), unit="sounds") as progress:
        for one in heard:
            try:
                file = one.file or dataset.media.open_path(str(one.sha256), ".flac")
                one.player = budget.player(file)
            except DatasetError:  # deleted since; the page says that there is nothing to hear
                one.player = None
            progress.advance()


def describe(connection: duckdb.DuckDBPyConnection, sections: Sequence[Section], stages: Sequence[str]) -> None:
    """Fill in what is known of the clips and videos that are shown: names, words and sounds, each asked for once."""
    shown = [one for section in sections for one in section.shown if one.key]
    keys = sorted({str(one.key) for one in shown})
    clips = _clips(connection, keys)
    video_keys = sorted({row["video_key"] for row in clips.values()} | set(keys))
    asked = f"SELECT video_key, {VIDEO} AS video FROM videos WHERE video_key IN {_listed(video_keys)}"
    videos = {row["video_key"]: row["video"] for row in rows_of(connection, asked)}
    words = _words(connection, keys, clips, stages)
    sounds: dict[str, str] = {}
    if "cut" in stages:
        asked = f"SELECT key, audio_sha256 FROM cut WHERE state = 'done' AND key IN {_listed(keys)}"
        sounds = {row["key"]: row["audio_sha256"] for row in rows_of(connection, asked)}
    for one in shown:
        key = str(one.key)
        clip = clips.get(key)
        video = videos.get(clip["video_key"] if clip else key) or key
        place = f"{video}, {_span(clip)}" if clip else video
        one.sha256 = one.sha256 or sounds.get(key)
        text = one.text or words.get(key, "") if one.sha256 else ""
        one.text, one.detail = (text or place), "; ".join(part for part in (place if text else "", one.detail) if part)


def _clips(connection: duckdb.DuckDBPyConnection, keys: Sequence[str | None]) -> dict[str, dict[str, Any]]:
    """clip_id -> the row of `clips`, of those keys that are clips."""
    listed = _listed([key for key in keys if key])
    asked = f"SELECT clip_id, video_key, start_ms, duration_ms FROM clips WHERE clip_id IN {listed}"
    return {row["clip_id"]: row for row in rows_of(connection, asked)}


def _words(
    connection: duckdb.DuckDBPyConnection,
    keys: Sequence[str],
    clips: dict[str, dict[str, Any]],
    stages: Sequence[str],
) -> dict[str, str]:
    """Key -> a caption by people, or else a label, or else a sentence of the stage `caption`."""
    asked = sorted({*keys, *(row["video_key"] for row in clips.values())})
    found = rows_of(
        connection,
        f"""SELECT key, coalesce(min(captions[1]), min(labels[1])) AS text FROM annotations
        WHERE key IN {_listed(asked)} GROUP BY key""",
    )
    said = {row["key"]: row["text"] for row in found if row["text"]}
    words = {key: said.get(key) or said.get(clips[key]["video_key"], "") for key in clips}
    if "caption" in stages:
        spoken = (
            f"SELECT key, min(text) AS text FROM caption WHERE state = 'done' AND key IN {_listed(keys)} GROUP BY key"
        )
        for row in rows_of(connection, spoken):
            words[row["key"]] = words.get(row["key"]) or row["text"]
    return words


def _listed(keys: Sequence[str]) -> str:
    """Keys as a list of SQL: a condition on plain values is applied before anything is grouped, unlike a join."""
    return "(" + ", ".join(quoted(key) for key in keys or [""]) + ")"


def _section(where: str, code: str, shown: list[Shown], count: int) -> Section:
    return Section(where, shown, MEANINGS.get(code, "").partition(";")[0].replace("`", ""), code, count)


def _span(clip: dict[str, Any]) -> str:
    return f"{clip['start_ms'] / 1000:g}–{(clip['start_ms'] + clip['duration_ms']) / 1000:g} s"


def _pivot(seed: int, what: str) -> str:
    return short_hash([seed, what])
