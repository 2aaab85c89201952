"""The recipes `audiomae-tiny`, `audiomae-speech-tiny` and `audiomae-base`: listeners trained without labels.

They are trained on the sounds of a generation. What comes out is in the run's folder `model`, which whatever takes an
AudioMAE reads: the language of audio for data sets without published weights.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from curation.dataset import Dataset
from curation.errors import ArgumentError, StoppedError
from models.encoders.audiomae_fit import (
    AudioMaeRecipe,
    audiomae_base,
    audiomae_speech_tiny,
    audiomae_tiny,
    train_audiomae,
)
from models.training.world import World
from pipelines.recipes.codec_windows import SoundWindows
from pipelines.recipes.data import generation_identity, open_shards
from pipelines.recipes.options import RunOptions
from pipelines.training.board import watching
from pipelines.wiring.devices import device_name


def train_audiomae_tiny(dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with `audiomae-tiny`; see `train_audiomae_recipe`."""
    return train_audiomae_recipe("audiomae-tiny", audiomae_tiny, dataset, folder, options)


def train_audiomae_speech_tiny(dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with `audiomae-speech-tiny`; see `train_audiomae_recipe`."""
    return train_audiomae_recipe("audiomae-speech-tiny", audiomae_speech_tiny, dataset, folder, options)


def train_audiomae_base(dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with `audiomae-base`; see `train_audiomae_recipe`."""
    return train_audiomae_recipe("audiomae-base", audiomae_base, dataset, folder, options)


def train_audiomae_recipe(
    name: str, recipe_of: Callable[..., AudioMaeRecipe], dataset: Dataset, folder: Path, options: RunOptions
) -> dict[str, Any]:
    """Train or go on with an AudioMAE.

    Args:
        name: Of the recipe.
        recipe_of: From the length of the run and the seed.
        dataset: With the generation.
        folder: Of the run.
        options: What the user said.

    Returns:
        What there is to say: clips, and the last loss; always guessing a patch's mean has a loss of about 1.

    Raises:
        ArgumentError: An option that it does not have, or samples longer than it can hear.
        StoppedError: The run was stopped before its end.
    """
    _check_options(name, options)
    world = World.join(device_name())
    recipe = recipe_of(**({} if options.clips is None else {"total_clips": options.clips}), seed=options.seed)
    if options.seconds is not None:
        recipe = _with_seconds(name, recipe, options.seconds)
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
        listener = train_audiomae(
            recipe,
            windows,
            folder=folder,
            data=generation_identity(dataset, options.generation),
            world=world,
            execution=options.execution,
            watchers=watchers,
        )
    if listener is None:
        if world.is_first:
            raise StoppedError(f"the run in {folder} was stopped; the same command goes on from its last checkpoint")
        return {}
    return {"clips": len(windows.shards) - len(windows.held_out), **last}


def _with_seconds(name: str, recipe: AudioMaeRecipe, seconds: float) -> AudioMaeRecipe:
    samples = round(seconds * recipe.sample_rate_hz)
    try:
        return replace(recipe, window_samples=samples, training=replace(recipe.training, clip_seconds=seconds))
    except ValueError as error:
        raise ArgumentError(f"--seconds {seconds:g} does not go with {name}: {error}") from error


def _check_options(name: str, options: RunOptions) -> None:
    if options.text_encoder is not None or options.codec is not None:
        raise ArgumentError(f"{name} listens to sounds alone; drop --text-encoder and --codec")
    if options.sources:
        raise ArgumentError(f"{name} takes one dataset, without weight or condition: --data DATASET[@GENERATION]")
