"""The discrete schedule against diffusers' own, and by arithmetic."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from models.diffusion.discrete import DiscreteSchedule


@pytest.mark.parametrize("spacing", ["linear", "scaled_linear"])
@pytest.mark.parametrize("target", ["epsilon", "v_prediction"])
def test_it_is_the_schedule_of_diffusers(spacing: str, target: str) -> None:
    schedule = DiscreteSchedule(spacing=spacing, target=target)  # type: ignore[arg-type]
    theirs = DDIMScheduler(**schedule.scheduler_settings())
    assert DiscreteSchedule.from_scheduler(theirs.config) == schedule
    x, e = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0)).unsqueeze(1).unbind(0)
    level_B = torch.tensor([417])
    torch.testing.assert_close(schedule.noised(x, e, level_B), theirs.add_noise(x, e, level_B), rtol=0, atol=1e-5)
    velocity = theirs.get_velocity(x, e, level_B)
    wanted = e if target == "epsilon" else velocity
    torch.testing.assert_close(schedule.wanted(x, e, level_B), wanted, rtol=0, atol=1e-5)


def test_ddim_ends_at_the_first_level_and_cuts_nothing() -> None:
    schedule = DiscreteSchedule(levels=10)
    solver = DDIMScheduler(**schedule.ddim_settings())
    assert float(solver.final_alpha_cumprod) == pytest.approx(float(schedule.abar()[0]))
    solver.set_timesteps(5)
    assert solver.timesteps.tolist() == [9, 7, 5, 3, 1]
    assert solver.step(torch.full((1,), 30.0), 1, torch.zeros(1)).pred_original_sample.abs() > 1
    assert DiscreteSchedule.from_scheduler(solver.config) == schedule


def test_weights_keep_the_variance() -> None:
    schedule = DiscreteSchedule(levels=10)
    kept_B, added_B = schedule.weights(torch.arange(10))
    torch.testing.assert_close(kept_B.square() + added_B.square(), torch.ones(10))
    assert (kept_B.diff() < 0).all()
    assert kept_B[0].item() == pytest.approx((1 - 0.0015) ** 0.5)


def test_every_level_is_drawn_alike() -> None:
    rng = np.random.default_rng(0)
    drawn = [DiscreteSchedule(levels=4).draw(rng) for _ in range(4_000)]
    assert np.bincount(drawn, minlength=4).tolist() == pytest.approx([1_000] * 4, abs=150)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"levels": 0}, "levels"),
        ({"beta_start": 0.0}, "betas"),
        ({"beta_start": 0.03}, "betas"),
        ({"beta_end": 1.5}, "betas"),
        ({"spacing": "cosine"}, "cosine"),
        ({"target": "sample"}, "sample"),
    ],
)
def test_what_is_out_of_range_is_named(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        DiscreteSchedule(**wrong)  # type: ignore[arg-type]
