"""Checkpoints: whole or not there, the newest k, and only into what they were made from."""

import pytest
import torch
from torch import nn

import models.training.checkpoint as checkpoint
from models.training.loop import starting_state, take_step
from models.training.meter import Meter


def after_steps(toy, steps):
    state = starting_state(toy.make(), toy.settings)
    for number in range(steps):
        take_step(state, toy.objective, toy.batch_at(number), toy.settings, Meter())
    return state


def test_what_is_saved_comes_back(toy, tmp_path):
    state = after_steps(toy, 3)
    path = checkpoint.save_checkpoint(state, tmp_path, keep=1)
    assert sorted(file.name for file in path.iterdir()) == [
        "ema.safetensors", "network.safetensors", "optimizer.safetensors", "progress.json",
    ]  # fmt: skip
    fresh = starting_state(toy.make(), toy.settings)
    assert checkpoint.restore_newest(fresh, tmp_path) == path
    assert (fresh.step, fresh.clips_seen) == (3, 12)
    assert torch.equal(fresh.network.enter.weight, state.network.enter.weight)
    assert torch.equal(fresh.ema.network.enter.weight, state.ema.network.enter.weight)
    assert not torch.equal(fresh.ema.network.enter.weight, state.network.enter.weight)


def test_an_interrupted_write_leaves_the_old_one_valid(toy, tmp_path, monkeypatch):
    state = after_steps(toy, 1)
    old = checkpoint.save_checkpoint(state, tmp_path, keep=1)
    real, written = checkpoint.save_file, []

    def disk_is_full(tensors, path):
        if written:
            raise OSError(28, "No space left on device")
        written.append(path)
        real(tensors, path)

    state.step, state.clips_seen = 2, 8
    monkeypatch.setattr(checkpoint, "save_file", disk_is_full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save_checkpoint(state, tmp_path, keep=1)
    assert len(list(tmp_path.iterdir())) == 2, "the old one, and what was begun"
    fresh = starting_state(toy.make(), toy.settings)
    assert checkpoint.restore_newest(fresh, tmp_path) == old
    assert fresh.step == 1
    monkeypatch.setattr(checkpoint, "save_file", real)
    newest = checkpoint.save_checkpoint(state, tmp_path, keep=1)
    assert list(tmp_path.iterdir()) == [newest], "the old one and the left-over are gone"


def test_the_newest_k_are_kept_in_order_of_steps(toy, tmp_path):
    state = starting_state(toy.make(), toy.settings)
    for state.step in (1, 2, 1_000_000, 10_000_000):
        checkpoint.save_checkpoint(state, tmp_path, keep=2)
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == ["step-1000000", "step-10000000"]


def test_no_checkpoint_changes_nothing(toy, tmp_path):
    state = starting_state(toy.make(), toy.settings)
    assert checkpoint.restore_newest(state, tmp_path / "none") is None
    assert state.step == 0


def test_another_network_is_refused_by_name(toy, tmp_path):
    checkpoint.save_checkpoint(after_steps(toy, 1), tmp_path, keep=1)
    wider = toy.make()
    wider.leave = nn.Linear(8, 2)
    with pytest.raises(ValueError, match=r"leave.*\(1,?.*\(2,?"):
        checkpoint.restore_newest(starting_state(wider, toy.settings), tmp_path)
    deeper = toy.make()
    deeper.more = nn.Linear(1, 1)
    with pytest.raises(ValueError, match=r"more\.bias"):
        checkpoint.restore_newest(starting_state(deeper, toy.settings), tmp_path)
