"""What a user may say about a run of any recipe."""

from dataclasses import dataclass, field
from typing import Literal

from curation.errors import ArgumentError
from curation.samples import Source
from models.training.execution import Execution
from pipelines.training.evaluation import EvaluationOptions

MOST_SECONDS = 3600.0
"""Longest training sample, s. Source: ours; slips beyond fill the memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Retrieving:
    """What Re-AudioLDM reads of the clips that are nearest to a prompt; no other recipe retrieves.

    Args:
        retrieval: Their sounds and captions, their sounds alone, or nothing, which is AudioLDM.
        neighbours: How many are read, the nearest; as many as the recipe says when not given.
        found: Name of the neighbours that `neighbours` stored, as given to its --name.
    """

    retrieval: Literal["none", "audio", "audio+text"] = "audio+text"
    neighbours: int | None = None
    found: str = "text"

    def __post_init__(self) -> None:
        if self.neighbours is not None and self.neighbours < 1:
            raise ArgumentError(f"--neighbours must be at least 1, not {self.neighbours}; for none --retrieval none")


@dataclass(frozen=True, kw_only=True, slots=True)
class Learning:
    """How AudioX learns; other recipes have their own ways.

    Args:
        also_seconds: A further length of samples, s; a clip is seen at the longest that it fills. May be repeated.
        optimizer: AdamW, or Muon for the matrices of the blocks; what the recipe says when not given.
    """

    also_seconds: tuple[float, ...] = ()
    optimizer: Literal["adamw", "muon"] | None = None

    def __post_init__(self) -> None:
        for seconds in self.also_seconds:
            if not seconds > 0:
                raise ArgumentError(f"--also-seconds must be above 0, not {seconds}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """Options of `foundsound train`; None leaves the choice to the recipe.

    Args:
        generation: Name of the shards that are trained on, of the first dataset.
        sources: All that is trained on, where that is more than the generation; empty: the generation alone.
        seed: Of everything random, at least 0.
        text_encoder: A CLAP or T5 by name or folder.
        codec: A codec by name or folder.
        listener: A frozen listener by run, file, folder or name: an AudioMAE, or a BEATs.
        pictures: A frozen text-to-image model by run, folder or name.
        clap: A CLAP by name or folder, for the vectors of prompts.
        start: A trained model, by folder, that is trained further.
        retrieving: What is read of the nearest clips.
        learning: How AudioX learns.
        seconds: Length of a training sample, s, above 0 and at most `MOST_SECONDS`.
        clips: Clips seen in all, at least 1.
        execution: How the run is executed.
        raw: Encode nothing beforehand.
        wandb: Project at Weights & Biases that is shown the run; None: none.
        evaluation: Samples that are made and judged during the run.
    """

    generation: str = "train"
    sources: tuple[Source, ...] = ()
    seed: int = 0
    text_encoder: str | None = None
    codec: str | None = None
    listener: str | None = None
    pictures: str | None = None
    clap: str | None = None
    start: str | None = None
    retrieving: Retrieving = field(default_factory=Retrieving)
    learning: Learning = field(default_factory=Learning)
    seconds: float | None = None
    clips: int | None = None
    execution: Execution = field(default_factory=Execution)
    raw: bool = False
    wandb: str | None = None
    evaluation: EvaluationOptions = field(default_factory=EvaluationOptions)

    def __post_init__(self) -> None:
        for option, value in (("--seconds", self.seconds), ("--clips", self.clips)):
            if value is not None and not value > 0:
                raise ArgumentError(f"{option} must be above 0, not {value}")
        if self.seconds is not None and self.seconds > MOST_SECONDS:
            raise ArgumentError(f"--seconds must be at most {MOST_SECONDS:g}, not {self.seconds:g}")
        if self.seed < 0:
            raise ArgumentError(f"--seed must be at least 0, not {self.seed}")
