"""Levels against arithmetic, and true peak against ffmpeg's own meter."""

import hashlib
import re
import subprocess

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import resample_poly

from curation.measures.levels import LevelMeter, SilenceMeter, TruePeakMeter, as_floats
from curation.programs.ffmpeg import ffmpeg_path

RATE_HZ = 48_000


def s16(sound: np.ndarray) -> np.ndarray:
    return np.clip(np.round(sound * 32_768), -32_768, 32_767).astype(np.int16)


def sine(frequency_hz: float, seconds: float = 1.0, phase: float = 0.0) -> np.ndarray:
    return np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ + phase)[:, None]


def levels(samples: np.ndarray, block_samples: int = 1_000, run_samples: int = 3, rate_hz: int = RATE_HZ) -> dict:
    meter = LevelMeter(samples.shape[1], rate_hz, run_samples)
    for start in range(0, len(samples), block_samples):
        block = samples[start : start + block_samples]
        meter.add(block, as_floats(block))
    return meter.values()


def true_peak(samples: np.ndarray, block_samples: int = 1_000) -> float | None:
    meter = TruePeakMeter(samples.shape[1])
    for start in range(0, len(samples), block_samples):
        meter.add(as_floats(samples[start : start + block_samples]))
    return meter.decibels()


def silence_ratio(sound: np.ndarray, frame_samples: int = 960, silence_dbfs: float = -60.0) -> float:
    meter = SilenceMeter(frame_samples, silence_dbfs)
    meter.add(sound.T.astype(np.float32))
    return meter.ratio()


@pytest.mark.parametrize(
    ("samples", "share"),
    [
        ([0, 32_767, 32_767, 0, 0, 0, 0, 0], 0.0),
        ([0, 32_767, 32_767, 32_767, 0, 0, 0, 0], 3 / 8),
        ([-32_768, -32_768, -32_767, -32_768, 0, 0, 0, 0], 0.5),
        ([0, 0, 0, 0, 32_766, 32_766, 32_766, 32_766], 0.0),
        ([0, 0, 0, 0, 0, 32_767, 32_767, 32_767], 3 / 8),
        ([32_767] * 8, 1.0),
    ],
)
@pytest.mark.parametrize("block_samples", [1, 2, 3, 5, 8])
def test_runs_at_full_scale_are_clipped_wherever_blocks_end(samples, share, block_samples):
    assert levels(np.array(samples, np.int16)[:, None], block_samples)["clipping_ratio"] == share


@given(st.lists(st.sampled_from([0, 32_767]), min_size=1, max_size=40), st.integers(1, 9))
def test_clipping_in_blocks_is_clipping_in_one(samples, block_samples):
    column = np.array(samples, np.int16)[:, None]
    both = np.concatenate([column, column[::-1]], axis=1)
    assert levels(both, block_samples)["clipping_ratio"] == levels(both, 40)["clipping_ratio"]


def test_clipping_does_not_run_from_one_channel_into_the_next():
    samples = np.zeros((4, 2), np.int16)
    samples[2:, 0] = samples[:2, 1] = 32_767
    assert levels(samples)["clipping_ratio"] == 0.0


def test_a_sine_6_db_too_loud_is_clipped_for_two_thirds_of_the_time():
    assert levels(s16(2 * sine(100)))["clipping_ratio"] == pytest.approx(2 / 3, abs=0.01)  # |sin| > 1/2


def test_the_offset_is_that_of_the_worse_channel_with_its_sign():
    samples = np.stack([np.full(3_000, 100), np.full(3_000, -327)], axis=1).astype(np.int16)
    assert levels(samples)["dc_offset"] == pytest.approx(-327 / 32_768)
    assert levels(s16(0.5 * sine(100)))["dc_offset"] == pytest.approx(0.0, abs=1e-6)


def test_equal_channels_are_identical_and_one_bit_makes_them_differ():
    samples = np.tile(s16(0.3 * sine(440)), 2)
    found = levels(samples)
    assert found["channels_identical"] is True and found["channel_correlation"] == pytest.approx(1.0, abs=1e-6)
    samples[47_000, 1] += 1
    found = levels(samples)
    assert found["channels_identical"] is False and found["channel_correlation"] == pytest.approx(1.0, abs=1e-6)


def test_one_channel_is_no_mono_as_stereo_and_has_no_correlation():
    found = levels(s16(sine(440)))
    assert found["channels_identical"] is None and found["channel_correlation"] is None


@pytest.mark.parametrize(("phase", "correlation"), [(np.pi, -1.0), (np.pi / 2, 0.0), (np.pi / 3, 0.5)])
def test_correlation_of_sines_is_the_cosine_of_their_phase(phase, correlation):
    offset = np.array([0.2, -0.1])  # which changes nothing
    samples = s16(0.3 * np.concatenate([sine(440), sine(440, phase=phase)], axis=1) + offset)
    assert levels(samples)["channel_correlation"] == pytest.approx(correlation, abs=1e-3)


def test_a_constant_channel_has_no_correlation():
    samples = np.concatenate([s16(0.3 * sine(440)), np.full((RATE_HZ, 1), 50, np.int16)], axis=1)
    assert levels(samples)["channel_correlation"] is None


def test_equal_sound_has_an_equal_hash_and_silence_is_not_all_the_same():
    samples = np.arange(8, dtype=np.int16).reshape(4, 2)
    expected = hashlib.sha256(b"48000 Hz, 2 channels, s16le\n" + samples.astype("<i2").tobytes()).hexdigest()
    assert levels(samples, 3)["pcm_sha256"] == expected
    assert levels(samples, rate_hz=44_100)["pcm_sha256"] != expected
    assert levels(samples.reshape(8, 1))["pcm_sha256"] != expected


@pytest.mark.parametrize(("level_dbfs", "share"), [(-59.9, 0.0), (-60.1, 1.0)])
def test_frames_below_the_level_are_silent(level_dbfs, share):
    assert silence_ratio(np.full((9_600, 2), 10 ** (level_dbfs / 20))) == share


def test_the_share_of_silence_counts_frames():
    sound = np.zeros((9_600, 1))
    sound[:2_400] = 0.5  # two and a half of ten frames
    assert silence_ratio(sound) == 0.7
    assert silence_ratio(sound[:2_500]) == 0.0  # a frame that ends early counts by what is there of it
    assert silence_ratio(np.zeros((0, 1))) == 1.0


def test_a_sine_at_a_quarter_of_the_rate_peaks_3_db_above_its_samples():
    samples = s16(0.5 * sine(12_000, phase=np.pi / 4))
    assert np.abs(samples).max() == pytest.approx(0.5 * 32_768 / np.sqrt(2), abs=1)
    assert true_peak(samples) == pytest.approx(20 * np.log10(0.5), abs=0.25)  # the filter of BS.1770 is not flat


def test_the_true_peak_is_never_below_the_largest_sample():
    samples = np.zeros((1_000, 1), np.int16)
    samples[500] = -16_384
    assert true_peak(samples) >= 20 * np.log10(0.5)
    assert true_peak(np.zeros((1_000, 1), np.int16)) is None


@pytest.mark.parametrize("place", [0, 63, 64, 999])
@pytest.mark.parametrize("block_samples", [64, 100, 1_000])
def test_a_peak_is_found_wherever_rows_and_blocks_end(place, block_samples):
    samples = np.zeros((1_000, 2), np.int16)
    samples[place : place + 2, 1] = 16_384  # equal neighbours rise above themselves between them
    expected = 0.779785156250 + 0.46508789062 if place < 999 else 0.97216796875
    assert true_peak(samples, block_samples) == pytest.approx(20 * np.log10(max(0.5 * expected, 0.5)), abs=1e-3)


def test_true_peak_in_blocks_is_true_peak_in_one():
    samples = s16(np.random.default_rng(1).normal(0, 0.1, (20_000, 2)))
    assert true_peak(samples, 777) == true_peak(samples, 20_000)


@pytest.mark.parametrize("seed", [1, 2])
def test_true_peak_of_noise_is_that_of_the_oversampled_waveform_and_of_ffmpeg(seed, tmp_path):
    samples = s16(resample_poly(np.random.default_rng(seed).normal(0, 0.1, (RATE_HZ, 2)), 2, 1)[:RATE_HZ])
    oversampled = np.abs(resample_poly(samples / 32_768, 16, 1)).max()
    assert true_peak(samples) == pytest.approx(20 * np.log10(oversampled), abs=0.3)
    soundfile.write(tmp_path / "a.flac", samples, RATE_HZ)
    meter = "ebur128=framelog=quiet:peak=true"
    command = [ffmpeg_path(), "-nostats", "-i", str(tmp_path / "a.flac"), "-af", meter, "-f", "null", "-"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stderr
    theirs = float(re.findall(r"Peak:\s+(\S+) dBFS", printed)[-1])
    assert true_peak(samples) == pytest.approx(theirs, abs=0.3)
