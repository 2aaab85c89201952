"""A frozen model that cannot be loaded is named by recipes, before anything is encoded or written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curation.dataset import Dataset
from curation.errors import ArgumentError
from pipelines.recipes import audioldm2, audiox, re_audioldm
from pipelines.recipes.options import Retrieving, RunOptions
from tests.models.audioldm2.tiny_audioldm2 import codec

TRAIN: dict[str, Callable[..., Any]] = {
    "audioldm2": audioldm2.train_audioldm2_tiny,
    "audiox": audiox.train_audiox_tiny,
    "re_audioldm": re_audioldm.train_re_audioldm_tiny,
}


def t5_in_name(folder: Path) -> str:
    """What says that it is a T5, and has no weights."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "t5"}))
    return str(folder)


@pytest.mark.parametrize("system", TRAIN)
def test_a_folder_without_a_codec_is_named(system: str, tmp_path: Path) -> None:
    dataset, empty = Dataset.create(tmp_path / "dataset"), tmp_path / "empty"
    empty.mkdir()
    parts = {} if system == "audiox" else {"clap": "unread", "listener": "unread"}
    options = RunOptions(codec=str(empty), text_encoder=t5_in_name(tmp_path / "t5"), **parts)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"no codec can be loaded from '.*empty': .* holds neither"):
        TRAIN[system](dataset, tmp_path / "run", options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("system", ["audioldm2", "re_audioldm"])
def test_a_folder_without_a_clap_is_named(system: str, tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "dataset")
    codec().save(tmp_path / "codec")
    (tmp_path / "empty").mkdir()
    parts = {"codec": str(tmp_path / "codec"), "clap": str(tmp_path / "empty"), "listener": "unread"}
    options = RunOptions(
        **parts,  # type: ignore[arg-type]
        text_encoder=t5_in_name(tmp_path / "t5"),
        retrieving=Retrieving(retrieval="none" if system == "re_audioldm" else "audio+text"),
    )
    with pytest.raises(ArgumentError, match=r"no CLAP can be loaded from '.*empty'"):
        TRAIN[system](dataset, tmp_path / "run", options)
    assert not (tmp_path / "run").exists()
