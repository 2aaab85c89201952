"""`foundsound train`: train a recipe on the shards of a dataset."""

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from safetensors import SafetensorError

from curation.dataset import Dataset
from curation.errors import ArgumentError, FoundsoundError, LockedError, StoppedError
from curation.samples import Source
from models.training.execution import Execution
from pipelines.recipes import NO_USE, RECIPES, RecipeName, function_of
from pipelines.recipes.data import source_of
from pipelines.recipes.options import Learning, Retrieving, RunOptions
from pipelines.training.evaluation import EvaluationOptions
from pipelines.training.workers import train_together, write_facts


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


USUAL = Learning()


@dataclass(frozen=True, kw_only=True, slots=True)
class Machinery:
    """How a run is executed; but for `learning` it changes the speed and not what comes out, up to rounding.

    Args:
        workers: Processes that train together, one a GPU; under torchrun, which starts them itself, 1.
        address: Of a Ray cluster for the workers; this machine when not given.
        micro_clips: Clips that go through the network at once; halved when the memory does not suffice.
        compile: Compile the network's blocks (a minute once, then faster).
        recompute: What the backward pass computes again to save memory: none, selective or full.
        spread: Over several workers: replicas of the network, or shards of it, for those that one GPU cannot hold.
        loader_threads: Threads that make batches.
        raw: Encode nothing beforehand: the threads decode the shards' files and run the codec for every sample.
        wandb: Project at Weights & Biases that is shown the run; TensorBoard's files are written in any case.
        samples: Sounds of fixed prompts, or pictures of fixed sounds, that are made during the run; 0: none.
        evaluate_every: Clips after which they are made; the recipe's own number when not given.
        judge: What judges them beside real ones, KIND:WEIGHTS as in `evaluate sounds`, where those at hand do so when
            it is not given, or as in `evaluate pictures`; may be repeated.
        learning: How AudioX learns.
    """

    workers: int = 1
    address: str | None = None
    micro_clips: int | None = None
    compile: bool = False
    recompute: Literal["none", "selective", "full"] = "none"
    spread: Literal["replicas", "shards"] = "replicas"
    loader_threads: int = 2
    raw: bool = False
    wandb: str | None = None
    samples: int = 0
    evaluate_every: int | None = None
    judge: tuple[str, ...] = ()
    learning: Annotated[Learning, Parameter(name="*")] = USUAL

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ArgumentError(f"--workers must be at least 1, not {self.workers}")

    def execution(self) -> Execution:
        """What the loop is told of it."""
        return Execution(
            micro_clips=self.micro_clips,
            compile=self.compile,
            recompute=self.recompute,
            spread=self.spread,
            loader_threads=self.loader_threads,
        )

    def options(self) -> dict[str, Any]:
        """What a recipe is told of it, by the names of `RunOptions`."""
        evaluation = EvaluationOptions(samples=self.samples, every_clips=self.evaluate_every, judges=self.judge)
        told = {"raw": self.raw, "wandb": self.wandb, "learning": self.learning}
        return {"execution": self.execution(), "evaluation": evaluation, **told}


ALONE = Machinery()

FULL = "No space left on device"
"""What safetensors writes into its error of a disk that is full, which is no OSError."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """Frozen models that a recipe listens or speaks to.

    Args:
        listener: An AudioMAE, or for AudioToken a BEATs, by run, file, folder or name on the Hub.
        pictures: For AudioToken: a Stable Diffusion 1 or 2, or a run of pictures-tiny, by folder or name on the Hub.
        clap: For AudioLDM 2, and for Re-AudioLDM, whose neighbours it found; the dataset's clap-tiny when not given.
        start: For AudioLDM 2: a run, or a folder of diffusers' pipeline, that is trained further.
    """

    listener: str | None = None
    pictures: str | None = None
    clap: str | None = None
    start: str | None = None


OWN = Parts()
NEAREST = Retrieving()


def train(
    recipe: RecipeName,
    /,
    *,
    data: Annotated[Sequence[str], Parameter(name="--data")],
    generation: str = "train",
    text_encoder: str | None = None,
    codec: str | None = None,
    seconds: float | None = None,
    clips: int | None = None,
    seed: int = 0,
    out: Path | None = None,
    parts: Annotated[Parts, Parameter(name="*")] = OWN,
    retrieving: Annotated[Retrieving, Parameter(name="*")] = NEAREST,
    machinery: Annotated[Machinery, Parameter(name="*")] = ALONE,
) -> TrainResult | None:
    """Train a recipe on the shards of a dataset; run again, it goes on from its last checkpoint.

    Args:
        recipe: AudioX for two CPU cores in minutes (tiny) or an hour (small), or as in its paper (base); or
            clap-tiny, a small CLAP for data sets without published weights; audiomae-tiny or -base, a listener that
            learns by hiding; or a codec for `codec`: codec-tiny or -44k of waves, mel-vae-tiny of mel spectrograms; or
            audiotoken-tiny, -base or -labels-base (with its loss of classes), pictures from sounds, with beats-tiny and
            pictures-tiny for data sets without published weights; or re-audioldm-tiny, -small or -large, sounds from
            words and the clips nearest to them;
            or audioldm2-tiny, -base or -large, sounds from words by way of the language of audio, and
            audioldm2-speech-tiny or -base, which say transcripts (eSpeak NG says how).
        data: Folder of the dataset; several are mixed by weight: DATASET[@GENERATION][:WEIGHT][?CONDITION], as
            --data vgg:0.3 --data 'v2m@music:0.7?tag.music_ratio > 0.5'.
        generation: Name of its shards, where `data` names none.
        text_encoder: CLAP or T5 by name on the Hub or by folder; the dataset's own clap-tiny when not given.
        codec: A run of a codec, a fitted one, an AutoencoderOobleck or vae + vocoder; one is fitted when not given.
        seconds: Length of a training sample, s; the recipe's own when not given.
        clips: Clips seen in all; the recipe's own number when not given.
        seed: Of everything random.
        out: Folder of the run; DATASET/runs/RECIPE when not given.
        parts: Frozen models.
        retrieving: What is read of the nearest clips.
        machinery: How the run is executed.

    Returns:
        What came of it; None in a process that torchrun started and that is not the first.
    """
    begun = time.perf_counter()
    sources = tuple(source_of(word, generation=generation) for word in data)
    dataset = sources[0].dataset
    folder = (out or dataset.folder("runs") / recipe).resolve()
    try:
        said: dict[str, Any] = {"seed": seed, "text_encoder": text_encoder, "codec": codec}
        said |= {"seconds": seconds, "clips": clips}
        options = RunOptions(
            **_of_sources(sources), **said, **asdict(parts), retrieving=retrieving, **machinery.options()
        )
        asked = {"recipe": recipe, "path": dataset.path.resolve(), "folder": folder, "options": options}
        facts = _facts(asked, machinery)
    except (ValueError, FloatingPointError, BlockingIOError) as error:
        raise _told(error) from error
    return TrainResult(folder, facts, time.perf_counter() - begun) if _is_first() else None


def _told(error: Exception) -> FoundsoundError:
    """`models` imports nothing of ours and raises built-in errors: for bad settings, and for what stops a run."""
    if isinstance(error, FloatingPointError):
        return StoppedError(f"training stopped: {error}")
    return LockedError(str(error)) if isinstance(error, BlockingIOError) else ArgumentError(str(error))


def _facts(asked: dict[str, Any], machinery: Machinery) -> dict[str, Any]:
    """What a run has to say, in this process or in workers.

    Raises:
        ArgumentError: The recipe knows no workers, makes no samples, or has no use for a frozen model that is given.
    """
    options: RunOptions = asked["options"]
    given = {
        "samples": machinery.samples > 0,
        "pictures": options.pictures is not None,
        "listener": options.listener is not None,
        "clap": options.clap is not None,
        "start": options.start is not None,
        "learning": options.learning != USUAL,
        "retrieving": options.retrieving != NEAREST,
        "workers": machinery.workers > 1,
    }
    for name, is_given in given.items():
        if is_given and name not in RECIPES[asked["recipe"]].takes:
            raise ArgumentError(f"{asked['recipe']} {NO_USE[name]}")
    if machinery.workers == 1:
        return run_recipe(**asked)
    return train_together(
        run_recipe, asked, folder=asked["folder"], workers=machinery.workers, address=machinery.address
    )


def _of_sources(sources: tuple[Source, ...]) -> dict[str, Any]:
    """What a recipe is told of its data, by the names of `RunOptions`."""
    is_plain = len(sources) == 1 and _is_plain(sources[0])
    return {"generation": sources[0].generation, "sources": () if is_plain else sources}


def _is_plain(source: Source) -> bool:
    return source.weight is None and source.where is None


def run_recipe(recipe: RecipeName, path: Path, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Run a recipe in this process, alone or as one of several, and leave in the folder what it has to say.

    Raises:
        StoppedError: The memory or the disk does not suffice.
    """
    try:
        facts = function_of(recipe)(Dataset(path), folder, options)
    except SafetensorError as error:
        if FULL not in str(error):
            raise
        raise StoppedError(f"the disk of {folder} is full; free some space and run the same command again") from error
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise StoppedError(
            f"out of memory; give a smaller --micro-clips, or shorter --seconds, and run it again: {error}"
        ) from error
    return write_facts(folder, facts) if _is_first() else facts


def _is_out_of_memory(error: Exception) -> bool:
    """Whether NumPy, or torch on a GPU or a CPU, says so; torch's own error is not imported by this file."""
    is_gpus = type(error).__name__ == "OutOfMemoryError"
    return isinstance(error, MemoryError) or is_gpus or "can't allocate memory" in str(error)


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"
