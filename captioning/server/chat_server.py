"""The captioner `chat-server`: any server that speaks OpenAI's chat protocol, be it vLLM, SGLang or a hosted one.

One line starts such a server on a GPU machine:

    vllm serve Qwen/Qwen2-Audio-7B-Instruct --port 8000

Questions run side by side, up to a bound. A server that is busy, starting or gone is waited for; only what it says of
one clip sets that clip aside. Which weights answer, the server alone knows: the provenance has only the model's name.

Source of the protocol: OpenAI's chat completions with `input_audio` parts, as vLLM's multimodal server reads them.
"""

import asyncio
import base64
import io
import json
import os
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import aiohttp
import numpy as np
import soundfile

from captioning.captioner import CaptionerIdentity, Sound, checked_answer
from captioning.decoding import Decoding
from captioning.prompt import Prompt
from captioning.server.server_answer import LARGEST_ANSWER_BYTES, AgainError, read_answer
from curation.errors import ArgumentError, ClipError, Code, StoppedError

NAME = "chat-server"
VERSION = 1
KEY_VARIABLE = "OPENAI_API_KEY"
"""Environment variable with the server's key; it is sent with every question and written nowhere."""

SAMPLE_RATE_HZ = 16_000
WINDOW_S = 30.0
"""What is sent of a clip. Source: the window of Qwen2-Audio, the shortest of the models served."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Pauses before asking again double from the first to the longest, unless the server names one. Source: ours."""

TRIES = 5
"""How often a clip is asked about while the server answers others. Source: ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatServer:
    """Where the model is served, and how it is asked.

    Args:
        url: Address up to the version, as `http://127.0.0.1:8000/v1`.
        model: Name under which the server knows the model.
        concurrency: Questions under way at once.
        timeout_s: Longest time for one answer, s.
        patience_s: So long a server that answers nothing is waited for, s.
        decoding: Bound of the answers, of which a longer one is no caption, and how further ones are drawn; `top_k` is
            not in the protocol and left to the server.
    """

    url: str
    model: str
    concurrency: int = 16
    timeout_s: float = 120.0
    patience_s: float = 900.0
    decoding: Decoding = field(default_factory=Decoding)

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")) or "@" in self.url:
            raise ArgumentError(f"{self.url!r} is no http(s) address without user and password")
        if self.concurrency < 1 or self.timeout_s <= 0 or self.patience_s < 0:
            raise ArgumentError(f"a bound of {self} is out of range")

    @classmethod
    def at(cls, address: str, *, concurrency: int, decoding: Decoding | None = None) -> Self:
        """The server at an address, with the model named after `#`, or else the only one that it serves.

        Raises:
            ArgumentError: It does not answer, or serves another number of models than one.
        """
        url, _, model = address.partition("#")
        return cls(url=url, model=model or only_model(url), concurrency=concurrency, decoding=decoding or Decoding())

    def identity(self) -> CaptionerIdentity:
        """What decides the sentences, as far as one can know it from outside."""
        return CaptionerIdentity(
            name=NAME,
            version=VERSION,
            model=self.model,
            decoding={**self.decoding.as_dict(), "seed": 0},
            sample_rate_hz=SAMPLE_RATE_HZ,
            window_s=WINDOW_S,
        )


def only_model(url: str) -> str:
    """The model that a server has, where it has just one.

    Raises:
        ArgumentError: It does not answer, or has none or several; their names are in the text.
    """
    request = urllib.request.Request(f"{url.rstrip('/')}/models", headers=_headers())
    try:
        with urllib.request.urlopen(request, timeout=30.0) as response:
            names = [str(model["id"]) for model in json.loads(response.read(LARGEST_ANSWER_BYTES))["data"]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ArgumentError(f"{url} does not say which models it serves ({error}); is the server up?") from error
    if len(names) != 1:
        raise ArgumentError(f"{url} serves {', '.join(names) or 'no model'}; name one, as {url}#NAME")
    return names[0]


def _headers() -> dict[str, str]:
    key = os.environ.get(KEY_VARIABLE)
    return {"Authorization": f"Bearer {key}"} if key else {}


class ChatCaptioner:
    """Asks a server about every sound of a batch, side by side.

    Args:
        server: Which server.
    """

    def __init__(self, server: ChatServer) -> None:
        self._server = server
        self._answered_at = time.monotonic()

    def identity(self) -> CaptionerIdentity:
        """What decides its sentences."""
        return self._server.identity()

    def caption(self, sounds: Sequence[Sound], prompt: Prompt, draw: int = 0) -> list[str | ClipError]:
        """Ask the same prompt about each sound.

        Args:
            sounds: With their waves.
            prompt: What is asked.
            draw: 0 for the most likely answer; above, the seed of one that the server draws.

        Returns:
            A sentence each, or `NO_LABEL`, `BAD_CAPTION` or `NETWORK` (the server fails on this clip alone).

        Raises:
            ArgumentError: The server refuses the key, or does not have the model.
            StoppedError: It answered nothing for `patience_s`.
        """
        self._answered_at = time.monotonic()
        return asyncio.run(self._ask_all(sounds, prompt, draw))

    async def _ask_all(self, sounds: Sequence[Sound], prompt: Prompt, draw: int) -> list[str | ClipError]:
        timeout = aiohttp.ClientTimeout(total=self._server.timeout_s)
        slots = asyncio.Semaphore(self._server.concurrency)
        connector = aiohttp.TCPConnector(limit=self._server.concurrency)
        async with aiohttp.ClientSession(headers=_headers(), timeout=timeout, connector=connector) as session:
            try:
                async with asyncio.TaskGroup() as group:
                    asked = [partial(self._body, sound, prompt, draw) for sound in sounds]
                    tasks = [group.create_task(self._ask(session, slots, body)) for body in asked]
            except ExceptionGroup as errors:  # the first failure has cancelled the others
                raise errors.exceptions[0] from None
            return [task.result() for task in tasks]

    async def _ask(
        self, session: aiohttp.ClientSession, slots: asyncio.Semaphore, body: Callable[[], dict[str, Any]]
    ) -> str | ClipError:
        """One sound: asked until there is an answer, or the server fails on it while it answers others."""
        try:
            async with slots:
                question = _Question(body())
                while (answer := await self._try(session, question)) is None:
                    await asyncio.sleep(question.pause_s)
        except ClipError as error:
            return error
        return checked_answer(answer)

    async def _try(self, session: aiohttp.ClientSession, question: "_Question") -> str | None:
        """The answer; None when it is to be asked again after `question.pause_s`."""
        try:
            async with session.post(
                f"{self._server.url.rstrip('/')}/chat/completions", json=question.body, allow_redirects=False
            ) as response:
                answer = await read_answer(response, self._server.model)
            self._answered_at = time.monotonic()
            return answer
        except AgainError as error:
            question.failed(error.why, error.after_s)
        except (aiohttp.ClientError, TimeoutError) as error:
            question.failed(f"{type(error).__name__}: {error}".rstrip(": "), None)
        silent_s = time.monotonic() - self._answered_at
        if silent_s > self._server.patience_s:
            raise StoppedError(
                f"{self._server.url} answered nothing for {silent_s:.0f} s ({question.why}); see that it runs, "
                "then run the same command again"
            )
        if question.tries >= TRIES and self._answered_at > question.began_at:
            raise ClipError(Code.NETWORK, f"the server fails on this clip and answers others: {question.why}")
        return None

    def _body(self, sound: Sound, prompt: Prompt, draw: int) -> dict[str, Any]:
        if sound.wave_T is None or sound.sample_rate_hz is None:
            raise ValueError(f"clip {sound.key} comes without its sound, which {NAME} sends")
        file = io.BytesIO()
        samples = np.round(np.clip(sound.wave_T, -1.0, 1.0) * 32767).astype(np.int16)
        soundfile.write(file, samples, sound.sample_rate_hz, format="WAV", subtype="PCM_16")
        data = base64.b64encode(file.getvalue()).decode()
        content = [
            {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}},
            {"type": "text", "text": prompt.filled(sound.labels)},
        ]
        return {
            "model": self._server.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self._server.decoding.max_new_tokens,
            **self._choice(draw),
        }

    def _choice(self, draw: int) -> dict[str, Any]:
        """How the server is to choose words; the seed of a draw is the drawing's own and the draw's number."""
        drawing = self._server.decoding.drawing
        if draw == 0 or drawing is None:
            return {"temperature": 0, "seed": 0}
        return {"temperature": drawing.temperature, "top_p": drawing.top_p, "seed": 64 * drawing.seed + draw}


@dataclass(slots=True)
class _Question:
    """One clip's question and how it has fared."""

    body: dict[str, Any]
    tries: int = 0
    pause_s: float = 0.0
    why: str = ""
    began_at: float = field(default_factory=time.monotonic)

    def failed(self, why: str, after_s: float | None) -> None:
        self.tries += 1
        self.why = why
        backoff_s = min(FIRST_PAUSE_S * 2 ** (self.tries - 1), LONGEST_PAUSE_S)
        self.pause_s = backoff_s if after_s is None else after_s
