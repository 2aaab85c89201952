"""Known parts come out as they are, with every solver and few steps, and the rest sees them on its way."""

import pytest
import torch

from models.diffusion.keeping import keeping
from models.diffusion.paths import PATHS, mixed
from models.diffusion.solvers import SOLVERS, dpm_solver_3m_sde
from models.diffusion.times import exponential_times, sampling_times

IS_KNOWN = torch.tensor([[True, True, False, False, True]])


@pytest.fixture
def ends():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, 5, 2, generator=generator), torch.randn(1, 5, 2, generator=generator)


@pytest.mark.parametrize(("path", "solver"), [("flow", "euler"), ("flow", "heun"), ("v", "dpm_solver_2m")])
@pytest.mark.parametrize("times", [sampling_times(4), sampling_times(50), exponential_times(7)])
def test_known_data_come_out_whatever_the_network_says(ends, path, solver, times):
    known, noise = ends
    velocity = keeping(
        lambda x, t_B: torch.full_like(x, 0.3),
        PATHS[path],
        known_BFD=known,
        is_known_BF=IS_KNOWN,
    )
    # A path that begins a little before noise begins at what the noise and the data are then.
    start = mixed(PATHS[path], known, noise, times[:1])
    made = SOLVERS[solver](velocity, start, times, PATHS[path], None)
    torch.testing.assert_close(made[IS_KNOWN], known[IS_KNOWN], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("path", ["flow", "v"])
@pytest.mark.parametrize("times", [sampling_times(4), exponential_times(7)])
def test_known_data_come_out_where_noise_is_drawn_on_the_way(ends, path, times):
    known, noise = ends
    velocity = keeping(lambda x, t_B: torch.full_like(x, 0.3), PATHS[path], known_BFD=known, is_known_BF=IS_KNOWN)
    start = mixed(PATHS[path], known, noise, times[:1])
    generator = torch.Generator().manual_seed(1)
    drawn = lambda step: torch.randn(known.shape, generator=generator)  # noqa: E731
    made = dpm_solver_3m_sde(velocity, start, times, PATHS[path], fresh=drawn)
    torch.testing.assert_close(made[IS_KNOWN], known[IS_KNOWN], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(made[~IS_KNOWN], known[~IS_KNOWN], atol=0.1)


def test_the_network_sees_the_known_part_on_its_way(ends):
    known, noise = ends
    seen = []

    def velocity(x, t_B):
        seen.append((float(t_B), x.clone()))
        return torch.zeros_like(x)

    kept = keeping(velocity, PATHS["flow"], known_BFD=known, is_known_BF=IS_KNOWN)
    SOLVERS["euler"](kept, noise, sampling_times(5), PATHS["flow"], None)
    for t, x in seen:
        expected = mixed(PATHS["flow"], known, noise, torch.tensor([t]))
        torch.testing.assert_close(x[IS_KNOWN], expected[IS_KNOWN], atol=1e-5, rtol=1e-5)
        assert torch.equal(x[~IS_KNOWN], noise[~IS_KNOWN]), "the rest is the network's"
