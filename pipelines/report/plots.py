"""The plots of the report, as pictures that lie in the page itself."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK = "#1d4e5f"
SIZE_IN = (4.6, 2.4)
BINS = 30
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
SAME_BYTES = {"svg.hashsalt": "foundsound", "svg.fonttype": "none"}
"""Equal numbers give equal bytes, and text stays text."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture: its source for an `img`, and the words for those who do not see it."""

    src: str
    text: str


def histogram(title: str, values: Sequence[float | None], unit: str) -> Plot:
    """How often values occur, in 30 bins; values that are unknown are left out and counted in the title."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    unknown = len(values) - len(known)
    text = f"{title} ({unknown} unknown)" if unknown else title
    figure = _figure(text)
    axes = figure.subplots()
    axes.hist(known, bins=BINS, color=INK)
    axes.set_xlabel(unit, fontsize=8)
    axes.set_ylabel("clips", fontsize=8)
    axes.tick_params(labelsize=7)
    return _plot(figure, text)


def bars(title: str, counts: Mapping[str, int], most: int = 12) -> Plot:
    """The most frequent names with their counts."""
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most][::-1]
    figure = _figure(title)
    axes = figure.subplots()
    drawn = axes.barh([name for name, _ in top], [count for _, count in top], color=INK)
    axes.bar_label(drawn, fontsize=7, padding=2)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    return _plot(figure, title)


def _figure(title: str) -> Figure:
    figure = Figure(figsize=SIZE_IN, layout="constrained")
    figure.suptitle(title, fontsize=10)
    return figure


def _plot(figure: Figure, text: str) -> Plot:
    svg = io.StringIO()
    with matplotlib.rc_context(SAME_BYTES):
        FigureCanvasSVG(figure).print_svg(svg, metadata=NO_METADATA)
    return Plot("data:image/svg+xml;base64," + base64.b64encode(svg.getvalue().encode()).decode(), text)
