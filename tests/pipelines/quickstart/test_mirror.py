import http.client
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.quickstart.mirror import Fault, Mirror, byte_span

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    (folder / "below").mkdir(parents=True)
    (folder / "clip.mp4").write_bytes(CONTENT)
    (folder / "below" / "a b.flac").write_bytes(b"flac")
    (folder / "empty.mp4").write_bytes(b"")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    os.symlink(tmp_path / "secret.txt", folder / "link.mp4")
    return folder


@pytest.fixture
def mirror(folder: Path) -> Iterator[Mirror]:
    with Mirror(folder) as mirror:
        yield mirror


def ask(
    mirror: Mirror, path: str, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(mirror.url.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def raw(mirror: Mirror, request: bytes) -> bytes:
    host, port = mirror.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_whole_file(mirror: Mirror) -> None:
    response, body = ask(mirror, "/clip.mp4?some=query")
    assert (response.status, body) == (200, CONTENT)
    assert response.headers["Content-Type"] == "video/mp4"
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["Content-Length"] == str(len(CONTENT))
    assert mirror.url.startswith("http://127.0.0.1:")


def test_names_are_decoded_and_types_follow_the_suffix(mirror: Mirror) -> None:
    response, body = ask(mirror, "/below/a%20b.flac")
    assert (response.status, body, response.headers["Content-Type"]) == (200, b"flac", "audio/flac")


def test_head_has_the_headers_and_no_body(mirror: Mirror) -> None:
    response, body = ask(mirror, "/clip.mp4", "HEAD")
    assert (response.status, body) == (200, b"")
    assert response.headers["Content-Length"] == str(len(CONTENT))


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=100-", 100, len(CONTENT)),
        ("bytes=-7", len(CONTENT) - 7, len(CONTENT)),
        ("bytes=5-99999999", 5, len(CONTENT)),
        ("bytes=-99999999", 0, len(CONTENT)),
        (f"bytes={len(CONTENT) - 1}-", len(CONTENT) - 1, len(CONTENT)),
    ],
)
def test_a_range_is_answered_with_exactly_those_bytes(mirror: Mirror, header: str, start: int, end: int) -> None:
    response, body = ask(mirror, "/clip.mp4", headers={"Range": header})
    assert (response.status, body) == (206, CONTENT[start:end])
    assert response.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"
    assert response.headers["Content-Length"] == str(end - start)


@pytest.mark.parametrize("header", [f"bytes={len(CONTENT)}-", "bytes=-0"])
def test_a_range_outside_the_file_is_refused(mirror: Mirror, header: str) -> None:
    response, _ = ask(mirror, "/clip.mp4", headers={"Range": header})
    assert response.status == 416
    assert response.headers["Content-Range"] == f"bytes */{len(CONTENT)}"


@pytest.mark.parametrize("header", ["bytes=9-0", "bytes=-", "bytes=0-1,3-4", "lines=0-1", "bytes=a-b"])
def test_a_range_that_is_not_understood_is_ignored(mirror: Mirror, header: str) -> None:
    response, body = ask(mirror, "/clip.mp4", headers={"Range": header})
    assert (response.status, body) == (200, CONTENT)
    assert byte_span(header, 10) is None


def test_an_empty_file(mirror: Mirror) -> None:
    response, body = ask(mirror, "/empty.mp4")
    assert (response.status, body, response.headers["Content-Length"]) == (200, b"", "0")


def test_one_connection_serves_many_requests(mirror: Mirror) -> None:
    connection = http.client.HTTPConnection(mirror.url.removeprefix("http://"), timeout=10)
    for path, status in (("/clip.mp4", 200), ("/none.mp4", 404), ("/clip.mp4", 200)):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert response.status == status
    connection.close()
    assert [request.path for request in mirror.requests] == ["/clip.mp4", "/none.mp4", "/clip.mp4"]


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "/below/../../secret.txt",
        "/below/..%2f..%2fsecret.txt",
        "/..%5csecret.txt",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/link.mp4",
        "/clip.mp4%00",
        "/",
        "/below",
    ],
)
def test_nothing_outside_the_folder_is_served(mirror: Mirror, path: str) -> None:
    answer = raw(mirror, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"secret" not in answer.split(b"\r\n\r\n", 1)[1]
    assert b"root:" not in answer


@pytest.mark.parametrize("status", [403, 404, 429, 500])
def test_a_status_on_demand(folder: Path, status: int) -> None:
    with Mirror(folder, faults={"/clip.mp4": Fault(status=status)}) as mirror:
        assert ask(mirror, "/clip.mp4")[0].status == status
        assert ask(mirror, "/below/a%20b.flac")[0].status == 200


def test_a_fault_that_passes(folder: Path) -> None:
    with Mirror(folder, faults={"/clip.mp4": Fault(status=429, times=2)}) as mirror:
        assert [ask(mirror, "/clip.mp4")[0].status for _ in range(4)] == [429, 429, 200, 200]


def test_a_slow_answer_and_closing_does_not_wait_for_it(folder: Path) -> None:
    with Mirror(folder, faults={"/clip.mp4": Fault(delay_s=0.3)}) as mirror:
        began = time.monotonic()
        assert ask(mirror, "/clip.mp4")[0].status == 200
        assert time.monotonic() - began >= 0.3
    began = time.monotonic()
    with Mirror(folder, faults={"/clip.mp4": Fault(delay_s=60)}) as mirror:
        connection = http.client.HTTPConnection(mirror.url.removeprefix("http://"), timeout=10)
        connection.request("GET", "/clip.mp4")
        connection.close()
    assert time.monotonic() - began < 10


def test_a_connection_that_breaks_off(folder: Path) -> None:
    with Mirror(folder, faults={"/clip.mp4": Fault(cut_after_bytes=1000)}) as mirror:
        with pytest.raises(http.client.IncompleteRead) as broken:
            ask(mirror, "/clip.mp4")
        assert broken.value.partial == CONTENT[:1000]
        assert broken.value.expected == len(CONTENT) - 1000


def test_a_page_that_poses_as_a_video(folder: Path) -> None:
    page = b"<html><video src=other.mp4></video></html>"
    with Mirror(folder, faults={"/new.mp4": Fault(body=page, media_type="text/html")}) as mirror:
        response, body = ask(mirror, "/new.mp4")
        assert (response.status, body, response.headers["Content-Type"]) == (200, page, "text/html")


def test_redirects(folder: Path) -> None:
    faults = {"/away.mp4": Fault(location="http://127.0.0.2/x.mp4"), "/loop.mp4": Fault(location="/loop.mp4")}
    with Mirror(folder, faults=faults) as mirror:
        for path, fault in faults.items():
            response, _ = ask(mirror, path)
            assert (response.status, response.headers["Location"]) == (302, fault.location)


def test_what_was_asked_is_kept(mirror: Mirror) -> None:
    ask(mirror, "/clip.mp4", headers={"Range": "bytes=0-0"})
    ask(mirror, "/clip.mp4", "HEAD")
    assert [(r.method, r.path, r.range) for r in mirror.requests] == [
        ("GET", "/clip.mp4", "bytes=0-0"),
        ("HEAD", "/clip.mp4", None),
    ]


def test_after_the_block_nobody_answers(folder: Path) -> None:
    with Mirror(folder) as mirror:
        pass
    with pytest.raises(ConnectionRefusedError):
        ask(mirror, "/clip.mp4")


@pytest.mark.parametrize(
    ("wrong", "text"),
    [({"status": 200}, "not 200"), ({"times": 0}, "not 0"), ({"delay_s": -1.0}, "-1.0")],
)
def test_a_fault_out_of_range_is_refused(wrong: dict[str, float], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Fault(**wrong)


def test_a_fault_for_a_path_that_cannot_be_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"clip\.mp4"):
        Mirror(folder, faults={"clip.mp4": Fault(status=404)})
