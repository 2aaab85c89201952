"""Runs of AudioX on real sounds that are killed and gone on with, and that several workers share: the same losses."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.evidence.shown import Row

COMPARED = ("step", "clips_seen", "loss", "gradient_norm")
"""Of a line of `log.jsonl`; the rest are times and rates."""

PATIENCE_S = 1800.0
"""Longest time until a first checkpoint."""

FURTHER_S = 2.0
"""Time that a run goes on after its first checkpoint until it is killed; what it does then is done again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunsPlan:
    """How long the runs are.

    Args:
        recipe: Of AudioX.
        seconds: Length of a training sample, s.
        killed_clips: Clips of the run that is killed; more than the recipe saves after.
        shared_clips: Clips of the run that two workers share: 20 steps. After some 30 of samples as short, any other
            order of the same sums, as a micro-batch of half the size, leads elsewhere.
    """

    recipe: str = "audiox-small"
    seconds: float = 0.5
    killed_clips: int = 4_800
    shared_clips: int = 320


def curve_of(run: Path) -> list[list[float]]:
    """What of a run's log has to be the same whenever it is run.

    Raises:
        ValueError: The log holds no line.
    """
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    if not lines:
        raise ValueError(f"{run / 'log.jsonl'} holds no line; nothing can be compared")
    return [[line[name] for name in COMPARED] for line in lines]


def furthest(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> float:
    """The largest relative difference of two curves, in any of their numbers.

    Raises:
        ValueError: They have not as many lines.
    """
    if len(one) != len(other):
        raise ValueError(f"the curves have {len(one)} and {len(other)} lines; only runs of one length are compared")
    pairs = [pair for lines in zip(one, other, strict=True) for pair in zip(*lines, strict=True)]
    return max(abs(first - second) / max(abs(first), abs(second), 1e-12) for first, second in pairs)


def command(plan: RunsPlan, dataset: Path, out: Path, clips: int, *more: str) -> list[str]:
    """The verb as a user types it."""
    words = ["train", plan.recipe, "--data", str(dataset), "--seconds", f"{plan.seconds:g}", "--clips", str(clips)]
    return [sys.executable, "-m", "pipelines.main", *words, "--out", str(out), *more]


def kill_after_first_checkpoint(words: Sequence[str], out: Path) -> int:
    """Start a run, kill it with SIGKILL once it has saved a state, and say how many clips its log then had.

    Raises:
        RuntimeError: It ended, or saved nothing in `PATIENCE_S`.
    """
    running = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + PATIENCE_S
    while not list((out / "checkpoints").glob("step-*")):
        if running.poll() is not None or time.monotonic() > until:
            running.kill()
            raise RuntimeError(f"the run in {out} ended or took too long before it saved a state")
        time.sleep(0.2)
    time.sleep(FURTHER_S)
    os.kill(running.pid, signal.SIGKILL)
    if running.wait() != -signal.SIGKILL:
        raise RuntimeError(f"the run in {out} had ended before it was killed; give it more clips")
    return int(curve_of(out)[-1][COMPARED.index("clips_seen")])


def killed_row(plan: RunsPlan, dataset: Path) -> Row:
    """A run that was killed and run again, beside one that was not."""
    whole, parts = dataset / "runs" / "whole", dataset / "runs" / "killed"
    words = command(plan, dataset, parts, plan.killed_clips)
    note = parts / "killed-at.json"
    if not note.is_file():
        note.write_text(json.dumps(kill_after_first_checkpoint(words, parts)))
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(command(plan, dataset, whole, plan.killed_clips), check=True, stdout=subprocess.DEVNULL)
    one, other = curve_of(whole), curve_of(parts)
    return {
        "run": f"{plan.recipe}, {plan.killed_clips} clips, killed after {json.loads(note.read_text())}",
        "compared": f"{len(one)} lines of the log",
        "last loss": repr(one[-1][COMPARED.index("loss")]),
        "and again": repr(other[-1][COMPARED.index("loss")]),
        "largest relative difference": furthest(one, other),
    }


def shared_row(plan: RunsPlan, dataset: Path) -> Row:
    """A run of two Ray workers, beside one alone."""
    alone, together = (dataset / "runs" / f"{name}-{plan.shared_clips}" for name in ("alone", "together"))
    subprocess.run(command(plan, dataset, alone, plan.shared_clips), check=True, stdout=subprocess.DEVNULL)
    words = command(plan, dataset, together, plan.shared_clips, "--workers", "2")
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    one, other = curve_of(alone), curve_of(together)
    return {
        "run": f"{plan.recipe}, {plan.shared_clips} clips, two Ray workers",
        "compared": f"{len(one)} lines of the log",
        "last loss": repr(one[-1][COMPARED.index("loss")]),
        "and again": repr(other[-1][COMPARED.index("loss")]),
        "largest relative difference": furthest(one, other),
    }
