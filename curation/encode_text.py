"""The stage `encode_text`: every caption that a generator may be trained on as a frozen text encoder's hidden states.

One row a text of a clip, keyed by clip and text, so that a new caption is encoded and the others are not again. Equal
texts of one worker share their place in the blob. Training then runs no text encoder.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import pyarrow as pa

from curation.annotated import ANNOTATED
from curation.blobs import BlobRef
from curation.current import last_sql
from curation.dataset import Dataset
from curation.errors import StoppedError
from curation.names import plain_name
from curation.schema import column, table
from curation.stage import Outcome, Stage, Work, how
from curation.storage import Root
from curation.tables import Row
from curation.text_arrays import HASH_SQL, TextArrays

_REQUESTS = f"""
SELECT clip_id AS key, {HASH_SQL} AS input, text
FROM (
    SELECT clip_id, text FROM ({{chosen}})
    UNION
    SELECT clip_id, unnest(labels) AS text FROM ({ANNOTATED}) WHERE clip_id NOT IN (SELECT clip_id FROM ({{chosen}}))
)
WHERE trim(text) <> ''"""

_FURTHER = f"""
SELECT key, input, any_value(text) AS text, 0 AS attempts
FROM (SELECT key, text, {HASH_SQL} AS input FROM said WHERE trim(text) <> '')
WHERE (key, input) NOT IN (SELECT (key, input) FROM ({{last}}) WHERE state = 'done')
GROUP BY key, input ORDER BY key, input"""

TOKEN_COLUMNS = (
    column("blob", pa.string(), "file below `latents/`"),
    column("tokens_offset_bytes", pa.int64(), "where the tokens start in it, without padding"),
    column("tokens_size_bytes", pa.int64(), "their length"),
    column("tokens", pa.int32(), "number of tokens"),
    column("token_channels", pa.int32(), "length of a token"),
)
"""Where tokens lie; columns of every stage that makes some."""


def small_tokens(tokens: np.ndarray, *, by: str, of: str) -> np.ndarray:
    """Tokens as float16.

    Args:
        tokens: Any shape.
        by: What made them, for the error.
        of: Of what they are, for the error.

    Raises:
        StoppedError: Some are not finite, or beyond the largest number of float16, 65,504.
    """
    if not (np.abs(tokens) <= np.finfo(np.float16).max).all():
        raise StoppedError(f"the {by} gave tokens of {of!r} that are no finite float16; are its weights damaged?")
    return tokens.astype(np.float16)


def token_values(folder: str, place: BlobRef) -> dict[str, Any]:
    """What `TOKEN_COLUMNS` say of tokens (..., L, T) in a blob of a folder below `latents/`."""
    return {
        "blob": f"{folder}/{place.blob}",
        "tokens_offset_bytes": place.offset_bytes,
        "tokens_size_bytes": place.size_bytes,
        "tokens": place.shape[-2],
        "token_channels": place.shape[-1],
    }


class TextEncoder(Protocol):
    """What a frozen text encoder offers to this stage."""

    def encode_text(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Hidden states of each text without padding, (L, T) float32; what one has must not depend on the others."""


@dataclass(frozen=True, kw_only=True)
class EncodeText(Stage):
    """Encodes the captions of clips, and the labels of clips without any.

    Args:
        encoder: Identity of the text encoder (class, weights' sha256, tokenizer).
        chosen: SQL that gives `clip_id`, `text` of the captions.
        build: Makes the encoder in the worker; must be picklable.
        blobs: Folder to which the tokens are appended.
        called: Name of the tokens, that of the latents.
    """

    NAME: ClassVar[str] = "encode_text"
    VERSION: ClassVar[int] = 1
    GRAIN: ClassVar[Literal["video", "clip"]] = "clip"
    RESULTS: ClassVar[pa.Schema] = table(
        "One row a text of a clip and text encoder; `input` is the first 20 digits of the text's sha256. float16.",
        *TOKEN_COLUMNS,
    )

    encoder: Mapping[str, Any]
    chosen: str = how()
    build: Callable[[], TextEncoder] = how()
    blobs: Path | Root = how()
    called: str = how(default="audiox-tiny")

    def __post_init__(self) -> None:
        plain_name(self.called, "set of tokens")

    @property
    def label(self) -> str:
        """Name of the tokens."""
        return self.called

    def requests(self) -> str:
        """Every caption of every clip, once."""
        return _REQUESTS.format(chosen=self.chosen)

    def open(self) -> Work:
        """Load the encoder and open a blob of this worker's own."""
        encoder = self.build()
        folder = f"text-{self.folder_name}"

        def tokens_of(texts: list[str]) -> list[np.ndarray]:
            found = zip(texts, encoder.encode_text(texts), strict=True)
            return [small_tokens(tokens_LT, by="text encoder", of=text) for text, tokens_LT in found]

        arrays = TextArrays(self.blobs / folder, tokens_of)

        def work(rows: Sequence[Row]) -> list[Outcome]:
            places = arrays.places([row["text"] for row in rows])
            return [
                Outcome(key=row["key"], values=token_values(folder, place))
                for row, place in zip(rows, places, strict=True)
            ]

        return work


def pending_texts(dataset: Dataset, stage: EncodeText, said: pa.Table) -> pa.Table:
    """What is to be encoded before training: all that the stage is asked for, and texts that were packed otherwise.

    Args:
        dataset: The dataset.
        stage: The stage, that has been made current.
        said: `key` and `text` of what is trained on.

    Returns:
        `key`, `input`, `text`, `attempts`, sorted by key.
    """
    asked = dataset.pending(stage).select(["key", "input", "text", "attempts"])
    with dataset.reading():
        further = dataset.sql(_FURTHER.format(last=last_sql(dataset, stage.NAME, stage.label)), said=said)
        return dataset.sql(
            """SELECT DISTINCT ON (key, input) * FROM (SELECT * FROM asked UNION ALL BY NAME SELECT * FROM further)
            ORDER BY key, input""",
            asked=asked,
            further=further,
        )
