"""The small parts of training: schedule, average, generators, meter, run folder."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from models.training.ema import Ema, EmaSettings
from models.training.meter import Meter, Yardstick
from models.training.run_folder import ReportLog, open_run
from models.training.schedule import Schedule
from models.training.step import StepResult, sample_rngs


def test_the_schedule_warms_up_and_falls_to_its_floor():
    schedule = Schedule(peak=2.0, warmup_clips=100, decay="cosine", floor=0.1)
    assert schedule.rate(50, 1100) == pytest.approx(1.0)
    assert schedule.rate(100, 1100) == pytest.approx(2.0)
    assert schedule.rate(600, 1100) == pytest.approx(1.1), "half way between 2 and 0.2"
    assert schedule.rate(1100, 1100) == pytest.approx(0.2)
    assert schedule.rate(5000, 1100) == pytest.approx(0.2)
    assert Schedule(peak=2.0, warmup_clips=0).rate(10**9, 100) == 2.0


def test_the_average_is_the_weighted_sum_and_forgets_its_start():
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 100.0)
    ema = Ema(network)
    settings = EmaSettings(halflife_clips=8, rampup_ratio=0.5)
    assert settings.decay(8, 0) == 0.0, "nothing of the random start is kept"
    assert settings.decay(8, 1000) == pytest.approx(0.5), "one half-life"
    assert settings.decay(4, 8) == pytest.approx(0.5), "a half-life of 4 after 8 clips"
    for value, decay in ((4.0, 0.0), (8.0, 0.5), (2.0, 0.25)):
        nn.init.constant_(network.weight, value)
        ema.update(network, decay)
    assert float(ema.network.weight.detach()) == pytest.approx(0.25 * 6 + 0.75 * 2)
    assert not ema.network.weight.requires_grad


def test_the_published_decay_is_this_halflife():
    assert EmaSettings(halflife_clips=332_693).decay(48, 10**9) == pytest.approx(0.9999, abs=1e-9)


def test_a_samples_generator_does_not_depend_on_the_batch_it_is_in():
    together = [rng.random() for rng in sample_rngs(5, 10, 6)]
    parts = [rng.random() for first in (10, 13) for rng in sample_rngs(5, first, 3)]
    assert together == parts
    assert len(set(together)) == 6
    assert together != [rng.random() for rng in sample_rngs(6, 10, 6)]


def test_the_meter_weighs_by_counts_and_starts_again():
    meter = Meter()
    for loss, first in ((1.0, [6.0, 3.0]), (3.0, [0.0, 0.0]), (2.0, [4.0, 1.0])):
        tallies = {"first": torch.tensor(first), "none": torch.zeros(2)}
        result = StepResult(loss=torch.tensor(loss), tallies=tallies)
        meter.add(result, loss=loss, gradient_norm=loss, clips=2)
    with meter.waiting():
        pass
    meter.took(2.0)
    report = meter.report()
    assert (report["loss"], report["gradient_norm"], report["first"]) == (2.0, 2.0, 2.5)
    assert "none" not in report, "a mean of nothing is not a number"
    assert 0 <= report["data_wait_fraction"] <= 1
    assert report["clips_per_s"] == 3.0
    assert "first" not in meter.report()


def test_sound_and_work_are_counted_by_the_length_of_clips():
    """Two clips of 4 s and 100 FLOP each, then two of 8 s and 300 FLOP, in 2 s."""
    yardstick = Yardstick(flops_a_clip={4.0: 100.0, 8.0: 300.0}, peak_flops=1_000.0)

    def seen(meter, *lengths_s):
        for length_s in lengths_s:
            result = StepResult(loss=torch.tensor(1.0))
            meter.add(result, loss=1.0, gradient_norm=1.0, clips=2, clip_seconds=length_s)
        meter.took(2.0)
        return meter

    report = seen(Meter(yardstick=yardstick), 4.0, 8.0).report()
    assert (report["audio_s_per_s"], report["tflop_per_s"], report["mfu"]) == (12.0, 400e-12, 0.4)
    before = seen(Meter(yardstick=yardstick), 4.0, 8.0).gathered()
    report = seen(Meter(yardstick=yardstick, gathered=json.loads(json.dumps(before))), 8.0, 4.0).report()
    assert (report["audio_s_per_s"], report["mfu"]) == (12.0, 0.4)
    report = seen(Meter(yardstick=yardstick), 4.0, 2.0).report()
    assert report["audio_s_per_s"] == 6.0 and "mfu" not in report, "the work of a clip of 2 s is not known"
    report = seen(Meter(yardstick=Yardstick(clip_seconds=3.0)), None).report()
    assert report["audio_s_per_s"] == 3.0 and "tflop_per_s" not in report
    assert "audio_s_per_s" not in seen(Meter(), None).report()


def test_what_was_gathered_goes_on_after_a_restart():
    """Half of an interval before a checkpoint and half after it make the line that the whole makes."""

    def steps(meter, losses):
        for loss in losses:
            result = StepResult(loss=torch.tensor(loss), tallies={"first": torch.tensor([loss, 1.0])})
            meter.add(result, loss=loss, gradient_norm=loss, clips=2)
            meter.took(0.5)

    whole, before = Meter(), Meter()
    steps(whole, [1.0, 2.0, 6.0])
    steps(before, [1.0, 2.0])
    after = Meter(gathered=json.loads(json.dumps(before.gathered())))
    steps(after, [6.0])
    names = ("loss", "gradient_norm", "first", "clips_per_s")
    expected, found = whole.report(), after.report()
    assert [found[name] for name in names] == [expected[name] for name in names]


def test_a_run_folder_refuses_other_settings_and_names_them(tmp_path):
    settings = {"recipe": {"width": 8, "betas": (0.9, 0.99)}, "data": "a"}
    open_run(tmp_path / "run", settings)
    before = (tmp_path / "run" / "config.json").read_bytes()
    open_run(tmp_path / "run", settings)
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    assert json.loads(before)["versions"]["torch"] == torch.__version__
    with pytest.raises(ValueError, match=r"recipe\.width: 8 there, 16 here"):
        open_run(tmp_path / "run", {"recipe": {"width": 16, "betas": (0.9, 0.99)}, "data": "a"})


def test_of_another_recipes_run_some_of_what_differs_is_shown(tmp_path):
    open_run(tmp_path / "run", {f"s{number}": "x" * 1000 for number in range(9)})
    with pytest.raises(ValueError, match=r"s0: 'xxx.*; s5: .*; and 3 more\): go on") as refused:
        open_run(tmp_path / "run", {})
    assert len(str(refused.value)) < 1500


@pytest.mark.parametrize("damaged", ["", '{"settings"', "[]", "{}"])
def test_a_damaged_run_folder_is_named(tmp_path, damaged):
    open_run(tmp_path / "run", {"width": 8})
    (tmp_path / "run" / "config.json").write_text(damaged)
    with pytest.raises(ValueError, match=r"run/config\.json is damaged, put it back or give another folder"):
        open_run(tmp_path / "run", {"width": 8})


@pytest.mark.parametrize("part", ["", "joint"])
def test_checkpoints_of_unknown_settings_are_not_gone_on_with(tmp_path, part):
    saved = tmp_path / "run" / part / "checkpoints" / "step-000063"
    saved.mkdir(parents=True)
    with pytest.raises(ValueError, match=r"step-000063 is of a run whose config\.json is gone"):
        open_run(tmp_path / "run", {"width": 8})
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_folder_above_that_of_a_run_is_a_place_for_another(tmp_path):
    open_run(tmp_path / "runs" / "one", {"width": 8})
    (tmp_path / "runs" / "one" / "checkpoints" / "step-000063").mkdir(parents=True)
    open_run(tmp_path / "runs", {"width": 8})
    assert json.loads((tmp_path / "runs" / "config.json").read_text())["settings"] == {"width": 8}


def test_a_log_forgets_what_will_be_done_again_and_what_was_cut_short(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step": 4, "lo')
    ReportLog(path, after_step=2).add({"step": 3, "loss": float(np.float64(0.5))})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Schedule(peak=0.0, warmup_clips=0),
        lambda: Schedule(peak=1.0, warmup_clips=-1),
        lambda: Schedule(peak=1.0, warmup_clips=0, floor=1.5),
        lambda: EmaSettings(halflife_clips=0),
        lambda: EmaSettings(halflife_clips=1, rampup_ratio=-1.0),
    ],
)
def test_settings_out_of_range_say_the_value(make):
    with pytest.raises(ValueError, match=r"is (0|-1|1\.5|0\.0|-1\.0)"):
        make()
