"""The gradients of a global batch: in micro-batches that fit the memory, over all processes."""

import gc
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from models.training.execution import Execution, blocks_of
from models.training.step import Batch, Objective, StepResult, sample_rngs
from models.training.world import World

Notice = Callable[[str], None]

FITS = 2
"""Steps before which several processes find out whether their micro-batch fits: the first, and the one after the
optimizer has made its state. Source: ours; afterwards the memory that a step needs grows no more."""


class Gradients:
    """Accumulates the gradient of the mean loss of a batch in a network's parameters.

    Args:
        network: The trained network, prepared and spread as `execution` says.
        objective: Called for every micro-batch.
        world: The processes; each is given its rows.
        execution: Its `micro_clips` is where the size of a micro-batch begins.
        seed: Of the run.
        notice: Is told when the memory did not suffice.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        world: World,
        execution: Execution,
        *,
        seed: int,
        notice: Notice | None = None,
    ) -> None:
        self.micro_clips = execution.micro_clips
        self._network, self._world, self._seed = network, world, seed
        self._notice = notice or (lambda text: None)
        self._loss: nn.Module = _Loss(network, objective)
        self._is_spread = world.size > 1
        self.is_sharded = self._is_spread and execution.spread == "shards"
        self._fits_left = FITS if self._is_spread and not self.is_sharded else 0
        if self._is_spread and not self.is_sharded:
            self._loss = nn.parallel.DistributedDataParallel(self._loss, broadcast_buffers=False)

    def of(self, batch: Batch, *, step: int, first_clip: int) -> StepResult:
        """Leaves the gradients in the network's parameters.

        Args:
            batch: This process's rows.
            step: Steps before this one.
            first_clip: Clips seen before this batch.

        Returns:
            The mean loss of these rows, and their tallies.

        Raises:
            torch.OutOfMemoryError: if not even one clip fits.
        """
        while self._fits_left:
            self._fit(batch, step, first_clip)
        while True:
            try:
                return self._accumulate(batch, step, first_clip)
            except torch.OutOfMemoryError:
                if self._is_spread or self._size(batch) == 1:
                    raise
            self._halve(batch)

    def _accumulate(self, batch: Batch, step: int, first_clip: int) -> StepResult:
        rows, size = len(batch["keys"]), self._size(batch)
        losses: list[Tensor] = []
        tallies: dict[str, Tensor] = {}
        # What modules draw themselves (dropout) comes from torch's own generator: set by the step, a resume repeats it.
        torch.manual_seed(self._seed * 1_000_003 + step)
        for begin in range(0, rows, size):
            end = min(begin + size, rows)
            with self._synchronised(end == rows):
                loss, more = self._forward(batch, begin, end, first_clip)
                (loss * ((end - begin) / rows)).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach() * ((end - begin) / rows))
            tallies = {name: tallies[name] + tally if name in tallies else tally for name, tally in more.items()}
        return StepResult(loss=torch.stack(losses).sum(), tallies=tallies)

    def _forward(self, batch: Batch, begin: int, end: int, first_clip: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        ranks = self._world.size
        first = first_clip + self._world.rank + ranks * begin
        device = self._world.device.type
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss, tallies = self._loss(rows_of(batch, begin, end), sample_rngs(self._seed, first, end - begin, ranks))
        return loss, tallies

    def _synchronised(self, last: bool) -> AbstractContextManager[Any]:
        """Only the last micro-batch of a step exchanges gradients."""
        if self.is_sharded:
            self._network.set_requires_gradient_sync(last)  # type: ignore[operator]
        elif isinstance(self._loss, nn.parallel.DistributedDataParallel) and not last:
            return self._loss.no_sync()
        return nullcontext()

    def _size(self, batch: Batch) -> int:
        return min(self.micro_clips or len(batch["keys"]), len(batch["keys"]))

    def _halve(self, batch: Batch) -> None:
        self._network.zero_grad()
        gc.collect()
        if self._world.device.type == "cuda":
            torch.cuda.empty_cache()
        before, self.micro_clips = self._size(batch), max(1, self._size(batch) // 2)
        self._notice(f"out of memory with {before} clips at once; going on with {self.micro_clips}")

    def _fit(self, batch: Batch, step: int, first_clip: int) -> None:
        """Find, before any exchange, a size that fits all replicas: one that fails later leaves the others waiting.

        Shards exchange in every block, so there is nothing that one could try by itself: out of memory ends the run.
        """
        size = self._size(batch)
        failed = torch.zeros((), device=self._world.device)
        try:
            with self._synchronised(last=False):
                loss, _ = self._forward(batch, 0, size, first_clip)
                loss.backward()  # type: ignore[no-untyped-call]
        except torch.OutOfMemoryError:
            failed += 1
        self._network.zero_grad()
        if not self._world.summed(failed).item():
            self._fits_left -= 1
        elif size == 1:
            raise torch.OutOfMemoryError("not even one clip fits into the memory of every process")
        else:
            self._halve(batch)


class _Loss(nn.Module):
    """The objective as a module, since replicas exchange the gradients of what a call of a module used.

    A batch in which no clip has a picture leaves the adapter of pictures without a gradient, which processes would wait
    for, and an optimizer would take for another thing than zero. So all that is outside of the blocks gets at least 0.
    """

    def __init__(self, network: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.network = network
        self._objective = objective
        inside = {parameter for block in blocks_of(network) for parameter in block.parameters()}
        named = [name for name, one in network.named_parameters() if one.requires_grad and one not in inside]
        self._outside = [name.rpartition(".")[::2] for name in named]

    def forward(self, batch: Batch, rngs: list[Any]) -> tuple[Tensor, dict[str, Tensor]]:
        result = self._objective(self.network, batch, rngs)
        # Looked up now: a sharded network has its whole parameters only while it works.
        firsts = [getattr(self.network.get_submodule(place), name).reshape(-1)[0] for place, name in self._outside]
        return result.loss + 0.0 * torch.stack(firsts).sum(), dict(result.tallies)


def rows_of(batch: Batch, begin: int, end: int) -> dict[str, Any]:
    """Some rows of a batch; the batch itself where these are all. None stays None."""
    if begin == 0 and end >= len(batch["keys"]):
        return dict(batch)
    return {name: None if value is None else value[begin:end] for name, value in batch.items()}
