"""The state of a run, and its checkpoints on disk. A checkpoint is whole or it is not there.

    checkpoints/step-000400/network-00001-of-00002.safetensors     trained weights
                            ema-...                                their moving average
                            optimizer-...                          `<parameter>/<quantity>`, for all that is kept
                            progress.json                          step, clips seen, seconds

Each process copies its share of the tensors and writes it in a thread, beside the steps; the folder has another name
until all have. Tensors are whole, whoever writes them, so any number of processes goes on from any checkpoint.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from models.training.ema import Ema
from models.training.posthoc import PowerAverages
from models.training.run_folder import sync_path
from models.training.world import World

_NAME = re.compile(r"step-(\d{6,})")
_PARTIAL = ".partial-"


@dataclass(kw_only=True, slots=True)
class TrainingState:
    """All that a run needs to go on.

    Attributes:
        network: The trained network.
        ema: Its moving average.
        optimizers: Over the network's parameters.
        powers: Further averages, from which one of any width is made after the run; None where none are kept.
        step: Steps done; also the number of the next batch.
        clips_seen: Clips those steps saw.
        seconds: Time they took, over all starts of the run.
    """

    network: nn.Module
    ema: Ema
    optimizers: tuple[torch.optim.Optimizer, ...]
    powers: PowerAverages | None = None
    step: int = 0
    clips_seen: int = 0
    seconds: float = 0.0


Tensors = dict[str, Tensor]


@dataclass(slots=True)
class Checkpoints:
    """The checkpoints of a run, in a folder. Use it as a context: leaving it waits for the last to be written.

    Args:
        folder: Made if it is not there.
        keep: Checkpoints kept, at least 1.
        world: The processes that write together.
    """

    folder: Path
    keep: int
    world: World = field(default_factory=lambda: World(device=torch.device("cpu")))
    _thread: ThreadPoolExecutor = field(init=False)
    _writing: Future[None] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ValueError(f"keep is {self.keep}: at least the newest checkpoint must stay")
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")

    def __enter__(self) -> Self:
        if self.world.is_first:
            for left_over in self.folder.glob(f"{_PARTIAL}*"):
                shutil.rmtree(left_over)
        self.world.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.wait()
        self._thread.shutdown()

    def wait(self) -> None:
        """Goes on when what was saved is on the disk.

        Raises:
            OSError: It could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def save(self, state: TrainingState, unreported: Mapping[str, Any] | None = None) -> Path:
        """Copies the state, writes `folder/step-...` beside what goes on, then removes all but the newest `keep`.

        Args:
            state: Of the run.
            unreported: What was gathered for the next line of the log (`Meter.gathered`).

        Returns:
            The checkpoint's folder, which is there after `wait`; one that is there already is left as it is.
        """
        self.wait()
        final = self.folder / f"step-{state.step:06d}"
        if final.exists():
            self._writing = self._thread.submit(self._remove_old)
            return final
        parts = {name: self._share(tensors) for name, tensors in _tensors(state).items()}
        progress = {
            "step": state.step,
            "clips_seen": state.clips_seen,
            "seconds": round(state.seconds, 3),
            "unreported": unreported or {},
        }
        self._writing = self._thread.submit(self._write, final, parts, progress)
        return final

    def _share(self, tensors: Iterator[tuple[str, Tensor]]) -> Tensors:
        """Copies of every `size`-th tensor; sharded ones are gathered by all processes together."""
        share = {}
        for number, (name, tensor) in enumerate(tensors):
            whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if number % self.world.size == self.world.rank:
                share[name] = whole.detach().to("cpu", copy=True).contiguous()
        return share

    def _write(self, final: Path, parts: dict[str, Tensors], progress: dict[str, Any]) -> None:
        partial = self.folder / f"{_PARTIAL}{final.name}"
        partial.mkdir(parents=True, exist_ok=True)
        for name, tensors in parts.items():
            path = partial / f"{name}-{self.world.rank + 1:05d}-of-{self.world.size:05d}.safetensors"
            save_file(tensors, path)
            sync_path(path)
        self.world.wait_beside()
        if self.world.is_first:
            (partial / "progress.json").write_text(json.dumps(progress, indent=1) + "\n")
            sync_path(partial / "progress.json")
            sync_path(partial)
            partial.rename(final)
            sync_path(self.folder)
            self._remove_old()
        self.world.wait_beside()

    def _remove_old(self) -> None:
        if self.world.is_first:
            for old in checkpoints(self.folder)[: -self.keep]:
                going = old.with_name(f"{_PARTIAL}{old.name}")
                old.rename(going)  # a kill within the removal leaves nothing that looks whole
                shutil.rmtree(going)

    def restore(self, state: TrainingState) -> Mapping[str, Any]:
        """Brings the newest checkpoint into a state that was built in the same way.

        Returns:
            What its log had not said yet (`Meter.gathered`); empty where there is no checkpoint, and the state is then
            left alone.

        Raises:
            ValueError: if it is damaged, or its tensors are not those of this network or optimizer.
        """
        found = checkpoints(self.folder)
        if not found:
            return {}
        newest = found[-1]
        for name, module in _modules(state).items():
            _fill(module, newest, name)
        _fill_optimizers(state, newest)
        progress = read_progress(newest)
        state.step, state.clips_seen = int(progress["step"]), int(progress["clips_seen"])
        state.seconds = float(progress["seconds"])
        unreported: Mapping[str, Any] = progress.get("unreported", {})
        return unreported


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints in a folder, oldest first."""
    if not folder.is_dir():
        return []
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def read_progress(checkpoint: Path) -> dict[str, Any]:
    """Step, clips seen and seconds of a checkpoint, and what its log had not said yet.

    Raises:
        ValueError: if it is damaged.
    """
    try:
        progress: dict[str, Any] = json.loads((checkpoint / "progress.json").read_text())
        for name in ("step", "clips_seen", "seconds"):
            float(progress[name])
    except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
        raise _damaged(checkpoint, "progress.json", error) from error
    return progress


def _damaged(checkpoint: Path, name: str, why: object) -> ValueError:
    return ValueError(
        f"{checkpoint / name} is damaged or missing ({why}): put it back, or remove {checkpoint.name}, and the run "
        "goes on from the checkpoint before it, or begins anew"
    )


def _modules(state: TrainingState) -> dict[str, nn.Module]:
    averages = state.powers.networks if state.powers is not None else ()
    return {
        "network": state.network,
        "ema": state.ema.network,
        **{f"power{number}": network for number, network in enumerate(averages)},
    }


def _tensors(state: TrainingState) -> dict[str, Iterator[tuple[str, Tensor]]]:
    found = {name: iter(module.state_dict().items()) for name, module in _modules(state).items()}
    return {**found, "optimizer": _optimizer_tensors(state)}


def _optimizer_tensors(state: TrainingState) -> Iterator[tuple[str, Tensor]]:
    names: dict[Tensor, str] = {parameter: name for name, parameter in state.network.named_parameters()}
    for optimizer in state.optimizers:
        for parameter, kept in optimizer.state.items():
            for quantity, value in kept.items():
                yield f"{names[parameter]}/{quantity}", value


def _read(folder: Path, name: str) -> Iterator[tuple[str, Tensor]]:
    """All tensors of one kind, from as many files as processes wrote."""
    paths = sorted(folder.glob(f"{name}-*-of-*.safetensors"))
    if {int(path.stem.rpartition("-")[2]) for path in paths} != {len(paths)}:
        raise _damaged(folder, f"{name}-*.safetensors", f"{len(paths)} of its files are there")
    for path in paths:
        try:
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118  -- not a mapping
                    yield key, file.get_tensor(key)
        except SafetensorError as error:
            raise _damaged(folder, path.name, error) from error


def _put(own: Tensor, given: Tensor) -> None:
    """Copies a whole tensor into one that may be a shard."""
    if isinstance(own, DTensor):
        given = distribute_tensor(given.to(own.device), own.device_mesh, own.placements, src_data_rank=None)
    own.copy_(given)


@torch.no_grad()
def _fill(network: nn.Module, folder: Path, name: str) -> None:
    own, seen = network.state_dict(), set()
    for key, given in _read(folder, name):
        seen.add(key)
        if key in own and own[key].shape != given.shape:
            raise ValueError(
                f"{folder}: {key} is {tuple(given.shape)} there, {tuple(own[key].shape)} in the network: "
                "was it another recipe?"
            )
    if different := sorted(seen ^ own.keys()):
        raise ValueError(f"{folder}: {name} differs in {different[:4]} from the network: was it another recipe?")
    for key, given in _read(folder, name):
        _put(own[key], given)


@torch.no_grad()
def _fill_optimizers(state: TrainingState, folder: Path) -> None:
    parameters = dict(state.network.named_parameters())
    owners = {
        one: optimizer for optimizer in state.optimizers for group in optimizer.param_groups for one in group["params"]
    }
    for optimizer in state.optimizers:
        optimizer.state.clear()
    for key, given in _read(folder, "optimizer"):
        name, quantity = key.rsplit("/", 1)
        if name not in parameters:
            raise ValueError(f"{folder}: {name} is no parameter of this network: was it another recipe?")
        parameter = parameters[name]
        if given.shape == parameter.shape:
            value = torch.zeros_like(parameter, requires_grad=False)
            _put(value, given)
        else:  # the count of steps
            value = given.to(parameter.device)
        owners[parameter].state[parameter][quantity] = value
