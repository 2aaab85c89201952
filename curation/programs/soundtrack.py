"""A sound laid under the picture of somebody's video, as an MP4 of our own making."""

from pathlib import Path

import ffmpeg

from curation.errors import ClipError, Code
from curation.programs.contained import Limits
from curation.programs.ffmpeg import DAMAGED, complaint, run_ffmpeg, untrusted_input
from curation.programs.probe import probe

LAID = "laid.mp4"
LIMITS = Limits(wall_s=600.0)

MOST_SIDE_PX = 1280
"""Longer side of what is written at most. Source: ours, 720p: it is for listening, with the picture beside it."""


def lay_under(video: Path, sound: Path, scratch: Path, *, seconds: float, limits: Limits = LIMITS) -> Path:
    """Write a video's picture with another sound, as long as that sound; a shorter picture stands still at its end.

    Args:
        video: The file; nobody has vouched for it. Its own sound is dropped.
        sound: A WAV file of ours.
        scratch: Fresh empty folder for the result.
        seconds: Length of the sound, s.
        limits: Time, memory and size.

    Returns:
        An MP4 below `scratch`, H.264 and AAC.

    Raises:
        ClipError: EMPTY, NO_VIDEO, UNREADABLE, TRUNCATED, TIMEOUT or TOO_LARGE.
        FileNotFoundError: There is no such file.
        StoppedError: The disk is full, or ffmpeg is missing or was killed.
    """
    picture = probe(video).picture
    if picture is None:
        raise ClipError(Code.NO_VIDEO, "the file holds no picture")
    small = f"min(1,{MOST_SIDE_PX}/max(iw,ih))"
    shown = (
        untrusted_input(video, t=f"{seconds:.6f}")[str(picture.index)]
        .filter("scale", w=f"2*max(1,round(iw*{small}/2))", h=f"2*max(1,round(ih*{small}/2))")
        .filter("setpts", "PTS-STARTPTS")
        .filter("tpad", stop_mode="clone", stop_duration=f"{seconds:.6f}")
        .filter("setsar", "1")
        .filter("format", "yuv420p")
    )
    heard = ffmpeg.input(f"file:{sound.resolve()}", f="wav")["a:0"]
    output = ffmpeg.output(
        shown,
        heard,
        LAID,
        t=f"{seconds:.6f}",
        vcodec="libx264",
        preset="veryfast",
        crf=20,
        acodec="aac",
        audio_bitrate="192k",
        threads=1,
        movflags="+faststart",
        fs=limits.file_bytes,
    )
    finished = run_ffmpeg(output, scratch=scratch, limits=limits)
    laid = scratch / LAID
    if finished.returncode == DAMAGED or not laid.is_file():
        raise ClipError(Code.UNREADABLE, complaint(finished.stderr))
    return laid
