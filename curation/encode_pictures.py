"""The stage `encode_pictures`: a few pictures of every cut clip as latents of a frozen autoencoder of pictures, once.

A model that makes pictures from sounds is trained on them: where its pictures are encoded in the step, that takes most
of the step. Each picture has a mean and a spread, of which training draws. They belong to the clip and lie in blobs
below `latents/`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import pyarrow as pa

from curation.answers import answers
from curation.blobs import BlobReader, BlobWriter
from curation.dataset import Dataset
from curation.encode import read_frames, small_latents
from curation.errors import ArgumentError, DatasetError
from curation.media import MediaStore
from curation.names import plain_name
from curation.places import Places, numbers
from curation.schema import column, table
from curation.stage import Outcome, Stage, Work, how
from curation.storage import Root
from curation.tables import Row


class PictureEncoder(Protocol):
    """What a frozen autoencoder of pictures offers to this stage, with NumPy arrays on both sides."""

    @property
    def side_px(self) -> int:
        """Side of the square pictures that it wants, px."""

    def encode_picture(self, picture_HW3: np.ndarray) -> np.ndarray:
        """Mean and spread of the latents of one picture: uint8 (H, W, 3), RGB -> float32 (2, Z, h, w)."""


@dataclass(frozen=True, kw_only=True)
class EncodePictures(Stage):
    """Encodes pictures of every clip that has some, at a fixed rate.

    Args:
        encoder: Identity of the autoencoder (class, weights' sha256, side of the pictures).
        rate_hz: Pictures a second, above 0: of moment k / rate the one that is shown then.
        build: Makes the encoder in the worker; must be picklable.
        media: Where the cut media are.
        blobs: Folder to which the latents are appended.
        called: Name of the latents.
    """

    NAME: ClassVar[str] = "encode_pictures"
    VERSION: ClassVar[int] = 1
    GRAIN: ClassVar[Literal["video", "clip"]] = "clip"
    RESULTS: ClassVar[pa.Schema] = table(
        "One row a clip with a picture and autoencoder: means and spreads of the latents of its pictures. float16.",
        column("blob", pa.string(), "file below `latents/`"),
        column("moments_offset_bytes", pa.int64(), "where they start in it: picture by picture, mean before spread"),
        column("moments_size_bytes", pa.int64(), "their length"),
        column("pictures", pa.int32(), "number of pictures; picture k is the one shown at k / picture_rate_hz"),
        column("picture_rate_hz", pa.float64(), "pictures a second"),
        column("latent_channels", pa.int32(), "channels of a mean"),
        column("latent_side", pa.int32(), "its height and width"),
    )

    encoder: Mapping[str, Any]
    rate_hz: float
    build: Callable[[], PictureEncoder] = how()
    media: MediaStore = how()
    blobs: Path | Root = how()
    called: str = how(default="audiotoken-tiny")

    def __post_init__(self) -> None:
        plain_name(self.called, "set of latents")
        if not self.rate_hz > 0:
            raise ArgumentError(f"a rate of pictures must be above 0 Hz, not {self.rate_hz:g}")

    @property
    def label(self) -> str:
        """Name of the latents."""
        return self.called

    def requests(self) -> str:
        """Every clip that was cut with a picture."""
        return """SELECT key, video_sha256 AS input, video_sha256 FROM cut
            WHERE state = 'done' AND video_sha256 IS NOT NULL"""

    def open(self) -> Work:
        """Load the encoder and open a blob of this worker's own."""
        encoder = self.build()
        folder = f"pictures-{self.folder_name}"
        writer = BlobWriter(self.blobs / folder)

        def work(rows: Sequence[Row]) -> list[Outcome]:
            outcomes = [self._outcome(row, encoder, writer, folder) for row in rows]
            writer.sync()
            return outcomes

        return work

    def _outcome(self, row: Row, encoder: PictureEncoder, writer: BlobWriter, folder: str) -> Outcome:
        video = self.media.open_path(row["video_sha256"], ".mp4")
        frames = read_frames(video, self.rate_hz, encoder.side_px, middle=True)
        if not len(frames):
            raise DatasetError(f"the video of clip {row['key']} has no frame; run `foundsound verify`, or cut it again")
        moments = np.stack([encoder.encode_picture(frame) for frame in frames])
        place = writer.append(small_latents(moments, row["key"]))
        values = {
            "blob": f"{folder}/{place.blob}",
            "moments_offset_bytes": place.offset_bytes,
            "moments_size_bytes": place.size_bytes,
            "pictures": len(frames),
            "picture_rate_hz": self.rate_hz,
            "latent_channels": moments.shape[2],
            "latent_side": moments.shape[3],
        }
        return Outcome(key=row["key"], values=values)


class StoredPictures:
    """What the stage wrote of some clips, by number; any thread may read.

    Args:
        reader: Of the blobs.
        table: A row a clip: the columns of the stage.

    Raises:
        DatasetError: The latents are of several kinds.
    """

    def __init__(self, reader: BlobReader, table: pa.Table) -> None:
        self._places = Places(reader, table["blob"], table["moments_offset_bytes"])
        self.pictures = numbers(table["pictures"])
        """How many each clip has."""
        kinds = table.group_by(["picture_rate_hz", "latent_channels", "latent_side"]).aggregate([]).to_pylist()
        if len(kinds) != 1:
            raise DatasetError(f"latents of pictures are of several kinds: {kinds}")
        self.rate_hz = float(kinds[0]["picture_rate_hz"])
        side = int(kinds[0]["latent_side"])
        self._shape = (2, int(kinds[0]["latent_channels"]), side, side)

    @classmethod
    def of(cls, dataset: Dataset, called: str, keys: Sequence[str]) -> "StoredPictures":
        """The pictures of some clips.

        Args:
            dataset: The dataset.
            called: Name of the latents.
            keys: clip_ids, at least one.

        Raises:
            ArgumentError: They were not encoded, or not of some clip.
        """
        line = "train AudioToken on it without --raw, which encodes them"
        table = answers(dataset, "encode_pictures", called, pa.array(keys), kind="latents", of="pictures", line=line)
        return cls(BlobReader(dataset.root("latents")), table)

    def read(self, clip: int, picture: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and spread of the latents of a picture of a clip, float16 (Z, h, w) each.

        Raises:
            IndexError: The clip has no such picture.
        """
        if not 0 <= picture < self.pictures[clip]:
            raise IndexError(f"picture {picture} of {self.pictures[clip]}")
        mean, spread = self._places.read(clip, self._shape, skip=picture * prod(self._shape))
        return mean, spread
