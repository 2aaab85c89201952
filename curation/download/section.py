"""One section of a long video of YouTube, where only a small part of the video is wanted.

ffmpeg reads the network here, in a child process that is killed with all it started when its time is up. The section
is not encoded anew: its picture starts at the last key frame before what was asked for, and the file says when on the
whole video's clock that is, to 1 ms. So a clip is cut out of it as exactly as out of the whole video.
"""

import json
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg
from yt_dlp.utils import DownloadError

from curation.download.download import Limits, Span
from curation.download.reasons import reason
from curation.errors import ClipError, Code, StoppedError
from curation.programs import contained
from curation.programs.contained import Finished, run_contained
from curation.programs.ffmpeg import FORMATS, complaint, ffmpeg_version, run_ffmpeg, untrusted_input
from curation.programs.probe import probe

MIN_RATIO, MIN_DURATION_S = 10, 1200.0
"""A section is asked for where the video is at least so many times as long as the span of its clips, and so long.
Source: ours; sections come at about 32 KiB/s (yt-dlp's issue 17612) and whole videos as fast as the line is, so that
shorter videos are there sooner as a whole."""

MARGIN_MS = 10_000
"""How much more is asked for on both sides, ms. Source: ours; decoders need at most 0.5 s before a clip
(`curation/cut.py`), and servers that index their streams by 5 to 10 s answer with whole parts."""

MAX_MISSING_MS = 1500
"""How much may be missing at a section's end, ms. Source: ours; YouTube rounds lengths to whole seconds, and the last
frame may be as long. It is a part of the margin unless the video ends there."""

BROKEN_FFMPEG = re.compile(r"n?8\.1(?!\d)")
"""The ffmpeg that fails at sections. Source: yt-dlp's issue 16546."""

PROTOCOLS = "http,https,httpproxy,tcp,tls"
"""Protocols that ffmpeg may use: no files of this machine."""

_PROGRAM = Path(__file__).with_name("sectioner.py")
_STATUS = re.compile(r"HTTP error (\d{3})|Server returned (\d{3})", re.IGNORECASE)
_TOO_LARGE = re.compile(r"exited with code -25\b|File too large|File size limit exceeded")
_BROKEN_OFF = re.compile(r"Stream ends prematurely|partial file|Input/output error|Connection reset|End of file")


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """A section that was fetched.

    Args:
        path: A Matroska file that begins at 0.
        start_ms: Where on the video's clock that is, ms.
        said: What was `wanted` of what yt-dlp says of the video.
    """

    path: Path
    start_ms: int
    said: dict[str, Any]


def section_of(span: Span, duration_s: float | None) -> Span | None:
    """The section that is worth asking for alone; None where the whole video is to be fetched.

    Args:
        span: From the start of the first wanted clip to the end of the last one.
        duration_s: Length that the platform states, s; None where it states none.
    """
    if duration_s is None or duration_s < MIN_DURATION_S or span.end_ms > 1000 * duration_s:
        return None
    if 1000 * duration_s < MIN_RATIO * (span.end_ms - span.start_ms):
        return None
    end_ms = min(round(1000 * duration_s), span.end_ms + MARGIN_MS)
    return Span(start_ms=max(0, span.start_ms - MARGIN_MS), end_ms=end_ms)


def require_sections(version: str) -> None:
    """Refuse an ffmpeg that cannot fetch sections.

    Args:
        version: Its name, as `ffmpeg_version` gives it.

    Raises:
        StoppedError: It is 8.1.
    """
    if BROKEN_FFMPEG.match(version):
        raise StoppedError(
            f"ffmpeg {version} fails at sections of a video: run `pip install --upgrade --force-reinstall "
            "imageio-ffmpeg` and unset IMAGEIO_FFMPEG_EXE, or fetch without --ranges"
        )


def streamed(info: Mapping[str, Any]) -> dict[str, Any]:
    """What the extractor said, with only those formats that are one file behind an http(s) address: ffmpeg reads no
    playlist here."""
    formats = [each for each in info.get("formats") or () if _is_one_file(each)]
    return {**info, "formats": formats}


def _is_one_file(each: Mapping[str, Any]) -> bool:
    is_web = str(each.get("url")).startswith(("http://", "https://"))
    return is_web and each.get("protocol") in (None, "http", "https") and not each.get("fragments")


def is_reachable(proxies: Mapping[str, str]) -> bool:
    """Whether ffmpeg can take yt-dlp's way out: it knows http:// proxies only, and would go past others."""
    return all(proxy.startswith("http://") for name, proxy in proxies.items() if name in ("all", "http", "https"))


def fetch_section(
    info: Mapping[str, Any],
    section: Span,
    *,
    options: Mapping[str, Any],
    wanted: Sequence[str],
    limits: Limits,
    folder: Path,
) -> Fetched:
    """Download one section.

    Args:
        info: What the extractor said of the video, as JSON can hold it; see `streamed`.
        section: What is asked for.
        options: yt-dlp's options, as JSON can hold them.
        wanted: What to say of the video, by yt-dlp's names.
        limits: Bytes, and the seconds that are left.
        folder: Where the file and scratch go.

    Returns:
        The file and what yt-dlp says of the video.

    Raises:
        ClipError: What is wrong with the video or the answer; TRUNCATED where less came than was asked for.
        StoppedError: The machine cannot go on, or its ffmpeg is 8.1.
    """
    require_sections(ffmpeg_version())
    until = time.monotonic() + limits.timeout_s
    with tempfile.TemporaryDirectory(dir=folder, prefix="section-") as scratch:
        request = {"info": info, "start_s": section.start_ms / 1000, "end_s": section.end_ms / 1000}
        request |= {"options": {**options, **_OPTIONS}, "wanted": wanted}
        (Path(scratch) / "request.json").write_text(json.dumps(request))
        bounds = contained.Limits(wall_s=limits.timeout_s, file_bytes=limits.max_bytes)
        finished = run_contained([sys.executable, "-I", str(_PROGRAM)], scratch=Path(scratch), limits=bounds)
        files = [path for path in Path(scratch).glob("original.*") if path.suffix != ".part"]
        _refuse_failed(finished, files, limits)
        said = json.loads((Path(scratch) / "answer.json").read_bytes())
        probed = probe(files[0])
        start_ms = round(1000 * (probed.start_s or 0.0)) if section.start_ms else 0  # the whole video's own start is 0
        bounds = contained.Limits(wall_s=max(until - time.monotonic(), 1.0), file_bytes=limits.max_bytes)
        # The file keeps the whole video's times; the original begins at 0, as other originals do.
        copied = ffmpeg.output(
            untrusted_input(files[0]), "../original.mkv", map="0", c="copy", f="matroska", map_metadata=-1,
            fflags="+bitexact", fs=limits.max_bytes,
        )  # fmt: skip
        run_ffmpeg(copied, scratch=Path(scratch), limits=bounds)
    path = folder / "original.mkv"
    _refuse_short(path, start_ms, section)
    return Fetched(path=path, start_ms=start_ms, said=said)


_OPTIONS = {
    "external_downloader_args": {
        "ffmpeg_i": ["-protocol_whitelist", PROTOCOLS, "-format_whitelist", FORMATS],
        # Times of the whole video, as yt-dlp's merging of whole streams gives them: each stream's file starts at 0.
        "ffmpeg_o": ["-copyts", "-start_at_zero", "-loglevel", "warning", "-f", "matroska"],
    },
    "paths": {},
}
"""What differs from yt-dlp's options for whole videos. The last of options that are given twice counts."""


def _refuse_failed(finished: Finished, files: Sequence[Path], limits: Limits) -> None:
    """Raise what a failed download means."""
    said = finished.stderr
    if finished.timed_out:
        raise ClipError(Code.TIMEOUT, f"the section was not there after {limits.timeout_s:g} s")
    if "No space left on device" in said:
        raise StoppedError("no space left on the device for a section of a video; free some and run again")
    if _TOO_LARGE.search(said) or any(path.stat().st_size >= limits.max_bytes for path in files):
        raise ClipError(Code.TOO_LARGE, f"the section has {limits.max_bytes} bytes or more")
    if finished.returncode == 0 and len(files) == 1:
        return
    status = _STATUS.search(said)
    if status is not None:
        raise reason(DownloadError(f"HTTP Error {status[1] or status[2]}: {complaint(said)}"), of_youtube=True)
    if _BROKEN_OFF.search(said):
        raise ClipError(Code.TRUNCATED, complaint(said))
    if finished.returncode < 0:
        raise StoppedError(f"the download of a section was killed by signal {-finished.returncode}; is memory short?")
    raise reason(DownloadError(complaint(said)), of_youtube=True)


def _refuse_short(path: Path, start_ms: int, section: Span) -> None:
    """Refuse a section that begins later or ends earlier than asked for."""
    end_ms = start_ms + round(1000 * (probe(path).duration_s or 0.0))
    if start_ms > section.start_ms or end_ms < section.end_ms - MAX_MISSING_MS:
        asked = f"{section.start_ms} to {section.end_ms} ms was asked for"
        raise ClipError(Code.TRUNCATED, f"{asked}, {start_ms} to {end_ms} ms came")
