"""A program that `torchrun` starts in several processes: trains the codec of `tiny_waveform.py` in a folder."""

import sys
from pathlib import Path

import torch

from models.codecs.recipes import train_codec
from models.training.execution import Execution
from models.training.world import World
from tests.models.codecs.tiny_waveform import SLOW_RECIPE, waves_at

world = World.join("cpu")
train_codec(SLOW_RECIPE, waves_at, folder=Path(sys.argv[1]), data={}, world=world, execution=Execution(micro_clips=1))
world.wait()
torch.distributed.destroy_process_group()
