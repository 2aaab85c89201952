"""The stage `embed`: every cut sound, its picture, or both together, as unit vectors, one a window.

The vectors belong to the clip, not to an index. They are appended to blobs below `vectors/` as float16; the facts say
where.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import soundfile

from curation.agree import frames_at, moments
from curation.blobs import BlobWriter
from curation.errors import ClipError, Code, DatasetError, StoppedError
from curation.media import MediaStore
from curation.names import plain_name
from curation.schema import column, table
from curation.stage import Outcome, Stage, Work, how
from curation.storage import Root
from curation.tables import Row
from retrieval_index.embedder import OF, Embedder, Frames, Of, Vectors, seeing
from retrieval_index.windows import HOP_RATIO, Wave, mono, windows

PICTURES_AT_ONCE = 4
"""Windows with pictures that go through the network at once. Source: ours; 16 frames of 336 px are 5 MB a window, and a
thousand times that inside of the network."""

INPUT_OF_PICTURE = "concat_ws('+', cut.audio_sha256, cut.video_sha256)"
"""What vectors of a picture, or of both, are made from: SQL on `cut`. Those of a sound: `cut.audio_sha256`."""

_REQUESTS: dict[Of, str] = {
    "sound": "SELECT key, audio_sha256 AS input, audio_sha256, video_sha256 FROM cut WHERE state = 'done'",
    "picture": f"""SELECT key, {INPUT_OF_PICTURE} AS input, audio_sha256, video_sha256
        FROM cut WHERE state = 'done' AND video_sha256 IS NOT NULL""",
}
_REQUESTS["both"] = _REQUESTS["picture"]


@dataclass(frozen=True, slots=True)
class _Embedded:
    """The windows of one sound: where each starts and ends, s, and its vector (windows, dimension)."""

    starts_s: list[float]
    ends_s: list[float]
    vectors_WD: Vectors


@dataclass(frozen=True, slots=True)
class _Piece:
    """One window: its sound, its frames where pictures are looked at, and where its vector goes."""

    wave_T: Wave
    frames_NSSC: Frames | None
    vector_D: Vectors


@dataclass(frozen=True, kw_only=True)
class Embed(Stage):
    """Embeds the sound of every cut clip, or the picture of those that have one, or both.

    Args:
        embedder: Identity of the embedder (class, weights' sha256, preprocessing, and what the vectors are of).
        hop_ratio: Distance between windows as a share of a window, in (0, 1].
        build: Makes the embedder in the worker; must be picklable.
        media: Where the cut sounds are.
        blobs: Folder to which the vectors are appended.
        called: Name under which the vectors stand beside others.
        of: What the vectors are of: `sound`, `picture` or `both`.
        batch_windows: Windows that go through the network at once, at least 1; with pictures at most 4. Source: ours;
            32 windows of 10 s at 48 kHz are 61 MB.
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
    of: Of = how(default="sound")
    batch_windows: int = how(default=32)

    def __post_init__(self) -> None:
        plain_name(self.called, "set of vectors")
        if not 0 < self.hop_ratio <= 1:
            raise ValueError(f"hop_ratio must be in (0, 1], not {self.hop_ratio}")
        if self.of not in OF:
            raise ValueError(f"of must be one of {', '.join(OF)}, not {self.of!r}")
        if self.batch_windows < 1:
            raise ValueError(f"batch_windows must be at least 1, not {self.batch_windows}")

    @property
    def label(self) -> str:
        """Name of the vectors."""
        return self.called

    def requests(self) -> str:
        """Every clip that was cut; of those without a picture only the sound."""
        return _REQUESTS[self.of]

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

    def _embed(self, rows: Sequence[Row], embedder: Embedder) -> list[_Embedded | ClipError]:
        """Embed the clips of a batch; windows of equal length go through the network together."""
        rate_hz = embedder.sample_rate_hz
        at_once = self.batch_windows if self.of == "sound" else min(self.batch_windows, PICTURES_AT_ONCE)
        answers: list[_Embedded | ClipError] = []
        waiting: dict[int, list[_Piece]] = defaultdict(list)
        for row in rows:
            cut = windows(self._sound(row, rate_hz), rate_hz, embedder.window_s, self.hop_ratio)
            vectors_WD = np.empty((len(cut), embedder.dimension), np.float32)
            starts_s = [start_s for start_s, _ in cut]
            ends_s = [start_s + len(piece_T) / rate_hz for start_s, piece_T in cut]
            try:
                seen = self._frames(row, starts_s, ends_s, embedder)
            except ClipError as error:
                answers.append(error)
                continue
            answers.append(_Embedded(starts_s, ends_s, vectors_WD))
            for (_, piece_T), frames_NSSC, vector_D in zip(cut, seen, vectors_WD, strict=True):
                waiting[len(piece_T)].append(_Piece(piece_T, frames_NSSC, vector_D))
                if len(waiting[len(piece_T)]) == at_once:
                    self._fill(waiting.pop(len(piece_T)), embedder)
        for pieces in waiting.values():
            self._fill(pieces, embedder)
        return answers

    def _fill(self, pieces: Sequence[_Piece], embedder: Embedder) -> None:
        """Embed pieces of equal length and write each vector into its place."""
        wave_BT = np.stack([piece.wave_T for piece in pieces])
        if self.of == "sound":
            vectors_BD = embedder.embed_sound(wave_BT)
        else:
            frames_BNSSC = np.stack([piece.frames_NSSC for piece in pieces if piece.frames_NSSC is not None])
            sees = seeing(embedder)
            picture = self.of == "picture"
            vectors_BD = sees.embed_picture(frames_BNSSC) if picture else sees.embed_both(wave_BT, frames_BNSSC)
        for piece, vector_D in zip(pieces, vectors_BD, strict=True):
            piece.vector_D[:] = vector_D

    def _frames(
        self, row: Row, starts_s: Sequence[float], ends_s: Sequence[float], embedder: Embedder
    ) -> list[Frames] | list[None]:
        """The frames of each window, at equal distances from its start to its end; None where only sound counts."""
        if self.of == "sound":
            return [None] * len(starts_s)
        sees = seeing(embedder)
        spans = [moments(start, end - start, sees.frames) for start, end in zip(starts_s, ends_s, strict=True)]
        path = self.media.open_path(row["video_sha256"], ".mp4")
        found = frames_at(path, list(chain.from_iterable(spans)), sees.frame_size_px)
        if not len(found):
            raise ClipError(Code.NO_VIDEO, "the cut picture has no frame")
        return [found[n * sees.frames :][: sees.frames] for n in range(len(spans))]

    def _sound(self, row: Row, rate_hz: int) -> Wave:
        path = self.media.open_path(row["audio_sha256"], ".flac")
        try:
            return mono(path, rate_hz)
        except soundfile.LibsndfileError as error:
            raise DatasetError(
                f"media file {path} of clip {row['key']} cannot be decoded ({error}); delete it and fetch again"
            ) from error

    def _outcome(self, key: str, answer: _Embedded | ClipError, writer: BlobWriter) -> Outcome:
        if isinstance(answer, ClipError):
            return Outcome(key=key, error=answer)
        if not np.isfinite(answer.vectors_WD).all():
            raise StoppedError(
                f"the embedder {self.called!r} gave vectors that are not finite for clip {key}; "
                "are its weights damaged?"
            )
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
