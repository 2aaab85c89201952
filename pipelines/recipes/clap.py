"""The recipe `clap-tiny`: a small CLAP from nothing, for data sets of one's own and for trials without weights.

It knows the words and sounds of its shards and no others; for general sound take a published one
(`laion/clap-htsat-unfused`).
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.tables import TEMPORARY, write_bytes
from models.encoders.clap_fit import TinyClapConfig, fit_tiny_clap
from pipelines.progress import Progress
from pipelines.recipes.data import generation_identity, open_shards, sounds
from pipelines.recipes.options import RunOptions
from pipelines.wiring.devices import device_name, load_quietly

NAME = "clap-tiny"
STEPS = 300
WINDOW_S = 4


def _captioned(
    dataset: Dataset, generation: str, config: TinyClapConfig
) -> tuple[list[np.ndarray], list[list[str]], list[str]]:
    """The clips with captions: the first window of each sound, (T,) float32, its captions, and its labels as one text.

    Raises:
        ArgumentError: There are fewer than two.
    """
    shards = open_shards(dataset, generation)
    abouts = [shards.about(i) for i in range(len(shards))]
    captioned = [i for i, about in enumerate(abouts) if about["captions"]]
    if len(captioned) < 2:
        raise ArgumentError(f"generation {generation!r} has {len(captioned)} clips with captions; caption it first")
    window_samples = config.window_s * config.sample_rate_hz
    waves = [wave_CT[0][:window_samples] for wave_CT in sounds(shards, config.sample_rate_hz, 1, captioned)]
    labels = [" / ".join(abouts[i]["labels"]) or shards.key(i) for i in captioned]
    return waves, [abouts[i]["captions"] for i in captioned], labels


def train_clap_tiny(dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train a tiny CLAP on the captions of a generation; a finished run with the same settings is left as it is.

    Args:
        dataset: With the generation.
        folder: Of the run.
        options: What the user said.
    """
    if options.text_encoder is not None or options.codec is not None:
        raise ArgumentError("clap-tiny trains its own encoders; drop --text-encoder and --codec")
    if options.sources:
        raise ArgumentError("clap-tiny is trained on one dataset; give --data once, without a weight or a condition")
    generation, seed = options.generation, options.seed
    config = TinyClapConfig(window_s=WINDOW_S if options.seconds is None else max(1, round(options.seconds)))
    steps = STEPS if options.clips is None else max(1, options.clips // config.batch_clips)
    settings: dict[str, Any] = {"recipe": NAME, "steps": steps, "seed": seed, "window_s": config.window_s}
    settings |= generation_identity(dataset, generation)
    written = folder / "config.json"
    if written.is_file() and (folder / "model").is_dir():
        if json.loads(written.read_text()) != settings:
            raise ArgumentError(f"{folder} holds a run with other settings; give another folder with --out")
        return {"finished_before": True}
    waves, captions, labels = _captioned(dataset, generation, config)
    losses: list[float] = []
    with Progress("train", total=steps, unit="steps") as progress:

        def on_step(step: int, loss: float) -> None:
            losses.append(loss)
            progress.advance(note=f"loss {loss:.3f}")

        clap = fit_tiny_clap(
            waves,
            captions,
            groups=np.unique(labels, return_inverse=True)[1].tolist(),
            config=config,
            steps=steps,
            seed=seed,
            on_step=on_step,
            device=device_name(),
        )
    load_quietly()  # writes so too
    partial = folder / f"{TEMPORARY}model"
    shutil.rmtree(partial, ignore_errors=True)
    clap.save(partial)
    shutil.rmtree(folder / "model", ignore_errors=True)
    partial.rename(folder / "model")
    write_bytes(written, json.dumps(settings, indent=1).encode())
    return {"clips": len(waves), "steps": steps, "loss": float(np.mean(losses[-20:]))}
