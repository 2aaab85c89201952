"""`cut` and `measure` against a bare ffmpeg command that makes the same two files.

Prints JSON: clips a second of both on one worker each, and their ratio. The bare command does none of what the stages
add: looking into the file first, whitelists and limits, early decoding, refusing short clips, hashing, measuring.

    python -m benchmarks.cut [VIDEO ...]        videos of one's own; without any, four of 10 s at 720p are made
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

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


def main(arguments: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = [Path(argument) for argument in arguments] or make_videos(folder)
        store = MediaStore(root=folder / "media")
        cut, measure = Cut(media=store), Measure(media=store)
        seconds = {"bare": 0.0, "cut": 0.0, "measure": 0.0}
        for _ in range(ROUNDS):  # alternating, so that whatever else the machine does falls on all of them
            for video in videos:
                begun = time.perf_counter()
                bare(video, folder)
                ready = time.perf_counter()
                values = cut.cut(video, {"start_ms": CLIP_START_MS, "duration_ms": CLIP_DURATION_MS}, folder)
                done = time.perf_counter()
                measure.measure(values)
                seconds["bare"] += ready - begun
                seconds["cut"] += done - ready
                seconds["measure"] += time.perf_counter() - done
    clips = ROUNDS * len(videos)
    result = {
        "clips": clips,
        "seconds_a_clip": {name: round(value / clips, 4) for name, value in seconds.items()},
        "bare_clips_a_second": round(clips / seconds["bare"], 3),
        "cut_and_measure_clips_a_second": round(clips / (seconds["cut"] + seconds["measure"]), 3),
        "ratio": round(seconds["bare"] / (seconds["cut"] + seconds["measure"]), 3),
    }
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
