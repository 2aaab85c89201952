"""What is left of real sounds behind a codec: the most that a model of its latents can reach."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import torch

from models.codecs.codec import load_codec
from pipelines.evaluations.sound_sets import decoded


def through_codec(files: Sequence[Path], codec: Path, out: Path, seconds: float) -> list[Path]:
    """Sounds encoded and decoded again, as 16-bit wav at the codec's rate; those that are there are kept.

    Args:
        files: Real sounds.
        codec: Folder of the codec.
        out: Folder for the results, under the names of the files.
        seconds: No more of a sound is taken.
    """
    loaded = load_codec(str(codec))
    out.mkdir(parents=True, exist_ok=True)
    made = []
    for file in files:
        made.append(out / f"{file.stem}.wav")
        if made[-1].is_file():
            continue
        wave_T = decoded(file.read_bytes(), loaded.sample_rate_hz, str(file), seconds)
        wave_1CT = torch.from_numpy(wave_T).expand(1, loaded.channels, -1)
        with torch.no_grad():
            back_CT = loaded.decode(loaded.encode(wave_1CT))[0].clamp(-1, 1).numpy()
        write_wav(made[-1], back_CT[:, : len(wave_T)], loaded.sample_rate_hz)
    return made


def write_wav(file: Path, wave_CT: npt.NDArray[np.float32], rate_hz: int) -> None:
    """A wav that appears under its name when it is whole."""
    part = file.with_suffix(".part")
    soundfile.write(part, wave_CT.T, rate_hz, subtype="PCM_16", format="WAV")
    part.replace(file)
