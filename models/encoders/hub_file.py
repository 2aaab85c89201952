"""Where a file of weights lies: on this machine, or in a repository on the Hub. It is not read here."""

from collections.abc import Sequence
from pathlib import Path

from transformers.utils import cached_file

from models.encoders.published_file import find_weights


def weights_at(name_or_path: str | Path, hub_files: Sequence[str], *, revision: str | None = None) -> Path:
    """Finds a file of weights.

    Args:
        name_or_path: a file, a folder with exactly one, or OWNER/NAME of a repository on the Hub, where there is no
            such path here.
        hub_files: names of files that a repository may have; the first that it has is taken.
        revision: branch, tag or commit on the Hub.

    Raises:
        OSError: it is nowhere, or the Hub cannot be reached.
        ValueError: a folder has several.
    """
    path, name = Path(name_or_path), str(name_or_path)
    is_on_hub = not path.exists() and not path.is_absolute() and name.count("/") == 1 and not name.startswith(".")
    if not is_on_hub:
        return find_weights(path)
    for file in hub_files:
        found = cached_file(name, file, revision=revision, _raise_exceptions_for_missing_entries=False)
        if found is not None:
            return Path(found)
    raise FileNotFoundError(f"{name} on the Hub has none of {', '.join(hub_files)}; name another, or give a file")
