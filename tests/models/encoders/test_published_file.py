"""Files of weights: tensors by name are read, what training left beside them is skipped, code is refused."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models.encoders.published_file import find_weights, read_plain, read_tensors

TENSORS = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.ones(2)}


class Code:
    """Something that a file of weights has no reason to hold."""


@pytest.mark.parametrize(
    "held",
    [
        TENSORS,
        {"model": TENSORS, "iteration": 600_000},
        {"state_dict": {f"module.{name}": value for name, value in TENSORS.items()}, "epoch": 3},
        {"model": TENSORS, "sampler": {"indexes": np.arange(5), "pointer": 3, "best": np.float64(0.431)}},
    ],
    ids=["bare", "below model", "module.", "beside NumPy's"],
)
def test_tensors_are_found_wherever_they_are(tmp_path, held):
    torch.save(held, tmp_path / "weights.pth")
    found = read_tensors(tmp_path / "weights.pth")
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], value) for name, value in TENSORS.items())


def test_safetensors_are_read_too(tmp_path):
    save_file(TENSORS, tmp_path / "weights.safetensors")
    assert read_tensors(find_weights(tmp_path)).keys() == TENSORS.keys()


def test_what_is_not_weights_is_refused(tmp_path):
    torch.save({"model": TENSORS, "beside": Code()}, tmp_path / "code.pth")
    with pytest.raises(ValueError, match=r"code\.pth cannot be .*: it holds .*, and a pickle can run code"):
        read_tensors(tmp_path / "code.pth")
    (tmp_path / "text.pth").write_text("not a pickle")
    with pytest.raises(ValueError, match="cannot be read"):
        read_tensors(tmp_path / "text.pth")
    torch.save({"iteration": 5}, tmp_path / "empty.pth")
    with pytest.raises(ValueError, match="does not hold tensors by name"):
        read_tensors(tmp_path / "empty.pth")


def test_nobody_is_advised_to_run_what_a_file_holds(tmp_path, recwarn):
    for protocol in (2, 4):
        (tmp_path / "bare.pt").write_bytes(pickle.dumps(Code(), protocol=protocol))
        with pytest.raises(ValueError, match=r"bare\.pt cannot be read as weights: it ") as refused:
            read_plain(tmp_path / "bare.pt")
        assert "weights_only" not in str(refused.value)
    assert not recwarn.list


def test_a_folder_names_one_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder with one"):
        find_weights(tmp_path)
    for name in ("a.pt", "b.pth"):
        torch.save(TENSORS, tmp_path / name)
    with pytest.raises(ValueError, match=r"several weights \(a\.pt, b\.pth\)"):
        find_weights(tmp_path)
    assert find_weights(tmp_path / "a.pt") == tmp_path / "a.pt"
