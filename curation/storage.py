"""Where media, shards, vectors and latents lie: a folder, or a prefix of an object store (fsspec).

A file appears under its name whole or not at all: it is made on this machine, and then renamed (POSIX) or put with one
request. What is read of an object store is kept in a bounded folder of this machine, since decoders want files.
Names in a root are relative paths with `/`.
"""

import hashlib
import os
import shutil
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from posixpath import normpath
from typing import Any, Self

from curation.errors import ArgumentError, DatasetError
from curation.tables import TEMPORARY, publish, remove_leftovers, temporary_beside, write_bytes

KINDS = ("media", "shards", "vectors", "latents")
"""What may lie elsewhere than in the dataset's folder."""

CACHE_FOLDER = "FOUNDSOUND_CACHE"
CACHE_BYTES = "FOUNDSOUND_CACHE_BYTES"
"""Environment variables: where copies of objects are kept (`~/.cache/foundsound`), and how much of them (20 GB)."""

DEFAULT_CACHE_BYTES = 20_000_000_000
_LOOKS = ("00", "40", "80", "c0")
"""One copy in 64, by its name, looks how many there are: listing all of them for each would take longer than it."""

FRESH_S = 600.0
"""Copies that were used in the last ten minutes stay, since somebody may be about to open them. Source: ours."""


@dataclass(frozen=True, slots=True)
class Root:
    """One place that holds files.

    Args:
        url: Absolute path of a folder, or an address that fsspec knows, as `s3://bucket/prefix`.
    """

    url: str

    @classmethod
    def of(cls, place: "str | Path | Root", base: Path | None = None) -> Self:
        """The root at a path or an address; a relative path is one below `base`, or the working folder.

        Raises:
            ArgumentError: The address has no bucket or no path.
        """
        if isinstance(place, Root):
            return cls(place.url)
        text = str(place)
        if "://" not in text:
            return cls(os.path.abspath((base or Path()) / Path(text).expanduser()))  # noqa: PTH100 (links stay links)
        scheme, _, rest = text.partition("://")
        inside = normpath(rest).strip("/")
        if not scheme or inside in ("", ".") or inside.startswith(".."):
            raise ArgumentError(f"{text!r} is no place for files; give a folder, or an address as s3://bucket/folder")
        return cls(f"{scheme}://{inside}")

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine (or mounted on it)."""
        return "://" not in self.url

    @property
    def path(self) -> Path:
        """The folder.

        Raises:
            DatasetError: It is an object store.
        """
        if not self.is_local:
            raise DatasetError(f"{self.url} is an object store; what is done here needs a folder")
        return Path(self.url)

    @property
    def name(self) -> str:
        """Last part of its path."""
        return self.url.rpartition("/")[2]

    def __truediv__(self, name: str) -> Self:
        """The root of a folder inside; `..` leads to the one above."""
        scheme, separator, rest = self.url.rpartition("://")
        return type(self)(f"{scheme}{separator}{normpath(f'{rest}/{name}')}")

    def __str__(self) -> str:
        return self.url

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""
        where = (self / name).url
        return Path(where).is_file() if self.is_local else bool(_filesystem(where).isfile(where))

    def size_bytes(self, name: str) -> int:
        """Size of a file, bytes.

        Raises:
            FileNotFoundError: There is none.
        """
        where = (self / name).url
        return Path(where).stat().st_size if self.is_local else int(_filesystem(where).info(where)["size"])

    def names(self) -> list[str]:
        """Names of the files and folders right in it, sorted; none where it does not exist."""
        if self.is_local:
            return sorted(path.name for path in self.path.iterdir()) if self.path.is_dir() else []
        try:
            listed = _filesystem(self.url).ls(self.url, detail=False, refresh=True)
        except FileNotFoundError:
            return []
        return sorted({str(found).rstrip("/").rpartition("/")[2] for found in listed} - {self.name, ""})

    def put(self, file: Path, name: str) -> None:
        """Move a finished file of this machine to this name, which begins to exist whole; replaces what is there."""
        where = (self / name).url
        if not self.is_local:
            _filesystem(where).put_file(str(file), where)
            _copy_of(where).unlink(missing_ok=True)
            file.unlink()
            return
        temporary = temporary_beside(Path(where))
        try:
            try:
                file.replace(temporary)
            except OSError:  # another file system: copy, then drop the original
                shutil.copyfile(file, temporary)
                file.unlink()
            temporary.chmod(0o644)
            publish(temporary, Path(where))
        finally:
            temporary.unlink(missing_ok=True)

    def put_new(self, file: Path, name: str) -> None:
        """Like `put`, for names that follow from the content: what is there already stays, unless it is shorter.

        Where the store knows If-None-Match (Amazon's and most others) two writers cannot both win.
        """
        where = (self / name).url
        if self.exists(name) and self.size_bytes(name) == file.stat().st_size:
            file.unlink()
            return
        if self.is_local or self.exists(name):
            self.put(file, name)
            return
        try:
            _filesystem(where).put_file(str(file), where, mode="create")
        except FileExistsError:
            if self.size_bytes(name) != file.stat().st_size:
                raise
        file.unlink()

    def write(self, name: str, content: bytes) -> None:
        """Replace the content of a small file in one step."""
        where = (self / name).url
        if self.is_local:
            write_bytes(Path(where), content)
        else:
            _filesystem(where).pipe_file(where, content)

    def read(self, name: str, begin: int | None = None, end: int | None = None) -> bytes:
        """The bytes of a file, or those from `begin` up to `end`.

        Raises:
            FileNotFoundError: There is no such file.
        """
        where = (self / name).url
        if not self.is_local:
            return bytes(_filesystem(where).cat_file(where, start=begin, end=end))
        with Path(where).open("rb") as file:
            file.seek(begin or 0)
            return file.read(-1 if end is None else end - (begin or 0))

    def download(self, name: str, path: Path) -> None:
        """Copy a file to a path of this machine.

        Raises:
            FileNotFoundError: There is no such file.
        """
        where = (self / name).url
        if self.is_local:
            shutil.copyfile(where, path)
        else:
            _filesystem(where).get_file(where, str(path))

    def remove(self, name: str) -> bool:
        """Delete a file, and this machine's copy of it; whether there was one."""
        where = (self / name).url
        if self.is_local:
            found = Path(where).is_file()
            Path(where).unlink(missing_ok=True)
            return found
        _copy_of(where).unlink(missing_ok=True)
        found = self.exists(name)
        if found:
            _filesystem(where).rm_file(where)
        return found

    def local(self, name: str) -> Path:
        """A file of this machine with the content: the file itself, or a copy that may be deleted when it is old.

        Only for names whose content never changes.

        Raises:
            FileNotFoundError: There is no such file.
        """
        where = (self / name).url
        if self.is_local:
            if not Path(where).is_file():
                raise FileNotFoundError(where)
            return Path(where)
        copy = _copy_of(where)
        try:
            os.utime(copy)
        except FileNotFoundError:
            temporary = temporary_beside(copy)
            try:
                self.download(name, temporary)
                temporary.replace(copy)
            finally:
                temporary.unlink(missing_ok=True)
            if copy.name[:2] in _LOOKS:
                _trim(copy.parents[1])
        return copy


def fresh_copy(root: Root, name: str, copies: ExitStack) -> Path:
    """A file with the content of now: the file itself, or of an object store a copy that goes when `copies` closes.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if root.is_local:
        return root.local(name)
    path = scratch_file(Path(name).suffix)
    copies.callback(path.unlink, missing_ok=True)
    root.download(name, path)
    return path


def root_of(dataset: Path, roots: dict[str, str], kind: str) -> Root:
    """The root of a kind of files, as `dataset.json` names it; the folder of that name where it does not."""
    return Root.of(roots.get(kind, kind), base=dataset)


def parse_roots(given: list[str]) -> dict[str, str]:
    """Roots given as `media=s3://bucket/folder`.

    Raises:
        ArgumentError: One is not of this form, or of another kind than `KINDS`.
    """
    roots = {}
    for text in given:
        kind, separator, place = text.partition("=")
        if kind not in KINDS or not separator or not place:
            raise ArgumentError(f"a root is given as KIND=PLACE, with a kind of {', '.join(KINDS)}, not {text!r}")
        roots[kind] = Root.of(place).url if "://" in place else str(Path(place).expanduser())
    return roots


def scratch_file(suffix: str = "") -> Path:
    """A fresh name on this machine, for a file that is then put into a root of an object store."""
    folder = cache_folder() / "scratch"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{TEMPORARY}{uuid.uuid4().hex}{suffix}"


@lru_cache(maxsize=8)
def _open(scheme: str, pid: int) -> Any:
    """The file system of a scheme; one a process, since connections do not survive a fork."""
    import fsspec

    try:
        return fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=True)
    except ImportError as error:
        raise ArgumentError(
            f"{scheme}:// needs another package ({error}); pip install 'foundsound[s3]' for S3"
        ) from error
    except ValueError as error:
        raise ArgumentError(f"{scheme}:// is not known to fsspec ({error})") from error


def _filesystem(url: str) -> Any:
    return _open(url.partition("://")[0], os.getpid())


def cache_folder() -> Path:
    """Where caches lie that belong to no dataset: FOUNDSOUND_CACHE, else `~/.cache/foundsound`."""
    return Path(os.environ.get(CACHE_FOLDER) or Path.home() / ".cache" / "foundsound").expanduser()


def _copy_of(url: str) -> Path:
    """Where this machine's copy of an object is, or would be; it keeps the suffix, which decoders look at."""
    digest = hashlib.sha256(url.encode()).hexdigest()
    return cache_folder() / "objects" / digest[:2] / f"{digest}{Path(url).suffix}"


def _trim(objects: Path) -> None:
    """Delete what dead processes left, and the copies unused for longest until the rest is as small as allowed."""
    remove_leftovers(objects.parent)
    limit = int(os.environ.get(CACHE_BYTES) or DEFAULT_CACHE_BYTES)
    found = []
    for path in objects.glob("*/*"):
        try:
            found.append((path.stat().st_mtime, path.stat().st_size, path))
        except FileNotFoundError:
            continue
    total = sum(size for _, size, _ in found)
    for used_at, size, path in sorted(found):
        if total <= limit or used_at > time.time() - FRESH_S:
            return
        path.unlink(missing_ok=True)
        total -= size
