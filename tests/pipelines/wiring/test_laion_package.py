"""laion-clap as an embedder in an environment of its own: a stand-in for the package, and the package where it is."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from curation.errors import ArgumentError, StoppedError
from models.encoders.clap import ClapEncoder
from pipelines.wiring.embedders import load_embedder
from pipelines.wiring.laion_package import PREFIX, PYTHON, load_laion_package
from retrieval_index.embedder import Embedder

FAKE = """
import sys
import numpy as np

print("the package prints where its answers are expected")

class Model:
    def load_state_dict(self, state, strict):
        self.scale = float(state["scale"])
        known = {"scale", "audio_branch.patch_embed.proj.weight", "text_branch.embeddings.position_ids"}
        return [], [name for name in state if name not in known]

class CLAP_Module:
    def __init__(self, enable_fusion, amodel, device):
        self.model, self.kind = Model(), (enable_fusion, amodel)
        assert sys.argv[1:] == []

    def eval(self):
        return self

    def get_audio_embedding_from_data(self, waves, use_tensor):
        assert len(waves) == 1
        if waves[0].max() > 1:
            raise MemoryError("too loud")
        return np.array([[wave.sum() * self.model.scale, len(wave), 0] for wave in waves], np.float32)

    def get_text_embedding(self, texts, use_tensor):
        assert len(texts) == 2
        return np.array([[len(text), self.model.scale, 1] for text in texts], np.float32)
"""


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python that has a stand-in for laion-clap, and safetensors."""
    package = tmp_path / "site" / "laion_clap"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(FAKE)
    about = tmp_path / "site" / "laion_clap-1.1.7.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: laion-clap\nVersion: 1.1.7\n")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path / "site"} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv(PYTHON, str(python))
    return python


def checkpoint(path: Path, width: int = 96, **more: torch.Tensor) -> Path:
    state = {
        "module.audio_branch.patch_embed.proj.weight": torch.zeros(width, 1, 4, 4),
        "module.text_branch.embeddings.position_ids": torch.arange(3)[None],
        "module.scale": torch.tensor(2.0),
        **more,
    }
    torch.save({"epoch": 1, "state_dict": state}, path)
    return path


def test_sounds_and_texts_are_embedded_by_the_package(environment: Path, tmp_path: Path) -> None:
    embedder: Embedder = load_embedder(f"{PREFIX}{checkpoint(tmp_path / 'clap.pt')}")
    assert (embedder.sample_rate_hz, embedder.window_s, embedder.dimension) == (48_000, 10.0, 3)
    waves = np.linspace(0, 1, 8, dtype=np.float32).reshape(2, 4)
    np.testing.assert_allclose(embedder.embed_sound(waves), [[2 * row.sum(), 4, 0] for row in waves], rtol=1e-6)
    assert embedder.embed_text(["rain", "a dog"]).tolist() == [[4, 2, 1], [5, 2, 1]]
    identity = embedder.identity()
    assert (identity["class"], identity["version"], identity["model"]) == ("LaionPackage", "1.1.7", "HTSAT-tiny")


def test_fusion_and_the_larger_tower_are_told_by_the_weights(environment: Path, tmp_path: Path) -> None:
    fused = checkpoint(tmp_path / "f.pt", 128, **{"module.audio_branch.fusion_model.x": torch.zeros(1)})
    with pytest.raises(ArgumentError, match=r"1 names differ, the first is audio_branch\.fusion_model\.x"):
        load_laion_package(fused)  # the stand-in knows no such tensor
    assert load_laion_package(checkpoint(tmp_path / "b.pt", 128)).identity()["model"] == "HTSAT-base"


def test_what_ends_the_package_is_told(environment: Path, tmp_path: Path) -> None:
    embedder = load_laion_package(checkpoint(tmp_path / "clap.pt"))
    for _ in range(2):
        with pytest.raises(StoppedError, match="laion-clap has ended: MemoryError: too loud"):
            embedder.embed_sound(np.full((1, 4), 2, np.float32))


def test_what_is_missing_is_named(environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError, match=r"there is no file gone\.pt"):
        load_laion_package("gone.pt")
    with pytest.raises(ArgumentError, match="is no checkpoint of laion-clap with an HTSAT"):
        load_laion_package(checkpoint(tmp_path / "odd.pt", 64))
    monkeypatch.setenv(PYTHON, sys.executable)
    with pytest.raises(ArgumentError, match="No module named 'laion_clap'"):
        load_laion_package(checkpoint(tmp_path / "clap.pt"))
    monkeypatch.setenv(PYTHON, str(tmp_path / "gone"))
    with pytest.raises(ArgumentError, match="is no program"):
        load_laion_package(checkpoint(tmp_path / "clap.pt"))
    monkeypatch.delenv(PYTHON)
    with pytest.raises(ArgumentError, match="laion-clap is not here"):
        load_laion_package(checkpoint(tmp_path / "clap.pt"))


REFERENCE = Path(__file__).parents[2] / "models" / "encoders" / "laion_reference.py"

BESIDE = """
import os, runpy, sys
from pathlib import Path
sys.path.insert(0, "{folder}")
os.environ.update(HF_HOME="{cache}", HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="")
import laion_reference
laion_reference.leave_out_compiled_parts()
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""What an environment beside a CPU build of torch lacks is left out, as the reference does it."""


@pytest.mark.slow
def test_the_package_gives_the_vectors_that_we_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = os.environ.get(PYTHON)
    if not python:
        pytest.skip(f"laion-clap is not there; set {PYTHON} to the Python of an environment with it")
    made = subprocess.run([python, str(REFERENCE), str(tmp_path), "HTSAT-tiny"], capture_output=True, timeout=280)
    assert made.returncode == 0, made.stderr[-2000:]
    (tmp_path / "beside.py").write_text(BESIDE.format(folder=REFERENCE.parent, cache=tmp_path / "cache"))
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nexec {python} {tmp_path / "beside.py"} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv(PYTHON, str(wrapper))
    package = load_laion_package(tmp_path / "checkpoint.pt")
    ours = ClapEncoder.from_pretrained(tmp_path / "checkpoint.pt")
    wave_BT = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 96_000)).astype(np.float32)
    theirs = package.embed_sound(wave_BT)
    np.testing.assert_allclose(theirs, ours.embed_sound(torch.from_numpy(wave_BT)).numpy(), atol=1e-4, rtol=0)
    texts = ["a dog barks", "music"]
    np.testing.assert_allclose(package.embed_text(texts), ours.embed_text(texts).numpy(), atol=1e-4, rtol=0)
