"""The latents, frames and texts of many clips, by number: where each lies, and what is read of it.

Of a clip a span is drawn; the arrays are gathered from blobs through memory maps. Of sound nothing is decoded, of
pictures only what was stored as JPEG. Where nothing was encoded, `curation/raw_latents.py` stands in.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.blobs import Array, BlobReader
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.heard import HeardTokens
from curation.places import numbers
from curation.seen import SeenTokens
from curation.selections.where import clips_where
from curation.shards.batches import Indices
from curation.shards.reader import Shards
from curation.stored_conditions import Teachers, TextTokens, TextVectors
from curation.stored_latents import Latents, StoredLatents
from curation.stored_neighbours import NeighboursWanted, StoredNeighbours

_CLIPS = """
SELECT key, CASE WHEN len(said.captions) > 0 THEN said.captions WHEN len(said.labels) > 0 THEN said.labels
        ELSE [''] END AS texts, coalesce(said.transcript, '') AS transcript, coalesce(said.types, []) AS types,
    said.prev_clip_id
FROM (SELECT key, number, from_json(json, '{"captions": ["VARCHAR"], "labels": ["VARCHAR"], "transcript": "VARCHAR",
    "types": ["VARCHAR"], "prev_clip_id": "VARCHAR"}') AS said FROM shard)
ORDER BY number"""

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Extras:
    """What a sample has beside latents, frames and a text; each costs reading, so it is asked for.

    Args:
        before: The latents of what sounded right before the span: of the clip itself, and of the one that ends where
            it starts, where that is in the generation too.
        teachers: Name of vectors of sounds, as given to `embed`; None: none.
        tokens: Name of the tokens of texts, as given to `encode`; None: none.
        said: Name of vectors, as given to `embed`, of which a sample has that of its text; None: none.
        heard: Name of the tokens of sounds, as given to `encode --listener`; spans then start where their windows do.
            None: none.
        seen: Name of the tokens of pictures, as given to `encode --frame-encoder`, which a sample has in place of
            pictures; None: none.
        neighbours: The nearest clips of its text; None: none.
        transcript: What is said in the clip.
    """

    before: bool = False
    teachers: str | None = None
    tokens: str | None = None
    said: str | None = None
    heard: str | None = None
    seen: str | None = None
    neighbours: NeighboursWanted | None = None
    transcript: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Members:
    """The clips of a generation that are wanted.

    Args:
        keys: clip_id of every clip of the generation.
        texts: The texts of each.
        transcripts: What is said in each; empty where no list says it.
        types: What each trains, by what lists say; none where no list says it.
        earlier: Number of the clip that ends where each starts, -1 where the generation has none.
        wanted: Numbers of those that are wanted.
    """

    keys: pa.StringArray
    texts: pa.LargeListArray
    transcripts: pa.LargeStringArray
    types: pa.LargeListArray
    earlier: Indices
    wanted: Indices

    @classmethod
    def of(cls, dataset: Dataset, generation: str, where: str | None) -> "Members":
        """Those of a generation that meet a condition; all of them for None."""
        shards = Shards.open(dataset.root("shards") / generation)
        tables = []
        with dataset.connect("") as connection:
            for offsets in shards.offsets():
                table = offsets.select(["key", "json"])
                connection.register("shard", table.append_column("number", pa.array(range(len(table)), pa.int32())))
                tables.append(connection.sql(_CLIPS).to_arrow_table())
        table = pa.concat_tables(tables)
        keys = pc.cast(table["key"], pa.string()).combine_chunks()
        texts = pc.cast(table["texts"], pa.large_list(pa.large_string()))  # of six million clips more than 2 GB
        kept = None if where is None else pc.is_in(keys, pa.array(clips_where(dataset, where), pa.string()))
        return cls(
            keys=keys,
            texts=texts.combine_chunks(),
            transcripts=pc.cast(table["transcript"], pa.large_string()).combine_chunks(),
            types=pc.cast(table["types"], pa.large_list(pa.large_string())).combine_chunks(),
            earlier=numbers(pc.index_in(table["prev_clip_id"].combine_chunks(), keys, skip_nulls=True)),
            wanted=np.arange(len(keys)) if kept is None else np.flatnonzero(kept.to_numpy(zero_copy_only=False)),
        )

    def with_earlier(self) -> Indices:
        """Numbers of the wanted clips and of those that sounded before them."""
        earlier = self.earlier[self.wanted]
        return np.union1d(self.wanted, earlier[earlier >= 0])

    def said(self) -> pa.Table:
        """The texts of the wanted clips: `key`, `clip` (its number among them), `text`, clip by clip."""
        texts = self.texts.take(pa.array(self.wanted))
        clip = pc.list_parent_indices(texts)
        keys = self.keys.take(pa.array(self.wanted)).take(clip)
        return pa.table({"key": keys, "clip": clip, "text": pc.list_flatten(texts)})


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside:
    """What was made of the wanted clips and their texts beside latents, by their number; None where not asked for.

    Args:
        teachers: Vectors of sounds.
        tokens: Of texts.
        said: Vectors of texts.
        heard: Tokens of sounds.
        seen: Tokens of pictures.
        neighbours: Of texts.
    """

    teachers: Teachers | None = None
    tokens: TextTokens | None = None
    said: TextVectors | None = None
    heard: HeardTokens | None = None
    seen: SeenTokens | None = None
    neighbours: StoredNeighbours | None = None

    @classmethod
    def of(cls, dataset: Dataset, members: Members, extras: Extras) -> "Beside":
        """What samples are to have.

        Raises:
            ArgumentError: Some clips have none.
        """
        wanted, near = members.keys.take(pa.array(members.wanted)), extras.neighbours
        return cls(
            teachers=None if extras.teachers is None else Teachers.of(dataset, extras.teachers, wanted),
            tokens=None if extras.tokens is None else TextTokens.of(dataset, extras.tokens, members.said()),
            said=None if extras.said is None else TextVectors.of(dataset, extras.said, members.said()),
            heard=None if extras.heard is None else HeardTokens.of(dataset, extras.heard, wanted),
            seen=None if extras.seen is None else SeenTokens.of(dataset, extras.seen, wanted),
            neighbours=None if near is None else StoredNeighbours.of(dataset, near, members.said()),
        )


class LatentClips:
    """Some clips, in columns: six million take some 2 GB, most of it captions. Any thread may read.

    Args:
        members: The clips.
        latents: Of all clips of their generation.
        extras: What samples have beside, as it was asked for.
        beside: What was made of the wanted clips beside latents.
    """

    def __init__(self, members: Members, latents: Latents, extras: Extras, beside: Beside) -> None:
        self._members, self._latents = members, latents
        self._has_before, self._has_transcript = extras.before, extras.transcript
        self._teachers, self._tokens, self._said = beside.teachers, beside.tokens, beside.said
        self._heard, self._seen, self._neighbours = beside.heard, beside.seen, beside.neighbours
        self.latent_frames: Indices = latents.latent_frames[members.wanted]
        found = members.types.take(pa.array(members.wanted))
        self.types = frozenset(pc.unique(pc.list_flatten(found)).to_pylist())
        """All that some of them trains, by what lists say."""

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        generation: str,
        *,
        latents: str,
        where: str | None = None,
        extras: Extras | None = None,
    ) -> "LatentClips":
        """The clips of a generation, with what was encoded of them.

        Args:
            dataset: The dataset.
            generation: Name of the generation.
            latents: Name of the latents.
            where: SQL condition over the dataset's tables; None for all clips.
            extras: What samples have beside; None: nothing.

        Raises:
            ArgumentError: Some have no such latents, vectors or tokens.
        """
        members = Members.of(dataset, generation, where)
        with dataset.connect() as connection:
            connection.execute(_ENCODED, {"label": latents})
            connection.register("member", pa.table({"key": members.keys, "number": np.arange(len(members.keys))}))
            table = connection.sql(
                "SELECT encoded.* EXCLUDE (key) FROM member LEFT JOIN encoded USING (key) ORDER BY number"
            ).to_arrow_table()
        stored = StoredLatents(BlobReader(dataset.root("latents")), table)
        missing = members.wanted[stored.latent_frames[members.wanted] < 0]
        if len(missing):
            raise ArgumentError(
                f"{len(missing)} of {len(members.wanted)} clips of generation {generation!r} of {dataset.path} "
                f"have no latents {latents!r}, {members.keys[int(missing[0])]} among them; run `foundsound encode` "
                "first"
            )
        return cls.with_extras(dataset, members, stored, extras or Extras())

    @classmethod
    def with_extras(cls, dataset: Dataset, members: Members, latents: Latents, extras: Extras) -> "LatentClips":
        """Some clips, whose latents are known.

        Raises:
            ArgumentError: Some have no such vectors or tokens.
        """
        return cls(members, latents, extras, Beside.of(dataset, members, extras))

    def __len__(self) -> int:
        return len(self._members.wanted)

    @property
    def keys(self) -> pa.StringArray:
        """clip_id of each."""
        return self._members.keys.take(pa.array(self._members.wanted))

    def check(self, lengths: Lengths) -> None:
        """See that what was heard was heard in windows as long as samples.

        Raises:
            ArgumentError: It was not.
        """
        if self._heard is not None:
            self._heard.check([frames / lengths.latent_rate_hz for frames in lengths.latent_frames])

    def draw(self, clip: int, lengths: Lengths, bucket: int, rng: np.random.Generator) -> "Drawn":
        """Draw a span of a clip and one of its texts, and say that they will be read soon."""
        number, length = int(self._members.wanted[clip]), lengths.latent_frames[bucket]
        if self._heard is None:
            start = int(rng.integers(int(self.latent_frames[clip]) - length + 1))
        else:
            start = length * int(rng.integers(min(int(self.latent_frames[clip]) // length, self._heard.windows[clip])))
            self._heard.expect(clip, start // length)
        nth = int(rng.integers(len(self._members.texts[number])))
        types = self._members.types[number].as_py() if self.types else []
        type_ = types[int(rng.integers(len(types)))] if types else ""
        self._latents.expect(number)
        if self._has_before and (earlier := self._earlier(number, length - start)) is not None:
            self._latents.expect(earlier)
        if self._tokens is not None:
            self._tokens.expect(clip, nth)
        if self._neighbours is not None:
            self._neighbours.expect(clip, nth)
        return Drawn(
            clip=clip, start=start, length=length, pictures=lengths.pictures(bucket), nth=nth, type_=type_, rng=rng
        )

    def sample(self, drawn: "Drawn", lengths: Lengths) -> dict[str, Any]:
        """One clip: a span of its latents, the frames of that span, and one of its texts.

        Returns:
            `key`, `text`, `type`, empty where it may train anything, `latents` (F, D) and `frames` (N, H, W, 3) or
            None. Where asked for, `before` (F, D) or None, `teachers` (S,) or None, `tokens` (L, T), `said` (S,),
            `heard` (L, W), `seen` (N, P, V) or None, of the pictures that `frames` would be and is then None,
            `neighbours`, a `Neighbourhood`, and `transcript`, which is empty where no list says it.
        """
        number, start = int(self._members.wanted[drawn.clip]), drawn.start
        moments = self._latents.moments(number)
        sample = {
            "key": self._members.keys[number].as_py(),
            "text": self._members.texts[number][drawn.nth].as_py(),
            "type": drawn.type_,
            "frames": self._frames(number, drawn, lengths) if self._seen is None else None,
            "latents": _span(moments, start, start + drawn.length, drawn.rng),
        }
        if self._has_before:
            sample["before"] = self._before(number, moments, drawn)
        if self._teachers is not None:
            sample["teachers"] = self._teachers.read(drawn.clip)
        if self._tokens is not None:
            sample["tokens"] = self._tokens.read(drawn.clip, drawn.nth)
        if self._said is not None:
            sample["said"] = self._said.read(drawn.clip, drawn.nth)
        if self._heard is not None:
            sample["heard"] = self._heard.read(drawn.clip, drawn.start // drawn.length)
        if self._seen is not None:
            sample["seen"] = self._seen.read(drawn.clip, _shown(drawn, lengths))
        if self._neighbours is not None:
            sample["neighbours"] = self._neighbours.read(drawn.clip, drawn.nth)
        if self._has_transcript:
            sample["transcript"] = self._members.transcripts[number].as_py()
        return sample

    def _frames(self, number: int, drawn: "Drawn", lengths: Lengths) -> Array | None:
        """The pictures of a span; None where the clip has none."""
        if not self._latents.has_pictures(number):
            return None
        return self._latents.pictures(number, _shown(drawn, lengths))

    def _before(self, number: int, moments: tuple[Array, Array | None], drawn: "Drawn") -> Array | None:
        """The latents that end where a span starts; None where they are not known."""
        lacking = drawn.length - drawn.start
        own = _span(moments, max(0, -lacking), drawn.start, drawn.rng)
        if lacking <= 0:
            return own
        earlier = self._earlier(number, lacking)
        if earlier is None:
            return None
        frames = int(self._latents.latent_frames[earlier])
        return np.concatenate([_span(self._latents.moments(earlier), frames - lacking, frames, drawn.rng), own])

    def _earlier(self, number: int, lacking: int) -> int | None:
        """The clip before one, where latents of it are needed and it has so many."""
        earlier = int(self._members.earlier[number])
        known = lacking > 0 and earlier >= 0 and int(self._latents.latent_frames[earlier]) >= lacking
        return earlier if known else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """What was drawn of a clip.

    Args:
        clip: Its number.
        start: First latent frame of the span.
        length: Latent frames of the span.
        pictures: Pictures of the span.
        nth: Which of its texts.
        type_: Which of its types; empty where it has none.
        rng: For what is drawn when it is read.
    """

    clip: int
    start: int
    length: int
    pictures: int
    nth: int
    type_: str
    rng: np.random.Generator


def _shown(drawn: Drawn, lengths: Lengths) -> Indices:
    """Which pictures a span shows."""
    shown = drawn.start * lengths.frames_of_latent + np.arange(drawn.pictures)
    return np.asarray(shown.astype(np.int64))


def _span(moments: tuple[Array, Array | None], begin: int, end: int, rng: np.random.Generator) -> Array:
    """A span of latents, as they are stored; of those with a spread, drawn from it as float32."""
    mean, std = moments[0][begin:end], moments[1]
    if std is None:
        return mean
    return np.asarray(mean + std[begin:end] * rng.standard_normal(mean.shape, dtype=np.float32))
