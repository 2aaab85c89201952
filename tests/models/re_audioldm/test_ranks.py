"""Several processes train a Re-AudioLDM as one does, and leave a whole model."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.re_audioldm import ReAudioLDM
from models.training.world import World
from tests.models.re_audioldm.tiny_re_audioldm import save_sources, train_small

PROGRAM = Path(__file__).with_name("ranks.py")


def run_ranks(ranks: int, *words: object) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", PROGRAM]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run(
        [*map(str, command), *map(str, words)], check=True, env=environment, timeout=300, capture_output=True
    )


@pytest.mark.slow
def test_two_processes_leave_the_model_of_one(tmp_path):
    save_sources(tmp_path / "encoders")
    train_small(tmp_path / "alone", tmp_path / "encoders", world=World(device=torch.device("cpu")))
    alone = load_file(tmp_path / "alone" / "model" / "network.safetensors")
    for spread in ("replicas", "shards"):
        run_ranks(2, tmp_path / spread, spread, tmp_path / "encoders")
        found = load_file(tmp_path / spread / "model" / "network.safetensors")
        assert found.keys() == alone.keys()
        for name, tensor in alone.items():
            torch.testing.assert_close(found[name], tensor, atol=1e-4, rtol=1e-3, msg=f"{spread}: {name}")
        assert ReAudioLDM.from_pretrained(tmp_path / spread).generate(["rain"], seconds=0.2, steps=2).shape[2] == 200
