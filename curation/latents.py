"""The latents, frames and texts of many clips, by number: where each lies, and what is read of it.

Of a clip a span is drawn; the arrays are gathered from blobs through memory maps. Of sound nothing is decoded, of
pictures only what was stored as JPEG.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.blobs import Array, BlobReader, BlobRef
from curation.dataset import Dataset
from curation.encode import JPEG_ABOVE_PX
from curation.errors import ArgumentError
from curation.selections.where import clips_where
from curation.shards.batches import Indices
from curation.shards.reader import Shards

_CLIPS = """
SELECT shard.key, CASE WHEN len(said.captions) > 0 THEN said.captions WHEN len(said.labels) > 0 THEN said.labels
        ELSE [''] END AS texts,
    encoded.* EXCLUDE (key)
FROM (SELECT *, from_json(json, '{"captions": ["VARCHAR"], "labels": ["VARCHAR"]}') AS said FROM shard) AS shard
LEFT JOIN encoded USING (key) ORDER BY shard.number"""

_ENCODED = """
CREATE TEMP TABLE encoded AS
SELECT encode.* EXCLUDE (label, state) FROM encode JOIN cut ON cut.key = encode.key
    AND encode.input = concat_ws('+', cut.audio_sha256, cut.video_sha256)
WHERE encode.state = 'done' AND encode.label = $label"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lengths:
    """How long samples are, and at which rates.

    Args:
        latent_frames: Length of a sample for each bucket, latent frames, ascending. A clip is in the bucket of the
            longest that it fills; of a longer clip a span is drawn.
        latent_rate_hz: Rate of the latents, Hz.
        frame_rate_hz: Rate of the stored pictures, Hz.
    """

    latent_frames: tuple[int, ...]
    latent_rate_hz: float
    frame_rate_hz: float

    def __post_init__(self) -> None:
        if (
            not self.latent_frames
            or min(self.latent_frames) < 1
            or list(self.latent_frames) != sorted(set(self.latent_frames))
        ):
            raise ArgumentError(f"lengths must be above 0 and ascending, not {self.latent_frames}")

    @property
    def frames_of_latent(self) -> float:
        """Pictures that a latent frame lasts."""
        return self.frame_rate_hz / self.latent_rate_hz

    def pictures(self, bucket: int) -> int:
        """Pictures of a sample."""
        return max(1, round(self.latent_frames[bucket] * self.frames_of_latent))


class LatentClips:
    """Some clips, in columns: six million take some 2 GB, most of it captions. Any thread may read.

    Args:
        reader: Of the blobs.
        table: A row a clip: `key`, `texts`, and the columns of the stage `encode`.
    """

    def __init__(self, reader: BlobReader, table: pa.Table) -> None:
        self._reader = reader
        self._keys, self._texts = table["key"].combine_chunks(), table["texts"].combine_chunks()
        blobs = table["blob"].combine_chunks().dictionary_encode()
        self._blobs, self._blob = blobs.dictionary.to_pylist(), _numbers(blobs.indices)
        self.latent_frames = _numbers(table["latent_frames"])
        self._places = {
            name: _numbers(table[name]) if name in table.column_names else np.full(len(table), -1)  # an older dataset
            for name in (
                "latent_channels", "latents_offset_bytes", "std_offset_bytes",
                "frames", "frames_offset_bytes", "frames_size_bytes", "frame_size_px",
            )
        }  # fmt: skip

    @classmethod
    def of(cls, dataset: Dataset, generation: str, *, latents: str, where: str | None = None) -> "LatentClips":
        """The clips of a generation.

        Args:
            dataset: The dataset.
            generation: Name of the generation.
            latents: Name of the latents.
            where: SQL condition over the dataset's tables; None for all clips.

        Raises:
            ArgumentError: Some have no such latents.
        """
        shards = Shards.open(dataset.root("shards") / generation)
        kept = None if where is None else pa.array(clips_where(dataset, where), pa.string())
        tables = []
        with dataset.connect() as connection:
            connection.execute(_ENCODED, {"label": latents})
            for offsets in shards.offsets():
                table = offsets.select(["key", "json"])
                table = table.append_column("number", pa.array(range(len(table)), pa.int32()))
                if kept is not None:
                    table = table.filter(pc.is_in(table["key"], kept))
                connection.register("shard", table)
                tables.append(connection.sql(_CLIPS).to_arrow_table())
        table = pa.concat_tables(tables)
        missing = table.filter(pc.is_null(table["blob"]))["key"]
        if len(missing):
            raise ArgumentError(
                f"{len(missing)} of {len(table)} clips of generation {generation!r} of {dataset.path} "
                f"have no latents {latents!r}, {missing[0]} among them; run `foundsound encode` first"
            )
        return cls(BlobReader(dataset.root("latents")), table)

    def __len__(self) -> int:
        return len(self._keys)

    def expect(self, clip: int) -> None:
        """Say that a clip's latents will be read soon."""
        shape = (int(self.latent_frames[clip]), int(self._places["latent_channels"][clip]))
        self._reader.expect(self._ref(clip, "latents_offset_bytes", shape, "<f2"))

    def sample(self, clip: int, lengths: Lengths, bucket: int, rng: np.random.Generator) -> dict[str, Any]:
        """One clip: a span of its latents, the frames of that span, and one of its texts, drawn by `rng`."""
        length = lengths.latent_frames[bucket]
        start = int(rng.integers(int(self.latent_frames[clip]) - length + 1))
        frames = self._frames(clip, start, lengths, bucket) if self._places["frames"][clip] > 0 else None
        texts = self._texts[clip]
        text = texts[int(rng.integers(len(texts)))].as_py()
        latents = self._latents(clip, start, length, rng)
        return {"key": self._keys[clip].as_py(), "text": text, "latents": latents, "frames": frames}

    def _latents(self, clip: int, start: int, length: int, rng: np.random.Generator) -> Array:
        """A span of the latents, as they lie in the file; of those with a spread, drawn from it as float32."""
        mean = self._read(clip, "latents_offset_bytes")[start : start + length]
        if self._places["std_offset_bytes"][clip] < 0:
            return mean
        std = self._read(clip, "std_offset_bytes")[start : start + length]
        return np.asarray(mean + std * rng.standard_normal(mean.shape, dtype=np.float32))

    def _read(self, clip: int, offset: str) -> Array:
        shape = (int(self.latent_frames[clip]), int(self._places["latent_channels"][clip]))
        return self._reader.read(self._ref(clip, offset, shape, "<f2"))

    def _frames(self, clip: int, start: int, lengths: Lengths, bucket: int) -> Array:
        """The pictures that are seen during a span: (N, H, W, 3) uint8."""
        count, side = int(self._places["frames"][clip]), int(self._places["frame_size_px"][clip])
        shown = start * lengths.frames_of_latent + np.arange(lengths.pictures(bucket))
        shown = np.minimum(shown.astype(int), count - 1)
        if side <= JPEG_ABOVE_PX:
            raw = self._reader.read(self._ref(clip, "frames_offset_bytes", (count, side, side, 3), "|u1"))
            return np.asarray(raw[shown])
        size = int(self._places["frames_size_bytes"][clip])
        return decode_jpegs(self._reader.read(self._ref(clip, "frames_offset_bytes", (size,), "|u1")), shown)

    def _ref(self, clip: int, offset: str, shape: tuple[int, ...], dtype: str) -> BlobRef:
        blob = self._blobs[self._blob[clip]]
        return BlobRef(blob=blob, offset_bytes=int(self._places[offset][clip]), shape=shape, dtype=dtype)


def _numbers(column: pa.ChunkedArray | pa.Array) -> Indices:
    """A column as int64; -1 where it is null."""
    return np.asarray(pc.fill_null(pc.cast(column, pa.int64()), -1).to_numpy())


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
