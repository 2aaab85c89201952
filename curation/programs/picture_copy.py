"""A copy of somebody's picture, still or moving, that is ours: small, and safe to decode in this process.

What is shown as a question may be anything; it is decoded by ffmpeg alone, contained and within limits, and what comes
out is an MP4 of our own making.
"""

from pathlib import Path

import av
import ffmpeg

from curation.errors import ClipError, Code
from curation.programs.contained import Limits
from curation.programs.ffmpeg import DAMAGED, PROTOCOLS, complaint, run_ffmpeg, untrusted_input
from curation.programs.probe import probe

LONGEST_S = 300.0
"""No more than this of a video is looked at. Source: ours."""

COPY_SIDE_PX = 512
COPY_RATE_HZ = 10
COPY_CRF = 16
"""Longer side, frames a second and quality of the copy. Source: ours; networks look at squares of at most 448 px, 16 in
10 s."""

STILL_KINDS = {b"\x89PNG\r\n\x1a\n": "png_pipe", b"\xff\xd8\xff": "jpeg_pipe", b"BM": "bmp_pipe", b"GIF8": "gif"}
"""First bytes of still pictures -> the demuxer that reads nothing but that kind."""
WEBP_BEGINS, WEBP_NAMES = b"RIFF", b"WEBP"

COPY = "copy.mp4"
LIMITS = Limits(wall_s=60.0, file_bytes=1 << 30)


def picture_copy(source: Path, scratch: Path, *, limits: Limits = LIMITS) -> Path:
    """Copy a picture or the picture of a video, small and with steady frames.

    Args:
        source: The file; nobody has vouched for it. PNG, JPEG, WebP, BMP, the first picture of a GIF, or a video.
        scratch: Fresh empty folder for the copy.
        limits: Time, memory and size.

    Returns:
        The copy, an MP4 below `scratch`; of a still picture one frame.

    Raises:
        ClipError: EMPTY, NO_VIDEO, UNREADABLE, TRUNCATED, TIMEOUT or TOO_LARGE.
        FileNotFoundError: There is no such file.
        StoppedError: The disk is full, or ffmpeg is missing or was killed.
    """
    kind = _still_kind(source)
    if kind is not None:
        stream = ffmpeg.input(
            f"file:{source.resolve()}",
            f=kind,
            format_whitelist=kind,
            protocol_whitelist=PROTOCOLS,
            threads="1",
        )["v:0"]
        ends = {"frames:v": 1}
    else:
        picture = probe(source).picture
        if picture is None:
            raise ClipError(Code.NO_VIDEO, "the file holds no picture")
        stream = untrusted_input(source, t=f"{LONGEST_S:g}")[str(picture.index)]
        stream, ends = stream.filter("fps", COPY_RATE_HZ, start_time=0), {}
    small = f"min(1,{COPY_SIDE_PX}/max(iw,ih))"
    stream = (
        stream.filter("scale", w=f"2*max(1,round(iw*{small}/2))", h=f"2*max(1,round(ih*{small}/2))", flags="area")
        .filter("setsar", "1")
        .filter("format", "yuv420p")
    )
    output = ffmpeg.output(
        stream, COPY, vcodec="libx264", preset="veryfast", crf=COPY_CRF, threads=1, fs=limits.file_bytes, **ends
    )
    finished = run_ffmpeg(output, scratch=scratch, limits=limits)
    copy = scratch / COPY
    if finished.returncode == DAMAGED or not copy.is_file() or not length_s(copy):
        raise ClipError(Code.UNREADABLE, complaint(finished.stderr))
    return copy


def length_s(copy: Path) -> float:
    """How long one of our own copies is, s; 0 without a frame."""
    with av.open(str(copy)) as container:
        stream = container.streams.video[0] if container.streams.video else None
        if stream is None or not stream.frames:
            return 0.0
        return float(stream.frames / (stream.average_rate or COPY_RATE_HZ))


def _still_kind(source: Path) -> str | None:
    """The demuxer of a still picture; None for anything else."""
    with source.open("rb") as file:
        head = file.read(12)
    if not head:
        raise ClipError(Code.EMPTY, "the file has no bytes")
    if head.startswith(WEBP_BEGINS) and head[8:] == WEBP_NAMES:
        return "webp_pipe"
    return next((kind for begins, kind in STILL_KINDS.items() if head.startswith(begins)), None)
