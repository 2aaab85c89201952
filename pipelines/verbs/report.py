"""`foundsound report`: one page about a dataset, to look at and to listen to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from curation.dataset import Dataset
from curation.errors import ArgumentError
from pipelines.report.page import Section, Sound, link, write_page
from pipelines.verbs.index import QueryResult, open_index

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


def found_section(text: str, result: QueryResult, page: Path) -> Section:
    """The sounds that a query found, as players."""
    sounds = [Sound(link(page, result.path(hit)), f"{hit.score:.2f}  {hit.caption}") for hit in result.hits]
    return Section(f"Found for “{text}”", sounds)


def report(
    dataset: Path,
    /,
    *,
    out: Path | None = None,
    query: Annotated[list[str] | None, Parameter(name="--query")] = None,
    index: str = "train",
) -> ReportResult:
    """Write an HTML page that opens from the disk: counts, plots, and real, retrieved and generated sounds.

    Args:
        dataset: Folder of the dataset.
        out: The file; DATASET/reports/report.html when not given.
        query: A text whose results are shown; may be given several times.
        index: Name of the index that is asked.
    """
    opened = Dataset(dataset)
    page = (out or opened.folder("reports") / "report.html").resolve()
    if page.is_dir():
        raise ArgumentError(f"--out {page} is a folder; give a file, as {page / 'report.html'}")
    texts = query or []
    found = open_index(opened, index).query_text(texts, k=FOUND) if texts else []
    sections = [found_section(text, QueryResult(hits, opened), page) for text, hits in zip(texts, found, strict=True)]
    return ReportResult(write_page(opened, page, found=tuple(sections)))
