"""Videos of a drawn sound and a moving picture, as small as can be, with the names that public lists have."""

import subprocess
from pathlib import Path

import imageio_ffmpeg


def write_video(folder: Path, video_id: str, seconds: int) -> None:
    """Pink noise that no other id has, and a test picture of 64 x 64 px at 5 frames a second."""
    seed = int.from_bytes(video_id.encode(), "big") % 2**31
    sound = f"anoisesrc=color=pink:seed={seed}:sample_rate=16000:duration={seconds}"
    picture = f"testsrc2=size=64x64:rate=5:duration={seconds}"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-f", "lavfi", "-i", sound]
    command += ["-f", "lavfi", "-i", picture, "-threads", "1", "-c:v", "libx264", "-preset", "ultrafast"]
    subprocess.run([*command, "-c:a", "aac", "-shortest", str(folder / f"{video_id}.mp4")], check=True, timeout=60)
