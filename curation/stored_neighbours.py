"""The nearest clips of a text, as a sample of training has them: which they are, how they sound and what they say.

`foundsound neighbours` found them; the stages `encode_sound` and `encode_text` encoded each clip and each text once,
for all the samples that it is a neighbour of. What is asked for and was not encoded is an error: a neighbour that was
left out would be one that the model never sees. Any thread may read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.blobs import Array
from curation.current import last_sql
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.heard import HeardTokens
from curation.places import numbers
from curation.shards.batches import Indices
from curation.stored_conditions import TextTokens, firsts, is_blank
from curation.text_arrays import HASH_SQL

_FOUND = f"""
SELECT found.neighbours[1:$most] AS neighbours, found.captions[1:$most] AS captions
FROM (SELECT *, {HASH_SQL} AS input FROM said) AS said
LEFT JOIN found ON found.clip_id = said.key AND found.caption_hash = said.input
ORDER BY said.number"""

_CAPTIONS = """
SELECT coalesce(neighbour.input, first.input) AS input
FROM neighbour LEFT JOIN (SELECT key, min(input) AS input FROM ({last}) WHERE state = 'done' GROUP BY key) AS first
    ON first.key = neighbour.key
ORDER BY neighbour.number"""
"""Where sounds were compared, a neighbour has no nearest caption: it gets the one whose hash comes first. Source: ours;
any will do, but always the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NeighboursWanted:
    """The neighbours that samples have.

    Args:
        name: Of the stored ones, as given to `neighbours`.
        most: How many, the nearest first, at least 1; a text that has fewer is filled up with absent ones.
        heard: Name of the tokens of sounds, as given to `encode`.
        tokens: Name of the tokens of texts, likewise.
        read: Gives `clip_id`, `caption_hash`, `neighbours` and `captions` of all texts, from the folder of the stored.
    """

    name: str
    most: int
    heard: str
    tokens: str
    read: Callable[[Path], pa.Table]

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ArgumentError(f"a sample needs at least 1 neighbour, not {self.most}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbourhood:
    """The neighbours of one text, the nearest first; they may be fewer than asked for.

    Args:
        keys: Their clip_ids.
        heard_KLW: Of the first window of each, float16; zeros where there is none.
        tokens: (N, T) float16 of one text of each.
        token_width: T.
    """

    keys: list[str]
    heard_KLW: Array
    tokens: list[Array]
    token_width: int


class StoredNeighbours:
    """The neighbours of the texts of some clips.

    Args:
        first: Number of the first text of each clip.
        places: (texts, most) number of each neighbour among those named below, -1 where there is none.
        keys: clip_id of each, of clips more than once where several of their texts are near.
        heard: Of the clips of `keys`, one by one.
        tokens: Of one text each.
    """

    def __init__(self, first: Indices, places: Indices, keys: pa.Array, heard: HeardTokens, tokens: TextTokens) -> None:
        self._first, self._places, self._keys = first, places, keys
        self._heard, self._tokens = heard, tokens

    @classmethod
    def of(cls, dataset: Dataset, wanted: NeighboursWanted, said: pa.Table) -> "StoredNeighbours":
        """The neighbours of some texts.

        Args:
            dataset: The dataset.
            wanted: Which neighbours.
            said: `key`, `clip` (counted from 0) and `text`, clip by clip.

        Raises:
            ArgumentError: Some text has no neighbours, or one of them was not encoded.
            DatasetError: There are no such neighbours, or their files were changed.
        """
        found = wanted.read(dataset.folder("neighbours") / wanted.name)
        with dataset.connect("") as connection:
            connection.register("said", said.append_column("number", pa.array(np.arange(len(said)))))
            connection.register("found", found)
            rows = connection.sql(_FOUND, params={"most": wanted.most}).to_arrow_table().combine_chunks()
        missing = said["key"].filter(pc.and_not(pc.is_null(rows["neighbours"]), is_blank(said["text"])))
        if len(missing):
            raise ArgumentError(
                f"{len(missing)} of {len(said)} texts of {dataset.path} have no neighbours {wanted.name!r}, one of "
                f"clip {missing[0]} among them; run `foundsound neighbours {dataset.path} --name {wanted.name}` with a "
                "selection of them in --of"
            )
        listed = rows["neighbours"].combine_chunks()
        text, key = pc.list_parent_indices(listed).to_numpy(), pc.list_flatten(listed)
        hashes = _captions_of(dataset, wanted.tokens, key, rows)
        keys, hashes = key.dictionary_encode(), hashes.dictionary_encode()
        pair = numbers(keys.indices) * len(hashes.dictionary) + numbers(hashes.indices)
        _, first_of_pair, place = np.unique(pair, return_index=True, return_inverse=True)
        places = np.full((len(said), wanted.most), -1)
        places[text, np.arange(len(text)) - np.searchsorted(text, text)] = place
        named = pa.table({"key": keys, "input": hashes}).take(first_of_pair)
        named = named.cast(pa.schema([("key", pa.string()), ("input", pa.string())])).combine_chunks()
        return cls(
            firsts(said),
            places,
            named["key"].combine_chunks(),
            HeardTokens.of(dataset, wanted.heard, named["key"].combine_chunks()),
            TextTokens.of_hashes(dataset, wanted.tokens, named),
        )

    def expect(self, clip: int, nth: int) -> None:
        """Say that the neighbours of one of a clip's texts will be read soon."""
        for place in self._of(clip, nth):
            self._heard.expect(place, 0)
            self._tokens.expect(place, 0)

    def read(self, clip: int, nth: int) -> Neighbourhood:
        """The neighbours of one of a clip's texts; none of a blank text."""
        places = self._of(clip, nth)
        heard_KLW = np.zeros((self._places.shape[1], self._heard.tokens, self._heard.width), np.float16)
        for rank, place in enumerate(places):
            heard_KLW[rank] = self._heard.read(place, 0)
        return Neighbourhood(
            keys=[self._keys[place].as_py() for place in places],
            heard_KLW=heard_KLW,
            tokens=[self._tokens.read(place, 0) for place in places],
            token_width=self._tokens.width,
        )

    def _of(self, clip: int, nth: int) -> list[int]:
        places = self._places[int(self._first[clip]) + nth]
        return [int(place) for place in places[places >= 0]]


def side_by_side(found: Sequence[Neighbourhood]) -> dict[str, Any]:
    """The neighbours of several texts as parts of a batch.

    Returns:
        `neighbours`, B lists of clip_ids, `has_neighbours` (B, K) bool, `neighbour_heard` (B, K, L, W) float16,
        `neighbour_tokens` (B, K, N, T) float16, N that of the longest, and `neighbour_token_lengths` (B, K) int64;
        zeros where there is none.
    """
    longest = max((len(tokens) for one in found for tokens in one.tokens), default=1)
    most = len(found[0].heard_KLW)
    tokens = np.zeros((len(found), most, longest, found[0].token_width), np.float16)
    lengths = np.zeros((len(found), most), np.int64)
    for row, one in enumerate(found):
        for rank, tokens_NT in enumerate(one.tokens):
            tokens[row, rank, : len(tokens_NT)], lengths[row, rank] = tokens_NT, len(tokens_NT)
    return {
        "neighbours": [one.keys for one in found],
        "has_neighbours": lengths > 0,
        "neighbour_heard": np.stack([one.heard_KLW for one in found]),
        "neighbour_tokens": tokens,
        "neighbour_token_lengths": lengths,
    }


def _captions_of(dataset: Dataset, tokens: str, key: pa.Array, rows: pa.Table) -> pa.Array:
    """Hash of a text of each neighbour: of the nearest caption; where sounds were compared, of the clip's first."""
    if tokens not in dataset.current_facts("encode_text"):
        raise ArgumentError(
            f"{dataset.path} has no tokens {tokens!r} of texts; run `foundsound encode` with --text-encoder first"
        )
    listed = rows["captions"].combine_chunks()
    hashes = pa.nulls(len(key), pa.string()) if listed.null_count == len(rows) else pc.list_flatten(listed)
    if not hashes.null_count:
        return hashes
    with dataset.connect("") as connection:
        neighbour = pa.table({"key": key, "input": hashes, "number": np.arange(len(key))})
        connection.register("neighbour", neighbour)
        query = _CAPTIONS.format(last=last_sql(dataset, "encode_text", tokens))
        return connection.sql(query).to_arrow_table()["input"].combine_chunks()
