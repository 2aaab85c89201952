"""The media store: files named by their content, below one root.

    <root>/ab/ab34...ef.flac

A file appears under its name only when it is whole, so whatever is found there can be trusted to be what its name says.
The root is a folder, or a prefix of an object store.
"""

from dataclasses import dataclass
from pathlib import Path

from curation.errors import DatasetError
from curation.keys import file_sha256
from curation.storage import Root


@dataclass(frozen=True, slots=True)
class MediaStore:
    """Content-addressed files below `root`.

    Args:
        root: Where the store is; a folder is made when the first file is put.
    """

    root: Path | Root

    def path(self, sha256: str, suffix: str) -> Path:
        """Where the file with this content is, or would be; `suffix` includes the dot, as `.flac`.

        Raises:
            DatasetError: The store is an object store; `open_path` gives a copy.
        """
        return Root.of(self.root).path / media_name(sha256, suffix)

    def put(self, file: Path, suffix: str) -> str:
        """Move a finished file into the store and return its sha256; the same content twice is kept once."""
        sha256 = file_sha256(file)
        Root.of(self.root).put_new(file, media_name(sha256, suffix))
        return sha256

    def open_path(self, sha256: str, suffix: str) -> Path:
        """The path of a file that a table says is there; of an object store, that of a copy on this machine.

        Raises:
            DatasetError: It is not there.
        """
        try:
            return Root.of(self.root).local(media_name(sha256, suffix))
        except FileNotFoundError as error:
            raise self._missing(sha256, suffix) from error

    def read(self, sha256: str, suffix: str) -> bytes:
        """The content of such a file; nothing is kept of it on this machine.

        Raises:
            DatasetError: It is not there.
        """
        try:
            return Root.of(self.root).read(media_name(sha256, suffix))
        except FileNotFoundError as error:
            raise self._missing(sha256, suffix) from error

    def _missing(self, sha256: str, suffix: str) -> DatasetError:
        place = f"{self.root}/{media_name(sha256, suffix)}"
        return DatasetError(f"media file {place} is named by a table but missing; fetch its video again")


def media_name(sha256: str, suffix: str) -> str:
    """Name of the file with this content, below the root of a store."""
    return f"{sha256[:2]}/{sha256}{suffix}"
