"""Fixtures for the whole suite: quiet libraries, one thread each, and nothing from the network."""

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["PYTHONPATH"] = str(Path(__file__).parent / "pipelines")  # for Ray's workers, which unpickle `toy_stage`


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real lists and media, or a skip that says so."""
    folder = Path(os.environ.get("FOUNDSOUND_REAL_DATA", "../shared/data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"real data are not at {folder}; set FOUNDSOUND_REAL_DATA")
    return folder
