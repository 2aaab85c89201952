"""The objective: draws by the sample, losses known by arithmetic, and a small set that is learned."""

import numpy as np
import pytest
import torch

from models.audiox.network import AudioXNetwork
from models.audiox.objective import AudioXObjective, ConditionDrop, ObjectiveSettings, drawn_noise
from models.diffusion.times import TimeDraw
from models.training.step import sample_rngs


@pytest.fixture
def network(config):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AudioXNetwork(config(text_width=6))


@pytest.fixture
def batch(frames):
    latents = torch.from_numpy(np.random.default_rng(2).standard_normal((2, 6, 4), dtype=np.float32))
    has_frames = torch.tensor([True, False])
    return {"latents": latents, "texts": ["rain", ""], "frames": frames, "has_frames": has_frames, "keys": ["r", "n"]}


@pytest.mark.parametrize("path", ["flow", "v"])
def test_a_network_that_predicts_zero_has_the_mean_square_of_the_target(network, batch, encoders, path):
    settings = ObjectiveSettings(path=path, times=TimeDraw(kind="uniform"), drop=ConditionDrop(everything=0.0))
    result = AudioXObjective(settings, encoders)(network, batch, sample_rngs(0, 0, 2))
    expected = []
    for rng, x_FD in zip(sample_rngs(0, 0, 2), batch["latents"].numpy(), strict=True):
        rng.random(3)
        t = rng.random()
        noise = rng.standard_normal((6, 4), dtype=np.float32)
        angle = t * np.pi / 2
        target = noise - x_FD if path == "flow" else np.cos(angle) * noise - np.sin(angle) * x_FD
        expected.append(np.square(target).mean())
    assert float(result.loss.detach()) == pytest.approx(np.mean(expected), rel=1e-5)


def test_the_tallies_by_time_add_up_to_the_loss(network, batch, encoders):
    result = AudioXObjective(ObjectiveSettings(time_bins=3), encoders)(network, batch, sample_rngs(0, 0, 2))
    assert list(result.tallies) == ["loss_t_0.00_0.33", "loss_t_0.33_0.67", "loss_t_0.67_1.00"]
    total, count = torch.stack(list(result.tallies.values())).sum(0).tolist()
    assert count == 2
    assert total / count == pytest.approx(float(result.loss.detach()), rel=1e-5)


def test_a_sample_draws_the_same_in_any_batch(batch):
    together = drawn_noise(sample_rngs(0, 0, 2), batch["latents"])
    alone = drawn_noise(sample_rngs(0, 1, 1), batch["latents"][1:])
    assert torch.equal(together[1:], alone)


def test_conditions_are_dropped_as_often_as_asked():
    drop = ConditionDrop(everything=0.1, text=0.2, frames=0.5)
    drawn = np.array([drop.draw(rng) for rng in sample_rngs(0, 0, 8_000)])
    text, frames = drawn[:, 0], drawn[:, 1]
    assert text.mean() == pytest.approx(0.9 * 0.8, abs=0.015)
    assert frames.mean() == pytest.approx(0.9 * 0.5, abs=0.015)
    assert (~text & ~frames).mean() == pytest.approx(0.1 + 0.9 * 0.2 * 0.5, abs=0.015)
    assert drop.draw(np.random.default_rng(1)) == drop.draw(np.random.default_rng(1))
    assert ConditionDrop(everything=1.0).draw(np.random.default_rng(1)) == (False, False)


def test_what_is_always_dropped_is_never_seen(network, batch, encoders):
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(parameter.numel()))
    objective = AudioXObjective(ObjectiveSettings(drop=ConditionDrop(everything=1.0)), encoders)
    loss = objective(network, batch, sample_rngs(0, 0, 2)).loss
    other = {**batch, "texts": ["loud", "siren"], "frames": 255 - batch["frames"]}
    torch.testing.assert_close(objective(network, other, sample_rngs(0, 0, 2)).loss, loss)
    seen = AudioXObjective(ObjectiveSettings(drop=ConditionDrop(everything=0.0, text=0.0, frames=0.0)), encoders)
    assert not torch.equal(
        seen(network, other, sample_rngs(0, 0, 2)).loss, seen(network, batch, sample_rngs(0, 0, 2)).loss
    )


def test_two_sounds_are_learned_from_their_texts(network, encoders):
    """The latents are constants, +1 for rain and -1 for a siren: in the end only the text tells which at high noise."""
    ones = torch.ones(1, 6, 4)
    batch = {
        "latents": torch.cat([ones, -ones] * 8),
        "texts": ["rain", "siren"] * 8,
        "frames": None,
        "has_frames": torch.zeros(16, dtype=torch.bool),
        "keys": ["s"] * 16,
    }
    settings = ObjectiveSettings(times=TimeDraw(mean=1.5), drop=ConditionDrop(everything=0.0, text=0.0, frames=0.0))
    objective = AudioXObjective(settings, encoders)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for step in range(80):
        optimizer.zero_grad()
        loss = objective(network, batch, sample_rngs(0, 16 * step, 16)).loss
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[:3]) == pytest.approx(2.0, abs=0.2), "variances of noise and data"
    assert np.mean(losses[-10:]) < 0.4


@pytest.mark.parametrize(
    "make",
    [lambda: ConditionDrop(text=1.5), lambda: ObjectiveSettings(path="ddpm"), lambda: ObjectiveSettings(time_bins=0)],
)
def test_settings_out_of_range_say_the_value(make):
    with pytest.raises(ValueError, match=r"1\.5|ddpm|0"):
        make()
