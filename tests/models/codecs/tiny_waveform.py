"""A waveform autoencoder with its judge that trains in a second, and sounds for it."""

from dataclasses import replace

import numpy as np
import torch

from models.codecs.discriminator import DiscriminatorConfig
from models.codecs.losses import SpectralSettings
from models.codecs.recipes import CodecRecipe
from models.codecs.waveform_vae import CodecLossSettings, WaveformVaeConfig
from models.training.ema import EmaSettings
from models.training.loop import TrainSettings
from models.training.schedule import Schedule

SIZE = WaveformVaeConfig(
    sample_rate_hz=16_000, channels=1, latent_channels=3, strides=(2, 4), multiples=(1, 2), decoder_width=4
)
RECIPE = CodecRecipe(
    autoencoder=SIZE,
    judge=DiscriminatorConfig(channels=1, windows_samples=(64,), filters=2),
    losses=CodecLossSettings(spectra=SpectralSettings(windows_samples=(64, 32), sample_rate_hz=16_000), wave=1.0),
    training=TrainSettings(
        seed=5,
        total_clips=16,
        schedule=Schedule(peak=1e-2, warmup_clips=4),
        ema=EmaSettings(halflife_clips=8, rampup_ratio=0.5),
        report_every_clips=2,
        save_every_clips=6,
    ),
    batch_clips=2,
    window_samples=128,
)

SLOW_RECIPE = replace(RECIPE, training=replace(RECIPE.training, schedule=Schedule(peak=1e-4, warmup_clips=4)))
"""With a rate at which two opponents do not make much of rounding."""


def waves_at(number, rows):
    waves = [np.random.default_rng([number, row]).uniform(-0.5, 0.5, (1, 128)).astype(np.float32) for row in rows]
    return {"keys": [f"{number}-{row}" for row in rows], "waves": torch.from_numpy(np.stack(waves))}
