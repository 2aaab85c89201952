"""Averages by power functions: their arithmetic, and one of another width made of snapshots."""

import pytest
import torch
from torch import nn

from models.training.loop import train
from models.training.posthoc import (
    MAX_WIDTH,
    PowerAverages,
    posthoc_average,
    posthoc_weights,
    power_of,
    save_snapshots,
)
from tests.models.training.toys import RANK_SETTINGS, batch_at, make_blocks, noisy_square


def number():
    """A network that is one number."""
    return nn.Linear(1, 1, bias=False)


@pytest.mark.parametrize(("width", "power"), [(MAX_WIDTH, 0.0), ((2 / 9 / 4) ** 0.5, 1.0), (0.05, 16.97), (0.10, 6.94)])
def test_the_power_of_a_width(width, power):
    """0: the plain mean; 1: (1 + 1) / (3^2 4) by hand; the others as the paper's section 3.1 gives them."""
    assert power_of(width) == pytest.approx(power, abs=0.01)


@pytest.mark.parametrize("width", [0.0, -0.1, 0.3])
def test_a_width_that_no_power_has_is_refused(width):
    with pytest.raises(ValueError, match=str(width)):
        power_of(width)


def test_of_weights_that_grow_with_time_the_average_is_known():
    """The integral of (g + 1) s^g / t^(g + 1) s is (g + 1) / (g + 2) t."""
    network = number()
    averages = PowerAverages(network, widths=(0.1,))
    for step in range(4_000):
        nn.init.constant_(network.weight, float(step + 1))
        averages.update(network, clips=8, clips_before=8 * step)
    power = power_of(0.1)
    assert averages.networks[0].weight.item() == pytest.approx((power + 1) / (power + 2) * 4_000, rel=1e-3)


def test_another_width_comes_out_of_snapshots(tmp_path):
    network = number()
    kept, wanted = PowerAverages(network), PowerAverages(network, widths=(0.075,))
    for step in range(2_000):
        nn.init.constant_(network.weight, float(torch.tensor(step / 150.0).sin()) + step / 1_000)
        for averages in (kept, wanted):
            averages.update(network, clips=4, clips_before=4 * step)
        if (step + 1) % 125 == 0:
            save_snapshots(kept, tmp_path, clips=4 * (step + 1))
    made = posthoc_average(tmp_path, width=0.075)
    assert made["weight"].item() == pytest.approx(wanted.networks[0].weight.item(), abs=0.01)
    assert posthoc_average(tmp_path, width=0.05)["weight"].item() == pytest.approx(kept.networks[0].weight.item(), 1e-4)
    assert posthoc_weights([100, 200], [0.05, 0.1], at=200, width=0.1) == pytest.approx([0.0, 1.0], abs=1e-6)


def test_a_run_keeps_snapshots_where_it_is_asked_to(tmp_path):
    from dataclasses import replace

    settings = replace(RANK_SETTINGS, total_clips=24, snapshot_every_clips=12)
    state = train(make_blocks(), noisy_square, batch_at, settings, folder=tmp_path)
    names = [f"clips-{clips:09d}-width-0.{width}.safetensors" for clips in (12, 24) for width in ("050", "100")]
    assert sorted(path.name for path in (tmp_path / "averages").iterdir()) == names
    assert posthoc_average(tmp_path / "averages", width=0.07).keys() == state.network.state_dict().keys()
    parts = tmp_path / "parts"
    train(make_blocks(), noisy_square, batch_at, replace(settings, total_clips=12), folder=parts)
    again = train(make_blocks(), noisy_square, batch_at, settings, folder=parts)
    assert torch.equal(again.powers.networks[0].enter.weight, state.powers.networks[0].enter.weight)


def test_without_snapshots_it_says_how_to_keep_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="snapshot_every_clips"):
        posthoc_average(tmp_path, width=0.1)
