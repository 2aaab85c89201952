"""Tokens of pictures: of those that training reads, by number, in place of the pictures; gone with a takedown."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curation.dataset import Dataset
from curation.encode_frames import EncodeFrames, as_kept
from curation.errors import ArgumentError, DatasetError, StoppedError
from curation.seen import SeenTokens, is_seen
from curation.takedowns.forget import forget
from pipelines.runner import Job, run
from tests.curation.made import Made


class Eye:
    """Two tokens a picture: (its mean, 7) and (its side in px, 7)."""

    def encode_frames(self, frames_NHW3: np.ndarray) -> np.ndarray:
        return np.array([[(one.mean(), 7), (len(one), 7)] for one in frames_NHW3], np.float32)


def stage_of(dataset: Dataset, eye: Eye | None = None, *, rate_hz: float = 5.0, size_px: int = 8) -> EncodeFrames:
    return EncodeFrames(
        encoder={"class": "Eye"},
        frame_rate_hz=rate_hz,
        frame_size_px=size_px,
        build=lambda: eye or Eye(),
        media=dataset.media,
        blobs=dataset.root("latents"),
        called="seen",
    )


def encoded(dataset: Dataset, stage: EncodeFrames) -> EncodeFrames:
    run(dataset, Job(stage=stage, queue=lambda: dataset.pending(stage), batch_rows=2, workers=0))
    return stage


def made(folder: Path) -> tuple[Dataset, pa.Array]:
    """Three clips with three even pictures each, brighter by a step from one to the next, and one without."""
    clips = Made(folder)
    keys = [clips.clip(f"v{number}", picture=True, sound=number) for number in range(3)]
    return clips.dataset(), pa.array([*keys, clips.clip("blind")])


def test_every_clip_with_a_picture_has_tokens(tmp_path: Path) -> None:
    dataset, keys = made(tmp_path)
    stage = encoded(dataset, stage_of(dataset))
    assert not dataset.pending(stage).num_rows
    rows = dataset.sql("SELECT DISTINCT frames, tokens, token_channels, tokens_size_bytes FROM encode_frames")
    assert rows.to_pylist() == [{"frames": 3, "tokens": 2, "token_channels": 2, "tokens_size_bytes": 3 * 2 * 2 * 2}]
    seen = SeenTokens.of(dataset, "seen", keys)
    for number in range(3):
        tokens_NPV = seen.read(number, np.array([0, 2, 1, 5]))
        assert tokens_NPV is not None and tokens_NPV.shape == (4, 2, 2) and tokens_NPV.dtype == np.float16
        wanted = [number * 37 + picture for picture in (0, 2, 1, 2)]
        assert tokens_NPV[:, 0, 0].tolist() == pytest.approx(wanted, abs=2.0), "the last one for what is beyond"
        assert (tokens_NPV[:, 1, 0] == 8).all()
    assert seen.read(3, np.array([0])) is None


def test_pictures_that_are_kept_as_jpeg_are_seen_so() -> None:
    rng = np.random.default_rng(0)
    large = rng.integers(0, 256, (2, 72, 72, 3), np.uint8)
    kept = as_kept(large)
    assert kept.shape == large.shape and kept.dtype == np.uint8 and (kept != large).any()
    assert as_kept(large[:, :64, :64]) is not None and (as_kept(large[:, :64, :64]) == large[:, :64, :64]).all()
    assert as_kept(large[:0]).shape == (0, 72, 72, 3)


def test_what_is_missing_and_what_is_of_another_kind_is_said(tmp_path: Path) -> None:
    dataset, keys = made(tmp_path)
    stage = stage_of(dataset)
    assert not is_seen(dataset, stage, "the line")
    with pytest.raises(ArgumentError, match="no tokens 'seen' of pictures; run `foundsound encode` with"):
        SeenTokens.of(dataset, "seen", keys)
    encoded(dataset, stage)
    assert is_seen(dataset, stage, "the line")
    for other in (stage_of(dataset, rate_hz=4.0), stage_of(dataset, size_px=9)):
        with pytest.raises(ArgumentError, match=r"pictures at another rate .* make them anew: the line"):
            is_seen(dataset, other, "the line")
    part = next(path for path in stage_folder(dataset).glob("part-*.parquet") if "schema" not in path.name)
    part.unlink()
    with pytest.raises(ArgumentError, match=r"of 4 clips .* have no tokens 'seen' of their pictures, .* among them"):
        SeenTokens.of(dataset, "seen", keys)
    for values in ({"rate_hz": 0.0}, {"size_px": 0}):
        with pytest.raises(ArgumentError, match="a rate above 0 Hz and a side of at least 1 px"):
            stage_of(dataset, **values)  # type: ignore[arg-type]


def stage_folder(dataset: Dataset) -> Path:
    (folder,) = dataset.current_facts("encode_frames").values()
    return folder


def test_tokens_of_several_kinds_and_beyond_float16_are_refused(tmp_path: Path) -> None:
    class Growing(Eye):
        calls = 0

        def encode_frames(self, frames_NHW3: np.ndarray) -> np.ndarray:
            self.calls += 1
            return np.zeros((len(frames_NHW3), self.calls, 2), np.float32)

    class Bright(Eye):
        def encode_frames(self, frames_NHW3: np.ndarray) -> np.ndarray:
            return np.full((len(frames_NHW3), 1, 1), np.inf, np.float32)

    dataset, keys = made(tmp_path)
    encoded(dataset, stage_of(dataset, Growing()))
    with pytest.raises(DatasetError, match="tokens of pictures are of several kinds"):
        SeenTokens.of(dataset, "seen", keys)
    with pytest.raises(StoppedError, match=r"the encoder of pictures gave tokens of .* no finite float16"):
        encoded(dataset, stage_of(dataset, Bright(), size_px=16))


def test_a_takedown_erases_them(tmp_path: Path) -> None:
    dataset, keys = made(tmp_path)
    encoded(dataset, stage_of(dataset))
    blobs = list(dataset.root("latents").path.rglob("*.bin"))

    def sevens() -> int:
        return sum(int((np.frombuffer(blob.read_bytes(), np.float16) == 7).sum()) for blob in blobs)

    assert sevens() == 3 * 3 * 2
    forget(dataset, ["v1"])
    assert sevens() == 2 * 3 * 2
    tokens_NPV = SeenTokens.of(dataset, "seen", keys.take(pa.array([0, 2]))).read(1, np.array([1]))
    assert tokens_NPV is not None and tokens_NPV[0, 0, 1] == 7
