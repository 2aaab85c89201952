"""The report opens from the disk: its links lead to files, and nothing in it is from elsewhere or taken for code."""

import base64
import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile

from curation.cut import Cut
from curation.dataset import Dataset
from curation.download.download import Limits
from curation.errors import ArgumentError, Code
from curation.fetch import Fetch
from curation.measure import Measure
from curation.segment import Segment
from pipelines.report.page import ASIDE_ROWS_A_CODE, SOUNDS, Section, Sound, write_page
from pipelines.report.plots import histogram
from pipelines.runner import Job, run
from pipelines.verbs.report import report
from tests.curation.made import write_facts
from tests.retrieval_index.tones import RATE_HZ, tone_dataset
from tests.retrieval_index.toy_embedder import tone

HOSTILE = "<script>alert('a hum')</script> & \"more\""
LOADING = ("src", "href", "action", "data", "poster", "srcset")
VOID = {"meta", "img", "br", "link", "input", "hr", "source"}


class Page(HTMLParser):
    """What a browser would see: elements, visible text, and the addresses it would load; unbalanced tags fail."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.text, self.addresses, self.elements, self._open = "", [], [], []
        self.images: list[dict[str, str | None]] = []
        self.feed(file.read_text(encoding="utf-8"))
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in LOADING]
        self.images += [dict(attrs)] if tag == "img" else []
        self._open += [] if tag in VOID else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        self.text += " " if tag in ("td", "th") else ""

    def handle_data(self, data: str) -> None:
        self.text += data if self._open[-1:] != ["style"] else ""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """15 sounds in a folder whose name needs quoting; one caption is hostile, one video is dead."""
    sounds = {f"v{n}": tone(200 + 50 * n, 0.5, RATE_HZ) for n in range(SOUNDS + 3)}
    captions = {name: f"{HOSTILE} {name}" for name in sounds}
    made = tone_dataset(tmp_path_factory.mktemp("report") / "a data set #1 100%", sounds, captions)
    made.append("videos", [{"video_key": f"dead{n}", "platform": "url", "url": dead(n)} for n in range(9)])
    made.append(
        "annotations", [{"key": f"dead{n}", "grain": "video", "list": "listed", "line": 99 + n} for n in range(9)]
    )
    cut = Cut(media=made.media)
    fetch = Fetch(segment=Segment(), cut=cut, media=made.media, limits=Limits())
    write_facts(made, fetch, [(f"dead{n}", Code.NOT_FOUND, {}, "x") for n in range(9)])
    stage = Measure(media=made.media)
    run(made, Job(stage=stage, queue=lambda: made.pending(stage), batch_rows=99, workers=0))
    return made


@pytest.fixture(scope="module")
def page(dataset: Dataset) -> Path:
    return report(dataset.path).page


def dead(number: int) -> str:
    return f"https://anna:secret@host.example/<b>{number}.mp4"


def linked(page: Path, addresses: list[str]) -> list[Path]:
    return [page.parent / unquote(address) for address in addresses if not address.startswith("data:")]


def test_the_page_says_what_the_dataset_is_and_all_its_links_are_files(dataset: Dataset, page: Path) -> None:
    assert page == dataset.path / "reports" / "report.html"
    seen = Page(page)
    files = linked(page, seen.addresses)
    assert len(files) == seen.elements.count("audio") == SOUNDS
    assert all(file.is_file() and file.suffix == ".flac" for file in files)
    assert f"Dataset {dataset.path.name}" in seen.text
    assert f"{SOUNDS} of {SOUNDS + 3} clips" in seen.text
    assert "Lists: listed (15 rows)" in seen.text


def test_it_shows_the_counts_of_every_stage(page: Path) -> None:
    cells = " ".join(Page(page).text.split())
    assert "fetch 24 15 9 0 9 NOT_FOUND" in cells
    assert "measure 15 15 0 0" in cells


def test_captions_and_addresses_are_text_and_not_code(page: Path) -> None:
    seen = Page(page)
    assert HOSTILE in seen.text
    assert {"script", "b"}.isdisjoint(seen.elements)


def test_set_aside_rows_are_shown_without_passwords_and_a_few_of_a_code(page: Path) -> None:
    seen = Page(page)
    assert seen.text.count("host.example") == ASIDE_ROWS_A_CODE
    assert "secret" not in seen.text
    assert "https://host.example/<b>0.mp4" in seen.text
    assert "made so" in seen.text


def test_nothing_is_loaded_from_elsewhere(page: Path) -> None:
    seen = Page(page)
    assert not any(":" in address or address.startswith("//") for address in map(_place, seen.addresses))
    assert {"link", "iframe", "object", "script"}.isdisjoint(seen.elements)
    assert [image["alt"] for image in seen.images][:2] == ["Set aside, by code", "Duration"]
    for image in seen.images:
        svg = base64.b64decode(str(image["src"]).partition("base64,")[2]).decode()
        assert svg.rstrip().endswith("</svg>")
        assert "<script" not in svg and "<image" not in svg


def _place(address: str) -> str:
    """The address, or nothing where the content is the address."""
    return "" if address.startswith("data:image/svg+xml;base64,") else address


def test_the_same_dataset_gives_the_same_page(dataset: Dataset, page: Path) -> None:
    again = report(dataset.path, out=page.with_name("again.html")).page
    assert again.read_bytes() == page.read_bytes()


def test_a_page_in_another_folder_links_to_the_same_files(dataset: Dataset, page: Path, tmp_path: Path) -> None:
    elsewhere = report(dataset.path, out=tmp_path / "other.html").page
    files = [file.resolve() for file in linked(elsewhere, Page(elsewhere).addresses)]
    assert files == [file.resolve() for file in linked(page, Page(page).addresses)]


def test_found_and_generated_sounds_are_shown_with_their_words(tmp_path: Path) -> None:
    dataset = tone_dataset(tmp_path / "dataset", {"a": tone(440, 0.5, RATE_HZ)})
    run_folder = dataset.folder("runs") / "my run" / "generated"
    run_folder.mkdir(parents=True)
    soundfile.write(run_folder / "000.wav", np.zeros(10), RATE_HZ)
    for name in ("000", "001"):
        (run_folder / f"{name}.json").write_text(json.dumps({"text": f"asked for {HOSTILE}"}))
    page = dataset.folder("reports") / "found.html"
    found = Section(f"Found for {HOSTILE}", [Sound("../media/x.flac", f"0.9 {HOSTILE}")])
    seen = Page(write_page(dataset, page, title=HOSTILE, summary=(HOSTILE,), found=(found,)))
    assert f"Found for {HOSTILE}" in seen.text
    assert f"0.9 {HOSTILE}" in seen.text
    assert "Generated by my run" in seen.text
    assert seen.text.count("asked for") == 1, "only a sound that is there"
    assert [file.name for file in linked(page, seen.addresses)][-2:] == ["x.flac", "000.wav"]
    assert (page.parent / unquote(seen.addresses[-1])).is_file()
    assert "script" not in seen.elements


def test_an_empty_dataset_has_a_page(tmp_path: Path) -> None:
    empty = Dataset.create(tmp_path / "empty")
    seen = Page(report(empty.path).page)
    assert "Lists: none" in seen.text
    assert seen.addresses == []


def test_media_that_were_deleted_are_not_linked(tmp_path: Path) -> None:
    made = tone_dataset(tmp_path / "dataset", {"a": tone(440, 0.5, RATE_HZ), "b": tone(880, 0.5, RATE_HZ)})
    next((made.path / "media").rglob("*.flac")).unlink()
    assert Page(report(made.path).page).elements.count("audio") == 1


def test_a_folder_as_page_is_refused(dataset: Dataset) -> None:
    with pytest.raises(ArgumentError, match="is a folder; give a file"):
        report(dataset.path, out=dataset.path)


def test_unknown_values_are_counted_in_the_title() -> None:
    assert histogram("Loudness", [None, float("nan"), -20.0], "LUFS").text == "Loudness (2 unknown)"
    assert histogram("Loudness", [], "LUFS").text == "Loudness"
