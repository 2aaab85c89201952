"""A text-to-image folder and a BEATs of random weights, and AudioToken's parts around them."""

from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from models.audiotoken.network import AudioTokenConfig, AudioTokenNetwork
from models.audiotoken.text_to_image_fit import PicturesConfig, TextAndUnet, autoencoder_of, tokenizer_of
from models.encoders.beats import save_beats
from models.encoders.beats_network import BeatsConfig, BeatsNetwork
from models.training.averaged import seeded

PICTURES = PicturesConfig(
    side_px=16, vae_widths=(8, 16), unet_widths=(8, 16), latent_channels=4, text_width=16, tokens=12
)
BEATS = BeatsConfig(
    patch_width=8, width=16, hidden=16, depth=3, heads=2, position_kernel=4, position_groups=4, buckets=8,
    max_distance=16,
)  # fmt: skip
TEXTS = ("a photo of rising chirp", "a photo of dog barking", "two-tone siren, 4k, high resolution")


def save_pictures(folder: Path, *, scheduler=DDIMScheduler, seed: int = 0, **settings) -> Path:
    """A pipeline of random weights."""
    tokenizer = tokenizer_of(TEXTS, PICTURES)
    networks = seeded(lambda: TextAndUnet(PICTURES, len(tokenizer)), seed)
    vae = seeded(lambda: autoencoder_of(PICTURES), seed)
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=networks.text_encoder,
        tokenizer=tokenizer,
        unet=networks.unet,
        scheduler=scheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, **settings
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(str(folder), safe_serialization=True)
    return folder


def save_listener(folder: Path, seed: int = 0) -> Path:
    """A BEATs of random weights."""
    return save_beats(seeded(lambda: BeatsNetwork(BEATS), seed), folder)


def embedder(seed: int = 0) -> AudioTokenNetwork:
    """An embedder for both, of random weights, ready for use."""
    config = AudioTokenConfig(heard_width=3 * BEATS.width, token_width=PICTURES.text_width)
    return seeded(lambda: AudioTokenNetwork(config), seed).eval()


def waves(count: int, samples: int = 8_000, seed: int = 0) -> torch.Tensor:
    """Noise at different levels, float32 (count, samples)."""
    noise = torch.randn(count, samples, generator=torch.Generator().manual_seed(seed))
    return 0.1 * noise * torch.arange(1, count + 1)[:, None]
