"""The stage `embed_text`: every caption and label of every clip as a unit vector, keyed by clip and text.

A fact answers (clip_id, hash of the text), so that a new caption is embedded and the others are not again. Equal texts
of one worker share their place in the blob.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from curation.annotated import ANNOTATED
from curation.blobs import BlobRef
from curation.errors import StoppedError
from curation.names import plain_name
from curation.schema import column, table
from curation.stage import Outcome, Stage, Work, how
from curation.storage import Root
from curation.tables import Row
from curation.text_arrays import HASH_SQL, TextArrays
from retrieval_index.embedder import Embedder

_REQUESTS = f"""
SELECT clip_id AS key, {HASH_SQL} AS input, text
FROM (
    SELECT clip_id, text FROM ({{candidates}}) WHERE trim(text) <> ''
    UNION
    SELECT clip_id, unnest(labels) AS text FROM ({ANNOTATED})
)
WHERE trim(text) <> ''"""


@dataclass(frozen=True, kw_only=True)
class EmbedText(Stage):
    """Embeds the captions and labels of clips.

    Args:
        embedder: Identity of the embedder, that of the vectors of sounds.
        candidates: SQL that gives `clip_id`, `text` of all captions.
        build: Makes the embedder in the worker; must be picklable.
        blobs: Folder to which the vectors are appended.
        called: Name of the vectors, that of the sounds'.
    """

    NAME: ClassVar[str] = "embed_text"
    VERSION: ClassVar[int] = 1
    GRAIN: ClassVar[Literal["video", "clip"]] = "clip"
    RESULTS: ClassVar[pa.Schema] = table(
        "One row a text of a clip and embedder; `input` is the first 20 digits of the text's sha256. float16.",
        column("blob", pa.string(), "file below `vectors/`"),
        column("offset_bytes", pa.int64(), "where the vector starts in it"),
        column("windows", pa.int32(), "1: a text is one vector"),
        column("dimension", pa.int32(), "length of the vector"),
    )

    embedder: Mapping[str, Any]
    candidates: str = how()
    build: Callable[[], Embedder] = how()
    blobs: Path | Root = how()
    called: str = how(default="clap")

    def __post_init__(self) -> None:
        plain_name(self.called, "set of vectors")

    @property
    def label(self) -> str:
        """Name of the vectors."""
        return self.called

    def requests(self) -> str:
        """Every text of every clip, once."""
        return _REQUESTS.format(candidates=self.candidates)

    def open(self) -> Work:
        """Load the embedder and open a blob of this worker's own."""
        embedder = self.build()

        def vectors_of(texts: list[str]) -> np.ndarray:
            vectors_BD = embedder.embed_text(texts)
            if not np.isfinite(vectors_BD).all():
                raise StoppedError(
                    f"the embedder {self.called!r} gave vectors of texts that are not finite; are its weights damaged?"
                )
            return vectors_BD.astype(np.float16)[:, None]

        arrays = TextArrays(self.blobs / f"text-{self.folder_name}", vectors_of)

        def work(rows: Sequence[Row]) -> list[Outcome]:
            places = arrays.places([row["text"] for row in rows])
            return [self._outcome(row["key"], place) for row, place in zip(rows, places, strict=True)]

        return work

    def _outcome(self, key: str, place: BlobRef) -> Outcome:
        values = {
            "blob": f"text-{self.folder_name}/{place.blob}",
            "offset_bytes": place.offset_bytes,
            "windows": 1,
            "dimension": place.shape[1],
        }
        return Outcome(key=key, values=values)
