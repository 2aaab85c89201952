"""Numbers about pictures against arithmetic, and structural similarity against another implementation."""

import itertools

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from curation.measures.picture import PictureMeter, grey_frames, neighbour_ssim

pytest_plugins = "tests.curation.encoding"


def measured(frames: np.ndarray, batch_frames: int = 1_000) -> dict:
    meter = PictureMeter(0.25)
    for start in range(0, len(frames), batch_frames):
        meter.add(frames[start : start + batch_frames])
    return meter.values()


def textured(frames: int, size: tuple[int, int] = (64, 64)) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (frames, *size), dtype=np.uint8)


def ssim(first: np.ndarray, second: np.ndarray) -> float:
    """Wang et al. 2004 with the Gaussian filter of SciPy, over the places where the window lies inside."""

    def mean(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, 1.5, truncate=5 / 1.5)[5:-5, 5:-5]

    x, y = first.astype(float), second.astype(float)
    covariance = mean(x * y) - mean(x) * mean(y)
    variances = mean(x * x) - mean(x) ** 2 + mean(y * y) - mean(y) ** 2
    top = (2 * mean(x) * mean(y) + 2.55**2) * (2 * covariance + 7.65**2)
    return float((top / ((mean(x) ** 2 + mean(y) ** 2 + 2.55**2) * (variances + 7.65**2))).mean())


@pytest.mark.parametrize("size", [(64, 64), (11, 40), (90, 33)])
def test_structural_similarity_is_that_of_another_implementation(size):
    frames = textured(4, size)
    frames[2] = frames[1] // 2 + 60
    expected = [ssim(*pair) for pair in itertools.pairwise(frames)]
    assert neighbour_ssim(frames.astype(np.float32)) == pytest.approx(expected, abs=1e-4)


def test_structural_similarity_of_equal_and_of_plain_frames():
    assert neighbour_ssim(np.repeat(textured(1), 3, axis=0).astype(np.float32)) == pytest.approx([1.0, 1.0])
    plain = np.stack([np.full((64, 64), 100.0), np.full((64, 64), 150.0)]).astype(np.float32)
    expected = (2 * 100 * 150 + 2.55**2) / (100**2 + 150**2 + 2.55**2)  # no variance: the means alone
    assert neighbour_ssim(plain) == pytest.approx([expected], abs=1e-5)


def test_frames_smaller_than_the_window_are_refused():
    with pytest.raises(ValueError, match="not 10"):
        neighbour_ssim(np.zeros((2, 10, 64), np.float32))


@pytest.mark.parametrize(("step", "still"), [(0, 1.0), (1, 0.0)])
def test_a_frame_that_changes_by_more_than_the_bound_moves(step, still):
    frames = np.stack([np.full((64, 64), 100 + step * number, np.uint8) for number in range(6)])
    found = measured(frames)
    assert found["still_ratio"] == still and found["motion"] == pytest.approx(step)


def test_motion_is_the_mean_difference_of_neighbours():
    frames = np.zeros((3, 64, 64), np.uint8)
    frames[1, :32] = 40  # half of it by 40, then all back
    assert measured(frames)["motion"] == pytest.approx(20.0)


@pytest.mark.parametrize(("level", "bright_px", "black"), [(25, 0, 1.0), (26, 0, 0.0), (0, 81, 1.0), (0, 82, 0.0)])
def test_a_black_frame_has_98_percent_below_a_tenth_of_white(level, bright_px, black):
    frames = np.full((2, 64, 64), level, np.uint8)
    frames.reshape(2, -1)[:, :bright_px] = 255  # 2 % of 4096 are 81.9
    assert measured(frames)["black_ratio"] == black


def test_one_frame_is_still_and_has_no_neighbour():
    found = measured(textured(1))
    assert found == {"still_ratio": 1.0, "ssim": None, "motion": None, "black_ratio": 0.0}


@pytest.mark.parametrize("batch_frames", [1, 2, 7])
def test_where_a_picture_is_divided_changes_nothing(batch_frames):
    frames = np.repeat(textured(5), [1, 2, 1, 3, 1], axis=0)
    assert measured(frames, batch_frames) == pytest.approx(measured(frames), rel=1e-6)


def test_five_frames_a_second_are_compared(encode):
    frames = textured(50, (96, 128))
    assert sum(map(len, grey_frames(encode("a.mp4", frames=frames), 5, 64))) == 10
    slow = list(grey_frames(encode("a.mp4", frames=frames[:6], frame_rate_hz=2), 5, 64))
    assert [batch.shape for batch in slow] == [(6, 64, 64)]
