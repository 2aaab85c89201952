"""The path to YouTube with everything real but the platform: a stand-in extractor describes files of a loopback server.

What YouTube itself answers cannot be tested without it; the texts of its refusals are in `test_reasons`.
"""

import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.utils import ExtractorError

from curation.download.session import Download, Limits, Request, Session
from curation.download.source import parse_source
from curation.download.youtube import bounded_format
from curation.errors import ClipError, Code, StoppedError
from curation.programs.ffmpeg import ffmpeg_path
from tests.curation.download.scripted import Scripted, answer, scripted

VIDEO_ID = "3z0IT3bXm_E"
LIMITS = Limits(timeout_s=60.0, silence_s=10.0)


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Half a second of picture alone, of sound alone, and of both."""
    folder = tmp_path_factory.mktemp("streams")
    picture = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=10:duration=0.5"]
    sound = ["-f", "lavfi", "-i", "sine=frequency=440:duration=0.5"]
    for name, options in {
        "picture.mp4": [*picture, "-c:v", "libx264"],
        "sound.webm": [*sound, "-c:a", "libopus"],
        "both.mp4": [*picture, *sound, "-c:v", "libx264", "-c:a", "aac"],
    }.items():
        subprocess.run([ffmpeg_path(), "-v", "error", *options, str(folder / name)], check=True)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def server(streams: dict[str, bytes]) -> Iterator[Scripted]:
    with scripted() as running:
        for name, body in streams.items():
            running.answers[f"/{name}"] = answer(body)
        yield running


def formats(server: Scripted, *, upright: bool = False) -> list[dict[str, Any]]:
    """A ladder of formats as YouTube's: only the best that fits 480 px exists on the server."""

    def picture(height: int, width: int, name: str) -> dict[str, Any]:
        size = {"width": height, "height": width} if upright else {"width": width, "height": height}
        url = f"{server.url}/{name}"
        return {"format_id": f"{height}", "url": url, "ext": "mp4", "vcodec": "avc1", "acodec": "none", **size}

    return [
        {"format_id": "18", "url": f"{server.url}/both.mp4", "ext": "mp4", "vcodec": "avc1", "acodec": "mp4a",
         "width": 640, "height": 360},
        {"format_id": "251", "url": f"{server.url}/sound.webm", "ext": "webm", "vcodec": "none", "acodec": "opus",
         "language": "en"},
        picture(240, 426, "lower.mp4"), picture(480, 854, "picture.mp4"), picture(1080, 1920, "higher.mp4"),
    ]  # fmt: skip


def session(answered: dict[str, Any] | BaseException, limits: Limits = LIMITS, **options: Any) -> Session:
    """A session whose extractor answers so."""

    class YoutubeIE(InfoExtractor):
        IE_NAME = "youtube"
        _VALID_URL = r"https://www\.youtube\.com/watch\?v=(?P<id>[\w-]{11})"

        def _real_extract(self, url: str) -> dict[str, Any]:
            if isinstance(answered, BaseException):
                raise answered
            return {"id": self._match_id(url), "title": "A title", **answered}

    opened = Session(parse_source("youtube"), limits=limits, **options)
    opened._youtube()._downloader.add_info_extractor(YoutubeIE())
    return opened


def got(opened: Session, folder: Path) -> Download:
    return opened.get(Request(platform="youtube", video_id=VIDEO_ID), folder)


def kinds(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return sorted(stream.codec_context.name for stream in container.streams)


def test_picture_and_sound_become_one_file(server: Scripted, tmp_path: Path) -> None:
    facts = {
        "tags": ["dog"], "categories": ["Pets"], "channel": "Somebody", "channel_id": "UC1", "upload_date": "20200131",
        "license": "Creative Commons Attribution licence (reuse allowed)", "duration": 0.5,
    }  # fmt: skip
    download = got(session({"formats": formats(server), **facts}), tmp_path)
    assert list(tmp_path.iterdir()) == [download.path]
    assert kinds(download.path) == ["h264", "opus"]
    assert (download.suffix, download.owned, download.bytes) == (".mkv", True, download.path.stat().st_size)
    assert (download.source, download.final_url) == ("youtube", f"https://www.youtube.com/watch?v={VIDEO_ID}")
    assert (download.title, download.tags, download.categories) == ("A title", ["dog"], ["Pets"])
    assert (download.channel, download.channel_id, download.upload_date) == ("Somebody", "UC1", "20200131")
    assert (download.licence, download.language, download.duration_s) == (facts["license"], "en", 0.5)
    assert sorted(server.requests) == ["/picture.mp4", "/sound.webm"]


def test_upright_pictures_are_bounded_in_width(server: Scripted, tmp_path: Path) -> None:
    got(session({"formats": formats(server, upright=True)}), tmp_path)
    assert "/picture.mp4" in server.requests


def test_one_piece_where_there_is_nothing_else(server: Scripted, tmp_path: Path) -> None:
    download = got(session({"formats": formats(server)[:1]}), tmp_path)
    assert (download.suffix, kinds(download.path), download.tags) == (".mp4", ["aac", "h264"], [])


def test_nothing_within_the_bound_is_no_format(server: Scripted, tmp_path: Path) -> None:
    with pytest.raises(ClipError) as caught:
        got(session({"formats": formats(server)}, max_height_px=100), tmp_path)
    assert caught.value.code is Code.NO_FORMAT
    assert server.requests == []


def test_a_denied_channel_is_refused_before_a_byte_of_its_video_is_fetched(server: Scripted, tmp_path: Path) -> None:
    said = {"formats": formats(server), "channel_id": "UC1"}
    with pytest.raises(ClipError, match="UC1") as caught:
        got(session(said, denied_channels=frozenset({"UC1"})), tmp_path)
    assert caught.value.code is Code.DENIED
    assert server.requests == []
    assert got(session(said, denied_channels=frozenset({"UC2"})), tmp_path).channel_id == "UC1"


def test_the_bound_is_in_the_format() -> None:
    assert bounded_format(360).count("<=360") == 4


@pytest.mark.parametrize(
    ("answered", "code"),
    [
        ({"live_status": "is_live", "formats": []}, Code.LIVE),
        ({"live_status": "is_upcoming", "formats": []}, Code.LIVE),
        ({"_type": "playlist", "entries": []}, Code.NOT_FOUND),
        ({"_type": "url", "url": "https://www.youtube.com/watch?v=other______"}, Code.NOT_FOUND),
        ({"id": "other______", "formats": []}, Code.NOT_FOUND),
        ({"formats": []}, Code.UNKNOWN),
        (ExtractorError("Private video", expected=True), Code.PRIVATE),
        (ExtractorError("An extractor error has occurred."), Code.UNKNOWN),
        (KeyError("videoDetails"), Code.UNKNOWN),
        (TypeError("'NoneType' object is not subscriptable"), Code.UNKNOWN),
    ],
)
def test_answers_that_are_no_video(tmp_path: Path, answered: dict[str, Any] | Exception, code: Code) -> None:
    with pytest.raises(ClipError) as caught:
        got(session(answered), tmp_path)
    assert caught.value.code is code
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_gets_through(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        got(session(KeyboardInterrupt()), tmp_path)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (answer(status="403 Forbidden"), Code.FORBIDDEN),
        (answer(status="429 Too Many Requests"), Code.RATE_LIMITED),
        (answer(status="503 Service Unavailable"), Code.NETWORK),
        (answer(b"\x00" * 99, length=999), Code.TRUNCATED),
        (answer(b""), Code.TRUNCATED),
        (answer(b"\x00" * 5000), Code.UNREADABLE),
    ],
)
def test_streams_that_fail_leave_nothing(server: Scripted, tmp_path: Path, given: Any, code: Code) -> None:
    server.answers["/sound.webm"] = given
    with pytest.raises(ClipError) as caught:
        got(session({"formats": formats(server)}), tmp_path)
    assert caught.value.code is code
    assert list(tmp_path.iterdir()) == []


def test_a_stream_that_is_a_playlist_reads_no_neighbour(server: Scripted, tmp_path: Path) -> None:
    """ffmpeg puts the streams together and would open what a playlist names."""
    secret = tmp_path / "secret.ts"
    secret.write_bytes(b"\x47" * 188)
    folder = tmp_path / "scratch"
    folder.mkdir()
    server.answers["/sound.webm"] = answer(f"ffconcat version 1.0\nfile '{secret}'\n".encode())
    with pytest.raises(ClipError) as caught:
        got(session({"formats": formats(server)}), folder)
    assert caught.value.code is Code.UNREADABLE


def test_bytes_of_both_streams_count(server: Scripted, streams: dict[str, bytes], tmp_path: Path) -> None:
    both = len(streams["picture.mp4"]) + len(streams["sound.webm"])
    with pytest.raises(ClipError) as caught:
        got(session({"formats": formats(server)}, Limits(max_bytes=both - 1)), tmp_path)
    assert caught.value.code is Code.TOO_LARGE
    assert got(session({"formats": formats(server)}, Limits(max_bytes=both)), tmp_path).bytes > 0


def test_slow_stream_times_out(server: Scripted, tmp_path: Path) -> None:
    def trickle(send: Any) -> None:
        answer(length=100_000)(send)
        while not server.stopping.wait(0.01):
            send(b"\x00" * 1024)

    server.answers["/picture.mp4"] = trickle
    with pytest.raises(ClipError) as caught:
        got(session({"formats": formats(server)}, Limits(timeout_s=0.5, silence_s=0.5)), tmp_path)
    assert caught.value.code is Code.TIMEOUT
    assert list(tmp_path.iterdir()) == []


def test_full_disk_stops_the_work(server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from yt_dlp.downloader.http import HttpFD

    monkeypatch.setattr(HttpFD, "sanitize_open", lambda self, name, mode: (io.FileIO("/dev/full", "w"), name))
    with pytest.raises(StoppedError, match="No space left"):
        got(session({"formats": formats(server)}), tmp_path)


def test_cookie_file_is_copied_and_not_written(tmp_path: Path) -> None:
    cookies = tmp_path / "cookies.txt"
    cookies.write_text("# Netscape HTTP Cookie File\n.youtube.com\tTRUE\t/\tTRUE\t4102444800\tNAME\tVALUE\n")
    before = cookies.read_bytes()
    downloader = session({}, cookies=cookies)._youtube()._downloader
    own = Path(downloader.params["cookiefile"])
    assert (own != cookies, own.stat().st_mode & 0o777, own.read_bytes()) == (True, 0o600, before)
    assert [cookie.name for cookie in downloader.cookiejar] == ["NAME"]
    downloader.close()
    assert cookies.read_bytes() == before


def test_no_cookies_by_default() -> None:
    assert session({})._youtube()._downloader.params.get("cookiefile") is None


def test_a_javascript_runtime_is_found() -> None:
    """Without one YouTube withholds formats; the package `deno` brings it."""
    runtimes = session({})._youtube()._downloader._js_runtimes
    assert [name for name, runtime in runtimes.items() if runtime and runtime.info] == ["deno"]
