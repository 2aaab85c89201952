"""The stage `tag` with a tagger of arithmetic: windows, means, shares, the blob, and what is refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curation.blobs import BlobReader, BlobRef
from curation.dataset import Dataset
from curation.errors import ArgumentError, DatasetError, StoppedError
from curation.status import status
from curation.tag import SUNG, Tag, read_scores, window_starts
from models.encoders.audioset_labels import AUDIOSET_LABELS
from pipelines.runner import Job, Tally, run
from tests.retrieval_index.tones import RATE_HZ, clip_of, tone_dataset

LABELS = ("Speech", "Dog", "Music", "Rain")


@dataclass(frozen=True)
class Levels:
    """Music is as loud as the sound, a dog as quiet; the vector says where the sound's energy lies in time."""

    labels: Sequence[str] = LABELS
    sample_rate_hz: int = RATE_HZ
    window_s: float = 2.0
    share_window_s: float = 0.5
    dimension: int = 2
    weights: str = "first"

    def tag(self, wave_BT: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        level_B = np.abs(wave_BT).mean(axis=1)
        scores_BL = np.stack([np.full_like(level_B, 0.25), 1 - level_B, level_B, np.zeros_like(level_B)], axis=1)
        halves = np.array_split(np.abs(wave_BT), 2, axis=1)
        vectors_BD = np.stack([half.sum(axis=1) + 1e-3 for half in halves], axis=1)
        return scores_BL[:, : len(self.labels)].astype(np.float32), vectors_BD.astype(np.float32)

    def identity(self) -> dict[str, Any]:
        return {"class": "Levels", "weights": self.weights, "labels": list(self.labels)}


class Broken(Levels):
    def tag(self, wave_BT: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores_BL, vectors_BD = super().tag(wave_BT)
        return scores_BL * np.nan, vectors_BD


def level(*levels: float, piece_s: float = 0.5) -> np.ndarray:
    """Alternating full-scale-times-level samples, a piece of each level after the other."""
    pieces = [np.tile([one, -one], round(piece_s * RATE_HZ / 2)) for one in levels]
    return np.concatenate(pieces).astype(np.float32)


SOUNDS = {
    "loud": level(0.75, 0.75, 0.75, 0.75),
    "half": level(0.75, 0.25, 0.75, 0.25),
    "once": level(0.25, 0.25, 0.75, 0.25),
    "long": level(*[0.75] * 6, *[0.25] * 2),
    "short": level(0.75, piece_s=0.3),
}


def stage_of(dataset: Dataset, tagger: Levels | None = None, **knobs: Any) -> Tag:
    made = tagger or Levels()
    return Tag(
        tagger=made.identity(), build=lambda: made, media=dataset.media, blobs=dataset.folder("vectors"), **knobs
    )


def done(dataset: Dataset, stage: Tag, batch_rows: int = 8) -> Tally:
    return run(dataset, Job(stage=stage, queue=lambda: dataset.pending(stage), batch_rows=batch_rows, workers=0))


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return tone_dataset(tmp_path / "dataset", SOUNDS)


def rows_of(dataset: Dataset) -> dict[str, dict[str, Any]]:
    rows = dataset.sql("SELECT * FROM tag").to_pylist()
    return {name: row for name in SOUNDS for row in rows if row["key"] == clip_of(name)}


def vectors_of(dataset: Dataset, row: dict[str, Any]) -> np.ndarray:
    shape = (row["windows"], row["dimension"])
    place = BlobRef(blob=row["blob"], offset_bytes=row["offset_bytes"], shape=shape, dtype="<f2")
    return BlobReader(dataset.folder("vectors")).read(place)


def test_scores_shares_and_vectors_are_what_arithmetic_says(dataset: Dataset) -> None:
    assert done(dataset, stage_of(dataset)).done == len(SOUNDS)
    rows = rows_of(dataset)
    assert {name: row["music_ratio"] for name, row in rows.items()} == {
        "loud": 1.0,
        "half": 0.5,
        "once": 0.25,
        "long": 0.75,
        "short": 1.0,
    }
    assert {row["speech_ratio_tag"] for row in rows.values()} == {0.0}
    assert {row["singing_ratio"] for row in rows.values()} == {None}
    assert [row["share_windows"] for row in rows.values()] == [4, 4, 4, 8, 1]
    half = rows["half"]
    assert [tag["label"] for tag in half["tags"]] == ["Dog", "Music", "Speech", "Rain"]
    assert [tag["index"] for tag in half["tags"]] == [1, 2, 0, 3]
    assert [tag["score"] for tag in half["tags"]] == pytest.approx([0.5, 0.5, 0.25, 0.0], abs=1e-3)
    scores = read_scores(BlobReader(dataset.folder("vectors")), half)
    np.testing.assert_allclose(scores, [0.25, 0.5, 0.5, 0.0], atol=1e-3)
    np.testing.assert_allclose(vectors_of(dataset, half), [[np.sqrt(0.5)] * 2], atol=1e-3)


def test_long_sounds_have_windows_that_overlap_and_a_mean(dataset: Dataset) -> None:
    done(dataset, stage_of(dataset))
    row = rows_of(dataset)["long"]
    assert (row["starts_s"], row["ends_s"], row["windows"]) == ([0.0, 1.0, 2.0], [2.0, 3.0, 4.0], 3)
    vectors_WD = vectors_of(dataset, row)
    np.testing.assert_allclose(np.linalg.norm(vectors_WD.astype(np.float64), axis=1), 1, atol=1e-3)
    np.testing.assert_allclose(vectors_WD[2, 1] / vectors_WD[2, 0], 1 / 3, atol=1e-2)
    scores = read_scores(BlobReader(dataset.folder("vectors")), row)
    assert scores[2] == pytest.approx((0.75 + 0.75 + 0.5) / 3, abs=1e-3)


def test_what_is_sung_is_any_of_its_classes(dataset: Dataset) -> None:
    """The dog's place is Opera's, the music's Rapping's: in each window one of them is above 0.5, or in none."""
    assert {"Singing", "Opera", "Rapping"} < set(SUNG) < set(AUDIOSET_LABELS)
    done(dataset, stage_of(dataset, Levels(labels=("Speech", "Opera", "Rapping", "Rain"))))
    assert {row["singing_ratio"] for row in rows_of(dataset).values()} == {1.0}
    assert {row["music_ratio"] for row in rows_of(dataset).values()} == {None}
    done(dataset, stage_of(dataset, Levels(labels=("Speech", "Dog", "Rapping"))))
    assert rows_of(dataset)["half"]["singing_ratio"] == 0.5


def test_the_view_answers_rules(dataset: Dataset) -> None:
    done(dataset, stage_of(dataset))
    musical = dataset.sql("SELECT key FROM tag WHERE music_ratio >= 0.5 AND coalesce(singing_ratio, 0) = 0")
    assert set(musical["key"].to_pylist()) == {clip_of(name) for name in ("loud", "half", "long", "short")}
    loud = dataset.sql(
        "SELECT key FROM tag WHERE len(list_filter(tags, lambda t: t.label = 'Music' AND t.score > 0.6)) > 0"
    )
    assert set(loud["key"].to_pylist()) == {clip_of(name) for name in ("loud", "long", "short")}


def test_batches_change_nothing_and_a_second_run_does_nothing(dataset: Dataset, tmp_path: Path) -> None:
    done(dataset, stage_of(dataset))
    other = tone_dataset(tmp_path / "other", SOUNDS)
    done(other, stage_of(other, batch_windows=1), batch_rows=1)
    left = {"blob", "offset_bytes", "scores_offset_bytes", "seconds", "finished_at"}
    for name, row in rows_of(dataset).items():
        twin = rows_of(other)[name]
        assert {key: row[key] for key in row.keys() - left} == {key: twin[key] for key in twin.keys() - left}
        assert vectors_of(dataset, row).tobytes() == vectors_of(other, twin).tobytes()
    assert done(dataset, stage_of(dataset)).done == 0
    counts = status(dataset)["tag"].as_dict()
    assert counts == {"requested": 5, "done": 5, "set_aside": {}, "pending": 0}


def test_other_weights_are_another_identity_and_two_names_stand_side_by_side(dataset: Dataset) -> None:
    done(dataset, stage_of(dataset))
    assert done(dataset, stage_of(dataset, Levels(weights="second"))).done == len(SOUNDS)
    assert done(dataset, stage_of(dataset, called="other")).done == len(SOUNDS)
    assert set(dataset.sql("SELECT label FROM tag")["label"].to_pylist()) == {"audioset", "other"}
    assert stage_of(dataset).identity() == stage_of(dataset, called="other", batch_windows=1).identity()
    assert stage_of(dataset).identity() != stage_of(dataset, above=0.4).identity()


def test_numbers_that_are_not_finite_stop_the_work(dataset: Dataset) -> None:
    with pytest.raises(StoppedError, match="not finite for clip"):
        done(dataset, stage_of(dataset, Broken()))


def test_a_damaged_media_file_stops_the_work(dataset: Dataset) -> None:
    row = dataset.sql("SELECT audio_sha256 FROM cut WHERE key = ?", [clip_of("loud")]).to_pylist()[0]
    dataset.media.path(row["audio_sha256"], ".flac").write_bytes(b"fLaC, once")
    with pytest.raises(DatasetError, match="cannot be decoded"):
        done(dataset, stage_of(dataset))


@pytest.mark.parametrize(
    ("samples", "starts"),
    [
        (0, [0]),
        (99, [0]),
        (100, [0]),
        (104, [0]),
        (105, [0, 5]),
        (150, [0, 50]),
        (151, [0, 50]),
        (155, [0, 50, 55]),
        (200, [0, 50, 100]),
    ],
)
def test_windows_reach_the_end(samples: int, starts: list[int]) -> None:
    """Of 100 samples, every 50; a tail of 5 is heard, one of 4 is not."""
    assert window_starts(samples, 100, 50) == starts


@pytest.mark.parametrize("hop", [0, 101])
def test_a_hop_is_one_sample_to_a_window(hop: int) -> None:
    with pytest.raises(ValueError, match=f"not {hop} of 100"):
        window_starts(200, 100, hop)


@pytest.mark.parametrize(
    ("knobs", "value"), [({"hop_ratio": 0}, "0"), ({"above": 1.0}, "1.0"), ({"top_tags": 0}, "top_tags")]
)
def test_knobs_out_of_range_are_refused(dataset: Dataset, knobs: dict[str, Any], value: str) -> None:
    with pytest.raises(ValueError, match=value):
        stage_of(dataset, **knobs)
    with pytest.raises(ArgumentError, match="cannot name a set of tags"):
        stage_of(dataset, called="../up")
