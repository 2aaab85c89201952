"""Gathers what the report shows and fills the page.

The page is one file: plots, pictures and short copies of sounds lie in it, and its policy forbids it to load anything,
so that it opens without a network wherever it is copied. It has no script.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import duckdb
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from curation.dataset import Dataset
from curation.status import StageStatus, status
from curation.tables import write_bytes
from pipelines.report.choices import Table, choices, duplicates, leaks, rules, selections
from pipelines.report.examples import Section, describe, drawn_clips, fill, generated, refused, set_aside
from pipelines.report.figures import (
    LABELS,
    QUANTITIES,
    answers,
    captions,
    columns_of,
    fetched_over_time,
    gather_answers,
    long_tail,
    quantities,
    rows_of,
    tags,
    upload_years,
)
from pipelines.report.players import Budget
from pipelines.report.plots import Plot, short_number, split_bar

SOUND_BYTES = 24_000_000
"""What the sounds may add to the page. Source: ours; what a phone opens at once and an e-mail still takes."""

LISTED_SOURCES = 6
"""Lists and caption sources that are named one by one."""


@dataclass(frozen=True, slots=True)
class StageRow:
    """One stage of the table of counts."""

    name: str
    requested: int
    done: int
    set_aside: int
    pending: int
    codes: str
    bar: Markup


@dataclass(slots=True)
class Chapter:
    """One part of the page: plots, tables, and groups of rows and sounds."""

    name: str
    title: str
    note: str = ""
    plots: list[Plot] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.plots or self.tables or self.sections)


def write_page(
    dataset: Dataset,
    page: Path,
    *,
    title: str | None = None,
    summary: tuple[str, ...] = (),
    found: tuple[Section, ...] = (),
    sound_bytes: int = SOUND_BYTES,
    seed: int = 0,
) -> Path:
    """Write the report.

    Args:
        dataset: What it is about.
        page: The HTML file to write.
        title: Its heading; the dataset's folder name when not given.
        summary: Sentences at the top.
        found: Sections of retrieved sounds.
        sound_bytes: What sounds and spectrograms may add to the page.
        seed: Of the draw of examples.

    Returns:
        The file.
    """
    counts = status(dataset)
    with dataset.connect() as connection:
        chapters = _chapters(connection, dataset, seed)
        tiles = _tiles(connection, dataset, counts)
    heard = chapters[-1].sections
    heard += [section for section in (*found, *generated(dataset)) if section.shown]
    budget = Budget(sound_bytes)
    fill(dataset, [section for chapter in reversed(chapters) for section in chapter.sections], budget)
    template = files("pipelines.report").joinpath("page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    html = environment.from_string(template).render(
        title=title or f"Dataset {dataset.path.name}",
        subtitle=_lists(dataset),
        summary=summary,
        tiles=tiles,
        stages=_stages(counts),
        chapters=[chapter for chapter in chapters if not chapter.is_empty],
        unheard=budget.refused,
    )
    write_bytes(page, html.encode())
    return page


def _chapters(connection: duckdb.DuckDBPyConnection, dataset: Dataset, seed: int) -> list[Chapter]:
    """All parts of the page in their order; the last one holds the sounds of kept clips."""
    stages = dataset.stages()
    reports = selections(dataset)
    copies = duplicates(connection, dataset)
    chosen = Chapter("selections", "Selections, leaks and duplicates", plots=[choices(report) for report in reports])
    tables = [rules(connection, reports), leaks(connection, dataset, reports), *(one.table for one in copies)]
    chosen.tables = [one for one in tables if one]
    chosen.sections = [section for one in copies for section in one.sections]
    codes = Chapter(
        "codes", "Set aside and refused, by code", "A few of each, drawn by seed; what was cut can be heard."
    )
    codes.sections = set_aside(connection, stages, seed)
    if "cut" in stages:
        codes.sections += [section for report in reports for section in refused(connection, report, seed)]
    sounds = Chapter("sounds", "Listen")
    if "cut" in stages:
        sounds.sections = [section for section in [drawn_clips(connection, seed)] if section.shown]
    describe(connection, [*chosen.sections, *codes.sections, *sounds.sections], stages)
    return [
        _availability(connection, stages),
        _measured(connection, stages),
        _said(connection, stages),
        chosen,
        codes,
        sounds,
    ]


def _availability(connection: duckdb.DuckDBPyConnection, stages: Sequence[str]) -> Chapter:
    chapter = Chapter("availability", "Availability")
    if "fetch" in stages and gather_answers(connection):
        plots = [answers(connection), fetched_over_time(connection), upload_years(connection)]
        chapter.plots = [plot for plot in plots if plot]
    return chapter


def _measured(connection: duckdb.DuckDBPyConnection, stages: Sequence[str]) -> Chapter:
    plots = quantities(connection, "measure", QUANTITIES, "clips") if "measure" in stages else []
    return Chapter("measured", "Measured", "The dashed line is the median.", plots)


def _said(connection: duckdb.DuckDBPyConnection, stages: Sequence[str]) -> Chapter:
    chapter = Chapter("words", "Labels, tags and captions")
    chapter.plots = long_tail(connection, LABELS, "labels", "clips or videos")
    if "tag" in stages:
        chapter.plots += tags(connection)
    sources, lengths = captions(connection, "caption" in stages)
    chapter.plots += lengths
    if sources:
        rows = [(one.name, one.captions, one.different, f"{one.median_words:g}") for one in sources]
        chapter.tables = [Table("Captions", ("source", "captions", "different ones", "median words"), rows)]
    return chapter


def _tiles(
    connection: duckdb.DuckDBPyConnection, dataset: Dataset, counts: Mapping[str, StageStatus]
) -> list[tuple[str, str]]:
    """The figures at the top: (number, what it counts)."""
    (size,) = rows_of(
        connection, "SELECT (SELECT count(*) FROM videos) AS videos, (SELECT count(*) FROM clips) AS clips"
    )
    tiles = [(short_number(size["videos"]), "videos"), (short_number(size["clips"]), "clips")]
    if dataset.has_stage("cut"):
        length = "duration_ms_cut" if "duration_ms_cut" in columns_of(connection, "cut") else "NULL"
        (cut,) = rows_of(connection, f"SELECT count(*) AS n, sum({length})::BIGINT AS ms FROM cut WHERE state = 'done'")
        tiles.append((short_number(cut["n"]), "clips at hand"))
        hours = (cut["ms"] or 0) / 3_600_000
        if hours:
            tiles.append((f"{hours:,.0f}" if hours >= 10 else f"{hours:.2f}", "hours of sound"))
    fetched = counts.get("fetch")
    if fetched and fetched.requested:
        tiles.append((f"{100 * fetched.done / fetched.requested:.1f} %", "of what was asked for is available"))
    return tiles


def _lists(dataset: Dataset) -> str:
    sources = dataset.config["sources"]
    named = [f"{source['list']} ({source['rows']:,} rows)" for source in sources[:LISTED_SOURCES]]
    more = [f"{len(sources) - LISTED_SOURCES} more"] if len(sources) > LISTED_SOURCES else []
    return f"Lists: {', '.join(named + more) or 'none'}"


def _stages(stages: Mapping[str, StageStatus]) -> list[StageRow]:
    rows = []
    for name, counts in stages.items():
        aside = sum(counts.set_aside.values())
        bar = split_bar(counts.done, aside, counts.pending)
        ordered = sorted(counts.set_aside.items(), key=lambda item: (-item[1], item[0]))
        codes = ", ".join(f"{count:,} {code}" for code, count in ordered)
        rows.append(StageRow(name, counts.requested, counts.done, aside, counts.pending, codes, bar))
    return rows
