from pathlib import Path

import numpy as np
import pytest
import soundfile

from retrieval_index.windows import mono, window_starts, windows


@pytest.mark.parametrize(
    ("length_s", "starts_s"),
    [
        (0.5, [0]),
        (4, [0]),
        (10, [0]),
        (10.01, [0, 5]),
        (12, [0, 5]),
        (15, [0, 5]),
        (15.1, [0, 5, 10]),
        (27, [0, 5, 10, 15, 20]),
    ],
)
def test_a_window_every_five_seconds_until_the_sound_is_covered(length_s: float, starts_s: list[float]) -> None:
    assert window_starts(length_s, window_s=10) == starts_s


def test_the_hop_follows_the_window() -> None:
    assert window_starts(9, window_s=4) == [0, 2, 4, 6]
    assert window_starts(9, window_s=4, hop_ratio=1) == [0, 4, 8]


@pytest.mark.parametrize(("window_s", "hop_ratio"), [(0, 0.5), (-1, 0.5), (10, 0), (10, 1.01)])
def test_lengths_out_of_range_are_refused_with_their_value(window_s: float, hop_ratio: float) -> None:
    with pytest.raises(ValueError, match=f"not {window_s} and {hop_ratio}"):
        window_starts(10, window_s, hop_ratio)


def test_windows_are_the_samples_at_their_starts_and_cover_the_sound() -> None:
    wave_T = np.arange(27 * 8, dtype=np.float32)
    cut = windows(wave_T, sample_rate_hz=8, window_s=10)
    assert [len(piece) for _, piece in cut] == [80, 80, 80, 80, 56]
    assert all(piece[0] == start * 8 for start, piece in cut)
    assert cut[-1][1][-1] == wave_T[-1]


def test_mono_is_the_mean_of_the_channels(tmp_path: Path) -> None:
    file = tmp_path / "stereo.flac"
    soundfile.write(file, np.tile([[0.5, -0.25]], (100, 1)), 8_000)
    assert np.allclose(mono(file, 8_000), 0.125, atol=1e-4)


def test_mono_resamples(tmp_path: Path) -> None:
    """A tone of 440 Hz at 48 kHz is the same tone at 16 kHz."""
    file = tmp_path / "tone.wav"
    soundfile.write(file, np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000), 48_000, subtype="FLOAT")
    resampled_T = mono(file, 16_000)
    assert len(resampled_T) == 16_000
    expected_T = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert np.abs(resampled_T - expected_T)[200:-200].max() < 1e-3
