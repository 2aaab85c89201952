"""A copy of the sound of somebody's file that is ours: plain samples, safe to read in this process.

What is given as a prompt may be anything with a sound in it; ffmpeg alone decodes it, contained and within limits.
"""

from pathlib import Path

import ffmpeg
import soundfile

from curation.errors import ClipError, Code
from curation.programs.contained import Limits
from curation.programs.ffmpeg import DAMAGED, complaint, run_ffmpeg, untrusted_input
from curation.programs.probe import probe

LONGEST_S = 300.0
"""No more than this of a sound is read. Source: ours."""

COPY = "copy.wav"
LIMITS = Limits(wall_s=60.0, file_bytes=1 << 30)

FULL = 0.99
"""A copy of this share of its allowed size was ended there by ffmpeg, which calls that a success. Source: ours."""


def sound_copy(source: Path, scratch: Path, *, longest_s: float = LONGEST_S, limits: Limits = LIMITS) -> Path:
    """Copy the sound of a file at its own rate and with its own channels.

    Args:
        source: The file, sound or video; nobody has vouched for it.
        scratch: Fresh empty folder for the copy.
        longest_s: No more than this of it is copied, s.
        limits: Time, memory and size.

    Returns:
        The copy, a WAV of float32 samples below `scratch`.

    Raises:
        ClipError: EMPTY, NO_AUDIO, UNREADABLE, TRUNCATED, TIMEOUT or TOO_LARGE.
        FileNotFoundError: There is no such file.
        StoppedError: The disk is full, or ffmpeg is missing or was killed.
    """
    sound = probe(source).sound
    if sound is None:
        raise ClipError(Code.NO_AUDIO, "the file holds no sound")
    stream = untrusted_input(source, t=f"{longest_s:g}")[str(sound.index)]
    output = ffmpeg.output(stream, COPY, f="wav", acodec="pcm_f32le", fs=limits.file_bytes)
    finished = run_ffmpeg(output, scratch=scratch, limits=limits)
    copy = scratch / COPY
    if finished.returncode == DAMAGED or not copy.is_file() or copy.stat().st_size == 0:
        raise ClipError(Code.UNREADABLE, complaint(finished.stderr))
    if copy.stat().st_size >= FULL * limits.file_bytes:
        raise ClipError(Code.TOO_LARGE, f"its samples take {limits.file_bytes:,} bytes or more")
    if not soundfile.info(copy).frames:
        raise ClipError(Code.EMPTY, "the sound has no samples")
    return copy
