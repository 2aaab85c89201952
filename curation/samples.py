"""What a generator is trained on: the latents, frames and captions of the clips of one generation of shards.

The shards say which clips and with which captions; the latents, which belong to the clips, are gathered from their
blobs by byte offset. Nothing is decoded. Batch b is a function of (seed, b), see `curation/shards/batches.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from curation.blobs import BlobReader, BlobRef
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.keys import stable_hash
from curation.shards.batches import BatchPlan
from curation.shards.reader import Shards
from curation.tables import Row


@dataclass(frozen=True, slots=True)
class _Clip:
    """Where one clip's arrays lie, and its texts."""

    key: str
    texts: tuple[str, ...]
    latents: BlobRef
    frames: BlobRef | None


class Samples:
    """The clips of a generation that are long enough, ready to be drawn in batches.

    Args:
        dataset: The dataset.
        generation: Name of the generation of shards.
        latents: Name of the latents, as given to `encode`.
        latent_frames: Length of every sample, latent frames; of longer clips a span is drawn by seed, shorter ones are
            left out and counted in `too_short`.
        frame_rate_hz: Rate of the stored pictures, Hz.
        latent_rate_hz: Rate of the latents, Hz.

    Raises:
        ArgumentError: The latents are missing for some clip, or no clip is long enough.
    """

    def __init__(
        self,
        dataset: Dataset,
        generation: str,
        *,
        latents: str,
        latent_frames: int,
        latent_rate_hz: float,
        frame_rate_hz: float,
    ) -> None:
        self._reader = BlobReader(dataset.root("latents"))
        self.latent_frames = latent_frames
        self._frames_of_latent = frame_rate_hz / latent_rate_hz
        self.pictures = max(1, round(latent_frames * self._frames_of_latent))
        shards = Shards.open(dataset.root("shards") / generation)
        encoded = {row["key"]: row for row in self._encoded(dataset, latents)}
        abouts = [(shards.key(i), shards.about(i)) for i in range(len(shards))]
        missing = [key for key, _ in abouts if key not in encoded]
        if missing:
            raise ArgumentError(
                f"{len(missing)} of {len(abouts)} clips of generation {generation!r} have no latents {latents!r}, "
                f"{missing[0]} among them; run `foundsound encode` first"
            )
        clips = [self._clip(key, about, encoded[key]) for key, about in abouts]
        self.clips = [clip for clip in clips if clip.latents.shape[0] >= latent_frames]
        self.too_short = len(clips) - len(self.clips)
        if not self.clips:
            raise ArgumentError(
                f"none of the {len(clips)} clips of generation {generation!r} has {latent_frames} latent frames; "
                f"train on shorter samples with --seconds"
            )

    @staticmethod
    def _encoded(dataset: Dataset, label: str) -> list[Row]:
        rows: list[Row] = dataset.sql(
            """SELECT encode.* FROM encode JOIN cut ON cut.key = encode.key
                AND encode.input = concat_ws('+', cut.audio_sha256, cut.video_sha256)
            WHERE encode.state = 'done' AND encode.label = ?""",
            [label],
        ).to_pylist()
        return rows

    @staticmethod
    def _clip(key: str, about: Mapping[str, Any], row: Row) -> _Clip:
        texts = tuple(about.get("captions") or ()) or tuple(about.get("labels") or ()) or ("",)
        latents = BlobRef(
            blob=row["blob"],
            offset_bytes=row["latents_offset_bytes"],
            shape=(row["latent_frames"], row["latent_channels"]),
            dtype="<f2",
        )
        frames = None
        if row["frames"]:
            shape = (row["frames"], row["frame_size_px"], row["frame_size_px"], 3)
            frames = BlobRef(blob=row["blob"], offset_bytes=row["frames_offset_bytes"], shape=shape, dtype="|u1")
        return _Clip(key, texts, latents, frames)

    def __len__(self) -> int:
        return len(self.clips)

    def batch(self, plan: BatchPlan, number: int) -> dict[str, Any]:
        """Global batch `number`.

        Args:
            plan: Its order and seed; of `len(self)` samples.
            number: Counted from 0 over all epochs.

        Returns:
            `latents` (B, F, D) float32, `texts` B strings, `frames` (B, N, H, W, 3) uint8 or None where no clip of the
            batch has any, `has_frames` (B,) bool, `keys` B strings.
        """
        drawn = [
            self.sample(int(index), np.random.default_rng([plan.seed, number, place, stable_hash("sample")]))
            for place, index in enumerate(plan.indices(number))
        ]
        pictures = [sample["frames"] for sample in drawn]
        blank = next((np.zeros_like(frames) for frames in pictures if frames is not None), None)
        return {
            "latents": np.stack([sample["latents"] for sample in drawn]),
            "texts": [sample["text"] for sample in drawn],
            "frames": None if blank is None else np.stack([blank if f is None else f for f in pictures]),
            "has_frames": np.array([frames is not None for frames in pictures]),
            "keys": [sample["key"] for sample in drawn],
        }

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """One clip: a span of its latents, the frames of that span, and one of its texts, drawn by `rng`."""
        clip = self.clips[index]
        start = int(rng.integers(clip.latents.shape[0] - self.latent_frames + 1))
        latents = self._reader.read(clip.latents)[start : start + self.latent_frames].astype(np.float32)
        frames = None
        if clip.frames is not None:
            shown = start * self._frames_of_latent + np.arange(self.pictures)
            shown = np.minimum(shown.astype(int), clip.frames.shape[0] - 1)
            frames = self._reader.read(clip.frames)[shown]
        text = clip.texts[int(rng.integers(len(clip.texts)))]
        return {"key": clip.key, "text": text, "latents": latents, "frames": frames}
