"""Clips a second through `cut` and `measure`, against bare ffmpeg commands for the same files and measurements.

The peer is two commands a clip, as many clips at once as there are workers here: one cuts with the same settings, one
measures what was cut with ffmpeg's own filters (loudness and true peak, levels and offset, silence, frozen and black
pictures at 5 frames a second). It does none of what the stages add: looking into the file first, whitelists and limits,
early decoding, refusing short clips, files that appear whole, hashes, bandwidth, flatness, speech, likeness of frames.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from benchmarks import Measured, best_seconds
from curation.cut import Cut
from curation.measure import Measure
from curation.media import MediaStore
from curation.programs.ffmpeg import ffmpeg_path

CLIP_START_MS, CLIP_DURATION_MS, ROUNDS = 1_000, 8_000, 5

LEVELS = "ebur128=peak=true:framelog=quiet,astats,silencedetect=noise=-60dB:duration=0.02"
PICTURES = "fps=5,freezedetect,blackdetect"


def make_videos(folder: Path) -> list[Path]:
    """Four videos with moving pictures and noise, as a platform would serve them."""
    paths = [folder / f"{number}.mp4" for number in range(4)]
    for number, path in enumerate(paths):
        picture = f"testsrc2=size=1280x720:rate=30:duration=10,hue=h={90 * number}"
        sound = f"anoisesrc=duration=10:sample_rate=44100:amplitude=0.2:seed={number}"
        inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound]
        command = [ffmpeg_path(), "-v", "error", *inputs, "-c:v", "libx264", "-preset", "veryfast", "-c:a", "aac"]
        subprocess.run([*command, str(path)], check=True, stdin=subprocess.DEVNULL)
    return paths


def bare(path: Path, folder: Path) -> None:
    """The same two files by one plain command, and measurements of them by another."""
    flac, mp4 = str(folder / f"{path.stem}-bare.flac"), str(folder / f"{path.stem}-bare.mp4")
    span = ["-ss", f"{CLIP_START_MS / 1000}", "-t", f"{CLIP_DURATION_MS / 1000}"]
    sound = ["-map", "0:a:0", "-ar", "48000", "-sample_fmt", "s16", "-threads", "1", flac]
    small = "fps=25,scale='if(gt(iw,ih),-2,256)':'if(gt(iw,ih),256,-2)'"
    encoding = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-pix_fmt", "yuv420p", "-threads", "1"]
    picture = ["-map", "0:v:0", "-vf", small, *encoding, mp4]
    cutting = ["-y", *span, "-threads", "1", "-i", str(path), *sound, *picture]
    inputs = ["-threads", "1", "-i", flac, "-threads", "1", "-i", mp4]
    measuring = [*inputs, "-map", "0:a", "-af", LEVELS, "-map", "1:v", "-vf", PICTURES, "-f", "null", "-"]
    for arguments in (cutting, measuring):
        command = [ffmpeg_path(), "-hide_banner", "-nostats", *arguments]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)


def through_stages(path: Path, folder: Path) -> None:
    """One clip through both stages."""
    store = MediaStore(root=folder / "media")
    cut = Cut(media=store).cut(path, {"start_ms": CLIP_START_MS, "duration_ms": CLIP_DURATION_MS}, folder)
    Measure(media=store).measure(cut)


def copied(videos: Sequence[Path], folder: Path) -> list[Path]:
    """Copies of the videos in a new folder."""
    folder.mkdir()
    return [Path(shutil.copy(video, folder)) for video in videos]


def measure(videos: Sequence[Path] = (), rounds: int = ROUNDS, workers: int | None = None) -> Measured:
    """Of videos of one's own that last 9 s at least, or four of 10 s at 720p that are made.

    Args:
        videos: The videos.
        rounds: How often each way is timed.
        workers: Clips at once, ours and the peer's; as many as processors when not given.
    """
    workers = workers or len(os.sched_getaffinity(0))
    with (
        tempfile.TemporaryDirectory() as name,
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as processes,
        ThreadPoolExecutor(workers) as commands,
    ):
        folder = Path(name)
        videos = videos or make_videos(folder)
        # Each round meets new files, since a stage remembers what it has seen in a file; nor are cut files there.
        copies = iter([copied(videos, folder / str(number)) for number in range(rounds + 1)])

        def ours() -> None:
            new = next(copies)
            for done in [processes.submit(through_stages, path, path.parent) for path in new]:
                done.result()

        def theirs() -> None:
            list(commands.map(bare, videos, [folder] * len(videos)))

        ours_s, theirs_s = best_seconds(ours, theirs, rounds=rounds)
    return {
        "ratio": theirs_s / ours_s,
        "peer": "two bare ffmpeg commands a clip: cut, measure",
        "clips_a_second": len(videos) / ours_s,
        "peer_clips_a_second": len(videos) / theirs_s,
        "clips": len(videos),
        "workers": workers,
    }
