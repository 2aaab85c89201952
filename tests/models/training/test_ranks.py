"""Several processes train what one trains: replicas and shards, resumed by another number of them."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.training.loop import train
from tests.models.training.toys import RANK_SETTINGS, batch_at, make_blocks, noisy_square

PROGRAM = Path(__file__).with_name("ranks.py")
TOLERANCE = 1e-5
"""Sums over processes come in another order than in one: float32 rounding."""


def run_ranks(ranks: int, *words: object) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", PROGRAM]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }
    subprocess.run(
        [*map(str, command), *map(str, words)], check=True, env=environment, timeout=120, capture_output=True
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The weights after 80 clips in one process."""
    folder = tmp_path_factory.mktemp("alone")
    state = train(make_blocks(), noisy_square, batch_at, RANK_SETTINGS, folder=folder)
    return {**state.network.state_dict(), **{f"ema.{n}": t for n, t in state.ema.network.state_dict().items()}}


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=TOLERANCE, rtol=TOLERANCE, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("spread", ["replicas", "shards"])
def test_two_processes_come_to_the_weights_of_one(alone, tmp_path, spread):
    run_ranks(2, tmp_path / "run", tmp_path / "weights.safetensors", spread, 80)
    assert_close(load_file(tmp_path / "weights.safetensors"), alone)
    newest = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
    assert len(list(newest.glob("network-*-of-00002.safetensors"))) == 2


@pytest.mark.slow
def test_one_goes_on_with_what_two_began_and_four_end_it(alone, tmp_path):
    run_ranks(2, tmp_path / "run", tmp_path / "weights.safetensors", "shards", 32)
    state = train(
        make_blocks(), noisy_square, batch_at, replace(RANK_SETTINGS, total_clips=48), folder=tmp_path / "run"
    )
    assert state.step == 12
    run_ranks(4, tmp_path / "run", tmp_path / "weights.safetensors", "shards", 80)
    assert_close(load_file(tmp_path / "weights.safetensors"), alone)
