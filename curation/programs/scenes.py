"""Where the picture of a video cuts from one scene to the next, found by PySceneDetect.

PySceneDetect opens whatever it is given. So nobody's file but ours is ever given to it: ffmpeg, with its whitelists and
limits, first makes a small steady copy of the picture, and the detector sees the frames of that copy. Which clips come
of the scenes is decided in `curation/segment.py`.
"""

import functools
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import av
import ffmpeg

from curation.errors import ArgumentError, ClipError, Code
from curation.programs.contained import Limits
from curation.programs.ffmpeg import DAMAGED, complaint, run_ffmpeg, untrusted_input
from curation.programs.probe import PictureStream

COPY_SIDE_PX = 144
"""Short side of the copy. Source: PySceneDetect looks at pictures about 256 px wide."""

COPY_RATE_HZ = 25
"""Frames a second of the copy. Source: ours, that of the cut pictures: a scene then begins with a frame of theirs."""

COPY_CRF = 10
"""Quality of the copy. Source: ours; what coding changes lies far below the detector's threshold."""


@functools.cache
def detector_version() -> str:
    """Name and version of the detector, part of the identity of what is cut by scenes.

    Raises:
        ArgumentError: It is not installed.
    """
    try:
        return f"scenedetect {version('scenedetect')}"
    except PackageNotFoundError as error:
        raise ArgumentError("scenes need PySceneDetect: run `pip install 'foundsound[scenes]'`") from error


def scene_starts_ms(source: Path, picture: PictureStream, threshold: float, timeout_s: float) -> list[int]:
    """When scenes begin, ms from the start of the file; the first one, at 0, is not among them.

    Args:
        source: The fetched file; nobody has vouched for it.
        picture: Its picture, as probed.
        threshold: How many times its neighbours' change a frame's must be.
        timeout_s: Time that the copy may take, s.

    Raises:
        ClipError: UNREADABLE, TRUNCATED, TIMEOUT or TOO_LARGE.
        ArgumentError: PySceneDetect is not installed.
        StoppedError: The disk is full, or ffmpeg is missing or was killed.
    """
    with tempfile.TemporaryDirectory(prefix="foundsound-scenes-") as folder:
        copy = _copy(source, picture, Path(folder), Limits(wall_s=timeout_s))
        return cuts_ms(copy, threshold)


def _copy(source: Path, picture: PictureStream, scratch: Path, limits: Limits) -> Path:
    """The picture, small and with steady frames on the file's clock."""
    stream = (
        untrusted_input(source)[str(picture.index)]
        .filter("fps", COPY_RATE_HZ, start_time=0)
        .filter("scale", w=f"if(gt(iw,ih),-2,{COPY_SIDE_PX})", h=f"if(gt(iw,ih),{COPY_SIDE_PX},-2)", flags="area")
        .filter("format", "yuv420p")
    )
    output = ffmpeg.output(
        stream, "copy.mp4", vcodec="libx264", preset="ultrafast", crf=COPY_CRF, threads=1, fs=limits.file_bytes
    )
    finished = run_ffmpeg(output, scratch=scratch, limits=limits)
    if finished.returncode == DAMAGED:
        raise ClipError(Code.UNREADABLE, complaint(finished.stderr))
    return scratch / "copy.mp4"


def cuts_ms(path: Path, threshold: float) -> list[int]:
    """Cuts in one of our own files, ms.

    Args:
        path: The file; its first frame is at 0.
        threshold: How many times its neighbours' change a frame's must be.

    Source: PySceneDetect's AdaptiveDetector with its defaults; the change is the mean difference of hue, saturation and
    brightness (0 to 255), at least 15, compared with that of two frames on either side.
    """
    try:
        from scenedetect import AdaptiveDetector, FrameTimecode
    except ImportError as error:
        raise ArgumentError(f"scenes need PySceneDetect ({error}): run `pip install 'foundsound[scenes]'`") from error
    detector = AdaptiveDetector(adaptive_threshold=threshold)
    found = []
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(stream)):
            now = FrameTimecode(number, fps=float(COPY_RATE_HZ))
            found += detector.process_frame(now, frame.to_ndarray(format="bgr24"))
    return [round(1000 * cut.frame_num / COPY_RATE_HZ) for cut in found]
