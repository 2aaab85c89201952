"""The recipe `audiox-tiny`: AudioX at a size that two CPU cores train in a minute."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from curation.dataset import Dataset
from curation.errors import ArgumentError, StoppedError
from curation.shards.batches import BatchPlan
from models.audiox.encoder_source import ConditionSources, EncoderSource
from models.audiox.recipes import audiox_tiny, tiny_frames, train_audiox
from models.codecs.closed_form import MdctPcaConfig
from models.codecs.codec import load_codec
from pipelines.progress import Progress
from pipelines.recipes.data import fitted_codec, generation_identity, latent_batches
from pipelines.recipes.options import RunOptions
from pipelines.wiring.devices import device_name

NAME = "audiox-tiny"
SECONDS = 4.0
FRAME_RATE_HZ = 5.0
CODEC = MdctPcaConfig(sample_rate_hz=16_000, channels=1, hop_samples=400, latent_channels=96)


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


def _own_clap(dataset: Dataset) -> str:
    """The folder of the CLAP that was trained on the dataset.

    Raises:
        ArgumentError: There is none.
    """
    own = dataset.folder("runs") / "clap-tiny" / "model"
    if not own.is_dir():
        raise ArgumentError(
            f"audiox-tiny needs a text encoder: give --text-encoder laion/clap-htsat-unfused (or a T5, or a folder), "
            f"or train one on this dataset: foundsound train clap-tiny --data {dataset.path}"
        )
    return str(own)


def _watch(progress: Progress, last: dict[str, float]) -> Callable[[Mapping[str, float]], None]:
    """What is told of every line of the log: it shows the line, and keeps the newest values in `last`."""
    shown = 0

    def on_report(report: Mapping[str, float]) -> None:
        nonlocal shown
        last.update(report)
        seen = int(report["clips_seen"])
        progress.advance(seen - shown, note=f"loss {report.get('loss', float('nan')):.3f}")
        shown = seen

    return on_report


def train_audiox_tiny(dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with `audiox-tiny`.

    Args:
        dataset: With the generation.
        folder: Of the run.
        options: What the user said.

    Returns:
        What there is to say: clips trained on, clips seen, last loss.
    """
    sources = ConditionSources(text=text_source(options.text_encoder or _own_clap(dataset)), frames=tiny_frames())
    generation, seed = options.generation, options.seed
    seconds = SECONDS if options.seconds is None else options.seconds
    codec = options.codec or str(fitted_codec(dataset, generation, name=NAME, config=CODEC, seed=seed))
    loaded = load_codec(codec, device=device_name())
    recipe = audiox_tiny(
        latent_channels=loaded.latent_channels,
        text_width=sources.text.text_encoder("cpu").text_width,
        **({} if options.clips is None else {"total_clips": options.clips}),
        seed=seed,
    )
    samples, batch_at = latent_batches(
        dataset,
        generation,
        codec=codec,
        name=NAME,
        seconds=seconds,
        frame_rate_hz=FRAME_RATE_HZ,
        frame_size_px=tiny_frames().side_px,
        plan=lambda count: BatchPlan(n_samples=count, batch_size=recipe.batch_clips, seed=seed),
    )
    last: dict[str, float] = {}
    with Progress("train", total=recipe.training.total_clips, unit="clips") as progress:
        model = train_audiox(
            recipe,
            batch_at,
            codec=loaded,
            sources=sources,
            folder=folder,
            data={**generation_identity(dataset, generation), "seconds": seconds},
            device=device_name(),
            on_report=_watch(progress, last),
        )
    if model is None:
        raise StoppedError(f"the run in {folder} was stopped; the same command goes on from its last checkpoint")
    return {"clips": len(samples), "too_short": samples.too_short, **last}
