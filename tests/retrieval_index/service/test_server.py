"""A real server on a loopback port: clients that are slow, many, or gone do not disturb the others; it ends cleanly."""

import asyncio
import http.client
import json
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from curation.errors import ArgumentError
from curation.keys import file_sha256
from retrieval_index.service.server import address_of, listening
from tests.retrieval_index.service.listening import serving
from tests.retrieval_index.service.served import make_dataset, wav
from tests.retrieval_index.tones import RATE_HZ
from tests.retrieval_index.toy_embedder import tone

pytestmark = pytest.mark.slow

BOUNDS = "connections=24, requests=8, header_s=0.6, body_s=0.8, send_s=2, upload_bytes=400_000"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("server") / "dataset").path


@pytest.fixture(scope="module")
def address(dataset: Path) -> Iterator[str]:
    with serving(dataset, BOUNDS) as (found, _):
        yield found


def port_of(address: str) -> int:
    port = urlsplit(address).port
    assert port is not None
    return port


def connected(address: str) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port_of(address)), timeout=10)
    made.settimeout(10)
    return made


def rest(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    got = b""
    try:
        while piece := connection.recv(65_536):
            got += piece
    except ConnectionResetError:
        pass
    return got


def ask(address: str, text: str = "440") -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(address), timeout=20)
    try:
        connection.request("POST", "/api/search", json.dumps({"text": text}), {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_it_answers(address: str) -> None:
    status, answer = ask(address)
    assert status == 200 and len(answer["hits"]) == 4  # type: ignore[arg-type]


def test_a_slow_head_is_ended_and_a_slow_body_is_told(address: str) -> None:
    with connected(address) as connection:
        begun = time.monotonic()
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
        assert rest(connection) == b"" and 0.3 < time.monotonic() - begun < 3
    with connected(address) as connection:
        assert rest(connection) == b"", "nothing was sent at all"
    with connected(address) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        got = b""
        while b"ok" not in got:
            got += connection.recv(4_096)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHo")
        assert rest(connection) == b"", "a second request must not be slower than a first"
    for path, kind in (("/api/search", b"application/json"), ("/api/search/sound", b"audio/wav")):
        with connected(address) as connection:
            head = b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %b\r\nContent-Length: 90\r\n\r\n{"
            connection.sendall(head % (path.encode(), kind))
            assert b"408 Request Timeout" in rest(connection)
    assert ask(address)[0] == 200


def test_half_a_body_and_a_client_that_is_gone(address: str) -> None:
    for _ in range(10):
        with connected(address) as connection:
            connection.sendall(b"POST /api/search/sound HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 999\r\n\r\nRIFF")
    until = time.monotonic() + 2
    while ask(address)[0] == 503:
        assert time.monotonic() < until, "who is gone takes no room"
        time.sleep(0.05)
    assert ask(address)[0] == 200


def test_what_is_announced_as_too_large_is_refused_before_it_comes(address: str) -> None:
    with connected(address) as connection:
        connection.sendall(b"POST /api/search/sound HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 400001\r\n\r\n")
        assert b"413 " in connection.recv(4_096)
    for length in (b"-1", b"1e9", b"99999999999999999999999"):
        with connected(address) as connection:
            connection.sendall(b"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %b\r\n\r\n" % length)
            assert connection.recv(4_096)[9:12] in (b"400", b"413")


def test_nonsense_and_huge_heads_are_refused(address: str) -> None:
    for head in (b"\x16\x03\x01\x02\x00nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 40_000):
        with connected(address) as connection:
            connection.sendall(head)
            assert rest(connection)[9:12] in (b"400", b"431")
    for path in (
        b"/../../etc/passwd",
        b"/%2e%2e/%2e%2e/etc/passwd",
        b"/page.css/../../service/app.py",
        b"//etc/passwd",
    ):
        with connected(address) as connection:
            connection.sendall(b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" % path)
            answer = rest(connection)
            assert b" 404 " in answer and b"root:" not in answer


def test_a_hundred_at_once_get_an_answer_or_are_told_to_come_again(address: str) -> None:
    seen: Counter[int] = Counter()

    async def one() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(address))
        body = b'{"text": "440"}'
        writer.write(
            b"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        status = int(answer[9:12])
        if status != 200:
            assert b"retry-after: 1" in answer.lower() and b'"BUSY"' in answer
        return status

    async def all_of_them() -> None:
        seen.update(await asyncio.gather(*(one() for _ in range(100))))

    asyncio.run(all_of_them())
    assert set(seen) <= {200, 503} and seen[200] >= 8 and seen.total() == 100
    assert ask(address)[0] == 200


def test_connections_that_are_too_many_disturb_no_other(address: str) -> None:
    """At ten times the limit those that came first go on; the excess is told to come again, and counted."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(address), timeout=20)

    def answered(path: str) -> bytes:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read()

    answered("/healthz")
    crowd = []
    for _ in range(240):
        one = connected(address)
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        crowd.append(one)
    assert all(answered("/api/search?text=440") for _ in range(100))
    statuses = Counter(one.recv(4_096)[9:12] for one in crowd)
    assert statuses[b"200"] <= 24 and statuses[b"503"] >= 200
    for one in crowd:
        one.close()
    counted = re.search(rb"foundsound_connections_refused_total (\d+)", answered("/metrics"))
    assert counted is not None and int(counted[1]) >= statuses[b"503"]
    connection.close()


def test_a_client_that_does_not_listen_is_cut_off(dataset: Path) -> None:
    with serving(dataset, "send_s=0.5") as (found, _):
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            connection.connect(("127.0.0.1", port_of(found)))
            ask_often = b"GET /page.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 400
            connection.settimeout(10)
            with pytest.raises((ConnectionError, TimeoutError)):
                for _ in range(500):
                    connection.sendall(ask_often)
                    time.sleep(0.01)
        assert ask(found)[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_being_answered_is_answered_before_the_end(dataset: Path, number: signal.Signals) -> None:
    with serving(dataset) as (found, process):
        body = wav(tone(880, 50, RATE_HZ))
        answers: list[int] = []

        def upload() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port_of(found), timeout=30)
            connection.putrequest("POST", "/api/search/sound")
            connection.putheader("content-length", str(len(body)))
            connection.endheaders()
            connection.send(body[: len(body) // 2])
            time.sleep(0.6)
            connection.send(body[len(body) // 2 :])
            answers.append(connection.getresponse().status)

        asking = threading.Thread(target=upload)
        asking.start()
        time.sleep(0.3)
        process.send_signal(number)
        asking.join()
        assert answers == [200]
        out, problems = process.communicate(timeout=20)
        if number == signal.SIGTERM:
            assert process.returncode == 0 and out == "ended 1\n", problems
        else:
            assert "KeyboardInterrupt" in problems, "Ctrl-C is told to who called"
        with pytest.raises(ConnectionRefusedError):
            connected(found)


def test_a_killed_service_leaves_the_dataset_as_it_was(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset").path

    def files() -> dict[str, str]:
        return {str(path): file_sha256(path) for path in dataset.rglob("*") if path.is_file()}

    before = files()
    with serving(dataset) as (found, process), connected(found) as uploading:
        head = b"POST /api/search/sound HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 90000\r\n\r\n"
        uploading.sendall(head + wav(tone(880, 5, RATE_HZ)))
        assert ask(found)[0] == 200
        connection = http.client.HTTPConnection("127.0.0.1", port_of(found))
        chosen = json.dumps({"name": "../x", "clip_ids": ["x"]})
        connection.request("POST", "/api/selections", chosen, {"content-type": "application/json"})
        process.kill()
        process.wait(timeout=20)
        connection.close()
    assert files() == before
    with serving(dataset) as (found, _):
        assert ask(found)[0] == 200


def test_a_port_that_is_taken_is_said() -> None:
    with listening("127.0.0.1", 0) as bound:
        bound.listen()
        assert address_of(bound) == f"http://127.0.0.1:{bound.getsockname()[1]}/"
        with pytest.raises(ArgumentError, match=r"cannot listen on 127\.0\.0\.1 port"):
            listening("127.0.0.1", bound.getsockname()[1])
    with pytest.raises(ArgumentError, match=r"cannot listen on 203\.0\.113\.1"):
        listening("203.0.113.1", 0)
