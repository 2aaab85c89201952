"""Sounds of a model for clips: from words, from pictures, from both."""

import io
import math
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from curation.errors import ArgumentError
from models.audiox import AudioX
from pipelines.evaluations.made_sounds import Making, make_some, write_sound
from pipelines.evaluations.sound_sets import RealClip
from pipelines.makers.audiox import AudioXMaker
from tests.models.audiox.tiny_audiox import save_audiox


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> AudioXMaker:
    return AudioXMaker(AudioX.from_pretrained(save_audiox(tmp_path_factory.mktemp("run"))))


def video(frames: int, seed: int = 0) -> bytes:
    """An MP4 of noise at 10 pictures a second."""
    held = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (frames, 16, 32, 3), dtype=np.uint8)
    with av.open(held, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for picture in pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return held.getvalue()


def clip(name: str = "one", caption: str = "rain falls", picture: bytes | None = None) -> RealClip:
    return RealClip(
        clip_id=name,
        caption=caption,
        audio_sha256="",
        open_sound=lambda: b"",
        open_picture=None if picture is None else lambda: picture,
    )


def test_every_kind_of_prompt_makes_another_sound(maker: AudioXMaker) -> None:
    seen = clip(picture=video(4))
    kinds = ("text", "video", "text+video")
    waves = {kind: make_some(maker, [seen], Making(prompt=kind, seconds=0.3, steps=2))[0] for kind in kinds}
    assert {wave.shape for wave in waves.values()} == {(1, 300)}
    for kind, wave in waves.items():
        assert [other for other, found in waves.items() if np.array_equal(found, wave)] == [kind]
    (other,) = make_some(maker, [clip(picture=video(4, seed=1))], Making(prompt="video", seconds=0.3, steps=2))
    assert not np.array_equal(waves["video"], other)


def test_a_video_alone_says_nothing_of_the_caption(maker: AudioXMaker) -> None:
    making = Making(prompt="video", seconds=0.2, steps=1)
    said, silent = (make_some(maker, [clip(caption=text, picture=video(2))], making) for text in ("rain", ""))
    assert np.array_equal(said, silent)


def test_noise_is_of_the_clip_and_the_seed(maker: AudioXMaker) -> None:
    making = Making(seconds=0.2, steps=1)
    first, second = make_some(maker, [clip("one"), clip("two")], making)
    assert not np.array_equal(first, second)
    np.testing.assert_allclose(make_some(maker, [clip("two")], making)[0], second, atol=1e-4)
    assert not np.allclose(make_some(maker, [clip("two")], Making(seconds=0.2, steps=1, seed=1))[0], second, atol=1e-3)


@pytest.mark.parametrize(
    ("prompt", "caption", "picture", "usable"),
    [
        ("text", "rain", None, True),
        ("text", "", b"mp4", False),
        ("video", "", b"mp4", True),
        ("video", "rain", None, False),
        ("text+video", "rain", b"mp4", True),
        ("text+video", "", b"mp4", False),
        ("text+video", "rain", None, False),
        ("transcript", "rain", None, False),
    ],
)
def test_a_clip_needs_what_is_given(prompt: str, caption: str, picture: bytes | None, usable: bool) -> None:
    assert Making(prompt=prompt, seconds=1.0).can_use(clip(caption=caption, picture=picture)) == usable  # type: ignore[arg-type]


def test_what_is_said_needs_no_caption() -> None:
    spoken = replace(clip(caption=""), transcript="one")
    assert Making(prompt="transcript", seconds=1.0).can_use(spoken) and not Making(seconds=1.0).can_use(spoken)


def test_what_is_out_of_range_or_missing_is_refused(maker: AudioXMaker) -> None:
    for wrong in (
        {"seconds": 0.0},
        {"seconds": 3601.0},
        {"seed": -1},
        {"steps": 0},
        {"guidance": math.nan},
        {"prompt": "smell"},
    ):
        with pytest.raises(ArgumentError, match=r"--(seconds|seed|steps|guidance|prompt)"):
            Making(**{"seconds": 1.0, **wrong})
    with pytest.raises(ArgumentError, match="has no picture"):
        make_some(maker, [clip()], Making(prompt="video", seconds=0.2, steps=1))


def test_a_sound_is_written_as_16_bits(tmp_path: Path) -> None:
    wave = np.array([[0.0, 0.5, -1.0], [0.25, -0.25, 1.0]], np.float32)
    write_sound(tmp_path / "sounds" / "one.wav", wave, 1000)
    found, rate_hz = soundfile.read(tmp_path / "sounds" / "one.wav", dtype="float32")
    assert (rate_hz, soundfile.info(tmp_path / "sounds" / "one.wav").subtype) == (1000, "PCM_16")
    np.testing.assert_allclose(found, wave.T, atol=1 / 32768)
