"""The stage `segment`: a video without a span becomes clips, once its length is known.

By the policy `fixed` a music video becomes consecutive clips of one length (V2M: 10 s), and a video whose list asks
for no length one clip as long as its sound. By `scenes` no clip reaches over a cut of the picture to another scene,
whatever length the list asks for. What is cut and kept is decided elsewhere.
"""

import itertools
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import ffmpeg
import pyarrow as pa

from curation.cut import LOSE_PICTURE
from curation.errors import ClipError, Code
from curation.keys import clip_id
from curation.programs.contained import Limits
from curation.programs.ffmpeg import DAMAGED, complaint, ffmpeg_version, run_ffmpeg, untrusted_input
from curation.programs.probe import probe
from curation.programs.scenes import detector_version, scene_starts_ms
from curation.schema import column, table
from curation.stage import Stage, how
from curation.tables import Row

MIN_LENGTH_MS = 1_000
"""Shorter sound makes no segment. Source: ours; a video that short is no music. A clip of the whole length may have any
length: how short is too short is for `select` to say."""

MAX_MISSING_S = 0.5
"""How much of the announced length may be missing, s. Source: ours, as in the stage `cut`."""


Policy = Literal["fixed", "scenes"]
"""How a video is divided: every so many seconds, or where the picture cuts."""

OF_SCENES = ("policy", "shortest_scene_ms", "longest_scene_ms", "scene_threshold")
"""Knobs without a meaning for the policy `fixed`, and no part of its identity."""


@dataclass(frozen=True, kw_only=True)
class Segment(Stage):
    """Write the clips of videos that have no spans.

    Args:
        policy: How a video is divided.
        shortest_scene_ms: A shorter scene, or end of one, makes no clip. Source: ours; below it there is nothing to
            caption.
        longest_scene_ms: Longer scenes are divided into clips of this length. Source: the length of V2M's clips and
            the window of AudioX.
        scene_threshold: How many times its neighbours' change a frame's must be to begin a scene. Source: the default
            of PySceneDetect's AdaptiveDetector.
        timeout_s: Time that decoding the sound, and the picture, of one video may take, s each.
    """

    NAME: ClassVar[str] = "segment"
    VERSION: ClassVar[int] = 1
    GRAIN: ClassVar[Literal["video", "clip"]] = "video"
    RESULTS: ClassVar[pa.Schema] = table(
        "One row a video without a span: how many clips it became.",
        column("clips", pa.int32(), "number of clips written"),
        column("length_ms", pa.int64(), "length of the sound, ms"),
        column("scenes", pa.int32(), "scenes found; null without a picture, and by the policy `fixed`"),
    )

    policy: Policy = "fixed"
    shortest_scene_ms: int = 2_000
    longest_scene_ms: int = 10_000
    scene_threshold: float = 3.0
    timeout_s: float = how(default=300.0)

    def __post_init__(self) -> None:
        if self.policy not in get_args(Policy):
            raise ValueError(f"policy must be one of {', '.join(get_args(Policy))}, not {self.policy!r}")
        if not MIN_LENGTH_MS <= self.shortest_scene_ms <= self.longest_scene_ms:
            bounds = f"{self.shortest_scene_ms} and {self.longest_scene_ms}"
            raise ValueError(f"scenes need {MIN_LENGTH_MS} <= shortest_scene_ms <= longest_scene_ms, not {bounds}")
        if self.scene_threshold <= 1:
            raise ValueError(f"scene_threshold must be above 1, not {self.scene_threshold}")
        if self.timeout_s <= 0:
            raise ValueError(f"timeout_s must be above 0, not {self.timeout_s}")

    def identity(self) -> dict[str, Any]:
        """As of every stage; by scenes also what finds them, by a fixed length nothing about scenes."""
        knobs = super().identity()
        if self.policy == "scenes":
            return {**knobs, "detector": detector_version(), "ffmpeg": ffmpeg_version()}
        return {name: value for name, value in knobs.items() if name not in OF_SCENES}

    def requests(self) -> str:
        """Every video that a list names without a span; one that could not be fetched is set aside with its code."""
        return """
        SELECT DISTINCT annotations.key AS key, coalesce(got.original_sha256, '') AS input,
            CASE WHEN got.state = 'set_aside' THEN got.code END AS inherited
        FROM annotations LEFT JOIN "fetch" AS got ON got.key = annotations.key WHERE annotations.grain = 'video'"""

    def segment(self, source: Path, video: Mapping[str, Any]) -> tuple[list[Row], dict[str, Any]]:
        """Divide one video.

        Args:
            source: The fetched file; nobody has vouched for it.
            video: Its row of the table `videos`.

        Returns:
            Its clips as rows of the table `clips`, and the result columns.

        Raises:
            ClipError: As `length_ms`, TIMEOUT or TRUNCATED from finding scenes, or TOO_SHORT.
        """
        length_ms = self.length_ms(source)
        if self.policy == "fixed":
            clips = self.clips(video, length_ms)
            return clips, {"clips": len(clips), "length_ms": length_ms}
        starts_ms = self._scene_starts_ms(source)
        clips = _rows(video, scene_spans(length_ms, starts_ms or (), self.shortest_scene_ms, self.longest_scene_ms))
        scenes = None if starts_ms is None else 1 + len(starts_ms)
        return clips, {"clips": len(clips), "length_ms": length_ms, "scenes": scenes}

    def _scene_starts_ms(self, source: Path) -> list[int] | None:
        """When scenes begin but for the first; None without a picture, or with one that cannot be decoded."""
        picture = probe(source).picture
        if picture is None:
            return None
        try:
            return scene_starts_ms(source, picture, self.scene_threshold, self.timeout_s)
        except ClipError as error:
            if error.code in LOSE_PICTURE:
                return None
            raise

    def clips(self, video: Mapping[str, Any], length_ms: int) -> list[Row]:
        """The clips of one video by a fixed length, as rows of the table `clips`.

        Args:
            video: Its row of the table `videos`.
            length_ms: Length of its sound, ms.

        Raises:
            ClipError: TOO_SHORT.
        """
        return _rows(video, spans(length_ms, video["segment_ms"] or 0))

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


def scene_spans(length_ms: int, starts_ms: Sequence[int], shortest_ms: int, longest_ms: int) -> list[tuple[int, int]]:
    """Where the clips of a video begin and how long they are, no clip reaching over a cut.

    Args:
        length_ms: Length of the video's sound, ms.
        starts_ms: Where scenes begin, ms, rising; the first, at 0, need not be among them.
        shortest_ms: A shorter scene, or end of a divided one, makes no clip.
        longest_ms: Longer scenes are divided into clips of this length.

    Returns:
        (start_ms, duration_ms), in order.

    Raises:
        ClipError: TOO_SHORT, where no scene is long enough.
    """
    bounds = [0, *(start for start in starts_ms if 0 < start < length_ms), length_ms]
    found = [
        (start, min(longest_ms, end - start))
        for begin, end in itertools.pairwise(bounds)
        for start in range(begin, end, longest_ms)
        if min(longest_ms, end - start) >= shortest_ms
    ]
    if not found:
        scenes = f"{len(bounds) - 1} scenes in {length_ms} ms"
        raise ClipError(Code.TOO_SHORT, f"{scenes}, none of {shortest_ms} ms or more")
    return found


def _rows(video: Mapping[str, Any], found: Sequence[tuple[int, int]]) -> list[Row]:
    """Spans of a video as rows of the table `clips`; one that begins where another ends names it."""
    rows: list[Row] = []
    end_ms = None
    for start_ms, duration_ms in found:
        rows.append(
            {
                "clip_id": clip_id(video["platform"], video["video_id"], start_ms, duration_ms),
                "video_key": video["video_key"],
                "start_ms": start_ms,
                "duration_ms": duration_ms,
                "prev_clip_id": rows[-1]["clip_id"] if start_ms == end_ms else None,
                "origin": "segment",
            }
        )
        end_ms = start_ms + duration_ms
    return rows
