"""What an untrusted media file says it holds: format, length, sound stream, picture stream.

The file is opened by PyAV in a child process (`curation/programs/prober.py`): opening a file already decodes some of
it, and a crash or an endless loop there must not take the worker along. Parsing what ffmpeg prints would cost no less
and break with the next version.
"""

import functools
import json
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from curation.errors import ClipError, Code
from curation.programs.contained import Limits
from curation.programs.ffmpeg import input_options, raise_for
from curation.programs.forked import Forked

PROBE_LIMITS = Limits(wall_s=60.0, file_bytes=1)
"""A probe writes nothing. Source: ours; opening takes milliseconds, on a loaded network disk seconds."""

_PROBER = Forked(Path(__file__).with_name("prober.py"))

MOV_BOXES = frozenset({b"ftyp", b"mdat", b"wide", b"free", b"skip", b"pnot"})
"""First boxes of mov and mp4 files that have their index elsewhere. Source: ISO/IEC 14496-12, Apple's QuickTime."""

WAV_CHUNKS, WAV_UNKNOWN_BYTES = 64, 0x7FFF_0000
"""How many chunks of a WAV file are looked at, and from what length on it is a way to say that it is not known. Source:
ours; writers into pipes use 2 or 4 GiB, or a little less."""

GUESSED_LENGTHS = frozenset({"mp3", "aac", "amr", "ac3", "eac3", "mpeg"})
"""Formats without a length in the file, where the libraries guess one from size and bit rate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundStream:
    """The sound of a file.

    Args:
        index: Number of the stream in the file.
        codec: ffmpeg's name of the codec, as `aac`.
        sample_rate_hz: Rate, Hz.
        channels: Number of channels.
        start_s: Time of its first sample on the file's clock, s.
        duration_s: Length that the file announces, s.
    """

    index: int
    codec: str
    sample_rate_hz: int
    channels: int
    start_s: float | None
    duration_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureStream:
    """The moving picture of a file; cover art is none.

    Args:
        index: Number of the stream in the file.
        codec: ffmpeg's name of the codec, as `h264`.
        width_px: Width as coded, before rotation.
        height_px: Height as coded, before rotation.
        frame_rate: Frames a second, exact; None where the file does not say.
        start_s: Time of its first frame on the file's clock, s.
        duration_s: Length that the file announces, s.
    """

    index: int
    codec: str
    width_px: int
    height_px: int
    frame_rate: Fraction | None
    start_s: float | None
    duration_s: float | None

    @property
    def frame_rate_hz(self) -> float | None:
        """Frames a second."""
        return None if self.frame_rate is None else float(self.frame_rate)


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """What a media file says it holds.

    Args:
        format: ffmpeg's name of the container, as `mov,mp4,m4a,3gp,3g2,mj2`.
        start_s: Earliest time of any stream on the file's clock, s.
        duration_s: Length of the whole file, s; None where the file does not say.
        sound: The sound stream, the default one of several; None without sound.
        picture: The picture stream; None without a picture.
    """

    format: str
    start_s: float | None
    duration_s: float | None
    sound: SoundStream | None
    picture: PictureStream | None

    @property
    def sound_end_s(self) -> float | None:
        """When the sound ends, from the start of the file, as the file announces it; None where that is a guess."""
        if self.sound is None or self.format in GUESSED_LENGTHS:
            return None
        if self.sound.duration_s is None:
            return self.duration_s
        return (self.sound.start_s or 0.0) - (self.start_s or 0.0) + self.sound.duration_s

    @property
    def av_offset_ms(self) -> float | None:
        """How much later than the picture the sound starts, ms; None without both or where the file does not say."""
        if self.sound is None or self.picture is None or self.sound.start_s is None or self.picture.start_s is None:
            return None
        return round(1000.0 * (self.sound.start_s - self.picture.start_s), 3)


def probe(path: Path) -> Probe:
    """Look into a media file without decoding it through.

    Args:
        path: The file; nobody has vouched for it.

    Raises:
        ClipError: EMPTY (no bytes), UNREADABLE, TRUNCATED (a mov file without its index), TIMEOUT or TOO_LARGE.
        FileNotFoundError: There is no such file.
    """
    status = path.stat()
    if status.st_size == 0:
        raise ClipError(Code.EMPTY, "the file has no bytes")
    return _probe(path.resolve(), (status.st_ino, status.st_size, status.st_mtime_ns))


@functools.lru_cache(maxsize=16)
def _probe(path: Path, _version: tuple[int, int, int]) -> Probe:
    """Ask the prober; its answer is kept while the file stays the same, since many clips may be cut from one."""
    finished = _PROBER.run({"address": f"file:{path}", "options": input_options()}, PROBE_LIMITS)
    if "moov atom not found" in finished.stderr and _is_mov(path):
        raise ClipError(Code.TRUNCATED, "the file begins as mov or mp4 and ends before its index (moov)")
    raise_for(finished, "the prober")
    found = json.loads(finished.stdout)
    if found["format"] == "wav" and found["sound"] is not None:
        found["sound"]["duration_s"] = _wav_duration_s(path) or found["sound"]["duration_s"]
    return _probe_from(found)


def _is_mov(path: Path) -> bool:
    """Whether a file begins like the mov family does; ffmpeg also tries texts named `.mp4` as such."""
    with path.open("rb") as file:
        return file.read(8)[4:] in MOV_BOXES


def _wav_duration_s(path: Path) -> float | None:
    """Length that a WAV file announces which has been cut off, s; the libraries know only what is there of it.

    None where nothing is missing, or its head names no length, as of one written into a pipe, or is none.

    Source: Microsoft's RIFF: chunks of a name, a length of 32 bits, and as many bytes, made even.
    """
    byte_rate = 0
    with path.open("rb") as file:
        if file.read(12)[8:] != b"WAVE":
            return None
        for _ in range(WAV_CHUNKS):
            head = file.read(8)
            name, size = head[:4], int.from_bytes(head[4:], "little")
            if name == b"data":
                is_cut_off = path.stat().st_size - file.tell() < size < WAV_UNKNOWN_BYTES
                return size / byte_rate if byte_rate and is_cut_off else None
            if name == b"fmt ":
                byte_rate = int.from_bytes(file.read(16)[8:12], "little")
                size -= 16
            if len(head) < 8 or size < 0:
                return None
            file.seek(size + size % 2, os.SEEK_CUR)
    return None


def _probe_from(found: dict[str, Any]) -> Probe:
    """The prober's JSON as a `Probe`; a sound that the libraries could make nothing of is refused."""
    sound, picture = found.pop("sound"), found.pop("picture")
    if sound is not None and (sound["channels"] < 1 or sound["sample_rate_hz"] < 1):
        said = f"{sound['channels']} channels at {sound['sample_rate_hz']} Hz"
        raise ClipError(Code.UNREADABLE, f"the {sound['codec']} sound has {said}")
    if picture is not None:
        rate = picture["frame_rate"]
        picture["frame_rate"] = Fraction(*rate) if rate and rate[0] > 0 and rate[1] > 0 else None
    return Probe(
        **found,
        sound=SoundStream(**sound) if sound else None,
        picture=PictureStream(**picture) if picture else None,
    )
