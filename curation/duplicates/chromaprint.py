"""The stage `print`: an acoustic fingerprint of every cut sound, by which re-encoded and shifted copies are found.

Fingerprints are compared in `curation/duplicates/matching.py`.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import ffmpeg
import pyarrow as pa

from curation.media import MediaStore
from curation.programs.contained import Limits
from curation.programs.ffmpeg import ffmpeg_version, run_ffmpeg, untrusted_input
from curation.schema import column, table
from curation.stage import Stage, Work, each, how

WORD_S = 1365 / 11_025
"""Time between two words of a fingerprint, s. Source: Chromaprint, `fingerprinter_configuration.cpp`: frames of 4096
samples at 11,025 Hz that overlap by two thirds."""

FINGERPRINT_FILE = "fingerprint"


@dataclass(frozen=True, kw_only=True)
class Print(Stage):
    """Fingerprint the sound of cut clips with Chromaprint.

    Args:
        media: Where the cut sounds are.
        algorithm: Chromaprint's number of the algorithm. Source: its default, `CHROMAPRINT_ALGORITHM_TEST2`.
        ffmpeg: Name of the ffmpeg build, part of the identity, since its resampler stands before Chromaprint.
        timeout_s: Time a clip may take, s.
    """

    NAME: ClassVar[str] = "print"
    VERSION: ClassVar[int] = 1
    GRAIN: ClassVar[Literal["video", "clip"]] = "clip"
    RESULTS: ClassVar[pa.Schema] = table(
        "One row a clip: the fingerprint of its sound.",
        column(
            "fingerprint",
            pa.binary(),
            "Chromaprint's words, little-endian uint32, 8.08 a second; empty below about 2.7 s of sound",
        ),
    )

    media: MediaStore = how()
    algorithm: int = 1
    ffmpeg: str = field(default_factory=ffmpeg_version)
    timeout_s: float = how(default=300.0)

    def __post_init__(self) -> None:
        if self.algorithm < 0:
            raise ValueError(f"algorithm must be 0 or more, not {self.algorithm}")
        if self.timeout_s <= 0:
            raise ValueError(f"timeout_s must be above 0, not {self.timeout_s}")

    def requests(self) -> str:
        """Every clip that was cut; only its sound is read."""
        return "SELECT key, audio_sha256 AS input, audio_sha256 FROM cut WHERE state = 'done'"

    def open(self) -> Work:
        """Nothing heavy to load."""
        return each(self.print)

    def print(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Fingerprint one clip.

        Args:
            request: `audio_sha256` of the clip's cut.

        Raises:
            ClipError: TIMEOUT, TOO_LARGE, TRUNCATED or UNREADABLE.
            DatasetError: The file is missing in the media store.
        """
        path = self.media.open_path(request["audio_sha256"], ".flac")
        return {"fingerprint": fingerprint(path, algorithm=self.algorithm, timeout_s=self.timeout_s)}


def fingerprint(path: Path, *, algorithm: int = 1, timeout_s: float = 300.0) -> bytes:
    """The fingerprint of the first sound stream of a media file that nobody needs to have vouched for.

    Args:
        path: The file.
        algorithm: Chromaprint's number of the algorithm.
        timeout_s: Time it may take, s.

    Returns:
        Words of 32 bits, little-endian, one every `WORD_S`; empty for a sound below about 2.7 s.

    Raises:
        ClipError: TIMEOUT, TOO_LARGE, TRUNCATED or UNREADABLE.
    """
    output = ffmpeg.output(
        untrusted_input(path)["a:0"], FINGERPRINT_FILE, f="chromaprint", fp_format="raw", algorithm=str(algorithm)
    )
    with tempfile.TemporaryDirectory(prefix="foundsound-print-") as scratch:
        run_ffmpeg(output, scratch=Path(scratch), limits=Limits(wall_s=timeout_s))
        return (Path(scratch) / FINGERPRINT_FILE).read_bytes()
