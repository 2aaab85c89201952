"""What `foundsound doctor` knows of a machine and the environment on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date


@dataclass(frozen=True, kw_only=True, slots=True)
class Ffmpeg:
    """The ffmpeg that runs.

    Args:
        path: The program.
        version: As it says, `n9.0.2-17-g2a571b6068`; None when it does not run.
        missing: Encoders, filters and muxers that foundsound uses and this build lacks.
    """

    path: str
    version: str | None
    missing: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Torch:
    """What torch says in a process of its own.

    Args:
        cuda: CUDA version that it was built for, or None.
        devices: Names of the GPUs that it sees.
        trouble: Why it cannot be imported, or None.
    """

    cuda: str | None = None
    devices: Sequence[str] = ()
    trouble: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Hub:
    """Access to the Hugging Face Hub.

    Args:
        endpoint: Its address.
        offline: Whether the environment forbids it (HF_HUB_OFFLINE).
        answer: What came when it was asked, None when it was not asked.
        reached: Whether that was an answer of the Hub.
    """

    endpoint: str
    offline: bool = False
    answer: str | None = None
    reached: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Facts about a machine and the environment that foundsound runs in.

    Args:
        today: The date.
        pip: The command that installs into this environment.
        packages: Installed distribution, lower case with hyphens -> version.
        requirements: What foundsound requires, as its metadata say it (PEP 508).
        tested: Distribution -> version specifier of `constraints.txt`; empty where there is none.
        constraints: Path of that file.
        imports: Import name -> why importing it fails, for the packages that were tried; None where it does not.
        deno: Version of the JavaScript runtime that yt-dlp finds, or None.
        ffmpeg: The ffmpeg that runs, or None where there is none.
        espeak: Version of eSpeak NG, or None.
        torch: What torch says.
        driver: Version of the NVIDIA driver, or None.
        folder: Where data would go.
        free_bytes: Free space there.
        hub: Access to the Hub.
    """

    today: date
    pip: str = "pip"
    packages: Mapping[str, str] = field(default_factory=dict)
    requirements: Sequence[str] = ()
    tested: Mapping[str, str] = field(default_factory=dict)
    constraints: str = "constraints.txt"
    imports: Mapping[str, str | None] = field(default_factory=dict)
    deno: str | None = None
    ffmpeg: Ffmpeg | None = None
    espeak: str | None = None
    torch: Torch = field(default_factory=Torch)
    driver: str | None = None
    folder: str = "."
    free_bytes: int = 0
    hub: Hub = field(default_factory=lambda: Hub(endpoint="https://huggingface.co"))

    def install(self, *what: str) -> str:
        """The line that installs or renews packages here."""
        return f"{self.pip} install --upgrade {' '.join(repr(name) for name in what)}"
