"""Checkpoints: whole or not there, the newest k, written beside the steps, and only into what they were made from."""

import threading
import time

import pytest
import torch
from torch import nn

import models.training.checkpoint as checkpoint
from models.training.checkpoint import Checkpoints
from models.training.loop import starting_state, train


def after_steps(toy, steps, folder):
    return train(
        toy.make(), toy.objective, toy.batch_at, toy.with_settings(total_clips=4 * steps).settings, folder=folder
    )


def save(state, folder, keep=1):
    with Checkpoints(folder, keep=keep) as checkpoints:
        return checkpoints.save(state)


def restore(state, folder):
    return Checkpoints(folder, keep=1).restore(state)


def test_what_is_saved_comes_back(toy, tmp_path):
    state = after_steps(toy, 3, tmp_path / "run")
    path = save(state, tmp_path / "saved")
    assert sorted(file.name for file in path.iterdir()) == [
        "ema-00001-of-00001.safetensors", "network-00001-of-00001.safetensors",
        "optimizer-00001-of-00001.safetensors", "progress.json",
    ]  # fmt: skip
    fresh = starting_state(toy.make(), toy.settings)
    assert restore(fresh, tmp_path / "saved") == {}
    assert path.is_dir()
    assert (fresh.step, fresh.clips_seen) == (3, 12)
    assert torch.equal(fresh.network.enter.weight, state.network.enter.weight)
    assert torch.equal(fresh.ema.network.enter.weight, state.ema.network.enter.weight)
    assert not torch.equal(fresh.ema.network.enter.weight, state.network.enter.weight)


def test_an_interrupted_write_leaves_the_old_one_valid(toy, tmp_path, monkeypatch):
    state = after_steps(toy, 1, tmp_path / "run")
    folder = tmp_path / "saved"
    old = save(state, folder)
    real, written = checkpoint.save_file, []

    def disk_is_full(tensors, path):
        if written:
            raise OSError(28, "No space left on device")
        written.append(path)
        real(tensors, path)

    state.step, state.clips_seen = 2, 8
    monkeypatch.setattr(checkpoint, "save_file", disk_is_full)
    with pytest.raises(OSError, match="No space"):
        save(state, folder)
    assert len(list(folder.iterdir())) == 2, "the old one, and what was begun"
    fresh = starting_state(toy.make(), toy.settings)
    restore(fresh, folder)
    assert old.is_dir() and fresh.step == 1
    monkeypatch.setattr(checkpoint, "save_file", real)
    newest = save(state, folder)
    assert list(folder.iterdir()) == [newest], "the old one and the left-over are gone"


def test_the_steps_go_on_while_a_checkpoint_is_written(toy, tmp_path, monkeypatch):
    """What is written is the state at the time of saving, whatever happens to the weights meanwhile."""
    state = after_steps(toy, 1, tmp_path / "run")
    real, may_write = checkpoint.save_file, threading.Event()

    def slow(tensors, path):
        assert may_write.wait(10)
        real(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", slow)
    before = state.network.enter.weight.detach().clone()
    with Checkpoints(tmp_path / "saved", keep=1) as checkpoints:
        begun = time.perf_counter()
        path = checkpoints.save(state)
        assert time.perf_counter() - begun < 5
        assert not path.exists()
        with torch.no_grad():
            state.network.enter.weight.zero_()
        may_write.set()
    fresh = starting_state(toy.make(), toy.settings)
    restore(fresh, tmp_path / "saved")
    assert torch.equal(fresh.network.enter.weight, before)


def test_the_newest_k_are_kept_in_order_of_steps(toy, tmp_path):
    state = starting_state(toy.make(), toy.settings)
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for state.step in (1, 2, 1_000_000, 10_000_000):
            checkpoints.save(state)
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == ["step-1000000", "step-10000000"]


def test_no_checkpoint_changes_nothing(toy, tmp_path):
    state = starting_state(toy.make(), toy.settings)
    assert restore(state, tmp_path / "none") == {}
    assert state.step == 0


def test_another_network_is_refused_by_name(toy, tmp_path):
    save(after_steps(toy, 1, tmp_path / "run"), tmp_path / "saved")
    wider = toy.make()
    wider.leave = nn.Linear(8, 2)
    with pytest.raises(ValueError, match=r"leave.*\(1,?.*\(2,?"):
        restore(starting_state(wider, toy.settings), tmp_path / "saved")
    deeper = toy.make()
    deeper.more = nn.Linear(1, 1)
    with pytest.raises(ValueError, match=r"more\.bias"):
        restore(starting_state(deeper, toy.settings), tmp_path / "saved")


@pytest.mark.parametrize("name", ["network", "ema", "optimizer", "progress"])
@pytest.mark.parametrize("left", [None, b"", b'{"step": 4'])
def test_a_damaged_checkpoint_is_named_and_nothing_of_it_replaced(toy, tmp_path, name, left):
    after_steps(toy, 3, tmp_path)
    newest = checkpoint.checkpoints(tmp_path / "checkpoints")[-1]
    (file,) = newest.glob(f"{name}*")
    file.unlink()
    if left is not None:
        file.write_bytes(left)
    with pytest.raises(ValueError, match=rf"{newest.name}/{name}.* is damaged or missing .*: put it back, or remove"):
        after_steps(toy, 3, tmp_path)


def test_at_least_one_is_kept(tmp_path):
    with pytest.raises(ValueError, match="keep is 0"):
        Checkpoints(tmp_path, keep=0)
