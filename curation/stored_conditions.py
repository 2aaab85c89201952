"""What frozen networks said of clips, read beside their latents: vectors of sounds, tokens and vectors of texts.

The stages `embed`, `encode_text` and `embed_text` wrote them; here they are found by number. Any thread may read.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.answers import answers
from curation.blobs import Array, BlobReader
from curation.current import last_sql
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.places import Places, numbers
from curation.shards.batches import Indices
from curation.text_arrays import HASH_SQL

_HASHED = f"SELECT key, {HASH_SQL} AS input FROM said ORDER BY number"

_OF_HASHES = """
SELECT made.* EXCLUDE (key, input) FROM asked
LEFT JOIN ({last}) AS made ON made.key = asked.key AND made.input = asked.input AND made.state = 'done'
ORDER BY asked.number"""


def is_blank(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Where texts say nothing."""
    return pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(text)), 0)


class Teachers:
    """Vectors of sounds: of each clip the mean over its windows.

    Args:
        reader: Of the blobs.
        table: A row a clip: the columns of the stage `embed`; without a blob where a clip has no vectors.
    """

    def __init__(self, reader: BlobReader, table: pa.Table) -> None:
        self._places = Places(reader, table["blob"], table["offset_bytes"])
        self._windows = numbers(table["windows"])
        self.width = int(numbers(table["dimension"]).max(initial=-1))
        """Length of a vector; -1 where no clip has one."""

    @classmethod
    def of(cls, dataset: Dataset, vectors: str, keys: pa.Array) -> "Teachers":
        """The vectors of some clips.

        Args:
            dataset: The dataset.
            vectors: Their name.
            keys: clip_ids.

        Raises:
            ArgumentError: They were not made, or not for some clip. One that was set aside has none.
        """
        line = f"run `foundsound embed {dataset.path} --name {vectors}` first"
        enough = ("done", "set_aside")
        table = answers(dataset, "embed", vectors, keys, kind="vectors", of="sounds", line=line, enough=enough)
        return cls(BlobReader(dataset.root("vectors")), table)

    def read(self, clip: int) -> Array | None:
        """The vector of a clip, (S,) float32; None where it has none."""
        if not self._places.has(clip):
            return None
        windows_WS = self._places.read(clip, (self._windows.item(clip), self.width))
        return np.asarray(windows_WS.mean(axis=0, dtype=np.float32))


class TextTokens:
    """Hidden states of texts, without padding.

    Args:
        reader: Of the blobs.
        table: A row a text, clip by clip: the columns of the stage `encode_text`, null where a text is blank.
        first: Number of the first text of each clip.
    """

    def __init__(self, reader: BlobReader, table: pa.Table, first: Indices) -> None:
        self._first, self._tokens = first, numbers(table["tokens"])
        self._places = Places(reader, table["blob"], table["tokens_offset_bytes"])
        self.width = int(numbers(table["token_channels"]).max(initial=0))
        """Channels of a token; 0 where every text is blank."""

    @classmethod
    def of(cls, dataset: Dataset, called: str, said: pa.Table) -> "TextTokens":
        """The tokens of some texts.

        Args:
            dataset: The dataset.
            called: Name of the tokens, that of the latents.
            said: `key`, `clip` (counted from 0) and `text`, clip by clip.

        Raises:
            ArgumentError: They were not made, or not for some text.
        """
        table = _of_texts(
            dataset,
            "encode_text",
            called,
            said,
            kind="tokens",
            line="run `foundsound encode` with --text-encoder first",
        )
        return cls(BlobReader(dataset.root("latents")), table, firsts(said))

    @classmethod
    def of_hashes(cls, dataset: Dataset, called: str, asked: pa.Table) -> "TextTokens":
        """The tokens of some texts that are known by their hashes, each as if it were the only one of a clip.

        Args:
            dataset: The dataset.
            called: Name of the tokens, that of the latents.
            asked: `key` and `input`, the hash of the text.

        Raises:
            ArgumentError: They were not made, or not for some text.
        """
        table = _of_hashes(dataset, "encode_text", called, asked)
        if table["blob"].null_count:
            key = asked["key"].filter(pc.is_null(table["blob"]))[0]
            raise ArgumentError(
                f"{table['blob'].null_count} of {len(asked)} texts of neighbours in {dataset.path} have no tokens "
                f"{called!r}, one of clip {key} among them: captions were chosen anew since; run `foundsound select` "
                "and `foundsound neighbours` again, then `foundsound encode` with --text-encoder"
            )
        return cls(BlobReader(dataset.root("latents")), table, np.arange(len(asked)))

    def expect(self, clip: int, nth: int) -> None:
        """Say that the tokens of one of a clip's texts will be read soon."""
        if self._places.has(text := self._first.item(clip) + nth):
            self._places.expect(text, (self._tokens.item(text), self.width))

    def read(self, clip: int, nth: int) -> Array:
        """The tokens of one of a clip's texts, (L, T) float16; one of zeros for a blank text."""
        text = self._first.item(clip) + nth
        if not self._places.has(text):
            return np.zeros((1, self.width), np.float16)
        return self._places.read(text, (self._tokens.item(text), self.width))


class TextVectors:
    """Unit vectors of texts, in the space where sounds have theirs too.

    Args:
        reader: Of the blobs.
        table: A row a text, clip by clip: the columns of the stage `embed_text`, null where a text is blank.
        first: Number of the first text of each clip.
    """

    def __init__(self, reader: BlobReader, table: pa.Table, first: Indices) -> None:
        self._first, self._places = first, Places(reader, table["blob"], table["offset_bytes"])
        self.width = int(numbers(table["dimension"]).max(initial=0))
        """Length of a vector; 0 where every text is blank."""

    @classmethod
    def of(cls, dataset: Dataset, called: str, said: pa.Table) -> "TextVectors":
        """The vectors of some texts.

        Args:
            dataset: The dataset.
            called: Name of the vectors, as given to `embed`.
            said: `key`, `clip` (counted from 0) and `text`, clip by clip.

        Raises:
            ArgumentError: They were not made, or not for some text.
        """
        line = f"run `foundsound embed {dataset.path} --name {called} --texts` first"
        table = _of_texts(dataset, "embed_text", called, said, kind="vectors", line=line)
        return cls(BlobReader(dataset.root("vectors")), table, firsts(said))

    def read(self, clip: int, nth: int) -> Array:
        """The vector of one of a clip's texts, (S,) float32; zeros for a blank text."""
        text = self._first.item(clip) + nth
        if not self._places.has(text):
            return np.zeros(self.width, np.float32)
        return self._places.read(text, (self.width,)).astype(np.float32)


def firsts(said: pa.Table) -> Indices:
    """Number of the first text of each clip, of texts clip by clip whose column `clip` counts from 0."""
    clips = numbers(said["clip"])
    return np.searchsorted(clips, np.arange(clips.max(initial=-1) + 1))


def _of_texts(dataset: Dataset, stage: str, called: str, said: pa.Table, *, kind: str, line: str) -> pa.Table:
    """What a stage last made of some texts, a row a text; null where one is blank.

    Args:
        dataset: The dataset.
        stage: That answers texts of clips.
        called: Label of what it made.
        said: `key`, `clip` and `text`.
        kind: What it makes, in a word.
        line: What to do where it was not made.

    Raises:
        ArgumentError: It was not made, or not of some text.
    """
    if called not in dataset.current_facts(stage):
        raise ArgumentError(f"{dataset.path} has no {kind} {called!r} of texts; {line}")
    table = _of_hashes(dataset, stage, called, dataset.sql(_HASHED, said=_numbered(said)))
    missing = said["key"].filter(pc.and_not(pc.is_null(table["blob"]), is_blank(said["text"])))
    if len(missing):
        raise ArgumentError(
            f"{len(missing)} of {len(said)} texts of {dataset.path} have no {kind} {called!r}, one of clip "
            f"{missing[0]} among them; {line}"
        )
    return table


def _of_hashes(dataset: Dataset, stage: str, called: str, asked: pa.Table) -> pa.Table:
    """What a stage last made of some texts of clips, a row each, null where it made nothing."""
    with dataset.connect("") as connection:
        connection.register("asked", _numbered(asked))
        return connection.sql(_OF_HASHES.format(last=last_sql(dataset, stage, called))).to_arrow_table()


def _numbered(rows: pa.Table) -> pa.Table:
    return rows.append_column("number", pa.array(np.arange(len(rows))))
