"""Recipes of AudioLDM 2, each a function that returns a whole configuration, and the function that trains one.

Training has three phases (`phases.py`; `objective.py` says what they minimise).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from models.audioldm2.conditioning import CLAP, TEXT, FrozenEncoders
from models.audioldm2.generate import AudioLDM2
from models.audioldm2.hearing import Hearing
from models.audioldm2.language import LanguageConfig, StreamConfig
from models.audioldm2.network import AudioLdm2Config, AudioLdm2Network, UNetConfig
from models.audioldm2.objective import ObjectiveSettings, Phase, published_schedule
from models.audioldm2.phases import AudioLdm2Recipe as AudioLdm2Recipe
from models.audioldm2.phases import PhaseRecipe, train_phases
from models.audioldm2.phonemes import phoneme_stream
from models.codecs.mel_vae import MelVaeCodec
from models.diffusion.discrete import DiscreteSchedule
from models.model_folder import RUN_MODEL as RUN_MODEL
from models.training.averaged import RowsAt, decisive, open_together, seeded
from models.training.ema import EmaSettings
from models.training.execution import Execution
from models.training.loop import TrainSettings, Watchers
from models.training.optimizers import OptimizerSettings
from models.training.schedule import Schedule
from models.training.world import World


@dataclass(frozen=True, kw_only=True, slots=True)
class Widths:
    """What the sizes of a network follow from.

    Attributes:
        latent_channels: Z, of the autoencoder.
        latent_frames: Of a sample.
        said_width: Of CLAP's vectors.
        text_width: Of T5's tokens.
        loa_width: Of the listener.
        vectors: LOA vectors of a sample.
        is_speech: Whether the language model is told phonemes too.
    """

    latent_channels: int = 8
    latent_frames: int = 256
    said_width: int = 512
    text_width: int = 1024
    loa_width: int = 768
    vectors: int = 8
    is_speech: bool = False

    @property
    def streams(self) -> tuple[StreamConfig, ...]:
        """CLAP and T5, and for speech phonemes."""
        words = StreamConfig(name=CLAP, width=self.said_width), StreamConfig(name=TEXT, width=self.text_width)
        return (*words, phoneme_stream()) if self.is_speech else words


VELOCITIES = replace(published_schedule(), target="v_prediction")
"""What small networks are asked for, at the published levels of noise. Ours: where almost all is noise, as where it is
decided what a sound will be, a network that says the noise has to repeat what it is given to a part in a thousand
before it says anything of the sound; after 8,000 clips of speech a small one was wrong by twelve."""

PUBLISHED = Widths()
"""Those of AudioLDM 2: 8 x 256 x 16 latents, CLAP, FLAN-T5-large, AudioMAE."""

PUBLISHED_SPEECH = replace(PUBLISHED, vectors=512, is_speech=True)
"""Those of AudioLDM 2 for speech: every patch of the AudioMAE is a vector."""


def audioldm2_tiny(widths: Widths, *, total_clips: int = 6_000, seed: int = 0) -> AudioLdm2Recipe:
    """For a CPU core and clips of about 5 s: 6.7 M parameters. All numbers are ours.

    Of a step nearly all is the UNet's: 2.2 GFLOP a clip. Attention at its last level alone, over 32 places: with it at
    each level but the first, as published, a clip costs twice as much with a quarter of the parameters.

    Args:
        widths: Of codec and encoders.
        total_clips: Length of all phases: two fifths diffusion, two fifths language, a fifth joint.
        seed: Of the run.
    """
    return AudioLdm2Recipe(
        network=AudioLdm2Config(
            language=LanguageConfig(
                streams=widths.streams, vectors=widths.vectors, width=widths.loa_width, depth=2, heads=4, positions=256
            ),
            unet=UNetConfig(
                latent_channels=widths.latent_channels,
                latent_frames=widths.latent_frames,
                loa_width=widths.loa_width,
                text_width=widths.text_width,
                width=16,
                multiples=(1, 2, 4, 8),
                plain_levels=3,
                layers=1,
                head_channels=16,
                norm_groups=8,
            ),
        ),
        phases=(
            _phase("diffusion", 2 * total_clips // 5, peak=1e-3, seed=seed),
            _phase("language", 2 * total_clips // 5, peak=1e-3, seed=seed),
            _phase("joint", total_clips // 5, peak=5e-4, seed=seed),
        ),
        batch_clips=8,
    )


def audioldm2_speech_tiny(widths: Widths, *, total_clips: int = 20_000, seed: int = 0) -> AudioLdm2Recipe:
    """Speech for two CPU cores: words of about a second, of which the language of audio says every patch.

    Source: AudioLDM 2 hears speech with a factor of 1. The sizes are ours. The language model is twice as deep as in
    `audioldm2_tiny`, since what is said is its own to say: the UNet is told who speaks alone. The UNet has attention at
    each level but the first, as published: which sound comes when is read off 128 places, not 8.

    Args:
        widths: Of codec and encoders, of speech.
        total_clips: Length of all phases: two fifths diffusion, half of it language, where a step takes a seventh of
            the time, and a tenth joint, where 64 vectors are said one after the other.
        seed: Of the run.
        seed: Of the run.
    """
    recipe = audioldm2_tiny(replace(widths, is_speech=True), seed=seed)
    language = replace(recipe.network.language, depth=4)
    unet = replace(recipe.network.unet, width=32, multiples=(1, 2, 3), plain_levels=1)
    said, both = total_clips // 2, total_clips // 10
    return replace(
        recipe,
        network=replace(recipe.network, language=language, unet=unet),
        phases=(
            _phase("diffusion", total_clips - said - both, peak=1e-3, seed=seed),
            _phase("language", said, peak=1e-3, seed=seed),
            _phase("joint", both, peak=5e-4, seed=seed),
        ),
    )


def _phase(phase: Phase, total_clips: int, *, peak: float, seed: int) -> PhaseRecipe:
    """A phase of the tiny recipe."""
    return PhaseRecipe(
        objective=ObjectiveSettings(phase=phase, schedule=VELOCITIES),
        training=TrainSettings(
            seed=seed,
            total_clips=max(1, total_clips),
            schedule=Schedule(peak=peak, warmup_clips=min(400, total_clips // 10), decay="cosine", floor=0.05),
            ema=EmaSettings(halflife_clips=500),
            report_every_clips=400,
            save_every_clips=2_000,
        ),
    )


def audioldm2_base(widths: Widths = PUBLISHED, *, total_clips: int = 16_000_000, seed: int = 0) -> AudioLdm2Recipe:
    """AudioLDM 2 at the size of its paper, for GPUs: a UNet of 347 M parameters, GPT-2 base.

    Source: arXiv 2308.05734 and the published configuration: 128 channels by 1, 2, 3 and 5, AdamW at 1e-4 (GPT-2 2e-4),
    5,000 steps of warm-up, batches of 16, words dropped with 0.1, 0.25 true LOA in the joint phase, an average of
    0.9999 a step. Ours: the lengths of the phases, and that GPT-2 has no dropout.

    Args:
        widths: Of codec and encoders.
        total_clips: Length of all phases: three fifths diffusion, a fifth language, a fifth joint.
        seed: Of the run.
    """
    lengths = {"diffusion": 3 * total_clips // 5, "language": total_clips // 5, "joint": total_clips // 5}
    return AudioLdm2Recipe(
        network=_published_sizes(widths),
        phases=tuple(
            PhaseRecipe(
                objective=ObjectiveSettings(phase=phase),  # type: ignore[arg-type]
                training=TrainSettings(
                    seed=seed,
                    total_clips=max(1, clips),
                    schedule=Schedule(peak=2e-4 if phase == "language" else 1e-4, warmup_clips=80_000),
                    ema=EmaSettings(halflife_clips=110_898),  # 0.9999 a step of 16 clips: 16 ln 2 / 0.0001
                    optimizer=OptimizerSettings(weight_decay=1e-2, betas=(0.9, 0.999)),
                    clip_seconds=10.24,
                    report_every_clips=1_600,
                    save_every_clips=160_000,
                ),
            )
            for phase, clips in lengths.items()
        ),
        batch_clips=16,
    )


def audioldm2_large(widths: Widths = PUBLISHED, *, total_clips: int = 16_000_000, seed: int = 0) -> AudioLdm2Recipe:
    """The large model: two blocks in each attention, and behind them one more in which latents attend to themselves.

    Source: its published configuration. Arguments as of `audioldm2_base`.
    """
    base = audioldm2_base(widths, total_clips=total_clips, seed=seed)
    unet = replace(base.network.unet, depth=2, more_attention=True)
    return replace(base, network=replace(base.network, unet=unet))


def audioldm2_speech_base(
    widths: Widths = PUBLISHED_SPEECH, *, total_clips: int = 16_000_000, seed: int = 0
) -> AudioLdm2Recipe:
    """AudioLDM 2 for speech, at the size of its paper: 512 vectors of 10.24 s, said after phonemes.

    Source: that of `audioldm2_base`. Ours: that T5's tokens are a stream here too, and that the language model reads
    phonemes as they are, where the paper has a transformer before it.

    Args:
        widths: Of codec and encoders, of speech.
        total_clips: Length of all phases.
        seed: Of the run.
    """
    return audioldm2_base(replace(widths, is_speech=True), total_clips=total_clips, seed=seed)


def _published_sizes(widths: Widths) -> AudioLdm2Config:
    return AudioLdm2Config(
        language=LanguageConfig(streams=widths.streams, vectors=widths.vectors, width=widths.loa_width),
        unet=UNetConfig(
            latent_channels=widths.latent_channels,
            latent_frames=widths.latent_frames,
            loa_width=widths.loa_width,
            text_width=widths.text_width,
        ),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Frozen:
    """What a run needs and does not train.

    Attributes:
        codec: Whose latents the batches hold.
        encoders: Of words and sounds.
        hearing: What of a sound the language of audio says.
        identity: Of the encoders, and of what is trained further, as JSON; a run is not resumed with others.
        start: A model of the same codec and encoders that is trained further, whose sizes and levels of noise then
            count and not the recipe's; None: a new one.
    """

    codec: MelVaeCodec
    encoders: FrozenEncoders
    hearing: Hearing
    identity: Mapping[str, Any]
    start: AudioLDM2 | None = None


def solver_settings(recipe: AudioLdm2Recipe, frozen: Frozen) -> dict[str, Any]:
    """Settings of the `DDIMScheduler` that goes with what is trained."""
    if frozen.start is not None:
        return frozen.start.scheduler
    return recipe.phases[-1].objective.schedule.ddim_settings()


def train_audioldm2(
    recipe: AudioLdm2Recipe,
    batch_at: RowsAt,
    *,
    frozen: Frozen,
    folder: Path,
    data: Mapping[str, Any],
    world: World,
    execution: Execution | None = None,
    watchers: Watchers | None = None,
) -> AudioLDM2 | None:
    """Trains an AudioLDM 2 phase by phase, or goes on with its run, and saves the average in `folder/model`.

    Args:
        recipe: What to train.
        batch_at: Rows of batch b; see `AudioLdm2Objective` for what is in it.
        frozen: What is not trained.
        folder: Of the run; each phase has a folder in it.
        data: What the batches are made of, as JSON; a run is not resumed with other data.
        world: The processes that train together.
        execution: How the run is executed.
        watchers: Who is told what; clips are counted over all phases.

    Returns:
        The model, or None where the run was stopped before its end, or in another process than the first.

    Raises:
        ValueError: if the folder holds another run, or the network shall be spread as shards.
        FloatingPointError: if a loss is not finite.
    """
    place = _Place(folder, data, world, execution, watchers)
    if frozen.start is None:
        network = seeded(lambda: AudioLdm2Network.of_config(recipe.network), recipe.phases[0].training.seed)
        return _trained(network, recipe, batch_at, frozen, place)
    schedule = DiscreteSchedule.from_scheduler(frozen.start.scheduler)
    phases = tuple(replace(one, objective=replace(one.objective, schedule=schedule)) for one in recipe.phases)
    return _trained(frozen.start.network, replace(recipe, phases=phases), batch_at, frozen, place)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where and by whom a run is trained."""

    folder: Path
    data: Mapping[str, Any]
    world: World
    execution: Execution | None
    watchers: Watchers | None


def _trained(
    network: AudioLdm2Network, recipe: AudioLdm2Recipe, batch_at: RowsAt, frozen: Frozen, place: _Place
) -> AudioLDM2 | None:
    world = place.world
    if place.execution is not None and place.execution.spread == "shards" and world.size > 1:
        raise ValueError("an AudioLDM 2 is trained as replicas; drop --spread shards")
    made_of = {"codec": frozen.codec.identity(), "encoders": dict(frozen.identity), "data": dict(place.data)}
    settings = {"recipe": _settings(recipe), "hearing": asdict(frozen.hearing), **made_of}
    open_together(place.folder, settings, world)
    trained = train_phases(
        network,
        recipe,
        batch_at,
        nothing=frozen.encoders.nothing(),
        folder=place.folder,
        world=world,
        execution=place.execution,
        watchers=place.watchers,
    )
    if trained is None:
        return None
    if not world.is_first:
        return None
    model = AudioLDM2(
        trained.requires_grad_(False),
        codec=frozen.codec,
        encoders=frozen.encoders,
        hearing=frozen.hearing,
        scheduler=solver_settings(recipe, frozen),
    )
    model.save_pretrained(place.folder / RUN_MODEL)
    return model


def _settings(recipe: AudioLdm2Recipe) -> dict[str, Any]:
    """The recipe, without what does not change its result."""
    settings = asdict(recipe)
    phases = [{**phase, "training": decisive(phase["training"])} for phase in settings["phases"]]
    return {**settings, "phases": phases}
