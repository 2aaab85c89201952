"""What a listener hears of each window, and samples that start where a window does."""

from pathlib import Path

import numpy as np
import pytest

from curation.dataset import Dataset
from curation.encode_sound import EncodeSound, whole_windows
from curation.errors import ArgumentError, DatasetError, StoppedError
from curation.latents import Extras, Lengths
from curation.samples import Samples, Source
from curation.takedowns.forget import forget
from pipelines.runner import Job, run
from tests.curation.made import RATE_HZ
from tests.curation.test_samples import HOP, Blocks, made


class Ear:
    """Two tokens a window: (samples of the window, mean of its samples) and (that mean, 7)."""

    sample_rate_hz = RATE_HZ

    def hear(self, wave_T: np.ndarray) -> np.ndarray:
        return np.array([(len(wave_T), wave_T.mean()), (wave_T.mean(), 7)], np.float32)


def heard(dataset: Dataset, *, window_s: float, ear: Ear | None = None) -> EncodeSound:
    stage = EncodeSound(
        listener={"class": "Ear"},
        window_s=window_s,
        build=lambda: ear or Ear(),
        media=dataset.media,
        blobs=dataset.root("latents"),
        called="blocks",
    )
    run(dataset, Job(stage=stage, queue=lambda: dataset.pending(stage), batch_rows=3, workers=0))
    return stage


def opened(dataset: Dataset, frames: tuple[int, ...]) -> Samples:
    lengths = Lengths(latent_frames=frames, latent_rate_hz=RATE_HZ / HOP, frame_rate_hz=50.0)
    return Samples.open([Source(dataset=dataset)], latents="blocks", lengths=lengths, extras=Extras(heard="blocks"))


def test_windows_are_whole_and_a_shorter_sound_is_its_own() -> None:
    wave_T = np.arange(25, dtype=np.float32)
    assert [window.tolist() for window in whole_windows(wave_T, 10)] == [list(range(10)), list(range(10, 20))]
    assert [len(window) for window in whole_windows(wave_T, 26)] == [25]
    assert [len(window) for window in whole_windows(wave_T, 25)] == [25]


def test_a_sample_has_the_tokens_of_its_own_span(tmp_path: Path) -> None:
    """Clips of ten latent frames: windows of three frames start at 0, 3 and 6."""
    dataset = made(tmp_path, ["a", "b", "c"])
    stage = heard(dataset, window_s=3 * HOP / RATE_HZ)
    assert not dataset.pending(stage).num_rows
    rows = dataset.sql("SELECT windows, window_s, tokens, token_channels FROM encode_sound").to_pylist()
    assert {(row["windows"], row["window_s"], row["tokens"], row["token_channels"]) for row in rows} == {
        (3, 3 * HOP / RATE_HZ, 2, 2)
    }
    samples = opened(dataset, (3,))
    batch = samples.batch(samples.plan(batch_size=64, seed=0), 0)
    assert batch["heard"].shape == (64, 2, 2) and batch["heard"].dtype == np.float16
    assert set(batch["latents"][:, 0, 0].tolist()) == {0, 3, 6}
    means_B = batch["latents"][:, :, 1].astype(np.float32).mean(axis=1)
    assert len(set(np.round(means_B, 3))) > 3, "spans differ, else the next line says nothing"
    np.testing.assert_allclose(batch["heard"][:, 0], np.stack([np.full(64, 3 * HOP), means_B], 1), atol=2e-3)
    assert (batch["heard"][:, 1, 1] == 7).all()


def test_a_clip_shorter_than_a_window_is_heard_whole(tmp_path: Path) -> None:
    dataset = made(tmp_path, ["a"])
    heard(dataset, window_s=11 * HOP / RATE_HZ)
    (row,) = dataset.sql("SELECT windows, tokens FROM encode_sound").to_pylist()
    assert row == {"windows": 1, "tokens": 2}


def test_samples_of_another_length_and_missing_tokens_say_what_to_run(tmp_path: Path) -> None:
    dataset = made(tmp_path, ["a", "b"])
    with pytest.raises(ArgumentError, match=r"no tokens 'blocks' of sounds; run `foundsound encode` with --listener"):
        opened(dataset, (3,))
    heard(dataset, window_s=3 * HOP / RATE_HZ)
    wrong = r"samples of 0\.04 s cannot be trained on what was heard in windows of 0\.03 s"
    with pytest.raises(ArgumentError, match=wrong):
        opened(dataset, (4,))
    with pytest.raises(ArgumentError, match=wrong):
        opened(dataset, (3, 4))


def test_windows_of_several_kinds_are_refused(tmp_path: Path) -> None:
    class Growing(Ear):
        calls = 0

        def hear(self, wave_T: np.ndarray) -> np.ndarray:
            self.calls += 1
            return np.zeros((1 + self.calls // 4, 2), np.float32)

    dataset = made(tmp_path, ["a", "b"])
    heard(dataset, window_s=3 * HOP / RATE_HZ, ear=Growing())
    with pytest.raises(DatasetError, match="windows of several kinds"):
        opened(dataset, (3,))


def test_tokens_beyond_float16_stop_the_stage(tmp_path: Path) -> None:
    class Loud(Ear):
        def hear(self, wave_T: np.ndarray) -> np.ndarray:
            return np.full((1, 2), np.nan, np.float32)

    with pytest.raises(StoppedError, match=r"the listener gave tokens of .* no finite float16"):
        heard(made(tmp_path, ["a"]), window_s=0.1, ear=Loud())
    with pytest.raises(ArgumentError, match="longer than 0 s"):
        heard(made(tmp_path / "none", ["a"]), window_s=0.0)


def test_a_takedown_erases_the_tokens(tmp_path: Path) -> None:
    dataset = made(tmp_path, ["a", "b"], codec=Blocks())
    heard(dataset, window_s=3 * HOP / RATE_HZ)
    before = dataset.sql("SELECT key, blob, tokens_offset_bytes AS begin, tokens_size_bytes AS size FROM encode_sound")
    forget(dataset, ["a"])
    kept = set(Dataset(dataset.path).sql("SELECT key FROM encode_sound")["key"].to_pylist())
    assert len(kept) == 1
    for row in before.to_pylist():
        content = (dataset.root("latents").path / row["blob"]).read_bytes()[row["begin"] : row["begin"] + row["size"]]
        assert any(content) == (row["key"] in kept)
