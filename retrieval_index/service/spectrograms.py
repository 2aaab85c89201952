"""Pictures of sounds by content, made once and kept as long as there is room."""

import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np
import soundfile

from curation.errors import ClipError, Code
from retrieval_index.spectrogram import png, spectrogram

KEPT_BYTES = 64 << 20
"""What the pictures in memory may take. Source: ours; some 2,000 of them."""

BINS, FRAMES = 128, 640
"""Height and width, px. Source: ours; sharp at the width of a phone, 15 ms a column at 10 s."""

LONGEST_SAMPLES = 40_000_000
"""All channels together: a longer sound is shown up to here, 400 s of stereo at 48 kHz. Source: ours; 160 MB."""

WORKERS = 2
"""Pictures that are made at once."""


class Spectrograms:
    """PNG pictures of sound files.

    Args:
        kept_bytes: What is kept of them in memory.
    """

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept_bytes, self._bytes = kept_bytes, 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock, self._making = threading.Lock(), threading.Semaphore(WORKERS)
        self.hits = self.misses = 0

    def picture(self, sha256: str, file: Path) -> bytes:
        """The picture of a sound.

        Args:
            sha256: Content of the file.
            file: The file, which `cut` wrote.

        Raises:
            ClipError: It cannot be decoded.
        """
        if (kept := self._look(sha256)) is not None:
            return kept
        with self._making:
            if (kept := self._look(sha256)) is not None:  # another thread has made it meanwhile
                return kept
            made = _picture(file)
        with self._lock:
            self.misses += 1
            if sha256 not in self._kept:
                self._bytes += len(made)
            self._kept[sha256] = made
            while self._bytes > self._kept_bytes:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return made

    def _look(self, sha256: str) -> bytes | None:
        with self._lock:
            kept = self._kept.get(sha256)
            if kept is not None:
                self._kept.move_to_end(sha256)
                self.hits += 1
            return kept


def _picture(file: Path) -> bytes:
    try:
        with soundfile.SoundFile(file) as opened:
            rate_hz = opened.samplerate
            wave_TC = opened.read(LONGEST_SAMPLES // opened.channels, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise ClipError(Code.UNREADABLE, "its sound cannot be decoded") from error
    return png(spectrogram(wave_TC.mean(axis=1, dtype=np.float32), rate_hz, BINS, FRAMES))
