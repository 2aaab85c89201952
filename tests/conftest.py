"""Fixtures for the whole suite: quiet libraries, one thread each, nothing from the network; and the built wheel."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("curation", "captioning", "retrieval_index", "models", "pipelines", "tests", "benchmarks")

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
CACHE = tempfile.TemporaryDirectory(prefix="foundsound-test-cache-")  # not the user's own; removed at exit
os.environ["FOUNDSOUND_CACHE"] = CACHE.name
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["PYTHONPATH"] = str(Path(__file__).parent / "pipelines")  # for Ray's workers, which unpickle `toy_stage`


signal.signal(signal.SIGINT, signal.default_int_handler)  # what begins in the background ignores it, and children too
settings.register_profile("untimed", deadline=None)  # no test is timed: a machine may be busy
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real lists and media, or a skip that says so."""
    folder = Path(os.environ.get("FOUNDSOUND_REAL_DATA", "../shared/data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"real data are not at {folder}; set FOUNDSOUND_REAL_DATA")
    return folder


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the checkout, so that nothing left in a `build` folder gets into it."""
    source = tmp_path_factory.mktemp("source")
    for folder in SOURCES:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    # Without isolation nothing is downloaded; setuptools is there, since torch needs it.
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(source / "dist"), str(source)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (made,) = (source / "dist").glob("*.whl")
    return made


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a fresh environment outside the checkout that has the wheel, and sees the libraries of this one.

    Whatever a Python process of it tries on the network is refused, and written to the file FOUNDSOUND_ATTEMPTS.
    """
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=300)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*pip, str(wheel)], check=True, timeout=300)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")  # its own .pth files do not count
    shutil.copy(ROOT / "tests" / "attempts.py", packages)
    (packages / "attempts.pth").write_text("import attempts\n")
    return python.parent
