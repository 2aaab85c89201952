"""How long a training run waits for its data, and its memory by the size of its micro-batches.

`audiox-small` on latents of 10 s and tokens of T5-base, which two threads read while it trains. The peer is the bound
of 2 % of the time. Each memory is that of a process of its own, two steps long.

    python -m benchmarks.training MICRO_CLIPS       one such process; prints what it reports
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from benchmarks import Measured
from benchmarks.loader import CHANNELS, TOKEN_CHANNELS, made
from models.audiox.conditioning import ConditionEncoders
from models.audiox.network import AudioXNetwork
from models.audiox.objective import AudioXObjective
from models.audiox.recipes import audiox_small, small_frames
from models.training.execution import Execution
from models.training.loop import train
from pipelines.recipes.data import batches_of

CLIPS, STEPS, MOST_WAITED = 1_000, 8, 0.02
MICRO_CLIPS = (16, 4, 1)


class TokensAlone:
    """Stands for a text encoder that nobody asks: the tokens are stored."""

    text_width = TOKEN_CHANNELS

    def text_tokens(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Nothing: it is an error."""
        raise RuntimeError("a text was encoded in the step")


def measure() -> Measured:
    # First, while this process is small: a child's largest memory is at least what its parent had.
    memory = {f"memory_gb_micro_{micro_clips}": alone(micro_clips)["memory_gb"] for micro_clips in MICRO_CLIPS}
    waited = run(steps=STEPS, micro_clips=None)
    return {
        "ratio": MOST_WAITED / max(waited["data_wait_fraction"], 1e-9),
        "peer": "the bound of 2 % of the time",
        "data_wait_fraction": waited["data_wait_fraction"],
        "clips_a_second": waited["clips_per_s"],
        "tflop_a_second": waited["tflop_per_s"],
        **memory,
    }


def run(*, steps: int, micro_clips: int | None) -> dict[str, float]:
    """Some steps, and what they report."""
    recipe = audiox_small(latent_channels=CHANNELS, text_width=TOKEN_CHANNELS)
    seen = steps * recipe.batch_clips
    settings = replace(recipe.training, total_clips=seen, report_every_clips=seen, save_every_clips=seen)
    with tempfile.TemporaryDirectory(dir=os.environ.get("FOUNDSOUND_BENCH_DISK")) as name:
        samples = made(Path(name), CLIPS, pictured=False).opened()
        rows_at = batches_of(samples, samples.plan(batch_size=recipe.batch_clips, seed=0))
        network = AudioXNetwork(recipe.network)
        network.scale.fit([rows_at(0, range(recipe.batch_clips))["latents"]])
        train(
            network,
            AudioXObjective(recipe.objective, ConditionEncoders(TokensAlone(), small_frames())),
            lambda number: rows_at(number, range(recipe.batch_clips)),
            settings,
            folder=Path(name) / "run",
            execution=Execution(micro_clips=micro_clips, loader_threads=2),
        )
        report: dict[str, float] = json.loads((Path(name) / "run" / "log.jsonl").read_text().splitlines()[-1])
        return report


def alone(micro_clips: int) -> dict[str, float]:
    """What two steps report in a process of their own."""
    words = [sys.executable, "-m", "benchmarks.training", str(micro_clips)]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    report: dict[str, float] = json.loads(said.splitlines()[-1])
    return report


if __name__ == "__main__":
    print(json.dumps(run(steps=2, micro_clips=int(sys.argv[1]))))
