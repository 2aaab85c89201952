"""Training a tiny AudioMAE: the loss by arithmetic, that it learns, and that a run that was stopped ends alike."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.encoders.audiomae import AudioMae
from models.encoders.audiomae_fit import (
    AudioMaeRecipe,
    MaskedAutoencoder,
    MaskedAutoencoding,
    MaskingConfig,
    audiomae_base,
    audiomae_tiny,
    cut_patches,
    level,
    train_audiomae,
)
from models.encoders.audiomae_network import AudioMaeConfig
from models.encoders.kaldi_fbank import KaldiFbank
from models.training.ema import EmaSettings
from models.training.execution import Execution
from models.training.loop import TrainSettings, Watchers
from models.training.schedule import Schedule
from models.training.world import World

SIZE = AudioMaeConfig(frames=32, mel_bins=32, patch=8, width=16, depth=2, heads=2, averaged_blocks=2)
MASKING = MaskingConfig(hidden_ratio=0.75, decoder_width=16, decoder_depth=1, decoder_heads=2)
RECIPE = AudioMaeRecipe(
    size=SIZE,
    masking=MASKING,
    training=TrainSettings(
        seed=2,
        total_clips=16,
        schedule=Schedule(peak=3e-3, warmup_clips=4),
        ema=EmaSettings(halflife_clips=8),
        report_every_clips=4,
        save_every_clips=8,
    ),
    batch_clips=4,
    window_samples=4_800,
)
ALONE = World(device=torch.device("cpu"))


def tone(rng):
    time_s = np.arange(4_800) / 16_000
    return (0.5 * np.sin(2 * np.pi * rng.uniform(200, 4_000) * time_s)).astype(np.float32)


def waves_at(number, rows):
    waves = [tone(np.random.default_rng([number, row])) for row in rows]
    return {"keys": [f"{number}-{row}" for row in rows], "waves": torch.from_numpy(np.stack(waves))[:, None]}


def network(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MaskedAutoencoder(SIZE, MASKING)


def rngs(count=4):
    return [np.random.default_rng(row) for row in range(count)]


def test_patches_are_cut_in_the_order_of_the_encoders():
    mel_BFM = torch.arange(16.0).reshape(1, 4, 4)
    assert cut_patches(mel_BFM, 2)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    one = MaskedAutoencoder(
        AudioMaeConfig(frames=4, mel_bins=4, patch=2, width=4, depth=1, heads=1, averaged_blocks=1),
        MaskingConfig(decoder_width=4, decoder_heads=1),
    )
    kernel = one.encoder.patch_embed.proj
    linear = cut_patches(mel_BFM, 2) @ kernel.weight.flatten(1).T + kernel.bias
    torch.testing.assert_close(one.encoder.patch_embed(mel_BFM), linear)


def test_what_is_hidden_is_not_heard_and_the_order_of_what_is_seen_does_not_matter():
    one, visible_BV = network().eval(), torch.tensor([[3, 9, 0, 14]])
    mel_BFM = torch.randn(1, 32, 32, generator=torch.Generator().manual_seed(0))
    said = one(mel_BFM, visible_BV)
    assert said.shape == (1, 16, 64)
    # Patch 1 lies at frames 0 to 7 and bands 8 to 15.
    other = mel_BFM.clone()
    other[:, :8, 8:16] = 5.0
    assert torch.equal(one(other, visible_BV), said)
    other[:, :8, :8] = 5.0
    assert not torch.allclose(one(other, visible_BV), said, atol=1e-3)
    torch.testing.assert_close(one(mel_BFM, visible_BV.flip(1)), said, atol=1e-5, rtol=0)


@pytest.mark.parametrize("is_normalised", [True, False])
def test_the_loss_is_the_mean_square_on_hidden_patches(is_normalised):
    masking = replace(MASKING, is_normalised=is_normalised)
    batch, one = waves_at(0, range(2)), network()
    result = MaskedAutoencoding(SIZE, masking)(one, batch, rngs(2))
    mel_BFM = KaldiFbank(SIZE.fbank)(batch["waves"][:, 0])
    visible = [np.random.default_rng(row).permutation(16)[:4] for row in range(2)]
    said = one(mel_BFM, torch.tensor(np.stack(visible))).detach().numpy().astype(np.float64)
    errors = []
    for row in range(2):
        for place in sorted(set(range(16)) - set(visible[row].tolist())):
            time, band = divmod(place, 4)
            true = mel_BFM[row, 8 * time : 8 * time + 8, 8 * band : 8 * band + 8].flatten().numpy().astype(np.float64)
            if is_normalised:
                true = (true - true.mean()) / np.sqrt(true.var(ddof=1) + 1e-6)
            errors.append(((said[row, place] - true) ** 2).mean())
    assert len(errors) == 24
    assert result.loss.item() == pytest.approx(np.mean(errors), rel=1e-4)


def test_a_batch_in_parts_has_the_loss_of_the_whole_and_moves_no_global_generator():
    batch, objective, one = waves_at(0, range(4)), MaskedAutoencoding(SIZE, MASKING), network()
    before = torch.get_rng_state()
    whole = objective(one, batch, rngs()).loss.item()
    parts = [
        objective(one, {"waves": batch["waves"][first : first + 2]}, rngs()[first : first + 2]).loss.item()
        for first in (0, 2)
    ]
    assert whole == pytest.approx(np.mean(parts), rel=1e-5)
    assert torch.equal(before, torch.get_rng_state())


def test_half_precision_has_the_loss_of_the_whole_one():
    batch, objective, one = waves_at(0, range(4)), MaskedAutoencoding(SIZE, MASKING), network()
    with torch.autocast("cpu", torch.bfloat16):
        half = objective(one, batch, rngs()).loss
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(objective(one, batch, rngs()).loss.item(), rel=0.02)


def test_it_learns_where_tones_are(tmp_path):
    losses = []
    recipe = replace(RECIPE, batch_clips=16, training=replace(RECIPE.training, total_clips=960, report_every_clips=96))

    def waves(number, rows):
        return waves_at(number % 8, rows)

    watchers = Watchers(report=lambda line: losses.append(line["loss"]))
    listener = train_audiomae(recipe, waves, folder=tmp_path, data={}, world=ALONE, watchers=watchers)
    assert losses[-1] < 0.75 * losses[0]
    low, high = (
        listener.forward(torch.from_numpy(np.sin(2 * np.pi * hz * np.arange(4_800) / 16_000).astype(np.float32))[None])
        for hz in (300, 3_000)
    )
    assert not torch.allclose(low, high, atol=0.1)


def test_a_run_that_was_stopped_comes_to_the_same_bits_and_its_encoder_loads(tmp_path):
    whole = train_audiomae(RECIPE, waves_at, folder=tmp_path / "whole", data={"from": "tones"}, world=ALONE)

    def stopped_at(number, rows):
        if number == 3:
            raise KeyboardInterrupt
        return waves_at(number, rows)

    with pytest.raises(KeyboardInterrupt):
        train_audiomae(RECIPE, stopped_at, folder=tmp_path / "parts", data={"from": "tones"}, world=ALONE)
    assert (tmp_path / "parts" / "checkpoints" / "step-000002").is_dir()
    again = train_audiomae(RECIPE, waves_at, folder=tmp_path / "parts", data={"from": "tones"}, world=ALONE)
    assert again.identity() == whole.identity()
    loaded = AudioMae.from_pretrained(tmp_path / "whole" / "model")
    assert loaded.config == SIZE
    wave_BT = waves_at(9, range(1))["waves"][:, 0]
    assert torch.equal(loaded.forward(wave_BT), whole.forward(wave_BT))
    with pytest.raises(ValueError, match="other settings"):
        train_audiomae(RECIPE, waves_at, folder=tmp_path / "whole", data={"from": "noise"}, world=ALONE)
    with pytest.raises(ValueError, match="drop --spread shards"):
        execution = Execution(spread="shards")
        train_audiomae(RECIPE, waves_at, folder=tmp_path / "x", data={}, world=ALONE, execution=execution)


def test_vectors_are_levelled_and_say_the_same():
    encoder, waves = network().encoder.eval().requires_grad_(False), [waves_at(0, range(4))["waves"][:, 0]]
    mel_BFM = KaldiFbank(SIZE.fbank)(waves[0])
    before_ND = encoder(mel_BFM).flatten(0, 1)
    level(encoder, waves)
    after_ND = encoder(mel_BFM).flatten(0, 1)
    torch.testing.assert_close(after_ND.mean(0), torch.zeros(16), atol=1e-4, rtol=0)
    torch.testing.assert_close(after_ND.std(0), torch.ones(16), atol=1e-3, rtol=0)
    wanted_ND = (before_ND - before_ND.mean(0)) / before_ND.std(0)
    torch.testing.assert_close(after_ND, wanted_ND, atol=1e-3, rtol=0)


def test_recipes_are_built():
    tiny, base = audiomae_tiny(total_clips=1_000, seed=3), audiomae_base()
    assert (tiny.training.total_clips, tiny.training.seed, tiny.sample_rate_hz, tiny.channels) == (1_000, 3, 16_000, 1)
    assert tiny.size.patches == 256 and tiny.masking.visible(256) == 64
    assert base.size == AudioMaeConfig() and base.masking.visible(512) == 102
    assert base.window_samples == 163_840 and base.hop_samples == 2_560
    with torch.device("meta"):
        parameters = MaskedAutoencoder(base.size, base.masking).parameters()
        assert sum(parameter.numel() for parameter in parameters) == 110_999_808


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({"hidden_ratio": 1.0}, "1.0"),
        ({"hidden_ratio": 0.0}, "0.0"),
        ({"decoder_depth": 0}, "got 0"),
        ({"decoder_width": 510}, "510"),
        ({"decoder_heads": 24}, "24"),
    ],
)
def test_masking_names_the_bad_value(changes, value):
    with pytest.raises(ValueError, match=value):
        MaskingConfig(**changes)


@pytest.mark.parametrize("changes", [{"batch_clips": 0}, {"window_samples": 0}, {"window_samples": 5_361}])
def test_recipe_names_the_bad_value(changes):
    with pytest.raises(ValueError, match=str(next(iter(changes.values())))):
        replace(RECIPE, **changes)
    assert replace(RECIPE, window_samples=5_360).window_samples == 31 * 160 + 400
