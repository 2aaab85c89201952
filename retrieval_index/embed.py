"""The stage `embed`: every cut sound as unit vectors, one a window.

The vectors belong to the clip, not to an index. They are appended to blobs below `vectors/` as float16; the facts say
where.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import soundfile

from curation.blobs import BlobWriter
from curation.errors import DatasetError
from curation.media import MediaStore
from curation.names import plain_name
from curation.schema import column, table
from curation.stage import Outcome, Stage, Work, how
from curation.storage import Root
from curation.tables import Row
from retrieval_index.embedder import Embedder, Vectors
from retrieval_index.windows import HOP_RATIO, Wave, mono, windows


@dataclass(frozen=True, slots=True)
class _Embedded:
    """The windows of one sound: where each starts and ends, s, and its vector (windows, dimension)."""

    starts_s: list[float]
    ends_s: list[float]
    vectors_WD: Vectors


@dataclass(frozen=True, kw_only=True)
class Embed(Stage):
    """Embeds the sound of every cut clip.

    Args:
        embedder: Identity of the embedder (class, weights' sha256, preprocessing).
        hop_ratio: Distance between windows as a share of a window, in (0, 1].
        build: Makes the embedder in the worker; must be picklable.
        media: Where the cut sounds are.
        blobs: Folder to which the vectors are appended.
        called: Name under which the vectors stand beside others.
        batch_windows: Windows that go through the network at once, at least 1. Source: ours; 32 windows of 10 s at
            48 kHz are 61 MB.
    """

    NAME: ClassVar[str] = "embed"
    VERSION: ClassVar[int] = 1
    GRAIN: ClassVar[Literal["video", "clip"]] = "clip"
    RESULTS: ClassVar[pa.Schema] = table(
        "One row a clip and embedder: where its vectors lie. float16, row after row, one row a window.",
        column("blob", pa.string(), "file below `vectors/`"),
        column("offset_bytes", pa.int64(), "where the clip's vectors start in it"),
        column("windows", pa.int32(), "number of windows"),
        column("dimension", pa.int32(), "length of a vector"),
        column("starts_s", pa.list_(pa.float64()), "start of each window in the clip, s"),
        column("ends_s", pa.list_(pa.float64()), "end of each window in the clip, s"),
    )

    embedder: Mapping[str, Any]
    hop_ratio: float = HOP_RATIO
    build: Callable[[], Embedder] = how()
    media: MediaStore = how()
    blobs: Path | Root = how()
    called: str = how(default="clap")
    batch_windows: int = how(default=32)

    def __post_init__(self) -> None:
        plain_name(self.called, "set of vectors")
        if not 0 < self.hop_ratio <= 1:
            raise ValueError(f"hop_ratio must be in (0, 1], not {self.hop_ratio}")
        if self.batch_windows < 1:
            raise ValueError(f"batch_windows must be at least 1, not {self.batch_windows}")

    @property
    def label(self) -> str:
        """Name of the vectors."""
        return self.called

    def requests(self) -> str:
        """Every clip that was cut."""
        return "SELECT key, audio_sha256 AS input, audio_sha256 FROM cut WHERE state = 'done'"

    def open(self) -> Work:
        """Load the embedder and open a blob of this worker's own."""
        embedder = self.build()
        writer = BlobWriter(self.blobs / self.folder_name)

        def work(rows: Sequence[Row]) -> list[Outcome]:
            found = self._embed(rows, embedder)
            outcomes = [self._outcome(row["key"], answer, writer) for row, answer in zip(rows, found, strict=True)]
            writer.sync()
            return outcomes

        return work

    def _embed(self, rows: Sequence[Row], embedder: Embedder) -> list[_Embedded]:
        """Embed the sounds of a batch; windows of equal length go through the network together."""
        rate_hz = embedder.sample_rate_hz
        answers: list[_Embedded] = []
        waiting: dict[int, list[tuple[Wave, Vectors]]] = defaultdict(list)
        for row in rows:
            wave_T = self._sound(row, rate_hz)
            cut = windows(wave_T, rate_hz, embedder.window_s, self.hop_ratio)
            vectors_WD = np.empty((len(cut), embedder.dimension), np.float32)
            starts_s = [start_s for start_s, _ in cut]
            ends_s = [start_s + len(piece_T) / rate_hz for start_s, piece_T in cut]
            answers.append(_Embedded(starts_s, ends_s, vectors_WD))
            for (_, piece_T), vector_D in zip(cut, vectors_WD, strict=True):
                waiting[len(piece_T)].append((piece_T, vector_D))
                if len(waiting[len(piece_T)]) == self.batch_windows:
                    _fill(waiting.pop(len(piece_T)), embedder)
        for pieces in waiting.values():
            _fill(pieces, embedder)
        return answers

    def _sound(self, row: Row, rate_hz: int) -> Wave:
        path = self.media.open_path(row["audio_sha256"], ".flac")
        try:
            return mono(path, rate_hz)
        except soundfile.LibsndfileError as error:
            raise DatasetError(
                f"media file {path} of clip {row['key']} cannot be decoded ({error}); delete it and fetch again"
            ) from error

    def _outcome(self, key: str, answer: _Embedded, writer: BlobWriter) -> Outcome:
        if not np.isfinite(answer.vectors_WD).all():
            raise ValueError(f"the embedder {self.called!r} gave vectors that are not finite for clip {key}")
        place = writer.append(answer.vectors_WD.astype(np.float16))
        values = {
            "blob": f"{self.folder_name}/{place.blob}",
            "offset_bytes": place.offset_bytes,
            "windows": place.shape[0],
            "dimension": place.shape[1],
            "starts_s": answer.starts_s,
            "ends_s": answer.ends_s,
        }
        return Outcome(key=key, values=values)


def _fill(pieces: Iterable[tuple[Wave, Vectors]], embedder: Embedder) -> None:
    """Embed pieces of equal length and write each vector into its place."""
    waves, places = zip(*pieces, strict=True)
    for place_D, vector_D in zip(places, embedder.embed_sound(np.stack(waves)), strict=True):
        place_D[:] = vector_D
