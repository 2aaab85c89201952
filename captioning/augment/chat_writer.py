"""The writer behind a server: the chat protocol as `captioning/server` speaks it, with text alone."""

import dataclasses
import json
from collections.abc import Sequence
from functools import partial

from captioning.augment.text_model import unquoted
from captioning.captioner import CaptionerIdentity, Question, Sound
from captioning.prompt import Prompt
from captioning.server.chat_server import ChatCaptioner, ChatServer
from curation.errors import ClipError

NAME = "chat-writer"
VERSION = 2
"""2: as of `chat_server`."""


def identity_of(server: ChatServer) -> CaptionerIdentity:
    """The server's identity as one that does not listen."""
    return dataclasses.replace(
        server.identity(), name=NAME, version=VERSION, sample_rate_hz=None, window_s=None, sees=None
    )


class ChatWriter(ChatCaptioner):
    """Asks a server for captions from facts, side by side; pauses, tries and patience are those of `ChatCaptioner`.

    Args:
        server: Which server.
    """

    def __init__(self, server: ChatServer) -> None:
        super().__init__(server)
        self._server = server

    def identity(self) -> CaptionerIdentity:
        """What decides its sentences."""
        return identity_of(self._server)

    def ask(self, questions: Sequence[Question], prompt: Prompt) -> None:
        """Ask about every clip; see `ChatCaptioner.ask`. The labels of a clip are its facts, a line each."""
        super().ask([dataclasses.replace(one, tell=partial(_tell, one)) for one in questions], prompt)

    def _body(self, sound: Sound, prompt: Prompt, draw: int) -> bytes:
        """The question as JSON, without a sound.

        Raises:
            ClipError: Nothing is known of the clip (`NO_LABEL`).
        """
        body = {
            "model": self._server.model,
            "messages": [{"role": "user", "content": prompt.filled(sound.labels)}],
            "max_tokens": self._server.decoding.max_new_tokens,
            **self._choice(draw),
        }
        return json.dumps(body).encode()


def _tell(question: Question, draw: int, answer: str | ClipError, sound: Sound | None) -> None:
    question.tell(draw, unquoted(answer), sound)
