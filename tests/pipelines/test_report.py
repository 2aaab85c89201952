"""The report is one file: everything it shows lies in it, and nothing in it is from elsewhere or taken for code."""

import base64
import json
from html.parser import HTMLParser
from pathlib import Path

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
from curation.selections.selection import select
from pipelines.report.examples import CLIPS_SHOWN, ROWS_A_CODE, Section, Shown
from pipelines.report.page import write_page
from pipelines.runner import Job, run
from pipelines.verbs.report import report
from tests.curation.made import write_facts
from tests.retrieval_index.tones import RATE_HZ, clip_of, tone_dataset
from tests.retrieval_index.toy_embedder import tone

HOSTILE = "<script>alert('a hum')</script> & \"more\""
LOADING = ("src", "href", "action", "data", "poster", "srcset", "xlink:href")
VOID = {"meta", "img", "br", "link", "input", "hr", "source", "rect", "line", "polyline", "circle"}
CLIPS = CLIPS_SHOWN + 3


class Page(HTMLParser):
    """What a browser would see: elements, visible text, and the addresses it would load; unbalanced tags fail."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.text, self.addresses, self.elements, self._open = "", [], [], []
        self.feed(file.read_text(encoding="utf-8"))
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in LOADING]
        self._open += [] if tag in VOID else [tag]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in LOADING]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        self.text += " " if tag in ("td", "th", "h3", "span", "b", "li", "small") else ""

    def handle_data(self, data: str) -> None:
        self.text += data if self._open[-1:] != ["style"] else ""

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A dozen sounds in a folder whose name needs quoting; captions are hostile, nine videos are dead."""
    sounds = {f"v{n}": tone(200 + 50 * n, 0.5, RATE_HZ) for n in range(CLIPS)}
    captions = {name: f"{HOSTILE} {name}" for name in sounds}
    made = tone_dataset(tmp_path_factory.mktemp("report") / "a data set's #1 100%", sounds, captions)
    made.append("videos", [{"video_key": f"dead{n}", "platform": "url", "url": dead(n)} for n in range(9)])
    made.append(
        "annotations", [{"key": f"dead{n}", "grain": "video", "list": "listed", "line": 99 + n} for n in range(9)]
    )
    cut = Cut(media=made.media)
    fetch = Fetch(segment=Segment(), cut=cut, media=made.media, limits=Limits())
    write_facts(made, fetch, [(f"dead{n}", Code.NOT_FOUND, {}, "x") for n in range(9)])
    stage = Measure(media=made.media)
    run(made, Job(stage=stage, queue=lambda: made.pending(stage), batch_rows=99, workers=0))
    select(made, name="train", where=f"clips.clip_id <> '{clip_of('v0')}'")
    return made


@pytest.fixture(scope="module")
def page(dataset: Dataset) -> Path:
    return report(dataset.path).page


def dead(number: int) -> str:
    return f"https://anna:secret@host.example/<b>{number}.mp4"


def test_the_page_says_what_the_dataset_is_and_holds_its_sounds(dataset: Dataset, page: Path) -> None:
    assert page == dataset.path / "reports" / "report.html"
    seen = Page(page)
    assert f"Dataset {dataset.path.name}" in seen.text
    assert f"Lists: listed ({CLIPS} rows)" in seen.text
    assert f"{CLIPS_SHOWN} of {CLIPS} clips, drawn by seed 0" in seen.text
    assert seen.elements.count("audio") == CLIPS_SHOWN + 1, "and the one that the selection refused"
    sounds = [address for address in seen.addresses if address.startswith("data:audio/ogg;base64,")]
    assert len(sounds) == CLIPS_SHOWN + 1
    assert all(base64.b64decode(sound.partition(",")[2]).startswith(b"OggS") for sound in sounds)


def test_it_shows_the_counts_of_every_stage(page: Path) -> None:
    words = Page(page).words
    assert f"fetch {CLIPS + 9} {CLIPS} 9 0 9 NOT_FOUND" in words
    assert f"measure {CLIPS} {CLIPS} 0 0" in words


def test_every_code_has_its_meaning_and_examples(page: Path) -> None:
    words = Page(page).words
    assert "NOT_FOUND stage fetch: 9 nothing is there" in words
    assert "WHERE selection train: 1 the condition is false or null for the clip" in words
    assert "made so" in words


def test_captions_and_addresses_are_text_and_not_code(page: Path) -> None:
    seen = Page(page)
    assert HOSTILE in seen.text
    assert "script" not in seen.elements
    assert seen.text.count("host.example") == ROWS_A_CODE
    assert "secret" not in page.read_text()
    assert any(f"https://host.example/<b>{n}.mp4" in seen.text for n in range(9))


def test_nothing_is_loaded_from_elsewhere_and_the_policy_forbids_it(page: Path) -> None:
    seen = Page(page)
    assert all(address.startswith(("data:", "#")) for address in seen.addresses)
    assert {"iframe", "object", "script", "embed", "form", "base"}.isdisjoint(seen.elements)
    assert "default-src 'none'" in page.read_text() and "url(" not in page.read_text()


def test_the_same_dataset_gives_the_same_page(dataset: Dataset, page: Path, tmp_path: Path) -> None:
    again = report(dataset.path, out=tmp_path / "again.html").page
    assert again.read_bytes() == page.read_bytes()
    other = report(dataset.path, out=tmp_path / "other.html", seed=1).page
    assert other.read_bytes() != page.read_bytes()


def test_a_small_page_says_how_many_sounds_it_left_out(dataset: Dataset, page: Path, tmp_path: Path) -> None:
    small = report(dataset.path, out=tmp_path / "small.html", max_mb=0.02).page
    seen = Page(small)
    left_out = Page(page).elements.count("audio") - seen.elements.count("audio")
    assert left_out > 0 and f"{left_out} more sounds were left out" in seen.text
    assert seen.elements.count("audio") > 0
    assert small.stat().st_size < page.stat().st_size
    with pytest.raises(ArgumentError, match="--max-mb"):
        report(dataset.path, max_mb=-1)


def test_found_and_generated_sounds_are_shown_with_their_words(tmp_path: Path) -> None:
    dataset = tone_dataset(tmp_path / "dataset", {"a": tone(440, 0.5, RATE_HZ)})
    run_folder = dataset.folder("runs") / "my run" / "generated"
    run_folder.mkdir(parents=True)
    soundfile.write(run_folder / "000.wav", np.zeros(10), RATE_HZ)
    for name in ("000", "001"):
        (run_folder / f"{name}.json").write_text(json.dumps({"text": f"asked for {HOSTILE}"}))
    page = dataset.folder("reports") / "found.html"
    (sound,) = (dataset.path / "media").rglob("*.flac")
    found = Section(f"Found for {HOSTILE}", [Shown(HOSTILE, "score 0.90", sha256=sound.stem)])
    seen = Page(write_page(dataset, page, title=HOSTILE, summary=(HOSTILE,), found=(found,)))
    assert f"Found for {HOSTILE}" in seen.text
    assert "score 0.90" in seen.text
    assert "Generated by my run" in seen.text
    assert seen.text.count(f"asked for {HOSTILE}") == 1, "only a sound that is there"
    assert seen.elements.count("audio") == 3
    assert "script" not in seen.elements


def test_an_empty_dataset_has_a_page(tmp_path: Path) -> None:
    empty = Dataset.create(tmp_path / "empty")
    seen = Page(report(empty.path).page)
    assert "Lists: none" in seen.text
    assert {"audio", "img", "figure"}.isdisjoint(seen.elements)


def test_media_that_were_deleted_have_words_and_no_player(tmp_path: Path) -> None:
    made = tone_dataset(tmp_path / "dataset", {"a": tone(440, 0.5, RATE_HZ), "b": tone(880, 0.5, RATE_HZ)})
    next((made.path / "media").rglob("*.flac")).unlink()
    seen = Page(report(made.path).page)
    assert seen.elements.count("audio") == 1
    assert "a, 0–10 s" in seen.text and "b, 0–10 s" in seen.text


def test_a_folder_as_page_is_refused(dataset: Dataset) -> None:
    with pytest.raises(ArgumentError, match="is a folder; give a file"):
        report(dataset.path, out=dataset.path)
