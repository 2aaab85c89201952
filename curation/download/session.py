"""The downloads of one worker process: where a request goes, and that nothing is left behind when it fails."""

import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from curation.download.addresses import AddressRule
from curation.download.download import Download, Limits, Request
from curation.download.local import listed_file, templated_file
from curation.download.source import Source
from curation.errors import ArgumentError
from curation.lists.paths import web_address

if TYPE_CHECKING:
    from curation.download.web import Web
    from curation.download.youtube import YouTube

__all__ = ["Download", "Limits", "Request", "Session"]


class Session:
    """Gets media, one request after the other; yt-dlp is opened once for each kind of source that is met.

    Args:
        source: Where videos that are named by id come from; rows with a url or path of their own need none.
        max_height_px: Tallest picture that is asked for, px.
        limits: What one download may take.
        allow_private: Whether `url` rows may lead to private addresses. A mirror in `source` may always be private.
        cookies: A cookie file for the platform, never sent to mirrors or `url` rows; None sends no cookies.
        proxy: Address of a proxy that all requests go through; None goes out directly.
        denied_channels: Ids of channels of the platform whose videos are refused before a byte of them is fetched.

    Raises:
        ArgumentError: The folder of the source or the cookie file is not there.
    """

    def __init__(
        self,
        source: Source | None,
        *,
        max_height_px: int = 480,
        limits: Limits | None = None,
        allow_private: bool = False,
        cookies: Path | None = None,
        proxy: str | None = None,
        denied_channels: frozenset[str] = frozenset(),
    ) -> None:
        if max_height_px < 1:
            raise ValueError(f"max_height_px must be 1 or more, not {max_height_px}")
        if source is not None and source.kind == "folder" and not source.root.is_dir():
            raise ArgumentError(f"--from {source}: there is no folder {source.root}")
        if cookies is not None and not cookies.is_file():
            raise ArgumentError(f"there is no cookie file {cookies}")
        self._source = source
        self._max_height_px = max_height_px
        self._limits = limits or Limits()
        self._allow_private = allow_private
        self._cookies = cookies
        self._proxy = proxy
        self._denied_channels = denied_channels
        self._opened_web: Web | None = None
        self._opened_youtube: YouTube | None = None

    def get(self, request: Request, folder: Path) -> Download:
        """Get one video or cut clip.

        Args:
            request: What to get.
            folder: Empty folder that the file is put into. It is empty again after any failure.

        Returns:
            The file, below `folder` when it was downloaded, else where it lies on this machine.

        Raises:
            ClipError: What belongs to the video.
            StoppedError: What belongs to the machine: a full disk, a folder that is gone.
            ArgumentError: The row needs a source and there is none.
        """
        if any(folder.iterdir()):
            raise ValueError(f"{folder} is not empty")
        with ExitStack() as on_failure:
            on_failure.callback(_clear, folder)
            download = self._get(request, folder)
            on_failure.pop_all()
        return download

    def _get(self, request: Request, folder: Path) -> Download:
        if request.platform == "file":
            return listed_file(request)
        if request.platform == "url":
            rule = AddressRule(allow_private=self._allow_private)
            return self._web().get(web_address(request.url or ""), rule, folder, source="row")
        if request.platform != "youtube":
            raise ValueError(f"platform {request.platform!r} is not known")
        source = self._source
        if source is None:
            raise ArgumentError(f"video {request.video_id} is named by id: say where it comes from with --from")
        if source.kind == "folder":
            return templated_file(request, source)
        if source.kind == "mirror":
            address = source.locate(request.video_id, request.start_ms)
            return self._web().get(address, AddressRule(origin=source.origin), folder, source=str(source))
        return self._youtube().get(request.video_id, folder, request.span)

    def _web(self) -> "Web":
        if self._opened_web is None:
            from curation.download.web import Web  # yt-dlp takes 0.2 s to import: only where it is used

            self._opened_web = Web(self._limits, self._proxy)
        return self._opened_web

    def _youtube(self) -> "YouTube":
        if self._opened_youtube is None:
            from curation.download.youtube import YouTube

            self._opened_youtube = YouTube(
                self._max_height_px,
                self._limits,
                cookies=self._cookies,
                proxy=self._proxy,
                denied_channels=self._denied_channels,
            )
        return self._opened_youtube


def _clear(folder: Path) -> None:
    """Remove everything in a folder."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
