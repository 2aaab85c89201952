"""A real browser opens the page: nothing fails, nothing is asked for, sounds can be played, and a phone can show it."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curation.cut import Cut
from curation.download.download import Limits
from curation.errors import Code
from curation.fetch import Fetch
from curation.measure import Measure
from curation.segment import Segment
from curation.selections.selection import select
from pipelines.report.page import write_page
from pipelines.runner import Job, run
from tests.curation.made import write_facts
from tests.retrieval_index.tones import clip_of, tone_dataset

pytestmark = pytest.mark.slow

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
WIDTHS_PX = (390, 1280)
LONG_WORD = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 3


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every chapter, with captions that nobody can break, and markup in place of words."""
    rng = np.random.default_rng(0)
    sounds = {f"v{n}": rng.normal(0, 0.02 * (1 + n), 8_000).astype(np.float32) for n in range(8)}
    captions = {name: f"<img src=http://x.example/{name}> {LONG_WORD}" for name in sounds}
    dataset = tone_dataset(tmp_path_factory.mktemp("browser") / "dataset", sounds, captions)
    dead = [{"video_key": f"dead{n}", "platform": "youtube", "video_id": f"dead{n}"} for n in range(3)]
    dataset.append("videos", dead)
    said = [{"key": row["video_key"], "grain": "video", "list": "listed", "line": 50 + n} for n, row in enumerate(dead)]
    dataset.append("annotations", [{**row, "labels": [f"label {n}", LONG_WORD]} for n, row in enumerate(said)])
    fetch = Fetch(segment=Segment(), cut=Cut(media=dataset.media), media=dataset.media, limits=Limits())
    write_facts(dataset, fetch, [(row["video_key"], Code.PRIVATE, {}, "x") for row in dead])
    stage = Measure(media=dataset.media)
    run(dataset, Job(stage=stage, queue=lambda: dataset.pending(stage), batch_rows=99, workers=0))
    select(dataset, name="train", where=f"clips.clip_id <> '{clip_of('v0')}'")
    return write_page(dataset, dataset.folder("reports") / "report.html", title=LONG_WORD, summary=("A sentence.",))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing; install the package chromium")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield opened
        opened.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width_px", WIDTHS_PX)
def test_the_page_works(browser: Any, page_file: Path, tmp_path: Path, width_px: int, scheme: str) -> None:
    complaints: list[str] = []
    requests: list[str] = []
    context = browser.new_context(viewport={"width": width_px, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(page_file.as_uri())
    until(page, "[...document.querySelectorAll('audio')].every(sound => sound.readyState >= 1)")

    assert page.evaluate("document.documentElement.scrollWidth") <= width_px
    lengths = page.evaluate("[...document.querySelectorAll('audio')].map(a => a.duration)")
    assert len(lengths) == 9 and lengths == pytest.approx([1.0] * 9, abs=0.1)
    sizes = page.evaluate("[...document.querySelectorAll('img')].map(i => [i.naturalWidth, i.naturalHeight])")
    assert sizes == [[320, 96]] * 9, "spectrograms, and no picture that a caption asks for"
    heights = page.evaluate("[...document.querySelectorAll('svg.plot')].map(s => s.getBoundingClientRect().height)")
    assert len(heights) > 8 and min(heights) > 20
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert (tmp_path / "page.png").stat().st_size > 50_000

    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert [url for url in requests if url.startswith("file:")] == [page_file.as_uri()]
    context.close()


def test_a_sound_plays(browser: Any, page_file: Path) -> None:
    page = browser.new_page()
    page.goto(page_file.as_uri())
    page.evaluate("document.querySelector('audio').muted = true")
    page.evaluate("document.querySelector('audio').play()")
    until(page, "document.querySelector('audio').currentTime > 0.2")
    page.close()


def test_colours_can_be_told_apart_from_the_paper(browser: Any, page_file: Path) -> None:
    """Text has a contrast of at least 4.5 in both schemes. Source: WCAG 2.2, success criterion 1.4.3."""
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme)
        page = context.new_page()
        page.goto(page_file.as_uri())
        paper = _colour(page, "body", "backgroundColor")
        for selector, what in (("body", "color"), (".soft", "color"), ("nav a", "color"), ("svg .tick", "fill")):
            assert _contrast(paper, _colour(page, selector, what)) >= 4.5, f"{selector} in {scheme}"
        context.close()


def until(page: Any, condition: str, timeout_s: float = 20.0) -> None:
    """Wait for a condition; Playwright's own waiting evaluates text in the page, which the page's policy forbids."""
    deadline = time.monotonic() + timeout_s
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        time.sleep(0.1)


def _colour(page: Any, selector: str, what: str) -> list[float]:
    text = page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).{what}")
    return [float(part) / 255 for part in text[text.index("(") + 1 : -1].split(",")[:3]]


def _contrast(one: list[float], other: list[float]) -> float:
    """Contrast of two sRGB colours. Source: WCAG 2.2, definitions of contrast ratio and relative luminance."""

    def luminance(colour: list[float]) -> float:
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)
