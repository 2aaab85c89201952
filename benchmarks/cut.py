"""Clips a second through `cut` and `measure` on one worker, against a bare ffmpeg command for the same two files.

The bare command does none of what the stages add: looking into the file first, whitelists and limits, early decoding,
refusing short clips, hashing, measuring.
"""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import Measured, best_seconds
from curation.cut import Cut
from curation.ffmpeg import ffmpeg_path
from curation.measure import Measure
from curation.media import MediaStore

CLIP_START_MS, CLIP_DURATION_MS, ROUNDS = 1_000, 8_000, 3


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
    """The same two files by one plain command."""
    span = ["-ss", f"{CLIP_START_MS / 1000}", "-t", f"{CLIP_DURATION_MS / 1000}"]
    sound = ["-map", "0:a:0", "-ar", "48000", "-sample_fmt", "s16", "-threads", "1", str(folder / "bare.flac")]
    small = "fps=25,scale='if(gt(iw,ih),-2,256)':'if(gt(iw,ih),256,-2)'"
    encoding = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-pix_fmt", "yuv420p", "-threads", "1"]
    picture = ["-map", "0:v:0", "-vf", small, *encoding, str(folder / "bare.mp4")]
    command = [ffmpeg_path(), "-v", "error", "-y", *span, "-threads", "1", "-i", str(path), *sound, *picture]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def measure(videos: Sequence[Path] = (), rounds: int = ROUNDS) -> Measured:
    """Of videos of one's own that last 9 s at least, or four of 10 s at 720p that are made."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = videos or make_videos(folder)
        store = MediaStore(root=folder / "media")
        stage_cut, stage_measure = Cut(media=store), Measure(media=store)
        span = {"start_ms": CLIP_START_MS, "duration_ms": CLIP_DURATION_MS}

        def ours() -> None:
            for video in videos:
                stage_measure.measure(stage_cut.cut(video, span, folder))

        def theirs() -> None:
            for video in videos:
                bare(video, folder)

        ours_s, theirs_s = best_seconds(ours, theirs, rounds=rounds)
    return {
        "ratio": theirs_s / ours_s,
        "peer": "one bare ffmpeg command a clip",
        "clips_a_second": len(videos) / ours_s,
        "peer_clips_a_second": len(videos) / theirs_s,
        "clips": len(videos),
    }
