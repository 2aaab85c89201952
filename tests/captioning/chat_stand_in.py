"""A loopback server that speaks the chat protocol and follows a script, in a thread of the test."""

import base64
import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import soundfile


@dataclass(frozen=True)
class Reply:
    """What the server says: status, body and further headers; or how it fails to."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    fault: Literal["reset", "truncated"] | None = None

    @classmethod
    def saying(cls, text: Any, finish_reason: str = "stop", **others: Any) -> "Reply":
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
        return cls(body=json.dumps({"choices": [choice]}).encode(), **others)


@dataclass
class Asked:
    """What arrived: the sound's samples, the text, the file of the picture, the headers, the whole body."""

    samples: int
    rate_hz: int
    level: int
    text: str
    headers: dict[str, str]
    body: dict[str, Any]
    mp4: bytes = b""


@dataclass
class StandIn:
    """A running server: where it is, what it was asked, and how many questions were under way at most."""

    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


@contextlib.contextmanager
def chat_server(
    answer: Callable[[Asked, int], Reply], port: int = 0, models: tuple[str, ...] = ("made/Model",)
) -> Iterator[StandIn]:
    """Serve `answer(question, how many came before)`; the level of a question is its first sample in percent."""
    state, lock = StandIn(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # a body after its head would wait 40 ms for the acknowledgement

        def do_GET(self) -> None:
            self.reply(Reply(body=json.dumps({"data": [{"id": name} for name in models]}).encode()))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            parts = {part["type"]: part[part["type"]] for part in body["messages"][0]["content"]}
            samples, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(parts["input_audio"]["data"])))
            url = parts.get("video_url", {}).get("url", "")
            assert url.startswith("data:video/mp4;base64,") or not url
            level = round(100 * float(samples[0]))
            mp4 = base64.b64decode(url.partition(",")[2])
            question = Asked(len(samples), rate_hz, level, parts.get("text", ""), dict(self.headers), body, mp4)
            with lock:
                before = len(state.asked)
                state.asked.append(question)
                state.under_way += 1
                state.most_under_way = max(state.most_under_way, state.under_way)
            try:
                reply = answer(question, before)
            finally:
                with lock:
                    state.under_way -= 1
            self.reply(reply)

        def reply(self, reply: Reply) -> None:
            if reply.fault == "reset":
                self.close_connection = True
                return
            with contextlib.suppress(ConnectionError):  # whoever asked has gone
                self.send(reply)

        def send(self, reply: Reply) -> None:
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.close_connection = reply.fault == "truncated"
            self.wfile.write(reply.body[: len(reply.body) // 2] if reply.fault == "truncated" else reply.body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.handle_error = lambda request, client_address: None  # whoever asked was killed
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
