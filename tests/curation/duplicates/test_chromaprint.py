"""Fingerprints have the length that Chromaprint's frames give, the same bytes each time, and damage has its code."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from curation.duplicates.chromaprint import WORD_S, Print, fingerprint
from curation.errors import ClipError, Code
from curation.media import MediaStore
from tests.curation.duplicates.recordings import RATE_HZ, melody

FRAME_S, FILTER_FRAMES = 4096 / 11_025, 20
"""A word needs this many frames: 5 of the chroma filter and 16 of the classifiers."""


def write(path: Path, sound: np.ndarray) -> Path:
    soundfile.write(path, sound, RATE_HZ, subtype="PCM_16")
    return path


@pytest.mark.parametrize("seconds", [3.0, 5.0, 10.0])
def test_there_is_a_word_every_eighth_of_a_second(tmp_path: Path, seconds: float) -> None:
    path = write(tmp_path / "a.flac", melody(1, seconds))
    words = len(fingerprint(path)) // 4
    frames = int((seconds - FRAME_S) / WORD_S) + 1
    assert words == frames - FILTER_FRAMES + 1
    assert fingerprint(path) == fingerprint(path)


def test_a_short_sound_has_no_words_and_silence_always_the_same(tmp_path: Path) -> None:
    assert fingerprint(write(tmp_path / "short.flac", melody(1, 2.6))) == b""
    silent = np.frombuffer(fingerprint(write(tmp_path / "silent.flac", np.zeros(10 * RATE_HZ))), "<u4")
    assert set(silent.tolist()) == {627_964_279}


def test_what_is_no_media_has_a_code_and_a_playlist_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "a.flac", melody(1, 3.0))
    for name, text in (("noise.mp3", "no media"), ("list.mp4", "ffconcat version 1.0\nfile a.flac\n")):
        (tmp_path / name).write_text(text)
        with pytest.raises(ClipError) as caught:
            fingerprint(tmp_path / name)
        assert caught.value.code == Code.UNREADABLE


def test_settings_out_of_range_are_refused(tmp_path: Path) -> None:
    media = MediaStore(tmp_path)
    with pytest.raises(ValueError, match="algorithm"):
        Print(media=media, algorithm=-1)
    with pytest.raises(ValueError, match="timeout_s"):
        Print(media=media, timeout_s=0)
    assert Print(media=media, timeout_s=1).identity() == Print(media=media).identity()
