"""The stage `agree`: how well sound and picture of a clip go together, by a judge that is handed in; and the ranking.

A low score means music laid over a film, a still with a talk, a wrong cut. Scores are stored, not applied;
`best_agreeing` puts clips or videos in order, as V2M did before it kept the best 20,000 (VidMuse, arXiv 2406.04321).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import av
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import soundfile

from curation.dataset import Dataset
from curation.encode import read_sound
from curation.errors import ArgumentError, ClipError, Code, DatasetError, StoppedError
from curation.media import MediaStore
from curation.names import plain_name
from curation.programs.ffmpeg import input_options
from curation.schema import column, table
from curation.stage import Stage, Work, each, how
from curation.tables import Row
from curation.tag import window_starts

Frames = npt.NDArray[np.uint8]


class SoundPictureScorer(Protocol):
    """Says how well a sound and a picture go together; deterministic."""

    @property
    def sample_rate_hz(self) -> int:
        """Rate at which it wants sounds, Hz."""

    @property
    def window_s(self) -> float:
        """Longest stretch at once, s."""

    @property
    def frames(self) -> int:
        """Number of frames of a stretch, at least 1."""

    @property
    def frame_size_px(self) -> int:
        """Side of the square frames, px."""

    def score(self, wave_T: npt.NDArray[np.float32], frames_NSSC: Frames) -> float:
        """Mono sound in [-1, 1], and frames (N, S, S, 3) in RGB -> a number; higher agrees more."""


@dataclass(frozen=True, kw_only=True)
class Agree(Stage):
    """Scores every cut clip that has a picture.

    Args:
        scorer: Identity of the scorer (class, weights' sha256, preprocessing).
        build: Makes the scorer in the worker; must be picklable.
        media: Where the cut media are.
        called: Name under which the scores stand beside those of other scorers.
    """

    NAME: ClassVar[str] = "agree"
    VERSION: ClassVar[int] = 1
    GRAIN: ClassVar[Literal["video", "clip"]] = "clip"
    RESULTS: ClassVar[pa.Schema] = table(
        "One row a clip that has a picture, and scorer: how well sound and picture go together.",
        column("score", pa.float64(), "mean of the windows' scores; PE-AV: a logit, higher agrees more"),
        column("lowest_score", pa.float64(), "score of the window that agrees least"),
        column("windows", pa.int32(), "number of windows"),
    )

    scorer: Mapping[str, Any]
    build: Callable[[], SoundPictureScorer] = how()
    media: MediaStore = how()
    called: str = how(default="pe-av")

    def __post_init__(self) -> None:
        plain_name(self.called, "set of scores")

    @property
    def label(self) -> str:
        """Name of the scores."""
        return self.called

    def requests(self) -> str:
        """Every clip that was cut with a picture; the others cannot agree or disagree."""
        return """SELECT key, concat_ws('+', audio_sha256, video_sha256) AS input, audio_sha256, video_sha256
            FROM cut WHERE state = 'done' AND video_sha256 IS NOT NULL"""

    def open(self) -> Work:
        """Load the scorer."""
        scorer = self.build()
        return each(lambda row: self._score(row, scorer))

    def _score(self, row: Row, scorer: SoundPictureScorer) -> dict[str, Any]:
        sound = self.media.open_path(row["audio_sha256"], ".flac")
        rate_hz = scorer.sample_rate_hz
        try:
            wave_T = read_sound(sound, rate_hz, 1)[0]
        except soundfile.LibsndfileError as error:
            raise DatasetError(
                f"media file {sound} of clip {row['key']} cannot be decoded ({error}); delete it and fetch again"
            ) from error
        window = round(scorer.window_s * rate_hz)
        pieces = [(start, wave_T[start : start + window]) for start in window_starts(len(wave_T), window, window)]
        moments_s = [moments(start / rate_hz, len(piece_T) / rate_hz, scorer.frames) for start, piece_T in pieces]
        picture = self.media.open_path(row["video_sha256"], ".mp4")
        frames = frames_at(picture, list(chain.from_iterable(moments_s)), scorer.frame_size_px)
        if not len(frames):
            raise ClipError(Code.NO_VIDEO, "the cut picture has no frame")
        scores = [
            float(scorer.score(piece_T, frames[n * scorer.frames :][: scorer.frames]))
            for n, (_, piece_T) in enumerate(pieces)
        ]
        if not np.isfinite(scores).all():
            raise StoppedError(
                f"the scorer {self.called!r} gave a score that is not finite for clip {row['key']}; "
                "are its weights damaged?"
            )
        return {"score": float(np.mean(scores)), "lowest_score": min(scores), "windows": len(scores)}


def moments(start_s: float, length_s: float, frames: int) -> list[float]:
    """Moments at equal distances from the start of a stretch to its end, s.

    Source: transformers' `PeVideoVideoProcessor.sample_frames`, which takes the first frame, the last, and those
    between; a single one is taken from the middle.
    """
    if frames == 1:
        return [start_s + length_s / 2]
    return [start_s + length_s * n / (frames - 1) for n in range(frames)]


def frames_at(path: Path, moments_s: Sequence[float], side_px: int) -> Frames:
    """The frames shown at some moments, squeezed to squares.

    Args:
        path: A video of the media store.
        moments_s: Moments, s, in any order; after the end the last frame is shown, before the start the first.
        side_px: Side of the squares, px.

    Returns:
        (moments, side_px, side_px, 3) uint8, RGB; (0, ...) for a video without a frame.
    """
    order = sorted(range(len(moments_s)), key=lambda n: moments_s[n])
    found = np.zeros((len(moments_s), side_px, side_px, 3), np.uint8)
    waiting, shown = 0, None
    with av.open(str(path), options=input_options()) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            begun_s = frame.time if frame.time is not None else 0.0
            while shown is not None and waiting < len(order) and moments_s[order[waiting]] < begun_s - 1e-6:
                found[order[waiting]] = _square(shown, side_px)
                waiting += 1
            shown = frame
    if shown is None:
        return found[:0]
    for n in order[waiting:]:
        found[n] = _square(shown, side_px)
    return found


def _square(frame: av.VideoFrame, side_px: int) -> Frames:
    return np.asarray(frame.reformat(side_px, side_px, "rgb24", interpolation="BILINEAR").to_ndarray(), np.uint8)


def best_agreeing(
    dataset: Dataset,
    best: int,
    *,
    of: Literal["clip", "video"] = "clip",
    among: pa.Table | None = None,
    called: str = "pe-av",
) -> pa.Table:
    """The clips, or the videos by the mean of their clips, whose sound and picture agree best.

    Args:
        dataset: Where `agree` has run.
        best: How many, at least 1; V2M kept 20,000 videos.
        of: What is put in order.
        among: A table with a column `clip_id`: only these count; None: all.
        called: Name of the scores.

    Returns:
        Columns `key` (clip_id or video_key), `score` and `rank` from 1, best first; equal scores in the order of keys.

    Raises:
        ArgumentError: `best` is below 1, or there are no scores of this name.
    """
    if best < 1:
        raise ArgumentError(f"at least 1 must be kept as best, not {best}")
    if called not in dataset.current_facts("agree"):
        raise ArgumentError(
            f"{dataset.path} has no scores {called!r} of sound and picture; run `foundsound agree` first"
        )
    tables = {} if among is None else {"among": among.select(["clip_id"])}
    chosen = "" if among is None else "AND agree.key IN (SELECT clip_id FROM among)"
    key = "agree.key" if of == "clip" else "clips.video_key"
    return dataset.sql(
        f"""SELECT *, row_number() OVER (ORDER BY score DESC, key) AS rank FROM (
            SELECT {key} AS key, avg(agree.score) AS score
            FROM agree JOIN clips ON clips.clip_id = agree.key
            WHERE agree.state = 'done' AND agree.label = ? {chosen}
            GROUP BY 1
        ) ORDER BY rank LIMIT ?""",
        [called, best],
        **tables,
    )
