"""A loopback server that speaks the chat protocol and follows a script, in a thread of the test."""

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import soundfile


@dataclass(frozen=True)
class Reply:
    """What the server says: status, body and further headers."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def saying(cls, text: Any, finish_reason: str = "stop") -> "Reply":
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
        return cls(body=json.dumps({"choices": [choice]}).encode())


@dataclass
class Asked:
    """What arrived: the sound's samples, the text, the headers, the whole body."""

    samples: int
    rate_hz: int
    level: int
    text: str
    headers: dict[str, str]
    body: dict[str, Any]


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


@contextmanager
def chat_server(
    answer: Callable[[Asked, int], Reply], port: int = 0, models: tuple[str, ...] = ("made/Model",)
) -> Iterator[StandIn]:
    """Serve `answer(question, how many came before)`; the level of a question is its first sample in percent."""
    state, lock = StandIn(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.reply(Reply(body=json.dumps({"data": [{"id": name} for name in models]}).encode()))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            sound, text = body["messages"][0]["content"]
            samples, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(sound["input_audio"]["data"])))
            level = round(100 * float(samples[0]))
            question = Asked(len(samples), rate_hz, level, text["text"], dict(self.headers), body)
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
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
