import os
from collections.abc import Callable
from pathlib import Path

import pytest

from curation.dataset import Dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset.create(tmp_path / "dataset")


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Write a list into a folder of its own and return its path."""

    def write_file(name: str, content: str | bytes) -> Path:
        file = tmp_path / "lists" / name
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    return write_file


@pytest.fixture(scope="session")
def real_lists() -> Path:
    """The folder of real lists, see `FOUNDSOUND_REAL_DATA`."""
    checkout = Path(__file__).resolve().parents[3]
    folder = Path(os.environ.get("FOUNDSOUND_REAL_DATA", checkout.parent / "shared" / "data")) / "annotations"
    if not folder.is_dir():
        pytest.skip(f"real data are not there: {folder}")
    return folder
