"""Recipes of Re-AudioLDM, each a function that returns a whole configuration, and the function that trains one.

With retrieval "none" the same recipe is AudioLDM, the baseline that knows prompts alone.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.codecs.codec import Codec
from models.codecs.mel_noise import MelNoise
from models.codecs.mel_vae import MelVaeCodec
from models.diffusion.discrete import DiscreteSchedule
from models.model_folder import RUN_MODEL
from models.re_audioldm.conditioning import EncoderSources, FrozenEncoders
from models.re_audioldm.generate import ReAudioLDM
from models.re_audioldm.network import ReAudioLdmConfig, ReAudioLdmNetwork, Retrieval
from models.re_audioldm.objective import ObjectiveSettings, ReAudioLdmObjective
from models.training.averaged import RowsAt, open_together, seeded, train_averaged, written
from models.training.checkpoint import checkpoints
from models.training.ema import EmaSettings
from models.training.execution import Execution
from models.training.loop import TrainSettings, Watchers
from models.training.optimizers import OptimizerSettings
from models.training.schedule import Schedule
from models.training.world import World

_SCALE_BATCHES = 32
"""Batches from which the scale of the latents is measured. Ours: a few hundred clips settle it to a percent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Widths:
    """What a network has to fit: its codec and its encoders.

    Attributes:
        latent_channels: Of the codec, for each bin of frequency.
        latent_bins: Bins of frequency; 1 where latents have no order of frequency.
        said: Of a CLAP vector.
        heard: Of the listener's tokens; 0 without one.
        text: Of the text encoder's tokens; 0 without one.
    """

    latent_channels: int
    latent_bins: int
    said: int
    heard: int = 0
    text: int = 0

    @classmethod
    def of(cls, codec: Codec, encoders: FrozenEncoders) -> "Widths":
        """Those of a codec and of encoders. Latents of mel spectrograms lie in bins, channel by channel."""
        bins = codec.latent_bins if isinstance(codec, MelVaeCodec | MelNoise) else 1
        return cls(
            latent_channels=codec.latent_channels // bins,
            latent_bins=bins,
            said=encoders.clap.dimension,
            heard=0 if encoders.listener is None else encoders.listener.dimension,
            text=0 if encoders.text is None else encoders.text.text_width,
        )

    def sizes(self) -> dict[str, Any]:
        """The same by the names of `ReAudioLdmConfig`."""
        return {
            "latent_channels": self.latent_channels,
            "latent_bins": self.latent_bins,
            "said_width": self.said,
            "heard_width": self.heard,
            "text_width": self.text,
        }


PUBLISHED = Widths(latent_channels=8, latent_bins=16, said=512, heard=768, text=1024)
"""Source: AudioLDM's autoencoder and CLAP, AudioMAE's ViT-B; T5-large, since the paper does not say which, is ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReAudioLdmRecipe:
    """All that determines a trained Re-AudioLDM but its data, codec and encoders.

    Attributes:
        network: Sizes, and what is read of how many neighbours.
        objective: What a step minimises.
        training: Settings of the run.
        batch_clips: Clips in a batch, for whoever makes the batches.
    """

    network: ReAudioLdmConfig
    objective: ObjectiveSettings
    training: TrainSettings
    batch_clips: int

    def __post_init__(self) -> None:
        if self.batch_clips < 1:
            raise ValueError(f"batch_clips is {self.batch_clips}: it must be at least 1")
        network, target = self.network, self.objective.schedule.target
        if target == "epsilon" and network.latent_channels > network.width:
            raise ValueError(
                f"a network of width {network.width} cannot pass the noise of {network.latent_channels} latent "
                "channels, which epsilon-prediction asks of it: make it wider, take another codec, or predict v"
            )


def re_audioldm_tiny(
    *,
    widths: Widths,
    retrieval: Retrieval = "audio+text",
    neighbours: int = 3,
    total_clips: int = 8_000,
    seed: int = 0,
) -> ReAudioLdmRecipe:
    """For a CPU core and minutes. All numbers are ours.

    It predicts v: a network as narrow as this cannot pass the noise of more latent channels than it has itself, which
    epsilon-prediction asks of it at every level, and v-prediction where there is hardly any.

    Args:
        widths: Of the codec and the encoders.
        retrieval: What is read of neighbours.
        neighbours: How many.
        total_clips: Length of the run.
        seed: Of the run.
    """
    return ReAudioLdmRecipe(
        network=ReAudioLdmConfig(
            **widths.sizes(),
            retrieval=retrieval,
            neighbours=neighbours,
            text_tokens=16,
            width=24,
            multiples=(1, 2),
            layers=1,
            head_channels=24,
            norm_groups=8,
        ),
        objective=ObjectiveSettings(schedule=DiscreteSchedule(target="v_prediction")),
        training=TrainSettings(
            seed=seed,
            total_clips=total_clips,
            schedule=Schedule(peak=2e-3, warmup_clips=min(800, total_clips // 10), decay="cosine", floor=0.05),
            ema=EmaSettings(halflife_clips=800, rampup_ratio=0.05),
            report_every_clips=800,
            save_every_clips=4_000,
        ),
        batch_clips=16,
    )


def re_audioldm_small(
    *,
    widths: Widths = PUBLISHED,
    retrieval: Retrieval = "audio+text",
    neighbours: int = 10,
    total_clips: int = 3_680_000,
    seed: int = 0,
) -> ReAudioLdmRecipe:
    """Re-AudioLDM-S: 128 channels, for GPUs.

    Source: arXiv 2309.08051: rate 5e-5, batches of 4, 80 epochs of AudioCaps' 46,000 clips, 50 tokens of a caption, up
    to ten neighbours. Ours: the warm-up, the average of weights (0.9999 a step, as AudioLDM), the weight decay, how
    often neighbours alone are taken away.

    Args:
        widths: Of the codec and the encoders.
        retrieval: What is read of neighbours.
        neighbours: How many.
        total_clips: Length of the run.
        seed: Of the run.
    """
    return ReAudioLdmRecipe(
        network=ReAudioLdmConfig(**widths.sizes(), retrieval=retrieval, neighbours=neighbours),
        objective=ObjectiveSettings(),
        training=_published_training(total_clips, seed),
        batch_clips=4,
    )


def re_audioldm_large(
    *,
    widths: Widths = PUBLISHED,
    retrieval: Retrieval = "audio+text",
    neighbours: int = 10,
    total_clips: int = 3_680_000,
    seed: int = 0,
) -> ReAudioLdmRecipe:
    """Re-AudioLDM-L: 196 channels, else as `re_audioldm_small`.

    Ours: heads of 28 channels and normalisation in 28 groups, since 32 does not divide 196.

    Args:
        widths: Of the codec and the encoders.
        retrieval: What is read of neighbours.
        neighbours: How many.
        total_clips: Length of the run.
        seed: Of the run.
    """
    return ReAudioLdmRecipe(
        network=ReAudioLdmConfig(
            **widths.sizes(),
            retrieval=retrieval,
            neighbours=neighbours,
            width=196,
            head_channels=28,
            norm_groups=28,
        ),
        objective=ObjectiveSettings(),
        training=_published_training(total_clips, seed),
        batch_clips=4,
    )


def _published_training(total_clips: int, seed: int) -> TrainSettings:
    """Of both published sizes; `re_audioldm_small` says which numbers are the paper's."""
    return TrainSettings(
        seed=seed,
        total_clips=total_clips,
        schedule=Schedule(peak=5e-5, warmup_clips=4_000),
        ema=EmaSettings(halflife_clips=27_724),  # 0.9999 a step of 4 clips: 4 ln 2 / 0.0001
        optimizer=OptimizerSettings(weight_decay=1e-2),
        clip_seconds=10.24,
        report_every_clips=4_000,
        save_every_clips=200_000,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Frozen:
    """What a run needs and does not train.

    Attributes:
        codec: Whose latents the batches hold.
        sources: Of the encoders; of those that made what the batches hold.
    """

    codec: Codec
    sources: EncoderSources


def train_re_audioldm(
    recipe: ReAudioLdmRecipe,
    batch_at: RowsAt,
    *,
    frozen: Frozen,
    folder: Path,
    data: Mapping[str, Any],
    world: World,
    execution: Execution | None = None,
    watchers: Watchers | None = None,
) -> ReAudioLDM | None:
    """Trains a Re-AudioLDM, or goes on with the run in the folder, and saves the averaged model in `folder/model`.

    Args:
        recipe: What to train.
        batch_at: Rows of batch b; see `ReAudioLdmObjective` for what is in it.
        frozen: What is not trained.
        folder: Of the run.
        data: What the batches are made of, as JSON; a run is not resumed with other data.
        world: The processes that train together.
        execution: How the run is executed.
        watchers: Who is told what.

    Returns:
        The model, or None where the run was stopped before its end, or in another process than the first.

    Raises:
        ValueError: if the folder holds another run, or the parts do not fit the recipe.
        FloatingPointError: if a loss is not finite.
    """
    made_of = {"codec": frozen.codec.identity(), "sources": asdict(frozen.sources), "data": dict(data)}
    open_together(folder, {"recipe": written(recipe), **made_of}, world)
    averaged = train_averaged(
        _new_network(recipe, batch_at, folder).to(world.device),
        ReAudioLdmObjective(recipe.objective),
        batch_at,
        recipe,
        folder=folder,
        world=world,
        execution=execution,
        watchers=watchers,
    )
    if averaged is None:
        return None
    model = ReAudioLDM(
        averaged,
        codec=frozen.codec,
        encoders=frozen.sources.encoders(world.device),
        schedule=recipe.objective.schedule,
    )
    model.save_pretrained(folder / RUN_MODEL, frozen.sources)
    return model


def _new_network(recipe: ReAudioLdmRecipe, batch_at: RowsAt, folder: Path) -> ReAudioLdmNetwork:
    """A network as it is before its first step, which knows the scale of the latents where no checkpoint tells it."""
    network = seeded(lambda: ReAudioLdmNetwork(recipe.network), recipe.training.seed)
    if not checkpoints(folder / "checkpoints"):
        network.scale.fit(batch_at(number, range(recipe.batch_clips))["latents"] for number in range(_SCALE_BATCHES))
    return network
