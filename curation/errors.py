"""Every error of foundsound, and the codes with which a clip is set aside.

    FoundsoundError
    ├── ArgumentError     what the user asked for cannot be done as asked (exit code 2)
    ├── DatasetError      the dataset on disk is not what it should be
    ├── LockedError       another process is writing the same thing
    ├── StoppedError      the machine, not the data, is in the way: a full disk, a dead worker
    │   └── PausedError   no source may be asked now; carries when one may be again
    └── ClipError         this one video or clip cannot be used; carries a Code

Only a `ClipError` sets something aside. Every other exception is a bug or a broken machine and stops the work: a crash
is never counted as a filtered clip.
"""

from enum import StrEnum


class FoundsoundError(Exception):
    """Root of the tree; its text says what was wrong, with the value, and what to do."""


class ArgumentError(FoundsoundError):
    """What was asked for cannot be done as asked; nothing was changed."""


class DatasetError(FoundsoundError):
    """A dataset, selection, generation or index on disk is missing, damaged or from a newer version."""


class LockedError(FoundsoundError):
    """Another live process writes the same (dataset, stage, identity)."""


class StoppedError(FoundsoundError):
    """The machine cannot go on (a full disk, a worker that cannot start); running again resumes."""


class PausedError(StoppedError):
    """No source can be asked now.

    Args:
        text: What happened, and what to do.
        until: When one may be asked again, seconds since 1970.
    """

    def __init__(self, text: str, until: float) -> None:
        super().__init__(text)
        self.until = until


class Code(StrEnum):
    """Why a row, a video or a clip was set aside."""

    MALFORMED = "MALFORMED"
    REMOVED = "REMOVED"
    PRIVATE = "PRIVATE"
    AGE = "AGE"
    GEO = "GEO"
    COPYRIGHT = "COPYRIGHT"
    MEMBERS_ONLY = "MEMBERS_ONLY"
    LIVE = "LIVE"
    NO_FORMAT = "NO_FORMAT"
    NOT_FOUND = "NOT_FOUND"
    FORBIDDEN = "FORBIDDEN"
    RATE_LIMITED = "RATE_LIMITED"
    BOT_CHECK = "BOT_CHECK"
    NETWORK = "NETWORK"
    TIMEOUT = "TIMEOUT"
    TRUNCATED = "TRUNCATED"
    UNKNOWN = "UNKNOWN"
    DENIED = "DENIED"
    UNREADABLE = "UNREADABLE"
    NO_AUDIO = "NO_AUDIO"
    NO_VIDEO = "NO_VIDEO"
    TOO_SHORT = "TOO_SHORT"
    TOO_LARGE = "TOO_LARGE"
    EMPTY = "EMPTY"
    BAD_CAPTION = "BAD_CAPTION"
    NO_LABEL = "NO_LABEL"


CODES: dict[Code, tuple[bool, str]] = {
    Code.MALFORMED: (True, "the row of the list could not be understood"),
    Code.REMOVED: (True, "the video was removed by its uploader or the platform, or its account is gone"),
    Code.PRIVATE: (True, "the video is private"),
    Code.AGE: (True, "the platform asks for a signed-in adult"),
    Code.GEO: (True, "the video is not available from this country"),
    Code.COPYRIGHT: (True, "the video is blocked on copyright grounds"),
    Code.MEMBERS_ONLY: (True, "the video is for paying members"),
    Code.LIVE: (True, "the video is a live stream or has not started"),
    Code.NO_FORMAT: (True, "no format of the video fits the bounds asked for"),
    Code.NOT_FOUND: (True, "nothing is there: no such file, a 404, or an answer that is not the media asked for"),
    Code.FORBIDDEN: (False, "a 403, or an address or path that this dataset may not read"),
    Code.RATE_LIMITED: (False, "the server asks to slow down (429)"),
    Code.BOT_CHECK: (False, "the platform asks to prove that one is not a robot"),
    Code.NETWORK: (False, "the connection failed, broke off, or the server failed (5xx)"),
    Code.TIMEOUT: (False, "the download or the decoding took longer than allowed"),
    Code.TRUNCATED: (False, "fewer bytes or less sound arrived than the file or the server announced"),
    Code.UNKNOWN: (False, "the platform's or server's answer is none of those known here; the detail quotes it"),
    Code.DENIED: (True, "the video or its channel was taken down here: it stands on the deny list"),
    Code.UNREADABLE: (
        True,
        "the media cannot be decoded, hold samples that are no numbers, or come in a container that is not allowed",
    ),
    Code.NO_AUDIO: (True, "there is no sound stream"),
    Code.NO_VIDEO: (True, "there is no picture where one is required"),
    Code.TOO_SHORT: (True, "the media end before the clip does, by more than is allowed"),
    Code.TOO_LARGE: (True, "the media are larger or longer than allowed"),
    Code.EMPTY: (True, "the file has no bytes, or the sound has no samples"),
    Code.BAD_CAPTION: (True, "the captioner's answer is empty or unusable"),
    Code.NO_LABEL: (True, "the clip has no label, tag or caption to make a sentence from"),
}
"""Code -> (final, meaning). A final code is never tried again; a passing one is, up to `MAX_ATTEMPTS` times."""

FINAL_CODES = frozenset(code for code, (final, _) in CODES.items() if final)

MAX_ATTEMPTS = 3
"""How often something is tried that fails with passing codes. Source: ours; yt-dlp's own default of 10 retries a
fragment covers short breaks inside one attempt."""


class ClipError(FoundsoundError):
    """One video or clip cannot be used.

    Args:
        code: Why, as one of the codes.
        detail: What exactly was seen, in one line; stored beside the code.
        retry_after_s: How long the server asks to wait before the next request, s; None where it says nothing.
    """

    def __init__(self, code: Code, detail: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = " ".join(detail.split())[:500]
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"
