"""Media files on the web, through yt-dlp's generic extractor: mirrors and the `url` rows of lists.

A page is never followed. `transfer` refuses pages and playlists unread; what is checked here is that one result is
left, that it is the file itself, and, for a mirror, that it is the file asked for.
"""

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

from yt_dlp import YoutubeDL
from yt_dlp.utils import YoutubeDLError

from curation.download.addresses import AddressRule
from curation.download.download import Download, Limits
from curation.download.log import Log
from curation.download.reasons import WRONG_ANSWER, reason
from curation.download.transfer import GuardedRH, Transfer
from curation.errors import ArgumentError, ClipError, Code

MAX_REDIRECTED = 4
"""How often the extractor may start over after a redirect. Source: ours; a server that redirects each time elsewhere
would otherwise be followed for ever, beside urllib's own bound of 10 redirects a request."""

RETRIES = 2
"""How often one download is resumed after a break. Source: ours; the runner tries again later, so few are enough."""

_SUFFIX = re.compile(r"\.[a-z0-9]{1,5}")
_NAME = "original"
_EXT = "unknown_video"  # what yt-dlp calls a file of a kind it does not know; the real suffix is given afterwards


class _GuardedDownloader(YoutubeDL):  # type: ignore[misc]  # yt-dlp has no types
    """A `YoutubeDL` whose requests all go through one `GuardedRH`."""

    def build_request_director(self, handlers: Any, preferences: Any = None) -> Any:
        return super().build_request_director([GuardedRH])

    @property
    def guard(self) -> GuardedRH:
        """The one handler, which is told of each transfer."""
        handlers: list[GuardedRH] = list(self._request_director.handlers.values())
        return handlers[0]


class Web:
    """Downloads files by their address; opens yt-dlp once.

    Args:
        limits: What one download may take.
        proxy: Address of an HTTP proxy that all requests go through; None goes out directly.

    Raises:
        ArgumentError: The proxy is of another kind.
    """

    def __init__(self, limits: Limits, proxy: str | None = None) -> None:
        if proxy is not None and not proxy.startswith("http://"):
            raise ArgumentError(f"--proxy {proxy}: mirrors and url rows go through http:// proxies only")
        self._limits = limits
        options = {
            "quiet": True,
            "noprogress": True,
            "color": "no_color",
            "logger": Log(),
            "allowed_extractors": ["generic"],
            "cachedir": False,
            "proxy": "",
            "socket_timeout": min(limits.silence_s, limits.timeout_s),
            "retries": RETRIES,
            "overwrites": True,
            "updatetime": False,
            "fixup": "never",
            "outtmpl": {"default": f"{_NAME}.%(ext)s"},
        }
        self._downloader = _GuardedDownloader(options)
        self._downloader.guard.proxy = proxy

    def get(self, url: str, rule: AddressRule, folder: Path, *, source: str) -> Download:
        """Download one file.

        Args:
            url: Its address; a fragment is dropped.
            rule: What may be asked on the way. With an origin, the file found must also have the name asked for.
            folder: Empty folder.
            source: Stored with the result.

        Raises:
            ClipError: What is wrong with the address, the server or the answer.
            StoppedError: The machine cannot go on.
        """
        address = urldefrag(url).url  # yt-dlp reads options from fragments
        with Transfer(rule, self._limits) as transfer:
            self._downloader.guard.transfer = transfer
            try:
                found = self._find(address, transfer)
                if rule.origin is not None and _file_id(found) != _file_id(address):
                    raise ClipError(Code.NOT_FOUND, f"asked for {address}, got {found}, which is another file")
                self._fetch(found, folder)
            except YoutubeDLError as error:
                raise reason(error, of_youtube=False) from error
            except WRONG_ANSWER as error:
                raise ClipError(Code.UNKNOWN, f"{address} gave an answer that cannot be read: {error!r}") from error
            final_url = transfer.final_url
        file = folder / f"{_NAME}.{_EXT}"
        if not file.is_file():
            raise ClipError(Code.UNKNOWN, f"{address}: yt-dlp reported success and left no file")
        suffix = Path(unquote(urlsplit(found).path)).suffix.lower()
        suffix = suffix if _SUFFIX.fullmatch(suffix) else ""
        path = file.rename(folder / f"{_NAME}{suffix}")
        return Download(
            path=path, bytes=path.stat().st_size, suffix=suffix, owned=True, source=source, final_url=final_url
        )

    def _find(self, url: str, transfer: Transfer) -> str:
        """The address of the media file behind a URL, after redirects."""
        address = url
        for _ in range(1 + MAX_REDIRECTED):
            found = self._downloader.extract_info(address, download=False, process=False) or {}
            transfer.hang_up()  # the extractor leaves the body unread
            if found.get("_type") != "url":
                break
            address = found["url"]
        formats = found.get("formats") or [found]
        if found.get("_type", "video") != "video" or not found.get("direct") or len(formats) != 1:
            raise ClipError(
                Code.NOT_FOUND, f"{url} is not a media file itself but leads to others, which is not followed"
            )
        return str(formats[0]["url"])

    def _fetch(self, url: str, folder: Path) -> None:
        """Write the file; nothing of the extractor's result is used but the address."""
        self._downloader.params["paths"] = {"home": str(folder)}
        entry = {"id": _NAME, "title": _NAME, "url": url, "ext": _EXT, "protocol": urlsplit(url).scheme}
        labels = {"extractor": "generic", "extractor_key": "Generic", "webpage_url": url}
        self._downloader.process_ie_result({**entry, **labels}, download=True)


def _file_id(url: str) -> str:
    """The last part of a URL's path and its query, decoded, without a suffix."""
    parts = urlsplit(url)
    return unquote(parts.path.rpartition("/")[2].rpartition(".")[0] or parts.path) + "?" + parts.query
