"""The stage `encode_frames`: what a frozen encoder of pictures makes of a clip's pictures, as tokens, once, by choice.

The pictures are those that `encode` keeps, at its rate and of its size, and where it keeps them as JPEG they went
through JPEG here too: the tokens are those that the encoder would make in the training step, which then need not run
it. They are several times as large as the pictures. They belong to the clip and lie in blobs below `latents/`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import pyarrow as pa

from curation.blobs import BlobWriter
from curation.encode import JPEG_ABOVE_PX, pack_jpegs, read_frames
from curation.encode_text import TOKEN_COLUMNS, small_tokens, token_values
from curation.errors import ArgumentError
from curation.media import MediaStore
from curation.names import plain_name
from curation.schema import column, table
from curation.stage import Outcome, Stage, Work, how
from curation.storage import Root
from curation.stored_latents import decode_jpegs
from curation.tables import Row


class FrameEncoder(Protocol):
    """What a frozen encoder of pictures offers to this stage, with NumPy arrays on both sides."""

    def encode_frames(self, frames_NHW3: np.ndarray) -> np.ndarray:
        """Tokens of some pictures, uint8 (N, H, W, 3), RGB -> float32 (N, P, V); each of its own picture alone."""


def as_kept(frames_NHW3: np.ndarray) -> np.ndarray:
    """Pictures as training reads them, of the same shape: larger ones have been JPEG."""
    if not len(frames_NHW3) or frames_NHW3.shape[1] <= JPEG_ABOVE_PX:
        return frames_NHW3
    return decode_jpegs(pack_jpegs(frames_NHW3), range(len(frames_NHW3)))


@dataclass(frozen=True, kw_only=True)
class EncodeFrames(Stage):
    """Encodes the pictures of every clip that has some.

    Args:
        encoder: Identity of the encoder (class, weights' sha256, how pictures are prepared).
        frame_rate_hz: Pictures a second, above 0, as `encode` keeps them.
        frame_size_px: Their side, px, likewise.
        build: Makes the encoder in the worker; must be picklable.
        media: Where the cut media are.
        blobs: Folder to which the tokens are appended.
        called: Name of the tokens, that of the latents.
    """

    NAME: ClassVar[str] = "encode_frames"
    VERSION: ClassVar[int] = 1
    GRAIN: ClassVar[Literal["video", "clip"]] = "clip"
    RESULTS: ClassVar[pa.Schema] = table(
        "One row a clip with a picture and encoder: the tokens of its pictures, one after the other. float16.",
        *TOKEN_COLUMNS,
        column("frames", pa.int32(), "number of pictures, those of the stage `encode`; each has `tokens` tokens"),
    )

    encoder: Mapping[str, Any]
    frame_rate_hz: float
    frame_size_px: int
    build: Callable[[], FrameEncoder] = how()
    media: MediaStore = how()
    blobs: Path | Root = how()
    called: str = how(default="audiox-base")

    def __post_init__(self) -> None:
        plain_name(self.called, "set of tokens")
        if not self.frame_rate_hz > 0 or self.frame_size_px < 1:
            raise ArgumentError(
                f"pictures have a rate above 0 Hz and a side of at least 1 px, not {self.frame_rate_hz:g} Hz and "
                f"{self.frame_size_px} px"
            )

    @property
    def label(self) -> str:
        """Name of the tokens."""
        return self.called

    def requests(self) -> str:
        """Every clip that was cut with a picture."""
        return """SELECT key, video_sha256 AS input, video_sha256 FROM cut
            WHERE state = 'done' AND video_sha256 IS NOT NULL"""

    def open(self) -> Work:
        """Load the encoder and open a blob of this worker's own."""
        encoder = self.build()
        folder = f"frames-{self.folder_name}"
        writer = BlobWriter(self.blobs / folder)

        def work(rows: Sequence[Row]) -> list[Outcome]:
            outcomes = [self._outcome(row, encoder, writer, folder) for row in rows]
            writer.sync()
            return outcomes

        return work

    def _outcome(self, row: Row, encoder: FrameEncoder, writer: BlobWriter, folder: str) -> Outcome:
        video = self.media.open_path(row["video_sha256"], ".mp4")
        frames_NHW3 = read_frames(video, self.frame_rate_hz, self.frame_size_px)
        if not len(frames_NHW3):  # as `encode` has it: a clip without pictures
            return Outcome(key=row["key"], values={"tokens_size_bytes": 0, "frames": 0})
        tokens_NPV = encoder.encode_frames(as_kept(frames_NHW3))
        place = writer.append(small_tokens(tokens_NPV, by="encoder of pictures", of=row["key"]))
        return Outcome(key=row["key"], values=token_values(folder, place) | {"frames": len(frames_NHW3)})
