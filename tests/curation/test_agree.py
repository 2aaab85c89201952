"""The stage `agree` with a scorer of arithmetic: which frames are seen, windows, what is requested, the ranking."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pytest

from curation.agree import Agree, best_agreeing, frames_at, moments
from curation.dataset import Dataset
from curation.errors import ArgumentError, StoppedError
from curation.status import status
from pipelines.runner import Job, Tally, run
from tests.curation.made import RATE_HZ, Made


@dataclass(frozen=True)
class Brightness:
    """A bright picture agrees; the sound only counts by its length."""

    sample_rate_hz: int = RATE_HZ
    window_s: float = 1.0
    frames: int = 2
    frame_size_px: int = 8
    weights: str = "first"

    def score(self, wave_T: np.ndarray, frames_NSSC: np.ndarray) -> float:
        assert wave_T.dtype == np.float32 and frames_NSSC.shape == (self.frames, 8, 8, 3)
        return float(frames_NSSC.mean()) + len(wave_T) / 1e6

    def identity(self) -> dict[str, Any]:
        return {"class": "Brightness", "weights": self.weights}


class Broken(Brightness):
    def score(self, wave_T: np.ndarray, frames_NSSC: np.ndarray) -> float:
        return float("nan")


def stage_of(dataset: Dataset, scorer: Brightness | None = None, **knobs: Any) -> Agree:
    made = scorer or Brightness()
    return Agree(scorer=made.identity(), build=lambda: made, media=dataset.media, **knobs)


def done(dataset: Dataset, stage: Agree) -> Tally:
    return run(dataset, Job(stage=stage, queue=lambda: dataset.pending(stage), batch_rows=8, workers=0))


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def grey_video(path: Path, levels: list[int], rate_hz: int = 10) -> Path:
    with av.open(path, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=rate_hz)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for level in levels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((16, 32, 3), level, np.uint8), "rgb24")))
        container.mux(stream.encode())
    return path


def test_only_clips_with_a_picture_are_requested_and_scored(made: Made) -> None:
    dark = made.clip("dark", sound=1, picture=True)  # frames of 37, 38, 39
    light = made.clip("light", sound=5, picture=True)  # 185, 186, 187
    made.clip("blind", sound=2)
    made.clip("lost", sound=3, picture=True, cut=None)
    dataset = made.dataset()
    assert done(dataset, stage_of(dataset)).done == 2
    rows = {row["key"]: row for row in dataset.sql("SELECT * FROM agree").to_pylist()}
    assert rows.keys() == {dark, light}
    assert rows[dark]["score"] == pytest.approx(37, abs=3)
    assert rows[light]["score"] == pytest.approx(185, abs=3)
    assert (rows[light]["windows"], rows[light]["lowest_score"]) == (1, rows[light]["score"])
    assert status(dataset)["agree"].as_dict() == {"requested": 2, "done": 2, "set_aside": {}, "pending": 0}
    assert done(dataset, stage_of(dataset)).done == 0
    assert done(dataset, stage_of(dataset, Brightness(weights="second"))).done == 2


def test_a_long_sound_is_judged_in_windows(made: Made) -> None:
    """0.1 s in windows of 0.04 s: three, the last moved back to the end, each with its own length of sound."""
    made.clip("clip", sound=1, picture=True)
    dataset = made.dataset()
    done(dataset, stage_of(dataset, Brightness(window_s=0.04)))
    (row,) = dataset.sql("SELECT * FROM agree").to_pylist()
    assert row["windows"] == 3
    assert row["lowest_score"] <= row["score"]
    assert row["score"] == pytest.approx(37 + 320 / 1e6, abs=3)


def test_a_score_that_is_not_finite_stops_the_work(made: Made) -> None:
    made.clip("clip", picture=True)
    dataset = made.dataset()
    with pytest.raises(StoppedError, match="not finite for clip"):
        done(dataset, stage_of(dataset, Broken()))


def test_the_best_are_in_order_and_ties_in_the_order_of_keys(made: Made) -> None:
    clips = {seed: made.clip(f"video{seed}", sound=seed, picture=True) for seed in (1, 5, 3)}
    twins = sorted(made.clip("twins", start, sound=2, picture=True) for start in (0, 10_000))
    dataset = made.dataset()
    done(dataset, stage_of(dataset))
    best = best_agreeing(dataset, 3).to_pylist()
    assert [(row["key"], row["rank"]) for row in best] == [(clips[5], 1), (clips[3], 2), (twins[0], 3)]
    videos = best_agreeing(dataset, 10, of="video").to_pylist()
    assert len(videos) == 4 and [row["rank"] for row in videos] == [1, 2, 3, 4]
    assert [row["score"] for row in videos] == pytest.approx([185, 111, 74, 37], abs=3)
    among = pa.table({"clip_id": [clips[1], twins[1]]})
    assert best_agreeing(dataset, 10, among=among)["key"].to_pylist() == [twins[1], clips[1]]


def test_a_ranking_needs_scores(made: Made) -> None:
    made.clip("clip", picture=True)
    dataset = made.dataset()
    with pytest.raises(ArgumentError, match="run `foundsound agree` first"):
        best_agreeing(dataset, 1)
    done(dataset, stage_of(dataset))
    with pytest.raises(ArgumentError, match="not 0"):
        best_agreeing(dataset, 0)
    with pytest.raises(ArgumentError, match="no scores 'other'"):
        best_agreeing(dataset, 1, called="other")
    with pytest.raises(ArgumentError, match="cannot name a set of scores"):
        stage_of(dataset, called="../up")


def test_moments_reach_from_the_first_frame_to_the_last() -> None:
    assert moments(1.0, 3.0, 4) == [1.0, 2.0, 3.0, 4.0]
    assert moments(1.0, 3.0, 1) == [2.5]


def test_the_frame_that_is_shown_is_taken(tmp_path: Path) -> None:
    """Ten frames a second, of 20, 40, ... 200: at 0.25 s the third is shown."""
    path = grey_video(tmp_path / "grey.mp4", [20 * n for n in range(1, 11)])
    asked = [0.25, 0.0, 0.1, 0.099, 9.0, -1.0, 0.95]
    frames = frames_at(path, asked, 4)
    assert frames.shape == (7, 4, 4, 3)
    assert frames.mean((1, 2, 3)).tolist() == pytest.approx([60, 20, 40, 20, 200, 20, 200], abs=3)
    assert frames_at(path, [], 4).shape == (0, 4, 4, 3)
