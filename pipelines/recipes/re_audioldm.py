"""The recipes `re-audioldm-tiny`, `-small` and `-large`: Re-AudioLDM at sizes from a CPU core to GPUs.

Neighbours are those that `foundsound neighbours` stored; what is heard in them and what they say is encoded once.
Without retrieval the same recipes are AudioLDM.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.dataset import Dataset
from curation.errors import ArgumentError, StoppedError
from curation.latents import Extras
from curation.samples import Source
from curation.stored_neighbours import NeighboursWanted
from models.codecs.codec import Codec
from models.model_folder import RUN_MODEL
from models.re_audioldm import ReAudioLDM
from models.re_audioldm.conditioning import EncoderSources, FrozenEncoders
from models.re_audioldm.network import ReAudioLdmNetwork
from models.re_audioldm.recipes import (
    Frozen,
    ReAudioLdmRecipe,
    Widths,
    re_audioldm_large,
    re_audioldm_small,
    re_audioldm_tiny,
    train_re_audioldm,
)
from models.training.world import World
from pipelines.evaluations.made_sounds import Making
from pipelines.makers.re_audioldm import SYSTEM, ReAudioLdmMaker
from pipelines.makers.stored import StoredNeighbourhoods
from pipelines.recipes.data import Encoding, batches_of, data_identity, latent_samples, whole_frames_s
from pipelines.recipes.options import RunOptions
from pipelines.runner import Job, run_in_turn
from pipelines.training.board import watching
from pipelines.training.evaluation import watched
from pipelines.training.sound_evaluation import sound_evaluation
from pipelines.wiring.codecs import load_numpy_codec
from pipelines.wiring.devices import device_name, loading
from pipelines.wiring.embedders import embed_text_stage, load_clap
from pipelines.wiring.language_of_audio import load_audiomae
from pipelines.wiring.text_encoders import text_source
from retrieval_index.embed_text import EmbedText
from retrieval_index.neighbours import read_neighbours, read_neighbours_manifest

if TYPE_CHECKING:
    from torch import nn

VECTORS = "clap"
"""Name of the vectors of prompts where no neighbours name theirs; that which `embed` gives unless told otherwise."""

TEXTS_AT_ONCE = 256

FRAME_RATE_HZ, FRAME_SIZE_PX = 1.0, 16
"""Of the pictures that `encode` keeps of clips that have one; nothing here reads them. Source: ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """A recipe, and what it is trained on unless told otherwise.

    Attributes:
        name: Of the recipe, of its latents and of its codec.
        recipe: From the widths of its parts, what is read of how many neighbours, the length of the run and the seed.
        seconds: Length of a sample, s.
        own_codec: The recipe whose run on the dataset is the codec; None: one has to be given.
        clap: By name; None: the dataset's own clap-tiny.
        text_encoder: Likewise.
        listener: By name; None: the dataset's own audiomae-tiny.
    """

    name: str
    recipe: Callable[..., ReAudioLdmRecipe]
    seconds: float
    own_codec: str | None = None
    clap: str | None = None
    text_encoder: str | None = None
    listener: str | None = None


TINY = Size(name="re-audioldm-tiny", recipe=re_audioldm_tiny, seconds=4.0, own_codec="mel-vae-tiny")
_PUBLISHED = {
    "seconds": 10.24,
    "clap": "laion/clap-htsat-unfused",
    "text_encoder": "google/flan-t5-large",
    "listener": "hance-ai/audiomae",
}
SMALL = Size(name="re-audioldm-small", recipe=re_audioldm_small, **_PUBLISHED)  # type: ignore[arg-type]
LARGE = Size(name="re-audioldm-large", recipe=re_audioldm_large, **_PUBLISHED)  # type: ignore[arg-type]


def train_re_audioldm_tiny(dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with `re-audioldm-tiny`; see `train_size`."""
    return train_size(TINY, dataset, folder, options)


def train_re_audioldm_small(dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with `re-audioldm-small`; see `train_size`."""
    return train_size(SMALL, dataset, folder, options)


def train_re_audioldm_large(dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with `re-audioldm-large`; see `train_size`."""
    return train_size(LARGE, dataset, folder, options)


def train_size(size: Size, dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with a recipe of Re-AudioLDM.

    Args:
        size: Which one.
        dataset: With the generation.
        folder: Of the run.
        options: What the user said.

    Returns:
        What there is to say: clips trained on, clips seen, last loss.

    Raises:
        ArgumentError: A part is not there, or neighbours are not, or are of another CLAP.
    """
    if options.raw:
        raise ArgumentError(f"{size.name} reads what neighbours were encoded to; drop --raw")
    world, seed = World.join(device_name()), options.seed
    seconds = size.seconds if options.seconds is None else options.seconds
    codec = _codec(size, dataset, options)
    loaded = load_numpy_codec(codec, str(world.device)).codec
    sources = _encoders(size, dataset, options, heard_s=_heard_s(loaded, seconds))
    recipe = _recipe(size, options, Widths.of(loaded, _loaded(sources)))
    data = options.sources or (Source(dataset=dataset, generation=options.generation),)
    extras = _extras(size, data, options, recipe, sources.clap, world)
    samples = latent_samples(data, _encoding(size, codec, sources), seconds=[seconds], world=world, extras=extras)
    frozen = Frozen(codec=loaded, sources=sources)
    evaluation = sound_evaluation(
        options.evaluation,
        folder=folder,
        source=data[0],
        making=Making(seconds=seconds, guidance=SYSTEM.usual.guidance, seed=seed),
        maker_of=_maker_of(frozen, recipe, data[0].dataset, extras, world),
        world=world,
    )
    last: dict[str, float] = {}
    with watching(folder, options, world, total=recipe.training.total_clips, last=last) as watchers:
        model = train_re_audioldm(
            recipe,
            batches_of(samples, samples.plan(batch_size=recipe.batch_clips, seed=seed)),
            frozen=frozen,
            folder=folder,
            data=data_identity(data, seconds=seconds, extras=extras),
            world=world,
            execution=options.execution,
            watchers=watched(watchers, options.evaluation, evaluation),
        )
    if model is None and world.is_first:
        raise StoppedError(f"the run in {folder} was stopped; the same command goes on from its last checkpoint")
    return {"clips": len(samples), "too_short": samples.too_short, **last}


def _recipe(size: Size, options: RunOptions, widths: Widths) -> ReAudioLdmRecipe:
    """The recipe as asked; how often samples are made does not change what is trained."""
    recipe = size.recipe(
        widths=widths,
        retrieval=options.retrieving.retrieval,
        **({} if options.retrieving.neighbours is None else {"neighbours": options.retrieving.neighbours}),
        **({} if options.clips is None else {"total_clips": options.clips}),
        seed=options.seed,
    )
    return replace(recipe, training=options.evaluation.timed(recipe.training))


def _maker_of(
    frozen: Frozen, recipe: ReAudioLdmRecipe, dataset: Dataset, extras: Extras, world: World
) -> "Callable[[nn.Module], ReAudioLdmMaker]":
    """Puts the parts of a model around its network while it is trained, and the neighbours that it is trained with."""
    near = extras.neighbours
    stored = None if near is None else StoredNeighbourhoods(dataset, near)

    @cache
    def encoders() -> FrozenEncoders:
        return frozen.sources.encoders(world.device)

    def maker_of(network: "nn.Module") -> ReAudioLdmMaker:
        if not isinstance(network, ReAudioLdmNetwork):
            raise TypeError(f"the averaged network is a {type(network).__name__}, not a ReAudioLdmNetwork")
        schedule = recipe.objective.schedule
        return ReAudioLdmMaker(ReAudioLDM(network, codec=frozen.codec, encoders=encoders(), schedule=schedule), stored)

    return maker_of


def _heard_s(codec: Codec, seconds: float) -> float:
    """Length of a sample in whole latent frames, s, which is also that of the windows that are heard."""
    return whole_frames_s(seconds, codec.latent_rate_hz)


def _encoders(size: Size, dataset: Dataset, options: RunOptions, *, heard_s: float) -> EncoderSources:
    """The frozen encoders: those that were asked for, those of the recipe, or the dataset's own."""
    clap = options.clap or size.clap or _own(dataset, size.name, "clap-tiny", "--clap")
    if options.retrieving.retrieval == "none":
        return EncoderSources(clap=clap, listener=None, text=None, heard_s=heard_s)
    listener = options.listener or size.listener or _own(dataset, size.name, "audiomae-tiny", "--listener")
    if (Path(listener) / RUN_MODEL).is_dir():
        listener = str(Path(listener) / RUN_MODEL)
    text = options.text_encoder or size.text_encoder or _own(dataset, size.name, "clap-tiny", "--text-encoder")
    return EncoderSources(clap=clap, listener=listener, text=text_source(text), heard_s=heard_s)


def _loaded(sources: EncoderSources) -> FrozenEncoders:
    """The frozen encoders, in the memory of this process.

    Raises:
        ArgumentError: One cannot be loaded.
    """
    clap = load_clap(sources.clap, device="cpu").encoder
    listener = None if sources.listener is None else load_audiomae(sources.listener, "cpu")
    if sources.text is None:
        return FrozenEncoders(clap, listener, None, heard_s=sources.heard_s)
    with loading("text encoder", sources.text.path):
        text = sources.text.text_encoder("cpu")
    return FrozenEncoders(clap, listener, text, heard_s=sources.heard_s)


def _own(dataset: Dataset, name: str, recipe: str, option: str) -> str:
    """The folder of what was trained on the dataset.

    Raises:
        ArgumentError: Nothing was.
    """
    own = dataset.folder("runs") / recipe / RUN_MODEL
    if not own.is_dir():
        raise ArgumentError(
            f"{name} needs {option}; without published weights train one on this dataset: foundsound train {recipe} "
            f"--data {dataset.path}"
        )
    return str(own)


def _encoding(size: Size, codec: str, sources: EncoderSources) -> Encoding:
    """What clips are encoded to, and what neighbours sound like and say."""
    return Encoding(
        codec=codec,
        name=size.name,
        frame_rate_hz=FRAME_RATE_HZ,
        frame_size_px=FRAME_SIZE_PX,
        text=sources.text,
        listener=sources.listener,
    )


def _extras(
    size: Size,
    data: tuple[Source, ...],
    options: RunOptions,
    recipe: ReAudioLdmRecipe,
    clap: str,
    world: World,
) -> Extras:
    """What samples have beside latents: the vector of their text, which is made if need be, and its neighbours."""
    asked, vectors = options.retrieving, VECTORS
    manifests = []
    if recipe.network.reads_sound:
        manifests = [read_neighbours_manifest(one.dataset.folder("neighbours") / asked.found) for one in data]
        vectors = manifests[0]["vectors"]
    stages = [embed_text_stage(one.dataset, clap, called=vectors) for one in data]
    for source, manifest in zip(data, manifests, strict=False):
        _check(source.dataset, asked.found, manifest, stages[0], recipe.network.neighbours)
    if world.is_first:
        for source, stage in zip(data, stages, strict=True):
            queue = partial(source.dataset.pending, stage)
            run_in_turn(source.dataset, Job(stage=stage, queue=queue, batch_rows=TEXTS_AT_ONCE, gpu=True))
    world.wait()
    if not manifests:
        return Extras(said=vectors)
    near = NeighboursWanted(
        name=asked.found,
        most=recipe.network.neighbours,
        heard=size.name,
        tokens=size.name,
        read=read_neighbours,
    )
    return Extras(said=vectors, neighbours=near)


def _check(dataset: Dataset, name: str, manifest: dict[str, Any], stage: EmbedText, most: int) -> None:
    """See that stored neighbours are of the run's CLAP, and as many as are read.

    Raises:
        ArgumentError: They are not.
    """
    again = f"run `foundsound neighbours {dataset.path} --name {name}` again"
    if manifest["embedder"] != dict(stage.embedder) or manifest["vectors"] != stage.label:
        raise ArgumentError(
            f"the neighbours {name!r} of {dataset.path} were found by another CLAP than that of this run; {again} with "
            "its --embedder, or give --clap"
        )
    if manifest["k"] < most:
        raise ArgumentError(
            f"{most} neighbours are to be read, and {manifest['k']} are stored in {name!r} of {dataset.path}; {again} "
            f"with --k {most} or more"
        )


def _codec(size: Size, dataset: Dataset, options: RunOptions) -> str:
    """The codec's folder or name.

    Raises:
        ArgumentError: None is given, and the dataset has none of its own.
    """
    if options.codec is not None:
        return options.codec
    if size.own_codec is None:
        raise ArgumentError(
            f"{size.name} needs a codec of mel spectrograms: give --codec with a run of mel-vae-tiny, or a folder or "
            "name with vae and vocoder, as cvssp/audioldm2"
        )
    return _own(dataset, size.name, size.own_codec, "--codec")
