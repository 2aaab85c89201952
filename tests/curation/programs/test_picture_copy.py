"""Copies of pictures that nobody vouched for: stills and videos come out small, and everything else is refused."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from curation.agree import frames_at
from curation.errors import ClipError, Code
from curation.programs.contained import Limits
from curation.programs.picture_copy import COPY_SIDE_PX, length_s, picture_copy

STILLS = {"png": "png", "jpeg": "mjpeg", "bmp": "bmp", "gif": "gif", "webp": "libwebp"}
RED = np.array([200, 30, 30])


def still(path: Path, kind: str, *, width: int = 640, height: int = 320) -> Path:
    """The left half red, the right half black."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2] = RED
    formats = {"mjpeg": "yuvj420p", "gif": "rgb8", "libwebp": "yuv420p", "bmp": "bgr24"}
    codec = av.CodecContext.create(STILLS[kind], "w")
    codec.width, codec.height, codec.pix_fmt = width, height, formats.get(STILLS[kind], "rgb24")
    codec.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format=codec.pix_fmt)
    if kind in ("gif", "webp"):
        with av.open(str(path), "w", format=kind) as container:
            stream = container.add_stream(STILLS[kind], rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, codec.pix_fmt
            container.mux([*stream.encode(frame), *stream.encode()])
    else:
        path.write_bytes(b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode()]))
    return path


def video(path: Path, levels: list[int], rate_hz: int = 10) -> Path:
    """Grey frames."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=rate_hz)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for level in levels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((16, 32, 3), level, np.uint8), "rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("kind", STILLS)
def test_a_still_becomes_one_small_frame(kind: str, tmp_path: Path) -> None:
    named = still(tmp_path / "a.jpg", kind)  # what a file is, not what it is called, decides
    (tmp_path / "scratch").mkdir()
    copy = picture_copy(named, tmp_path / "scratch")
    with av.open(str(copy)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.frames) == (COPY_SIDE_PX, COPY_SIDE_PX // 2, 1)
    (seen,) = frames_at(copy, [0.0], 8)
    np.testing.assert_allclose(seen[:, :3].reshape(-1, 3), np.broadcast_to(RED, (24, 3)), atol=40)
    assert seen[:, 5:].max() < 30


def test_a_video_keeps_its_time(tmp_path: Path) -> None:
    copy = picture_copy(video(tmp_path / "v.mp4", [20] * 10 + [220] * 15), _new(tmp_path / "scratch"))
    assert length_s(copy) == pytest.approx(2.5, abs=0.11)
    levels = frames_at(copy, [0.0, 0.8, 1.2, 2.4], 8).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(levels, [20, 20, 220, 220], atol=8)


def test_a_small_picture_is_not_made_larger_and_odd_sides_are_even(tmp_path: Path) -> None:
    copy = picture_copy(still(tmp_path / "a.png", "png", width=33, height=7), _new(tmp_path / "scratch"))
    with av.open(str(copy)) as container:
        stream = container.streams.video[0]
        assert abs(stream.width - 33) <= 1 and abs(stream.height - 7) <= 1


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", Code.EMPTY),
        (b"hello", Code.UNREADABLE),
        (b"\x89PNG\r\n\x1a\nand nothing", Code.UNREADABLE),
        (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", Code.UNREADABLE),
        (b"ffconcat version 1.0\nfile a.mp4\n", Code.UNREADABLE),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Code.UNREADABLE),
    ],
)
def test_what_is_no_picture_is_refused(content: bytes, code: Code, tmp_path: Path) -> None:
    video(tmp_path / "a.mp4", [1, 2])
    (tmp_path / "file.png").write_bytes(content)
    with pytest.raises(ClipError) as refused:
        picture_copy(tmp_path / "file.png", _new(tmp_path / "scratch"))
    assert refused.value.code == code


def test_a_sound_has_no_picture(tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.zeros(800), 8000)
    with pytest.raises(ClipError) as refused:
        picture_copy(tmp_path / "a.wav", _new(tmp_path / "scratch"))
    assert refused.value.code == Code.NO_VIDEO


def test_a_picture_that_takes_too_long_is_a_timeout(tmp_path: Path) -> None:
    named = still(tmp_path / "a.png", "png")
    with pytest.raises(ClipError) as refused:
        picture_copy(named, _new(tmp_path / "scratch"), limits=Limits(wall_s=0.01))
    assert refused.value.code == Code.TIMEOUT


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder
