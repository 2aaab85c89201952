"""The loop: a resumed run equals one that never stopped, to the bit; stops are clean; nothing bad is stepped on."""

import json
import os
import signal

import pytest
import torch

from models.training.loop import Watchers, train


def assert_equal_states(found, expected):
    assert (found.step, found.clips_seen) == (expected.step, expected.clips_seen)
    for name, tensor in expected.network.state_dict().items():
        assert torch.equal(found.network.state_dict()[name], tensor), name
    for name, tensor in expected.ema.network.state_dict().items():
        assert torch.equal(found.ema.network.state_dict()[name], tensor), name
    pairs = zip(found.network.parameters(), expected.network.parameters(), strict=True)
    for mine, theirs in pairs:
        for optimizer, its in zip(found.optimizers, expected.optimizers, strict=True):
            kept, wanted = optimizer.state[mine], its.state[theirs]
            assert kept.keys() == wanted.keys()
            assert all(torch.equal(kept[quantity], wanted[quantity]) for quantity in wanted)


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_run_learns_and_logs_as_it_goes(toy, tmp_path):
    seen = []
    toy = toy.with_settings(total_clips=800, report_every_clips=100)
    state = train(
        toy.make(), toy.objective, toy.batch_at, toy.settings, folder=tmp_path, watchers=Watchers(report=seen.append)
    )
    assert (state.step, state.clips_seen) == (200, 800)
    lines = log_of(tmp_path)
    assert lines == seen
    assert [line["clips_seen"] for line in lines] == list(range(100, 801, 100))
    assert lines[-1]["loss"] < 0.5 * lines[0]["loss"]
    named = {"step", "seconds", "gradient_norm", "clips_per_s", "data_wait_fraction", "learning_rate", "first"}
    assert named <= lines[0].keys()
    assert lines[-1]["learning_rate"] == pytest.approx(0, abs=1e-9)


def test_killed_and_resumed_equals_never_stopped(toy, tmp_path):
    whole = train(toy.make(), toy.objective, toy.batch_at, toy.settings, folder=tmp_path / "whole")
    assert whole.step == 20

    def killed_in_step_13(network, batch, rngs):
        if batch["keys"][0] == "12-0":
            raise RuntimeError("the machine went away")
        return toy.objective(network, batch, rngs)

    with pytest.raises(RuntimeError, match="went away"):
        train(toy.make(), killed_in_step_13, toy.batch_at, toy.settings, folder=tmp_path / "parts")
    assert [line["step"] for line in log_of(tmp_path / "parts")][-1] == 12
    resumed = train(toy.make(), toy.objective, toy.batch_at, toy.settings, folder=tmp_path / "parts")
    assert_equal_states(resumed, whole)
    kept = ("step", "loss", "gradient_norm", "first")
    assert [[line[name] for name in kept] for line in log_of(tmp_path / "parts")] == [
        [line[name] for name in kept] for line in log_of(tmp_path / "whole")
    ]


def test_the_line_after_a_resume_is_of_its_whole_interval(toy, tmp_path):
    """Stopped between two lines of the log, and run again."""
    toy = toy.with_settings(report_every_clips=20, save_every_clips=12)
    train(toy.make(), toy.objective, toy.batch_at, toy.settings, folder=tmp_path / "whole")

    def killed_in_step_4(network, batch, rngs):
        if batch["keys"][0] == "3-0":
            raise RuntimeError("the machine went away")
        return toy.objective(network, batch, rngs)

    with pytest.raises(RuntimeError, match="went away"):
        train(toy.make(), killed_in_step_4, toy.batch_at, toy.settings, folder=tmp_path / "parts")
    train(toy.make(), toy.objective, toy.batch_at, toy.settings, folder=tmp_path / "parts")
    lines = [[line["loss"] for line in log_of(tmp_path / name)] for name in ("whole", "parts")]
    assert lines[0] == pytest.approx(lines[1], rel=1e-12)


def test_two_runs_in_one_folder_are_refused(toy, tmp_path):
    def second(report):
        with pytest.raises(BlockingIOError, match="another process trains in"):
            train(toy.make(), toy.objective, toy.batch_at, toy.settings, folder=tmp_path)

    train(toy.make(), toy.objective, toy.batch_at, toy.settings, folder=tmp_path, watchers=Watchers(report=second))


def test_a_run_that_has_ended_does_nothing_more(toy, tmp_path):
    train(toy.make(), toy.objective, toy.batch_at, toy.settings, folder=tmp_path)
    before = (tmp_path / "log.jsonl").read_bytes()
    evaluated = []

    def never(network, batch, rngs):
        raise AssertionError("a step was taken")

    again = train(
        toy.make(),
        never,
        toy.batch_at,
        toy.settings,
        folder=tmp_path,
        watchers=Watchers(evaluate=lambda s: evaluated.append(s) or {}),
    )
    assert again.clips_seen == 80
    assert (tmp_path / "log.jsonl").read_bytes() == before
    assert evaluated == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_wish_to_stop_saves_and_ends_after_the_step(toy, tmp_path, number):
    handlers = [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]
    whole = train(toy.make(), toy.objective, toy.batch_at, toy.settings, folder=tmp_path / "whole")
    toy_once = toy.with_settings(save_every_clips=80)

    def stop_at_step_6(report):
        if report["step"] == 6:
            os.kill(os.getpid(), number)

    stopped = train(
        toy.make(),
        toy.objective,
        toy.batch_at,
        toy_once.settings,
        folder=tmp_path / "parts",
        watchers=Watchers(report=stop_at_step_6),
    )
    assert stopped.step == 6
    assert [path.name for path in (tmp_path / "parts" / "checkpoints").iterdir()] == ["step-000006"]
    assert [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)] == handlers
    resumed = train(toy.make(), toy.objective, toy.batch_at, toy_once.settings, folder=tmp_path / "parts")
    assert_equal_states(resumed, whole)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_the_optimizer(toy, tmp_path, value):
    network = toy.make()

    def batch_at(number):
        batch = toy.batch_at(number)
        if number == 2:
            batch["y"][1] = value
        return batch

    with pytest.raises(FloatingPointError, match=r"step 3: .*2-0, 2-1, 2-2, 2-3"):
        train(network, toy.objective, batch_at, toy.settings, folder=tmp_path)
    two = train(
        toy.make(), toy.objective, toy.batch_at, toy.with_settings(total_clips=8).settings, folder=tmp_path / "two"
    )
    # Another length of the run has another schedule, but not within the warm-up.
    for name, parameter in two.network.named_parameters():
        assert torch.equal(network.get_parameter(name), parameter), name


def test_what_goes_wrong_in_the_thread_of_the_batches_is_raised(toy, tmp_path):
    def batch_at(number):
        if number == 3:
            raise OSError("shard 000007.tar cannot be read")
        return toy.batch_at(number)

    with pytest.raises(OSError, match=r"000007\.tar"):
        train(toy.make(), toy.objective, batch_at, toy.settings, folder=tmp_path)


def test_evaluation_comes_at_its_multiples_and_at_the_end(toy, tmp_path):
    toy = toy.with_settings(evaluate_every_clips=32)
    places = []

    def evaluate(state):
        places.append(state.clips_seen)
        return {"score": float(state.clips_seen)}

    train(toy.make(), toy.objective, toy.batch_at, toy.settings, folder=tmp_path, watchers=Watchers(evaluate=evaluate))
    assert places == [32, 64, 80]
    assert [line["score"] for line in log_of(tmp_path) if "score" in line] == [32.0, 64.0, 80.0]


@pytest.mark.parametrize("changes", [{"total_clips": 0}, {"clip_norm": 0.0}, {"seed": -1}, {"snapshot_every_clips": 0}])
def test_settings_out_of_range_are_refused_with_the_value(toy, changes):
    with pytest.raises(ValueError, match=r"-1|0|1\.0"):
        toy.with_settings(**changes)
