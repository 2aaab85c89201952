"""Sampling: known latents come out as they are, whatever times the solver goes through."""

import pytest
import torch

from models.audiox.sampling import Known, Noise, Sampling, sample_latents, start_noise
from models.diffusion.guidance import Context


@pytest.mark.parametrize(
    ("path", "solver"), [("flow", "euler"), ("flow", "heun"), ("v", "dpm_solver_2m"), ("v", "dpm_solver_3m_sde")]
)
@pytest.mark.parametrize("times", ["even", "exponential"])
def test_known_latents_come_out(path, solver, times):
    generator = torch.Generator().manual_seed(0)
    known = torch.randn(1, 5, 2, generator=generator)
    known[:, 2:4] = torch.nan  # of any value where they are not known
    is_known = torch.tensor([[True, True, False, False, True]])
    made = sample_latents(
        lambda x_BFD, t_B, context_BLC, mask_BL: torch.full_like(x_BFD, 0.3),
        Noise.of(0, 1, (5, 2)),
        path=path,
        steps=3,
        conditions=([Context(tokens_BLC=torch.zeros(1, 1, 1), mask_BL=None)], (1.0,)),
        known=Known(latents_BFD=known, is_known_BF=is_known),
        sampling=Sampling(solver=solver, times=times),
    )
    torch.testing.assert_close(made[is_known], known[is_known], atol=1e-5, rtol=1e-5)
    assert bool(made.isfinite().all())


def test_a_sounds_noise_is_its_own_in_every_step():
    noise = Noise.of(3, 4, (5, 2))
    assert torch.equal(noise.start(), start_noise([(3, 0), (3, 1), (3, 2), (3, 3)], 4, (5, 2)))
    drawn = [noise.start(), *(noise.fresh(step) for step in range(3))]
    assert len({tuple(row.flatten().tolist()) for each in drawn for row in each}) == 16, "no two alike"
    part = noise.part(slice(1, 3))
    assert torch.equal(part.fresh(2), drawn[3][1:3]) and torch.equal(part.start(), drawn[0][1:3])
    many = torch.stack([Noise.of(number, 1, (50, 20)).fresh(number) for number in range(20)])
    assert abs(float(many.mean())) < 0.03 and float(many.std()) == pytest.approx(1, abs=0.03)
