import tracemalloc

import numpy as np
import pytest
import soundfile
from scipy.signal import firwin, lfilter

from curation.cut import Cut
from curation.errors import DatasetError
from curation.measure import Measure
from curation.media import MediaStore
from curation.schema import fact_schema
from curation.tables import rows_to_table

pytest_plugins = "tests.curation.encoding"

RATE_HZ = 48_000

PICTURE = ("still_ratio", "ssim", "motion", "black_ratio")


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


def test_a_long_sound_needs_no_more_memory_than_a_short_one(measure, monkeypatch):
    monkeypatch.setattr("curation.measure.BLOCK_MS", 2_000)
    noise = np.random.default_rng(3).normal(0, 0.1, (4 * RATE_HZ, 2))
    measure(s16(noise))  # what is made once is there
    peaks_bytes = []
    for times in (1, 8):
        samples = np.tile(s16(noise), (times, 1))
        tracemalloc.start()
        measure(samples)
        peaks_bytes.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks_bytes[1] < 1.2 * peaks_bytes[0]


@pytest.mark.parametrize("cut_off_hz", [4_000, 11_000])
@pytest.mark.parametrize("level", [0.2, 0.01])
def test_bandwidth_of_low_passed_noise(cut_off_hz, level, measure):
    taps = firwin(2_001, cut_off_hz, fs=RATE_HZ, window=("kaiser", 10))
    noise = lfilter(taps, 1.0, np.random.default_rng(1).normal(0, level, 4 * RATE_HZ))[:, None]
    assert measure(s16(noise))["bandwidth_hz"] == pytest.approx(cut_off_hz, abs=150)


def test_all_of_it_at_once(measure):
    """One wide tone in both channels, half of the second silent, half a second of rest."""
    time_s = np.arange(RATE_HZ) / RATE_HZ
    tone = np.where(time_s < 0.5, 0.5 * np.sin(2 * np.pi * 1_000 * time_s), 0.0)[:, None]
    found = measure(s16(np.tile(tone, 2)))
    assert set(found) | set(PICTURE) | {"av_offset_ms"} == set(Measure.RESULTS.names)
    assert found["true_peak_dbtp"] == pytest.approx(-6.02, abs=0.3)
    assert found["silence_ratio"] == 0.5 and found["speech_ratio"] == 0.0
    assert found["channels_identical"] is True and found["channel_correlation"] == pytest.approx(1.0)
    assert found["dc_offset"] == pytest.approx(0.0, abs=1e-4) and found["spectral_flatness"] < 0.1


def test_a_long_sound_is_measured_block_by_block(measure, monkeypatch):
    rng = np.random.default_rng(2)
    samples = s16(rng.normal(0, 0.2, (3 * RATE_HZ, 2)) * np.repeat(rng.random(6), RATE_HZ // 2)[:, None])
    whole = measure(samples)
    monkeypatch.setattr("curation.measure.BLOCK_MS", 700)
    parts = measure(samples)
    assert parts.pop("pcm_sha256") == whole.pop("pcm_sha256")
    assert parts == pytest.approx(whole, rel=1e-4)


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
        assert (values["black_ratio"] == 0.0 and values["motion"] is None) or values["motion"] >= 0
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


def test_sound_without_a_picture_has_no_values_of_one(encode, tmp_path):
    store = MediaStore(root=tmp_path / "media")
    cut = Cut(media=store).cut(encode("a.wav", sine(440)), {"start_ms": 0, "duration_ms": 500}, tmp_path)
    values = Measure(media=store).measure(cut)
    assert values["duration_s"] == 0.5 and not {*PICTURE, "av_offset_ms"} & set(values)


def test_a_file_that_the_table_names_and_nobody_has_is_no_clip_error(tmp_path):
    request = {"key": "k", "audio_sha256": "0" * 64, "video_sha256": None, "av_offset_ms": None}
    with pytest.raises(DatasetError):
        Measure(media=MediaStore(root=tmp_path)).open()([request])


@pytest.mark.parametrize(
    "knobs",
    [
        {"silence_dbfs": 0.0},
        {"clipping_run_samples": 0},
        {"still_difference": 0.0},
        {"picture_side_px": 10},
        {"silence_frame_ms": 30},
        {"speech_probability": 1.0},
    ],
)
def test_knobs_out_of_range_are_refused(knobs, tmp_path):
    with pytest.raises(ValueError, match=f"not {next(iter(knobs.values()))}"):
        Measure(media=MediaStore(root=tmp_path), **knobs)
