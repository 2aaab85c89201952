"""What is left of a sound behind a codec keeps its length, its rate and most of its energy."""

from pathlib import Path

import numpy as np
import soundfile
import torch

from benchmarks.evidence.codec_ceiling import through_codec
from models.codecs.closed_form import MdctPca, MdctPcaConfig

RATE_HZ = 8_000


def test_a_sound_comes_back_as_long_and_alike(tmp_path: Path) -> None:
    time_s = np.arange(2 * RATE_HZ) / RATE_HZ
    tones = [0.4 * np.sin(2 * np.pi * hz * time_s).astype(np.float32) for hz in (300, 500, 700, 900)]
    config = MdctPcaConfig(sample_rate_hz=RATE_HZ, channels=1, hop_samples=200, latent_channels=48)
    MdctPca.fit((torch.from_numpy(tone)[None] for tone in tones), config).save(tmp_path / "codec")
    soundfile.write(tmp_path / "tone.flac", tones[1], RATE_HZ)
    (made,) = through_codec([tmp_path / "tone.flac"], tmp_path / "codec", tmp_path / "out", seconds=1.0)
    back, rate_hz = soundfile.read(made, dtype="float32")
    assert rate_hz == RATE_HZ and back.shape == (RATE_HZ,)
    assert np.mean((back - tones[1][:RATE_HZ]) ** 2) < 0.1 * np.mean(tones[1] ** 2)
    (again,) = through_codec([tmp_path / "tone.flac"], tmp_path / "codec", tmp_path / "out", seconds=1.0)
    assert again == made
