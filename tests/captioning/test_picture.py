"""Frames of clips: which moments they show, and how many."""

from pathlib import Path

import av
import numpy as np
import pytest

from captioning.picture import FRAMES_HZ, seen
from curation.errors import ClipError, Code, DatasetError


def grey(path: Path, frames: int, rate_hz: int) -> Path:
    """A video of 32 x 16 px whose frame n has the level 6 n."""
    with av.open(path, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=rate_hz)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for n in range(frames):
            pixels = np.full((16, 32, 3), 6 * n, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    return path


def test_the_frame_shown_at_each_moment_is_taken(tmp_path: Path) -> None:
    frames_NHWC = seen(grey(tmp_path / "a.mp4", 40, 10))
    assert frames_NHWC.shape == (8, 16, 32, 3) and frames_NHWC.dtype == np.uint8
    levels = frames_NHWC.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(levels, [6 * 5 * k for k in range(8)], atol=5)


def test_a_slow_picture_is_repeated_and_a_long_one_cut(tmp_path: Path) -> None:
    slow = seen(grey(tmp_path / "slow.mp4", 3, 1))  # a frame a second, two moments each but the last
    np.testing.assert_allclose(slow.mean(axis=(1, 2, 3)), [0, 6, 6, 12, 12], atol=2)
    assert len(seen(grey(tmp_path / "long.mp4", 40, 10), window_s=1.5)) == 3
    assert len(seen(grey(tmp_path / "one.mp4", 1, 10))) == 1
    assert FRAMES_HZ == 2.0


def test_a_file_without_a_frame_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClipError) as error:
        seen(grey(tmp_path / "a.mp4", 2, 10), window_s=0.0)
    assert error.value.code is Code.NO_VIDEO


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = grey(tmp_path / "a.mp4", 4, 10)
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(DatasetError, match=r"a\.mp4 .*cannot be read"):
        seen(file)
