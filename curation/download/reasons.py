"""yt-dlp's errors as codes: by exception where the type says it, else by the words of the platform.

yt-dlp raises one type for "removed", "private" and "rate-limited", so texts have to be read. The table holds what
YouTube says in English, which is the language that yt-dlp asks for. A text that is not in it is UNKNOWN, which is
tried again and keeps the text: nothing is guessed.
"""

import errno
import re
import time
from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime

from yt_dlp.networking.exceptions import HTTPError, IncompleteRead, TransportError
from yt_dlp.utils import ContentTooShortError, GeoRestrictedError

from curation.download.transfer import RefusedError
from curation.errors import ClipError, Code, StoppedError

YOUTUBE_TEXTS: tuple[tuple[str, Code], ...] = (
    (r"not a bot|captcha challenge", Code.BOT_CHECK),
    (r"rate-limited by YouTube|IP is likely being blocked|HTTP Error 429", Code.RATE_LIMITED),
    (r"not available from your location|available in your country|blocked it in your country", Code.GEO),
    (r"account associated with this video has been terminated|uploader has closed", Code.REMOVED),
    (r"copyright (claim|grounds)|blocked it (from display|on copyright)", Code.COPYRIGHT),
    (r"has been removed|removed by the uploader|isn.t available any ?more", Code.REMOVED),
    (r"private video|video is private", Code.PRIVATE),
    (r"confirm your age|age.restricted", Code.AGE),
    (r"members.only|channel's members|Music Premium members|requires payment", Code.MEMBERS_ONLY),
    (r"live event (will begin|has ended)|live stream recording|not currently live|is offline", Code.LIVE),
    (r"Premieres? (in|will begin)", Code.LIVE),
    (r"DRM protected", Code.NO_FORMAT),
    (r"Requested format is not available", Code.NO_FORMAT),
    (r"video does not exist|video is (unavailable|not available)|Video unavailable\.?$", Code.NOT_FOUND),
)
"""What YouTube says -> code; the first that fits. Source: yt-dlp 2026.8 `extractor/youtube`, and the texts that users
quote in the issues of yt-dlp and youtube-dl; the tests name one thread for each."""

WITHHELD = re.compile(r"formats may be missing|formats have been skipped|require a .*PO Token|JavaScript runtime", re.I)
"""Warnings that formats were not found for a reason of this machine or session, so that NO_FORMAT would be untrue."""

_YOUTUBE = tuple((re.compile(pattern, re.IGNORECASE), code) for pattern, code in YOUTUBE_TEXTS)

_STATUSES = {
    401: Code.FORBIDDEN,
    403: Code.FORBIDDEN,
    404: Code.NOT_FOUND,
    408: Code.TIMEOUT,
    410: Code.NOT_FOUND,
    429: Code.RATE_LIMITED,
}
_STATUS = re.compile(r"HTTP Error (\d{3})")
_TOO_SHORT = re.compile(
    r"\d+ bytes read|Downloaded \d+ bytes, expected|content too short|IncompleteRead|Did not get any data"
)
_TIMED_OUT = re.compile(r"timed out", re.IGNORECASE)
_MACHINE = re.compile(r"No space left on device|ffmpeg is not installed|Disk quota exceeded|Too many open files")
_MACHINE_ERRNOS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO}
)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_PREFIX = re.compile(r"^(ERROR:|\s|\[youtube\] [\w-]{11}:|\[generic\] [^ ]*:)+")
_ADVICE = re.compile(r"\s*(\(caused by .*|Use --.*|It is recommended to use .*|; please report this issue .*)$")


def reason(error: BaseException, *, said: Sequence[str] = (), of_youtube: bool) -> ClipError | StoppedError:
    """What an error of yt-dlp means.

    Args:
        error: What was raised.
        said: The warnings of the session so far; those that formats were withheld keep NO_FORMAT from being said.
        of_youtube: Whether YouTube was asked. Texts are only read then: anyone can write into a page or an address.

    Returns:
        A `ClipError` for what belongs to the video, a `StoppedError` for what belongs to the machine.
    """
    chain = list(_chain(error))
    text = _plain(error)
    for link in chain:
        if isinstance(link, RefusedError):
            return link.reason
    stop = stopped(error)
    if stop is not None or _MACHINE.search(text):
        return stop or StoppedError(f"the download cannot go on: {text}")
    if of_youtube:
        spoken = _spoken(chain, text, said)
        if spoken is not None:
            return spoken
    return ClipError(_technical(chain, text), text, retry_after_s=_retry_after_s(chain))


def stopped(error: BaseException) -> StoppedError | None:
    """A `StoppedError` for a full disk or another failure of the machine anywhere behind an error, else None."""
    for link in _chain(error):
        if isinstance(link, OSError) and link.errno in _MACHINE_ERRNOS:
            return StoppedError(f"the download cannot go on: {link}; mend this and run the same command again")
    return None


def _plain(error: BaseException) -> str:
    """The text of an error in one line, without colours, without the id that its row has anyway, and without advice
    about yt-dlp's own command line."""
    text = " ".join(_COLOURS.sub("", str(error)).split())
    return _ADVICE.sub("", _PREFIX.sub("", text))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and everything behind it: yt-dlp and urllib each keep the origin in an attribute of their own."""
    waiting, seen = [error], set[int]()
    while waiting:
        link = waiting.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        info = getattr(link, "exc_info", None) or (None, None, None)
        behind = (info[1], getattr(link, "cause", None), getattr(link, "reason", None), link.__cause__)
        waiting += [other for other in behind if isinstance(other, BaseException)]


def _spoken(chain: Sequence[BaseException], text: str, said: Sequence[str]) -> ClipError | None:
    """The code of what YouTube said in words."""
    if any(isinstance(link, GeoRestrictedError) for link in chain):
        return ClipError(Code.GEO, text)
    code = next((code for pattern, code in _YOUTUBE if pattern.search(text)), None)
    if code is None:
        return None
    withheld = next((warning for warning in said if WITHHELD.search(warning)), None)
    if code is Code.NO_FORMAT and withheld is not None:
        return ClipError(Code.UNKNOWN, f"{text} Formats were withheld: {withheld}")
    return ClipError(code, text)


WRONG_ANSWER = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What yt-dlp raises, beside its own errors, for an answer that it did not expect."""


def _retry_after_s(chain: Sequence[BaseException]) -> float | None:
    """Seconds that the server asks to wait: its Retry-After, in seconds or as a date. Source: RFC 9110, 10.2.3."""
    http = next((link for link in chain if isinstance(link, HTTPError)), None)
    text = str(http.response.headers.get("Retry-After") or "").strip() if http is not None else ""
    if text.isdecimal():
        return float(text[:9])
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0) if text else None
    except (ValueError, OverflowError):  # nonsense, which says nothing
        return None


def _technical(chain: Sequence[BaseException], text: str) -> Code:
    """The code of a failed request or a short answer."""
    http = next((link for link in chain if isinstance(link, HTTPError)), None)
    match = _STATUS.search(text)
    status = http.status if http is not None else int(match[1]) if match else None
    if status is not None:
        if 500 <= status < 600:
            return Code.NETWORK
        if 300 <= status < 400:  # a loop, or a redirect to nowhere
            return Code.NOT_FOUND
        return _STATUSES.get(status, Code.UNKNOWN)
    if _TOO_SHORT.search(text) or any(isinstance(link, ContentTooShortError | IncompleteRead) for link in chain):
        return Code.TRUNCATED
    if _TIMED_OUT.search(text) or any(isinstance(link, TimeoutError) for link in chain):
        return Code.TIMEOUT
    if "[download] Got error" in text or any(isinstance(link, TransportError) for link in chain):
        return Code.NETWORK
    if "Postprocessing:" in text:  # the two streams could not be put into one file
        return Code.UNREADABLE
    return Code.UNKNOWN
