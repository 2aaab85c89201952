"""What a generator is trained on: the latents, frames and captions of the clips of generations of shards.

The shards say which clips and with which captions; the latents belong to the clips (`curation/latents.py`). Batch b is
a function of (seed, b), see `curation/shards/batches.py`; any thread may make any batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from curation import read_ahead
from curation.blobs import Array
from curation.dataset import Dataset
from curation.encode import SoundEncoder
from curation.errors import ArgumentError
from curation.generators import Generators
from curation.keys import stable_hash
from curation.latents import Extras, LatentClips, Lengths, Members
from curation.raw_latents import RawLatents
from curation.shards.batches import BatchPlan, Indices
from curation.shards.reader import Shards
from curation.stored_neighbours import side_by_side
from curation.takedowns.watch import TakedownWatch


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
        for one in self._clips:
            one.check(lengths)
        edges = np.asarray(lengths.latent_frames)
        bucket_of = [np.searchsorted(edges, clips.latent_frames, side="right") - 1 for clips in self._clips]
        self.too_short = int(sum((buckets < 0).sum() for buckets in bucket_of))
        self._watches = [TakedownWatch(source.dataset, one.keys) for source, one in zip(sources, clips, strict=True)]
        self.types = frozenset[str]().union(*(one.types for one in clips))
        """All that clips train, by what lists say of them."""
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
    def open(cls, sources: Sequence[Source], *, latents: str, lengths: Lengths, extras: Extras | None = None) -> Self:
        """The samples of some generations.

        Args:
            sources: What is trained on.
            latents: Name of the latents, as given to `encode`.
            lengths: How long samples are.
            extras: What samples have beside latents, frames and texts; None: nothing.

        Raises:
            ArgumentError: The latents, or what else is asked for, are missing for some clip, or no clip is long enough.
        """
        clips = [
            LatentClips.of(one.dataset, one.generation, latents=latents, where=one.where, extras=extras)
            for one in sources
        ]
        return cls(sources, clips, lengths)

    @classmethod
    def open_raw(
        cls,
        sources: Sequence[Source],
        *,
        codec: SoundEncoder,
        hop_samples: int,
        frame_size_px: int,
        lengths: Lengths,
        extras: Extras | None = None,
    ) -> Self:
        """The samples of some generations, decoded and encoded as they are drawn: nothing has to be stored.

        They are those that `open` gives, but for pictures that would be kept as JPEG.

        Args:
            sources: What is trained on.
            codec: Makes the latents; several threads call it.
            hop_samples: Samples of one latent frame, at the codec's rate.
            frame_size_px: Side of the pictures, px.
            lengths: How long samples are.
            extras: What samples have beside latents, frames and texts; None: nothing.

        Raises:
            ArgumentError: What is asked for is missing for some clip, or no clip is long enough.
        """
        clips = []
        for one in sources:
            members = Members.of(one.dataset, one.generation, one.where)
            asked = members.with_earlier() if extras is not None and extras.before else members.wanted
            latents = RawLatents(
                Shards.open(one.dataset.root("shards") / one.generation),
                codec,
                hop_samples=hop_samples,
                frame_rate_hz=lengths.frame_rate_hz,
                frame_size_px=frame_size_px,
                wanted=asked,
            )
            clips.append(LatentClips.with_extras(one.dataset, members, latents, extras or Extras()))
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
            (B, N, H, W, 3) uint8 or None where no clip of the batch has any, `has_frames` (B,) bool, `keys` B strings,
            `seconds`, B times their length, s; `seen` (B, N, P, V) float16 with `has_seen`, asked for in their place.
            `types`, B strings, where any clip has one: what a row trains, one of its clip's, empty where it has none.
            Where asked for, `before` as the latents with `has_before` (B,) bool, `teachers` (B, S) float32 with
            `has_teachers`, `said` (B, S) float32, zeros where a text is blank, `heard` (B, L, W) float16, what
            `side_by_side` gives of neighbours, `transcripts`, B strings, and, unless every text is blank, `tokens`
            (B, L, T) float16 with `token_lengths`, B integers.

        Raises:
            StoppedError: Some clip that is trained on was taken down meanwhile.
        """
        places = plan.batch(number)
        bucket = self._filled[places.bucket]
        wanted = [
            (row, source, int(self._members[bucket, source][places.clips[row]]))
            for row, source in enumerate(places.sources.tolist())
            if rows is None or row in rows
        ]
        generators = Generators([plan.seed, number, _SAMPLE], plan.batch_size)
        places_drawn = [
            (source, self._clips[source].draw(clip, self.lengths, bucket, generators.of(row)))
            for row, source, clip in wanted
        ]
        read_ahead.begin()
        drawn = [self._clips[source].sample(one, self.lengths) for source, one in places_drawn]
        batch = {
            "latents": np.stack([sample["latents"] for sample in drawn]),
            "texts": [sample["text"] for sample in drawn],
            "keys": [sample["key"] for sample in drawn],
            "seconds": [self.lengths.latent_frames[bucket] / self.lengths.latent_rate_hz] * len(drawn),
        }
        if self.types:
            batch["types"] = [sample["type"] for sample in drawn]
        for name in ("frames", "seen", "before", "teachers"):
            if name in drawn[0]:
                found = [sample[name] for sample in drawn]
                batch[name], batch[f"has_{name}"] = _filled(found), np.array([one is not None for one in found])
        for name in ("said", "heard"):
            if name in drawn[0]:
                batch[name] = np.stack([sample[name] for sample in drawn])
        if "transcript" in drawn[0]:
            batch["transcripts"] = [sample["transcript"] for sample in drawn]
        if "neighbours" in drawn[0]:
            batch |= side_by_side([sample["neighbours"] for sample in drawn])
        tokens = [sample["tokens"] for sample in drawn if "tokens" in sample]
        if any(one.size for one in tokens):
            batch["tokens"], batch["token_lengths"] = _padded(tokens)
        for watch in self._watches:  # now that all of it was copied out of the files
            watch.check()
        return batch


def _filled(found: Sequence[Array | None]) -> Array | None:
    """Arrays of one shape as one, zeros for those that are missing; None where all are."""
    blank = next((np.zeros_like(one) for one in found if one is not None), None)
    return None if blank is None else np.stack([blank if one is None else one for one in found])


def _padded(found: Sequence[Array]) -> tuple[Array, list[int]]:
    """Arrays of one width (a blank one may have none) as one, zeros behind the shorter, and how long each is."""
    lengths = [len(one) for one in found]
    padded = np.zeros((len(found), max(lengths), max(one.shape[1] for one in found)), found[0].dtype)
    for row, one in zip(padded, found, strict=True):
        row[: len(one), : one.shape[1]] = one
    return padded, lengths
