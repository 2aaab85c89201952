"""Published weights that are no repository of the Hub: fetched once from their address, and believed by their sha256.

They lie in `~/.cache/foundsound/weights`, or below FOUNDSOUND_CACHE. A file is there whole and checked, or not at all;
a download that broke off goes on where it stopped.
"""

import fcntl
import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from curation.errors import ArgumentError, StoppedError
from curation.keys import file_sha256
from curation.names import plain_name
from curation.storage import cache_folder
from curation.tables import publish
from pipelines.progress import Progress

TIMEOUT_S = 30.0
"""Longest silence of a server. Source: ours."""
BLOCK_BYTES = 1 << 16
MAX_BYTES = 2 << 30
"""No published weights that are named here come near. Source: ours."""
PROGRESS_BYTES = 1000
"""Progress is shown in kB."""

SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedWeights:
    """One file that its authors publish.

    Args:
        url: Where it is.
        licence: Under which licence it is published.
        sha256: What its content must have; None where nobody here has seen the file: then the user says it.
    """

    url: str
    licence: str
    sha256: str | None


PUBLISHED = {
    "mn04": PublishedWeights(
        url="https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1/mn04_as_mAP_432.pt",
        licence="MIT",
        sha256="899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c",
    ),
    "mn10": PublishedWeights(
        url="https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1/mn10_as_mAP_471.pt",
        licence="MIT",
        sha256=None,
    ),
}
"""Names of weights. Source of the addresses: fschmid56/EfficientAT, models/mn/model.py."""


def published_weights(name: str, *, sha256: str | None = None) -> Path:
    """The file of named weights, fetched when it is not in the cache yet.

    Args:
        name: One of `PUBLISHED`.
        sha256: What the content must have, for weights whose sum is not known here.

    Raises:
        ArgumentError: There are no weights of this name, or no checksum is known or given, or two disagree.
        StoppedError: They cannot be fetched, or are others than the checksum says.
    """
    if name not in PUBLISHED:
        raise ArgumentError(f"there are no published weights {name!r}; give one of {', '.join(PUBLISHED)}, or a path")
    weights = PUBLISHED[name]
    expected = sha256.lower() if sha256 else weights.sha256
    if expected is None:
        raise ArgumentError(
            f"the checksum of {name} is not known here: give it with --sha256 (64 hex digits, of a file you trust), or "
            f"fetch {weights.url} yourself and give the file's path instead of {name}"
        )
    if weights.sha256 not in (None, expected):
        raise ArgumentError(f"--sha256 {expected} is not that of {name}, which is {weights.sha256}; leave it out")
    return fetch_file(weights.url, sha256=expected, folder=cache_folder() / "weights")


def fetch_file(url: str, *, sha256: str, folder: Path) -> Path:
    """One file from its address, checked, below `folder`; a second process that wants it waits for the first.

    Args:
        url: http(s) address; its last part names the file.
        sha256: What the content must have, 64 lower-case hex digits.
        folder: Where it is kept; made when it is not there.

    Returns:
        `<folder>/<first 12 digits of sha256>-<name>`.

    Raises:
        ArgumentError: The address or the checksum is none.
        StoppedError: The server cannot be reached, breaks off, or gives something else.
    """
    if not SHA256.fullmatch(sha256):
        raise ArgumentError(f"a sha256 is 64 hex digits, not {sha256!r}")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ArgumentError(f"{url!r} is no http(s) address")
    name = plain_name(unquote(parts.path.rpartition("/")[2]), "file of weights")
    path = folder / f"{sha256[:12]}-{name}"
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with _held(path.with_name(f"{path.name}.lock")):
        if not path.is_file():
            try:
                _download(url, part, name)
            except (OSError, http.client.HTTPException) as error:
                raise StoppedError(
                    f"{url} could not be fetched ({error}); run the same command again to go on, or fetch it yourself "
                    "and give the file's path"
                ) from error
            _check(part, sha256, url)
            publish(part, path)
    return path


@contextmanager
def _held(lock: Path) -> Iterator[None]:
    """Hold a lock that the kernel frees with the process; waits while another process has it."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(url: str, part: Path, name: str) -> None:
    """Append what is missing of the file to `part`; from its beginning where the server does not give ranges."""
    have = part.stat().st_size if part.is_file() else 0
    try:
        answer = _ask(url, have)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        part.unlink()  # it is whole already, or of another file: the sum of a fresh one decides
        have, answer = 0, _ask(url, 0)
    with answer:
        continued = answer.status == http.HTTPStatus.PARTIAL_CONTENT and _starts_at(answer, have)
        have = have if continued else 0
        total = have + int(answer.headers.get("Content-Length") or 0)
        _bound(total)
        with (
            part.open("ab" if continued else "wb") as file,
            Progress(name, total=total // PROGRESS_BYTES, unit="kB") as progress,
        ):
            progress.advance(have // PROGRESS_BYTES)
            while block := answer.read(BLOCK_BYTES):
                file.write(block)
                progress.advance((have + len(block)) // PROGRESS_BYTES - have // PROGRESS_BYTES)
                have += len(block)
                _bound(have)
        if have < total:
            raise http.client.IncompleteRead(b"", total - have)


def _ask(url: str, have: int) -> Any:
    headers = {"User-Agent": "foundsound", **({"Range": f"bytes={have}-"} if have else {})}
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)


def _starts_at(answer: Any, have: int) -> bool:
    return str(answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-")


def _bound(size: int) -> None:
    if size > MAX_BYTES:
        raise OSError(f"{size} bytes are more than the {MAX_BYTES} that weights may have")


def _check(part: Path, sha256: str, url: str) -> None:
    found = file_sha256(part)
    if found != sha256:
        part.unlink()
        raise StoppedError(
            f"{url} gave a file with sha256 {found}, not {sha256}; it was deleted. If its authors replaced it, check "
            "the new one and give its path, or its checksum with --sha256"
        )
