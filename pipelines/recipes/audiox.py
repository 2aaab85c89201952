"""The recipes `audiox-tiny`, `-small` and `-base`: AudioX at sizes from two CPU cores to GPUs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.dataset import Dataset
from curation.errors import ArgumentError, StoppedError
from curation.samples import Source
from models.audiox.conditioning import FramePatches
from models.audiox.encoder_source import ConditionSources, EncoderSource
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
from models.codecs.closed_form import MdctPcaConfig
from models.codecs.codec import load_codec
from models.training.world import World
from pipelines.recipes.data import Encoding, batches_of, data_identity, fitted_codec, latent_samples
from pipelines.recipes.options import RunOptions
from pipelines.training.board import watching
from pipelines.wiring.devices import device_name

FRAME_RATE_HZ = 5.0


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


def text_source(name_or_path: str) -> EncoderSource:
    """A text encoder by the kind that its configuration says.

    Raises:
        ArgumentError: It cannot be read, or is neither CLAP nor T5.
    """
    from transformers import AutoConfig

    try:
        kind = AutoConfig.from_pretrained(name_or_path).model_type
    except (OSError, ValueError) as error:
        raise ArgumentError(f"no text encoder can be loaded from {name_or_path!r}: {error}") from error
    if kind not in ("clap", "t5"):
        raise ArgumentError(f"the text encoder {name_or_path!r} is of kind {kind!r}; give a CLAP or a T5")
    return EncoderSource(kind=kind, path=name_or_path)


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
    loaded = load_codec(codec, device=world.device)
    recipe = size.recipe(
        latent_channels=loaded.latent_channels,
        text_width=conditions.text.text_encoder("cpu").text_width,
        **({} if options.clips is None else {"total_clips": options.clips}),
        seed=seed,
    )
    encoding = Encoding(codec=codec, name=size.name, frame_rate_hz=FRAME_RATE_HZ, frame_size_px=size.frame_size_px)
    sources = options.sources or (Source(dataset=dataset, generation=generation),)
    samples = latent_samples(sources, encoding, seconds=[seconds], world=world)
    last: dict[str, float] = {}
    with watching(folder, options, world, total=recipe.training.total_clips, last=last) as watchers:
        model = train_audiox(
            recipe,
            batches_of(samples, samples.plan(batch_size=recipe.batch_clips, seed=seed)),
            frozen=Frozen(codec=loaded, sources=conditions),
            folder=folder,
            data=data_identity(sources, seconds=seconds),
            world=world,
            execution=options.execution,
            watchers=watchers,
        )
    if model is None and world.is_first:
        raise StoppedError(f"the run in {folder} was stopped; the same command goes on from its last checkpoint")
    return {"clips": len(samples), "too_short": samples.too_short, **last}


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
