"""Reading files of weights as their authors publish them: tensors by name, and nothing that could run.

Where torch refuses a file it advises to read it with `weights_only=False`, which would run what is in it; that is kept
from whoever reads the error.

A file is safetensors, or one that torch wrote: a bare state dict, or one below `model` or `state_dict`, beside which
training may have left NumPy arrays; those are skipped, and anything else is refused (`weights_only=True`).
"""

import pickle
import re
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

ENDINGS = (".pth", ".pt", ".safetensors")
"""Of files of weights."""

_BELOW = ("model", "state_dict")
"""Where a checkpoint may hold its weights."""

_READ_ERRORS = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    struct.error,
)
"""What reading a damaged or foreign file raises."""


class _Skipped:
    """Stands for what a checkpoint holds beside tensors: takes any state and keeps none."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


_STAND_INS: Any = [
    (_Skipped, f"numpy{path}.{name}")
    for path, name in (
        (".core.multiarray", "scalar"),
        ("._core.multiarray", "scalar"),
        (".core.multiarray", "_reconstruct"),
        ("._core.multiarray", "_reconstruct"),
        ("", "ndarray"),
        ("", "dtype"),
    )
]
"""What replaces NumPy's names while a file is read; NumPy's own code is never reached."""


_REFUSED = re.compile(r"GLOBAL (\S+) (?:was not|whose)")
"""How torch names what it does not take from a file."""


def read_plain(file: Path, *, mmap: bool = False) -> Any:
    """What torch wrote into a file, if it is of tensors and plain values alone.

    Args:
        file: Which one.
        mmap: Leave tensors on the disk until they are used, as torch does with files that are archives.

    Raises:
        ValueError: It is missing, damaged, or holds more.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
    except (*_READ_ERRORS, OSError) as error:
        raise ValueError(f"{file} cannot be read as weights: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    told = " ".join(str(error).split())
    if refused := _REFUSED.search(told):
        return f"it holds {refused[1]}, and a pickle can run code; get the file from where it is published"
    if isinstance(error, pickle.UnpicklingError):
        return "it is damaged, cut short, or holds more than tensors"
    return told[:300]


def find_weights(path: str | Path) -> Path:
    """The weights: the file itself, or the only one of a folder.

    Raises:
        FileNotFoundError: There is none.
        ValueError: A folder has several.
    """
    path = Path(path)
    found = [path] if path.is_file() else sorted(one for end in ENDINGS for one in path.glob(f"*{end}"))
    if not found:
        raise FileNotFoundError(f"{path} is no file of weights ({', '.join(ENDINGS)}) and no folder with one")
    if len(found) > 1:
        raise ValueError(f"{path} holds several weights ({', '.join(one.name for one in found)}); name one of them")
    return found[0]


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, without `module.` before their names.

    Raises:
        ValueError: It is damaged, or holds no tensors by name.
    """
    try:
        if file.suffix == ".safetensors":
            return dict(load_file(file))
    except _READ_ERRORS as error:
        raise ValueError(f"{file} cannot be read as weights: {_reason(error)}") from error
    with torch.serialization.safe_globals(_STAND_INS):
        held = read_plain(file)
    inside = held if isinstance(held, dict) else {}
    inside = next((inside[name] for name in _BELOW if isinstance(inside.get(name), dict)), inside)
    tensors = {
        name.removeprefix("module."): value
        for name, value in inside.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    if not tensors:
        raise ValueError(f"{file} does not hold tensors by name; give a published state dict")
    return tensors
