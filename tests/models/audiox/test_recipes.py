"""Recipes: their sizes, and a whole small run that is stopped, resumed, saved and used."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.audiox import AudioX
from models.audiox.network import AudioXNetwork
from models.audiox.recipes import AudioXRecipe, Frozen, audiox_base, audiox_small, audiox_tiny, train_audiox
from models.training.loop import Watchers
from models.training.world import World


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_sizes_of_tiny():
    network = AudioXNetwork(audiox_tiny(latent_channels=96, text_width=64).network)
    assert parameters(network) == 1_740_000
    assert parameters(network.transformer) == 1_614_048


def test_base_has_the_size_of_the_paper_and_small_a_hundredth_of_it():
    with torch.device("meta"):
        base = AudioXNetwork(audiox_base().network)
        small = AudioXNetwork(audiox_small(latent_channels=96, text_width=64).network)
    assert parameters(base) == 1_086_601_024
    assert parameters(base.transformer) == 1_052_293_824
    assert parameters(small) == 11_784_672
    assert audiox_base().training.ema.decay(48, 10**9) == pytest.approx(0.9999, abs=1e-8)


@pytest.fixture
def recipe(config):
    tiny = audiox_tiny(latent_channels=4, text_width=8, total_clips=48)
    training = replace(tiny.training, report_every_clips=8, save_every_clips=16)
    return AudioXRecipe(network=config(8), objective=tiny.objective, training=training, batch_clips=4)


def batch_at(number, rows):
    rng = np.random.default_rng([4, number])
    batch = {
        "latents": torch.from_numpy(3 + 5 * rng.standard_normal((4, 6, 4), dtype=np.float32)),
        "texts": ["rain", "", "siren", "a dog barks"],
        "frames": torch.from_numpy(rng.integers(0, 256, (4, 5, 8, 8, 3), dtype=np.uint8)),
        "has_frames": torch.tensor([True, False, True, True]),
        "keys": [f"{number}-{row}" for row in range(4)],
    }
    return {name: value[rows.start : rows.stop : rows.step] for name, value in batch.items()}


@pytest.fixture
def run(recipe, codec, sources, tmp_path):
    def trained(name="run", data="clips of March", recipe=recipe, batch_at=batch_at, **more):
        return train_audiox(
            recipe,
            batch_at,
            frozen=Frozen(codec=codec, sources=sources),
            folder=tmp_path / name,
            data={"name": data},
            world=World(device=torch.device("cpu")),
            **more,
        )

    return trained


def test_a_run_ends_with_a_model_that_makes_sound(run, tmp_path):
    model = run()
    wave = model.generate(["rain"], seconds=0.2, steps=2)
    assert torch.equal(AudioX.from_pretrained(tmp_path / "run").generate(["rain"], seconds=0.2, steps=2), wave)
    torch.testing.assert_close(model.network.scale.mean_D, torch.full((4,), 3.0), atol=0.6, rtol=0)
    torch.testing.assert_close(model.network.scale.std_D, torch.full((4,), 5.0), atol=0.6, rtol=0)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["clips_seen"] for line in lines] == [8, 16, 24, 32, 40, 48]
    assert any(name.startswith("loss_t_") for name in lines[0])
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["settings"]["recipe"]["network"]["width"] == 16
    assert config["settings"]["data"] == {"name": "clips of March"}


def test_a_stopped_run_gives_no_model_and_goes_on_to_the_same_one(run, tmp_path):
    whole = run("whole")

    def stop_in_the_middle(report):
        if report["clips_seen"] == 24:
            os.kill(os.getpid(), signal.SIGINT)

    assert run("parts", watchers=Watchers(report=stop_in_the_middle)) is None
    assert not (tmp_path / "parts" / "model").exists()
    asked = []
    resumed = run("parts", batch_at=lambda number, rows: asked.append(number) or batch_at(number, rows))
    assert not {1, 2, 3, 4, 5} & set(asked), "the scale of the latents is in the checkpoint"
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], tensor), name


def test_a_run_is_not_resumed_with_other_data_or_another_recipe(run, recipe):
    run()
    with pytest.raises(ValueError, match=r"data\.name: 'clips of March' there, 'clips of May' here"):
        run(data="clips of May")
    longer = replace(recipe, training=replace(recipe.training, total_clips=96))
    with pytest.raises(ValueError, match=r"recipe\.training\.total_clips: 48 there, 96 here"):
        run(recipe=longer)
    told_less = replace(recipe, training=replace(recipe.training, report_every_clips=48))
    assert run(recipe=told_less) is not None, "how often it reports does not change the result"


def test_training_draws_nothing_from_the_global_generator_at_its_start(run):
    torch.manual_seed(1)
    first = run("first")
    torch.manual_seed(2)
    second = run("second")
    for name, tensor in first.network.state_dict().items():
        assert torch.equal(second.network.state_dict()[name], tensor), name


def test_a_run_with_every_condition_ends_with_a_model_that_reads_sounds(run, recipe):
    """The objective and adapters of `audiox_small`, at the sizes of these tests."""
    small = audiox_small(latent_channels=4, text_width=8, total_clips=16)
    network = replace(recipe.network, adapters=small.network.adapters)
    model = run(recipe=replace(small, network=network, batch_clips=4))
    prompt = torch.linspace(-0.5, 0.5, 200)[None, None]
    heard, unheard = (model.generate(["rain"], audio=audio, seconds=0.2, steps=2) for audio in (prompt, None))
    assert float((heard - unheard).abs().max()) > 1e-5
