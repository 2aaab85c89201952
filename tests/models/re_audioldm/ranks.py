"""A program that `torchrun` starts in several processes: trains the Re-AudioLDM of `train_small`.

Arguments: the folder of the run, `replicas` or `shards`, the folder of its encoders.
"""

import sys
from pathlib import Path

import torch

from models.training.world import World
from tests.models.re_audioldm.tiny_re_audioldm import train_small

folder, spread, encoders = sys.argv[1:]
world = World.join("cpu")
train_small(Path(folder), Path(encoders), world=world, spread=spread)
world.wait()
torch.distributed.destroy_process_group()
