"""Where a file of weights lies: paths first, then the Hub, file by file."""

from pathlib import Path

import pytest
import torch

from models.encoders import hub_file
from models.encoders.audiomae import AudioMae
from models.encoders.beats import Beats, save_beats
from models.encoders.hub_file import weights_at
from tests.models.encoders.test_audiomae import PUBLISHED, encoder
from tests.models.encoders.test_beats import network

FILES = ("model.safetensors", "weights.pt")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A repository on the Hub: the folder, and what is asked of it."""
    asked = []

    def lookup(name, file, *, revision, **_):
        asked.append((name, file, revision))
        return str(tmp_path / "hub" / file) if (tmp_path / "hub" / file).exists() else None

    (tmp_path / "hub").mkdir()
    monkeypatch.setattr(hub_file, "cached_file", lookup)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub", asked


def test_the_first_of_its_files_is_taken(hub):
    folder, asked = hub
    (folder / "weights.pt").write_bytes(b"")
    assert weights_at("someone/model", FILES, revision="abc") == folder / "weights.pt"
    assert asked == [("someone/model", file, "abc") for file in FILES]
    (folder / "weights.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"someone/model on the Hub has none of model\.safe"):
        weights_at("someone/model", FILES)


def test_what_is_here_is_not_asked_for(hub):
    _, asked = hub
    Path("someone/model").mkdir(parents=True)
    (Path("someone/model") / "a.pt").write_bytes(b"")
    assert weights_at("someone/model", FILES) == Path("someone/model/a.pt")
    for absent in ("a.pt", "./absent/a.pt", "/absent/a.pt", "a/b/c.pt"):
        with pytest.raises(FileNotFoundError, match="no folder with one"):
            weights_at(absent, FILES)
    assert asked == []


def test_both_listeners_load_from_there(hub):
    folder, _ = hub
    torch.save(encoder(PUBLISHED).state_dict(), folder / "pytorch_model.bin")
    assert AudioMae.from_pretrained("someone/audiomae").config == PUBLISHED
    save_beats(network(), folder)
    assert Beats.from_pretrained("someone/beats").config == network().config
