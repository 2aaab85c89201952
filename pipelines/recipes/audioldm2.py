"""The recipes `audioldm2-tiny`, `-base`, `-large`, and `-speech-tiny`, `-speech-base`: AudioLDM 2, from a CPU to GPUs.

What its frozen encoders say of clips is encoded once: the language of audio by an AudioMAE, captions by a T5, and their
vectors by a CLAP. With `--start` a trained model, or a folder of diffusers' pipeline, is trained further.
"""

import shutil
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from curation.dataset import Dataset
from curation.errors import ArgumentError, StoppedError
from curation.latents import Extras, Members
from curation.samples import Source
from curation.tables import TEMPORARY
from models.audioldm2 import AudioLDM2
from models.audioldm2.conditioning import FrozenEncoders
from models.audioldm2.hearing import Hearing
from models.audioldm2.network import AudioLdm2Network
from models.audioldm2.phonemes import PHONEMES
from models.audioldm2.recipes import (
    RUN_MODEL,
    AudioLdm2Recipe,
    Frozen,
    Widths,
    solver_settings,
    train_audioldm2,
)
from models.audioldm2.saved import model_in
from models.audiox.encoder_source import EncoderSource
from models.codecs.mel_vae import MelVaeCodec
from models.codecs.oobleck import DIFFUSERS_STEM
from models.encoders.word_t5 import save_word_t5
from models.training.averaged import RowsAt
from models.training.world import World
from models.weights import safetensors_paths, sha256_of_files
from pipelines.evaluations.made_sounds import Making
from pipelines.makers.audioldm2 import SYSTEM, AudioLdm2Maker
from pipelines.recipes.audioldm2_sizes import BASE, LARGE, SPEECH_BASE, SPEECH_TINY, TINY, Size
from pipelines.recipes.data import Encoding, batches_of, data_identity, latent_samples, whole_frames_s
from pipelines.recipes.options import RunOptions
from pipelines.recipes.pronounced import pronounced, require_transcripts
from pipelines.runner import Job, run_in_turn
from pipelines.training.board import watching
from pipelines.training.evaluation import watched
from pipelines.training.sound_evaluation import sound_evaluation
from pipelines.wiring.codecs import load_numpy_codec
from pipelines.wiring.devices import device_name, load_quietly, loading
from pipelines.wiring.embedders import embed_text_stage, load_clap
from pipelines.wiring.language_of_audio import load_audiomae
from pipelines.wiring.phonemes import Pronouncer
from pipelines.wiring.text_encoders import encode_text_stage, text_source

FRAME_RATE_HZ, FRAME_SIZE_PX = 1.0, 16
"""Of the pictures that `encode` keeps of clips that have one; nothing here reads them. Source: ours."""

TEXTS_AT_ONCE = 256


def train_audioldm2_tiny(dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with `audioldm2-tiny`; see `train_size`."""
    return train_size(TINY, dataset, folder, options)


def train_audioldm2_base(dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with `audioldm2-base`; see `train_size`."""
    return train_size(BASE, dataset, folder, options)


def train_audioldm2_large(dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with `audioldm2-large`; see `train_size`."""
    return train_size(LARGE, dataset, folder, options)


def train_audioldm2_speech_tiny(dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with `audioldm2-speech-tiny`; see `train_size`."""
    return train_size(SPEECH_TINY, dataset, folder, options)


def train_audioldm2_speech_base(dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with `audioldm2-speech-base`; see `train_size`."""
    return train_size(SPEECH_BASE, dataset, folder, options)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """Where the frozen parts of a run lie.

    Attributes:
        codec: A mel autoencoder and its vocoder.
        clap: Of the vectors of texts.
        text: Of their tokens.
        listener: Of the language of audio.
        start: A model that is trained further; None: a new one.
        start_sha256: Of its weights.
    """

    codec: str
    clap: str
    text: EncoderSource
    listener: str
    start: AudioLDM2 | None = None
    start_sha256: str | None = None


def train_size(size: Size, dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with a recipe of AudioLDM 2.

    Args:
        size: Which one.
        dataset: With the generation.
        folder: Of the run.
        options: What the user said.

    Returns:
        What there is to say: clips trained on, clips seen, last losses.

    Raises:
        ArgumentError: A part is not there; says which lines make it.
    """
    if options.raw:
        raise ArgumentError(f"{size.name} reads what a listener heard, which is encoded beforehand; drop --raw")
    world = World.join(device_name())
    data = options.sources or (Source(dataset=dataset, generation=options.generation),)
    parts = _sources(size, dataset, data, folder, options, world)
    codec = _codec(parts.codec, world)
    seconds = _seconds(size, options, parts, codec)
    frozen = _frozen(parts, codec, Hearing(window_s=seconds, factor=size.factor), data, world)
    _check_speech(size, data, parts.start)
    recipe = _recipe(size, options, _widths(codec, frozen, seconds), goes_on=parts.start is not None)
    evaluation = sound_evaluation(
        options.evaluation,
        folder=folder,
        source=data[0],
        making=Making(prompt=size.prompt, seconds=seconds, guidance=SYSTEM.usual.guidance, seed=options.seed),
        maker_of=partial(_maker, recipe, frozen),
        world=world,
    )
    encoding, extras = _encoding(size, parts), _extras(size, data, parts.clap, world)
    samples = latent_samples(data, encoding, seconds=[seconds], world=world, extras=extras)
    identity = data_identity(data, seconds=seconds, extras=Extras(said=extras.said, heard=size.name))
    batch_at: RowsAt = batches_of(samples, samples.plan(batch_size=recipe.batch_clips, seed=options.seed))
    if size.is_speech:
        pronouncer = Pronouncer()
        batch_at, identity = pronounced(batch_at, pronouncer), {**identity, "phonemes": pronouncer.identity()}
    last: dict[str, float] = {}
    with watching(folder, options, world, total=recipe.total_clips, last=last) as watchers:
        model = train_audioldm2(
            recipe,
            batch_at,
            frozen=frozen,
            folder=folder,
            data=identity,
            world=world,
            execution=options.execution,
            watchers=watched(watchers, options.evaluation, evaluation),
        )
    if model is None and world.is_first:
        raise StoppedError(f"the run in {folder} was stopped; the same command goes on from its last checkpoint")
    return {"clips": len(samples), "too_short": samples.too_short, **last}


def _check_speech(size: Size, data: tuple[Source, ...], start: AudioLDM2 | None) -> None:
    """Sees that what is told of speech is there, and that a model which is trained further is told it or not.

    Raises:
        ArgumentError: Which does not fit.
    """
    if size.is_speech:
        require_transcripts(data)
    if start is None:
        return
    is_told = any(one.name == PHONEMES for one in start.network.language.config.streams)
    if is_told != size.is_speech:
        kind = "a model of speech" if is_told else "no model of speech"
        raise ArgumentError(f"--start is {kind}: {size.name} cannot train it further")


def _recipe(size: Size, options: RunOptions, widths: Widths, *, goes_on: bool) -> AudioLdm2Recipe:
    """The recipe as asked; of a model that is trained further the joint phase alone, of as many clips as asked.

    How often samples are made does not change what is trained.
    """
    recipe = size.recipe(widths, seed=options.seed)
    if options.clips is not None:
        share = recipe.total_clips / recipe.only("joint").total_clips if goes_on else 1
        recipe = size.recipe(widths, total_clips=round(options.clips * share), seed=options.seed)
    phases = [replace(one, training=options.evaluation.timed(one.training)) for one in recipe.phases]
    recipe = replace(recipe, phases=tuple(phases))
    return recipe.only("joint") if goes_on else recipe


def _maker(recipe: AudioLdm2Recipe, frozen: Frozen, network: nn.Module) -> AudioLdm2Maker:
    """Puts the parts of a model around a copy of its network, whose weights are laid out otherwise to make sounds."""
    if not isinstance(network, AudioLdm2Network):
        raise TypeError(f"the averaged network is a {type(network).__name__}, not an AudioLdm2Network")
    return AudioLdm2Maker(
        AudioLDM2(
            deepcopy(network),
            codec=frozen.codec,
            encoders=frozen.encoders,
            hearing=frozen.hearing,
            scheduler=solver_settings(recipe, frozen),
        )
    )


def _sources(
    size: Size, dataset: Dataset, data: tuple[Source, ...], folder: Path, options: RunOptions, world: World
) -> Sources:
    """The frozen parts: those that were asked for, those of what is trained further, the recipe's, the dataset's own.

    Raises:
        ArgumentError: Some are not there; says which lines make them.
    """
    if options.start is not None:
        return _of_start(options, folder, world)
    asked = {
        "mel-vae-tiny": ("--codec", options.codec or size.codec),
        "clap-tiny": ("--clap", options.clap or size.clap),
        size.own_listener: ("--listener", options.listener or size.listener),
    }
    found, missing = {}, []
    for recipe, (option, given) in asked.items():
        own = dataset.folder("runs") / recipe
        if given is None and not (own / RUN_MODEL).is_dir():
            missing.append((option, f"foundsound train {recipe} --data {dataset.path}"))
        found[recipe] = given or str(own if recipe != "clap-tiny" else own / RUN_MODEL)
    if missing:
        names, lines = ", ".join(option for option, _ in missing), "\n".join(f"  {line}" for _, line in missing)
        raise ArgumentError(f"{size.name} needs {names}; without published weights train on this dataset:\n{lines}")
    text = options.text_encoder or size.text_encoder
    if text is None:
        text = str(folder / "words")
        if world.is_first:
            _save_words(data, folder / "words")
        world.wait()
    source = text_source(text)
    if source.kind != "t5":
        raise ArgumentError(f"{size.name} reads the tokens of a T5, and {text} is a {source.kind}; give a T5")
    return Sources(codec=found["mel-vae-tiny"], clap=found["clap-tiny"], text=source, listener=found[size.own_listener])


def _save_words(data: tuple[Source, ...], folder: Path) -> None:
    """A T5 of the words of what is trained on, once."""
    if folder.is_dir():
        return
    partial = folder.with_name(f"{TEMPORARY}{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    said = [Members.of(one.dataset, one.generation, one.where).said()["text"].to_pylist() for one in data]
    save_word_t5(sorted({text for several in said for text in several}), partial)
    partial.rename(folder)


def _of_start(options: RunOptions, folder: Path, world: World) -> Sources:
    """The frozen parts of what is trained further, laid out in the run's folder as each is loaded by itself."""
    if options.codec is not None or options.clap is not None or options.text_encoder is not None:
        raise ArgumentError("--start brings its own codec, CLAP and T5; drop --codec, --clap and --text-encoder")
    assert options.start is not None
    load_quietly()
    with loading("model", options.start):
        start = AudioLDM2.from_pretrained(options.start, device=world.device, listener=_model_of(options.listener))
    if start.encoders.listener is None:
        raise ArgumentError(f"{options.start} has no AudioMAE; give --listener hance-ai/audiomae, or a file")
    place = folder / "start"
    if world.is_first:
        _lay_out(start, place)
    world.wait()
    return Sources(
        codec=str(place / "codec"),
        clap=str(place / "clap"),
        text=EncoderSource(kind="t5", path=str(place / "t5")),
        listener=str(place / "audiomae"),
        start=start,
        start_sha256=sha256_of_files(
            [
                *safetensors_paths(model_in(Path(options.start)), stem=DIFFUSERS_STEM, subfolder="unet"),
                *safetensors_paths(model_in(Path(options.start)), subfolder="language_model"),
            ]
        ),
    )


def _lay_out(start: AudioLDM2, place: Path) -> None:
    """Write each frozen part of a model into a folder of its own, once."""
    from models.audioldm2.clap_parts import clap_parts
    from models.encoders.audiomae import save_audiomae

    if (place / "audiomae").is_dir():  # the last that is written
        return
    start.codec.save(place / "codec")
    parts = clap_parts(start.encoders.clap)
    for name in ("text_encoder", "feature_extractor"):
        parts[name].save_pretrained(place / "clap")
    start.encoders.clap.tokenizer.save_pretrained(place / "clap")
    text: Any = start.encoders.text
    text.model.save_pretrained(place / "t5")
    text.tokenizer.save_pretrained(place / "t5")
    assert start.encoders.listener is not None
    save_audiomae(start.encoders.listener.network, place / "audiomae")


def _codec(name_or_path: str, world: World) -> MelVaeCodec:
    """The codec, on the device of the run.

    Raises:
        ArgumentError: It cannot be loaded, or is none of mel spectrograms.
    """
    loaded = load_numpy_codec(name_or_path, str(world.device)).codec
    if not isinstance(loaded, MelVaeCodec):
        raise ArgumentError(
            f"AudioLDM 2 makes latents of mel spectrograms, and {name_or_path} is a {type(loaded).__name__}; give "
            "--codec with a run of mel-vae-tiny, or a folder or name with vae and vocoder, as cvssp/audioldm2"
        )
    return loaded


def _seconds(size: Size, options: RunOptions, parts: Sources, codec: MelVaeCodec) -> float:
    """Length of a sample in whole latent frames, s, which is also that of the windows that are heard."""
    usual = size.seconds if parts.start is None else parts.start.hearing.window_s
    seconds = usual if options.seconds is None else options.seconds
    if parts.start is not None and abs(seconds - usual) > 1 / codec.latent_rate_hz:
        raise ArgumentError(f"--start was trained on sounds of {usual:g} s: drop --seconds")
    return whole_frames_s(seconds, codec.latent_rate_hz)


def _frozen(parts: Sources, codec: MelVaeCodec, hearing: Hearing, data: tuple[Source, ...], world: World) -> Frozen:
    """What is not trained, loaded."""
    start = parts.start
    if start is not None:
        encoders, hearing = start.encoders, start.hearing
    else:
        clap = load_clap(parts.clap, device=str(world.device)).encoder
        with loading("text encoder", parts.text.path):
            text_encoder = parts.text.text_encoder(world.device)
        audiomae = load_audiomae(parts.listener, str(world.device))
        encoders = FrozenEncoders(clap, text_encoder, audiomae, device=world.device)
    assert encoders.listener is not None
    text = encode_text_stage(data[0].dataset, parts.text, called="text").encoder
    identity = {"clap": encoders.clap.identity(), "listener": encoders.listener.identity(), "text": dict(text)}
    if start is not None:
        codec = start.codec
        identity["start"] = {"weights_sha256": parts.start_sha256}
    return Frozen(codec=codec, encoders=encoders, hearing=hearing, identity=identity, start=start)


def _widths(codec: MelVaeCodec, frozen: Frozen, seconds: float) -> Widths:
    listener, clap = frozen.encoders.listener, frozen.encoders.clap
    assert listener is not None
    return Widths(
        latent_channels=int(codec.vae.config.latent_channels),
        latent_frames=round(seconds * codec.latent_rate_hz),
        said_width=clap.dimension,
        text_width=frozen.encoders.text.text_width,
        loa_width=listener.dimension,
        vectors=listener.vectors(frozen.hearing.factor),
    )


def _encoding(size: Size, parts: Sources) -> Encoding:
    """What clips and their texts are encoded to."""
    return Encoding(
        codec=parts.codec,
        name=size.name,
        frame_rate_hz=FRAME_RATE_HZ,
        frame_size_px=FRAME_SIZE_PX,
        text=parts.text,
        listener=parts.listener,
        loa_factor=size.factor if parts.start is None else parts.start.hearing.factor,
    )


def _extras(size: Size, data: tuple[Source, ...], clap: str, world: World) -> Extras:
    """What samples have beside latents: the CLAP vector of their text, made if need be, and for speech what is said."""
    if world.is_first:
        for source in data:
            stage = embed_text_stage(source.dataset, clap, called=size.name)
            queue = partial(source.dataset.pending, stage)
            run_in_turn(source.dataset, Job(stage=stage, queue=queue, batch_rows=TEXTS_AT_ONCE, gpu=True))
    world.wait()
    return Extras(said=size.name, transcript=size.is_speech)


def _model_of(name_or_path: str | None) -> str | None:
    """The folder `model` of a run, or what was given."""
    if name_or_path is not None and (Path(name_or_path) / RUN_MODEL).is_dir():
        return str(Path(name_or_path) / RUN_MODEL)
    return name_or_path
