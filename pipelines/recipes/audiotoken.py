"""The recipes `audiotoken-tiny` and `audiotoken-base`: sounds as words of a frozen text-to-image model."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from curation.dataset import Dataset
from curation.encode_pictures import StoredPictures
from curation.errors import ArgumentError, StoppedError
from curation.names import plain_name
from models.audiotoken import AudioToken
from models.audiotoken.generate import FrozenSources
from models.audiotoken.network import AudioTokenNetwork
from models.audiotoken.objective import AudioTokenObjective
from models.audiotoken.recipes import (
    WINDOW_S,
    AudioTokenRecipe,
    Frozen,
    audiotoken_base,
    audiotoken_labels_base,
    audiotoken_tiny,
    train_audiotoken,
)
from models.audiotoken.text_to_image import TextToImage
from models.encoders.beats import Beats
from models.training.world import World
from pipelines.makers.audiotoken import AudioTokenMaker
from pipelines.recipes.data import generation_identity, open_shards
from pipelines.recipes.options import RunOptions
from pipelines.recipes.sounded_pictures import SoundedPictures, with_pictures
from pipelines.runner import Job, run_in_turn
from pipelines.training.board import watching
from pipelines.training.evaluation import watched
from pipelines.training.picture_evaluation import picture_evaluation
from pipelines.wiring.devices import device_name
from pipelines.wiring.text_to_image import encode_pictures_stage, frozen_sources, load_beats, load_text_to_image

PICTURE_RATE_HZ = {"audiotoken-tiny": 4.0, "audiotoken-base": 1.0, "audiotoken-labels-base": 1.0}
"""Pictures a second of which one is drawn. Source: ours; at 1 Hz the latents of Stable Diffusion are 655 kB a clip of
10 s."""

PUBLISHED_PICTURES = "CompVis/stable-diffusion-v1-4"
PUBLISHED_LISTENER = "WeiChihChen/BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2"
"""What `audiotoken-base` speaks to and listens with unless told otherwise. Source: AudioToken."""

TINY_WINDOW_S = 3.0
"""Source: ours; windows that have some room in the 4 s of the quickstart's clips."""


def train_audiotoken_tiny(dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with `audiotoken-tiny`, on the dataset's own `pictures-tiny` and `beats-tiny` unless told."""
    runs = dataset.folder("runs")
    pictures = options.pictures or _own(runs / "pictures-tiny", "pictures", dataset)
    listener = options.listener or _own(runs / "beats-tiny", "listener", dataset)
    return train_recipe(
        "audiotoken-tiny", audiotoken_tiny, frozen_sources(pictures, listener), dataset, folder, options
    )


def train_audiotoken_base(dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with `audiotoken-base`, on Stable Diffusion 1.4 and the published BEATs unless told otherwise."""
    return train_recipe("audiotoken-base", audiotoken_base, _published(options), dataset, folder, options)


def train_audiotoken_labels_base(dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with `audiotoken-labels-base`: the same with the classification loss, on labels of the clips."""
    return train_recipe("audiotoken-labels-base", audiotoken_labels_base, _published(options), dataset, folder, options)


def _published(options: RunOptions) -> FrozenSources:
    return frozen_sources(options.pictures or PUBLISHED_PICTURES, options.listener or PUBLISHED_LISTENER)


def train_recipe(
    name: str,
    recipe_of: Callable[..., AudioTokenRecipe],
    sources: FrozenSources,
    dataset: Dataset,
    folder: Path,
    options: RunOptions,
) -> dict[str, Any]:
    """Train or go on with a recipe of AudioToken.

    Args:
        name: Of the recipe, and of the latents of pictures.
        recipe_of: From the widths of the frozen models, the length of the run and the seed.
        sources: Where the frozen models are.
        dataset: With the generation.
        folder: Of the run.
        options: What the user said.

    Returns:
        What there is to say: clips with pictures, and the last losses.

    Raises:
        ArgumentError: An option it does not have, or a frozen model that cannot be loaded.
        StoppedError: The run was stopped before its end.
    """
    where, world = checked_source(name, options), World.join(device_name())
    model, listener = _frozen_models(sources, str(world.device))
    frozen = Frozen(pictures=model, listener=listener, sources=sources)
    recipe = _recipe(recipe_of, model, listener, options)
    batches = _batches(name, dataset, options, recipe, frozen, world)
    evaluation = picture_evaluation(
        options.evaluation,
        folder=folder,
        batches=batches,
        objective=AudioTokenObjective(recipe.objective, model, listener),
        maker_of=partial(_maker, recipe, frozen),
        world=world,
    )
    data = {**generation_identity(dataset, options.generation), **({} if where is None else {"where": where})}
    drawn = {"seconds": _seconds(name, options), "picture_rate_hz": PICTURE_RATE_HZ[name]}
    last: dict[str, float] = {}
    with watching(folder, options, world, total=recipe.training.total_clips, last=last) as watchers:
        trained = train_audiotoken(
            recipe,
            batches,
            frozen=frozen,
            folder=folder,
            data={**data, **drawn},
            world=world,
            execution=options.execution,
            watchers=watched(watchers, options.evaluation, evaluation),
        )
    if trained is None and world.is_first:
        raise StoppedError(f"the run in {folder} was stopped; the same command goes on from its last checkpoint")
    return {"clips": len(batches.clips), **last}


def _seconds(name: str, options: RunOptions) -> float:
    """Length of a window, s."""
    return options.seconds or (TINY_WINDOW_S if name == "audiotoken-tiny" else WINDOW_S)


def _batches(
    name: str, dataset: Dataset, options: RunOptions, recipe: AudioTokenRecipe, frozen: Frozen, world: World
) -> SoundedPictures:
    """What is trained on."""
    shards, model = open_shards(dataset, options.generation), frozen.pictures
    clips = with_pictures(dataset, shards, checked_source(name, options))
    keys = [shards.key(clip) for clip in clips]
    return SoundedPictures(
        shards=shards,
        clips=clips,
        sample_rate_hz=frozen.listener.sample_rate_hz,
        window_samples=round(_seconds(name, options) * frozen.listener.sample_rate_hz),
        picture_rate_hz=PICTURE_RATE_HZ[name],
        side_px=model.picture_side_px,
        batch_clips=recipe.batch_clips,
        seed=options.seed,
        stored=None if options.raw else _stored(dataset, frozen.sources.pictures, model, name, keys, world),
    )


def _maker(recipe: AudioTokenRecipe, frozen: Frozen, network: nn.Module) -> AudioTokenMaker:
    """Puts the frozen models around an embedder while it is trained."""
    if not isinstance(network, AudioTokenNetwork):
        raise TypeError(f"the averaged network is a {type(network).__name__}, not an AudioTokenNetwork")
    prompt = recipe.objective.prompt
    return AudioTokenMaker(AudioToken(network, pictures=frozen.pictures, listener=frozen.listener, prompt=prompt))


def _frozen_models(sources: FrozenSources, device: str) -> tuple[TextToImage, Beats]:
    return load_text_to_image(sources.pictures, device), load_beats(sources.listener, device)


def _recipe(
    recipe_of: Callable[..., AudioTokenRecipe], model: TextToImage, listener: Beats, options: RunOptions
) -> AudioTokenRecipe:
    """A recipe that fits the frozen models, as long as the user said, and with samples as often."""
    length = {} if options.clips is None else {"total_clips": options.clips}
    widths = {"heard_width": listener.dimension, "token_width": model.token_width}
    recipe = recipe_of(**widths, **length, seed=options.seed)
    return replace(recipe, training=options.evaluation.timed(recipe.training))


def checked_source(name: str, options: RunOptions) -> str | None:
    """The condition of the one dataset that a recipe takes.

    Raises:
        ArgumentError: Several datasets, or an option that the recipe does not have.
    """
    if options.text_encoder is not None or options.codec is not None:
        raise ArgumentError(
            f"{name} has its frozen models by --pictures and --listener; drop --text-encoder and --codec"
        )
    if len(options.sources) > 1 or any(source.weight is not None for source in options.sources):
        raise ArgumentError(f"{name} takes one dataset, without a weight: --data DATASET[@GENERATION][?CONDITION]")
    return options.sources[0].where if options.sources else None


def _stored(
    dataset: Dataset, pictures: str, model: TextToImage, name: str, keys: list[str], world: World
) -> StoredPictures:
    """The latents of the clips' pictures; what is pending is encoded, in one process for all."""
    called = plain_name(name, "set of latents")
    if world.is_first:
        stage = encode_pictures_stage(dataset, pictures, model, rate_hz=PICTURE_RATE_HZ[name], called=called)
        run_in_turn(dataset, Job(stage=stage, queue=partial(dataset.pending, stage), batch_rows=32, gpu=True))
    world.wait()
    return StoredPictures.of(dataset, called, keys)


def _own(run_folder: Path, option: str, dataset: Dataset) -> str:
    """A frozen model that was trained on the dataset.

    Raises:
        ArgumentError: There is none.
    """
    if not (run_folder / "model").is_dir():
        raise ArgumentError(
            f"audiotoken-tiny needs a frozen model: give --{option}, or train one on this dataset: "
            f"foundsound train {run_folder.name} --data {dataset.path}"
        )
    return str(run_folder)
