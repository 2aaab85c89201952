"""Our waveform autoencoder: one backward pass for two opponents, a run that resumes to the bit, a codec that loads."""

import inspect
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.codecs.codec import load_codec
from models.codecs.discriminator import DiscriminatorConfig
from models.codecs.oobleck import OobleckCodec
from models.codecs.recipes import codec_44k, codec_tiny, train_codec
from models.codecs.waveform_vae import CodecLossSettings, WaveformVae, WaveformVaeObjective
from models.training.execution import Execution
from models.training.loop import Watchers
from models.training.world import World
from tests.models.codecs.tiny_waveform import RECIPE, SIZE, waves_at

pytest.importorskip("diffusers")

ALONE = World(device=torch.device("cpu"))


def network(judge=RECIPE.judge):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return WaveformVae(SIZE, judge)


def rngs(count=2):
    return [np.random.default_rng(row) for row in range(count)]


def gradients(one):
    return {name: parameter.grad for name, parameter in one.named_parameters() if parameter.grad is not None}


def test_sounds_come_back_as_long_as_they_were():
    made, mean, std = network()(torch.zeros(2, 1, 128), torch.zeros(2, 3, 16))
    assert made.shape == (2, 1, 128)
    assert mean.shape == std.shape == (2, 3, 16)
    assert bool((std > 0).all())


def test_one_backward_pass_gives_each_opponent_the_gradient_of_its_own_loss():
    both, batch = network(), waves_at(0, range(2))
    WaveformVaeObjective(RECIPE.losses)(both, batch, rngs()).loss.backward()
    found = gradients(both)

    maker = network()
    noise = np.stack([rng.standard_normal((3, 16), dtype=np.float32) for rng in rngs()])
    made, _, _ = maker(batch["waves"], torch.from_numpy(noise))
    objective = WaveformVaeObjective(replace(RECIPE.losses, adversarial=0.0, features=0.0))
    alone = network(judge=None)
    objective(alone, batch, rngs()).loss.backward()
    plain = gradients(alone)
    real, fake = maker.judge(batch["waves"]), maker.judge(made)
    persuading = -0.1 * fake.marks[0].mean()
    features = (
        5
        * torch.stack(
            [(one.detach() - other).abs().mean() for one, other in zip(real.features[0], fake.features[0], strict=True)]
        ).mean()
    )
    maker_parameters = dict(maker.autoencoder.named_parameters(prefix="autoencoder"))
    more = torch.autograd.grad(persuading + features, list(maker_parameters.values()), retain_graph=True)
    for (name, _), gradient in zip(maker_parameters.items(), more, strict=True):
        torch.testing.assert_close(found[name], plain[name] + gradient, rtol=1e-4, atol=1e-6)

    judged = maker.judge(made.detach())
    hinge = torch.relu(1 - real.marks[0]).mean() + torch.relu(1 + judged.marks[0]).mean()
    judges = dict(maker.judge.named_parameters(prefix="judge"))
    for name, gradient in zip(judges, torch.autograd.grad(hinge, list(judges.values())), strict=True):
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


def test_a_batch_in_parts_has_the_loss_of_the_whole():
    batch, objective, one = waves_at(0, range(4)), WaveformVaeObjective(RECIPE.losses), network()
    whole = objective(one, batch, rngs(4)).loss.item()
    parts = [
        objective(one, {"waves": batch["waves"][first : first + 2]}, rngs(4)[first : first + 2]).loss.item()
        for first in (0, 2)
    ]
    assert whole == pytest.approx(np.mean(parts), rel=1e-5)


def states(folder):
    return {path.name: load_file(path) for path in sorted((folder / "checkpoints/step-000008").glob("*.safetensors"))}


def test_a_run_that_was_stopped_comes_to_the_same_bits_and_its_codec_loads(tmp_path):
    def start(folder, watchers=None):
        return train_codec(RECIPE, waves_at, folder=folder, data={}, world=ALONE, watchers=watchers)

    whole = start(tmp_path / "whole")

    def stop(report):
        if report["step"] == 4:
            os.kill(os.getpid(), signal.SIGINT)

    assert start(tmp_path / "parts", Watchers(report=stop)) is None
    assert not (tmp_path / "parts/model").exists()
    resumed = start(tmp_path / "parts")
    first, second = states(tmp_path / "whole"), states(tmp_path / "parts")
    assert first.keys() == second.keys() and len(first) == 3
    for name, tensors in first.items():
        assert all(torch.equal(tensor, second[name][key]) for key, tensor in tensors.items()), name
    assert any(key.startswith("judge.") for key in first["optimizer-00001-of-00001.safetensors"])

    loaded = load_codec(tmp_path / "parts")  # the folder of a run stands for its model
    assert isinstance(loaded, OobleckCodec)
    assert (
        loaded.identity() == whole.identity() == resumed.identity() == load_codec(tmp_path / "whole/model").identity()
    )
    assert (loaded.latent_rate_hz, loaded.latent_channels) == (2_000.0, 3)
    wave = waves_at(9, range(1))["waves"]
    torch.testing.assert_close(loaded.decode(loaded.encode(wave)), whole.decode(whole.encode(wave)))
    assert start(tmp_path / "parts").identity() == loaded.identity()


def test_a_run_is_not_resumed_with_other_data_and_not_sharded(tmp_path):
    train_codec(RECIPE, waves_at, folder=tmp_path, data={"of": "one"}, world=ALONE)
    with pytest.raises(ValueError, match=r"data\.of"):
        train_codec(RECIPE, waves_at, folder=tmp_path, data={"of": "two"}, world=ALONE)
    with pytest.raises(ValueError, match="replicas"):
        train_codec(RECIPE, waves_at, folder=tmp_path, data={}, world=ALONE, execution=Execution(spread="shards"))


def test_a_few_steps_make_the_sounds_come_closer():
    tone = 0.3 * torch.sin(torch.arange(128) * 0.2)[None, None].expand(4, 1, 128)
    one, objective = network(judge=None), WaveformVaeObjective(replace(RECIPE.losses, adversarial=0.0, features=0.0))
    optimizer = torch.optim.AdamW(one.parameters(), lr=1e-2)
    losses = []
    for step in range(30):
        result = objective(one, {"waves": tone}, [np.random.default_rng([step, row]) for row in range(4)])
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        losses.append(result.loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_the_large_recipe_is_the_published_autoencoder():
    from diffusers import AutoencoderOobleck

    published = {name: one.default for name, one in inspect.signature(AutoencoderOobleck.__init__).parameters.items()}
    size = codec_44k().autoencoder
    assert published["encoder_hidden_size"] == 2 * size.latent_channels
    assert published["downsampling_ratios"] == list(size.strides)
    assert published["channel_multiples"] == list(size.multiples)
    assert published["decoder_channels"] == size.decoder_width
    assert published["decoder_input_channels"] == size.latent_channels
    assert (published["audio_channels"], published["sampling_rate"]) == (size.channels, size.sample_rate_hz)
    assert size.hop_samples == 2048


def test_the_tiny_recipe_builds_and_says_its_rates():
    recipe = codec_tiny(total_clips=8, seed=3)
    assert (recipe.sample_rate_hz, recipe.channels, recipe.hop_samples) == (16_000, 1, 128)
    assert recipe.training.total_clips == 8 and recipe.training.seed == 3
    assert recipe.training.clip_seconds == recipe.window_samples / recipe.sample_rate_hz
    WaveformVae(recipe.autoencoder, recipe.judge)


@pytest.mark.parametrize(
    "changes",
    [{"sample_rate_hz": 0}, {"channels": 0}, {"latent_channels": 0}, {"strides": (3, 4)}, {"multiples": (1,)}],
)
def test_sizes_out_of_range_are_refused(changes):
    with pytest.raises(ValueError, match="got"):
        replace(SIZE, **changes)


@pytest.mark.parametrize("changes", [{"batch_clips": 0}, {"window_samples": 130}, {"window_samples": 56}])
def test_recipes_out_of_range_are_refused(changes):
    with pytest.raises(ValueError, match="got"):
        replace(RECIPE, **changes)
    assert replace(RECIPE, window_samples=64).window_samples == 64


def test_losses_that_hold_nothing_together_and_judges_of_other_channels_are_refused():
    with pytest.raises(ValueError, match="both 0"):
        CodecLossSettings(spectral=0.0, wave=0.0)
    with pytest.raises(ValueError, match="negative, got -1"):
        CodecLossSettings(divergence=-1.0)
    with pytest.raises(ValueError, match="2 channels"):
        WaveformVae(SIZE, DiscriminatorConfig(channels=2))
