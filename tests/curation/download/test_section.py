"""Sections of long videos: a clip cut out of one is the clip cut out of the whole, and what fails says so."""

import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from curation.cut import Cut, cut_clip
from curation.download import section as sections
from curation.download.download import Download, Limits, Request, Span
from curation.download.section import is_reachable, require_sections, section_of, streamed
from curation.errors import ClipError, Code, StoppedError
from curation.media import MediaStore
from curation.programs.ffmpeg import ffmpeg_path
from tests.curation.download.test_youtube import VIDEO_ID, session

LENGTH_S = 120
CLIP = Span(start_ms=61_300, end_ms=64_300)


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Two minutes of picture with a key frame every 4.7 s, and of noise, which never repeats."""
    folder = tmp_path_factory.mktemp("long")
    picture = ["-f", "lavfi", "-i", f"testsrc=size=64x48:rate=10:duration={LENGTH_S}", "-c:v", "libx264", "-g", "47"]
    sound = ["-f", "lavfi", "-i", f"anoisesrc=r=48000:d={LENGTH_S}:seed=3:a=0.3", "-c:a", "libopus"]
    for name, options in {"picture.mp4": picture, "sound.webm": sound}.items():
        subprocess.run([ffmpeg_path(), "-v", "error", *options, str(folder / name)], check=True)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Ranged:
    """A running server of files with HTTP Range: its `url`, the `bodies` by name and the `ranges` asked for."""

    def __init__(self, bodies: dict[str, bytes]) -> None:
        self.bodies = bodies
        self.url = ""
        self.status: int | None = None
        self.stalls = threading.Event()
        self.over = threading.Event()
        self.ranges: list[str] = []


@pytest.fixture
def server(streams: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Ranged]:
    monkeypatch.setattr(sections, "MIN_DURATION_S", float(LENGTH_S))
    state = Ranged(dict(streams))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            state.ranges += [asked[0]] if asked else []
            if state.stalls.is_set():
                state.over.wait(30)
            body = state.bodies[self.path[1:]]
            start = int(asked[1]) if asked else 0
            self.send_response(state.status or (206 if asked else 200))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(body) - start))
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.end_headers()
            if state.status is None:
                self.wfile.write(body[start:])

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that hangs up is no error."""

    with Server(("127.0.0.1", 0), Handler) as running:
        state.url = f"http://127.0.0.1:{running.server_address[1]}"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield state
        state.over.set()
        running.shutdown()
        thread.join()


def got(server: Ranged, folder: Path, span: Span | None, *, duration_s: float = LENGTH_S, **options: Any) -> Download:
    folder.mkdir(exist_ok=True)
    formats = [
        {"format_id": "135", "url": f"{server.url}/picture.mp4", "ext": "mp4", "vcodec": "avc1", "acodec": "none",
         "width": 64, "height": 48},
        {"format_id": "251", "url": f"{server.url}/sound.webm", "ext": "webm", "vcodec": "none", "acodec": "opus",
         "language": "en"},
    ]  # fmt: skip
    opened = session({"formats": formats, "duration": duration_s, "channel_id": "UC1"}, **options)
    return opened.get(Request(platform="youtube", video_id=VIDEO_ID, span=span), folder)


def cut_sound(download: Download, folder: Path) -> np.ndarray:
    """The clip's sound, cut at its time on the file's own clock."""
    folder.mkdir()
    start_ms = CLIP.start_ms - (download.section_start_ms or 0)
    files = cut_clip(download.path, start_ms, CLIP.end_ms - CLIP.start_ms, Cut(media=MediaStore(folder)), folder)
    assert files.picture is not None
    return soundfile.read(files.sound)[0]


def lag_ms(one: np.ndarray, other: np.ndarray) -> float:
    """By how much `other` is later, ms: where the two correlate most."""
    size = 2 * len(one)
    correlation = np.fft.irfft(np.fft.rfft(one, size).conj() * np.fft.rfft(other, size), size)
    best = int(np.argmax(correlation))
    return (best if best < size // 2 else best - size) / 48.0


def test_a_clip_of_a_section_is_the_clip_of_the_whole(server: Ranged, tmp_path: Path) -> None:
    whole = got(server, tmp_path / "whole", None)
    section = got(server, tmp_path / "section", CLIP)
    assert (whole.section_start_ms, section.suffix, section.owned) == (None, ".mkv", True)
    # The last key frame at or before 10 s ahead of the clip, at 51.3 s: every 4.7 s there is one.
    assert section.section_start_ms == 47_000
    assert list((tmp_path / "section").iterdir()) == [section.path]
    assert section.bytes < whole.bytes / 3
    assert server.ranges, "the section is asked for by HTTP Range"
    assert (section.duration_s, section.language, section.channel_id) == (LENGTH_S, "en", "UC1")
    of_whole, of_section = cut_sound(whole, tmp_path / "cut1"), cut_sound(section, tmp_path / "cut2")
    assert len(of_whole) == len(of_section)
    assert abs(lag_ms(of_whole, of_section)) <= 1.0
    assert abs(lag_ms(of_whole, np.roll(of_section, 4_800)) - 100.0) <= 1.0, "a shift would be seen"


@pytest.mark.parametrize("span", [None, Span(start_ms=0, end_ms=LENGTH_S * 100 + 1)])
def test_a_video_that_is_not_much_longer_is_fetched_whole(server: Ranged, tmp_path: Path, span: Span | None) -> None:
    assert got(server, tmp_path, span).section_start_ms is None


def test_less_than_was_asked_for_is_truncated(server: Ranged, tmp_path: Path) -> None:
    """The platform says that the video is longer than its streams are."""
    with pytest.raises(ClipError, match="came") as caught:
        got(server, tmp_path, Span(start_ms=112_000, end_ms=119_000), duration_s=300.0)
    assert caught.value.code is Code.TRUNCATED
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("status", "code"), [(403, Code.FORBIDDEN), (429, Code.RATE_LIMITED), (503, Code.NETWORK)])
def test_refusals_have_their_codes(server: Ranged, tmp_path: Path, status: int, code: Code) -> None:
    server.status = status
    with pytest.raises(ClipError) as caught:
        got(server, tmp_path, CLIP)
    assert caught.value.code is code, caught.value.detail
    assert list(tmp_path.iterdir()) == []


def test_silence_and_size_end_at_their_limits(server: Ranged, tmp_path: Path) -> None:
    with pytest.raises(ClipError) as caught:
        got(server, tmp_path, CLIP, limits=Limits(max_bytes=20_000, timeout_s=30.0))
    assert caught.value.code is Code.TOO_LARGE, caught.value.detail
    server.stalls.set()
    with pytest.raises(ClipError) as caught:
        got(server, tmp_path, CLIP, limits=Limits(timeout_s=2.0))
    assert caught.value.code is Code.TIMEOUT
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("start_ms", "end_ms", "duration_s", "expected"),
    [
        (600_000, 720_000, 1200.0, Span(start_ms=590_000, end_ms=730_000)),
        (600_000, 720_001, 1200.0, None),
        (600_000, 610_000, 1199.9, None),
        (600_000, 610_000, None, None),
        (0, 10_000, 1200.0, Span(start_ms=0, end_ms=20_000)),
        (1_195_000, 1_200_000, 1200.0, Span(start_ms=1_185_000, end_ms=1_200_000)),
        (1_195_000, 1_200_001, 1200.0, None),
    ],
)
def test_a_section_is_worth_it_where_the_video_is_much_longer(
    start_ms: int, end_ms: int, duration_s: float | None, expected: Span | None
) -> None:
    assert section_of(Span(start_ms=start_ms, end_ms=end_ms), duration_s) == expected


@pytest.mark.parametrize("version", ["8.1", "n8.1", "8.1.1", "n8.1-17-g2a571b6068", "8.1-full_build"])
def test_ffmpeg_8_1_is_refused(version: str) -> None:
    with pytest.raises(StoppedError, match="pip install"):
        require_sections(version)


@pytest.mark.parametrize("version", ["8.0", "8.10", "8.2", "n9.0.2-17-g2a571b6068", "18.1", "N-118.1"])
def test_other_ffmpegs_are_not(version: str) -> None:
    require_sections(version)


def test_playlists_and_other_proxies_are_not_for_ffmpeg() -> None:
    formats: list[dict[str, Any]] = [
        {"url": "https://host/a"},
        {"url": "https://host/a", "protocol": "m3u8_native"},
        {"url": "https://host/a", "fragments": [{}]},
        {"url": "file:///etc/passwd"},
    ]
    assert streamed({"id": "a", "formats": formats}) == {"id": "a", "formats": formats[:1]}
    assert is_reachable({}) and is_reachable({"all": "http://proxy:3128"})
    assert not is_reachable({"all": "socks5://proxy:1080"})
