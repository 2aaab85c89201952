"""Every way in which a server can fail ends with the right code, in little time, and leaves nothing behind."""

import io
import pickle
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from curation.download.session import Limits, Request, Session
from curation.download.source import parse_source
from curation.errors import ClipError, Code, StoppedError
from tests.curation.download.scripted import Answer, Scripted, answer, redirect, scripted

MEDIA = b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 40
SECRET = b"\x00\x00\x00\x18ftypmp42 the neighbour"
PAGE = b"<!DOCTYPE html><html><body><video src='/neighbour.mp4'></video></body></html>"
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n/neighbour.mp4\n#EXT-X-ENDLIST\n"
LIMITS = Limits(max_bytes=100_000, timeout_s=30.0, silence_s=1.0)


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as running:
        running.answers["/neighbour.mp4"] = answer(SECRET)
        yield running


def session(server: Scripted, limits: Limits = LIMITS) -> Session:
    return Session(parse_source(server.url + "/{video_id}.mp4"), limits=limits)


def refusal(server: Scripted, given: Answer, folder: Path, limits: Limits = LIMITS) -> ClipError:
    """What fetching `/asked.mp4`, answered so, is refused with."""
    server.answers["/asked.mp4"] = given
    with pytest.raises(ClipError) as caught:
        session(server, limits).get(Request(platform="youtube", video_id="asked"), folder)
    assert list(folder.iterdir()) == []
    assert "/neighbour.mp4" not in server.requests
    return caught.value


def test_good_file_arrives_whole(server: Scripted, tmp_path: Path) -> None:
    server.answers["/asked.mp4"] = answer(MEDIA)
    got = session(server).get(Request(platform="youtube", video_id="asked"), tmp_path)
    assert got.path.read_bytes() == MEDIA
    assert (got.bytes, got.suffix, got.owned) == (len(MEDIA), ".mp4", True)
    assert got.final_url == f"{server.url}/asked.mp4"
    assert got.source == server.url + "/{video_id}.mp4"
    assert got.path.parent == tmp_path


@pytest.mark.parametrize("kind", ["application/octet-stream", "binary/octet-stream", None, "audio/mp4; codecs=opus"])
def test_types_that_may_be_media_are_taken(server: Scripted, tmp_path: Path, kind: str | None) -> None:
    server.answers["/asked.mp4"] = answer(MEDIA, kind=kind)
    got = session(server).get(Request(platform="youtube", video_id="asked"), tmp_path)
    assert got.path.read_bytes() == MEDIA


@pytest.mark.parametrize(
    ("given", "code"),
    [
        pytest.param(answer(b"no", status="404 Not Found"), Code.NOT_FOUND, id="404"),
        pytest.param(answer(b"no", status="410 Gone"), Code.NOT_FOUND, id="410"),
        pytest.param(answer(b"no", status="401 Unauthorized"), Code.FORBIDDEN, id="401"),
        pytest.param(answer(b"no", status="403 Forbidden"), Code.FORBIDDEN, id="403"),
        pytest.param(answer(b"no", status="429 Too Many Requests"), Code.RATE_LIMITED, id="429"),
        pytest.param(answer(b"no", status="500 Internal Server Error"), Code.NETWORK, id="500"),
        pytest.param(answer(b"no", status="503 Service Unavailable"), Code.NETWORK, id="503"),
        pytest.param(answer(b"no", status="418 I'm a teapot"), Code.UNKNOWN, id="418"),
        pytest.param(answer(b""), Code.EMPTY, id="empty"),
        pytest.param(answer(b"", length=None), Code.EMPTY, id="empty-without-a-length"),
        pytest.param(answer(MEDIA, length=len(MEDIA) + 9), Code.TRUNCATED, id="cut-off"),
        pytest.param(answer(b"", length=900), Code.TRUNCATED, id="cut-off-at-once"),
        pytest.param(answer(MEDIA, length=100_001), Code.TOO_LARGE, id="announced-too-large"),
        pytest.param(answer(MEDIA * 11, length=None), Code.TOO_LARGE, id="too-large-and-not-announced"),
        pytest.param(answer(PAGE, kind="text/html"), Code.NOT_FOUND, id="page"),
        pytest.param(answer(PAGE), Code.NOT_FOUND, id="page-posing-as-mp4"),
        pytest.param(answer(PAGE, kind="application/octet-stream"), Code.NOT_FOUND, id="page-posing-as-bytes"),
        pytest.param(answer(PAGE, kind=None), Code.NOT_FOUND, id="page-without-a-type"),
        pytest.param(answer(PAGE.decode().encode("utf-16"), kind=None), Code.NOT_FOUND, id="page-in-utf-16"),
        pytest.param(answer(PLAYLIST), Code.NOT_FOUND, id="playlist-posing-as-mp4"),
        pytest.param(answer(PLAYLIST, kind="application/vnd.apple.mpegurl"), Code.NOT_FOUND, id="playlist"),
        pytest.param(
            answer(MEDIA, kind="application/vnd.apple.mpegurl"), Code.NOT_FOUND, id="media-posing-as-playlist"
        ),
        pytest.param(answer(MEDIA, kind="audio/x-mpegurl"), Code.NOT_FOUND, id="media-posing-as-audio-playlist"),
        pytest.param(answer(b"<MPD></MPD>", kind="application/dash+xml"), Code.NOT_FOUND, id="dash"),
        pytest.param(redirect("/asked.mp4"), Code.NOT_FOUND, id="redirect-loop"),
        pytest.param(redirect("file:///etc/passwd"), Code.NOT_FOUND, id="redirect-to-a-local-file"),
        pytest.param(redirect("ftp://127.0.0.1/asked.mp4"), Code.NOT_FOUND, id="redirect-to-ftp"),
        pytest.param(redirect("http://127.0.0.1:9/asked.mp4"), Code.NOT_FOUND, id="redirect-to-another-port"),
        pytest.param(redirect("https://127.0.0.1/asked.mp4"), Code.NOT_FOUND, id="redirect-to-another-scheme"),
        pytest.param(redirect("http://a:b@127.0.0.1/asked.mp4"), Code.NOT_FOUND, id="redirect-with-a-password"),
        pytest.param(lambda send: send(b"nonsense\r\n\r\n"), Code.NETWORK, id="no-http"),
        pytest.param(lambda send: None, Code.NETWORK, id="hangs-up"),
    ],
)
def test_fault_has_its_code(server: Scripted, tmp_path: Path, given: Answer, code: Code) -> None:
    begun = time.monotonic()
    error = refusal(server, given, tmp_path)
    assert (error.code, time.monotonic() - begun < 10.0) == (code, True), error.detail


def test_redirect_to_another_file_of_the_mirror_is_not_taken_for_the_one_asked_for(
    server: Scripted, tmp_path: Path
) -> None:
    server.answers["/asked.mp4"] = redirect("/neighbour.mp4")
    with pytest.raises(ClipError, match="another file") as caught:
        session(server).get(Request(platform="youtube", video_id="asked"), tmp_path)
    assert caught.value.code is Code.NOT_FOUND
    assert list(tmp_path.iterdir()) == []


def test_redirect_to_the_same_file_elsewhere_on_the_mirror_is_followed(server: Scripted, tmp_path: Path) -> None:
    server.answers["/asked.mp4"] = redirect("/store/asked.mp4")
    server.answers["/store/asked.mp4"] = answer(MEDIA)
    got = session(server).get(Request(platform="youtube", video_id="asked"), tmp_path)
    assert (got.path.read_bytes(), got.final_url) == (MEDIA, f"{server.url}/store/asked.mp4")


def test_full_disk_stops_the_work(server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from yt_dlp.downloader.http import HttpFD

    server.answers["/asked.mp4"] = answer(MEDIA)
    monkeypatch.setattr(HttpFD, "sanitize_open", lambda self, name, mode: (io.FileIO("/dev/full", "w"), name))
    with pytest.raises(StoppedError, match="No space left"):
        session(server).get(Request(platform="youtube", video_id="asked"), tmp_path)


def test_nothing_is_printed(server: Scripted, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    refusal(server, answer(status="500 Internal Server Error"), tmp_path)
    refusal(server, answer(MEDIA, length=len(MEDIA) + 9), tmp_path)
    assert capfd.readouterr() == ("", "")


def test_page_is_refused_before_the_extractor_sees_it(server: Scripted, tmp_path: Path) -> None:
    refusal(server, answer(PAGE, kind="application/octet-stream"), tmp_path)
    assert server.requests == ["/asked.mp4"]


def test_nothing_listens(server: Scripted, tmp_path: Path) -> None:
    nowhere = Session(parse_source("http://127.0.0.1:9/{video_id}.mp4"), limits=LIMITS)
    with pytest.raises(ClipError) as caught:
        nowhere.get(Request(platform="youtube", video_id="asked"), tmp_path)
    assert caught.value.code is Code.NETWORK


def test_unknown_host(tmp_path: Path) -> None:
    nowhere = Session(parse_source("http://mirror.invalid/{video_id}.mp4"), limits=LIMITS)
    with pytest.raises(ClipError) as caught:
        nowhere.get(Request(platform="youtube", video_id="asked"), tmp_path)
    assert caught.value.code is Code.NETWORK


def test_silence_times_out(server: Scripted, tmp_path: Path) -> None:
    assert refusal(server, lambda send: server.stopping.wait(20), tmp_path).code is Code.TIMEOUT


def test_trickle_ends_at_the_deadline(server: Scripted, tmp_path: Path) -> None:
    def trickle(send: object) -> None:
        answer(MEDIA[:600], length=5000)(send)
        while not server.stopping.wait(0.05):
            send(b"\x00")

    limits = Limits(timeout_s=1.0, silence_s=0.5)
    begun = time.monotonic()
    error = refusal(server, trickle, tmp_path, limits)
    assert error.code is Code.TIMEOUT
    assert time.monotonic() - begun < 10.0


def test_trickled_headers_end_at_the_deadline(server: Scripted, tmp_path: Path) -> None:
    def trickle(send: object) -> None:
        send(b"HTTP/1.1 200 OK\r\n")
        while not server.stopping.wait(0.05):
            send(b"X")

    error = refusal(server, trickle, tmp_path, Limits(timeout_s=1.0, silence_s=0.5))
    assert error.code is Code.TIMEOUT


def test_break_is_resumed_within_one_attempt(server: Scripted, tmp_path: Path) -> None:
    """Half of the file, then a break; the second half when the range is asked for."""
    calls = []

    def flaky(send: object) -> None:
        calls.append(1)
        half = len(MEDIA) // 2
        if len(calls) <= 2:  # the probe, and the first try
            answer(MEDIA[:half], length=len(MEDIA))(send)
        else:
            span = {"Content-Range": f"bytes {half}-{len(MEDIA) - 1}/{len(MEDIA)}"}
            answer(MEDIA[half:], status="206 Partial Content", headers=span)(send)

    server.answers["/asked.mp4"] = flaky
    got = session(server).get(Request(platform="youtube", video_id="asked"), tmp_path)
    assert got.path.read_bytes() == MEDIA
    assert len(calls) == 3


def test_session_goes_on_after_failures(server: Scripted, tmp_path: Path) -> None:
    server.answers["/asked.mp4"] = answer(MEDIA)
    one = session(server)
    with pytest.raises(ClipError):
        one.get(Request(platform="youtube", video_id="dead"), tmp_path)
    assert one.get(Request(platform="youtube", video_id="asked"), tmp_path).bytes == len(MEDIA)


def test_ctrl_c_gets_through_and_leaves_nothing(
    server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from curation.download import transfer

    server.answers["/asked.mp4"] = answer(MEDIA)
    read = transfer._Media.read
    monkeypatch.setattr(transfer, "HEAD_BYTES", 64)

    def interrupted(self: object, amt: int | None = None) -> bytes:
        if list(tmp_path.iterdir()):
            raise KeyboardInterrupt
        return read(self, amt)

    monkeypatch.setattr(transfer._Media, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        session(server).get(Request(platform="youtube", video_id="asked"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folder_with_something_in_it_is_left_alone(server: Scripted, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(ValueError, match="not empty"):
        session(server).get(Request(platform="youtube", video_id="asked"), tmp_path)
    assert (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("said", "low_s", "high_s"),
    [("7", 7.0, 7.0), (+100.0, 30.0, 100.0), (-100.0, 0.0, 0.0)],
    ids=["seconds", "date", "past"],
)
def test_a_server_s_wish_to_be_asked_later_is_kept(
    server: Scripted, tmp_path: Path, said: str | float, low_s: float, high_s: float
) -> None:
    if isinstance(said, float):  # from now, which is long after these were collected
        said = formatdate(time.time() + said, usegmt=True)
    given = answer(b"no", status="429 Too Many Requests", headers={"Retry-After": said})
    error = refusal(server, given, tmp_path)
    assert error.retry_after_s is not None
    assert low_s <= error.retry_after_s <= high_s
    assert pickle.loads(pickle.dumps(error)).retry_after_s == error.retry_after_s, "it comes from a worker as it is"


@pytest.mark.parametrize("said", [None, "", "soon", "-3"])
def test_a_wish_that_cannot_be_read_is_none(server: Scripted, tmp_path: Path, said: str | None) -> None:
    headers = {} if said is None else {"Retry-After": said}
    given = answer(b"no", status="429 Too Many Requests", headers=headers)
    assert refusal(server, given, tmp_path).retry_after_s is None
