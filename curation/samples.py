"""What a generator is trained on: the latents, frames and captions of the clips of generations of shards.

The shards say which clips and with which captions; the latents belong to the clips (`curation/latents.py`). Batch b is
a function of (seed, b), see `curation/shards/batches.py`; any thread may make any batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.keys import stable_hash
from curation.latents import LatentClips, Lengths
from curation.shards.batches import BatchPlan, Indices


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One generation that is trained on.

    Args:
        dataset: The dataset.
        generation: Name of its generation.
        weight: Its share in what is seen, above 0, in any unit; None for its share of the clips.
        where: SQL condition over the dataset's tables, as `select --where` has; None for all clips.
    """

    dataset: Dataset
    generation: str = "train"
    weight: float | None = None
    where: str | None = None

    def __post_init__(self) -> None:
        if self.weight is not None and not self.weight > 0:
            raise ArgumentError(f"the weight of {self.dataset.path} must be above 0, not {self.weight}")


_SAMPLE = stable_hash("sample")
"""So that what a row draws is not what another part of the run draws with the same numbers."""


class Samples:
    """The clips of some generations that are long enough, ready to be drawn in batches.

    Args:
        sources: What is trained on.
        clips: The clips of each source.
        lengths: How long samples are.

    Raises:
        ArgumentError: No clip is long enough.
    """

    def __init__(self, sources: Sequence[Source], clips: Sequence[LatentClips], lengths: Lengths) -> None:
        self.sources, self.lengths, self._clips = tuple(sources), lengths, tuple(clips)
        edges = np.asarray(lengths.latent_frames)
        bucket_of = [np.searchsorted(edges, clips.latent_frames, side="right") - 1 for clips in self._clips]
        self.too_short = int(sum((buckets < 0).sum() for buckets in bucket_of))
        self._members: dict[tuple[int, int], Indices] = {
            (bucket, source): np.flatnonzero(buckets == bucket)
            for source, buckets in enumerate(bucket_of)
            for bucket in range(len(edges))
        }
        self._filled = [
            bucket
            for bucket in range(len(edges))
            if any(len(self._members[bucket, source]) for source in range(len(self.sources)))
        ]
        if not self._filled:
            raise ArgumentError(
                f"none of the {self.too_short} clips has {edges[0]} latent frames; train on shorter samples with "
                "--seconds"
            )

    @classmethod
    def open(cls, sources: Sequence[Source], *, latents: str, lengths: Lengths) -> Self:
        """The samples of some generations.

        Args:
            sources: What is trained on.
            latents: Name of the latents, as given to `encode`.
            lengths: How long samples are.

        Raises:
            ArgumentError: The latents are missing for some clip, or no clip is long enough.
        """
        clips = [LatentClips.of(one.dataset, one.generation, latents=latents, where=one.where) for one in sources]
        return cls(sources, clips, lengths)

    def __len__(self) -> int:
        return sum(len(members) for members in self._members.values())

    def plan(self, *, batch_size: int, seed: int) -> BatchPlan:
        """The order in which the clips are seen.

        Raises:
            ArgumentError: Some sources have a weight and others none, or a source with a weight has no clip.
        """
        sizes = tuple(
            tuple(len(self._members[bucket, source]) for source in range(len(self.sources))) for bucket in self._filled
        )
        weights = tuple(source.weight for source in self.sources if source.weight is not None)
        if weights and len(weights) != len(self.sources):
            raise ArgumentError("give every source of data a weight, or none")
        for source, clips in zip(self.sources, np.sum(sizes, axis=0), strict=True):
            if weights and not clips:
                raise ArgumentError(f"no clip of {source.dataset.path} is long enough or meets {source.where!r}")
        return BatchPlan(sizes=sizes, batch_size=batch_size, seed=seed, weights=weights)

    def batch(self, plan: BatchPlan, number: int, rows: range | None = None) -> dict[str, Any]:
        """Some rows of global batch `number`.

        Args:
            plan: Of these samples.
            number: Counted from 0 over all epochs.
            rows: Which of them; None for all.

        Returns:
            `latents` (B, F, D) float16, or float32 where some were drawn from a spread, `texts` B strings, `frames`
            (B, N, H, W, 3) uint8 or None where no clip of the batch has any, `has_frames` (B,) bool, `keys` B strings.
        """
        places = plan.batch(number)
        bucket = self._filled[places.bucket]
        wanted = [
            (row, source, int(self._members[bucket, source][places.clips[row]]))
            for row, source in enumerate(places.sources.tolist())
            if rows is None or row in rows
        ]
        for _, source, clip in wanted:
            self._clips[source].expect(clip)
        drawn = []
        for row, source, clip in wanted:
            rng = np.random.default_rng([plan.seed, number, row, _SAMPLE])
            drawn.append(self._clips[source].sample(clip, self.lengths, bucket, rng))
        pictures = [sample["frames"] for sample in drawn]
        blank = next((np.zeros_like(frames) for frames in pictures if frames is not None), None)
        return {
            "latents": np.stack([sample["latents"] for sample in drawn]),
            "texts": [sample["text"] for sample in drawn],
            "frames": None if blank is None else np.stack([blank if f is None else f for f in pictures]),
            "has_frames": np.array([frames is not None for frames in pictures]),
            "keys": [sample["key"] for sample in drawn],
        }
