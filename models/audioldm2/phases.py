"""The phases of AudioLDM 2's training, each a run of the same loop in a folder of its own.

`diffusion` and `language` each train their part of the network, `joint` both. Each begins with the average of the one
before it, and `objective.py` says what it minimises.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from models.audioldm2.conditioning import Nothing
from models.audioldm2.network import AudioLdm2Config, AudioLdm2Network
from models.audioldm2.objective import AudioLdm2Objective, ObjectiveSettings, Phase, trained_parts
from models.training.averaged import RowsAt
from models.training.checkpoint import TrainingState, checkpoints
from models.training.execution import Execution
from models.training.loop import Report, TrainSettings, Watchers, train
from models.training.world import World

_SCALE_BATCHES = 32
"""Batches from which the scale of the latents and the mean LOA are measured. Ours: some hundred clips settle them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseRecipe:
    """One phase.

    Attributes:
        objective: What a step minimises.
        training: The run.
    """

    objective: ObjectiveSettings
    training: TrainSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioLdm2Recipe:
    """All that determines a trained AudioLDM 2 but its data, codec and encoders.

    Attributes:
        network: Sizes.
        phases: In their order.
        batch_clips: Clips in a batch, for whoever makes the batches.
    """

    network: AudioLdm2Config
    phases: tuple[PhaseRecipe, ...]
    batch_clips: int

    def __post_init__(self) -> None:
        if self.batch_clips < 1:
            raise ValueError(f"batch_clips is {self.batch_clips}: it must be at least 1")
        names = [one.objective.phase for one in self.phases]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"phases are {names}: give at least one, each once")

    @property
    def total_clips(self) -> int:
        """Clips that all phases see."""
        return sum(one.training.total_clips for one in self.phases)

    def only(self, *phases: Phase) -> "AudioLdm2Recipe":
        """This recipe without other phases."""
        return replace(self, phases=tuple(one for one in self.phases if one.objective.phase in phases))


def train_phases(
    network: AudioLdm2Network,
    recipe: AudioLdm2Recipe,
    batch_at: RowsAt,
    *,
    nothing: Nothing,
    folder: Path,
    world: World,
    execution: Execution | None = None,
    watchers: Watchers | None = None,
) -> AudioLdm2Network | None:
    """Takes a network through the phases of a recipe, each from the average of the one before.

    Args:
        network: As it is before the first step; a scale of latents that is not 1 is kept, else it is measured.
        recipe: Its phases are gone through; its sizes are not looked at.
        batch_at: Rows of batch b.
        nothing: What stands where nothing is said.
        folder: Each phase has a folder in it.
        world: The processes that train together.
        execution: How the run is executed.
        watchers: Who is told what; clips are counted over all phases, and `evaluate` is called in the last alone.

    Returns:
        The last average, in every process; None where the run was stopped before its end.

    Raises:
        FloatingPointError: if a loss is not finite.
    """
    if not checkpoints(folder / recipe.phases[0].objective.phase / "checkpoints"):
        batches = [batch_at(number, range(recipe.batch_clips)) for number in range(_SCALE_BATCHES)]
        network.fit_mean_loa([batch["heard"] for batch in batches])
        if float(network.latent_scale) == 1:
            network.fit_scale([batch["latents"] for batch in batches])
    rows, before = world.rows(recipe.batch_clips), 0
    network = network.to(world.device)
    for one in recipe.phases:
        trained_parts(network, one.objective.phase)
        state = train(
            network,
            AudioLdm2Objective(one.objective, nothing),
            lambda number: batch_at(number, rows),
            one.training,
            folder=folder / one.objective.phase,
            world=world,
            execution=execution,
            watchers=_of_phase(watchers, before, is_last=one is recipe.phases[-1]),
        )
        if state.clips_seen < one.training.total_clips:
            return None
        averaged = state.ema.network
        if not isinstance(averaged, AudioLdm2Network):
            raise TypeError(f"the average is a {type(averaged).__name__}, not an AudioLdm2Network")
        network, before = averaged, before + one.training.total_clips
    return network


def _of_phase(watchers: Watchers | None, before: int, *, is_last: bool) -> Watchers | None:
    """Watchers of one phase: clips of earlier ones count too, and only the last can make sounds of words."""
    if watchers is None:
        return None
    tell, look = watchers.report, watchers.evaluate

    def report(said: Report) -> None:
        if tell is not None:
            tell({**said, "clips_seen": said["clips_seen"] + before})

    def evaluate(state: TrainingState) -> Report:
        return {} if look is None else look(replace(state, clips_seen=state.clips_seen + before))

    return replace(watchers, report=report, evaluate=evaluate if is_last and look is not None else None)
