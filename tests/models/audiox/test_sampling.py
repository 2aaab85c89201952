"""Sampling: known latents come out as they are, whatever times the solver goes through."""

import pytest
import torch

from models.audiox.sampling import Known, Sampling, sample_latents
from models.diffusion.guidance import Context


@pytest.mark.parametrize(("path", "solver"), [("flow", "euler"), ("flow", "heun"), ("v", "dpm_solver_2m")])
@pytest.mark.parametrize("times", ["even", "exponential"])
def test_known_latents_come_out(path, solver, times):
    generator = torch.Generator().manual_seed(0)
    noise, known = (torch.randn(1, 5, 2, generator=generator) for _ in range(2))
    known[:, 2:4] = torch.nan  # of any value where they are not known
    is_known = torch.tensor([[True, True, False, False, True]])
    made = sample_latents(
        lambda x_BFD, t_B, context_BLC, mask_BL: torch.full_like(x_BFD, 0.3),
        noise,
        path=path,
        steps=3,
        conditions=([Context(tokens_BLC=torch.zeros(1, 1, 1), mask_BL=None)], (1.0,)),
        known=Known(latents_BFD=known, is_known_BF=is_known),
        sampling=Sampling(solver=solver, times=times),
    )
    torch.testing.assert_close(made[is_known], known[is_known], atol=1e-5, rtol=1e-5)
    assert bool(made.isfinite().all())
