"""How well a trained codec gives real sounds back, against the closed-form codec with as many latents a second.

FOUNDSOUND_CODEC names the codec, a folder or a run; without it a codec-tiny is trained for a moment, which shows that
the code runs and nothing else. Quality is the inverse of the mel distance, so the ratio is that of the closed form's
distance to the trained one's. Beside it: SI-SDR of both, and of the closed form that the small recipes use.

With FOUNDSOUND_REAL_DATA the sounds are those of every fifth source of ESC-50, which the closed form is not fitted on;
without, made ones. Whether the codec that is named was trained on them is for the one who names it to know.
"""

import csv
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch

from benchmarks import Measured
from models.codecs.closed_form import MdctPca, MdctPcaConfig
from models.codecs.codec import Codec, load_codec
from models.codecs.recipes import codec_tiny, train_codec
from models.metrics.reconstruction import Reconstruction, reconstruction
from models.training.world import World

RATE_HZ = 16_000
SMALL_RECIPES = MdctPcaConfig(sample_rate_hz=RATE_HZ, channels=1, hop_samples=400, latent_channels=96)


def real_sounds(folder: Path) -> tuple[list[np.ndarray], list[np.ndarray], int]:
    """Recordings to fit on and held-out ones, float32 (T,), and their rate."""
    with (folder / "esc50.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    kept_sources = set(sorted({row["src_file"] for row in rows})[::5])
    fit: list[np.ndarray] = []
    kept: list[np.ndarray] = []
    for row in rows:
        wave, rate_hz = soundfile.read(folder / "esc50" / row["filename"], dtype="float32")
        (kept if row["src_file"] in kept_sources else fit).append(wave)
    return fit, kept, rate_hz


def made_sounds() -> tuple[list[np.ndarray], list[np.ndarray], int]:
    """Tones and noises, likewise."""
    time_s = np.arange(2 * RATE_HZ) / RATE_HZ
    made = []
    for number in range(24):
        rng = np.random.default_rng(number)
        tone = np.sin(2 * np.pi * rng.uniform(100, 4000) * time_s) * np.exp(-rng.uniform(0, 3) * time_s)
        made.append((0.3 * tone + 0.05 * rng.standard_normal(len(time_s))).astype(np.float32))
    return made[:18], made[18:], RATE_HZ


def at_rate(waves: list[np.ndarray], rate_hz: int, wanted_hz: int, channels: int) -> list[torch.Tensor]:
    """Sounds (C, T) at another rate, the same on all channels."""
    resampled = [np.asarray(soxr.resample(wave, rate_hz, wanted_hz), np.float32) for wave in waves]
    return [torch.from_numpy(wave).expand(channels, -1) for wave in resampled]


def momentary(waves: list[torch.Tensor], clips: int) -> Codec:
    """A codec-tiny after so many clips."""
    recipe = codec_tiny(total_clips=clips)
    recipe = replace(recipe, training=replace(recipe.training, report_every_clips=clips))
    samples = recipe.window_samples

    def waves_at(number: int, rows: range) -> dict[str, object]:
        found = []
        for row in rows:
            rng = np.random.default_rng([number, row])
            wave = waves[int(rng.integers(len(waves)))]
            begin = int(rng.integers(max(1, wave.shape[1] - samples)))
            found.append(torch.nn.functional.pad(wave, (0, samples))[:, begin : begin + samples])
        return {"keys": [str(row) for row in rows], "waves": torch.stack(found)}

    with tempfile.TemporaryDirectory() as name:
        codec = train_codec(recipe, waves_at, folder=Path(name), data={}, world=World(device=torch.device("cpu")))
    if codec is None:
        raise RuntimeError("the training was stopped, so there is no codec to measure")
    return codec


def closed_form(waves: list[torch.Tensor], trained: Codec) -> MdctPca:
    """A closed-form codec with the frames and channels of another."""
    config = MdctPcaConfig(
        sample_rate_hz=trained.sample_rate_hz,
        channels=trained.channels,
        hop_samples=trained.hop_samples,
        latent_channels=trained.latent_channels,
    )
    return MdctPca.fit(waves, config)


def numbers(name: str, codec: Codec, found: Reconstruction) -> Measured:
    return {
        f"{name}_si_sdr_db": found.si_sdr_db,
        f"{name}_mel_distance": found.mel_distance,
        f"{name}_numbers_a_second": codec.latent_rate_hz * codec.latent_channels,
    }


def measure(clips: int = 64) -> Measured:
    data = Path(os.environ.get("FOUNDSOUND_REAL_DATA", "../shared/data")) / "media" / "sounds"
    fit, kept, rate_hz = real_sounds(data) if data.is_dir() else made_sounds()
    given = os.environ.get("FOUNDSOUND_CODEC")
    trained = load_codec(given) if given else momentary(at_rate(fit, rate_hz, RATE_HZ, 1), clips)
    fit_on, kept_for = (at_rate(waves, rate_hz, trained.sample_rate_hz, trained.channels) for waves in (fit, kept))
    closed = closed_form(fit_on, trained)
    small = MdctPca.fit(at_rate(fit, rate_hz, RATE_HZ, 1), SMALL_RECIPES)
    ours, theirs = reconstruction(trained, kept_for), reconstruction(closed, kept_for)
    return {
        "ratio": theirs.mel_distance / ours.mel_distance,
        "peer": f"the closed-form codec with as many latents, {'real' if data.is_dir() else 'made'} sounds",
        "sounds": ours.sounds,
        **numbers("trained", trained, ours),
        **numbers("closed_form", closed, theirs),
        **numbers("small_recipes", small, reconstruction(small, at_rate(kept, rate_hz, RATE_HZ, 1))),
    }
