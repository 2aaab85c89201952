"""What is asked of a download session, within which limits, and what it hands back."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one download may take.

    Args:
        max_bytes: Most bytes of one original. 4 GB: ours; three hours of 480p are below 2 GB.
        timeout_s: Longest time from the first request to the last byte, s. 30 minutes: ours; 2 GB at 10 Mbit/s.
        silence_s: Longest time without a byte before a request is given up, s. Source: yt-dlp's own default.
    """

    max_bytes: int = 4_000_000_000
    timeout_s: float = 1800.0
    silence_s: float = 20.0

    def __post_init__(self) -> None:
        for name in ("max_bytes", "timeout_s", "silence_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A part of a video.

    Args:
        start_ms: Its start, ms from the video's, at least 0.
        end_ms: Its end, ms from the video's start, above `start_ms`.
    """

    start_ms: int
    end_ms: int

    def __post_init__(self) -> None:
        if not 0 <= self.start_ms < self.end_ms:
            raise ValueError(f"a span must have 0 <= start_ms < end_ms, not {self.start_ms} and {self.end_ms}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One thing to get: a row of the table `videos`, or one cut clip of it.

    Args:
        platform: `youtube`, `url` or `file`.
        video_id: The platform's id.
        url: Address, for platform `url`.
        path: Path relative to `root`, for platform `file`.
        root: Folder that `path` may not leave.
        start_ms: Start of the clip, ms, where the source holds clips already cut.
        span: All that is wanted of the video, where a section of it may be fetched alone; None asks for all of it.
    """

    platform: str
    video_id: str
    url: str | None = None
    path: str | None = None
    root: str | Path | None = None
    start_ms: int | None = None
    span: Span | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Download:
    """A file that was got, and what its platform says about it.

    Args:
        path: The file.
        bytes: Its size.
        suffix: Its suffix with the dot, empty where none is known.
        owned: Whether it may be moved or deleted: not so for a file that was on this machine before.
        source: `youtube`, the template, or `row` for a row's own url or path.
        final_url: Where it came from after redirects; None for local files.
        title, tags, categories, channel, channel_id, licence, language: As the platform states them.
        upload_date: Day of the upload, YYYYMMDD.
        duration_s: Length that the platform states, s.
        section_start_ms: Where on the video's clock the file begins, ms; None for a whole file.
    """

    path: Path
    bytes: int
    suffix: str
    owned: bool
    source: str | None = None
    final_url: str | None = None
    title: str | None = None
    tags: list[str] | None = None
    categories: list[str] | None = None
    channel: str | None = None
    channel_id: str | None = None
    upload_date: str | None = None
    licence: str | None = None
    language: str | None = None
    duration_s: float | None = None
    section_start_ms: int | None = None
