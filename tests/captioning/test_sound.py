"""What of a file is heard."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from captioning.sound import heard, length_s
from curation.errors import ClipError, DatasetError


def test_channels_are_averaged_and_the_rate_is_changed(tmp_path: Path) -> None:
    time_T = np.arange(48_000) / 48_000
    left_T, right_T = 0.5 * np.sin(2 * np.pi * 440 * time_T), 0.25 * np.sin(2 * np.pi * 440 * time_T)
    soundfile.write(tmp_path / "a.flac", np.stack([left_T, right_T], axis=1), 48_000, subtype="PCM_24")
    wave_T = heard(tmp_path / "a.flac", sample_rate_hz=16_000, window_s=30.0)
    assert wave_T.shape == (16_000,) and wave_T.dtype == np.float32
    expected_T = 0.375 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert np.abs(wave_T - expected_T)[500:-500].max() < 1e-3


def test_only_the_window_is_heard(tmp_path: Path) -> None:
    wave_T = np.concatenate([np.full(16_000, 0.25), np.full(8_000, -0.5)])
    soundfile.write(tmp_path / "a.flac", wave_T, 16_000)
    assert np.array_equal(heard(tmp_path / "a.flac", sample_rate_hz=16_000, window_s=1.0), wave_T[:16_000])
    assert len(heard(tmp_path / "a.flac", sample_rate_hz=16_000, window_s=2.0)) == 24_000
    for rate_hz in (11_025, 44_100):
        soundfile.write(tmp_path / "b.flac", np.zeros(3 * rate_hz), rate_hz)
        assert len(heard(tmp_path / "b.flac", sample_rate_hz=16_000, window_s=2.0)) == 32_000


def test_a_file_without_samples_is_set_aside(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16_000)
    with pytest.raises(ClipError, match="EMPTY"):
        heard(tmp_path / "a.wav", sample_rate_hz=16_000, window_s=30.0)


def test_a_damaged_file_is_named_and_is_no_short_or_silent_clip(tmp_path: Path) -> None:
    file = tmp_path / "a.flac"
    soundfile.write(file, np.random.default_rng(0).uniform(-0.5, 0.5, 48_000), 16_000)
    assert length_s(file) == 3.0
    whole = file.read_bytes()
    for damaged in (whole[:30], b"", b"x" * len(whole)):
        file.write_bytes(damaged)
        with pytest.raises(DatasetError, match=r"a\.flac .*cannot be read"):
            length_s(file)
        with pytest.raises(DatasetError, match=r"a\.flac .*cannot be read"):
            heard(file, sample_rate_hz=16_000, window_s=30.0)
