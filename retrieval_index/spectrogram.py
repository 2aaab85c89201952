"""Pictures of sounds: levels over time and log-frequency, and PNG files of them. Equal sounds give equal bytes."""

import struct
import zlib
from collections.abc import Iterable

import numpy as np

BINS, FRAMES = 96, 320
"""Height and width of a spectrogram, px."""

FFT_SAMPLES = 1024
FLOOR_DB, LEVELS = -84.0, 48
"""Darkest level below the loudest point, and how many levels are told apart."""

LOW_HZ, TOP_HZ = 50.0, 20_000.0
"""Lowest and highest row of a spectrogram; rows are spaced logarithmically."""

PALETTE = ((11, 20, 26), (20, 62, 82), (31, 128, 130), (196, 168, 84), (255, 246, 220))
"""Colours from the floor to the loudest point, evenly spaced and ever lighter. Source: ours."""


def spectrogram(wave_T: np.ndarray, rate_hz: int, bins: int = BINS, frames: int = FRAMES) -> np.ndarray:
    """Levels of a sound over time and log-frequency.

    Args:
        wave_T: Mono, shape (samples,).
        rate_hz: Sample rate, Hz.
        bins: Rows.
        frames: Columns.

    Returns:
        uint8, shape (bins, frames), 0 (floor) to `LEVELS` - 1 (loudest point); the first row is the highest
        frequency. Rows above half the rate are at the floor.
    """
    padded = np.pad(wave_T, (FFT_SAMPLES // 2, FFT_SAMPLES))
    starts = np.linspace(0, max(len(wave_T) - 1, 0), frames).astype(int)
    window = np.hanning(FFT_SAMPLES).astype(np.float32)
    frames_TN = np.stack([padded[start : start + FFT_SAMPLES] for start in starts]) * window
    power_TF = np.abs(np.fft.rfft(frames_TN, axis=1)) ** 2
    edges_hz = np.geomspace(LOW_HZ, TOP_HZ, bins + 1)
    edges = edges_hz * FFT_SAMPLES / rate_hz
    lows = np.floor(edges[:-1]).astype(int)
    highs = np.maximum(np.ceil(edges[1:]).astype(int), lows + 1)
    points = power_TF.shape[1]
    rows = [
        power_TF[:, low : min(high, points)].max(axis=1) if low < points else np.zeros(frames)
        for low, high in zip(lows, highs, strict=True)
    ]
    power_KT = np.stack(rows[::-1])
    level_db = 10 * np.log10(np.maximum(power_KT, 1e-12) / max(float(power_KT.max()), 1e-12))
    if power_KT.max() < 1e-9:  # digital silence: nothing to see
        level_db = np.full_like(level_db, FLOOR_DB)
    levels_KT: np.ndarray = np.round(np.clip(1 - level_db / FLOOR_DB, 0, 1) * (LEVELS - 1)).astype(np.uint8)
    return levels_KT


def palette() -> bytes:
    """The colours of all levels, three bytes each."""
    anchors = np.array(PALETTE, dtype=float)
    places = np.linspace(0, len(PALETTE) - 1, LEVELS)
    colours = [np.interp(places, np.arange(len(PALETTE)), anchors[:, channel]) for channel in range(3)]
    return np.round(np.stack(colours, axis=1)).astype(np.uint8).tobytes()


def png(levels: np.ndarray) -> bytes:
    """A picture with a palette. Source: the PNG specification (ISO/IEC 15948), colour type 3."""
    height, width = levels.shape
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    lines = b"".join(b"\x00" + line.tobytes() for line in levels)
    chunks = [(b"IHDR", head), (b"PLTE", palette()), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunks(chunks))


def _chunks(chunks: Iterable[tuple[bytes, bytes]]) -> Iterable[bytes]:
    for kind, content in chunks:
        yield struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
