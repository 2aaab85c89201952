"""The stage `tag`: what is heard in every cut sound, as scores of classes, and a vector of it for comparing sounds.

Scores are stored, not applied: `select` and the rules do that. The vectors lie in blobs below `vectors/` as those of
`embed` do, with the same columns saying where. The network is handed in.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import soundfile

from curation.blobs import BlobReader, BlobRef, BlobWriter
from curation.encode import read_sound
from curation.errors import DatasetError, StoppedError
from curation.media import MediaStore
from curation.names import plain_name
from curation.schema import column, table
from curation.stage import Outcome, Stage, Work, how
from curation.storage import Root
from curation.tables import Row

Floats = npt.NDArray[np.float32]

SUNG = (
    *("Singing", "Choir", "Yodeling", "Chant", "Mantra", "Male singing", "Female singing", "Child singing"),
    *("Synthetic singing", "Rapping", "Vocal music", "A capella", "Opera"),
)
"""What is sung. Source: AudioSet's ontology, Singing and all below it; and, ours, the kinds of music that are sung: on
an aria mn04 gives Opera 0.83 and Singing 0.31."""

RATIO_LABELS = {"music_ratio": ("Music",), "speech_ratio_tag": ("Speech",), "singing_ratio": SUNG}
"""Column -> the classes of AudioSet of which a window has at least one; null for a tagger that knows none of them."""

TAIL_RATIO = 0.05
"""What a sound is longer than whole windows by less than this share of one is not heard. Source: ours; resampling
leaves a sample or two, and a window for them would be the one before it over again."""

STORED = "<f2"
"""Type of stored scores and vectors: float16, steps of 0.0005 at 1."""


class Tagger(Protocol):
    """Scores classes and gives a vector; deterministic, with NumPy arrays on both sides."""

    @property
    def sample_rate_hz(self) -> int:
        """Rate at which it wants sounds, Hz."""

    @property
    def window_s(self) -> float:
        """Length of the windows that are tagged and embedded, s: as it was trained."""

    @property
    def share_window_s(self) -> float:
        """Length of the windows of which shares are counted, s; at most `window_s`."""

    @property
    def labels(self) -> Sequence[str]:
        """Names of its classes L, in the order of the scores."""

    @property
    def dimension(self) -> int:
        """Length D of its vectors."""

    def tag(self, wave_BT: Floats) -> tuple[Floats, Floats]:
        """Mono sounds of equal length, float32 in [-1, 1] -> scores (B, L) in [0, 1], vectors (B, D), float32."""


@dataclass(frozen=True, slots=True)
class _Heard:
    """What was heard of one sound: its windows, their scores and vectors, and the scores of its share windows."""

    starts_s: list[float]
    ends_s: list[float]
    scores_WL: Floats
    vectors_WD: Floats
    share_scores_VL: Floats


_Piece = tuple[Floats, Floats, Floats]
"""Samples, and the places for their scores and their vector."""


@dataclass(frozen=True, kw_only=True)
class Tag(Stage):
    """Tags the sound of every cut clip.

    Args:
        tagger: Identity of the tagger (class, weights' sha256, preprocessing).
        hop_ratio: Distance between windows as a share of a window, in (0, 1]. Source: as `embed` has it.
        above: A window has a class when its score lies above this. Source: V2M (VidMuse, arXiv 2406.04321) for music.
        top_tags: How many tags are kept in the table, best first, at least 1. Source: ours; all scores are in the blob.
        build: Makes the tagger in the worker; must be picklable.
        media: Where the cut sounds are.
        blobs: Folder to which vectors and scores are appended.
        called: Name under which the tags stand beside those of other taggers.
        batch_windows: Windows that go through the network at once, at least 1. Source: ours; 32 windows of 10 s at
            32 kHz are 41 MB.
    """

    NAME: ClassVar[str] = "tag"
    VERSION: ClassVar[int] = 1
    GRAIN: ClassVar[Literal["video", "clip"]] = "clip"
    RESULTS: ClassVar[pa.Schema] = table(
        "One row a clip and tagger: what is heard, and where its vectors and scores lie, both float16: one unit vector "
        "a window, row after row, and the mean score of each class.",
        column("blob", pa.string(), "file below `vectors/`"),
        column("offset_bytes", pa.int64(), "where the clip's vectors start in it"),
        column("windows", pa.int32(), "number of windows"),
        column("dimension", pa.int32(), "length of a vector"),
        column("starts_s", pa.list_(pa.float64()), "start of each window in the clip, s"),
        column("ends_s", pa.list_(pa.float64()), "end of each window in the clip, s"),
        column("scores_offset_bytes", pa.int64(), "where the mean scores start in the blob"),
        column("classes", pa.int32(), "number of scores"),
        column(
            "tags",
            pa.list_(pa.struct({"label": pa.string(), "index": pa.int32(), "score": pa.float32()})),
            "the classes with the highest mean scores (0 to 1), best first",
        ),
        column("share_windows", pa.int32(), "number of the windows of which the following are shares"),
        column("music_ratio", pa.float64(), "share of windows with a score of Music above 0.5, 0 to 1"),
        column("speech_ratio_tag", pa.float64(), "share of windows with a score of Speech above 0.5, 0 to 1"),
        column("singing_ratio", pa.float64(), "share of windows in which something sung has a score above 0.5, 0 to 1"),
    )

    tagger: Mapping[str, Any]
    hop_ratio: float = 0.5
    above: float = 0.5
    top_tags: int = 10
    build: Callable[[], Tagger] = how()
    media: MediaStore = how()
    blobs: Path | Root = how()
    called: str = how(default="audioset")
    batch_windows: int = how(default=32)

    def __post_init__(self) -> None:
        plain_name(self.called, "set of tags")
        if not 0 < self.hop_ratio <= 1:
            raise ValueError(f"hop_ratio must be in (0, 1], not {self.hop_ratio}")
        if not 0 <= self.above < 1:
            raise ValueError(f"above must be in [0, 1), not {self.above}")
        for name in ("top_tags", "batch_windows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")

    @property
    def label(self) -> str:
        """Name of the tags."""
        return self.called

    def requests(self) -> str:
        """Every clip that was cut."""
        return "SELECT key, audio_sha256 AS input, audio_sha256 FROM cut WHERE state = 'done'"

    def open(self) -> Work:
        """Load the tagger and open a blob of this worker's own."""
        tagger = self.build()
        writer = BlobWriter(self.blobs / self.folder_name)

        def work(rows: Sequence[Row]) -> list[Outcome]:
            found = self._hear(rows, tagger)
            outcomes = [
                self._outcome(row["key"], heard, tagger, writer) for row, heard in zip(rows, found, strict=True)
            ]
            writer.sync()
            return outcomes

        return work

    def _hear(self, rows: Sequence[Row], tagger: Tagger) -> list[_Heard]:
        """Listen to the sounds of a batch; windows of equal length go through the network together."""
        answers: list[_Heard] = []
        waiting: dict[int, list[_Piece]] = defaultdict(list)
        for row in rows:
            heard, pieces = self._pieces(self._sound(row, tagger.sample_rate_hz), tagger)
            answers.append(heard)
            for piece in pieces:
                alike = waiting[len(piece[0])]
                alike.append(piece)
                if len(alike) == self.batch_windows:
                    _fill(waiting.pop(len(piece[0])), tagger)
        for alike in waiting.values():
            _fill(alike, tagger)
        return answers

    def _pieces(self, wave_T: Floats, tagger: Tagger) -> tuple[_Heard, list[_Piece]]:
        """The windows of one sound, with empty places for what will be heard in them."""
        rate_hz = tagger.sample_rate_hz
        window = round(tagger.window_s * rate_hz)
        share = round(tagger.share_window_s * rate_hz)
        starts = window_starts(len(wave_T), window, max(1, round(self.hop_ratio * window)))
        scores_WL = np.empty((len(starts), len(tagger.labels)), np.float32)
        vectors_WD = np.empty((len(starts), tagger.dimension), np.float32)
        cut = [wave_T[start : start + window] for start in starts]
        pieces = list(zip(cut, scores_WL, vectors_WD, strict=True))
        share_scores_VL = scores_WL
        if share != window:
            share_starts = window_starts(len(wave_T), share, share)
            share_scores_VL = np.empty((len(share_starts), len(tagger.labels)), np.float32)
            unused_D = np.empty(tagger.dimension, np.float32)
            shares = [wave_T[start : start + share] for start in share_starts]
            pieces += [(piece_T, score_L, unused_D) for piece_T, score_L in zip(shares, share_scores_VL, strict=True)]
        starts_s = [start / rate_hz for start in starts]
        ends_s = [(start + len(piece_T)) / rate_hz for start, piece_T in zip(starts, cut, strict=True)]
        return _Heard(starts_s, ends_s, scores_WL, vectors_WD, share_scores_VL), pieces

    def _sound(self, row: Row, rate_hz: int) -> Floats:
        path = self.media.open_path(row["audio_sha256"], ".flac")
        try:
            return np.asarray(read_sound(path, rate_hz, 1)[0], np.float32)
        except soundfile.LibsndfileError as error:
            raise DatasetError(
                f"media file {path} of clip {row['key']} cannot be decoded ({error}); delete it and fetch again"
            ) from error

    def _outcome(self, key: str, heard: _Heard, tagger: Tagger, writer: BlobWriter) -> Outcome:
        for numbers in (heard.scores_WL, heard.vectors_WD, heard.share_scores_VL):
            if not np.isfinite(numbers).all():
                raise StoppedError(
                    f"the tagger {self.called!r} gave numbers that are not finite for clip {key}; "
                    "are its weights damaged?"
                )
        lengths_W1 = np.linalg.norm(heard.vectors_WD, axis=1, keepdims=True)
        place = writer.append((heard.vectors_WD / np.maximum(lengths_W1, 1e-12)).astype(STORED))
        mean_L = heard.scores_WL.mean(axis=0)
        scores_place = writer.append(mean_L.astype(STORED))
        labels = list(tagger.labels)
        best = np.argsort(-mean_L, kind="stable")[: self.top_tags]
        present_VL = heard.share_scores_VL > self.above
        values = {
            "blob": f"{self.folder_name}/{place.blob}",
            "offset_bytes": place.offset_bytes,
            "windows": place.shape[0],
            "dimension": place.shape[1],
            "starts_s": heard.starts_s,
            "ends_s": heard.ends_s,
            "scores_offset_bytes": scores_place.offset_bytes,
            "classes": len(labels),
            "tags": [{"label": labels[n], "index": int(n), "score": float(mean_L[n])} for n in best],
            "share_windows": len(heard.share_scores_VL),
        }
        ratios: dict[str, float | None] = {}
        for name, wanted in RATIO_LABELS.items():
            known = [n for n, label in enumerate(labels) if label in wanted]
            ratios[name] = float(present_VL[:, known].any(axis=1).mean()) if known else None
        return Outcome(key=key, values={**values, **ratios})


def window_starts(samples: int, window: int, hop: int) -> list[int]:
    """Where the windows of a sound start, in samples; all are of full length unless the sound is shorter than one.

    They follow each other by the hop; the last one is moved back to end with the sound, unless the sound would be
    longer by less than `TAIL_RATIO` of a window.

    Args:
        samples: Length of the sound.
        window: Length of a window, at least 1.
        hop: Distance between windows, 1 to `window`.
    """
    if not 1 <= hop <= window:
        raise ValueError(f"hop must be 1 to window, not {hop} of {window}")
    starts = list(range(0, max(0, samples - window) + 1, hop))
    tail = samples - window - starts[-1]
    if tail > 0 and tail >= TAIL_RATIO * window:
        starts.append(samples - window)
    return starts


def _fill(pieces: Iterable[_Piece], tagger: Tagger) -> None:
    """Listen to pieces of equal length and write what was heard into its places."""
    waves, score_places, vector_places = zip(*pieces, strict=True)
    scores_BL, vectors_BD = tagger.tag(np.stack(waves))
    for place_L, score_L in zip(score_places, scores_BL, strict=True):
        place_L[:] = score_L
    for place_D, vector_D in zip(vector_places, vectors_BD, strict=True):
        place_D[:] = vector_D


def read_scores(blobs: BlobReader, row: Mapping[str, Any]) -> Floats:
    """The mean score of every class of one clip.

    Args:
        blobs: A reader of the dataset's folder `vectors`.
        row: `blob`, `scores_offset_bytes` and `classes` of a row of `tag`.

    Returns:
        (classes,) float32 in [0, 1].

    Raises:
        DatasetError: The blob is missing or cut short.
    """
    place = BlobRef(blob=row["blob"], offset_bytes=row["scores_offset_bytes"], shape=(row["classes"],), dtype=STORED)
    return np.asarray(blobs.read(place), np.float32)
