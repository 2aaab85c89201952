"""The recipes `codec-tiny`, `codec-44k` and `mel-vae-tiny`: codecs trained on the sounds of a generation.

What is trained is measured on clips that were kept out, beside a closed-form codec with the same number of latents,
since that one costs nothing.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from curation.dataset import Dataset
from curation.errors import ArgumentError, StoppedError
from models.codecs.closed_form import MdctPca, MdctPcaConfig
from models.codecs.codec import Codec
from models.codecs.mel_training import MelVaeRecipe, mel_vae_tiny, train_mel_vae
from models.codecs.recipes import CodecRecipe, codec_44k, codec_tiny, train_codec
from models.metrics.reconstruction import reconstruction
from models.training.world import World
from pipelines.recipes.codec_windows import SoundWindows
from pipelines.recipes.data import generation_identity, open_shards
from pipelines.recipes.options import RunOptions
from pipelines.training.board import watching
from pipelines.wiring.devices import device_name

# Ours: the closed form's cost grows with the cube of a frame's coefficients, to minutes at these; with more it is not
# compared.
LARGEST_FRAME = 4_096


def train_codec_tiny(dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with `codec-tiny`; see `train_codec_recipe`."""
    return train_codec_recipe("codec-tiny", codec_tiny, train_codec, dataset, folder, options)


def train_codec_44k(dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with `codec-44k`; see `train_codec_recipe`."""
    return train_codec_recipe("codec-44k", codec_44k, train_codec, dataset, folder, options)


def train_mel_vae_tiny(dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with `mel-vae-tiny`; see `train_codec_recipe`."""
    return train_codec_recipe("mel-vae-tiny", mel_vae_tiny, train_mel_vae, dataset, folder, options)


def train_codec_recipe(
    name: str,
    recipe_of: Callable[..., CodecRecipe | MelVaeRecipe],
    train: Callable[..., Codec | None],
    dataset: Dataset,
    folder: Path,
    options: RunOptions,
) -> dict[str, Any]:
    """Train or go on with a codec; `--codec FOLDER` then takes the run's folder.

    Args:
        name: Of the recipe.
        recipe_of: From the length of the run and the seed.
        train: What trains it.
        dataset: With the generation.
        folder: Of the run.
        options: What the user said.

    Returns:
        What there is to say: clips, last losses, and how well clips that were kept out come back.

    Raises:
        ArgumentError: An option that codecs do not have.
        StoppedError: The run was stopped before its end.
    """
    check_options(name, options)
    world = World.join(device_name())
    recipe = recipe_of(**({} if options.clips is None else {"total_clips": options.clips}), seed=options.seed)
    if options.seconds is not None:
        hops = max(1, round(options.seconds * recipe.sample_rate_hz / recipe.hop_samples))
        training = replace(recipe.training, clip_seconds=hops * recipe.hop_samples / recipe.sample_rate_hz)
        recipe = replace(recipe, window_samples=hops * recipe.hop_samples, training=training)
    windows = SoundWindows(
        shards=open_shards(dataset, options.generation),
        sample_rate_hz=recipe.sample_rate_hz,
        channels=recipe.channels,
        window_samples=recipe.window_samples,
        batch_clips=recipe.batch_clips,
        seed=options.seed,
    )
    last: dict[str, float] = {}
    with watching(folder, options, world, total=recipe.training.total_clips, last=last) as watchers:
        codec = train(
            recipe,
            windows,
            folder=folder,
            data=generation_identity(dataset, options.generation),
            world=world,
            execution=options.execution,
            watchers=watchers,
        )
    if codec is None:
        if world.is_first:
            raise StoppedError(f"the run in {folder} was stopped; the same command goes on from its last checkpoint")
        return {}
    return {"clips": len(windows.shards) - len(windows.held_out), **last, **compared(codec, windows)}


def check_options(name: str, options: RunOptions) -> None:
    """Refuse what a recipe of a codec cannot take.

    Raises:
        ArgumentError: Says which option.
    """
    if options.text_encoder is not None or options.codec is not None:
        raise ArgumentError(f"{name} trains a codec from sounds alone; drop --text-encoder and --codec")
    if options.sources:
        raise ArgumentError(f"{name} takes one dataset, without weight or condition: --data DATASET[@GENERATION]")


def compared(codec: Codec, windows: SoundWindows) -> dict[str, float]:
    """How a codec gives back the clips that were kept out, and how a closed-form one with as many latents does."""
    device = device_name()
    kept = windows.waves(windows.held_out)
    ours = reconstruction(codec, kept, device=device)
    facts = {"held_out": float(ours.sounds), "si_sdr_db": ours.si_sdr_db, "mel_distance": ours.mel_distance}
    if codec.channels * codec.hop_samples > LARGEST_FRAME:
        return facts
    config = MdctPcaConfig(
        sample_rate_hz=codec.sample_rate_hz,
        channels=codec.channels,
        hop_samples=codec.hop_samples,
        latent_channels=min(codec.latent_channels, codec.channels * codec.hop_samples),
    )
    closed = reconstruction(MdctPca.fit(windows.waves(windows.fitting), config), kept)
    return {**facts, "closed_form_si_sdr_db": closed.si_sdr_db, "closed_form_mel_distance": closed.mel_distance}
