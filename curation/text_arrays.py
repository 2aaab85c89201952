"""Arrays of texts: each text of a clip by its hash, equal texts of one worker at one place.

The stages that make something of captions share this: `encode_text` (hidden states), `embed_text` (vectors).
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from curation.blobs import BlobRef, BlobWriter
from curation.keys import KEY_HEX_DIGITS
from curation.storage import Root

REMEMBERED = 200_000
"""Places of texts that a worker remembers. Source: ours; about 40 MB, and labels are few."""

HASH_SQL = f"substr(sha256(text), 1, {KEY_HEX_DIGITS})"
"""What a text is called beside its clip: SQL on `text`."""


def text_hash(text: str) -> str:
    """What a text is called beside its clip: the first 20 hexadecimal digits of its sha256."""
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_HEX_DIGITS]


class TextArrays:
    """Writes what is made of texts into a blob of its own; for one thread of one process.

    Args:
        folder: Where the blob is made.
        make: Gives an array for each of some texts, which are all different.
    """

    def __init__(self, folder: str | Path | Root, make: Callable[[list[str]], Iterable[np.ndarray]]) -> None:
        self._writer, self._make = BlobWriter(folder), make
        self._places: dict[str, BlobRef] = {}

    def places(self, texts: Sequence[str]) -> list[BlobRef]:
        """Where the array of each text lies; what is new is made and is on the disk when this returns."""
        if len(self._places) > REMEMBERED:
            self._places.clear()
        new = sorted(set(texts) - self._places.keys())
        for text, array in zip(new, self._make(new) if new else (), strict=True):
            self._places[text] = self._writer.append(array)
        self._writer.sync()
        return [self._places[text] for text in texts]
