"""The page in a real browser, against a real server: found, heard, selected, exported; by keyboard and on a phone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.report.test_browser import CHROMIUM, FLAGS, _colour, _contrast, until
from tests.retrieval_index.service.listening import serving
from tests.retrieval_index.service.served import CAPTIONS, make_dataset, wav
from tests.retrieval_index.tones import RATE_HZ, clip_of
from tests.retrieval_index.toy_embedder import tone

pytestmark = pytest.mark.slow

OFFLINE = ["--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("page") / "dataset").path


@pytest.fixture(scope="module")
def address(dataset: Path) -> Iterator[str]:
    with serving(dataset) as (found, _):
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing; install the package chromium")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=str(CHROMIUM), args=[*FLAGS, *OFFLINE])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page; nothing it does may fail, or ask anybody else."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: request.url.startswith((address, "blob:")) or complaints.append(request.url))
    opened.goto(address)
    until(opened, "document.getElementById('about').textContent == '4 clips'")
    yield opened
    context.close()
    refused = "the server responded with a status of 400"  # a browser tells of what the page tells too
    assert [text for text in complaints if refused not in text] == []


def search(page: Any, text: str) -> None:
    page.fill("#text", text)
    page.press("#text", "Enter")
    until(page, "document.getElementById('status').textContent.includes('best first')")


def titles(page: Any) -> list[str]:
    return page.eval_on_selector_all(".hit h2", "all => all.map(one => one.textContent)")  # type: ignore[no-any-return]


def test_words_find_clips_with_pictures_and_spans(page: Any) -> None:
    search(page, "1760")
    assert titles(page)[0] == CAPTIONS["shrill"] and len(titles(page)) == 4
    page.evaluate("document.querySelectorAll('.hit img').forEach(one => { one.loading = 'eager' })")
    until(page, "[...document.querySelectorAll('.hit img')].every(one => one.naturalWidth == 640)")
    box = page.locator(".picture").first.bounding_box()
    span = page.locator(".span").first.bounding_box()
    assert span["x"] == pytest.approx(box["x"], abs=1)
    assert span["width"] / box["width"] == pytest.approx(0.2, abs=0.01), "2 s of what the list says are 10 s"
    assert "#text=1760" in page.url


def test_a_sound_is_played_and_sought(page: Any) -> None:
    search(page, "1760")
    button = page.locator(".play").first
    assert button.get_attribute("aria-label") == f"Play: {CAPTIONS['shrill']}"
    button.click()
    until(page, "document.querySelector('.picture').getAttribute('aria-valuenow') > 0.2")
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    until(page, "document.querySelector('.play').getAttribute('aria-pressed') == 'false'")
    slider = page.locator(".picture").first
    slider.focus()
    slider.press("Home")
    slider.press("ArrowRight")
    assert slider.get_attribute("aria-valuenow") == "1.0"
    assert slider.get_attribute("aria-valuemax") is not None


def test_more_like_this_and_the_way_back(page: Any) -> None:
    search(page, "220")
    page.locator(".like").first.click()
    until(page, "document.querySelectorAll('.hit').length == 3")
    assert CAPTIONS["low"] not in titles(page)
    assert page.inner_text("#subject-text") == f"Like: {CAPTIONS['low']}"
    page.go_back()
    until(page, "document.querySelectorAll('.hit').length == 4")
    assert page.input_value("#text") == "220" and page.locator("#subject").is_hidden()


def test_a_sound_is_dragged_in_or_chosen(page: Any, tmp_path: Path) -> None:
    file = tmp_path / "bark <b>.wav"
    file.write_bytes(wav(tone(880, 1, RATE_HZ)))
    page.set_input_files("#file", str(file))
    until(page, "document.querySelectorAll('.hit').length == 4")
    assert titles(page)[0] == CAPTIONS["high"]
    assert page.inner_text("#subject-text") == "Sounds like bark <b>.wav"
    page.click("#subject-clear")
    bytes_ = list(wav(tone(220, 1, RATE_HZ)))
    page.evaluate(
        """bytes => {
        const carried = new DataTransfer();
        carried.items.add(new File([new Uint8Array(bytes)], 'hum.wav'));
        const said = { dataTransfer: carried, bubbles: true, cancelable: true };
        for (const kind of ['dragenter', 'dragover', 'drop'])
            document.body.dispatchEvent(new DragEvent(kind, said));
    }""",
        bytes_,
    )
    until(page, f"document.querySelector('.hit h2').textContent == '{CAPTIONS['low']}'")
    assert page.locator("#drop").is_hidden()


def test_refining_by_keyboard(page: Any) -> None:
    page.keyboard.press("/")
    page.keyboard.type("440")
    page.locator("#refine > summary").press("Enter")
    page.fill("#plus", "880, 0.5 * 1760")
    page.fill("#where", "measure.duration_s > 2.5")
    page.press("#where", "Enter")
    until(page, "document.querySelectorAll('.hit').length == 2")
    assert titles(page) == [CAPTIONS["high"], CAPTIONS["shrill"]]
    page.fill("#where", "measure.nothing > 2.5")
    page.press("#where", "Enter")
    until(page, "document.getElementById('status').classList.contains('problem')")
    assert "cannot name 'measure.nothing'" in page.inner_text("#status")


def test_clips_are_selected_exported_and_kept(page: Any, dataset: Path) -> None:
    search(page, "220")
    for number in (0, 1):
        page.locator(".check input").nth(number).check()
    search(page, "440")
    assert page.inner_text("#selected-count") == "2 selected", "a selection outlives a question"
    with page.expect_download() as csv:
        page.click("#export-csv")
    lines = Path(csv.value.path()).read_text().splitlines()
    assert (
        lines[0] == "clip_id,start_s,end_s,score" and lines[1].startswith(f"{clip_of('low')},0,1,1") and len(lines) == 3
    )
    with page.expect_download() as jsonl:
        page.click("#export-jsonl")
    assert json.loads(Path(jsonl.value.path()).read_text().splitlines()[0])["clip_id"] == clip_of("low")
    page.click("#keep")
    page.fill("#keep-name", "from-the-page")
    page.press("#keep-name", "Enter")
    until(page, "document.getElementById('status').textContent.startsWith('Selection from-the-page has 2 clips')")
    assert (dataset / "selections" / "from-the-page.json").exists()
    page.click("#clear")
    assert page.locator("#selection").is_hidden() and page.locator(".check input:checked").count() == 0


def test_everything_has_a_name(page: Any) -> None:
    search(page, "440")
    page.locator("#refine > summary").click()
    unnamed = page.evaluate(
        """[...document.querySelectorAll('button, input, select, [role=slider], [tabindex="0"]')].filter(one =>
        one.checkVisibility() && !(one.ariaLabel || one.labels?.length || one.textContent.trim() || one.title)).map(
        one => one.outerHTML)"""
    )
    assert unnamed == []
    assert page.locator("#status").get_attribute("aria-live") == "polite"


def test_a_token_is_asked_for_once(browser: Any, dataset: Path) -> None:
    token = "a-token-of-some-length"
    with serving(dataset, access=f"Access(token={token!r})") as (found, _):
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{found}/#text=440")
        until(page, "document.getElementById('token-dialog').open")
        page.fill("#token", "wrong")
        page.press("#token", "Enter")
        until(page, "document.getElementById('token-problem').textContent.includes('not the token')")
        page.fill("#token", token)
        page.press("#token", "Enter")
        until(page, "document.querySelectorAll('.hit').length == 4")
        page.evaluate("document.querySelector('.hit img').loading = 'eager'")
        until(page, "document.querySelector('.hit img').naturalWidth == 640")
        kept = page.evaluate("[document.cookie, localStorage.length, sessionStorage.length]")
        assert kept == ["", 0, 0], "no script can read the token or its proof"
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_all_and_colours_can_be_told_apart(browser: Any, address: str, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True)
    page = context.new_page()
    page.goto(f"{address}/#text=440")
    until(page, "document.querySelectorAll('.hit').length == 4")
    page.locator(".check input").first.check()
    page.locator("#refine > summary").click()
    page.locator("#columns > summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for selector in (".play", ".like", "#search button.main", "#export-csv"):
        assert page.locator(selector).first.bounding_box()["height"] >= 44, f"{selector} is large enough for a thumb"
    paper, shown = _colour(page, "body", "backgroundColor"), _colour(page, ".hit", "backgroundColor")
    for selector, background in (("body", paper), ("#status", paper), (".hit h2", shown), (".place", shown)):
        assert _contrast(background, _colour(page, selector, "color")) >= 4.5, f"{selector} in {scheme}"
    main = _colour(page, "button.main", "backgroundColor"), _colour(page, "button.main", "color")
    assert _contrast(*main) >= 4.5
    context.close()


def test_the_way_back_ends_a_search_that_still_runs(page: Any) -> None:
    search(page, "440")
    held: list[Any] = []
    page.route("**/api/search", lambda route: held.append(route))
    page.fill("#text", "880")
    page.press("#text", "Enter")
    until(page, "document.getElementById('status').textContent.startsWith('Searching')")
    page.go_back()
    until(page, "!document.getElementById('empty').hidden")
    assert page.get_attribute("main", "aria-busy") == "false"
    held[0].continue_()
    page.wait_for_timeout(300)
    assert titles(page) == [] and page.text_content("#status") == ""
