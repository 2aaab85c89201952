"""A sound under a video: as long as the sound, whatever the video's length and own sound are."""

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from curation.errors import ClipError, Code
from curation.programs.soundtrack import lay_under

RATE_HZ = 16_000


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    t = np.arange(2 * RATE_HZ) / RATE_HZ
    soundfile.write(tmp_path / "sound.wav", 0.5 * np.sin(2 * np.pi * 440 * t), RATE_HZ)
    return tmp_path / "sound.wav"


def movie(path: Path, *, seconds: float, width: int = 64, height: int = 34) -> Path:
    """Grey that grows lighter, with a sound of its own."""
    with av.open(str(path), "w", format="mp4") as container:
        picture, own = container.add_stream("mpeg4", rate=10), container.add_stream("aac", rate=RATE_HZ, layout="mono")
        picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
        for level in np.linspace(40, 200, round(10 * seconds)).astype(int):
            pixels = np.full((height, width, 3), level, np.uint8)
            container.mux(picture.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        noise = np.random.default_rng(0).standard_normal((1, round(RATE_HZ * seconds))).astype(np.float32) / 4
        frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
        frame.rate = RATE_HZ
        for stream, last in ((own, frame), (own, None), (picture, None)):
            container.mux(stream.encode(last))
    return path


@pytest.mark.parametrize("seconds", [1.0, 2.0, 3.5])
def test_picture_and_sound_end_together(seconds: float, tmp_path: Path, sound: Path, scratch: Path) -> None:
    laid = lay_under(movie(tmp_path / "video.mp4", seconds=seconds), sound, scratch, seconds=2.0)
    with av.open(str(laid)) as container:
        lightness = [frame.to_ndarray(format="gray").mean() for frame in container.decode(video=0)]
    with av.open(str(laid)) as container:
        wave = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        rate_hz = container.streams.audio[0].rate
    assert len(lightness) == pytest.approx(20, abs=1)
    expected = [40, 200] if seconds <= 2 else [40, 40 + 160 * 2 / 3.5]
    assert [lightness[0], lightness[-1]] == pytest.approx(expected, abs=8)
    assert len(wave) / rate_hz == pytest.approx(2.0, abs=0.1)
    spectrum = np.abs(np.fft.rfft(wave[4000:20_000]))
    assert np.argmax(spectrum) * rate_hz / 16_000 == pytest.approx(440, abs=3), "its own sound is gone"


def test_a_file_without_a_picture_is_refused(sound: Path, scratch: Path) -> None:
    with pytest.raises(ClipError) as caught:
        lay_under(sound, sound, scratch, seconds=2.0)
    assert caught.value.code == Code.NO_VIDEO
