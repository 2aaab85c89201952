"""Reading files of weights as their authors publish them: tensors by name, and nothing that could run.

A file is safetensors, or one that torch wrote: a bare state dict, or one below `model` or `state_dict`, beside which
training may have left NumPy arrays; those are skipped, and anything else is refused (`weights_only=True`).
"""

import pickle
import struct
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
        with torch.serialization.safe_globals(_STAND_INS):
            held = torch.load(file, map_location="cpu", weights_only=True)
    except _READ_ERRORS as error:
        raise ValueError(f"{file} cannot be read as weights: {' '.join(str(error).split())[:300]}") from error
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
