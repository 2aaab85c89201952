"""The stage `encode_sound`: what a frozen listener hears in every window of a clip, as tokens, once.

With AudioMAE these are the language of audio, which AudioLDM 2 is conditioned on and learns to say, and which
Re-AudioLDM reads of its neighbours. Windows follow each other without overlap, as long as the samples of training, so
that a sample's tokens are those of its own sound. The tokens belong to the clip and lie in blobs below `latents/`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import pyarrow as pa

from curation.blobs import BlobWriter
from curation.encode import read_sound
from curation.encode_text import TOKEN_COLUMNS, small_tokens, token_values
from curation.errors import ArgumentError
from curation.media import MediaStore
from curation.names import plain_name
from curation.schema import column, table
from curation.stage import Outcome, Stage, Work, how
from curation.storage import Root
from curation.tables import Row


class SoundListener(Protocol):
    """What a frozen listener offers to this stage, with NumPy arrays on both sides."""

    @property
    def sample_rate_hz(self) -> int:
        """Rate at which it wants sounds, Hz."""

    def hear(self, wave_T: np.ndarray) -> np.ndarray:
        """Tokens of one window, float32 (T,) in [-1, 1] -> float32 (L, W); L and W are those of every window."""


def whole_windows(wave_T: np.ndarray, window_samples: int) -> list[np.ndarray]:
    """The whole windows of a sound, one after the other; a shorter sound is its own only one.

    Args:
        wave_T: At least one sample.
        window_samples: Length of a window.
    """
    count = max(1, len(wave_T) // window_samples)
    return [wave_T[k * window_samples : (k + 1) * window_samples] for k in range(count)]


@dataclass(frozen=True, kw_only=True)
class EncodeSound(Stage):
    """Listens to every cut clip, window by window.

    Args:
        listener: Identity of the listener (class, settings, weights' sha256).
        window_s: Length of a window, s, above 0: that of a training sample.
        build: Makes the listener in the worker; must be picklable.
        media: Where the cut media are.
        blobs: Folder to which the tokens are appended.
        called: Name of the tokens, that of the latents.
    """

    NAME: ClassVar[str] = "encode_sound"
    VERSION: ClassVar[int] = 1
    GRAIN: ClassVar[Literal["video", "clip"]] = "clip"
    RESULTS: ClassVar[pa.Schema] = table(
        "One row a clip and listener: the tokens of its windows, one after the other. float16.",
        *TOKEN_COLUMNS,
        column("windows", pa.int32(), "number of windows; each has `tokens` tokens"),
        column("window_s", pa.float64(), "length of a window, s; window k starts at k times this"),
    )

    listener: Mapping[str, Any]
    window_s: float
    build: Callable[[], SoundListener] = how()
    media: MediaStore = how()
    blobs: Path | Root = how()
    called: str = how(default="audioldm2-tiny")

    def __post_init__(self) -> None:
        plain_name(self.called, "set of tokens")
        if not self.window_s > 0:
            raise ArgumentError(f"a window must be longer than 0 s, not {self.window_s:g}")

    @property
    def label(self) -> str:
        """Name of the tokens."""
        return self.called

    def requests(self) -> str:
        """Every clip that was cut."""
        return "SELECT key, audio_sha256 AS input, audio_sha256 FROM cut WHERE state = 'done'"

    def open(self) -> Work:
        """Load the listener and open a blob of this worker's own."""
        listener = self.build()
        folder = f"sound-{self.folder_name}"
        writer = BlobWriter(self.blobs / folder)

        def work(rows: Sequence[Row]) -> list[Outcome]:
            outcomes = [self._outcome(row, listener, writer, folder) for row in rows]
            writer.sync()
            return outcomes

        return work

    def _outcome(self, row: Row, listener: SoundListener, writer: BlobWriter, folder: str) -> Outcome:
        sound = self.media.open_path(row["audio_sha256"], ".flac")
        wave_T = read_sound(sound, listener.sample_rate_hz, 1)[0]
        windows = whole_windows(wave_T, round(self.window_s * listener.sample_rate_hz))
        heard_KLW = np.stack([listener.hear(window_T) for window_T in windows])
        place = writer.append(small_tokens(heard_KLW, by="listener", of=row["key"]))
        more = {"windows": len(windows), "window_s": self.window_s}
        return Outcome(key=row["key"], values=token_values(folder, place) | more)
