import numpy as np
import pytest

from pipelines.quickstart.pictures import BACKGROUND, FRAMES_PER_S, SHAPES, SIDE_PIXELS, blank, draw
from pipelines.quickstart.sounds import CLASSES, RATE_HZ, Parameters, Score, draw_parameters, play


def score(pitch_hz: float, level: float, seconds: float = 1.0) -> Score:
    ones = np.ones(round(seconds * RATE_HZ))
    return Score(wave=ones, pitch_hz=pitch_hz * ones, level=level * ones)


def rows_and_columns(frame: np.ndarray) -> tuple[float, float]:
    """Middle of what is not background."""
    y, x = np.nonzero((frame != BACKGROUND).any(axis=-1))
    return float(y.mean()), float(x.mean())


def test_every_class_has_a_shape_of_its_own() -> None:
    assert list(SHAPES) == list(CLASSES)
    pictures = [draw(label, score(1000, 1.0), 0.5)[0].tobytes() for label in SHAPES]
    assert len(set(pictures)) == len(SHAPES)


def test_height_follows_pitch_size_follows_level_and_time_goes_right() -> None:
    low, high = draw("beep train", score(200, 1.0), 0.1), draw("beep train", score(2000, 1.0), 0.1)
    assert low.shape == (FRAMES_PER_S, SIDE_PIXELS, SIDE_PIXELS, 3)
    assert low.dtype == np.uint8
    assert rows_and_columns(high[0])[0] < rows_and_columns(low[0])[0] - 40
    columns = [rows_and_columns(frame)[1] for frame in low]
    assert (np.diff(columns) > 1).all()
    quiet = draw("beep train", score(200, 0.0), 0.1)
    assert (quiet[0] != BACKGROUND).sum() < (low[0] != BACKGROUND).sum() / 2


def test_a_short_flash_is_seen_in_its_frame() -> None:
    flash = score(1000, 0.0)
    step = RATE_HZ // FRAMES_PER_S
    flash.level[5 * step + 100] = 1.0
    sizes = [(frame != BACKGROUND).sum() for frame in draw("beep train", flash, 0.1)]
    assert np.argmax(sizes) == 5


@pytest.mark.parametrize("label", CLASSES)
def test_a_good_picture_never_stands_still(label: str) -> None:
    rng = np.random.default_rng(1)
    parameters: Parameters = draw_parameters(label, rng)
    frames = draw(label, play(label, parameters, 4.0, rng), parameters.hue).astype(int)
    assert np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3)).min() > 0.255  # freezedetect's -60 dB of 255


def test_blank_frames_show_nothing() -> None:
    frames = blank(1.0)
    assert len(frames) == FRAMES_PER_S
    assert (frames == BACKGROUND).all()
