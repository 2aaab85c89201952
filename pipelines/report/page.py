"""Gathers what the report shows and fills the page.

Sounds are linked by relative path and plots lie in the page, so it opens from the disk, without server or network.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, StrictUndefined

from curation.dataset import Dataset
from curation.status import StageStatus, status
from curation.tables import write_bytes
from pipelines.report.plots import Plot, bars, histogram
from pipelines.verbs.result import codes_text

SOUNDS = 12
"""Sounds shown of each kind."""
ASIDE_ROWS, ASIDE_ROWS_A_CODE = 40, 5
"""Set-aside rows shown, and how many of one code of one stage at most; the rarest codes first."""

_REJECTED = """
SELECT 'manifest' AS stage, 'MALFORMED' AS code, list || ', line ' || line AS video, reason AS detail,
    count(*) OVER () AS frequency
FROM rejects ORDER BY list, line LIMIT {rows}"""

_ASIDE = """
SELECT '{stage}' AS stage, had.code, had.detail,
    coalesce(regexp_replace(url, '//[^/]*@', '//'), path, video_id, had.key) AS video,
    count(*) OVER (PARTITION BY had.code) AS frequency
FROM "{stage}" AS had
LEFT JOIN clips ON clips.clip_id = had.key
LEFT JOIN videos ON videos.video_key = coalesce(clips.video_key, had.key)
WHERE had.state = 'set_aside'
QUALIFY row_number() OVER (PARTITION BY had.code ORDER BY had.key) <= {rows}"""
"""Keys are of clips or of videos. Addresses are shown without user and password."""

_SAID = """
SELECT drawn.key, any_value(drawn.audio_sha256) AS audio_sha256,
    min(coalesce(annotations.captions[1], annotations.labels[1])) AS text
FROM drawn JOIN clips ON clips.clip_id = drawn.key
LEFT JOIN annotations ON annotations.key IN (clips.clip_id, clips.video_key)
GROUP BY drawn.key ORDER BY drawn.key"""


@dataclass(frozen=True, slots=True)
class Sound:
    """A player: where the file is, and the words under it."""

    src: str
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """A group of players."""

    title: str
    sounds: list[Sound]
    note: str = ""


def link(page: Path, file: Path) -> str:
    """The file as seen from the page, for an attribute of HTML."""
    return quote(os.path.relpath(file, page.parent))


def _stages(stages: Mapping[str, StageStatus]) -> list[dict[str, object]]:
    return [
        {
            "name": name,
            "requested": counts.requested,
            "done": counts.done,
            "set_aside": sum(counts.set_aside.values()),
            "pending": counts.pending,
            "codes": codes_text(dict(counts.set_aside)),
        }
        for name, counts in stages.items()
    ]


def _aside(dataset: Dataset) -> list[dict[str, object]]:
    """Set-aside rows with what was seen, a few of every code."""
    found = dataset.sql(_REJECTED.format(rows=ASIDE_ROWS_A_CODE)).to_pylist()
    for stage in dataset.stages():
        found += dataset.sql(_ASIDE.format(stage=stage, rows=ASIDE_ROWS_A_CODE)).to_pylist()
    return sorted(found, key=lambda row: (row["frequency"], row["code"], row["stage"], row["video"]))[:ASIDE_ROWS]


def _plots(dataset: Dataset, stages: Mapping[str, StageStatus]) -> list[Plot]:
    codes: Counter[str] = Counter()
    for counts in stages.values():
        codes.update(counts.set_aside - counts.inherited)
    plots = [bars("Set aside, by code", codes)] if codes else []
    if not dataset.has_stage("measure"):
        return plots
    columns = "duration_s, loudness_lufs, bandwidth_hz, silence_ratio"
    measured = dataset.sql(f"SELECT {columns} FROM measure WHERE state = 'done' ORDER BY key").to_pydict()
    return [
        *plots,
        histogram("Duration", measured["duration_s"], "s"),
        histogram("Integrated loudness", measured["loudness_lufs"], "LUFS"),
        histogram("Effective bandwidth", measured["bandwidth_hz"], "Hz"),
        histogram("Share of silence", measured["silence_ratio"], "of the clip"),
    ]


def real_sounds(dataset: Dataset, page: Path, seed: int = 0) -> Section:
    """Some clips of the dataset, drawn by seed, with their captions or labels."""
    if not dataset.has_stage("cut"):
        return Section("Real sounds", [])
    cut = dataset.sql("SELECT key, audio_sha256 FROM cut WHERE state = 'done' ORDER BY key")
    drawn = cut.take(np.random.default_rng(seed).permutation(cut.num_rows)[:SOUNDS])
    rows = dataset.sql(_SAID, drawn=drawn).to_pylist()
    files = [(dataset.media.path(row["audio_sha256"], ".flac"), row["text"] or "") for row in rows]
    sounds = [Sound(link(page, file), text) for file, text in files if file.is_file()]
    return Section("Real sounds", sounds, f"{len(sounds)} of {cut.num_rows:,} clips, drawn by seed {seed}")


def generated_sounds(dataset: Dataset, page: Path) -> list[Section]:
    """The sounds that `generate` wrote below the runs of the dataset, a section a run."""
    sections = []
    for run in sorted(dataset.folder("runs").glob("*/generated")):
        described = sorted(run.glob("*.json"))[: 2 * SOUNDS]
        sounds = [
            Sound(link(page, file.with_suffix(".wav")), json.loads(file.read_text()).get("text") or "")
            for file in described
            if file.with_suffix(".wav").is_file()
        ]
        sections.append(Section(f"Generated by {run.parent.name}", sounds))
    return sections


def write_page(
    dataset: Dataset,
    page: Path,
    *,
    title: str | None = None,
    summary: tuple[str, ...] = (),
    found: tuple[Section, ...] = (),
) -> Path:
    """Write the report.

    Args:
        dataset: What it is about.
        page: The HTML file to write.
        title: Its heading; the dataset's folder name when not given.
        summary: Sentences at the top.
        found: Sections of retrieved sounds.

    Returns:
        The file.
    """
    stages = status(dataset)
    sources = ", ".join(f"{s['list']} ({s['rows']:,} rows)" for s in dataset.config["sources"])
    template = files("pipelines.report").joinpath("page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    html = environment.from_string(template).render(
        title=title or f"Dataset {dataset.path.name}",
        subtitle=f"Lists: {sources or 'none'}",
        summary=summary,
        stages=_stages(stages),
        aside=_aside(dataset),
        plots=_plots(dataset, stages),
        sounds=[
            section
            for section in (real_sounds(dataset, page), *found, *generated_sounds(dataset, page))
            if section.sounds
        ],
    )
    write_bytes(page, html.encode())
    return page
