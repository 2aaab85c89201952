"""What selections kept and refused, what touches evaluation lists, and which sounds are there twice."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from curation.dataset import Dataset
from curation.selections.selection import SelectionReport, read_report
from pipelines.report.examples import UNHEARD, Section, Shown
from pipelines.report.figures import rows_of
from pipelines.report.plots import Bar, Plot, bars

DUPLICATE_COLUMNS = {"clip_id", "group", "layer", "kept_clip_id"}

LAYER_WORDS = {
    "samples": "identical samples",
    "span": "shared time of one video",
    "print": "fingerprints",
    "vectors": "nearness of vectors",
}
"""What the layers of `dedupe` compare, in words."""

GROUPS_SHOWN = 2
"""Pairs of sounds shown of each kind of duplicate."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the page: its heading, the names of its columns, and rows of text; numbers are set to the right."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str | int]]


def selections(dataset: Dataset) -> list[SelectionReport]:
    """The reports of all finished selections, by name."""
    return [read_report(dataset, file.stem) for file in sorted(dataset.folder("selections").glob("*.json"))]


def choices(report: SelectionReport) -> Plot:
    """What one selection kept, and what it refused for which reason."""
    refused = sorted(report.refused.items(), key=lambda item: (-item[1], item[0]))
    rows = [Bar("kept", report.kept_clips)]
    rows += [Bar(reason, count, "pending" if reason in UNHEARD else "aside") for reason, count in refused]
    note = f"{report.kept_clips:,} of {report.clips:,} clips are kept, of the split {report.settings.get('split')}."
    return bars(f"Selection {report.name}", rows, note)


def leaks(connection: duckdb.DuckDBPyConnection, dataset: Dataset, reports: Sequence[SelectionReport]) -> Table | None:
    """For every evaluation list, how many clips each selection refused because of it; None without any list."""
    lists = sorted(dataset.folder("guards").glob("*.parquet"))
    if not lists:
        return None
    by_list: dict[str, dict[str, int]] = {}
    for report in reports:
        found = rows_of(
            connection,
            f"""SELECT regexp_extract(refused_by, '^[^/]+') AS list, count(*) AS n FROM {_parquet(report.path)}
            WHERE reason IN ('GUARD', 'DUPLICATE_OF_EVALUATION') GROUP BY 1""",
        )  # `<list>` where they share time, `<list>/<sound>` where they sound the same
        by_list[report.name] = {row["list"]: row["n"] for row in found}
    rows: list[list[str | int]] = []
    for file in lists:
        (entries,) = rows_of(connection, f"SELECT count(*) AS n FROM {_parquet(file)}")
        row: list[str | int] = [file.stem, entries["n"]]
        for report in reports:
            asked = file.stem in report.settings.get("guards", {})
            row.append(by_list[report.name].get(file.stem, 0) if asked else "not asked")
        rows.append(row)
    head = ["evaluation list", "spans", *(f"refused by {report.name}" for report in reports)]
    return Table("Evaluation lists", head, rows)


def rules(connection: duckdb.DuckDBPyConnection, reports: Sequence[SelectionReport]) -> Table | None:
    """How many clips each named rule refused; None where no selection asked for one that refused any."""
    rows: list[list[str | int]] = []
    for report in reports:
        found = rows_of(
            connection,
            f"""SELECT refused_by AS rule, count(*) AS n FROM {_parquet(report.path)} WHERE reason = 'RULE'
            GROUP BY 1 ORDER BY n DESC, 1""",
        )
        rows += [[row["rule"], report.name, row["n"]] for row in found]
    return Table("Named rules", ("rule", "selection", "clips refused"), rows) if rows else None


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What one run of `dedupe` found: its numbers, and pairs to listen to."""

    table: Table
    sections: list[Section]


def duplicates(connection: duckdb.DuckDBPyConnection, dataset: Dataset) -> list[Duplicates]:
    """The duplicates that were found, by layer, a result a table below `duplicates/`."""
    found = []
    for file in sorted(dataset.folder("duplicates").glob("*.parquet")):
        columns = set(connection.sql(f"SELECT * FROM {_parquet(file)} LIMIT 0").columns)
        if columns >= DUPLICATE_COLUMNS:
            found.append(_duplicates(connection, file))
    return found


def _duplicates(connection: duckdb.DuckDBPyConnection, file: Path) -> Duplicates:
    table = _parquet(file)
    layers = rows_of(
        connection,
        f"""SELECT layer, count(*) AS n FROM {table} WHERE clip_id <> kept_clip_id GROUP BY 1 ORDER BY n DESC, 1""",
    )
    (sizes,) = rows_of(
        connection,
        f"""SELECT count(*) AS groups, coalesce(max(n), 0) AS largest, coalesce(sum(n), 0)::BIGINT AS clips
        FROM (SELECT count(*) AS n FROM {table} GROUP BY "group")""",
    )
    words = {row["layer"]: LAYER_WORDS.get(row["layer"], row["layer"]) for row in layers}
    rows: list[list[str | int]] = [[f"dropped, found by {words[row['layer']]}", row["n"]] for row in layers]
    rows += [["groups", sizes["groups"]], ["clips in groups", sizes["clips"]], ["largest group", sizes["largest"]]]
    pairs = rows_of(
        connection,
        f"""SELECT layer, clip_id, kept_clip_id FROM {table} WHERE clip_id <> kept_clip_id
        QUALIFY row_number() OVER (PARTITION BY layer ORDER BY clip_id) <= {GROUPS_SHOWN} ORDER BY layer, clip_id""",
    )
    sections = []
    for layer, name in words.items():
        shown = [
            Shown(text, key=key)
            for pair in pairs
            if pair["layer"] == layer
            for text, key in (("dropped", pair["clip_id"]), ("kept", pair["kept_clip_id"]))
        ]
        note = "Pairs: the copy that is dropped, and the one that is kept in its place."
        sections.append(Section(f"Duplicates found by {name}", shown, note, is_pairs=True))
    return Duplicates(Table(f"Duplicates {file.stem}", ("", "clips"), rows), sections)


def _parquet(file: Path) -> str:
    return "read_parquet('" + str(file).replace("'", "''") + "')"
