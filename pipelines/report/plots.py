"""The plots of the report, as SVG that lies in the page, takes its colours from it and needs no script.

Every plot has a title, units on its axes, and one sentence with its numbers for those who do not see it. Widths are
those of a phone, so that text has the same size everywhere. All text is escaped here.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

WIDTH, HEIGHT = 360, 200
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 22, 36
"""Margins of the drawing inside the picture, in its own units: pixels on a phone."""

BAR_PX = 33
"""Height of a bar with its name."""

NAME_LETTERS = 40
"""Longer names beside bars are cut; the whole name is their tooltip."""

MOST_LABELS = 6
"""Labels along a time axis."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture with its title and a sentence that says its numbers."""

    title: str
    svg: Markup
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Histogram:
    """Counts of one quantity in bins of equal width.

    Args:
        title: What is counted.
        unit: Unit of the axis, as shown.
        low, high: Where the first bin begins and the last one ends, in that unit.
        counts: Of the bins.
        median: Of all values, in that unit; None where it is not marked.
        note: The numbers in one sentence.
        of: What is counted, for the other axis.
    """

    title: str
    unit: str
    low: float
    high: float
    counts: Sequence[int]
    median: float | None
    note: str
    of: str = "clips"


def histogram(given: Histogram) -> Plot:
    """A histogram; the dashed line is the median."""
    top = max([*given.counts, 1])
    width = (WIDTH - LEFT - RIGHT) / len(given.counts)
    parts = [_y_axis(top, given.of)]
    for number, count in enumerate(given.counts):
        if count:
            y = _y(count, top)
            parts.append(_rect(LEFT + number * width + 0.5, y, max(width - 1, 0.5), HEIGHT - BOTTOM - y, "done"))

    def x(value: float) -> float:
        return LEFT + (value - given.low) / (given.high - given.low) * (WIDTH - LEFT - RIGHT)

    for tick in nice_ticks(given.low, given.high, 5):
        parts.append(_text(x(tick), HEIGHT - BOTTOM + 15, plain_number(tick), "tick", "middle"))
    if given.median is not None and given.low <= given.median <= given.high:
        at = x(given.median)
        parts.append(f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP - 7}" y2="{HEIGHT - BOTTOM}"/>')
        anchor, beside = ("end", at - 5) if at > WIDTH * 0.6 else ("start", max(at + 5, LEFT + 8))
        parts.append(
            _text(beside, TOP - 10, f"median {plain_number(given.median, given.high - given.low)}", "marked", anchor)
        )
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, given.unit, "axis", "middle"))
    return Plot(given.title, _svg(parts, HEIGHT, f"{given.title}: {given.note}"), given.note)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its name, how much, and which colour (`done`, `aside`, `pending`)."""

    name: str
    count: int
    kind: str = "done"


def bars(title: str, rows: Sequence[Bar], note: str) -> Plot:
    """Names with their counts, one below the other, in the order given."""
    top = max([row.count for row in rows] + [1])
    parts = []
    for number, row in enumerate(rows):
        y = number * BAR_PX + 13
        shown = row.name if len(row.name) <= NAME_LETTERS else row.name[: NAME_LETTERS - 1] + "…"
        parts.append(f"<g><title>{escape(row.name)}: {row.count:,}</title>{_text(0, y, shown, 'name', 'start')}")
        parts.append(_text(WIDTH, y, f"{row.count:,}", "value", "end"))
        parts.append(_rect(0, y + 5, WIDTH, 6, "track", 3))
        parts.append(_rect(0, y + 5, max(WIDTH * row.count / top, 2.0), 6, row.kind, min(3.0, WIDTH * row.count / top)))
        parts.append("</g>")
    return Plot(title, _svg(parts, max(len(rows), 1) * BAR_PX, f"{title}: {note}"), note)


def sentence(title: str, note: str) -> Plot:
    """What would be a plot if there were more than one number."""
    return Plot(title, Markup(""), note)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a time axis: its name, and how much of what was done and what was set aside."""

    name: str
    done: int
    aside: int = 0


def columns(title: str, rows: Sequence[Column], note: str, of: str) -> Plot:
    """Counts over time, done below and set aside above; names are thinned out where they are many."""
    top = max([row.done + row.aside for row in rows] + [1])
    width = (WIDTH - LEFT - RIGHT) / max(len(rows), 1)
    drawn = min(width * 0.8, 34)
    every = -(-len(rows) // MOST_LABELS)
    parts = [_y_axis(top, of)]
    for number, row in enumerate(rows):
        middle = LEFT + (number + 0.5) * width
        done_y, both_y = _y(row.done, top), _y(row.done + row.aside, top)
        parts.append(f"<g><title>{escape(row.name)}: {row.done:,} done, {row.aside:,} set aside</title>")
        parts.append(_rect(middle - drawn / 2, done_y, drawn, HEIGHT - BOTTOM - done_y, "done"))
        if row.aside:
            parts.append(_rect(middle - drawn / 2, both_y, drawn, done_y - both_y, "aside"))
        parts.append("</g>")
        if number % every == 0:
            parts.append(_text(middle, HEIGHT - BOTTOM + 15, row.name, "tick", "middle"))
    return Plot(title, _svg(parts, HEIGHT - 12, f"{title}: {note}"), note)


def curve(title: str, points: Sequence[tuple[int, int]], note: str, axes: tuple[str, str]) -> Plot:
    """Counts against rank, both logarithmic: how long the tail of a distribution is.

    Args:
        title: What is shown.
        points: (rank from 1, count), by rank.
        note: The numbers in one sentence.
        axes: Names of the axes, the rank's first.
    """
    decades_x = max(1, math.ceil(math.log10(max([rank for rank, _ in points] + [2]))))
    decades_y = max(1, math.ceil(math.log10(max([count for _, count in points] + [2]))))

    def x(rank: float) -> float:
        return LEFT + math.log10(rank) / decades_x * (WIDTH - LEFT - RIGHT)

    def y(count: float) -> float:
        return HEIGHT - BOTTOM - math.log10(max(count, 1)) / decades_y * (HEIGHT - TOP - BOTTOM)

    parts = []
    for decade in range(decades_y + 1):
        parts.append(_grid_line(y(10**decade), short_number(10**decade)))
    for decade in range(decades_x + 1):
        anchor = "end" if decade == decades_x else "middle"
        parts.append(_text(x(10**decade), HEIGHT - BOTTOM + 15, short_number(10**decade), "tick", anchor))
    path = " ".join(f"{x(rank):.1f},{y(count):.1f}" for rank, count in points)
    parts.append(f'<polyline class="line" points="{path}"/>')
    parts.append("".join(f'<circle class="dot" cx="{x(r):.1f}" cy="{y(n):.1f}" r="2"/>' for r, n in points[:40]))
    parts.append(_text(0, 10, axes[1], "axis", "start"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, axes[0], "axis", "middle"))
    return Plot(title, _svg(parts, HEIGHT, f"{title}: {note}"), note)


def split_bar(done: int, aside: int, pending: int) -> Markup:
    """How a stage's rows are divided, as a bar as wide as its cell."""
    total = max(done + aside + pending, 1)
    parts, x = [], 0.0
    for kind, count in (("done", done), ("aside", aside), ("pending", pending)):
        width = 100 * count / total
        parts.append(f'<rect class="{kind}" x="{x:.2f}" y="0" width="{width:.2f}" height="8"/>' if count else "")
        x += width
    return Markup(
        '<svg class="split" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        + "".join(parts)
        + "</svg>"
    )


def nice_ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers between two values, at most so many: multiples of 1, 2 or 5 times a power of ten."""
    span = high - low
    if span <= 0:
        return [low]
    raw = span / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def short_number(count: float) -> str:
    """A count in few letters: 950, 12k, 1.5M."""
    for size, letter in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if count >= size:
            return f"{count / size:.1f}".removesuffix(".0") + letter
    return f"{count:g}"


def plain_number(value: float, span: float | None = None) -> str:
    """A value without exponents, with a real minus sign, and three significant digits.

    Args:
        value: The value.
        span: Where given, as many decimals as four digits of it have: what can be told apart on an axis that long.
    """
    size = abs(value) if span is None else span / 10
    digits = max(0, 2 - math.floor(math.log10(size))) if size else 0
    text = f"{value:,.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text.replace("-", "\N{MINUS SIGN}")


def _y(count: float, top: float) -> float:
    return HEIGHT - BOTTOM - count / top * (HEIGHT - TOP - BOTTOM)


def _y_axis(top: int, of: str) -> str:
    ticks = [tick for tick in nice_ticks(0, top, 4) if tick == int(tick)]
    lines = [_grid_line(_y(tick, top), short_number(tick)) for tick in ticks]
    return "".join([*lines, _text(0, 10, of, "axis", "start")])


def _grid_line(y: float, label: str) -> str:
    line = f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return line + _text(LEFT - 6, y + 3.5, label, "tick", "end")


def _rect(x: float, y: float, width: float, height: float, kind: str, radius: float = 0.0) -> str:
    rounded = f' rx="{radius}"' if radius else ""
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"{rounded}/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(parts: Sequence[str], height: float, words: str) -> Markup:
    head = f'<svg class="plot" viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(words)}">'
    return Markup(head + "".join(parts) + "</svg>")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot of levels: its name, and a value at each name of the axis; None where there is none."""

    name: str
    values: Sequence[float | None]


LINE_KINDS = ("done", "aside", "pending")
"""Colours of lines; more lines are dashed in the same."""


def levels(title: str, names: Sequence[str], lines: Sequence[Line], note: str, axes: tuple[str, str]) -> Plot:
    """Values at names that have an order, a line for each of what is compared, and what the lines are called below.

    Args:
        title: What is shown.
        names: Along the axis, at least one.
        lines: With as many values as there are names; at least one value in all.
        note: The numbers in one sentence.
        axes: Names of the axes, that of the names first.
    """
    known = [value for line in lines for value in line.values if value is not None]
    low, high = min([*known, 0.0]), max(known)
    high = high if high > low else low + 1.0
    step = (WIDTH - LEFT - RIGHT) / len(names)

    def place(number: int, value: float) -> tuple[float, float]:
        return LEFT + (number + 0.5) * step, HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [_grid_line(place(0, tick)[1], plain_number(tick, high - low)) for tick in nice_ticks(low, high, 4)]
    parts += [_text(place(n, low)[0], HEIGHT - BOTTOM + 15, name, "tick", "middle") for n, name in enumerate(names)]
    for row, line in enumerate(lines):
        parts.append(_line(line, row, place))
    parts.append(_text(0, 10, axes[1], "axis", "start"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, axes[0], "axis", "middle"))
    return Plot(title, _svg(parts, HEIGHT + 16 * len(lines), f"{title}: {note}"), note)


def _line(line: Line, row: int, place: Callable[[int, float], tuple[float, float]]) -> str:
    """One line with its dots, broken where there is no value, and its name below the axes."""
    kind = LINE_KINDS[row % len(LINE_KINDS)]
    dashed = ' stroke-dasharray="4 3"' if row >= len(LINE_KINDS) else ""
    stroke = f'fill="none" stroke="var(--{kind})" stroke-width="2"{dashed}'
    places = [None if value is None else place(number, value) for number, value in enumerate(line.values)]
    drawn = []
    for before, after in pairwise(places):
        if before is not None and after is not None:
            drawn.append(f'<path {stroke} d="M{before[0]:.1f},{before[1]:.1f} L{after[0]:.1f},{after[1]:.1f}"/>')
    drawn += [f'<circle class="{kind}" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="3"/>' for at in places if at is not None]
    y = HEIGHT + 16 * row + 8
    name = f'<path {stroke} d="M{LEFT},{y} L{LEFT + 24},{y}"/>{_text(LEFT + 30, y + 4, line.name, "name", "start")}'
    return f"<g><title>{escape(line.name)}</title>{''.join(drawn)}{name}</g>"


_ALONE = """
:root { --paper: #fff; --ink: #1b262b; --soft: #56656c; --grid: #e9e7e0; --done: #16697a; --aside: #c26a1b;
  --pending: #7d8a8f; }
text { font: 11px system-ui, sans-serif; fill: var(--soft); } .name, .value { fill: var(--ink); }
.grid { stroke: var(--grid); } .done { fill: var(--done); } .aside { fill: var(--aside); }
.pending { fill: var(--pending); } .line { fill: none; stroke: var(--done); } .dot { fill: var(--done); }
"""


def alone(plot: Plot) -> str:
    """A plot as a file of its own, with the colours that a page would give it."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}"'
    about = f"<title>{escape(plot.title)}</title><desc>{escape(plot.note)}</desc><style>{_ALONE}</style>"
    opened, _, inside = str(plot.svg).partition(">")
    return f"{head}{opened.removeprefix('<svg')}>{about}{inside}\n"
