"""Sounds in the page itself: a short Opus copy to listen to, and a spectrogram to look at.

Files that `cut` or `generate` wrote are ours and are decoded here; what cannot be decoded has no player, and the page
says so. Equal files give equal bytes.
"""

import base64
import tempfile
from dataclasses import dataclass
from pathlib import Path

import soundfile

from curation.errors import ClipError
from curation.programs.contained import Limits
from curation.programs.ffmpeg import run_ffmpeg, untrusted_input
from retrieval_index.spectrogram import png, spectrogram

SECONDS = 10.0
"""How much of the beginning of a sound is kept."""

BITRATE = "48k"
"""Of the Opus copies; 10 s are about 60 kB. Source: ours; transparent enough to judge what is heard, not to judge
quality. Opus is played by every browser since 2025."""

OPUS_RATE_HZ = 48_000
"""The rate at which Opus works (RFC 6716)."""


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
