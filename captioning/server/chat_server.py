"""The captioner `chat-server`: any server that speaks OpenAI's chat protocol, be it vLLM, SGLang or a hosted one.

One line starts such a server on a GPU machine, in an environment of its own:

    vllm serve Qwen/Qwen2-Audio-7B-Instruct --port 8000
    python -m sglang.launch_server --model-path Qwen/Qwen3-Omni-30B-A3B-Instruct --port 8000

Questions run side by side, up to a bound. A server that is busy, starting or gone is waited for; only what it says of
one clip sets that clip aside. Which weights answer, the server alone knows: the provenance has only the model's name.

Source of the protocol: OpenAI's chat completions with `input_audio` parts, and `video_url` parts as vLLM and SGLang
have them.
"""

import asyncio
import base64
import io
import json
import os
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, Self

import aiohttp
import numpy as np
import soundfile

from captioning.captioner import CaptionerIdentity, Question, Sound, checked_answer
from captioning.decoding import Decoding
from captioning.prompt import Prompt
from captioning.server.server_answer import LARGEST_ANSWER_BYTES, AgainError, RefusedError, read_answer
from curation.errors import ArgumentError, ClipError, Code, StoppedError

NAME = "chat-server"
VERSION = 2
"""2: what a model thought before its answer is none of it; control characters are not kept."""
KEY_VARIABLE = "OPENAI_API_KEY"
"""Environment variable with the server's key; it is sent with every question and written nowhere."""

SAMPLE_RATE_HZ = 16_000
WINDOW_S = 30.0
"""What is sent of a clip. Source: the window of Qwen2-Audio, the shortest of the models served."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Pauses before asking again double from the first to the longest, unless the server names one. Source: ours."""

TRIES = 5
"""How often a clip is asked about while the server answers others. Source: ours."""

REFUSALS = 8
"""A server that refuses so many clips and has answered about none is asked wrongly. Source: ours."""

SILENT_S, NOTICE_EVERY_S = 5.0, 60.0
"""After so long that a server is waited for is said, and so often at most. Source: ours."""

READ_AHEAD = 8
"""Clips that are read while all questions are under way. Source: ours."""


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
        sees: Whether the file of the picture is sent beside the sound.
    """

    url: str
    model: str
    concurrency: int = 16
    timeout_s: float = 120.0
    patience_s: float = 900.0
    decoding: Decoding = field(default_factory=Decoding)
    sees: bool = False

    def __post_init__(self) -> None:
        check_address(self.url)
        if self.concurrency < 1 or self.timeout_s <= 0 or self.patience_s < 0:
            raise ArgumentError(f"a bound of {self} is out of range")

    @classmethod
    def at(cls, address: str, *, concurrency: int, decoding: Decoding | None = None, sees: bool = False) -> Self:
        """The server at an address, with the model named after `#`, or else the only one that it serves.

        Raises:
            ArgumentError: It does not answer, or serves another number of models than one.
        """
        url, _, model = address.partition("#")
        check_address(url)
        return cls(
            url=url,
            model=model or only_model(url),
            concurrency=concurrency,
            decoding=decoding or Decoding(),
            sees=sees,
        )

    def identity(self) -> CaptionerIdentity:
        """What decides the sentences, as far as one can know it from outside."""
        return CaptionerIdentity(
            name=NAME,
            version=VERSION,
            model=self.model,
            decoding={**self.decoding.as_dict(), "seed": 0},
            sample_rate_hz=SAMPLE_RATE_HZ,
            window_s=WINDOW_S,
            sees="file" if self.sees else None,
        )


def check_address(url: str) -> None:
    """Refuse what is no address of a server; a password in one is not repeated.

    Raises:
        ArgumentError: It is none.
    """
    if "@" in url:
        raise ArgumentError(
            f"an address of a server holds no user and password (@); the key is taken from {KEY_VARIABLE}"
        )
    if not url.startswith(("http://", "https://")):
        raise ArgumentError(f"{url!r} is no http(s) address")


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows a server nowhere else, since the key would go along; that it sends on is then an error."""

    def redirect_request(self, *_: object) -> None:
        return None


def only_model(url: str) -> str:
    """The model that a server has, where it has just one.

    Raises:
        ArgumentError: It does not answer, or has none or several; their names are in the text.
    """
    request = urllib.request.Request(f"{url.rstrip('/')}/models", headers=_headers())
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=30.0) as response:
            names = [str(model["id"]) for model in json.loads(response.read(LARGEST_ANSWER_BYTES))["data"]]
    except (OSError, HTTPException, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ArgumentError(f"{url} does not say which models it serves ({error}); is the server up?") from error
    if len(names) != 1:
        raise ArgumentError(f"{url} serves {', '.join(names) or 'no model'}; name one, as {url}#NAME")
    return names[0]


def _headers() -> dict[str, str]:
    key = os.environ.get(KEY_VARIABLE)
    return {"Authorization": f"Bearer {key}"} if key else {}


class ChatCaptioner:
    """Asks a server about many sounds, side by side.

    Args:
        server: Which server.
    """

    def __init__(self, server: ChatServer) -> None:
        self._server = server
        self._answered_at = time.monotonic()
        self._quiet_until = 0.0
        self._good: bytes | None = None
        self._refused = 0
        self._noticed_at = float("-inf")

    def identity(self) -> CaptionerIdentity:
        """What decides its sentences."""
        return self._server.identity()

    def caption(self, sounds: Sequence[Sound], prompt: Prompt, draw: int = 0) -> list[str | ClipError]:
        """Ask the same prompt about each sound.

        Args:
            sounds: With their waves, and with their files for a server that is to see them.
            prompt: What is asked.
            draw: 0 for the most likely answer; above, the seed of one that the server draws.

        Returns:
            A sentence each, or `NO_LABEL`, `BAD_CAPTION` or `NETWORK` (the server fails on this clip alone).

        Raises:
            ArgumentError: The server refuses the key or every clip, or does not have the model.
            StoppedError: It answered nothing for `patience_s`.
        """
        answers: dict[int, str | ClipError] = {}

        def question(place: int, sound: Sound) -> Question:
            def tell(draw: int, answer: str | ClipError, sound: Sound | None) -> None:
                answers[place] = answer

            return Question(load=lambda: sound, draws=(draw,), tell=tell)

        self.ask([question(place, sound) for place, sound in enumerate(sounds)], prompt)
        return [answers[place] for place in range(len(sounds))]

    def ask(self, questions: Sequence[Question], prompt: Prompt) -> None:
        """Ask about every clip, as many at once as the server's bound says; each is read shortly before.

        Raises:
            ArgumentError: The server refuses the key or every clip, or does not have the model.
            StoppedError: It answered nothing for `patience_s`.
        """
        self._answered_at = time.monotonic()
        asyncio.run(self._ask_all(questions, prompt))
        if self._good is None and self._refused:
            self._notice(
                f"refused all {self._refused} clips that it was asked about; where that was a setting of the server, "
                f"mend it and run `foundsound retry DATASET --stage caption --code BAD_CAPTION`"
            )

    async def _ask_all(self, questions: Sequence[Question], prompt: Prompt) -> None:
        timeout = aiohttp.ClientTimeout(total=self._server.timeout_s)
        room = asyncio.Semaphore(self._server.concurrency + READ_AHEAD)
        slots = asyncio.Semaphore(self._server.concurrency)
        connector = aiohttp.TCPConnector(limit=self._server.concurrency)
        async with aiohttp.ClientSession(headers=_headers(), timeout=timeout, connector=connector) as session:

            async def ask(question: Question) -> None:
                async with room:
                    sound = await asyncio.to_thread(question.load)
                    for draw in question.draws:
                        if isinstance(sound, ClipError):
                            question.tell(draw, sound, None)
                        else:
                            await self._ask(session, slots, question, _Asked(draw, sound), prompt)

            try:
                async with asyncio.TaskGroup() as group:
                    for question in questions:
                        group.create_task(ask(question))
            except ExceptionGroup as errors:  # the first failure has cancelled the others
                raise errors.exceptions[0] from None

    async def _ask(
        self,
        session: aiohttp.ClientSession,
        slots: asyncio.Semaphore,
        question: Question,
        asked: "_Asked",
        prompt: Prompt,
    ) -> None:
        """One clip: asked until there is an answer, or the server fails on it while it answers others."""
        try:
            body = await asyncio.to_thread(self._body, asked.sound, prompt, asked.draw)
            while True:
                async with slots:
                    answer = await self._try(session, asked, body)
                if answer is not None:  # told before anything is awaited: what was paid for is not cancelled
                    question.tell(asked.draw, answer, asked.sound)
                    return
                await self._give_up(session, asked)
                await asyncio.sleep(asked.pause_s)  # meanwhile others are asked
        except ClipError as error:
            question.tell(asked.draw, error, asked.sound)

    async def _try(self, session: aiohttp.ClientSession, asked: "_Asked", body: bytes) -> str | ClipError | None:
        """The answer; None when it is to be asked again after the pause of `asked`."""
        while (quiet_s := self._quiet_until - time.monotonic()) > 0:  # the server asked everybody to wait
            await asyncio.sleep(quiet_s)
        try:
            answer: str | ClipError = checked_answer(await self._post(session, body))
        except ClipError as error:
            answer = error
        except RefusedError as error:
            self._answered_at = time.monotonic()
            return self._refused_clip(str(error))
        except AgainError as error:
            asked.failed(error.why, error.after_s, self._answered_at)
            if error.after_s is not None:
                self._quiet_until = max(self._quiet_until, time.monotonic() + error.after_s)
            return None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            asked.failed(f"{type(error).__name__}: {error}".rstrip(": "), None, self._answered_at)
            return None
        self._good, self._answered_at = body, time.monotonic()
        return answer

    async def _post(self, session: aiohttp.ClientSession, body: bytes) -> str:
        async with session.post(
            f"{self._server.url.rstrip('/')}/chat/completions",
            data=body,
            headers={"Content-Type": "application/json"},
            allow_redirects=False,
        ) as response:
            return await read_answer(response, self._server.model, os.environ.get(KEY_VARIABLE))

    def _refused_clip(self, why: str) -> ClipError:
        self._refused += 1
        if self._good is None and self._refused >= REFUSALS:
            raise ArgumentError(
                f"{self._server.url} refuses every clip ({why}); see that {self._server.model} listens"
                f"{' and sees' if self._server.sees else ''}, and that the server lets it"
            )
        return ClipError(Code.BAD_CAPTION, f"the server refuses the clip: {why}")

    async def _give_up(self, session: aiohttp.ClientSession, asked: "_Asked") -> None:
        """Stop asking about a clip, or at all, where it has become hopeless."""
        silent_s = time.monotonic() - self._answered_at
        is_long = silent_s + asked.pause_s >= SILENT_S
        if is_long and time.monotonic() - self._noticed_at >= NOTICE_EVERY_S:
            self._noticed_at = time.monotonic()
            self._notice(f"is waited for: {asked.why}; it is asked again in {asked.pause_s:.0f} s")
        if silent_s > self._server.patience_s:
            raise StoppedError(
                f"{self._server.url} answered nothing for {silent_s:.0f} s ({asked.why}); see that it runs, "
                "then run the same command again"
            )
        if asked.alone >= TRIES or (asked.tries >= TRIES and await self._still_answers(session)):
            raise ClipError(Code.NETWORK, f"the server fails on this clip and answers others: {asked.why}")

    def _notice(self, text: str) -> None:
        """Tell whoever waits why nothing moves; of workers of a cluster it reaches only their logs."""
        print(f"{self._server.url} {text}", file=sys.stderr, flush=True)

    async def _still_answers(self, session: aiohttp.ClientSession) -> bool:
        """Whether the server answers a question again that it has answered before; else it is not this clip's fault.

        Where no other clip is left to ask about, nothing else tells a bad clip from a server that is gone.
        """
        if self._good is None:
            return False
        try:
            await self._post(session, self._good)
        except ClipError:
            return True
        except (AgainError, RefusedError, aiohttp.ClientError, OSError, TimeoutError):
            return False
        return True

    def _body(self, sound: Sound, prompt: Prompt, draw: int) -> bytes:
        """The question as JSON.

        Raises:
            ClipError: The prompt wants a label, and there is none (`NO_LABEL`).
        """
        if sound.wave_T is None or sound.sample_rate_hz is None or (sound.mp4 is None) == self._server.sees:
            raise ValueError(f"clip {sound.key} comes without what {NAME} sends, or with more")
        file = io.BytesIO()
        samples = np.round(np.clip(sound.wave_T, -1.0, 1.0) * 32767).astype(np.int16)
        soundfile.write(file, samples, sound.sample_rate_hz, format="WAV", subtype="PCM_16")
        data = base64.b64encode(file.getvalue()).decode()
        content: list[dict[str, Any]] = [{"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}]
        if sound.mp4 is not None:
            url = f"data:video/mp4;base64,{base64.b64encode(sound.mp4).decode()}"
            content.insert(0, {"type": "video_url", "video_url": {"url": url}})
        if text := prompt.filled(sound.labels):
            content.append({"type": "text", "text": text})
        body = {
            "model": self._server.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self._server.decoding.max_new_tokens,
            **self._choice(draw),
        }
        return json.dumps(body).encode()

    def _choice(self, draw: int) -> dict[str, Any]:
        """How the server is to choose words; the seed of a draw is the drawing's own and the draw's number."""
        drawing = self._server.decoding.drawing
        if draw == 0 or drawing is None:
            return {"temperature": 0, "seed": 0}
        return {"temperature": drawing.temperature, "top_p": drawing.top_p, "seed": 64 * drawing.seed + draw}


@dataclass(slots=True)
class _Asked:
    """One question about a clip, and how it has fared."""

    draw: int
    sound: Sound
    tries: int = 0
    alone: int = 0
    """Failures between which the server answered others."""
    pause_s: float = 0.0
    why: str = ""
    failed_at: float = field(default_factory=time.monotonic)

    def failed(self, why: str, after_s: float | None, answered_at: float) -> None:
        self.tries += 1
        self.alone += answered_at > self.failed_at
        self.why, self.failed_at = why, time.monotonic()
        backoff_s = min(FIRST_PAUSE_S * 2 ** min(self.tries - 1, 30), LONGEST_PAUSE_S)
        self.pause_s = backoff_s if after_s is None else after_s
