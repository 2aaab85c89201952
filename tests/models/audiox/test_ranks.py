"""Several processes train an AudioX as one does, also by batches without pictures, and leave a whole model."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.audiox import AudioX
from models.training.world import World
from tests.models.audiox.tiny_audiox import train_tiny

PROGRAM = Path(__file__).with_name("ranks.py")


def run_ranks(ranks: int, *words: object) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", PROGRAM]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run(
        [*map(str, command), *map(str, words)], check=True, env=environment, timeout=120, capture_output=True
    )


@pytest.mark.slow
def test_two_processes_leave_the_model_of_one(tmp_path, t5_folder):
    train_tiny(tmp_path / "alone", t5_folder, world=World(device=torch.device("cpu")))
    alone = load_file(tmp_path / "alone" / "model" / "network.safetensors")
    for spread in ("replicas", "shards"):
        run_ranks(2, tmp_path / spread, spread, t5_folder)
        found = load_file(tmp_path / spread / "model" / "network.safetensors")
        assert found.keys() == alone.keys()
        for name, tensor in alone.items():
            torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=1e-5, msg=f"{spread}: {name}")
        assert AudioX.from_pretrained(tmp_path / spread).generate(["rain"], seconds=0.2, steps=2).shape == (1, 1, 200)
