"""What is seen is the sound: the right frequency in the right row, and a PNG that says so."""

import struct
import zlib

import numpy as np
import pytest

from retrieval_index.spectrogram import BINS, FRAMES, LEVELS, LOW_HZ, TOP_HZ, palette, png, spectrogram

RATE_HZ = 48_000


def tone(frequency_hz: float, seconds: float = 1.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(int(seconds * rate_hz)) / rate_hz)


@pytest.mark.parametrize("frequency_hz", [500.0, 3_000.0, 12_000.0])
def test_a_tone_is_brightest_in_its_own_row(frequency_hz: float) -> None:
    levels = spectrogram(tone(frequency_hz), RATE_HZ)
    assert levels.shape == (BINS, FRAMES) and levels.max() == LEVELS - 1
    row = BINS - 1 - int(levels[:, FRAMES // 2].argmax())
    edges_hz = np.geomspace(LOW_HZ, TOP_HZ, BINS + 1)
    assert abs(np.log2(edges_hz[row] / frequency_hz)) < 0.15


def test_silence_is_dark_and_rows_above_half_the_rate_are_too() -> None:
    assert spectrogram(np.zeros(RATE_HZ), RATE_HZ).max() == 0
    noise = np.random.default_rng(0).standard_normal(8_000)
    above = np.geomspace(LOW_HZ, TOP_HZ, BINS + 1)[:-1][::-1] > 4_100
    assert spectrogram(noise, 8_000)[above].max() == 0
    assert spectrogram(np.zeros(0), RATE_HZ).shape == (BINS, FRAMES)


def test_a_picture_is_a_png_with_these_levels() -> None:
    levels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    content = png(levels)
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = {}, 8
    while at < len(content):
        (size,) = struct.unpack(">I", content[at : at + 4])
        kind, chunk = content[at + 4 : at + 8], content[at + 8 : at + 8 + size]
        assert struct.unpack(">I", content[at + 8 + size : at + 12 + size]) == (zlib.crc32(kind + chunk),)
        found[kind] = chunk
        at += 12 + size
    assert struct.unpack(">II", found[b"IHDR"][:8]) == (4, 3)
    assert zlib.decompress(found[b"IDAT"]) == b"".join(b"\0" + bytes(line) for line in levels)
    brightness = np.frombuffer(palette(), np.uint8).reshape(LEVELS, 3) @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(brightness) > 0).all()


def test_a_picture_may_be_larger() -> None:
    assert spectrogram(tone(440), RATE_HZ, bins=128, frames=640).shape == (128, 640)
