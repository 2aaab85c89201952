"""Sounds in the page itself: a short Opus copy to listen to, and a spectrogram to look at.

Files that `cut` or `generate` wrote are ours and are decoded here; what cannot be decoded has no player, and the page
says so. Equal files give equal bytes.
"""

import base64
import struct
import tempfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from curation.errors import ClipError
from curation.programs.contained import Limits
from curation.programs.ffmpeg import run_ffmpeg, untrusted_input

SECONDS = 10.0
"""How much of the beginning of a sound is kept."""

BITRATE = "48k"
"""Of the Opus copies; 10 s are about 60 kB. Source: ours; transparent enough to judge what is heard, not to judge
quality. Opus is played by every browser since 2025."""

OPUS_RATE_HZ = 48_000
"""The rate at which Opus works (RFC 6716)."""

BINS, FRAMES = 96, 320
"""Height and width of a spectrogram, px."""

FFT_SAMPLES = 1024
FLOOR_DB, LEVELS = -84.0, 48
"""Darkest level below the loudest point, and how many levels are told apart."""

LOW_HZ, TOP_HZ = 50.0, 20_000.0
"""Lowest and highest row of a spectrogram; rows are spaced logarithmically."""

PALETTE = ((11, 20, 26), (20, 62, 82), (31, 128, 130), (196, 168, 84), (255, 246, 220))
"""Colours from the floor to the loudest point, evenly spaced and ever lighter. Source: ours."""


@dataclass(frozen=True, slots=True)
class Player:
    """A sound of the page: data URIs of its Opus copy and its spectrogram, and how much of it is there, s."""

    audio: str
    picture: str
    seconds: float

    @property
    def size_bytes(self) -> int:
        """What it adds to the page."""
        return len(self.audio) + len(self.picture)


class Budget:
    """Makes players until the page is full.

    Args:
        limit_bytes: What all players together may add to the page.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._left_bytes = limit_bytes
        self.refused = 0

    def player(self, file: Path) -> Player | None:
        """The player of a sound file; None when the page is full or the file cannot be decoded."""
        if self._left_bytes <= 0:
            self.refused += 1
            return None
        made = make_player(file)
        if made is not None and made.size_bytes > self._left_bytes:
            self._left_bytes = 0  # so that shorter sounds later on are not favoured
            self.refused += 1
            return None
        self._left_bytes -= made.size_bytes if made else 0
        return made


def make_player(file: Path) -> Player | None:
    """The player of one sound file; None when it cannot be decoded."""
    try:
        info = soundfile.info(file)
        wave_TC, rate_hz = soundfile.read(file, frames=int(SECONDS * info.samplerate), dtype="float32", always_2d=True)
        opus = _opus(file)
    except (soundfile.LibsndfileError, OSError, ClipError):
        return None
    picture = png(spectrogram(wave_TC.mean(axis=1), rate_hz))
    return Player(
        audio="data:audio/ogg;base64," + base64.b64encode(opus).decode(),
        picture="data:image/png;base64," + base64.b64encode(picture).decode(),
        seconds=len(wave_TC) / rate_hz,
    )


def _opus(file: Path) -> bytes:
    with tempfile.TemporaryDirectory(prefix="foundsound-") as folder:
        options = {"t": f"{SECONDS}", "acodec": "libopus", "b:a": BITRATE, "ar": str(OPUS_RATE_HZ), "ac": "2"}
        exact = {"map_metadata": "-1", "fflags": "+bitexact", "flags:a": "+bitexact"}
        out = untrusted_input(file).audio.output("sound.ogg", threads="1", **options, **exact)
        run_ffmpeg(out, scratch=Path(folder), limits=Limits(wall_s=60.0))
        return (Path(folder) / "sound.ogg").read_bytes()


def spectrogram(wave_T: np.ndarray, rate_hz: int) -> np.ndarray:
    """Levels of a sound over time and log-frequency.

    Args:
        wave_T: Mono, shape (samples,).
        rate_hz: Sample rate, Hz.

    Returns:
        uint8, shape (`BINS`, `FRAMES`), 0 (floor) to `LEVELS` - 1 (loudest point); the first row is the highest
        frequency. Rows above half the rate are at the floor.
    """
    padded = np.pad(wave_T, (FFT_SAMPLES // 2, FFT_SAMPLES))
    starts = np.linspace(0, max(len(wave_T) - 1, 0), FRAMES).astype(int)
    window = np.hanning(FFT_SAMPLES).astype(np.float32)
    frames_TN = np.stack([padded[start : start + FFT_SAMPLES] for start in starts]) * window
    power_TF = np.abs(np.fft.rfft(frames_TN, axis=1)) ** 2
    edges_hz = np.geomspace(LOW_HZ, TOP_HZ, BINS + 1)
    edges = edges_hz * FFT_SAMPLES / rate_hz
    lows = np.floor(edges[:-1]).astype(int)
    highs = np.maximum(np.ceil(edges[1:]).astype(int), lows + 1)
    bins = power_TF.shape[1]
    rows = [
        power_TF[:, low : min(high, bins)].max(axis=1) if low < bins else np.zeros(FRAMES)
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
