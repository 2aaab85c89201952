"""Trains a small BEATs from nothing as a tagger of labelled sounds, for data sets and trials without published weights.

Published BEATs are first trained to guess tokens of hidden patches, then fine-tuned as taggers (arXiv 2212.09058); this
is the second step alone, at small sizes. What comes out is read like a published one, with taps and classes.

Legend: B sounds, T samples, L classes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.encoders.beats import FBANK, Beats, save_beats
from models.encoders.beats_network import BeatsConfig, BeatsNetwork
from models.encoders.kaldi_fbank import KaldiFbank
from models.model_folder import RUN_MODEL
from models.training.averaged import open_together, seeded, train_averaged, written
from models.training.ema import EmaSettings
from models.training.execution import Execution
from models.training.loop import TrainSettings, Watchers
from models.training.optimizers import OptimizerSettings
from models.training.schedule import Schedule
from models.training.step import Batch, StepResult
from models.training.world import World


@dataclass(frozen=True, kw_only=True, slots=True)
class BeatsRecipe:
    """A BEATs to train.

    Attributes:
        size: Of the network, with as many classes as there are labels.
        training: The run.
        batch_clips: Clips of one batch, over all processes.
        window_samples: Length of a training sample.
        gain_db: Sounds are made louder or softer by up to this much.
    """

    size: BeatsConfig
    training: TrainSettings
    batch_clips: int
    window_samples: int
    gain_db: float = 6.0

    def __post_init__(self) -> None:
        if self.size.classes is None:
            raise ValueError("a tagger needs classes: give the size as many as there are labels")
        if self.batch_clips < 1 or self.window_samples < 1 or self.gain_db < 0:
            raise ValueError(
                f"{self.batch_clips} clips, {self.window_samples} samples, {self.gain_db} dB: out of range"
            )


def beats_tiny(*, classes: int, total_clips: int = 3_000, seed: int = 0) -> BeatsRecipe:
    """For a few minutes of a CPU core: 3 s, 64 wide, 3 blocks, 0.2 M weights. All of it is ours.

    Args:
        classes: Labels.
        total_clips: Length of the run.
        seed: Of the run.
    """
    return BeatsRecipe(
        size=BeatsConfig(
            patch_width=64,
            width=64,
            hidden=128,
            depth=3,
            heads=4,
            position_kernel=16,
            position_groups=8,
            buckets=32,
            max_distance=128,
            classes=classes,
        ),
        training=TrainSettings(
            seed=seed,
            total_clips=total_clips,
            schedule=Schedule(peak=1e-3, warmup_clips=min(300, total_clips // 10), decay="cosine", floor=0.01),
            ema=EmaSettings(halflife_clips=200),
            optimizer=OptimizerSettings(weight_decay=1e-2, betas=(0.9, 0.98)),
            clip_seconds=3.0,
            report_every_clips=400,
            save_every_clips=2_000,
        ),
        batch_clips=16,
        window_samples=48_000,
    )


class Tagging:
    """What a step minimises: the cross-entropy of each class by itself, as BEATs' fine-tuning does."""

    def __init__(self, labels: Sequence[str], gain_db: float) -> None:
        self.numbers = {label: number for number, label in enumerate(labels)}
        self.gain_db = gain_db
        self._fbank = KaldiFbank(FBANK)

    def __call__(self, network: nn.Module, batch: Batch, rngs: Sequence[np.random.Generator]) -> StepResult:
        """The loss of a batch.

        Args:
            network: A `BeatsNetwork` with a predictor.
            batch: `waves`, float32 (B, T) at 16 kHz, and `labels`, a known one each.
            rngs: Draw the gains.
        """
        wave_BT = batch["waves"]
        gain_B = torch.tensor([10 ** (rng.uniform(-self.gain_db, self.gain_db) / 20) for rng in rngs])
        mel_BFM = self._fbank.to(wave_BT.device)(wave_BT * gain_B.to(wave_BT)[:, None])
        logit_BL: Tensor = network.classify(network(mel_BFM)[-1]).float()  # type: ignore[operator]
        number_B = torch.tensor([self.numbers[label] for label in batch["labels"]], device=wave_BT.device)
        wanted_BL = nn.functional.one_hot(number_B, len(self.numbers)).to(logit_BL)
        right = (logit_BL.argmax(1) == number_B).float()
        loss = nn.functional.binary_cross_entropy_with_logits(logit_BL, wanted_BL, reduction="none").sum(1).mean()
        tallies = {"right": torch.stack([right.sum(), torch.full_like(right.sum(), len(right))])}
        return StepResult(loss=loss, tallies=tallies)


def train_beats(
    recipe: BeatsRecipe,
    rows_at: Callable[[int, range], Batch],
    *,
    labels: Sequence[str],
    folder: Path,
    data: Mapping[str, Any],
    world: World,
    execution: Execution | None = None,
    watchers: Watchers | None = None,
) -> Beats | None:
    """Trains a BEATs, or goes on with the run in the folder, and saves the averaged network in `folder/model`.

    Args:
        recipe: What to train.
        rows_at: Rows of batch b; see `Tagging` for what is in it.
        labels: Names of the classes.
        folder: Of the run.
        data: What the batches are made of, as JSON; a run is not resumed with other data.
        world: The processes that train together.
        execution: How the run is executed.
        watchers: Who is told what.

    Returns:
        The listener, or None where the run was stopped before its end, or in another process than the first.

    Raises:
        ValueError: The folder holds another run, there are other labels than classes, or shards are asked for.
        FloatingPointError: A loss is not finite.
    """
    if execution is not None and execution.spread == "shards":
        raise ValueError("a BEATs is trained as replicas; drop --spread shards")
    if len(labels) != recipe.size.classes:
        raise ValueError(f"{len(labels)} labels cannot name {recipe.size.classes} classes")
    open_together(folder, {"recipe": written(recipe), "labels": list(labels), "data": dict(data)}, world)
    averaged = train_averaged(
        seeded(lambda: BeatsNetwork(recipe.size), recipe.training.seed).to(world.device),
        Tagging(labels, recipe.gain_db),
        rows_at,
        recipe,
        folder=folder,
        world=world,
        execution=execution,
        watchers=watchers,
    )
    if averaged is None:
        return None
    return Beats.from_pretrained(save_beats(averaged, folder / RUN_MODEL, labels=labels), device=world.device)
