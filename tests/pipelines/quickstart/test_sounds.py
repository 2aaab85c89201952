import numpy as np
import pytest

from pipelines.quickstart.sounds import CLASSES, LEVEL_DB, PEAK_MAX, RATE_HZ, Parameters, draw_parameters, play


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.mark.parametrize("label", CLASSES)
def test_parameters_lie_in_the_ranges_of_their_class(label: str) -> None:
    generator = rng()
    for _ in range(50):
        drawn = draw_parameters(label, generator)
        for name in ("base_hz", "rate_hz", "depth"):
            low, high = getattr(CLASSES[label], name)
            assert low <= getattr(drawn, name) <= high
        assert LEVEL_DB[0] <= drawn.level_db <= LEVEL_DB[1]
        assert 0 <= drawn.hue < 1


@pytest.mark.parametrize("label", CLASSES)
def test_level_is_kept_unless_the_peak_binds(label: str) -> None:
    parameters = draw_parameters(label, rng())
    wave = play(label, parameters, 4.0, rng()).wave
    rms_db = 10 * np.log10(np.mean(wave**2))
    peak = np.abs(wave).max()
    assert wave.size == 4 * RATE_HZ
    assert peak <= PEAK_MAX + 1e-9
    if peak < PEAK_MAX - 1e-9:
        assert rms_db == pytest.approx(parameters.level_db, abs=1e-6)
    else:
        assert rms_db <= parameters.level_db + 1e-6


@pytest.mark.parametrize("label", CLASSES)
def test_energy_lies_where_a_16_khz_model_hears_it(label: str) -> None:
    wave = play(label, draw_parameters(label, rng()), 4.0, rng()).wave
    power = np.abs(np.fft.rfft(wave)) ** 2
    assert power[: 4 * 4000 + 1].sum() / power.sum() > 0.99


def test_a_rising_sweep_ends_depth_octaves_higher_and_a_falling_one_is_its_mirror() -> None:
    parameters = Parameters(base_hz=400, rate_hz=1, depth=2, level_db=-20, hue=0)
    up = play("rising chirp", parameters, 1.0, rng()).pitch_hz
    down = play("falling chirp", parameters, 1.0, rng()).pitch_hz
    assert up[0] == 400
    assert up[-1] == pytest.approx(1600, rel=1e-3)
    np.testing.assert_allclose(up[1:], down[:0:-1])


def test_gated_classes_are_silent_between_their_pulses() -> None:
    parameters = Parameters(base_hz=1000, rate_hz=4, depth=0.5, level_db=-20, hue=0)
    periods = play("beep train", parameters, 1.0, rng()).wave.reshape(4, -1)
    half = periods.shape[1] // 2
    assert np.abs(periods[:, half:]).max() < 1e-9
    assert np.abs(periods[:, :half]).max() > 0.1


def test_no_note_is_played_twice_in_a_row() -> None:
    parameters = Parameters(base_hz=220, rate_hz=2, depth=0.3, level_db=-20, hue=0)
    notes = play("plucked notes", parameters, 20.0, rng()).pitch_hz[:: RATE_HZ // 2]
    assert notes.size == 40
    assert (np.diff(notes) != 0).all()


def test_a_sound_without_length_is_refused() -> None:
    parameters = draw_parameters("beep train", rng())
    with pytest.raises(ValueError, match=r"above 0 s, not 0\.0"):
        play("beep train", parameters, 0.0, rng())
