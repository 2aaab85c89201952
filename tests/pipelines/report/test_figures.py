"""Numbers of the page against numbers counted by hand."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from curation.dataset import Dataset
from curation.errors import Code
from pipelines.report import figures
from pipelines.report.figures import Quantity, captions, columns_of, long_tail, quantities
from tests.curation.made import Made


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        yield opened


def fact_view(connection: duckdb.DuckDBPyConnection, name: str, **columns: list[object]) -> None:
    connection.register(name, pa.table(columns))


def test_a_histogram_counts_every_value_once(connection: duckdb.DuckDBPyConnection) -> None:
    values = [float(n) for n in range(1_000)] + [None, float("nan"), float("inf")]
    fact_view(connection, "measure", state=["done"] * len(values), level=values)
    (plot,) = quantities(connection, "measure", [Quantity("level", "Level", "dB", 2.0, 0.0, 2_000.0)], "clips")
    assert plot.note == "1,000 clips, 9 of 10 between 100 and 1,898; 3 unknown."
    heights = [float(h) for h in re.findall(r'class="done"[^>]* height="([0-9.]+)"', plot.svg)]
    assert len(heights) == 30 and max(heights) - min(heights) < 6, "the counts are 33 or 34"


def test_values_beyond_the_axis_are_counted(connection: duckdb.DuckDBPyConnection) -> None:
    fact_view(connection, "measure", state=["done"] * 1_001, level=[float(n % 10) for n in range(1_000)] + [1e9])
    (plot,) = quantities(connection, "measure", [Quantity("level", "Level", "dB")], "clips")
    assert "1 beyond the axis" in plot.note


def test_what_is_constant_is_a_sentence_and_stands_last(connection: duckdb.DuckDBPyConnection) -> None:
    fact_view(connection, "measure", state=["done", "done", "pending"], a=[4.0, 4.0, 9.0], b=[1.0, 2.0, 3.0])
    wanted = [Quantity("a", "A", "s"), Quantity("b", "B", "s"), Quantity("missing", "C", "s")]
    plots = quantities(connection, "measure", wanted, "clips")
    assert [plot.title for plot in plots] == ["B", "A"]
    assert plots[1].note == "All 2 clips: 4 s." and not plots[1].svg


def test_whole_numbers_have_bins_of_whole_numbers(connection: duckdb.DuckDBPyConnection) -> None:
    low, high, bins = figures._axis(Quantity("words", "W", "words", is_whole=True), 3.0, 12.0)
    assert (low, high, bins) == (2.5, 12.5, 10)
    low, high, bins = figures._axis(Quantity("words", "W", "words", is_whole=True), 1.0, 100.0)
    assert bins <= figures.BINS and (high - low) % bins == 0 and high >= 100.5


def test_the_long_tail_names_the_most_frequent_and_says_how_long_it_is(connection: duckdb.DuckDBPyConnection) -> None:
    names = pa.table({"name": [f"n{n:03d}" for n in range(100)], "n": [100 - n for n in range(100)]})
    connection.register("names", names)
    top, tail = long_tail(connection, "SELECT * FROM names", "labels", "clips")
    assert ">n000<" in top.svg and ">n011<" in top.svg and ">n012<" not in top.svg
    assert top.note == f"12 of 100 labels; they stand for {100 * sum(range(89, 101)) / 5050:.0f} % of all."
    assert tail.note == "100 labels, half of them 50.5 times at most, 1 occur once."
    assert long_tail(connection, "SELECT * FROM names LIMIT 0", "labels", "clips") == []


@pytest.mark.parametrize(("days", "unit"), [(0, "day"), (40, "day"), (41, "week"), (280, "week"), (281, "month")])
def test_long_spans_are_counted_by_longer_units(connection: duckdb.DuckDBPyConnection, days: int, unit: str) -> None:
    begun = datetime(2026, 1, 5, tzinfo=UTC)
    connection.execute("SET TimeZone = 'UTC'")
    ends = [begun, begun + timedelta(days=days)]
    fact_view(connection, "fetch", state=["done", "set_aside"], code=[None, "GEO"], finished_at=ends)
    figures.gather_answers(connection)
    plot = figures.fetched_over_time(connection)
    assert plot is not None
    assert plot.title == f"Answers by {unit}"
    assert plot.note.startswith("2 answers, ")


def test_years_of_upload_have_no_gaps_and_leave_out_what_is_unknown(connection: duckdb.DuckDBPyConnection) -> None:
    dates, ends = ["20120101", "20141231", None, "soon"], [datetime(2026, 1, 5, tzinfo=UTC)] * 4
    fact_view(connection, "fetch", state=["done"] * 4, code=[None] * 4, upload_date=dates, finished_at=ends)
    assert figures.gather_answers(connection) == 4
    plot = figures.upload_years(connection)
    assert plot is not None
    assert plot.note == "2 fetched videos whose upload day is known, 2012 to 2014."
    assert "<title>2013: 0 done" in plot.svg


def test_captions_are_counted_by_their_source(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.clip("a", said=[{"captions": ["one two three", "one"]}])
    made.clip("b", said=[{"captions": ["one"], "list": "other"}])
    made.clip("c", fetch=Code.NOT_FOUND, cut=None, measure=None)
    with made.dataset().connect() as connection:
        sources, plots = captions(connection, with_models=False)
        figures.gather_answers(connection)
        answered = figures.answers(connection)
    assert [(one.name, one.captions, one.different) for one in sources] == [
        ("people: listed", 2, 2),
        ("people: other", 1, 1),
    ]
    assert [plot.title for plot in plots] == [f"Length of captions, people: {name}" for name in ("listed", "other")]
    assert answered.note == "2 of 3 are available (66.7 %)."


def test_tags_count_from_their_score_on(connection: duckdb.DuckDBPyConnection) -> None:
    def heard(**scores: float) -> list[dict[str, object]]:
        return [{"label": label, "index": 0, "score": score} for label, score in scores.items()]

    tags = [heard(Music=0.9, Dog=0.5), heard(Music=0.51, Dog=0.49), None]
    fact_view(connection, "tag", state=["done"] * 3, tags=tags, music_ratio=[1.0, 0.5, 0.0])
    top, share = figures.tags(connection)
    assert re.findall(r"<title>(\w+): (\d+)", top.svg) == [("Music", "2"), ("Dog", "1")]
    assert share.title == "Music"


def test_columns_of_a_view(tmp_path: Path) -> None:
    with Dataset.create(tmp_path / "d").connect() as connection:
        assert {"video_key", "url"} <= columns_of(connection, "videos")
