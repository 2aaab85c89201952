"""The recipes `audiox-tiny`, `-small` and `-base`: AudioX at sizes from two CPU cores to GPUs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.dataset import Dataset
from curation.errors import ArgumentError, StoppedError
from curation.latents import Extras
from curation.samples import Source
from models.audiox.conditioning import FramePatches
from models.audiox.encoder_source import ConditionSources, EncoderSource
from models.audiox.generate import AudioX
from models.audiox.network import AudioXNetwork
from models.audiox.recipes import (
    AudioXRecipe,
    Frozen,
    audiox_base,
    audiox_small,
    audiox_tiny,
    small_frames,
    tiny_frames,
    train_audiox,
)
from models.audiox.tasks import check_types, task_of
from models.codecs.closed_form import MdctPcaConfig
from models.training.world import World
from pipelines.evaluations.made_sounds import Making
from pipelines.makers.audiox import AudioXMaker
from pipelines.recipes.data import Encoding, batches_of, data_identity, fitted_codec, latent_samples
from pipelines.recipes.options import RunOptions
from pipelines.training.board import watching
from pipelines.training.evaluation import watched
from pipelines.training.sound_evaluation import sound_evaluation
from pipelines.wiring.codecs import load_numpy_codec
from pipelines.wiring.devices import device_name, loading
from pipelines.wiring.text_encoders import text_source

if TYPE_CHECKING:
    from torch import nn

    from models.audiox.conditioning import ConditionEncoders

FRAME_RATE_HZ = 5.0

TEACHERS = "clap"
"""Vectors of sounds that are distilled, where a recipe does so; the name that `embed` gives unless told otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """A recipe, and what it is trained on unless told otherwise.

    Attributes:
        name: Of the recipe, of its latents and of its codec.
        recipe: From the codec's latent channels, the text encoder's width, the length of the run and the seed.
        seconds: Length of a sample, s.
        frames: How pictures are seen.
        frame_size_px: Side of the stored pictures, px.
        codec: The closed-form codec that is fitted; None: a waveform codec has to be given.
        text_encoder: By name; None: the dataset's own clap-tiny.
    """

    name: str
    recipe: Callable[..., AudioXRecipe]
    seconds: float
    frames: FramePatches | EncoderSource
    frame_size_px: int
    codec: MdctPcaConfig | None
    text_encoder: str | None = None

    def encoding(self, codec: str, text: EncoderSource) -> Encoding:
        """What clips and their texts are encoded to, with a codec by folder or name.

        Patches of pixels are cut in the step; tokens of an encoder may be kept.
        """
        return Encoding(
            codec=codec,
            name=self.name,
            frame_rate_hz=FRAME_RATE_HZ,
            frame_size_px=self.frame_size_px,
            text=text,
            frames=self.frames if isinstance(self.frames, EncoderSource) else None,
        )


_CODEC = MdctPcaConfig(sample_rate_hz=16_000, channels=1, hop_samples=400, latent_channels=96)
TINY = Size(
    name="audiox-tiny",
    recipe=audiox_tiny,
    seconds=4.0,
    frames=tiny_frames(),
    frame_size_px=tiny_frames().side_px,
    codec=_CODEC,
)
SMALL = Size(
    name="audiox-small",
    recipe=audiox_small,
    seconds=5.0,
    frames=small_frames(),
    frame_size_px=small_frames().side_px,
    codec=_CODEC,
)
BASE = Size(
    name="audiox-base",
    recipe=audiox_base,
    seconds=10.0,
    frames=EncoderSource(kind="clip", path="openai/clip-vit-base-patch32"),
    frame_size_px=224,
    codec=None,
    text_encoder="google-t5/t5-base",
)


def _extras(recipe: AudioXRecipe) -> Extras:
    """What the recipe's samples have beside latents, pictures and texts."""
    tasks = recipe.objective.tasks
    heard = {} if tasks is None or not recipe.network.adapters.audio else tasks.weights
    completes = any(weight > 0 and task_of(f"{name}_condition-music").audio for name, weight in heard.items())
    return Extras(
        before=tasks is not None and tasks.music > 0 and completes,
        teachers=TEACHERS if recipe.objective.distillation.weight > 0 else None,
    )


def _own_clap(dataset: Dataset, name: str) -> str:
    """The folder of the CLAP that was trained on the dataset.

    Raises:
        ArgumentError: There is none.
    """
    own = dataset.folder("runs") / "clap-tiny" / "model"
    if not own.is_dir():
        raise ArgumentError(
            f"{name} needs a text encoder: give --text-encoder laion/clap-htsat-unfused (or a T5, or a folder), "
            f"or train one on this dataset: foundsound train clap-tiny --data {dataset.path}"
        )
    return str(own)


def train_audiox_tiny(dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with `audiox-tiny`; see `train_size`."""
    return train_size(TINY, dataset, folder, options)


def train_audiox_small(dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with `audiox-small`; see `train_size`."""
    return train_size(SMALL, dataset, folder, options)


def train_audiox_base(dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with `audiox-base`; see `train_size`."""
    return train_size(BASE, dataset, folder, options)


def train_size(size: Size, dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with a recipe of AudioX.

    Args:
        size: Which one.
        dataset: With the generation.
        folder: Of the run.
        options: What the user said.

    Returns:
        What there is to say: clips trained on, clips seen, last loss.

    Raises:
        ArgumentError: There is no text encoder or no codec.
    """
    text = options.text_encoder or size.text_encoder or _own_clap(dataset, size.name)
    conditions = ConditionSources(text=text_source(text), frames=size.frames)
    generation, seed, world = options.generation, options.seed, World.join(device_name())
    seconds = size.seconds if options.seconds is None else options.seconds
    codec = _codec(size, dataset, options, world)
    loaded = load_numpy_codec(codec, str(world.device)).codec
    with loading("text encoder", text):
        text_width = conditions.text.text_encoder("cpu").text_width
    recipe = size.recipe(
        latent_channels=loaded.latent_channels,
        text_width=text_width,
        **({} if options.clips is None else {"total_clips": options.clips}),
        seed=seed,
    )
    recipe, learning = _learning_as_asked(recipe, options), options.learning
    encoding, extras = size.encoding(codec, conditions.text), _extras(recipe)
    sources = options.sources or (Source(dataset=dataset, generation=generation),)
    lengths_s = [seconds, *learning.also_seconds]
    samples = latent_samples(sources, encoding, seconds=lengths_s, world=world, extras=extras, raw=options.raw)
    check_types(samples.types, reads_sound=recipe.network.adapters.audio)
    last: dict[str, float] = {}
    frozen = Frozen(codec=loaded, sources=conditions)
    evaluation = sound_evaluation(
        options.evaluation,
        folder=folder,
        source=sources[0],
        making=Making(seconds=seconds, seed=seed),
        maker_of=_maker_of(frozen, recipe.objective.path, world),
        world=world,
    )
    with watching(folder, options, world, total=recipe.training.total_clips, last=last) as watchers:
        model = train_audiox(
            recipe,
            batches_of(samples, samples.plan(batch_size=recipe.batch_clips, seed=seed)),
            frozen=frozen,
            folder=folder,
            data=data_identity(sources, seconds=seconds, also_seconds=learning.also_seconds, extras=extras),
            world=world,
            execution=options.execution,
            watchers=watched(watchers, options.evaluation, evaluation),
        )
    if model is None and world.is_first:
        raise StoppedError(f"the run in {folder} was stopped; the same command goes on from its last checkpoint")
    return {"clips": len(samples), "too_short": samples.too_short, **last}


def _learning_as_asked(recipe: AudioXRecipe, options: RunOptions) -> AudioXRecipe:
    """The recipe with the optimizer that the user named, and samples as often as they said."""
    recipe = replace(recipe, training=options.evaluation.timed(recipe.training))
    if options.learning.optimizer is None:
        return recipe
    optimizer = replace(recipe.training.optimizer, name=options.learning.optimizer)
    return replace(recipe, training=replace(recipe.training, optimizer=optimizer))


def _maker_of(frozen: Frozen, path: str, world: World) -> "Callable[[nn.Module], AudioXMaker]":
    """Puts the parts of a model around its network while it is trained."""

    @cache
    def encoders() -> "ConditionEncoders":
        return frozen.sources.encoders(world.device)

    def maker_of(network: "nn.Module") -> AudioXMaker:
        if not isinstance(network, AudioXNetwork):
            raise TypeError(f"the averaged network is a {type(network).__name__}, not an AudioXNetwork")
        return AudioXMaker(AudioX(network, codec=frozen.codec, encoders=encoders(), path=path))

    return maker_of


def _codec(size: Size, dataset: Dataset, options: RunOptions, world: World) -> str:
    """The codec's folder or name; a closed-form one is fitted, in one process for all, unless one is given.

    Raises:
        ArgumentError: None is given, and the recipe fits none.
    """
    if options.codec is not None:
        return options.codec
    if size.codec is None:
        raise ArgumentError(
            f"{size.name} needs a waveform codec: give --codec with a folder that holds an AutoencoderOobleck "
            "(as the folder `vae` of stabilityai/stable-audio-open-1.0)"
        )
    if world.is_first:
        fitted_codec(dataset, options.generation, name=size.name, config=size.codec, seed=options.seed)
    world.wait()
    return str(dataset.folder("codecs") / size.name)
