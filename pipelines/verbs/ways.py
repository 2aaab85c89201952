"""Options of the verbs that fetch: through which egresses, how fast, and until which mark on the disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from curation.dataset import Dataset
from curation.download.egress import ROW_LINE, Egress, egresses, pace_of
from curation.download.fetch_queue import line_of
from curation.download.source import Source
from pipelines.disk import DiskMark, parse_bytes
from pipelines.doctor import require_recent_ytdlp
from pipelines.routes import Address, Routing

YOUTUBE_HOST: Address = ("www.youtube.com", 443)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ways:
    """The ways out of this machine and what bounds them.

    Args:
        proxy: A proxy to go through; give it again for each further one: every proxy has a budget of its own.
        cookies: A cookie file for the platform; again for each further session. None by default.
        rate: Videos an hour of each source (of rows with a url: each host) through each way out; 300 for youtube and no
            bound for others when not given.
        max_disk: Most that media and kept originals may take, as 200GB; fetching pauses above it.
        min_free: Least that must stay free on the disk of the media, as 20GB; fetching pauses below it.
        allow_old_ytdlp: Ask YouTube with a yt-dlp of any age.
    """

    proxy: tuple[str, ...] = ()
    cookies: tuple[Path, ...] = ()
    rate: float | None = None
    max_disk: str | None = None
    min_free: str | None = None
    allow_old_ytdlp: bool = False

    def egresses(self) -> tuple[Egress, ...]:
        """The egresses of this machine."""
        return egresses(self.proxy, self.cookies)

    def routing(self, dataset: Dataset, sources: Sequence[Source]) -> Routing:
        """How the requests for these sources leave this machine.

        Raises:
            ArgumentError: A proxy, a rate or a size makes no sense, or yt-dlp is too old for YouTube.
        """
        if any(source.kind == "youtube" for source in sources) and not self.allow_old_ytdlp:
            require_recent_ytdlp(version("yt-dlp"), datetime.now(UTC).date())
        ours = self.egresses()
        named = {line: source for source in sources if (line := line_of(source)) is not None}
        paces = {line: pace_of(source.kind, self.rate) for line, source in named.items()}
        return Routing(
            names=tuple(egress.name for egress in ours),
            paces={**paces, ROW_LINE: pace_of("row", self.rate)},
            hosts={line: _host(source) for line, source in named.items()},
            proxies={egress.name: _proxy(egress.proxy) for egress in ours if egress.proxy is not None},
            is_placed=bool(self.proxy or self.cookies),
            disk=self._disk(dataset),
        )

    def _disk(self, dataset: Dataset) -> DiskMark | None:
        if self.max_disk is None and self.min_free is None:
            return None
        media = dataset.root("media")
        folders = (*([media.path] if media.is_local else []), dataset.folder("originals"))
        return DiskMark(
            folders=folders,
            max_bytes=parse_bytes(self.max_disk) if self.max_disk is not None else None,
            min_free_bytes=parse_bytes(self.min_free) if self.min_free is not None else None,
        )


def _host(source: Source) -> Address:
    return YOUTUBE_HOST if source.kind == "youtube" else (source.origin.host, source.origin.port)


def _proxy(proxy: str) -> Address:
    parts = urlsplit(proxy)
    return str(parts.hostname), parts.port or {"http": 80}.get(parts.scheme, 1080)


DIRECT = Ways()
"""Directly out of this machine, at the known paces, whatever the disk."""
