"""The package laion-clap itself as an embedder, asked in an environment of its own.

It wants another NumPy than this project, changes what it is imported into and reads pickles, so it is never imported
here: `laion_child.py` runs in its environment, and is handed tensors. `ClapEmbedder` gives the same vectors from the
same file without it (`models/encoders/clap_checkpoint.py`); this is for whoever wants to see that they are.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from curation.errors import ArgumentError, StoppedError
from curation.keys import file_sha256
from pipelines.wiring.devices import loading

PREFIX = "laion-clap:"
"""Before a checkpoint that the package is to embed with."""

PYTHON = "FOUNDSOUND_LAION_PYTHON"
"""The environment variable with the Python of an environment that has the package."""

INSTALL = f"python -m venv laion && laion/bin/pip install laion-clap==1.1.7 'numpy<2', then {PYTHON}=laion/bin/python"

WIDTHS = {96: "HTSAT-tiny", 128: "HTSAT-base"}
"""Of the first layer of the sound tower, and what the package calls it. Source: laion-clap 1.1.7, its model configs."""

SAID = "said"
"""File of the child's complaints."""

_FIRST = "audio_branch.patch_embed.proj.weight"


class LaionPackage:
    """laion-clap behind the protocol of an embedder. Make one with `load_laion_package`."""

    sample_rate_hz = 48_000
    window_s = 10.0

    def __init__(
        self, child: "subprocess.Popen[bytes]", folder: "tempfile.TemporaryDirectory[str]", *, about: dict[str, Any]
    ) -> None:
        """Takes the running child, the folder of its complaints, which goes with this, and what decides its vectors."""
        self._child, self._folder, self._about = child, folder, about
        hello = json.loads(self._line())
        self.dimension = int(hello["dimension"])
        self._about["version"] = hello["version"]

    def embed_sound(self, wave_BT: np.ndarray) -> np.ndarray:
        """(B, T) float32 -> (B, dimension) float32 of norm 1."""
        return self._ask({"sounds": list(wave_BT.shape)}, np.ascontiguousarray(wave_BT, "<f4").tobytes())

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> (B, dimension) float32 of norm 1."""
        return self._ask({"texts": list(texts)}, b"")

    def identity(self) -> dict[str, Any]:
        """What determines its vectors."""
        return {"class": "LaionPackage", **self._about}

    def _ask(self, asked: dict[str, Any], content: bytes) -> np.ndarray:
        assert self._child.stdin is not None and self._child.stdout is not None
        try:
            self._child.stdin.write(json.dumps(asked).encode() + b"\n" + content)
            self._child.stdin.flush()
        except BrokenPipeError:
            raise StoppedError(f"laion-clap has ended: {self._why()}") from None
        count, width = json.loads(self._line())["shape"]
        vectors = self._child.stdout.read(4 * count * width)
        if len(vectors) != 4 * count * width:
            raise StoppedError(f"laion-clap has ended: {self._why()}")
        return np.frombuffer(vectors, "<f4").reshape(count, width).astype(np.float32)

    def _line(self) -> bytes:
        """The next line of the child.

        Raises:
            StoppedError: It has ended.
        """
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            self._child.wait()
            raise StoppedError(f"laion-clap has ended: {self._why()}")
        return line

    def _why(self) -> str:
        """Its last complaint."""
        said = (Path(self._folder.name) / SAID).read_text(errors="replace")
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        return lines[-1][:300] if lines else "it said nothing"


def load_laion_package(checkpoint: str | Path) -> LaionPackage:
    """Start the package with a checkpoint.

    Args:
        checkpoint: A `.pt` of laion-clap.

    Raises:
        ArgumentError: The package is not there, or cannot load the checkpoint.
    """
    file, python = Path(checkpoint), _python()
    if not file.is_file():
        raise ArgumentError(f"there is no file {file}; give a checkpoint of laion-clap behind {PREFIX}")
    folder = tempfile.TemporaryDirectory(prefix="foundsound-laion-")
    weights = Path(folder.name) / "weights.safetensors"
    kind = _tensors_into(file, weights)
    child = [str(python), str(Path(__file__).with_name("laion_child.py")), str(weights), *kind]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with (Path(folder.name) / SAID).open("wb") as complaints:
        started = subprocess.Popen(
            child, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, env=environment
        )
    try:
        return LaionPackage(started, folder, about={"weights_sha256": file_sha256(file), "model": " ".join(kind)})
    except StoppedError as error:
        raise ArgumentError(f"{python} cannot embed with {file}: {error}; {INSTALL}") from error
    finally:
        weights.unlink()  # it is read by now


def _tensors_into(file: Path, safetensors: Path) -> list[str]:
    """Writes a checkpoint's tensors where nothing can run when they are read; returns what the package calls it.

    Raises:
        ArgumentError: It is no checkpoint of laion-clap.
    """
    from safetensors.torch import save_file

    from models.encoders.published_file import read_tensors

    with loading("CLAP", file):
        held = {name.removeprefix("module."): tensor for name, tensor in read_tensors(file).items()}
    first = held.get(_FIRST)
    if first is None or (amodel := WIDTHS.get(first.shape[0])) is None:
        raise ArgumentError(f"{file} is no checkpoint of laion-clap with an HTSAT-tiny or -base: no {_FIRST} of such")
    save_file({name: tensor.contiguous().clone() for name, tensor in held.items()}, safetensors)
    return [amodel, *(["fusion"] if any("fusion_model" in name for name in held) else [])]


def _python() -> Path:
    """The interpreter of an environment that has the package.

    Raises:
        ArgumentError: There is none.
    """
    named = os.environ.get(PYTHON)
    if named is None and find_spec("laion_clap") is None:
        raise ArgumentError(f"laion-clap is not here, and cannot be beside this NumPy: {INSTALL}")
    python = Path(named or sys.executable)
    if not (python.is_file() and os.access(python, os.X_OK)):
        raise ArgumentError(f"{PYTHON}={python} is no program; {INSTALL}")
    return python
