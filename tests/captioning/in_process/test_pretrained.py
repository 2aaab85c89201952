"""Models pinned to their bytes; files only, no network."""

import hashlib
from pathlib import Path

import pytest

from captioning.in_process.pretrained import Pretrained
from curation.errors import ArgumentError


def made(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    for name, content in {"config_json": '{"model_type": "qwen2_audio"}', "model_safetensors": "w", **files}.items():
        (folder / name.replace("_json", ".json").replace("_safetensors", ".safetensors")).write_text(content)
    return folder


def test_a_folder_is_pinned_by_its_bytes_and_not_by_its_place(tmp_path: Path) -> None:
    here = Pretrained.find(made(tmp_path / "a" / "Tiny"))
    there = Pretrained.find(made(tmp_path / "b" / "Tiny"))
    assert here.weights_sha256 == hashlib.sha256(b"w").hexdigest()
    assert (here.model, here.revision, here.model_type()) == ("Tiny", None, "qwen2_audio")
    assert (here.weights_sha256, here.settings_sha256) == (there.weights_sha256, there.settings_sha256)
    assert here.folder() == tmp_path / "a" / "Tiny"


def test_every_file_that_decides_counts(tmp_path: Path) -> None:
    plain = Pretrained.find(made(tmp_path / "plain"))
    weights = Pretrained.find(made(tmp_path / "weights", model_safetensors="v"))
    tokenizer = Pretrained.find(made(tmp_path / "tokenizer", tokenizer_json="{}"))
    assert weights.weights_sha256 != plain.weights_sha256 and weights.settings_sha256 == plain.settings_sha256
    assert tokenizer.weights_sha256 == plain.weights_sha256 and tokenizer.settings_sha256 != plain.settings_sha256
    sharded = Pretrained.find(made(tmp_path / "sharded", second_safetensors="v"))
    swapped = Pretrained.find(made(tmp_path / "swapped", model_safetensors="v", second_safetensors="w"))
    assert len({sharded.weights_sha256, swapped.weights_sha256, plain.weights_sha256}) == 3


def test_what_is_not_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pickle").mkdir()
    (tmp_path / "pickle" / "config.json").write_text("{}")
    (tmp_path / "pickle" / "pytorch_model.bin").write_text("w")
    with pytest.raises(ArgumentError, match=r"lacks \*.safetensors"):
        Pretrained.find(tmp_path / "pickle")
    with pytest.raises(ArgumentError, match="revision 'main'"):
        Pretrained.find(made(tmp_path / "model"), revision="main")


def test_a_name_that_cannot_be_had_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name in ("someone/no-such-model", str(tmp_path / "missing"), "a b"):
        with pytest.raises(ArgumentError, match="neither a folder here nor a model"):
            Pretrained.find(name)
