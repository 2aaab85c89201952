"""Media made for tests: known samples and known frames, encoded by the same ffmpeg binary that cuts them."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from curation.programs.ffmpeg import ffmpeg_path

Encode = Callable[..., Path]


@pytest.fixture
def encode(tmp_path: Path) -> Encode:
    """`encode(name, sound, rate_hz, frames, frame_rate_hz, codecs, sound_late_s, picture_late_s)` -> the file.

    `sound` has shape (samples, channels), `frames` (frames, height, width) of uint8; either may be None.
    """
    made = tmp_path / "made"
    made.mkdir()

    def make(
        name: str,
        sound: np.ndarray | None = None,
        rate_hz: int = 48_000,
        frames: np.ndarray | None = None,
        frame_rate_hz: int = 25,
        codecs: str = "",
        sound_late_s: float = 0.0,
        picture_late_s: float = 0.0,
    ) -> Path:
        inputs: list[str] = []
        if sound is not None:
            soundfile.write(made / "sound.wav", sound, rate_hz, subtype="PCM_16")
            inputs += ["-itsoffset", str(sound_late_s), "-i", str(made / "sound.wav")]
        if frames is not None:
            (made / "frames.raw").write_bytes(np.ascontiguousarray(frames).tobytes())
            size = f"{frames.shape[2]}x{frames.shape[1]}"
            raw = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", size, "-framerate", str(frame_rate_hz)]
            inputs += ["-itsoffset", str(picture_late_s), *raw, "-i", str(made / "frames.raw")]
            codecs += " -fps_mode passthrough"
        command = [ffmpeg_path(), "-v", "error", "-y", *inputs, *codecs.split(), str(made / name)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=60)
        return made / name

    return make


@pytest.fixture
def break_picture() -> Callable[[Path], None]:
    """`break_picture(path)` overwrites what the picture's packets hold, not the file's structure."""

    def overwrite(path: Path) -> None:
        with av.open(path) as container:
            places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
        content = bytearray(path.read_bytes())
        for place, size in places:
            content[place : place + size] = bytes([255]) * size
        path.write_bytes(content)

    return overwrite
