"""The processes that train one network together, started by `torchrun`, by Ray Train, or one alone.

Batches are global: rank r of w takes the rows r, r + w, r + 2 w, ... of each, so that a run is the same whatever w is.
"""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

import torch
import torch.distributed as dist
from torch import Tensor

PATIENCE = timedelta(days=7)
"""How long processes wait for one that encodes, evaluates or writes for all; those that step together wait as long as
torch has them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """Where this process stands among those that train together.

    Attributes:
        device: On which this process computes.
        rank: Its number, 0 to `size` - 1; rank 0 writes the log.
        size: How many there are.
        patient: A group for waits that may be long; None alone.
        beside: A group for what happens beside the steps, as the end of a checkpoint's writing; None alone.
    """

    device: torch.device
    rank: int = 0
    size: int = 1
    patient: dist.ProcessGroup | None = None
    beside: dist.ProcessGroup | None = None

    @classmethod
    def join(cls, device: torch.device | str) -> Self:
        """This process's place, from what `torchrun` or Ray Train put into the environment.

        Args:
            device: `cpu`, or `cuda`: then the one of the process's local rank.

        Raises:
            ValueError: if the environment names a world but not the place in it.
        """
        size = int(os.environ.get("WORLD_SIZE", "1"))
        kind = torch.device(device)
        if size == 1:
            return cls(device=kind)
        if "RANK" not in os.environ:
            raise ValueError(f"WORLD_SIZE is {size} and RANK is not set: start with torchrun, or unset WORLD_SIZE")
        own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if kind.type == "cuda" else kind
        if own.type == "cuda":
            torch.cuda.set_device(own)
        if not dist.is_initialized():
            dist.init_process_group("cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo")
        patient, beside = (dist.new_group(backend="gloo", timeout=PATIENCE) for _ in range(2))
        return cls(device=own, rank=dist.get_rank(), size=size, patient=patient, beside=beside)

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes what is written once."""
        return self.rank == 0

    def rows(self, clips: int) -> range:
        """Rows of a global batch of `clips` clips that are this process's.

        Raises:
            ValueError: if they cannot be shared evenly.
        """
        if clips % self.size:
            raise ValueError(f"a batch of {clips} clips cannot be shared evenly by {self.size} processes")
        return range(self.rank, clips, self.size)

    def summed(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes; the tensor itself when alone."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Goes on when all processes are here, however long one is busy for all."""
        if self.patient is not None:
            dist.barrier(group=self.patient)

    def wait_beside(self) -> None:
        """The same in a thread beside the steps; one thread a process may be in it."""
        if self.beside is not None:
            dist.barrier(group=self.beside)
