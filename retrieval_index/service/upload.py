"""A sound or a picture that a client sends: received up to a size, decoded in a contained ffmpeg, never trusted."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import soundfile

from curation.errors import ClipError, Code
from curation.programs.contained import Limits as ProgramLimits
from curation.programs.picture_copy import length_s, picture_copy
from curation.programs.sound_copy import sound_copy
from retrieval_index.embedder import Frames, PictureEmbedder
from retrieval_index.pictures import frames_of
from retrieval_index.service.limits import Limits
from retrieval_index.service.refusal import Refused
from retrieval_index.windows import Wave, mono

MEMORY_BYTES = 2 << 30
"""Address space of the decoder. Source: ours; ffmpeg with one thread decodes any sound in far less,
and 8K video."""

COPY_BYTES = 256 << 20
"""Size of the copy of a sound or a video. Source: ours; a minute of stereo at 192 kHz takes a third of it, the small
copy of a minute of video a tenth."""


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
    """A sound, or the sound of a video, that nobody has vouched for, mono; of several the one that plays by default.

    Args:
        file: The file.
        sample_rate_hz: Rate wanted, Hz.
        limits: `upload_s` and `decode_s` count.

    Returns:
        (T,) float32 in [-1, 1], the mean of the channels as the sounds of clips are embedded.

    Raises:
        ClipError: It is no sound, has none, or samples that are no numbers, takes too long or is too long.
    """
    longest_s = limits.upload_s + 1.0  # so that one that is too long is seen to be
    allowed = ProgramLimits(wall_s=limits.decode_s, memory_bytes=MEMORY_BYTES, file_bytes=COPY_BYTES)
    with tempfile.TemporaryDirectory(prefix="foundsound-") as folder:
        copy = sound_copy(file, Path(folder), longest_s=longest_s, limits=allowed)
        if soundfile.info(copy).duration > limits.upload_s:
            raise _too_long(limits)
        wave_T = mono(copy, sample_rate_hz)
    if not np.isfinite(wave_T).all():
        raise ClipError(Code.UNREADABLE, "it has samples that are not finite numbers")
    return np.clip(wave_T, -1.0, 1.0)


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
