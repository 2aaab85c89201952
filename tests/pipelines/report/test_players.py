"""What is heard and seen is the sound: the right length, the right frequency, and the same bytes each time."""

import base64
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines.report.players import SECONDS, Budget, make_player

RATE_HZ = 48_000


def tone(frequency_hz: float, seconds: float = 1.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(int(seconds * rate_hz)) / rate_hz)


def test_a_player_is_a_short_copy_and_the_same_each_time(tmp_path: Path) -> None:
    file = tmp_path / "sound.flac"
    soundfile.write(file, tone(440, SECONDS + 2, 8_000), 8_000)
    player = make_player(file)
    assert player is not None and player == make_player(file)
    assert player.seconds == SECONDS
    kind, _, text = player.audio.partition(";base64,")
    copy = tmp_path / "copy.ogg"
    copy.write_bytes(base64.b64decode(text))
    wave, rate_hz = soundfile.read(copy)
    assert kind == "data:audio/ogg" and len(wave) / rate_hz == pytest.approx(SECONDS, abs=0.05)
    spectrum = np.abs(np.fft.rfft(wave.mean(axis=1)))
    assert spectrum.argmax() * rate_hz / len(wave) == pytest.approx(440, abs=1)
    assert player.size_bytes < 120_000


def test_what_cannot_be_decoded_has_no_player(tmp_path: Path) -> None:
    file = tmp_path / "sound.flac"
    file.write_bytes(b"fLaC but not really")
    assert make_player(file) is None
    assert make_player(tmp_path / "missing.flac") is None


def test_a_full_page_takes_no_more_sounds(tmp_path: Path) -> None:
    file, short = tmp_path / "sound.wav", tmp_path / "short.wav"
    soundfile.write(file, tone(440, 2), RATE_HZ)
    soundfile.write(short, tone(440, 0.1), RATE_HZ)
    size_bytes = make_player(file).size_bytes
    budget = Budget(2 * size_bytes)
    assert [budget.player(file) is None for _ in range(3)] == [False, False, True]
    assert budget.player(short) is None, "shorter ones are not favoured"
    assert budget.refused == 2
    assert Budget(0).player(short) is None
