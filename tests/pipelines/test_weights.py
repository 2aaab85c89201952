"""Published weights from a loopback server: fetched once, checked, continued where they broke off."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from curation.errors import ArgumentError, StoppedError
from pipelines import weights
from pipelines.weights import PUBLISHED, PublishedWeights, cache_folder, fetch_file, published_weights

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """Serves CONTENT; how, is decided by the test."""

    address: str = ""
    ranges: bool = True
    cut_after: int | None = None
    asked: list[str | None] = field(default_factory=list)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.asked.append(asked)
        if request.path == "/gone.pt":
            request.send_error(404)
            return
        begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges else 0
        if begin >= len(CONTENT):
            request.send_error(416)
            return
        request.send_response(206 if begin else 200)
        if begin:
            request.send_header("Content-Range", f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}")
        request.send_header("Content-Length", str(len(CONTENT) - begin))
        request.end_headers()
        request.wfile.write(CONTENT[begin:] if self.cut_after is None else CONTENT[begin : begin + self.cut_after])


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.address = f"http://127.0.0.1:{http.server_port}"
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def test_a_file_is_fetched_once(server: Server, tmp_path: Path) -> None:
    path = fetch_file(f"{server.address}/a/net.pt", sha256=SHA256, folder=tmp_path / "weights")
    assert path == tmp_path / "weights" / f"{SHA256[:12]}-net.pt"
    assert path.read_bytes() == CONTENT
    assert fetch_file(f"{server.address}/a/net.pt", sha256=SHA256, folder=tmp_path / "weights") == path
    assert server.asked == [None]


def test_a_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    other = "0" * 64
    with pytest.raises(StoppedError, match=f"sha256 {SHA256}, not {other}"):
        fetch_file(f"{server.address}/net.pt", sha256=other, folder=tmp_path)
    assert left_in(tmp_path) == set()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.cut_after, server.ranges = 100_000, ranges
    with pytest.raises(StoppedError, match="run the same command again"):
        fetch_file(f"{server.address}/net.pt", sha256=SHA256, folder=tmp_path)
    assert left_in(tmp_path) == {f"{SHA256[:12]}-net.pt.part"}
    server.cut_after = None
    path = fetch_file(f"{server.address}/net.pt", sha256=SHA256, folder=tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-"]
    assert left_in(tmp_path) == {path.name}


def test_what_is_longer_than_the_file_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{SHA256[:12]}-net.pt.part").write_bytes(CONTENT + b"more")
    assert fetch_file(f"{server.address}/net.pt", sha256=SHA256, folder=tmp_path).read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT) + 4}-", None]


def test_a_missing_file_and_no_server_are_said(server: Server, tmp_path: Path) -> None:
    with pytest.raises(StoppedError, match=r"gone\.pt could not be fetched .*404"):
        fetch_file(f"{server.address}/gone.pt", sha256=SHA256, folder=tmp_path)
    with pytest.raises(StoppedError, match="could not be fetched"):
        fetch_file("http://127.0.0.1:9/net.pt", sha256=SHA256, folder=tmp_path)


def test_too_large_a_file_is_refused(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MAX_BYTES", len(CONTENT) - 1)
    with pytest.raises(StoppedError, match=f"{len(CONTENT)} bytes are more"):
        fetch_file(f"{server.address}/net.pt", sha256=SHA256, folder=tmp_path)
    monkeypatch.setattr(weights, "MAX_BYTES", len(CONTENT))
    assert fetch_file(f"{server.address}/net.pt", sha256=SHA256, folder=tmp_path).is_file()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/net.pt", "http:///net.pt"])
def test_only_web_addresses_are_read(url: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="no http"):
        fetch_file(url, sha256=SHA256, folder=tmp_path)


def test_a_name_may_not_leave_the_folder(server: Server, tmp_path: Path) -> None:
    for name in ("", "..%2f..%2fup", ".hidden"):
        with pytest.raises(ArgumentError, match="cannot name a file of weights"):
            fetch_file(f"{server.address}/{name}", sha256=SHA256, folder=tmp_path)
    with pytest.raises(ArgumentError, match="64 hex digits"):
        fetch_file(f"{server.address}/net.pt", sha256="abc", folder=tmp_path)


def test_names_have_a_checksum_or_ask_for_one(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSOUND_CACHE", str(tmp_path))
    for name, sha256 in (("mn04", SHA256), ("mn10", None)):
        url = f"{server.address}/{name}.pt"
        monkeypatch.setitem(PUBLISHED, name, PublishedWeights(url=url, licence="MIT", sha256=sha256))
    assert published_weights("mn04").parent == tmp_path / "weights"
    with pytest.raises(ArgumentError, match=r"mn10 is not known here: give it with --sha256"):
        published_weights("mn10")
    assert published_weights("mn10", sha256=SHA256.upper()).read_bytes() == CONTENT
    with pytest.raises(ArgumentError, match="is not that of mn04"):
        published_weights("mn04", sha256="0" * 64)
    with pytest.raises(ArgumentError, match="give one of mn04, mn10, or a path"):
        published_weights("mn05")


def test_the_cache_is_in_the_home_folder_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FOUNDSOUND_CACHE", raising=False)
    assert cache_folder() == Path.home() / ".cache" / "foundsound"
    monkeypatch.setenv("FOUNDSOUND_CACHE", "/elsewhere")
    assert cache_folder() == Path("/elsewhere")


def test_what_is_published_is_named_in_full() -> None:
    for name, published in PUBLISHED.items():
        assert published.url.startswith("https://") and published.licence
        assert published.sha256 is None or weights.SHA256.fullmatch(published.sha256), name


@pytest.mark.real
def test_the_checksum_of_mn04_is_that_of_the_real_file(real_data: Path) -> None:
    (file,) = (real_data / "weights" / "efficientat_mn04").glob("*.pt")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == PUBLISHED["mn04"].sha256
