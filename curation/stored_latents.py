"""Where the latents and pictures of the clips of a generation lie, by number; read through memory maps.

The stage `encode` wrote them. Which of them make a sample is `curation/latents.py`'s.
"""

import io
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from curation.blobs import Array, BlobReader, BlobRef
from curation.shards.batches import Indices
from curation.stored_conditions import numbers


class Latents(Protocol):
    """The latents and pictures of the clips of a generation, by their number in it. Any thread may read."""

    latent_frames: Indices
    """How many each clip has; -1 where it has none."""

    def expect(self, clip: int) -> None:
        """Say that a clip will be read soon."""

    def moments(self, clip: int) -> tuple[Array, Array | None]:
        """Means and spreads of a clip's latents, (F, D) float16 each; no spreads where the latents are certain."""

    def pictures(self, clip: int, wanted: Indices) -> Array | None:
        """Some of a clip's pictures, (N, H, W, 3) uint8, the last one where it has fewer; None where it has none."""


class StoredLatents:
    """What the stage `encode` wrote.

    Args:
        reader: Of the blobs.
        table: A row a clip: the columns of the stage `encode`, null where it was not encoded.
    """

    def __init__(self, reader: BlobReader, table: pa.Table) -> None:
        self._reader = reader
        blobs = table["blob"].combine_chunks().dictionary_encode()
        self._blobs, self._blob = blobs.dictionary.to_pylist(), numbers(blobs.indices)
        self.latent_frames = numbers(table["latent_frames"])
        self._places = {
            name: numbers(table[name]) if name in table.column_names else np.full(len(table), -1)  # an older dataset
            for name in (
                "latent_channels", "latents_offset_bytes", "std_offset_bytes",
                "frames", "frames_offset_bytes", "frames_size_bytes", "frame_size_px",
            )
        }  # fmt: skip

    def expect(self, clip: int) -> None:
        """Have the system begin to read a clip's latents."""
        self._reader.expect(self._latents(clip, "latents_offset_bytes"))

    def moments(self, clip: int) -> tuple[Array, Array | None]:
        """Means and spreads of a clip's latents, as they lie in the file."""
        mean = self._reader.read(self._latents(clip, "latents_offset_bytes"))
        if self._places["std_offset_bytes"][clip] < 0:
            return mean, None
        return mean, self._reader.read(self._latents(clip, "std_offset_bytes"))

    def pictures(self, clip: int, wanted: Indices) -> Array | None:
        """Some of a clip's pictures; None where it has none."""
        count, side = int(self._places["frames"][clip]), int(self._places["frame_size_px"][clip])
        if count < 1:
            return None
        shown = np.minimum(wanted, count - 1)
        if self._places["frames_size_bytes"][clip] < 0:
            raw = self._reader.read(self._ref(clip, "frames_offset_bytes", (count, side, side, 3), "|u1"))
            return np.asarray(raw[shown])
        size = int(self._places["frames_size_bytes"][clip])
        return decode_jpegs(self._reader.read(self._ref(clip, "frames_offset_bytes", (size,), "|u1")), shown)

    def _latents(self, clip: int, offset: str) -> BlobRef:
        return self._ref(clip, offset, (int(self.latent_frames[clip]), int(self._places["latent_channels"][clip])))

    def _ref(self, clip: int, offset: str, shape: tuple[int, ...], dtype: str = "<f2") -> BlobRef:
        blob = self._blobs[self._blob[clip]]
        return BlobRef(blob=blob, offset_bytes=int(self._places[offset][clip]), shape=shape, dtype=dtype)


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
