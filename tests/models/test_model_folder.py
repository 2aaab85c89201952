"""Folders of models: found below their run, refused where they are damaged, replaced only by whole ones."""

import json
import re
from pathlib import Path

import pytest

from models.model_folder import damage_named, model_in, read_config, written_whole


def test_a_model_is_found_in_its_folder_and_in_that_of_its_run(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "b.json").touch()
    assert model_in(tmp_path, "a.json", "b.json") == tmp_path
    (tmp_path / "model" / "b.json").touch()
    assert model_in(str(tmp_path), "a.json", "b.json") == tmp_path / "model"
    with pytest.raises(FileNotFoundError, match=r"holds no trained model \(a.json\)"):
        model_in(tmp_path, "a.json")


def test_a_configuration_is_of_its_format_and_whole(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"format": "toy 1", "size": 3}))
    assert read_config(file, "toy 1", "size") == {"format": "toy 1", "size": 3}
    with pytest.raises(ValueError, match="has format 'toy 1', not 'toy 2'"):
        read_config(file, "toy 2")
    with pytest.raises(ValueError, match="damaged, copy the model again: it has no path, colour"):
        read_config(file, "toy 1", "size", "path", "colour")
    for text in ("{", "[]"):
        file.write_text(text)
        with pytest.raises(ValueError, match=rf"{re.escape(str(file))} is damaged"):
            read_config(file, "toy 1")


def test_what_a_file_has_wrong_names_the_file(tmp_path: Path) -> None:
    for error, said in ((KeyError("path"), "it has no 'path'"), (TypeError("a list"), "a list")):
        with (
            pytest.raises(ValueError, match=rf"config.json is damaged.*{said}"),
            damage_named(tmp_path / "config.json"),
        ):
            raise error
    with pytest.raises(OSError, match="no disk"), damage_named(tmp_path / "config.json"):
        raise OSError("no disk")


def test_a_folder_stays_until_another_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "model"
    with written_whole(folder) as partial:
        (partial / "old").touch()
        assert not folder.exists()
    with pytest.raises(OSError, match="full"), written_whole(folder) as partial:
        (partial / "half").touch()
        raise OSError("full")
    assert [file.name for file in folder.iterdir()] == ["old"]
    with written_whole(folder) as partial:
        assert not list(partial.iterdir()), "nothing is left of one that was not finished"
        (partial / "new").touch()
    assert [file.name for file in folder.iterdir()] == ["new"]
    assert [file.name for file in folder.parent.iterdir()] == ["model"]
