"""Plots say their numbers, scale them rightly, and take names for text."""

import re
import xml.etree.ElementTree as ET

import pytest

from pipelines.report.plots import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Bar,
    Column,
    Histogram,
    Line,
    Plot,
    alone,
    bars,
    columns,
    curve,
    histogram,
    levels,
    nice_ticks,
    plain_number,
    sentence,
    short_number,
    split_bar,
)

HOSTILE = "</text><script>alert(1)</script>\"&'"


def rectangles(plot: Plot, kind: str) -> list[dict[str, float]]:
    found = [rect for rect in ET.fromstring(plot.svg).iter("rect") if rect.get("class") == kind]
    return [{name: float(rect.get(name, "0")) for name in ("x", "y", "width", "height")} for rect in found]


def test_a_histogram_has_a_bar_a_bin_in_proportion_and_marks_the_median() -> None:
    plot = histogram(
        Histogram(title="T", unit="dB", low=-10.0, high=10.0, counts=[1, 0, 2, 4], median=5.0, note="four numbers")
    )
    heights = [rect["height"] for rect in rectangles(plot, "done")]
    assert heights == pytest.approx([h * (HEIGHT - TOP - BOTTOM) / 4 for h in (1, 2, 4)], abs=0.06)
    (line,) = [line for line in ET.fromstring(plot.svg).iter("line") if line.get("class") == "mark"]
    assert float(line.get("x1")) == pytest.approx(LEFT + 0.75 * (WIDTH - LEFT - RIGHT), abs=0.06)
    words = ET.fromstring(plot.svg).get("aria-label")
    assert words == "T: four numbers" and "median 5" in plot.svg and ">dB<" in plot.svg


def test_bars_are_in_proportion_and_columns_stand_on_each_other() -> None:
    drawn = rectangles(bars("T", [Bar("a", 100), Bar("b", 50), Bar("c", 0, "aside")], "n"), "done")
    assert [rect["width"] for rect in drawn] == [WIDTH, WIDTH / 2]
    stacked = columns("T", [Column("2024", 3, 1), Column("2025", 4)], "n", "videos")
    (aside,), done = rectangles(stacked, "aside"), rectangles(stacked, "done")
    assert aside["y"] + aside["height"] == pytest.approx(done[0]["y"], abs=0.11)
    assert aside["height"] * 3 == pytest.approx(done[0]["height"], abs=0.3)


def test_a_curve_is_logarithmic_on_both_axes() -> None:
    plot = curve("T", [(1, 1000), (10, 100), (100, 10)], "n", ("rank", "count"))
    (line,) = ET.fromstring(plot.svg).iter("polyline")
    points = [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.11)


def test_names_are_text() -> None:
    plots = [
        bars(HOSTILE, [Bar(HOSTILE, 1)], HOSTILE),
        columns(HOSTILE, [Column(HOSTILE, 1, 1)], HOSTILE, HOSTILE),
        curve(HOSTILE, [(1, 1)], HOSTILE, (HOSTILE, HOSTILE)),
        histogram(Histogram(title=HOSTILE, unit=HOSTILE, low=0, high=1, counts=[1], median=None, note=HOSTILE)),
    ]
    for plot in plots:
        assert {element.tag for element in ET.fromstring(plot.svg).iter()} <= {
            "svg", "g", "title", "text", "rect", "line", "polyline", "circle",
        }  # fmt: skip
    assert sentence("T", "n").svg == ""


def test_a_split_bar_is_as_wide_as_its_parts() -> None:
    widths = [float(width) for width in re.findall(r' width="([0-9.]+)"', split_bar(50, 25, 25))]
    assert widths == [50, 25, 25]
    assert "rect" not in split_bar(0, 0, 0)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (-22.5, -15.4, [-22, -20, -18, -16]), (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0])],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high, 5) == pytest.approx(ticks)


def test_numbers_are_short_and_plain() -> None:
    assert [short_number(n) for n in (0, 999, 1_000, 1_250, 6_000_000)] == ["0", "999", "1k", "1.2k", "6M"]
    numbers = [plain_number(x) for x in (0, -19.04, 0.000123, 1234.5, 100.0)]
    assert numbers == ["0", "\N{MINUS SIGN}19", "0.000123", "1,234", "100"]
    assert [plain_number(x, 100) for x in (0.0122, 13.24, -3.04)] == ["0", "13.2", "\N{MINUS SIGN}3"]


def test_levels_are_lines_that_break_where_a_value_is_missing() -> None:
    lines = [Line("with", [0.0, 0.5, 1.0]), Line("without", [0.25, None, 0.75])]
    plot = levels("Score", ["0", "1-10", "10+"], lines, "two lines", ("training clips", "score"))
    groups = str(plot.svg).split("<g>")[1:]
    assert [group.count("<circle") for group in groups] == [3, 2]
    assert [group.count("<path") for group in groups] == [3, 1], "two parts of a line and its mark; the mark alone"
    heights = [float(part.split('"')[0]) for part in groups[0].split('cy="')[1:]]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.11), "a line of even steps"
    assert "--aside" in groups[1] and "with" in groups[0]


def test_a_plot_alone_is_a_whole_file() -> None:
    plot = levels("A & B", ["0"], [Line("x < y", [1.0])], "one", ("n", "score"))
    tree = ET.fromstring(alone(plot))
    assert tree.tag == "{http://www.w3.org/2000/svg}svg"
    assert [child.text for child in tree][:2] == ["A & B", "one"]
