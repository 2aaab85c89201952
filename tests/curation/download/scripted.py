"""A loopback server that says exactly what a test tells it to, byte for byte."""

import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Answer = Callable[[Callable[[bytes], object]], None]
"""Writes one HTTP answer, status line and all, with the function it is given."""


def answer(
    body: bytes = b"",
    *,
    status: str = "200 OK",
    kind: str | None = "video/mp4",
    length: int | None = -1,
    headers: dict[str, str] | None = None,
) -> Answer:
    """An answer; `length` -1 announces the true length, None announces none."""
    lines = [f"HTTP/1.1 {status}", "Connection: close"]
    lines += [f"Content-Type: {kind}"] if kind else []
    lines += [f"Content-Length: {len(body) if length == -1 else length}"] if length is not None else []
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"

    def write(send: Callable[[bytes], object]) -> None:
        send(head)
        send(body)

    return write


def redirect(location: str) -> Answer:
    """A 302."""
    return answer(status="302 Found", kind=None, headers={"Location": location})


class Scripted:
    """A running server: `url`, the `requests` so far, and `answers` by path."""

    def __init__(self, host: str, port: int) -> None:
        self.url = f"http://{host}:{port}"
        self.requests: list[str] = []
        self.answers: dict[str, Answer] = {}
        self.stopping = threading.Event()


@contextmanager
def scripted(host: str = "127.0.0.1", tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Scripted]:
    """Run a scripted server, on a free port unless one is named; a path without an answer gets a 404."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            try:
                path = self.rfile.readline().split()[1].decode()
                while self.rfile.readline().strip():
                    pass
                state.requests.append(path)
                state.answers.get(path, answer(status="404 Not Found"))(self.wfile.write)
            except (OSError, IndexError):  # the client hung up
                return

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up is no error."""

    with Server((host, port), Handler) as server:
        state = Scripted(host, server.server_address[1])
        if tls is not None:
            state.url = state.url.replace("http", "https")
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield state
        finally:
            state.stopping.set()
            server.shutdown()
            thread.join()
