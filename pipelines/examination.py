"""The facts that `foundsound doctor` judges: asked of this machine, changing nothing, and of the network only if told.

What may crash or load for long when it is imported is imported in a process of its own.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distributions, requires
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from curation.errors import StoppedError
from curation.programs.espeak import espeak_version
from pipelines.doctor import HARMFUL_WHEN_BROKEN
from pipelines.machine import Ffmpeg, Hub, Machine, Torch

CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"
"""The tested versions, in a checkout; an installed wheel has none."""

PROGRAM_S, IMPORT_S, NETWORK_S = 20.0, 120.0, 5.0
"""How long a program, an import and an answer may take."""

USED_OF_FFMPEG = {
    "-encoders": ("flac", "libx264"),
    "-filters": ("ebur128", "astats", "silencedetect", "freezedetect"),
    "-muxers": ("chromaprint",),
}
"""ffmpeg's listing -> what foundsound needs of it."""

ASK_TORCH = """
import json, torch
count = torch.cuda.device_count() if torch.cuda.is_available() else 0
print(json.dumps({"cuda": torch.version.cuda, "devices": [torch.cuda.get_device_name(n) for n in range(count)]}))
"""

DRIVER = Path("/proc/driver/nvidia/version")


def _run(command: Sequence[str], timeout_s: float) -> tuple[bool, str]:
    """Whether a program ended well, and what it printed, or what went wrong in a line."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    if done.returncode == 0:
        return True, done.stdout
    said = done.stderr.strip().splitlines()
    return False, said[-1] if said else f"it ended with {done.returncode}"


def _packages() -> dict[str, str]:
    found = [(str(one.metadata["Name"]), one.version) for one in distributions() if one.metadata["Name"]]
    return {str(canonicalize_name(name)): version for name, version in reversed(found)}  # the first on the path counts


def _requirements() -> list[str]:
    try:
        return requires("foundsound") or []
    except PackageNotFoundError:
        return []


def read_constraints(file: Path) -> dict[str, str]:
    """Distribution -> specifier, of a file of constraints as pip reads it; empty where there is none."""
    pins = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            pin = Requirement(line.partition("#")[0].strip())
        except InvalidRequirement:
            continue
        pins[str(canonicalize_name(pin.name))] = str(pin.specifier)
    return pins


def _import_trouble(name: str) -> str | None:
    worked, said = _run([sys.executable, "-c", f"import {name}"], IMPORT_S)
    return None if worked else said


def _torch() -> Torch:
    worked, said = _run([sys.executable, "-c", ASK_TORCH], IMPORT_S)
    return Torch(**json.loads(said.splitlines()[-1])) if worked else Torch(trouble=said)


def _deno() -> str | None:
    """Version of the deno that yt-dlp takes: the one beside this Python, else the one on the PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "deno"
    program = str(beside) if beside.is_file() else shutil.which("deno")
    worked, said = _run([program, "--version"], PROGRAM_S) if program else (False, "")
    found = re.match(r"deno (\d+(?:\.\d+)*)", said) if worked else None
    return found[1] if found else None


def _ffmpeg() -> Ffmpeg | None:
    import imageio_ffmpeg

    try:
        path = str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:
        return None
    worked, said = _run([path, "-hide_banner", "-version"], PROGRAM_S)
    version = re.match(r"ffmpeg version (\S+)", said) if worked else None
    if version is None:
        return Ffmpeg(path=path, version=None)
    missing = []
    for listing, names in USED_OF_FFMPEG.items():
        _, said = _run([path, "-hide_banner", listing], PROGRAM_S)
        there = {line.split()[1] for line in said.splitlines() if len(line.split()) > 1}
        missing += [name for name in names if name not in there]
    return Ffmpeg(path=path, version=version[1], missing=missing)


def _espeak() -> str | None:
    try:
        return espeak_version()
    except StoppedError:
        return None


def _driver() -> str | None:
    try:
        found = re.search(r"\b\d{3}\.[\d.]+", DRIVER.read_text())
    except OSError:
        return None
    return found[0] if found else "of an unknown version"


def _is_on(name: str) -> bool:
    return os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"}


def ask_hub(*, network: bool) -> Hub:
    """The Hub as the environment names it; asked with one request for a few bytes, if that is wanted and allowed.

    Args:
        network: Whether to ask.
    """
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    offline = _is_on("HF_HUB_OFFLINE") or _is_on("TRANSFORMERS_OFFLINE")
    if offline or not network:
        return Hub(endpoint=endpoint, offline=offline)
    if not endpoint.startswith(("https://", "http://")):
        return Hub(endpoint=endpoint, answer="HF_ENDPOINT is no web address")
    request = urllib.request.Request(f"{endpoint}/api/models?limit=1", headers={"User-Agent": "foundsound"})
    try:
        with urllib.request.urlopen(request, timeout=NETWORK_S) as answer:
            return Hub(endpoint=endpoint, answer=f"answers ({answer.status})", reached=True)
    except urllib.error.HTTPError as error:
        return Hub(endpoint=endpoint, answer=f"answers with {error.code}", reached=error.code < 500)
    except (OSError, ValueError) as error:
        return Hub(endpoint=endpoint, answer=f"does not answer: {error}")


def this_machine(folder: Path, *, network: bool = False) -> Machine:
    """Gather the facts.

    Args:
        folder: Where data would go; of one that is not there yet, the nearest that is counts.
        network: Whether to ask the Hub.
    """
    there = folder.expanduser().resolve()
    while not there.exists():
        there = there.parent
    packages = _packages()
    tried = ["faiss", *(name for name in HARMFUL_WHEN_BROKEN if name in packages)]
    return Machine(
        today=datetime.now(UTC).date(),
        pip=f"{sys.executable} -m pip",
        packages=packages,
        requirements=_requirements(),
        tested=read_constraints(CONSTRAINTS),
        constraints=str(CONSTRAINTS),
        imports={name: _import_trouble(name) for name in tried},
        deno=_deno(),
        ffmpeg=_ffmpeg(),
        espeak=_espeak(),
        torch=_torch(),
        driver=_driver(),
        folder=str(there),
        free_bytes=shutil.disk_usage(there).free,
        hub=ask_hub(network=network),
    )
