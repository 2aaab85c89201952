import hashlib

import numpy as np
import pytest
import soundfile
from scipy.signal import firwin, lfilter

from curation.cut import Cut
from curation.errors import DatasetError
from curation.measure import Measure, bandwidth_hz, clipping_ratio, grey_frames, pcm_sha256, silence_ratio
from curation.media import MediaStore
from curation.schema import fact_schema
from curation.tables import rows_to_table

pytest_plugins = "tests.curation.encoding"

RATE_HZ = 48_000


def s16(sound: np.ndarray) -> np.ndarray:
    return np.clip(np.round(sound * 32_768), -32_768, 32_767).astype(np.int16)


def sine(frequency_hz: float, seconds: float = 1.0) -> np.ndarray:
    return np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)[:, None]


@pytest.fixture
def measure(tmp_path):
    """`measure(samples)` -> what is measured of these 16-bit samples at 48 kHz."""

    def measured(samples: np.ndarray, rate_hz: int = RATE_HZ) -> dict:
        soundfile.write(tmp_path / "a.flac", samples, rate_hz)
        return Measure(media=MediaStore(root=tmp_path)).measure_sound(tmp_path / "a.flac")

    return measured


def test_a_full_scale_sine(measure):
    found = measure(s16(sine(997)))
    assert found["peak_dbfs"] == pytest.approx(0.0, abs=0.001)
    assert found["loudness_lufs"] == pytest.approx(-3.01, abs=0.03)
    assert (found["duration_s"], found["sample_rate_hz"], found["channels"]) == (1.0, RATE_HZ, 1)
    assert found["clipping_ratio"] == 0.0 and found["silence_ratio"] == 0.0
    assert found["bandwidth_hz"] == pytest.approx(997, abs=400)


def test_half_of_full_scale_peaks_at_minus_6_db(measure):
    assert measure(np.full((4800, 2), -16_384, np.int16))["peak_dbfs"] == pytest.approx(-6.0206)


def test_digital_silence_has_no_level(measure):
    found = measure(np.zeros((RATE_HZ, 2), np.int16))
    assert found["silence_ratio"] == 1.0
    assert found["peak_dbfs"] is found["loudness_lufs"] is found["bandwidth_hz"] is None


def test_one_sample_is_measured_too(measure):
    found = measure(np.array([[-32_768]], np.int16))
    assert found["peak_dbfs"] == 0.0 and found["loudness_lufs"] is None and found["clipping_ratio"] == 0.0


@pytest.mark.parametrize(
    ("samples", "share"),
    [
        ([0, 32_767, 32_767, 0, 0, 0, 0, 0], 0.0),
        ([0, 32_767, 32_767, 32_767, 0, 0, 0, 0], 3 / 8),
        ([-32_768, -32_768, -32_767, -32_768, 0, 0, 0, 0], 0.5),
        ([0, 0, 0, 0, 32_766, 32_766, 32_766, 32_766], 0.0),
        ([0, 0, 0, 0, 0, 32_767, 32_767, 32_767], 3 / 8),
    ],
)
def test_runs_at_full_scale_are_clipped(samples, share):
    assert clipping_ratio(np.array(samples, np.int16)[:, None], 3) == share


def test_clipping_does_not_run_from_one_channel_into_the_next():
    samples = np.zeros((4, 2), np.int16)
    samples[2:, 0] = samples[:2, 1] = 32_767
    assert clipping_ratio(samples, 3) == 0.0


def test_a_sine_6_db_too_loud_is_clipped_for_two_thirds_of_the_time():
    assert clipping_ratio(s16(2 * sine(100)), 3) == pytest.approx(2 / 3, abs=0.01)  # |sin| > 1/2


@pytest.mark.parametrize(("level_dbfs", "share"), [(-59.9, 0.0), (-60.1, 1.0)])
def test_frames_below_the_level_are_silent(level_dbfs, share):
    assert silence_ratio(np.full((9_600, 2), 10 ** (level_dbfs / 20)), 960, -60.0) == share


def test_the_share_of_silence_counts_frames():
    sound = np.zeros((9_600, 1))
    sound[:2_400] = 0.5  # two and a half of ten frames
    assert silence_ratio(sound, 960, -60.0) == 0.7


@pytest.mark.parametrize("cut_off_hz", [4_000, 11_000])
@pytest.mark.parametrize("level", [0.2, 0.01])
def test_bandwidth_of_low_passed_noise(cut_off_hz, level, measure):
    taps = firwin(2_001, cut_off_hz, fs=RATE_HZ, window=("kaiser", 10))
    noise = lfilter(taps, 1.0, np.random.default_rng(1).normal(0, level, 4 * RATE_HZ))[:, None]
    assert measure(s16(noise))["bandwidth_hz"] == pytest.approx(cut_off_hz, abs=150)


def test_white_noise_fills_the_band():
    noise = np.random.default_rng(1).normal(0, 0.1, (RATE_HZ, 1))
    assert bandwidth_hz(noise, RATE_HZ, -80.0, 6.0) == pytest.approx(24_000, abs=50)


def test_equal_sound_has_an_equal_hash_and_silence_is_not_all_the_same():
    samples = np.arange(8, dtype=np.int16).reshape(4, 2)
    expected = hashlib.sha256(b"48000 Hz, 2 channels, s16le\n" + samples.astype("<i2").tobytes()).hexdigest()
    assert pcm_sha256(samples, RATE_HZ) == expected
    assert pcm_sha256(samples, 44_100) != expected
    assert pcm_sha256(samples.reshape(8, 1), RATE_HZ) != expected


def moving(frames: int) -> np.ndarray:
    """A bright bar that walks over a textured ground, 2 px a frame at 25 frames a second."""
    ground = np.random.default_rng(5).integers(60, 120, (96, 128), dtype=np.uint8)
    shown = np.repeat(ground[None], frames, axis=0)
    for number, frame in enumerate(shown):
        frame[:, (2 * number) % 120 : (2 * number) % 120 + 8] = 235
    return shown


@pytest.fixture
def still_ratio(encode, tmp_path):
    """`still_ratio(frames)` -> what is measured after encoding and cutting."""

    def measured(frames: np.ndarray, rate_hz: int = 25) -> float:
        store = MediaStore(root=tmp_path / "media")
        path = encode("a.mp4", sine(440, len(frames) / rate_hz), frames=frames, frame_rate_hz=rate_hz)
        cut = Cut(media=store).cut(path, {"start_ms": 0, "duration_ms": None}, tmp_path)
        values = Measure(media=store).measure({**cut, "key": "k"})
        assert set(values) == set(Measure.RESULTS.names)
        assert rows_to_table([{"key": "k", **values}], fact_schema(Measure.RESULTS)).num_rows == 1
        assert values["av_offset_ms"] == 0.0
        return values["still_ratio"]

    return measured


def test_a_still_picture_is_still_and_a_moving_one_is_not(still_ratio):
    frames = moving(100)
    assert still_ratio(frames) == 0.0
    assert still_ratio(np.repeat(frames[:1], 100, axis=0)) == 1.0
    half = np.concatenate([frames[:50], np.repeat(frames[50:51], 50, axis=0)])
    assert still_ratio(half) == pytest.approx(0.5, abs=0.06)


def test_grain_that_coding_leaves_behind_is_still(still_ratio):
    frames = np.repeat(moving(1), 50, axis=0)
    noisy = np.clip(frames + np.random.default_rng(6).normal(0, 1.0, frames.shape), 0, 255).astype(np.uint8)
    assert still_ratio(noisy) == 1.0


def test_one_frame_is_a_still_picture(still_ratio):
    assert still_ratio(moving(1), rate_hz=1) == 1.0


def test_five_frames_a_second_are_compared(encode, tmp_path):
    assert grey_frames(encode("a.mp4", frames=moving(50)), 5, 64).shape == (10, 64, 64)
    assert grey_frames(encode("a.mp4", frames=moving(6), frame_rate_hz=2), 5, 64).shape == (6, 64, 64)


def test_sound_without_a_picture_has_no_values_of_one(encode, tmp_path):
    store = MediaStore(root=tmp_path / "media")
    cut = Cut(media=store).cut(encode("a.wav", sine(440)), {"start_ms": 0, "duration_ms": 500}, tmp_path)
    values = Measure(media=store).measure(cut)
    assert values.get("still_ratio") is None and values["av_offset_ms"] is None


def test_a_file_that_the_table_names_and_nobody_has_is_no_clip_error(tmp_path):
    request = {"key": "k", "audio_sha256": "0" * 64, "video_sha256": None, "av_offset_ms": None}
    with pytest.raises(DatasetError):
        Measure(media=MediaStore(root=tmp_path)).open()([request])


@pytest.mark.parametrize("knobs", [{"silence_dbfs": 0.0}, {"clipping_run_samples": 0}, {"still_difference": 0.0}])
def test_knobs_out_of_range_are_refused(knobs, tmp_path):
    with pytest.raises(ValueError, match="not 0"):
        Measure(media=MediaStore(root=tmp_path), **knobs)
