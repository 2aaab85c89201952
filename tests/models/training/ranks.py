"""A program that `torchrun` starts in several processes: trains the toy of `toys.py` and saves what came out.

Arguments: the folder of the run, the file of the weights, `replicas` or `shards`, total clips.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor

from models.training.execution import Execution
from models.training.gradients import rows_of
from models.training.loop import train
from models.training.world import World
from tests.models.training.toys import RANK_SETTINGS, batch_at, make_blocks, noisy_square


def main() -> None:
    folder, out, spread, total = sys.argv[1:]
    world = World.join("cpu")

    def rows_at(number):
        batch = batch_at(number)
        return {name: value[world.rank :: world.size] for name, value in rows_of(batch, 0, 4).items()}

    state = train(
        make_blocks(),
        noisy_square,
        rows_at,
        replace(RANK_SETTINGS, total_clips=int(total)),
        folder=Path(folder),
        world=world,
        execution=Execution(spread=spread, micro_clips=1),
    )
    tensors = {}
    for name, tensor in state.network.state_dict().items():
        tensors[name] = (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().clone()
    if world.is_first:  # whose average is whole in any case
        averaged = state.ema.network.state_dict().items()
        tensors |= {f"ema.{name}": tensor.detach().clone() for name, tensor in averaged}
    if world.is_first:
        save_file(tensors, out)
    world.wait()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


main()
