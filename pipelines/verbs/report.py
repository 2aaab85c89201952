"""`foundsound report`: one page about a dataset, to look at and to listen to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from curation.dataset import Dataset
from curation.errors import ArgumentError
from pipelines.report.examples import Section, Shown
from pipelines.report.page import SOUND_BYTES, write_page
from pipelines.verbs.query import QueryResult, open_index

FOUND = 6
"""Sounds shown for a query."""


@dataclass(frozen=True, slots=True)
class ReportResult:
    """The page that was written."""

    page: Path

    def as_dict(self) -> dict[str, Any]:
        """Path and address of the page."""
        return {"page": str(self.page), "address": self.page.as_uri()}

    def __str__(self) -> str:
        return self.page.as_uri()


def found_section(text: str, result: QueryResult) -> Section:
    """The sounds that a query found, as players."""
    shown = [Shown(hit.caption, f"score {hit.score:.2f}", sha256=hit.audio_sha256) for hit in result.hits]
    return Section(f"Found for “{text}”", shown)


def report(
    dataset: Path,
    /,
    *,
    out: Path | None = None,
    query: Annotated[list[str] | None, Parameter(name="--query")] = None,
    index: str = "train",
    max_mb: float = SOUND_BYTES / 1e6,
    seed: int = 0,
) -> ReportResult:
    """Write one HTML file that opens without a network: counts, plots, and sounds of every code to listen to.

    Args:
        dataset: Folder of the dataset.
        out: The file; DATASET/reports/report.html when not given.
        query: A text whose results are shown; may be given several times.
        index: Name of the index that is asked.
        max_mb: What the sounds may add to the page, in megabytes.
        seed: Of the draw of examples.
    """
    if max_mb < 0:
        raise ArgumentError(f"--max-mb must be at least 0, not {max_mb:g}")
    opened = Dataset(dataset)
    page = (out or opened.folder("reports") / "report.html").resolve()
    if page.is_dir():
        raise ArgumentError(f"--out {page} is a folder; give a file, as {page / 'report.html'}")
    texts = query or []
    found = open_index(opened, index).query_text(texts, k=FOUND) if texts else []
    sections = [found_section(text, QueryResult(hits, opened)) for text, hits in zip(texts, found, strict=True)]
    return ReportResult(write_page(opened, page, found=tuple(sections), sound_bytes=round(max_mb * 1e6), seed=seed))
