"""The numbers of the report, counted by SQL, as plots: a dataset of millions of clips costs aggregates, not rows.

Everything is asked over one connection. What a dataset does not have (a stage that has not run, a column of an older
version) has no plot.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from pipelines.report.plots import Bar, Column, Histogram, Plot, bars, columns, curve, histogram, plain_number, sentence

BINS = 30
MOST_BARS = 12
CURVE_POINTS = 90

MOST_DAYS, MOST_WEEKS = 40, 280
"""Spans longer than so many days are counted by week, and longer than so many by month."""

TAG_SCORE = 0.5
"""A tag counts for a clip from this score on. Source: VidMuse's filter of V2M (arXiv 2406.04321) for music."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """One measured column.

    Args:
        column: Its name.
        title: What it is called.
        unit: As shown.
        scale: What a value is multiplied by to have that unit.
        low, high: Ends of the axis in that unit; None takes all but the outermost half per cent of the values.
        is_whole: Values are whole numbers, and bins hold whole numbers.
    """

    column: str
    title: str
    unit: str
    scale: float = 1.0
    low: float | None = None
    high: float | None = None
    is_whole: bool = False


PERCENT = 100.0

QUANTITIES = (
    Quantity("duration_s", "Duration", "s", low=0.0),
    Quantity("loudness_lufs", "Integrated loudness", "LUFS"),
    Quantity("true_peak_dbtp", "True peak", "dBTP"),
    Quantity("peak_dbfs", "Sample peak", "dBFS"),
    Quantity("bandwidth_hz", "Effective bandwidth", "kHz", 0.001, low=0.0),
    Quantity("silence_ratio", "Silence", "% of the clip", PERCENT, 0.0, 100.0),
    Quantity("speech_ratio", "Speech", "% of the clip", PERCENT, 0.0, 100.0),
    Quantity("clipping_ratio", "Clipping", "% of samples", PERCENT, low=0.0),
    Quantity("spectral_flatness", "Spectral flatness", "0 for tones, 0.56 for white noise", low=0.0),
    Quantity("dc_offset", "DC offset", "% of full scale", PERCENT),
    Quantity("channel_correlation", "Correlation of the channels", "\N{MINUS SIGN}1 to 1", 1.0, -1.0, 1.0),
    Quantity("still_ratio", "Still picture", "% of frames", PERCENT, 0.0, 100.0),
    Quantity("black_ratio", "Black picture", "% of frames", PERCENT, 0.0, 100.0),
    Quantity("ssim", "Likeness of neighbouring frames", "SSIM", low=0.0, high=1.0),
    Quantity("motion", "Motion", "grey levels of 255 between frames", low=0.0),
)
"""What `measure` may have measured, in the order in which it is shown."""

TAG_SHARES = (
    Quantity("music_ratio", "Music", "% of windows", PERCENT, 0.0, 100.0),
    Quantity("speech_ratio_tag", "Speech", "% of windows", PERCENT, 0.0, 100.0),
    Quantity("singing_ratio", "Singing", "% of windows", PERCENT, 0.0, 100.0),
)


def rows_of(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    """The rows of a query."""
    found: list[dict[str, Any]] = connection.sql(query).to_arrow_table().to_pylist()
    return found


def columns_of(connection: duckdb.DuckDBPyConnection, view: str) -> set[str]:
    """The columns that a view or a table has."""
    return set(connection.sql(f'SELECT * FROM "{view}" LIMIT 0').columns)


def gather_answers(connection: duckdb.DuckDBPyConnection) -> int:
    """Read the answers of `fetch` once, counted by state, code, day and year of upload; returns how many there are."""
    has_dates = "upload_date" in columns_of(connection, "fetch")
    year = "CASE WHEN regexp_full_match(upload_date, '[12][0-9]{7}') THEN upload_date[:4]::INTEGER END"
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE report_answers AS
        SELECT state, code, finished_at::DATE AS day, {year if has_dates else "NULL::INTEGER"} AS year, count(*) AS n
        FROM "fetch" GROUP BY ALL"""
    )
    (counted,) = rows_of(connection, "SELECT coalesce(sum(n), 0)::BIGINT AS n FROM report_answers")
    return int(counted["n"])


def fetched_over_time(connection: duckdb.DuckDBPyConnection) -> Plot | None:
    """When the answers came, done and set aside, by day, week or month; None before the first."""
    finished = "SELECT * FROM report_answers WHERE state <> 'pending'"
    (span,) = rows_of(connection, f"SELECT max(day) - min(day) AS days FROM ({finished})")
    if span["days"] is None:
        return None
    unit = "day" if span["days"] <= MOST_DAYS else "week" if span["days"] <= MOST_WEEKS else "month"
    found = rows_of(
        connection,
        f"""SELECT date_trunc('{unit}', day)::DATE AS day,
            coalesce(sum(n) FILTER (state = 'done'), 0)::BIGINT AS done,
            coalesce(sum(n) FILTER (state <> 'done'), 0)::BIGINT AS aside FROM ({finished}) GROUP BY 1 ORDER BY 1""",
    )
    words = "%b %Y" if unit == "month" else "%d %b"
    shown = [Column(row["day"].strftime(words).lstrip("0"), row["done"], row["aside"]) for row in found]
    total = sum(row["done"] + row["aside"] for row in found)
    ends = list(dict.fromkeys(row["day"].isoformat() for row in (found[0], found[-1])))
    note = f"{total:,} answers, {unit} of {' to '.join(ends)} (UTC)."
    return columns(f"Answers by {unit}", shown, note, "answers")


def upload_years(connection: duckdb.DuckDBPyConnection) -> Plot | None:
    """In which years the fetched videos were uploaded; the others' years nobody tells. None where none is known."""
    found = rows_of(
        connection,
        """SELECT year, sum(n)::BIGINT AS n FROM report_answers WHERE state = 'done' AND year IS NOT NULL
        GROUP BY 1 ORDER BY 1""",
    )
    if not found:
        return None
    years = {row["year"]: row["n"] for row in found}
    shown = [Column(str(year), years.get(year, 0)) for year in range(min(years), max(years) + 1)]
    note = f"{sum(years.values()):,} fetched videos whose upload day is known, {min(years)} to {max(years)}."
    return columns("Fetched videos by year of upload", shown, note, "videos")


def answers(connection: duckdb.DuckDBPyConnection) -> Plot:
    """What became of everything that was asked for, by code."""
    found = rows_of(
        connection,
        """SELECT CASE WHEN state = 'done' THEN 'available' WHEN state = 'pending' THEN 'will be tried again'
            ELSE code END AS name, any_value(state) AS state, sum(n)::BIGINT AS n
        FROM report_answers GROUP BY 1 ORDER BY n DESC, 1""",
    )
    kinds = {"done": "done", "set_aside": "aside", "pending": "pending"}
    total = sum(row["n"] for row in found)
    done = sum(row["n"] for row in found if row["state"] == "done")
    note = f"{done:,} of {total:,} are available ({100 * done / max(total, 1):.1f} %)."
    return bars("Answers by code", [Bar(row["name"], row["n"], kinds[row["state"]]) for row in found], note)


def quantities(connection: duckdb.DuckDBPyConnection, view: str, wanted: Sequence[Quantity], of: str) -> list[Plot]:
    """A histogram of each column that the stage's view has and that holds a number; those that are constant last."""
    there = columns_of(connection, view)
    present = [one for one in wanted if one.column in there]
    if not present:
        return []
    kept = ", ".join(f'CAST("{one.column}" AS FLOAT) AS "{one.column}"' for one in present)
    table = f"report_{view}"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT {kept} FROM \"{view}\" WHERE state = 'done'")
    plots = [quantity(connection, table, one, of) for one in present]
    connection.execute(f"DROP TABLE {table}")
    return sorted((plot for plot in plots if plot is not None), key=lambda plot: not plot.svg)


def quantity(connection: duckdb.DuckDBPyConnection, table: str, one: Quantity, of: str) -> Plot | None:
    """The histogram of one column, or a sentence when all values are equal; None when it holds no number."""
    value = f'("{one.column}"::DOUBLE * {one.scale!r}::DOUBLE)'
    (stats,) = rows_of(
        connection,
        f"""SELECT count(v) AS known, count(*) - count(v) AS unknown, min(v) AS lowest, max(v) AS highest,
            quantile_cont(v, [0.005, 0.05, 0.5, 0.95, 0.995]) AS q
        FROM (SELECT CASE WHEN isfinite("{one.column}"::DOUBLE) THEN {value} END AS v FROM {table})""",
    )
    if not stats["known"]:
        return None
    unknown = f"; {stats['unknown']:,} unknown" if stats["unknown"] else ""
    if stats["lowest"] == stats["highest"]:
        return sentence(one.title, f"All {stats['known']:,} {of}: {plain_number(stats['lowest'])} {one.unit}{unknown}.")
    first, five, median, ninety_five, last = stats["q"]
    low, high, bins = _axis(one, first, last)
    counted = rows_of(
        connection,
        f"""SELECT least({bins - 1}, floor(({value} - ({low!r})) / {high - low!r} * {bins}))::INTEGER AS bin,
            count(*) AS n FROM {table} WHERE {value} BETWEEN {low!r} AND {high!r} GROUP BY bin""",
    )
    in_bins = {row["bin"]: row["n"] for row in counted}
    beyond = stats["known"] - sum(in_bins.values())
    most = " and ".join(plain_number(end, high - low) for end in (five, ninety_five))
    outside = f"; {beyond:,} beyond the axis" if beyond else ""
    note = f"{stats['known']:,} {of}, 9 of 10 between {most}{unknown}{outside}."
    counts = [in_bins.get(number, 0) for number in range(bins)]
    return histogram(
        Histogram(title=one.title, unit=one.unit, low=low, high=high, counts=counts, median=median, note=note, of=of)
    )


def _axis(one: Quantity, first: float, last: float) -> tuple[float, float, int]:
    """Ends of the axis, which lie apart, and the number of bins."""
    low = first if one.low is None else one.low
    high = last if one.high is None else one.high
    if one.is_whole:
        step = math.ceil((math.ceil(high) - math.floor(low) + 1) / BINS)
        bins = math.ceil((math.ceil(high) - math.floor(low) + 1) / step)
        return math.floor(low) - 0.5, math.floor(low) - 0.5 + bins * step, bins
    if high - low > 1e-6 * max(abs(low), abs(high), 1e-3):
        return low, high, BINS
    around = max(abs(low) * 0.5, 0.5)  # nearly all are equal, and the others lie in the outermost half per cent
    return low - around, high + around, BINS


def long_tail(connection: duckdb.DuckDBPyConnection, counted: str, what: str, rows: str) -> list[Plot]:
    """How often each name occurs: the most frequent ones, and the whole tail.

    Args:
        connection: Of the dataset.
        counted: SQL that gives `name` and `n`.
        what: What the names are, as `labels`.
        rows: What is counted, as `clips`.
    """
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE report_tail AS
        SELECT name, n, row_number() OVER (ORDER BY n DESC, name) AS rank FROM ({counted})"""
    )
    (stats,) = rows_of(
        connection,
        "SELECT count(*) AS names, coalesce(sum(n), 0)::BIGINT AS total, quantile_cont(n, 0.5) AS median, "
        "count(*) FILTER (n = 1) AS once, min(n) AS least FROM report_tail",
    )
    if not stats["names"]:
        return []
    ranks = sorted({round(stats["names"] ** (point / (CURVE_POINTS - 1))) for point in range(CURVE_POINTS)})
    listed = ", ".join(map(str, ranks))
    points = rows_of(connection, f"SELECT rank, n FROM report_tail WHERE rank IN ({listed}) ORDER BY rank")
    top = rows_of(connection, f"SELECT name, n FROM report_tail WHERE rank <= {MOST_BARS} ORDER BY rank")
    share = 100 * sum(row["n"] for row in top) / stats["total"]
    plots = [
        bars(
            f"Most frequent {what}",
            [Bar(row["name"], row["n"]) for row in top],
            f"{len(top)} of {stats['names']:,} {what}; they stand for {share:.0f} % of all.",
        )
    ]
    if stats["names"] > MOST_BARS:
        once = f", {stats['once']:,} occur once" if stats["once"] else f", the rarest {stats['least']:,} times"
        half = "once" if stats["median"] == 1 else f"{plain_number(stats['median'])} times at most"
        note = f"{stats['names']:,} {what}, half of them {half}{once}."
        axes = (f"rank of the {what.rstrip('s')}, logarithmic", f"{rows}, logarithmic")
        plots.append(curve(f"All {what} by frequency", [(row["rank"], row["n"]) for row in points], note, axes))
    return plots


LABELS = """
SELECT label AS name, count(DISTINCT key) AS n FROM (SELECT key, unnest(labels) AS label FROM annotations) GROUP BY 1"""

TAGS = f"""
SELECT tag.label AS name, count(*) AS n FROM (SELECT unnest(tags) AS tag FROM "tag" WHERE state = 'done')
WHERE tag.score >= {TAG_SCORE} GROUP BY 1"""


def tags(connection: duckdb.DuckDBPyConnection) -> list[Plot]:
    """What the tagger heard: the tags with a high score, and shares of music, speech and singing."""
    there = columns_of(connection, "tag")
    plots = long_tail(connection, TAGS, "tags", "clips") if "tags" in there else []
    return plots + quantities(connection, "tag", TAG_SHARES, "clips")


@dataclass(frozen=True, slots=True)
class CaptionSource:
    """Where sentences are from, how many there are, how many differ, and how many words half of them have at most."""

    name: str
    captions: int
    different: int
    median_words: float


def captions(connection: duckdb.DuckDBPyConnection, with_models: bool) -> tuple[list[CaptionSource], list[Plot]]:
    """The sources of all sentences, and the lengths of each source's."""
    said = "SELECT 'people: ' || list AS source, unnest(captions) AS text FROM annotations"
    if with_models:
        said += """ UNION ALL SELECT CASE WHEN model IS NULL THEN 'from labels' ELSE 'model: ' || label END, text
            FROM caption WHERE state = 'done'"""
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE report_said AS
        SELECT source, length(text) - length(replace(text, ' ', '')) + 1 AS words, hash(text) AS text FROM ({said})"""
    )
    found = rows_of(
        connection,
        """SELECT source, count(*) AS n, count(DISTINCT text) AS different, quantile_cont(words, 0.5) AS median
        FROM report_said GROUP BY 1 ORDER BY n DESC, 1""",
    )
    sources = [CaptionSource(row["source"], row["n"], row["different"], row["median"]) for row in found]
    plots = []
    for source in sources[:4]:
        named = source.name.replace("'", "''")
        view = f"CREATE OR REPLACE TEMP VIEW report_words AS SELECT words FROM report_said WHERE source = '{named}'"
        connection.execute(view)
        one = Quantity("words", f"Length of captions, {source.name}", "words", is_whole=True)
        plots += [plot for plot in [quantity(connection, "report_words", one, "captions")] if plot]
    return sources, plots
