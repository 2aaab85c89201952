"""What a chat server's response means: an answer, a refusal of this clip, a wrong setting, or "ask again"."""

import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from captioning.captioner import one_line, unended
from curation.errors import ArgumentError, ClipError, Code

if TYPE_CHECKING:
    import aiohttp

LARGEST_ANSWER_BYTES = 1 << 20
"""Source: ours; a thousand times a long caption."""

LONGEST_WAIT_S = 3600.0
"""A server that asks for a longer pause is asked again after this. Source: ours."""

BUSY = (408, 409, 425, 429)
"""Statuses that ask for another try, beside 500 and above. Source: RFC 9110, RFC 6585, RFC 8470."""


class AgainError(Exception):
    """The server cannot answer now.

    Args:
        why: What it said.
        after_s: When it wants to be asked again, s; None where it does not say.
    """

    def __init__(self, why: str, after_s: float | None) -> None:
        super().__init__(why)
        self.why = why
        self.after_s = after_s


class RefusedError(Exception):
    """The server refuses this question and will refuse it again."""


async def read_answer(response: "aiohttp.ClientResponse", model: str, secret: str | None = None) -> str:
    """The text of an answer.

    Args:
        response: What the server sent.
        model: Name of the model that was asked for, for the message.
        secret: The key, which no message may repeat, whatever the server says.

    Raises:
        AgainError: The server is busy or failed, or what came is no chat completion.
        ArgumentError: It refuses the key, or knows no such model or address.
        RefusedError: It refuses this clip.
        ClipError: Its answer is none (`BAD_CAPTION`).
    """
    body = await response.content.read(LARGEST_ANSWER_BYTES + 1)
    while 0 < len(body) <= LARGEST_ANSWER_BYTES and (more := await response.content.read(LARGEST_ANSWER_BYTES)):
        body += more
    text = body.decode("utf-8", "replace")
    said = one_line((text.replace(secret, "***") if secret else text)[:300])
    if response.status in BUSY or response.status >= 500:
        raise AgainError(f"{response.status} {said}", retry_after_s(response.headers.get("Retry-After")))
    if response.status in (401, 403):
        raise ArgumentError(f"{response.url} refuses the key ({response.status} {said}); set OPENAI_API_KEY")
    if 300 <= response.status < 400:
        place = one_line(response.headers.get("Location", "nowhere"))[:200]
        raise ArgumentError(
            f"{response.url} sends on to {place} ({response.status}), where no key is taken along: give the address at "
            "which the server itself answers"
        )
    if response.status == 404:
        raise ArgumentError(f"{response.url} has no model {model!r} at this address ({response.status} {said})")
    if response.status != 200:
        raise RefusedError(f"{response.status} {said}")
    if len(body) > LARGEST_ANSWER_BYTES:
        raise ClipError(Code.BAD_CAPTION, f"the answer is longer than {LARGEST_ANSWER_BYTES} bytes: {said[:80]}")
    return answer_text(body, said)


def answer_text(body: bytes, said: str) -> str:
    """The sentence in the JSON of a chat completion.

    Args:
        body: The JSON.
        said: Its beginning, for messages.

    Raises:
        AgainError: It is no such JSON, which is no fault of the clip.
        ClipError: It holds no sentence, or one that was cut off at the bound (`BAD_CAPTION`).
    """
    try:
        choice: dict[str, Any] = json.loads(body)["choices"][0]
        text, ended = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise AgainError(f"the answer is no chat completion: {said}", None) from error
    if not isinstance(text, str):
        raise ClipError(Code.BAD_CAPTION, f"the answer holds no text but {str(text)[:80]!r}")
    if ended == "length":
        raise unended(text)
    if ended == "content_filter":
        raise ClipError(Code.BAD_CAPTION, f"the server's filter cut the answer off: {one_line(text)[:80]!r}")
    return text


def retry_after_s(header: str | None) -> float | None:
    """The pause that a `Retry-After` header asks for, s, 0 to `LONGEST_WAIT_S`; None where it says nothing usable.

    Source: RFC 9110, section 10.2.3: seconds, or a date.
    """
    if header is None:
        return None
    if header.isascii() and header.strip().isdigit():
        return min(float(header), LONGEST_WAIT_S)
    try:
        date = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:
        return None
    return min(max((date - datetime.now(UTC)).total_seconds(), 0.0), LONGEST_WAIT_S)
