"""A program that `torchrun` starts in several processes: trains the AudioX of `train_tiny`.

Arguments: the folder of the run, `replicas` or `shards`, the folder of a T5.
"""

import sys
from pathlib import Path

import torch

from models.training.world import World
from tests.models.audiox.tiny_audiox import train_tiny

folder, spread, t5 = sys.argv[1:]
world = World.join("cpu")
train_tiny(Path(folder), Path(t5), world=world, spread=spread)
world.wait()
torch.distributed.destroy_process_group()
