"""What a step minimises: noise at a drawn level, with the whole condition or the neighbours taken away sometimes."""

import numpy as np
import pytest
import torch
from torch import nn

from models.re_audioldm.network import ReAudioLdmNetwork
from models.re_audioldm.objective import ObjectiveSettings, ReAudioLdmObjective
from models.training.step import sample_rngs
from tests.models.re_audioldm.tiny_re_audioldm import rows_at, small_config, small_network


class Watched(ReAudioLdmNetwork):
    """Answers nothing, and keeps what it was asked."""

    def __init__(self):
        super().__init__(small_config())
        self.asked = []

    def forward(self, z_BFD, level_B, conditions):
        self.asked.append((z_BFD, level_B, conditions))
        return torch.zeros_like(z_BFD) + 0 * self.nothing_heard_H.sum()


def many(count):
    """The four samples again and again."""
    one = rows_at(0, range(4))
    repeats = {name: value * count if isinstance(value, list) else value.repeat(count, *[1] * (value.ndim - 1))
               for name, value in one.items()}  # fmt: skip
    return repeats, sample_rngs(3, 0, 4 * count)


def test_the_loss_is_that_of_the_noise_at_the_drawn_level():
    network, (batch, rngs) = Watched(), many(64)
    network.scale.fit([batch["latents"]])
    result = ReAudioLdmObjective(ObjectiveSettings())(network, batch, rngs)
    ((z_BFD, level_B, _),) = network.asked
    rngs = sample_rngs(3, 0, 256)
    levels = [int(rng.integers(1000)) for rng in rngs]
    noise = torch.from_numpy(np.stack([rng.standard_normal((6, 4), dtype=np.float32) for rng in rngs]))
    assert level_B.tolist() == levels
    roots = torch.linspace(0.0015**0.5, 0.0195**0.5, 1000, dtype=torch.float64)
    abar = torch.cumprod(1 - roots.square(), 0)[level_B].float()
    x = network.scale.scaled(batch["latents"])
    torch.testing.assert_close(z_BFD, abar.sqrt()[:, None, None] * x + (1 - abar).sqrt()[:, None, None] * noise)
    torch.testing.assert_close(result.loss.detach(), noise.square().mean(), rtol=1e-5, atol=0)
    sums, counts = torch.stack(list(result.tallies.values())).T
    assert next(iter(result.tallies)) == "loss_level_0_250" and counts.sum() == 256
    assert int(counts[0]) == sum(level < 250 for level in levels)
    torch.testing.assert_close(sums.sum() / 256, noise.square().mean())


def test_conditions_are_taken_away_as_often_as_is_said():
    network, (batch, rngs) = Watched(), many(250)
    ReAudioLdmObjective(ObjectiveSettings(drop_all=0.2, drop_neighbours=0.25))(network, batch, rngs)
    _, _, given = network.asked[0]
    has_said = given.said_BS.abs().amax(1) > 0
    has_any = given.has_BK.any(1)[torch.arange(1000) % 4 != 3]  # the fourth sample has none
    assert float(has_said.float().mean()) == pytest.approx(0.8, abs=0.04)
    assert float(has_any.float().mean()) == pytest.approx(0.8 * 0.75, abs=0.05)
    assert not (given.has_BK.any(1) & ~has_said).any(), "neighbours are never shown without the prompt"
    kept = given.has_BK.any(1)
    assert torch.equal(given.has_BK[kept], batch["has_neighbours"][kept]), "the masks of the others stay"


def test_what_a_sample_draws_does_not_depend_on_the_rest():
    network = small_network().train()
    objective = ReAudioLdmObjective(ObjectiveSettings())
    whole = objective(network, rows_at(0, range(4)), sample_rngs(0, 0, 4)).loss
    parts = [objective(network, rows_at(0, range(n, n + 1)), sample_rngs(0, n, 1)).loss for n in range(4)]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


def test_every_parameter_is_trained_even_where_nothing_was_found():
    network, batch = small_network().train(), dict(rows_at(0, range(4)))
    batch["has_neighbours"] = None
    ReAudioLdmObjective(ObjectiveSettings())(network, batch, sample_rngs(0, 0, 4)).loss.backward()
    assert [name for name, one in network.named_parameters() if one.grad is None] == []


def test_bad_settings_batches_and_networks_are_refused():
    with pytest.raises(ValueError, match=r"drop_all is 1\.5: it goes from 0 to 1"):
        ObjectiveSettings(drop_all=1.5)
    with pytest.raises(ValueError, match="level_bins is 0"):
        ObjectiveSettings(level_bins=0)
    objective = ReAudioLdmObjective(ObjectiveSettings())
    with pytest.raises(TypeError, match="needs a ReAudioLdmNetwork, not a Linear"):
        objective(nn.Linear(2, 2), rows_at(0, range(4)), sample_rngs(0, 0, 4))
    without = {name: value for name, value in rows_at(0, range(4)).items() if name != "said"}
    with pytest.raises(ValueError, match="no vectors of its texts"):
        objective(small_network(), without, sample_rngs(0, 0, 4))
