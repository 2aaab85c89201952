"""Videos of YouTube: one yt-dlp session, native download, a bounded format.

Picture and sound are asked for as separate streams and put into one Matroska file by ffmpeg without re-encoding: the
formats that come in one piece end at 360p with sound at 96 kbit/s, and fewer videos have them every year, while the
separate sound is Opus at about 130 kbit/s and 48 kHz. Nothing is downloaded by ffmpeg, since it is throttled and sees
the network, but for a section of a long video where that is asked for (`section`). No `player_client` is chosen: which
of them work changes by the week, and yt-dlp knows.
"""

import dataclasses
import shutil
import tempfile
import time
import weakref
from pathlib import Path
from typing import Any

from yt_dlp import YoutubeDL
from yt_dlp.utils import YoutubeDLError

from curation.download.download import Download, Limits, Span
from curation.download.log import Log
from curation.download.reasons import WRONG_ANSWER, reason
from curation.download.section import fetch_section, is_reachable, section_of, streamed
from curation.download.transfer import RefusedError
from curation.errors import ArgumentError, ClipError, Code
from curation.programs.ffmpeg import ffmpeg_path, input_options

RETRIES = 2
"""How often a stream or fragment is resumed after a break. Source: ours; the runner tries again later."""

_SAID = (
    "title", "tags", "categories", "channel", "uploader", "channel_id", "upload_date", "license", "language", "duration"
)  # fmt: skip
_NOT_JSON = ("logger", "progress_hooks")
_NOT_OVER = {"is_live": "is live", "is_upcoming": "has not started", "post_live": "was live and is not processed yet"}


def bounded_format(max_height_px: int) -> str:
    """yt-dlp's format expression: picture and sound apart, else together; an upright picture is bounded in width."""
    upright = f"[aspect_ratio<1][width<={max_height_px}]"
    level = f"[height<={max_height_px}]"
    return f"bv{upright}+ba/bv{level}+ba/b{upright}/b{level}"


class YouTube:
    """Downloads videos by their id; opens yt-dlp once.

    Args:
        max_height_px: Tallest picture (widest of an upright one), px.
        limits: What one download may take.
        cookies: A cookie file; a private copy is used, since yt-dlp writes into it. None sends no cookies.
        proxy: Address of a proxy; None goes out as this machine does.
        denied_channels: Ids of channels whose videos are refused once YouTube has named the channel.
    """

    def __init__(
        self,
        max_height_px: int,
        limits: Limits,
        *,
        cookies: Path | None = None,
        proxy: str | None = None,
        denied_channels: frozenset[str] = frozenset(),
    ) -> None:
        self._limits = limits
        self._denied_channels = denied_channels
        self._log = Log()
        self._until = 0.0
        self._sizes: dict[str, int] = {}
        options = self._options(max_height_px)
        self._section_options = {key: value for key, value in options.items() if key not in _NOT_JSON}
        if cookies is not None:
            options["cookiefile"] = str(self._private_copy(cookies))
        if proxy is not None:
            options["proxy"] = proxy
        self._downloader = YoutubeDL(options)

    def _private_copy(self, cookies: Path) -> Path:
        """A copy of the cookie file that only this user can read, deleted with this object."""
        folder = tempfile.mkdtemp(prefix="foundsound-session-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        copy = Path(folder) / "cookies.txt"
        try:
            copy.write_bytes(cookies.read_bytes())
        except OSError as error:
            raise ArgumentError(f"the cookie file {cookies} cannot be read: {error}") from error
        copy.chmod(0o600)
        return copy

    def _options(self, max_height_px: int) -> dict[str, Any]:
        whitelists = [part for name, value in input_options().items() for part in (f"-{name}", value)]
        return {
            "quiet": True,
            "noprogress": True,
            "color": "no_color",
            "logger": self._log,
            "progress_hooks": [self._check],
            "allowed_extractors": ["youtube"],
            "noplaylist": True,
            "cachedir": False,
            "geo_bypass": False,
            "format": bounded_format(max_height_px),
            "format_sort": [f"res:{max_height_px}", "fps:30", "proto", "vcodec:h264"],
            "external_downloader": {"default": "native"},
            "hls_prefer_native": True,
            "socket_timeout": min(self._limits.silence_s, self._limits.timeout_s),
            "retries": RETRIES,
            "fragment_retries": RETRIES,
            "skip_unavailable_fragments": False,
            "extractor_retries": 1,
            "overwrites": True,
            "updatetime": False,
            "fixup": "never",
            "merge_output_format": "mkv",
            "ffmpeg_location": ffmpeg_path(),
            "postprocessor_args": {"merger+ffmpeg_i": whitelists},
            "outtmpl": {"default": "original.%(ext)s"},
        }

    def get(self, video_id: str, folder: Path, span: Span | None = None) -> Download:
        """Download one video, or a section of it where it is much longer than what is wanted of it.

        Args:
            video_id: Its id.
            folder: Empty folder.
            span: What is wanted of it; None: all.

        Raises:
            ClipError: Why the video cannot be had.
            StoppedError: The machine cannot go on.
        """
        self._until = time.monotonic() + self._limits.timeout_s
        self._sizes.clear()
        self._downloader.params["paths"] = {"home": str(folder)}
        url = f"https://www.youtube.com/watch?v={video_id}"
        try:
            info = self._describe(url, video_id)
            section = section_of(span, info.get("duration")) if span is not None else None
            if section is not None and streamed(info)["formats"] and is_reachable(self._downloader.proxies):
                return self._section(info, section, folder, url)
            done = self._downloader.process_ie_result(info, download=True)
        except YoutubeDLError as error:
            raise reason(error, said=self._log.warnings, of_youtube=True) from error
        except WRONG_ANSWER as error:
            raise ClipError(Code.UNKNOWN, f"{url} gave an answer that cannot be read: {error!r}") from error
        return _download(done, url)

    def _describe(self, url: str, video_id: str) -> dict[str, Any]:
        """What YouTube says about the video, with its formats.

        An answer that yt-dlp cannot parse ends in one of Python's own errors, which say nothing about this program.
        """
        try:
            info = self._downloader.extract_info(url, download=False, process=False) or {}
        except WRONG_ANSWER as error:
            raise ClipError(Code.UNKNOWN, f"yt-dlp cannot read the answer: {type(error).__name__}: {error}") from error
        if info.get("_type", "video") != "video" or info.get("id") != video_id:
            raise ClipError(Code.NOT_FOUND, f"YouTube answers with {info.get('id')!r} instead of {video_id!r}")
        if info.get("channel_id") in self._denied_channels:
            raise ClipError(Code.DENIED, f"its channel {info['channel_id']} was taken down from this dataset")
        status = info.get("live_status")
        if status in _NOT_OVER:
            raise ClipError(Code.LIVE, f"the video {_NOT_OVER[status]}")
        return dict(info)

    def _section(self, info: dict[str, Any], section: Span, folder: Path, url: str) -> Download:
        """One section of a video; cookies stay here, since the servers of the streams are others than the pages'."""
        proxies = self._downloader.proxies
        proxy = next((proxies[name] for name in ("all", "https", "http") if proxies.get(name)), "")
        left_s = max(self._until - time.monotonic(), 1.0)
        fetched = fetch_section(
            self._downloader.sanitize_info(streamed(info)),
            section,
            options={**self._section_options, "proxy": proxy},
            wanted=_SAID,
            limits=dataclasses.replace(self._limits, timeout_s=left_s),
            folder=folder,
        )
        return Download(
            path=fetched.path,
            bytes=fetched.path.stat().st_size,
            suffix=fetched.path.suffix,
            owned=True,
            source="youtube",
            final_url=url,
            section_start_ms=fetched.start_ms,
            **_said(fetched.said),
        )

    def _check(self, progress: dict[str, Any]) -> None:
        """After every block: the time and size so far."""
        if time.monotonic() >= self._until:
            raise RefusedError(ClipError(Code.TIMEOUT, f"not done after {self._limits.timeout_s:g} s"))
        announced, got = progress.get("total_bytes") or 0, progress.get("downloaded_bytes") or 0
        self._sizes[str(progress.get("filename"))] = max(announced, got)
        size_bytes = sum(self._sizes.values())
        if size_bytes > self._limits.max_bytes:
            detail = f"{size_bytes} bytes or more, {self._limits.max_bytes} are allowed"
            raise RefusedError(ClipError(Code.TOO_LARGE, detail))


def _download(info: dict[str, Any], url: str) -> Download:
    """The file that yt-dlp left, with what the platform says about the video."""
    files = [Path(entry["filepath"]) for entry in info.get("requested_downloads") or ()]
    if len(files) != 1 or not files[0].is_file():
        raise ClipError(Code.UNKNOWN, f"yt-dlp reported success and left {len(files)} files of {url}")
    size_bytes = files[0].stat().st_size
    if size_bytes == 0:
        raise ClipError(Code.TRUNCATED, f"no byte of {url} came")
    return Download(
        path=files[0],
        bytes=size_bytes,
        suffix=files[0].suffix,
        owned=True,
        source="youtube",
        final_url=url,
        **_said(info),
    )


def _said(info: dict[str, Any]) -> dict[str, Any]:
    """What the platform says about a video, as `Download` names it."""
    return {
        "title": info.get("title"),
        "tags": list(info.get("tags") or ()),
        "categories": list(info.get("categories") or ()),
        "channel": info.get("channel") or info.get("uploader"),
        "channel_id": info.get("channel_id"),
        "upload_date": info.get("upload_date"),
        "licence": info.get("license"),
        "language": info.get("language"),
        "duration_s": info.get("duration"),
    }
