"""`foundsound train`: train a recipe on the shards of a dataset."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from curation.dataset import Dataset
from curation.errors import ArgumentError, StoppedError
from pipelines.recipes.audiox import train_audiox_tiny
from pipelines.recipes.clap import train_clap_tiny
from pipelines.recipes.options import RunOptions

RECIPES: dict[str, Callable[[Dataset, Path, RunOptions], dict[str, Any]]] = {
    "audiox-tiny": train_audiox_tiny,
    "clap-tiny": train_clap_tiny,
}


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A run that has ended."""

    folder: Path
    facts: dict[str, Any]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Folder, what the recipe reports, and the time of this call."""
        return {"folder": str(self.folder), **self.facts, "seconds": self.seconds}

    def __str__(self) -> str:
        facts = [f"{name} {_short(value)}" for name, value in self.facts.items()]
        return f"{self.folder}: {', '.join(facts)}; {self.seconds:.1f} s"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def train(
    recipe: Literal["audiox-tiny", "clap-tiny"],
    /,
    *,
    data: Path,
    generation: str = "train",
    text_encoder: str | None = None,
    codec: str | None = None,
    seconds: float | None = None,
    clips: int | None = None,
    seed: int = 0,
    out: Path | None = None,
) -> TrainResult:
    """Train a recipe on the shards of a dataset; run again, it goes on from its last checkpoint.

    Args:
        recipe: audiox-tiny, or clap-tiny: a small CLAP for data sets without published weights.
        data: Folder of the dataset.
        generation: Name of its shards.
        text_encoder: CLAP or T5 by name on the Hub or by folder; the dataset's own clap-tiny when not given.
        codec: A codec by folder, or an AutoencoderOobleck on the Hub; a closed-form one fitted here when not given.
        seconds: Length of a training sample, s; 4 when not given.
        clips: Clips seen in all; the recipe's own number when not given.
        seed: Of everything random.
        out: Folder of the run; DATASET/runs/RECIPE when not given.
    """
    begun = time.perf_counter()
    options = RunOptions(
        generation=generation, seed=seed, text_encoder=text_encoder, codec=codec, seconds=seconds, clips=clips
    )
    dataset = Dataset(data)
    folder = (out or dataset.folder("runs") / recipe).resolve()
    try:
        facts = RECIPES[recipe](dataset, folder, options)
    except ValueError as error:  # `models` imports nothing of ours and raises built-in errors for bad settings
        raise ArgumentError(str(error)) from error
    except FloatingPointError as error:
        raise StoppedError(f"training stopped: {error}") from error
    return TrainResult(folder, facts, time.perf_counter() - begun)
