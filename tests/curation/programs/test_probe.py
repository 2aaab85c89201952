import struct
from fractions import Fraction

import numpy as np
import pytest

from curation.errors import ClipError, Code
from curation.programs.probe import probe

pytest_plugins = "tests.curation.encoding"

SOUND = np.random.default_rng(1).normal(0, 0.1, (96_000, 2))
FRAMES = np.random.default_rng(2).integers(0, 256, (20, 36, 64), dtype=np.uint8)


def test_sound_and_picture_are_described(encode):
    found = probe(encode("a.mp4", SOUND, frames=FRAMES, frame_rate_hz=10, codecs="-c:a aac -c:v libx264"))
    assert found.sound is not None and found.picture is not None
    assert (found.sound.codec, found.sound.sample_rate_hz, found.sound.channels) == ("aac", 48_000, 2)
    assert (found.picture.codec, found.picture.width_px, found.picture.height_px) == ("h264", 64, 36)
    assert found.picture.frame_rate == Fraction(10) and found.picture.frame_rate_hz == 10.0
    assert found.sound_end_s == pytest.approx(2.0, abs=0.03)


@pytest.mark.parametrize(("sound_late_s", "picture_late_s", "offset_ms"), [(0.3, 0, 300.0), (0, 0.2, -200.0)])
def test_the_offset_between_sound_and_picture(encode, sound_late_s, picture_late_s, offset_ms):
    path = encode(
        "a.mkv", SOUND, frames=FRAMES, codecs="-c:a flac", sound_late_s=sound_late_s, picture_late_s=picture_late_s
    )
    assert probe(path).av_offset_ms == pytest.approx(offset_ms, abs=1.0)


def test_cover_art_is_no_picture(encode):
    path = encode("a.flac", SOUND, frames=FRAMES[:1], codecs="-c:v png -disposition:v attached_pic")
    found = probe(path)
    assert b"image/png" in path.read_bytes()
    assert found.sound is not None and found.picture is None


def test_a_rate_guessed_from_the_size_announces_nothing(encode):
    assert probe(encode("a.aac", SOUND, codecs="-c:a aac")).sound_end_s is None


def test_a_changed_file_is_looked_at_again(encode):
    first = probe(encode("a.wav", SOUND))
    assert first == probe(encode("a.wav", SOUND))
    second = probe(encode("a.wav", SOUND[:48_000, :1]))
    assert second.sound is not None and second.sound.channels == 1


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("empty.mp4", b"", Code.EMPTY),
        ("text.wav", b"not media at all, only words" * 40, Code.UNREADABLE),
        ("text.flac", b"not media at all, only words" * 40, Code.UNREADABLE),
        ("text.mp4", b"not media at all, only words" * 40, Code.UNREADABLE),
        ("noise.mp3", np.random.default_rng(3).bytes(20_000), Code.UNREADABLE),
    ],
)
def test_what_is_no_media_has_a_code(name, content, code, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ClipError) as refused:
        probe(tmp_path / name)
    assert refused.value.code == code
    assert str(tmp_path) not in refused.value.detail


def test_an_mp4_that_ends_before_its_index_is_truncated(encode):
    path = encode("a.mp4", SOUND, codecs="-c:a aac")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ClipError) as refused:
        probe(path)
    assert refused.value.code == Code.TRUNCATED


def test_a_missing_file_is_no_clip_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        probe(tmp_path / "missing.mp4")


def wav(announced_bytes: int, *, samples: int = 4_800, extra: bytes = b"") -> bytes:
    """A mono WAV file at 48 kHz whose head announces so many bytes of sound."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 48_000, 96_000, 2, 16)
    body = form + extra + struct.pack("<4sI", b"data", announced_bytes) + bytes(2 * samples)
    return struct.pack("<4sI4s", b"RIFF", 4 + len(body), b"WAVE") + body


@pytest.mark.parametrize("extra", [b"", struct.pack("<4sI", b"junk", 3) + bytes(4)], ids=["plain", "odd chunk before"])
def test_a_wav_file_announces_more_than_there_is_of_it(extra, tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(2 * 96_000, extra=extra))
    assert probe(tmp_path / "a.wav").sound_end_s == pytest.approx(2.0)


@pytest.mark.parametrize("announced_bytes", [0xFFFF_FFFF, 0x7FFF_FFFF, 0x7FFF_0000])
def test_a_wav_file_from_a_pipe_announces_nothing(announced_bytes, tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(announced_bytes))
    assert (probe(tmp_path / "a.wav").sound_end_s or 0.0) < 0.2
