"""The page of captions: what it says, and that a real browser can filter it, on a desk and on a phone."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioning.caption import Caption
from captioning.labels import LabelCaptioner
from captioning.prompt import load_prompt
from curation.dataset import Dataset
from curation.errors import ArgumentError, Code
from curation.lock import is_held
from pipelines.verbs import captions as of_captions
from pipelines.verbs.captions import captions
from tests.curation.made import write_facts
from tests.pipelines.captioned import LISTENER, captioned, score
from tests.retrieval_index.tones import RATE_HZ, clip_of, tone_dataset

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
]
RULE = "source LIKE 'model:%' AND hedges = 0 AND clap > 0.35"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    made = captioned(tmp_path_factory.mktemp("page") / "dataset")
    score(made)
    return made


@pytest.fixture(scope="module")
def page_file(dataset: Dataset) -> Path:
    page = dataset.path / "captions.html"
    assert captions(dataset.path, rule=RULE, page=page).file == page
    return page


def article(page_file: Path, name: str) -> str:
    """The part of the page about one clip."""
    (found,) = (part for part in page_file.read_text().split("<article")[1:] if clip_of(name) in part)
    return found.partition("</article>")[0]


def entry(page_file: Path, name: str, text: str, source: str = "") -> str:
    """One candidate of a clip."""
    entries = article(page_file, name).split("<li class=")[1:]
    (found,) = (one for one in entries if f">{text}</p>" in one and f'data-source="{source}' in one)
    return found


def test_the_chosen_is_marked_and_the_others_are_told_why(page_file: Path) -> None:
    chosen = entry(page_file, "dog", "A dog barks twice in the yard.", "model:listener")
    assert article(page_file, "dog").count('"chosen"') == 1
    assert chosen.startswith('"chosen"') and "most likely answer" in chosen
    hedged = entry(page_file, "dog", "It might be a dog, perhaps.")
    assert hedged.startswith('"lost"') and "model:listener, draw 1" in hedged
    assert "fails hedges = 0 (hedges is 2)" in hedged and "clap &gt; 0.35" not in hedged
    assert "fails clap &gt; 0.35 (clap is 0.30)" in entry(page_file, "dog", "Dog dog dog dog dog dog.")
    assert "fails source LIKE &#39;model:%&#39;" in entry(page_file, "rain", "Rain on a roof.")
    assert "made/Listener" in chosen and "prompt: " in chosen and "<dt>clap</dt><dd>0.50</dd>" in chosen


def test_without_a_rule_the_best_kind_wins(dataset: Dataset, tmp_path: Path) -> None:
    page = tmp_path / "captions.html"
    captions(dataset.path, page=page)
    assert entry(page, "rain", "Rain on a roof.").startswith('"chosen"')
    assert "captions by people come first" in entry(page, "rain", "Rain falls on the roof of a house.")
    assert "captions by people come first" in entry(page, "rain", "This is rain.")
    assert entry(page, "wind", "Wind in the leaves.").startswith('"chosen"'), "nobody else said anything"


def test_what_was_set_aside_stands_with_its_code(page_file: Path) -> None:
    assert "BAD_CAPTION" in article(page_file, "train") and "made so" in article(page_file, "train")


def test_a_clip_of_which_nothing_usable_was_said_is_shown(tmp_path: Path) -> None:
    dataset = tone_dataset(tmp_path / "dataset", {"sea": np.zeros(RATE_HZ, np.float32)})
    stage = Caption(captioner=LISTENER, prompt=load_prompt("sound-v1"), build=LabelCaptioner, media=dataset.media)
    (heard,) = dataset.sql("SELECT audio_sha256 FROM cut")["audio_sha256"].to_pylist()
    write_facts(dataset, stage, [(clip_of("sea"), Code.BAD_CAPTION, {}, heard)])
    page = tmp_path / "captions.html"
    assert captions(dataset.path, page=page).rows == []
    shown = article(page, "sea")
    assert "BAD_CAPTION" in shown and "data:audio" in shown and "0 captions of 1 clips" in page.read_text()
    assert captions(dataset.path).rows == []


def test_a_takedown_waits_for_a_page(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, held = dataset.folder("locks") / "report-mine.lock", []
    monkeypatch.setattr(
        of_captions, "write_captions_page", lambda dataset, page, *rest, **more: held.append(is_held(lock))
    )
    captions(dataset.path, page=tmp_path / "mine.html")
    assert held == [True] and not is_held(lock)


def test_everything_is_escaped_and_nothing_is_loaded(page_file: Path) -> None:
    html = page_file.read_text()
    assert "Wind blows through &lt;b&gt;leaves&lt;/b&gt; &amp; grass." in html and "a &lt;sound&gt;" in html
    assert "<b>leaves" not in html
    assert re.findall(r'(?:src|href)="(?!data:|#)', html) == []
    assert html.count("data:audio/ogg;base64,") == 6


def test_the_same_dataset_gives_the_same_page(dataset: Dataset, page_file: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.html"
    captions(dataset.path, rule=RULE, page=again)
    assert again.read_bytes() == page_file.read_bytes()


def test_a_full_page_says_so_and_a_clip_alone_has_a_page(dataset: Dataset, tmp_path: Path) -> None:
    page = tmp_path / "full.html"
    captions(dataset.path, clip=clip_of("dog"), page=page, max_mb=0)
    html = page.read_text()
    assert html.count("<article") == 1 and "data:audio" not in html
    assert "The page is full; its sound was left out." in html and "the sounds of 1 clips were left out" in html


def test_what_cannot_be_written_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    for page in (tmp_path / "page.txt", tmp_path):
        with pytest.raises(ArgumentError, match=r"ends in \.html"):
            captions(dataset.path, page=page)
    with pytest.raises(ArgumentError, match="give one of them"):
        captions(dataset.path, page=tmp_path / "a.html", out=tmp_path / "a.csv")
    with pytest.raises(ArgumentError, match="--max-mb"):
        captions(dataset.path, page=tmp_path / "a.html", max_mb=-1)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing; install the package chromium")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield opened
        opened.close()


def until(page: Any, condition: str, timeout_s: float = 20.0) -> None:
    """Wait for a condition; the page's policy forbids Playwright's own way of waiting."""
    deadline = time.monotonic() + timeout_s
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        time.sleep(0.1)


VISIBLE = "[...document.querySelectorAll('.said > li')].filter(one => one.offsetParent).length"


@pytest.mark.slow
@pytest.mark.parametrize("width_px", [390, 1280])
def test_a_browser_filters_and_plays(browser: Any, page_file: Path, width_px: int) -> None:
    complaints: list[str] = []
    requests: list[str] = []
    context = browser.new_context(viewport={"width": width_px, "height": 800})
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(page_file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width_px
    assert "14 captions of 6 clips shown, of 6 clips" in page.inner_text("output")
    assert page.evaluate(VISIBLE) == 15, "and one answer that was set aside"

    page.get_by_label("Words in captions or labels").fill("roof rain")
    assert page.inner_text("output") == "3 captions of 1 clips shown, of 6 clips"
    page.get_by_label("Captioner").select_option("model:listener")
    assert page.evaluate(VISIBLE) == 1
    page.get_by_label("Words in captions or labels").fill("")
    page.get_by_label("Show").select_option("chosen")
    assert page.evaluate("[...document.querySelectorAll('.lost')].every(one => !one.offsetParent)")
    page.get_by_label("Show").select_option("aside")
    assert page.inner_text("output") == "0 captions of 1 clips shown, of 6 clips"
    page.get_by_label("Show").select_option("")
    page.get_by_label("Captioner").select_option("")
    assert page.evaluate(VISIBLE) == 15

    page.evaluate("for (const sound of document.querySelectorAll('audio')) sound.muted = true")
    page.evaluate("document.querySelectorAll('audio')[0].play()")
    until(page, "document.querySelectorAll('audio')[0].currentTime > 0.1")
    page.evaluate("document.querySelectorAll('audio')[1].play()")
    until(page, "document.querySelectorAll('audio')[0].paused && !document.querySelectorAll('audio')[1].paused")
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [page_file.as_uri()]
    context.close()


@pytest.mark.slow
def test_it_can_be_used_by_keyboard_and_read_aloud(browser: Any, page_file: Path) -> None:
    page = browser.new_page()
    page.goto(page_file.as_uri())
    stops = []
    for _ in range(5):
        page.keyboard.press("Tab")
        stops.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert stops[:4] == ["skip", "words", "source", "which"]
    controls = "[...document.querySelectorAll('audio, input, select, img')]"
    assert page.evaluate(f"{controls}.filter(one => !(one.ariaLabel || one.alt || one.labels?.length)).length") == 0
    named = "one => document.getElementById(one.getAttribute('aria-labelledby')).textContent.trim()"
    assert page.evaluate(f"[...document.querySelectorAll('article')].every({named})")
    page.close()
