"""Copies of sounds that nobody vouched for: at the rate asked for, cut at a length, and everything else refused."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from curation.errors import ClipError, Code
from curation.programs.contained import Limits
from curation.programs.sound_copy import sound_copy


def tone(path: Path, *, rate_hz: int = 8_000, seconds: float = 1.0) -> Path:
    """Left a sine of 400 Hz at half of full scale, right silence."""
    t = np.arange(round(rate_hz * seconds)) / rate_hz
    soundfile.write(path, np.stack([0.5 * np.sin(2 * np.pi * 400 * t), 0 * t], axis=1), rate_hz)
    return path


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_a_sound_is_copied_as_it_is(name: str, tmp_path: Path, scratch: Path) -> None:
    wave, rate_hz = soundfile.read(sound_copy(tone(tmp_path / name), scratch), dtype="float32")
    assert rate_hz == 8_000
    assert wave.shape[1] == 2
    assert len(wave) == pytest.approx(8_000, abs=256), "Vorbis ends with a block"
    assert np.sqrt(np.mean(wave[1000:-1000, 0] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.03)
    assert np.abs(wave[:, 1]).max() < 0.01
    crossings = np.count_nonzero(np.diff(np.signbit(wave[1000:-1000, 0])))
    assert crossings == pytest.approx(2 * 400 * (len(wave) - 2_000) / 8_000, abs=3)


def test_long_sounds_are_cut(tmp_path: Path, scratch: Path) -> None:
    copy = sound_copy(tone(tmp_path / "a.wav", seconds=3.0), scratch, longest_s=1.5)
    assert soundfile.info(copy).frames == 12_000


def test_what_holds_no_sound_is_refused(tmp_path: Path, scratch: Path) -> None:
    neighbour = tone(tmp_path / "neighbour.wav")
    (tmp_path / "list.wav").write_text(f"ffconcat version 1.0\nfile {neighbour}\n")
    (tmp_path / "empty.wav").write_bytes(b"")
    soundfile.write(tmp_path / "nothing.wav", np.zeros((0, 1)), 8_000)
    for name, code in (("list", Code.UNREADABLE), ("empty", Code.EMPTY), ("nothing", Code.EMPTY)):
        with pytest.raises(ClipError) as caught:
            sound_copy(tmp_path / f"{name}.wav", scratch)
        assert caught.value.code == code


def test_a_sound_of_a_few_samples_is_one(tmp_path: Path, scratch: Path) -> None:
    assert soundfile.info(sound_copy(tone(tmp_path / "a.wav", seconds=0.001), scratch)).frames == 8


def test_a_copy_that_grows_too_large_is_refused_and_not_cut(tmp_path: Path, scratch: Path) -> None:
    source = tone(tmp_path / "a.wav", seconds=4.0)  # 256 kB as float32
    with pytest.raises(ClipError) as caught:
        sound_copy(source, scratch, limits=Limits(wall_s=60.0, file_bytes=200_000))
    assert caught.value.code == Code.TOO_LARGE
    (fresh := tmp_path / "fresh").mkdir()
    copy = sound_copy(source, fresh, limits=Limits(wall_s=60.0, file_bytes=300_000))
    assert soundfile.info(copy).frames == 32_000
