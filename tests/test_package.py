"""The wheel has all it needs and nothing else, and runs outside the checkout."""

import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("curation", "captioning", "retrieval_index", "models", "pipelines")


def outside(command: list[str | Path], folder: Path) -> str:
    """What a command prints in a folder that is not the checkout, with an environment that does not know of it."""
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    done = subprocess.run(command, cwd=folder, env=bare, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    assert held == {str(path.relative_to(ROOT)) for path in files if path.parent.name != "__pycache__"}
    assert {"captioning/prompts/sound-v1.txt", "pipelines/report/page.html"} < held


def test_it_says_its_version(installed: Path, tmp_path: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert outside([installed / "foundsound", "--version"], tmp_path).strip() == version


def test_it_runs_from_its_own_files(installed: Path, tmp_path: Path) -> None:
    code = f"import {', '.join(PACKAGES)}; print(*(p.__file__ for p in ({', '.join(PACKAGES)})), sep='\\n')"
    places = [Path(line) for line in outside([installed / "python", "-c", code], tmp_path).splitlines()]
    assert len(places) == len(PACKAGES)
    assert all(place.is_relative_to(installed.parent) for place in places)


def test_it_finds_its_prompts(installed: Path, tmp_path: Path) -> None:
    code = "from captioning.prompt import load_prompt; print(load_prompt('sound-v1').text)"
    text = (ROOT / "captioning" / "prompts" / "sound-v1.txt").read_text(encoding="utf-8").strip()
    assert outside([installed / "python", "-c", code], tmp_path).strip() == text
