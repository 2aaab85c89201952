"""The stage `segment`: a video without a span becomes clips, once its length is known.

A music video becomes consecutive clips of one length (V2M: 10 s); a video whose list asks for no length becomes one
clip as long as its sound. What is cut and kept is decided elsewhere.
"""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import ffmpeg
import pyarrow as pa

from curation.contained import Limits
from curation.errors import ClipError, Code
from curation.ffmpeg import DAMAGED, complaint, run_ffmpeg, untrusted_input
from curation.keys import clip_id
from curation.probe import probe
from curation.schema import column, table
from curation.stage import Stage, how
from curation.tables import Row

MIN_LENGTH_MS = 1_000
"""Shorter sound makes no segment. Source: ours; a video that short is no music. A clip of the whole length may have any
length: how short is too short is for `select` to say."""

MAX_MISSING_S = 0.5
"""How much of the announced length may be missing, s. Source: ours, as in the stage `cut`."""


@dataclass(frozen=True, kw_only=True)
class Segment(Stage):
    """Write the clips of videos that have no spans.

    Args:
        timeout_s: Time that decoding the sound of one video may take, s.
    """

    NAME: ClassVar[str] = "segment"
    VERSION: ClassVar[int] = 1
    GRAIN: ClassVar[Literal["video", "clip"]] = "video"
    RESULTS: ClassVar[pa.Schema] = table(
        "One row a video without a span: how many clips it became.",
        column("clips", pa.int32(), "number of clips written"),
        column("length_ms", pa.int64(), "length of the sound, ms"),
    )

    timeout_s: float = how(default=300.0)

    def requests(self) -> str:
        """Every video that a list names without a span; one that could not be fetched is set aside with its code."""
        return """
        SELECT DISTINCT annotations.key AS key, coalesce(got.original_sha256, '') AS input,
            CASE WHEN got.state = 'set_aside' THEN got.code END AS inherited
        FROM annotations LEFT JOIN "fetch" AS got ON got.key = annotations.key WHERE annotations.grain = 'video'"""

    def clips(self, video: Mapping[str, Any], length_ms: int) -> list[Row]:
        """The clips of one video as rows of the table `clips`.

        Args:
            video: Its row of the table `videos`.
            length_ms: Length of its sound, ms.

        Raises:
            ClipError: TOO_SHORT.
        """
        rows: list[Row] = []
        segment_ms = video["segment_ms"] or 0
        for start_ms, duration_ms in spans(length_ms, segment_ms):
            rows.append(
                {
                    "clip_id": clip_id(video["platform"], video["video_id"], start_ms, duration_ms),
                    "video_key": video["video_key"],
                    "start_ms": start_ms,
                    "duration_ms": duration_ms,
                    "prev_clip_id": rows[-1]["clip_id"] if rows else None,
                    "origin": "segment",
                }
            )
        return rows

    def length_ms(self, source: Path) -> int:
        """Length of a video's sound, decoded to its end: many containers announce none, a guess, or too much.

        Args:
            source: The fetched file; nobody has vouched for it.

        Raises:
            ClipError: NO_AUDIO, EMPTY, UNREADABLE, TRUNCATED, TIMEOUT or TOO_LARGE.
        """
        probed = probe(source)
        if probed.sound is None:
            raise ClipError(Code.NO_AUDIO, f"the file ({probed.format}) has no sound stream")
        # `-progress` prints how far the output has come, which is a time on the file's clock.
        output = ffmpeg.output(untrusted_input(source)[str(probed.sound.index)], "-", f="null", progress="pipe:1")
        with tempfile.TemporaryDirectory(prefix="foundsound-length-") as scratch:
            finished = run_ffmpeg(output, scratch=Path(scratch), limits=Limits(wall_s=self.timeout_s))
        if finished.returncode == DAMAGED:
            raise ClipError(Code.UNREADABLE, complaint(finished.stderr))
        times = re.findall(r"^out_time_us=(\d+)$", finished.stdout, flags=re.MULTILINE)
        length_s = int(times[-1]) / 1e6 if times else 0.0
        if probed.sound_end_s is not None and probed.sound_end_s - length_s > MAX_MISSING_S:
            announced = f"{probed.sound_end_s:.3f} s of sound were announced"
            raise ClipError(Code.TRUNCATED, f"{announced}, {length_s:.3f} s could be decoded")
        length_ms = round(length_s * 1000)
        if length_ms == 0:
            raise ClipError(Code.EMPTY, f"the sound stream has no samples, or below a millisecond: {length_s:.6f} s")
        return length_ms


def spans(length_ms: int, segment_ms: int) -> list[tuple[int, int]]:
    """Where the clips of a video begin and how long they are.

    Args:
        length_ms: Length of the video, ms.
        segment_ms: Length of a clip, ms; 0: one clip, the whole length.

    Returns:
        (start_ms, duration_ms) of consecutive clips. The rest at the end is dropped, unless it is all there is.

    Raises:
        ClipError: TOO_SHORT, below `MIN_LENGTH_MS`, where segments are asked for.
    """
    if segment_ms < 0 or 0 < segment_ms < MIN_LENGTH_MS:
        raise ValueError(f"segment_ms must be 0 or at least {MIN_LENGTH_MS}, not {segment_ms}")
    if segment_ms and length_ms < MIN_LENGTH_MS:
        raise ClipError(Code.TOO_SHORT, f"{length_ms} ms of sound; a segment needs {MIN_LENGTH_MS} ms")
    if segment_ms == 0 or length_ms < segment_ms:
        return [(0, length_ms)]
    return [(start_ms, segment_ms) for start_ms in range(0, length_ms - segment_ms + 1, segment_ms)]
