"""Where weights lie and what their sum is."""

import hashlib
import json

import pytest

from models.weights import safetensors_paths, sha256_of_files


def test_one_file_has_its_own_sum(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    paths = safetensors_paths(tmp_path)
    assert paths == [tmp_path / "model.safetensors"]
    assert sha256_of_files(paths) == hashlib.sha256(b"weights").hexdigest()


def test_shards_come_in_the_order_of_their_names_and_each_counts(tmp_path):
    index = {"weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors", "c": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    for number in (1, 2):
        (tmp_path / f"model-{number}.safetensors").write_bytes(bytes([number]))
    paths = safetensors_paths(tmp_path)
    assert [path.name for path in paths] == ["model-1.safetensors", "model-2.safetensors"]
    before = sha256_of_files(paths)
    paths[1].write_bytes(b"changed")
    assert sha256_of_files(paths) != before


def test_an_index_cannot_point_outside_its_folder(tmp_path):
    index = {"weight_map": {"a": "../elsewhere.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"\.\./elsewhere"):
        safetensors_paths(tmp_path)


def test_a_folder_with_a_pickle_only_is_refused(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="only safetensors"):
        safetensors_paths(tmp_path)


def test_subfolder_and_stem_name_the_file(tmp_path):
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"x")
    (path,) = safetensors_paths(tmp_path, stem="diffusion_pytorch_model", subfolder="vae")
    assert path == tmp_path / "vae" / "diffusion_pytorch_model.safetensors"


def test_a_file_of_the_hubs_cache_is_called_for_its_sum(tmp_path):
    blobs, snapshot = (tmp_path / "models--a--b" / name for name in ("blobs", "snapshots"))
    blobs.mkdir(parents=True)
    snapshot.mkdir()
    for name, believed in (("a" * 64, True), ("b" * 40, False)):
        (blobs / name).write_bytes(b"w")
        link = snapshot / f"{len(name)}.safetensors"
        link.symlink_to(blobs / name)
        assert sha256_of_files([link]) == (name if believed else hashlib.sha256(b"w").hexdigest())
