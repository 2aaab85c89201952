"""Where media come from: what the user says with `--from`.

youtube                                    the platform itself
http://mirror/{video_id}.mp4               a mirror
/media/{video_id}_{start:06d}.mp4          files on this machine; with {start} they are clips already cut
"""

import re
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit

from curation.download.addresses import Origin
from curation.errors import ArgumentError, ClipError, Code

_FORMS = (
    "allowed are `youtube`, an address as `http://mirror/{video_id}.mp4`, and a path as "
    "`/media/{video_id}_{start:06d}.mp4`"
)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):/", re.IGNORECASE)
_START = re.compile(r"(0\d{1,2}d?|d)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A parsed `--from`.

    Args:
        kind: `youtube`, `mirror` (http or https) or `folder`.
        template: Address or absolute path with its fields; `youtube` for the platform.
    """

    kind: Literal["youtube", "mirror", "folder"]
    template: str

    def __str__(self) -> str:
        """The text that is stored beside what came from here."""
        return self.template

    @property
    def identity(self) -> str:
        """The same text; sources with equal identities hold the same media."""
        return self.template

    @property
    def is_cut(self) -> bool:
        """Whether one thing fetched is one clip already cut: the template has `{start}`."""
        return self.kind != "youtube" and any(name == "start" for name, _ in _fields(self.template))

    @property
    def origin(self) -> Origin:
        """Scheme, host and port of a mirror."""
        return Origin.of(self.template)

    @property
    def root(self) -> Path:
        """The folder of a path template: its text before the first field, up to the last slash."""
        literal = next(iter(string.Formatter().parse(self.template)))[0]
        return Path(literal.rpartition("/")[0] or "/")

    def locate(self, video_id: str, start_ms: int | None) -> str:
        """The address or path of one video or cut clip.

        Args:
            video_id: The platform's id; it fills one part of the path, never several.
            start_ms: Start of the clip, ms; needed where the template has `{start}`.

        Raises:
            ClipError: FORBIDDEN for an id that is no plain name; NOT_FOUND for a start between whole seconds.
        """
        if video_id in ("", ".", "..") or "/" in video_id or "\x00" in video_id:
            raise ClipError(Code.FORBIDDEN, f"the id {video_id!r} is no plain name and may not be put into a path")
        name = quote(video_id, safe="") if self.kind == "mirror" else video_id
        if not self.is_cut:
            return self.template.format(video_id=name)
        if start_ms is None:
            raise ValueError(f"{self.template} holds cut clips: a start is needed")
        if start_ms % 1000:
            raise ClipError(Code.NOT_FOUND, f"{{start}} counts whole seconds; this clip starts at {start_ms} ms")
        return self.template.format(video_id=name, start=start_ms // 1000)


def parse_source(text: str) -> Source:
    """What `--from` says.

    Args:
        text: `youtube`, an http(s) address or a path, the latter two with `{video_id}` and perhaps `{start}`.

    Raises:
        ArgumentError: It is none of these.
    """
    if text == "youtube":
        return Source(kind="youtube", template=text)
    _check_fields(text)
    scheme = _SCHEME.match(text)
    if scheme is None:
        path = Path(text).expanduser()
        return Source(kind="folder", template=str(path if path.is_absolute() else Path.cwd() / path))
    if scheme[1].lower() not in ("http", "https"):
        raise ArgumentError(f"--from {text!r}: the scheme {scheme[1]!r} is not read; {_FORMS}")
    _check_address(text)
    return Source(kind="mirror", template=text)


def _fields(template: str) -> list[tuple[str, str]]:
    """Name and format of every field, in order."""
    parsed = string.Formatter().parse(template)
    return [
        (name + ("!" + conversion if conversion else ""), spec or "")
        for _, name, spec, conversion in parsed
        if name is not None
    ]


def _check_fields(text: str) -> None:
    try:
        fields = _fields(text)
    except ValueError as error:
        raise ArgumentError(f"--from {text!r} cannot be read ({error}); {_FORMS}") from error
    for name, spec in fields:
        if not (name == "video_id" and not spec) and not (name == "start" and _START.fullmatch(spec)):
            field = f"{{{name}:{spec}}}" if spec else f"{{{name}}}"
            raise ArgumentError(
                f"--from {text!r}: the field {field} is not known; fields are {{video_id}} and {{start:06d}}"
            )
    if "video_id" not in dict(fields):
        raise ArgumentError(f"--from {text!r} has no {{video_id}}: every video would be the same file; {_FORMS}")


def _check_address(text: str) -> None:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ArgumentError(f"--from {text!r} is no address: {error}") from error
    if not host or "{" in parts.netloc:
        raise ArgumentError(f"--from {text!r}: the host must be written out; fields stand in the path or query")
    if "@" in parts.netloc:
        raise ArgumentError("--from has a name or password in its address, which would be stored with every row")
    if parts.fragment:
        raise ArgumentError(f"--from {text!r}: leave out what follows the #; it is never sent to a server")
