"""Loudness against what BS.1770 says about sines, and against ffmpeg's own meter."""

import re
import subprocess

import numpy as np
import pytest
import soundfile

from curation.measures.loudness import CHANNEL_WEIGHTS, LoudnessMeter
from curation.programs.ffmpeg import ffmpeg_path


def integrated_lufs(sound: np.ndarray, rate_hz: int, block_samples: int = 100_000) -> float | None:
    """Loudness of samples of shape (samples, channels), given to the meter in blocks."""
    meter = LoudnessMeter(sound.shape[1], rate_hz)
    for start in range(0, len(sound), block_samples):
        meter.add(sound[start : start + block_samples].T.astype(np.float32))
    return meter.integrated_lufs()


def sine(frequency_hz: float, seconds: float, rate_hz: int, peak_dbfs: float = 0.0) -> np.ndarray:
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return 10 ** (peak_dbfs / 20) * np.sin(2 * np.pi * frequency_hz * time_s)[:, None]


@pytest.mark.parametrize("rate_hz", [44_100, 48_000, 96_000])
def test_a_full_scale_sine_in_one_channel(rate_hz):
    assert integrated_lufs(sine(997, 5, rate_hz), rate_hz) == pytest.approx(-3.01, abs=0.02)


def test_a_full_scale_sine_in_both_channels_is_3_db_louder():
    assert integrated_lufs(np.tile(sine(997, 5, 48_000), 2), 48_000) == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize(("channel", "gain_db"), [(0, 0.0), (2, 0.0), (4, 1.5), (5, 1.5)])
def test_surround_channels_count_more(channel, gain_db):
    sound = np.zeros((5 * 48_000, 6))
    sound[:, channel] = sine(997, 5, 48_000, -20)[:, 0]
    assert integrated_lufs(sound, 48_000) == pytest.approx(-23.01 + gain_db, abs=0.02)


def test_the_low_frequency_channel_does_not_count():
    sound = np.zeros((48_000, 6))
    sound[:, 3] = sine(50, 1, 48_000)[:, 0]
    assert integrated_lufs(sound, 48_000) is None


def test_quiet_passages_are_gated():
    """EBU Tech 3341, case 3, a third as long: stereo at -36 dBFS, then -23, then -36, measures -23 LUFS."""
    levels = ((-36, 3.0), (-23, 20.0), (-36, 3.0))
    sound = np.concatenate([sine(1000, seconds, 48_000, level) for level, seconds in levels])
    assert integrated_lufs(np.tile(sound, 2), 48_000) == pytest.approx(-23.0, abs=0.1)


@pytest.mark.parametrize(("peak_dbfs", "heard"), [(-66.0, True), (-68.0, False)])
def test_below_minus_70_lufs_is_silence(peak_dbfs, heard):
    loudness = integrated_lufs(sine(997, 2, 48_000, peak_dbfs), 48_000)
    assert (loudness is not None) == heard


def test_less_than_a_block_has_no_loudness():
    assert integrated_lufs(sine(997, 0.399, 48_000), 48_000) is None
    assert integrated_lufs(sine(997, 0.400, 48_000), 48_000) is not None


@pytest.mark.parametrize(("channels", "rate_hz"), [(1, 48_000), (2, 44_100), (5, 48_000), (6, 48_000)])
def test_ffmpeg_measures_the_same(channels, rate_hz, tmp_path):
    rng = np.random.default_rng(channels)
    envelope = 0.05 + 0.3 * np.repeat(rng.random(12), rate_hz // 2)
    noise = rng.normal(0, 0.1, (6 * rate_hz, channels)) * envelope[:, None] + sine(60, 6, rate_hz, -20)
    soundfile.write(tmp_path / "a.flac", noise, rate_hz, subtype="PCM_16")
    meter = "ebur128=framelog=quiet:metadata=1,ametadata=mode=print:key=lavfi.r128.I:file=-"
    command = [ffmpeg_path(), "-v", "error", "-i", str(tmp_path / "a.flac"), "-af", meter, "-f", "null", "-"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    theirs = float(re.findall(r"lavfi\.r128\.I=(\S+)", printed)[-1])
    assert integrated_lufs(noise, rate_hz) == pytest.approx(theirs, abs=0.1)


def test_there_are_weights_for_every_number_of_channels():
    assert all(len(weights) == channels for channels, weights in CHANNEL_WEIGHTS.items())


@pytest.mark.parametrize("block_samples", [999, 48_000, 300_000])
def test_where_a_sound_is_divided_changes_nothing(block_samples):
    rng = np.random.default_rng(4)
    sound = rng.normal(0, 0.1, (5 * 48_000, 2)) * np.repeat(rng.random(10), 24_000)[:, None]
    assert integrated_lufs(sound, 48_000, block_samples) == pytest.approx(integrated_lufs(sound, 48_000), abs=1e-4)
