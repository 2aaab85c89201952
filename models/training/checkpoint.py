"""The state of a run, and its checkpoints on disk. A checkpoint is whole or it is not there.

    checkpoints/step-000400/network.safetensors     trained weights
                            ema.safetensors         their moving average
                            optimizer.safetensors   `<parameter>/<quantity>`, for every quantity the optimizer keeps
                            progress.json           step, clips seen, seconds

It is written under another name, synced, and renamed; what a kill left behind is removed by the next save.
"""

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.training.ema import Ema

_NAME = re.compile(r"step-(\d{6,})")
_PARTIAL = ".partial-"


@dataclass(kw_only=True, slots=True)
class TrainingState:
    """All that a run needs to go on.

    Attributes:
        network: The trained network.
        ema: Its moving average.
        optimizer: Over the network's parameters.
        step: Steps done; also the number of the next batch.
        clips_seen: Clips those steps saw.
        seconds: Time they took, over all starts of the run.
    """

    network: nn.Module
    ema: Ema
    optimizer: torch.optim.Optimizer
    step: int = 0
    clips_seen: int = 0
    seconds: float = 0.0


def save_checkpoint(state: TrainingState, folder: Path, *, keep: int) -> Path:
    """Writes `folder/step-...` and then removes all but the newest `keep`.

    Returns:
        The checkpoint's folder; one that is there already is left as it is.

    Raises:
        ValueError: if `keep` is below 1.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep}: at least the newest checkpoint must stay")
    folder.mkdir(parents=True, exist_ok=True)
    for left_over in folder.glob(f"{_PARTIAL}*"):
        shutil.rmtree(left_over)
    final = folder / f"step-{state.step:06d}"
    if not final.exists():
        partial = folder / f"{_PARTIAL}{final.name}"
        partial.mkdir()
        _write(partial / "network.safetensors", state.network.state_dict())
        _write(partial / "ema.safetensors", state.ema.network.state_dict())
        _write(partial / "optimizer.safetensors", _optimizer_tensors(state))
        progress = {"step": state.step, "clips_seen": state.clips_seen, "seconds": round(state.seconds, 3)}
        (partial / "progress.json").write_text(json.dumps(progress, indent=1) + "\n")
        sync_path(partial / "progress.json")
        sync_path(partial)
        partial.rename(final)
        sync_path(folder)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def restore_newest(state: TrainingState, folder: Path) -> Path | None:
    """Brings the newest checkpoint of a folder into a state that was built in the same way.

    Returns:
        The checkpoint, or None where there is none (the state is then left alone).

    Raises:
        ValueError: if its tensors are not those of this network or optimizer.
    """
    found = checkpoints(folder)
    if not found:
        return None
    newest = found[-1]
    _fill(state.network, newest / "network.safetensors")
    _fill(state.ema.network, newest / "ema.safetensors")
    _fill_optimizer(state, newest / "optimizer.safetensors")
    progress = json.loads((newest / "progress.json").read_text())
    state.step, state.clips_seen = int(progress["step"]), int(progress["clips_seen"])
    state.seconds = float(progress["seconds"])
    return newest


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints in a folder, oldest first."""
    if not folder.is_dir():
        return []
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def sync_path(path: Path) -> None:
    """Has the system put a file, or the names in a folder, on the disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    sync_path(path)


def _fill(network: nn.Module, path: Path) -> None:
    given, own = load_file(path), network.state_dict()
    if different := sorted(given.keys() ^ own.keys()):
        raise ValueError(f"{path}: tensors {different[:4]} are not in both file and network: was it another recipe?")
    for name, tensor in own.items():
        if given[name].shape != tensor.shape:
            raise ValueError(
                f"{path}: {name} is {tuple(given[name].shape)} there, {tuple(tensor.shape)} in the network"
            )
    network.load_state_dict(given)


def _parameter_names(state: TrainingState) -> dict[Tensor, str]:
    return {parameter: name for name, parameter in state.network.named_parameters()}


def _optimizer_tensors(state: TrainingState) -> dict[str, Tensor]:
    names = _parameter_names(state)
    return {
        f"{names[parameter]}/{quantity}": value
        for parameter, kept in state.optimizer.state.items()
        for quantity, value in kept.items()
    }


def _fill_optimizer(state: TrainingState, path: Path) -> None:
    parameters = {name: parameter for parameter, name in _parameter_names(state).items()}
    state.optimizer.state.clear()
    for key, value in load_file(path).items():
        name, quantity = key.rsplit("/", 1)
        if name not in parameters:
            raise ValueError(f"{path}: {name} is no parameter of this network: was it another recipe?")
        parameter = parameters[name]
        state.optimizer.state[parameter][quantity] = value.to(parameter.device)
