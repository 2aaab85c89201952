"""A sound or a picture that a client sends: received up to a size, decoded in a contained ffmpeg, never trusted."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np

from curation.errors import ClipError, Code
from curation.programs.contained import Limits as ProgramLimits
from curation.programs.ffmpeg import run_ffmpeg, untrusted_input
from curation.programs.picture_copy import length_s, picture_copy
from retrieval_index.embedder import Frames, PictureEmbedder
from retrieval_index.pictures import frames_of
from retrieval_index.service.limits import Limits
from retrieval_index.service.refusal import Refused
from retrieval_index.windows import Wave

MEMORY_BYTES = 2 << 30
"""Address space of the decoder. Source: ours; ffmpeg with one thread decodes any sound in far less,
and 8K video."""

COPY_BYTES = 256 << 20
"""Size of the small copy of a video. Source: ours; a minute of it takes a tenth."""


async def receive(pieces: AsyncIterator[bytes], file: Path, limits: Limits) -> int:
    """Write what a client sends into a file.

    Args:
        pieces: Its pieces as they come.
        file: Where they go.
        limits: `upload_bytes` counts.

    Returns:
        How many bytes came.

    Raises:
        Refused: They are too many, or none.
    """
    size_bytes = 0
    with file.open("wb") as written:
        async for piece in pieces:
            size_bytes += len(piece)
            if size_bytes > limits.upload_bytes:
                raise Refused(413, "TOO_LARGE", f"a file may have {limits.upload_bytes:,} bytes at most")
            written.write(piece)
    if not size_bytes:
        raise Refused(400, "EMPTY", "the body is empty; send the bytes of a file")
    return size_bytes


def decoded(file: Path, sample_rate_hz: int, limits: Limits) -> Wave:
    """A sound file that nobody has vouched for, mono.

    Args:
        file: The file.
        sample_rate_hz: Rate wanted, Hz.
        limits: `upload_s` and `decode_s` count.

    Returns:
        (T,) float32 in [-1, 1], quantised to 16 bits, so that all are finite.

    Raises:
        ClipError: It is no sound, has none, takes too long or is too long.
    """
    longest = limits.upload_s + 1.0  # so that one that is too long is seen to be
    with tempfile.TemporaryDirectory(prefix="foundsound-") as folder:
        form = {"f": "s16le", "acodec": "pcm_s16le", "ac": "1", "ar": str(sample_rate_hz), "t": f"{longest}"}
        out = untrusted_input(file).audio.output("sound.raw", threads="1", **form)
        allowed = ProgramLimits(
            wall_s=limits.decode_s, memory_bytes=MEMORY_BYTES, file_bytes=int(4 * longest * sample_rate_hz)
        )
        run_ffmpeg(out, scratch=Path(folder), limits=allowed)
        samples_T = np.fromfile(Path(folder) / "sound.raw", "<i2")
    if not len(samples_T):
        raise ClipError(Code.EMPTY, "it has no samples")
    if len(samples_T) > limits.upload_s * sample_rate_hz:
        raise _too_long(limits)
    return samples_T.astype(np.float32) / np.float32(32_768)


def looked_at(file: Path, sees: PictureEmbedder, limits: Limits) -> Frames:
    """What an embedder looks at of a picture or a video that nobody has vouched for.

    Args:
        file: The file.
        sees: The embedder.
        limits: `upload_s` and `decode_s` count.

    Returns:
        (W, frames, S, S, 3) uint8; one window of a picture.

    Raises:
        ClipError: It is no picture, takes too long or is too long.
    """
    allowed = ProgramLimits(wall_s=limits.decode_s, memory_bytes=MEMORY_BYTES, file_bytes=COPY_BYTES)
    with tempfile.TemporaryDirectory(prefix="foundsound-") as folder:
        copy = picture_copy(file, Path(folder), limits=allowed)
        if length_s(copy) > limits.upload_s:
            raise _too_long(limits)
        return frames_of(copy, sees)


def _too_long(limits: Limits) -> ClipError:
    return ClipError(Code.TOO_LARGE, f"it is longer than {limits.upload_s:g} s; send a part of it")
