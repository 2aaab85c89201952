"""Running ffmpeg on untrusted media: which formats it may open, within which limits, and what its failures mean.

Command lines are built with ffmpeg-python and run with the binary of imageio-ffmpeg. Two lists stand before every
input. `PROTOCOLS` alone is not enough: a text file named `.mp4` that ffmpeg recognises as a playlist would open its
neighbours through the protocol `file`. `FORMATS` holds only containers that never open another file.
"""

import functools
import re
import signal
import tempfile
from pathlib import Path
from typing import Any

import ffmpeg
import imageio_ffmpeg

from curation.errors import ClipError, Code, StoppedError
from curation.programs.contained import Finished, Limits, run_contained

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,wav,w64,flac,mp3,aac,ac3,eac3,amr,aiff,caf,au,"
    "dsf,mpc,mpc8,wv,ape,tta"
)
"""Demuxers that may open media, by ffmpeg's names. Source: ours; what video platforms serve and sound collections
hold. Not on it, since they open other files or addresses: hls, dash, concat, sdp, rtp, image2, imf, mxf,
webm_dash_manifest; nor module and game formats. The mov demuxer follows references to other files only with
`enable_drefs`, which is off."""

PROTOCOLS = "file,pipe"
"""Protocols that may be used: no network, and none that joins or unpacks other files."""

DAMAGED = 69
"""ffmpeg's exit status when more packets failed to decode than allowed. Source: ffmpeg's manual, `-max_error_rate`."""

SHOWN_LINES = 2
"""How many of ffmpeg's last complaints make the detail of a code. Source: ours."""

_AFTERMATH = ("Task finished", "Terminating thread", "Nothing was written", "Error binding", "Conversion failed")
"""Lines that say that ffmpeg stopped, not why."""

_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")
_FOLDER = re.compile(r"file:/.*/")


def input_options() -> dict[str, str]:
    """The options that stand before every untrusted input, for ffmpeg and PyAV alike."""
    return {"format_whitelist": FORMATS, "protocol_whitelist": PROTOCOLS}


def untrusted_input(path: Path, **options: Any) -> Any:
    """An ffmpeg-python input node for a file nobody has vouched for.

    The absolute path after `file:` keeps names such as `-y`, `concat:a|b` or `%03d.png` plain names.

    Args:
        path: The file.
        options: Further options of the input, as `ss="1.500"`.
    """
    return ffmpeg.input(f"file:{path.resolve()}", **input_options(), threads="1", **options)


@functools.cache
def ffmpeg_path() -> str:
    """Absolute path of the ffmpeg binary.

    Raises:
        StoppedError: There is none.
    """
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise StoppedError("no ffmpeg binary: run `pip install --force-reinstall imageio-ffmpeg`") from error


@functools.cache
def ffmpeg_version() -> str:
    """The build's own name, as `n9.0.2-17-g2a571b6068-20260930`: other builds may write other bytes."""
    with tempfile.TemporaryDirectory() as folder:
        finished = run_contained([ffmpeg_path(), "-version"], scratch=Path(folder), limits=Limits(wall_s=60.0))
    match = re.match(r"ffmpeg version (\S+)", finished.stdout)
    if finished.returncode or match is None:
        raise StoppedError(f"{ffmpeg_path()} does not run (exit {finished.returncode}): {finished.stderr[-300:]}")
    return match.group(1)


def run_ffmpeg(outputs: Any, *, scratch: Path, limits: Limits, max_error_rate: float = 2 / 3) -> Finished:
    """Run one ffmpeg command on untrusted input.

    Args:
        outputs: ffmpeg-python output node; its file names are relative to `scratch`.
        scratch: Fresh empty folder, the working directory.
        limits: Time, memory and size.
        max_error_rate: Share of packets of one stream that may fail to decode; ffmpeg's own default is 2/3.

    Returns:
        How it ended: with `returncode` 0, or `DAMAGED` when too many packets failed; results are whole files then too.

    Raises:
        ClipError: TIMEOUT, TOO_LARGE, TRUNCATED or UNREADABLE.
        StoppedError: The disk is full, or something outside killed ffmpeg.
    """
    arguments = ffmpeg.get_args(outputs)
    general = ["-nostdin", "-hide_banner", "-v", "error", "-filter_complex_threads", "1"]
    tolerance = ["-max_error_rate", f"{max_error_rate:.6f}"]
    finished = run_contained([ffmpeg_path(), *general, *tolerance, *arguments], scratch=scratch, limits=limits)
    if finished.returncode != DAMAGED:
        raise_for(finished, "ffmpeg")
    return finished


def raise_for(finished: Finished, program: str) -> None:
    """Turn the failure of a contained program that reads media into the exception it means.

    Args:
        finished: How the program ended.
        program: Its name, for the message.

    Raises:
        ClipError: TIMEOUT, TOO_LARGE, TRUNCATED or UNREADABLE.
        StoppedError: The disk is full, or something outside killed the program.
    """
    if finished.timed_out:
        raise ClipError(Code.TIMEOUT, f"{program} was not done in time; {complaint(finished.stderr)}")
    if "No space left on device" in finished.stderr:
        raise StoppedError(f"{program} found no space left on the device; free some and run again")
    if finished.returncode == 0:
        return
    if finished.returncode in (-signal.SIGKILL, -signal.SIGTERM):
        raise StoppedError(f"{program} was killed from outside (memory?): {complaint(finished.stderr)}")
    reason = complaint(finished.stderr)
    if finished.returncode == -signal.SIGXFSZ or "Cannot allocate memory" in finished.stderr:
        raise ClipError(Code.TOO_LARGE, f"{program} reached its limit of memory or file size; {reason}")
    if finished.returncode < 0:
        raise ClipError(Code.UNREADABLE, f"{program} died of signal {-finished.returncode}; {reason}")
    if "partial file" in finished.stderr:  # an index that points behind the end of the file
        raise ClipError(Code.TRUNCATED, reason)
    raise ClipError(Code.UNREADABLE, reason)


def complaint(stderr: str) -> str:
    """The last lines a program printed, without memory addresses and folders: the same file gives the same text."""
    lines = [_ADDRESS.sub("", _FOLDER.sub("", line)).strip() for line in stderr.splitlines() if line.strip()]
    lines = [line for line in lines if not any(words in line for words in _AFTERMATH)]
    return " | ".join(lines[-SHOWN_LINES:]) or "no reason was printed"
