"""A tiny mel autoencoder and vocoder of random weights, of AudioLDM 2's spectrograms."""

import torch

from models.codecs.mel_training import MelVaeConfig

SIZE = MelVaeConfig(
    latent_channels=2,
    widths=(8, 8, 8),
    layers=1,
    vocoder_width=32,
    strides=(5, 4, 2, 2, 2),
    kernels=(16, 16, 8, 4, 4),
)
"""With the published kernels, of which the first makes each sound longer than its frames."""


def save_parts(folder):
    """Writes `vae` and `vocoder` as diffusers and transformers do, without our code."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        SIZE.build_vae().save_pretrained(str(folder / "vae"))
        SIZE.build_vocoder().save_pretrained(str(folder / "vocoder"))
    return folder
