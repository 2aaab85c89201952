"""The stage `encode`: every cut clip as what a generator is trained on, once.

Sound becomes the latents of a codec, the picture a few small frames a second. Both belong to the clip and lie in blobs
below `latents/`; the facts say where. Training reads them by byte offset and decodes nothing.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal, Protocol

import av
import numpy as np
import pyarrow as pa
import soundfile
import soxr

from curation.blobs import BlobWriter
from curation.errors import StoppedError
from curation.media import MediaStore
from curation.programs.ffmpeg import input_options
from curation.schema import column, table
from curation.stage import Outcome, Stage, Work, how
from curation.storage import Root
from curation.tables import Row


class SoundEncoder(Protocol):
    """What a codec offers to this stage, with NumPy arrays on both sides."""

    @property
    def sample_rate_hz(self) -> int:
        """Rate at which it wants sounds, Hz."""

    @property
    def channels(self) -> int:
        """Channels that it wants."""

    def encode(self, wave_CT: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """One sound, float32 in [-1, 1] -> mean_FD and std_FD float32 of its latents; no std where they are certain."""


def with_channels(wave_TC: np.ndarray, channels: int) -> np.ndarray:
    """The sound with one channel (the mean) or two (one is doubled; of more, the mean is doubled).

    Args:
        wave_TC: (T, C) float32.
        channels: 1 or 2.

    Returns:
        (channels, T) float32.
    """
    if wave_TC.shape[1] == channels:
        return np.ascontiguousarray(wave_TC.T)
    mean_T = wave_TC.mean(axis=1, dtype=np.float32)
    return np.ascontiguousarray(np.stack([mean_T] * channels))


def read_sound(file: Path | BinaryIO, sample_rate_hz: int, channels: int) -> np.ndarray:
    """A sound file at the rate and with the channels asked for: (channels, T) float32 in [-1, 1]."""
    wave_TC, rate_hz = soundfile.read(file, dtype="float32", always_2d=True)
    if rate_hz != sample_rate_hz:
        wave_TC = soxr.resample(wave_TC, rate_hz, sample_rate_hz, quality="HQ")
    return with_channels(np.asarray(wave_TC, np.float32), channels)


def read_frames(file: Path | BinaryIO, rate_hz: float, size_px: int, *, middle: bool = False) -> np.ndarray:
    """Square frames of a cut video at a fixed rate: the frame shown at each moment k / rate.

    Args:
        file: A video of the media store.
        rate_hz: Frames a second.
        size_px: Side of the frames, px; the picture is squeezed to a square, as CLIP-style encoders are fed.
        middle: Take the middle square of the picture instead, as models that make pictures are trained on.

    Returns:
        (N, size_px, size_px, 3) uint8, RGB.
    """
    frames: list[np.ndarray] = []

    def show(frame: av.VideoFrame, until_s: float) -> None:
        count = math.ceil(round(until_s * rate_hz, 6)) - len(frames)
        if count > 0:
            frames.extend([square(frame, size_px, middle=middle)] * count)

    shown: av.VideoFrame | None = None
    with av.open(str(file) if isinstance(file, Path) else file, options=input_options()) as container:
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            if shown is not None and frame.time is not None:
                show(shown, frame.time)
            shown = shown if frame.time is None else frame
        if shown is not None:
            lasts_s = float(shown.duration * shown.time_base) if shown.duration and shown.time_base else 0.0
            show(shown, shown.time + max(lasts_s, 0.5 / rate_hz))
    return np.stack(frames) if frames else np.zeros((0, size_px, size_px, 3), np.uint8)


def square(frame: av.VideoFrame, size_px: int, *, middle: bool) -> np.ndarray:
    """A picture as a square, uint8 (size_px, size_px, 3): squeezed, or its middle."""
    longer = max(1.0, frame.width / frame.height), max(1.0, frame.height / frame.width)
    width, height = (round(size_px * share) for share in longer) if middle else (size_px, size_px)
    whole = frame.to_ndarray(format="rgb24", width=width, height=height)
    top, left = (height - size_px) // 2, (width - size_px) // 2
    return np.ascontiguousarray(whole[top : top + size_px, left : left + size_px])


JPEG_ABOVE_PX = 64
"""Frames of a larger side are kept as JPEG. Source: ours; 50 frames of 224 px are 7.5 MB raw and some 0.6 MB so, while
small ones are as small raw and need no decoding."""

JPEG_QUALITY = 90
"""Source: ours; differences are below those between two encodings of one video."""


def pack_jpegs(frames: np.ndarray) -> np.ndarray:
    """Pictures as JPEG, one after the other, behind their number and their ends.

    Args:
        frames: (N, H, W, 3) uint8, RGB.

    Returns:
        (bytes,) uint8: N, then N ends counted from the first picture, uint32 little-endian, then the pictures.
    """
    from PIL import Image

    pictures = []
    for frame in frames:
        content = io.BytesIO()
        Image.fromarray(frame).save(content, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
        pictures.append(content.getvalue())
    head = np.array([len(pictures), *np.cumsum([len(one) for one in pictures])], dtype="<u4")
    return np.frombuffer(head.tobytes() + b"".join(pictures), np.uint8)


@dataclass(frozen=True, kw_only=True)
class Encode(Stage):
    """Encodes the sound and the picture of every cut clip.

    Args:
        codec: Identity of the codec (class, settings, weights' sha256).
        frame_rate_hz: Frames kept a second. Source: AudioX keeps 5.
        frame_size_px: Their side, px.
        build: Makes the codec in the worker; must be picklable.
        media: Where the cut media are.
        blobs: Folder to which latents and frames are appended.
        called: Name of the latents, as the recipe that wants them.
    """

    NAME: ClassVar[str] = "encode"
    VERSION: ClassVar[int] = 2
    GRAIN: ClassVar[Literal["video", "clip"]] = "clip"
    RESULTS: ClassVar[pa.Schema] = table(
        "One row a clip and codec: where its latents (float16) and frames (uint8, or JPEG above 64 px) lie.",
        column("blob", pa.string(), "file below `latents/`"),
        column("latents_offset_bytes", pa.int64(), "where the latents, or their means, start in it"),
        column("std_offset_bytes", pa.int64(), "where their standard deviations start; null where they are certain"),
        column("latent_frames", pa.int32(), "number of latent frames"),
        column("latent_channels", pa.int32(), "length of a latent frame"),
        column("frames_offset_bytes", pa.int64(), "where the frames start; null without a picture"),
        column("frames", pa.int32(), "number of frames"),
        column("frame_size_px", pa.int32(), "side of a frame, px; three bytes a pixel"),
        column("frames_size_bytes", pa.int64(), "length of all frames as JPEG, with their places; null for raw ones"),
    )

    codec: Mapping[str, Any]
    frame_rate_hz: float = 5.0
    frame_size_px: int = 32
    build: Callable[[], SoundEncoder] = how()
    media: MediaStore = how()
    blobs: Path | Root = how()
    called: str = how(default="audiox-tiny")

    @property
    def label(self) -> str:
        """Name of the latents."""
        return self.called

    def requests(self) -> str:
        """Every clip that was cut."""
        return """SELECT key, concat_ws('+', audio_sha256, video_sha256) AS input, audio_sha256, video_sha256
            FROM cut WHERE state = 'done'"""

    def open(self) -> Work:
        """Load the codec and open a blob of this worker's own."""
        codec = self.build()
        writer = BlobWriter(self.blobs / self.folder_name)

        def work(rows: Sequence[Row]) -> list[Outcome]:
            outcomes = [self._encode(row, codec, writer) for row in rows]
            writer.sync()
            return outcomes

        return work

    def _encode(self, row: Row, codec: SoundEncoder, writer: BlobWriter) -> Outcome:
        sound = self.media.open_path(row["audio_sha256"], ".flac")
        mean, std = codec.encode(read_sound(sound, codec.sample_rate_hz, codec.channels))
        place = writer.append(small_latents(mean, row["key"]))
        values = {
            "blob": f"{self.folder_name}/{place.blob}",
            "latents_offset_bytes": place.offset_bytes,
            "std_offset_bytes": None if std is None else writer.append(small_latents(std, row["key"])).offset_bytes,
            "latent_frames": mean.shape[0],
            "latent_channels": mean.shape[1],
            "frames": 0,
            "frame_size_px": self.frame_size_px,
        }
        if row["video_sha256"] is not None:
            picture = self.media.open_path(row["video_sha256"], ".mp4")
            frames = read_frames(picture, self.frame_rate_hz, self.frame_size_px)
            values["frames"] = len(frames)
            if self.frame_size_px > JPEG_ABOVE_PX:
                frames = pack_jpegs(frames)
                values["frames_size_bytes"] = len(frames)
            values["frames_offset_bytes"] = writer.append(frames).offset_bytes
        return Outcome(key=row["key"], values=values)


def small_latents(latents: np.ndarray, key: str) -> np.ndarray:
    """Latents in float16: as many bytes as bfloat16, eight times as fine, and far from its largest number, 65,504.

    Raises:
        StoppedError: Some are not finite; the clip `key` is named.
    """
    small = latents.astype(np.float16)
    if not np.isfinite(small).all():
        raise StoppedError(f"the codec gave latents that are not finite for clip {key}; are its weights damaged?")
    return small
