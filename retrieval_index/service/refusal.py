"""What the service answers when it does not do what was asked: a status, a code and a sentence, as JSON.

    {"error": {"code": "TOO_LARGE", "message": "..."}}

No sentence names a path; what only the owner may read goes to the service's own log.
"""

import logging
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from curation.errors import ArgumentError, ClipError, FoundsoundError, StoppedError

LOG = logging.getLogger("foundsound.service")

RETRY_AFTER_S = 1
"""What a client is told that came when everything was taken. Source: ours; requests take well under a second."""

NAMES = {400: "BAD_REQUEST", 404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}
"""Codes of what the framework refuses by itself."""

UNREAD = frozenset({408, 413})
"""Refusals after which the rest of the body is not waited for: the connection ends."""


class Refused(HTTPException):
    """A request that is not served.

    Args:
        status: HTTP status.
        code: What it is, for programs.
        message: What was wrong, with the value, and what to do; without any path.
        retry_after_s: When it may be tried again, s; None where that would not help.
    """

    def __init__(self, status: int, code: str, message: str, *, retry_after_s: int | None = None) -> None:
        headers = {} if retry_after_s is None else {"retry-after": str(retry_after_s)}
        if status in UNREAD:
            headers["connection"] = "close"
        super().__init__(status, message, headers)
        self.code = code


def busy(what: str) -> Refused:
    """Everything is taken at the moment."""
    message = f"{what}; try again in {RETRY_AFTER_S} s"
    return Refused(503, "BUSY", message, retry_after_s=RETRY_AFTER_S)


def refusal_of(error: FoundsoundError, places: Mapping[str, str]) -> Refused:
    """What a client is told of an error of ours.

    Args:
        error: The error.
        places: Path -> what is said instead of it.
    """
    text = str(error)
    if isinstance(error, ClipError):
        return Refused(422, str(error.code), f"the file cannot be used: {error.detail}")
    if isinstance(error, ArgumentError):
        for path, word in places.items():
            text = text.replace(path, word)
        return Refused(400, "BAD_REQUEST", text)
    LOG.error("%s: %s", type(error).__name__, text)
    if isinstance(error, StoppedError):
        return Refused(503, "STOPPED", "the service cannot do that now; its log says why", retry_after_s=60)
    return Refused(500, "DATASET", "the dataset is not as it should be; the log of the service says how")


def as_json(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error as a response."""
    content: dict[str, Any] = {"error": {"code": code, "message": message}}
    return JSONResponse(content, status_code=status, headers=headers)


def as_response(error: HTTPException) -> JSONResponse:
    """A refusal, or what the framework itself refuses, as a response."""
    code = error.code if isinstance(error, Refused) else NAMES.get(error.status_code, "REFUSED")
    return as_json(error.status_code, code, str(error.detail), error.headers)
