"""Where the latents and pictures of the clips of a generation lie, by number; read through memory maps.

The stage `encode` wrote them. Which of them make a sample is `curation/latents.py`'s.
"""

import io
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from curation.blobs import Array, BlobReader
from curation.places import Places, numbers
from curation.shards.batches import Indices


class Latents(Protocol):
    """The latents and pictures of the clips of a generation, by their number in it. Any thread may read."""

    latent_frames: Indices
    """How many each clip has; -1 where it has none."""

    def expect(self, clip: int) -> None:
        """Say that a clip will be read soon."""

    def moments(self, clip: int) -> tuple[Array, Array | None]:
        """Means and spreads of a clip's latents, (F, D) float16 each; no spreads where the latents are certain."""

    def has_pictures(self, clip: int) -> bool:
        """Whether a clip may have pictures; what is false is known at once."""

    def pictures(self, clip: int, wanted: Indices) -> Array | None:
        """Some of a clip's pictures, (N, H, W, 3) uint8, the last one where it has fewer; None where it has none."""


_COLUMNS = (
    "latents_offset_bytes", "std_offset_bytes", "frames", "frames_offset_bytes", "frames_size_bytes", "frame_size_px",
)  # fmt: skip
"""Of the stage `encode`; an older dataset has not all of them."""


class StoredLatents:
    """What the stage `encode` wrote.

    Args:
        reader: Of the blobs.
        table: A row a clip: the columns of the stage `encode`, null where it was not encoded.
    """

    def __init__(self, reader: BlobReader, table: pa.Table) -> None:
        missing = pa.nulls(len(table), pa.int64())
        columns = {name: table[name] if name in table.column_names else missing for name in _COLUMNS}  # an older one
        self.latent_frames = numbers(table["latent_frames"])
        self._width = numbers(table["latent_channels"])
        self._mean = Places(reader, table["blob"], columns["latents_offset_bytes"])
        self._std = Places(reader, table["blob"], columns["std_offset_bytes"])
        self._pictures = Places(reader, table["blob"], columns["frames_offset_bytes"], "|u1")
        self._frames, self._size_bytes = numbers(columns["frames"]), numbers(columns["frames_size_bytes"])
        self._side_px = numbers(columns["frame_size_px"])

    def expect(self, clip: int) -> None:
        """Say that a clip's latents will be read soon."""
        self._mean.expect(clip, self._shape(clip))

    def moments(self, clip: int) -> tuple[Array, Array | None]:
        """Means and spreads of a clip's latents, as they lie in the file."""
        shape = self._shape(clip)
        return self._mean.read(clip, shape), self._std.read(clip, shape) if self._std.has(clip) else None

    def _shape(self, clip: int) -> tuple[int, int]:
        return self.latent_frames.item(clip), self._width.item(clip)

    def has_pictures(self, clip: int) -> bool:
        """Whether a clip has pictures."""
        return self._frames.item(clip) > 0

    def pictures(self, clip: int, wanted: Indices) -> Array | None:
        """Some of a clip's pictures; None where it has none."""
        count, side = self._frames.item(clip), self._side_px.item(clip)
        if count < 1:
            return None
        shown = np.minimum(wanted, count - 1)
        if self._size_bytes[clip] < 0:
            return np.asarray(self._pictures.read(clip, (count, side, side, 3))[shown])
        return decode_jpegs(self._pictures.read(clip, (self._size_bytes.item(clip),)), shown)


def decode_jpegs(packed: Array, which: Sequence[int] | Indices) -> Array:
    """Some of the pictures that `curation.encode.pack_jpegs` packed: (N, H, W, 3) uint8; each decoded once."""
    from PIL import Image

    count = int(packed[:4].view("<u4")[0])
    ends = packed[4 : 4 + 4 * count].view("<u4")
    begins = np.concatenate([[0], ends[:-1]])
    content = packed[4 + 4 * count :]
    decoded = {
        int(one): np.asarray(Image.open(io.BytesIO(content[begins[one] : ends[one]].tobytes())))
        for one in sorted({int(one) for one in which})
    }
    return np.stack([decoded[int(one)] for one in which])
