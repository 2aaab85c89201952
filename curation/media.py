"""The media store: files named by their content, below one root.

    <root>/ab/ab34...ef.flac

A file appears under its name only when it is whole, so whatever is found there can be trusted to be what its name says.
"""

from dataclasses import dataclass
from pathlib import Path

from curation.errors import DatasetError
from curation.keys import file_sha256
from curation.tables import publish, temporary_beside


@dataclass(frozen=True, slots=True)
class MediaStore:
    """Content-addressed files below `root`.

    Args:
        root: Folder of the store; made when the first file is put.
    """

    root: Path

    def path(self, sha256: str, suffix: str) -> Path:
        """Where the file with this content is, or would be; `suffix` includes the dot, as `.flac`."""
        return self.root / sha256[:2] / f"{sha256}{suffix}"

    def put(self, file: Path, suffix: str) -> str:
        """Move a finished file into the store and return its sha256; the same content twice is kept once."""
        sha256 = file_sha256(file)
        target = self.path(sha256, suffix)
        if target.exists():
            file.unlink()
            return sha256
        temporary = temporary_beside(target)
        try:
            try:
                file.replace(temporary)
            except OSError:  # another file system: copy, then drop the original
                temporary.write_bytes(file.read_bytes())
                file.unlink()
            temporary.chmod(0o644)
            publish(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        return sha256

    def open_path(self, sha256: str, suffix: str) -> Path:
        """The path of a file that a table says is there.

        Raises:
            DatasetError: It is not there.
        """
        path = self.path(sha256, suffix)
        if not path.is_file():
            raise DatasetError(f"media file {path} is named by a table but missing; fetch its video again")
        return path
