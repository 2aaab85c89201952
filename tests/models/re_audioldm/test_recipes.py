"""Recipes: what they are made for, and a whole small run that is stopped, resumed, saved and used."""

import os
import signal
from dataclasses import replace

import pytest
import torch

from models.codecs.mel_noise import MelNoise, MelNoiseConfig
from models.codecs.mel_vae import MelVaeCodec
from models.re_audioldm import ReAudioLDM
from models.re_audioldm.objective import ObjectiveSettings
from models.re_audioldm.recipes import (
    Frozen,
    Widths,
    re_audioldm_large,
    re_audioldm_small,
    re_audioldm_tiny,
    train_re_audioldm,
)
from models.training.execution import Execution
from models.training.loop import Watchers
from models.training.world import World
from tests.models.audiox.tiny_audiox import fitted_codec
from tests.models.codecs.tiny_mel import save_parts
from tests.models.re_audioldm.tiny_re_audioldm import rows_at, save_sources, small_recipe


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    return Frozen(codec=fitted_codec(), sources=save_sources(tmp_path_factory.mktemp("encoders")))


@pytest.fixture
def run(frozen, tmp_path):
    def trained(name="run", data="clips of March", recipe=None, rows=rows_at, **more):
        return train_re_audioldm(
            recipe or small_recipe(),
            rows,
            frozen=frozen,
            folder=tmp_path / name,
            data={"name": data},
            world=World(device=torch.device("cpu")),
            **more,
        )

    return trained


def same_weights(first, second):
    own, other = first.network.state_dict(), second.network.state_dict()
    return [name for name, tensor in own.items() if not torch.equal(other[name], tensor)]


def test_a_run_ends_with_a_model_that_makes_sound(run, tmp_path):
    model = run()
    assert not model.network.config.reads_sound or model.encoders.listener is not None
    wave = model.generate(["rain"], seconds=0.2, steps=2)
    assert torch.equal(ReAudioLDM.from_pretrained(tmp_path / "run").generate(["rain"], seconds=0.2, steps=2), wave)
    torch.testing.assert_close(model.network.scale.mean_D, torch.full((4,), 3.0), atol=0.6, rtol=0)
    torch.testing.assert_close(model.network.scale.std_D, torch.full((4,), 5.0), atol=0.6, rtol=0)


def test_a_stopped_run_gives_no_model_and_goes_on_to_the_same_one(run, tmp_path):
    whole = run("whole")

    def stop_in_the_middle(report):
        if report["clips_seen"] == 24:
            os.kill(os.getpid(), signal.SIGINT)

    assert run("parts", watchers=Watchers(report=stop_in_the_middle)) is None
    assert not (tmp_path / "parts" / "model").exists()
    asked = []
    resumed = run("parts", rows=lambda number, rows: asked.append(number) or rows_at(number, rows))
    assert not {1, 2, 3, 4, 5} & set(asked), "the scale of the latents is in the checkpoint"
    assert same_weights(resumed, whole) == []


def test_a_run_is_not_resumed_with_other_data_or_another_recipe(run):
    run()
    with pytest.raises(ValueError, match=r"data\.name: 'clips of March' there, 'clips of May' here"):
        run(data="clips of May")
    with pytest.raises(ValueError, match=r"recipe\.network\.retrieval: 'audio\+text' there, 'audio' here"):
        run(recipe=small_recipe("audio"))


def test_blocks_may_be_recomputed_and_micro_batches_are_the_batch(run):
    whole = run("whole", recipe=small_recipe(total_clips=8))
    parts = run("parts", recipe=small_recipe(total_clips=8), execution=Execution(recompute="full", micro_clips=2))
    for name, tensor in whole.network.state_dict().items():
        torch.testing.assert_close(parts.network.state_dict()[name], tensor, atol=1e-4, rtol=1e-3, msg=name)


def test_a_baseline_without_retrieval_is_trained_by_the_same_code(run, frozen):
    recipe = small_recipe("none", total_clips=8)
    model = run(recipe=replace(recipe, network=replace(recipe.network, heard_width=0, text_width=0)))
    assert model.network.nothing_heard_H is None
    model.generate(["rain"], seconds=0.2, steps=1)


def test_widths_are_those_of_the_parts(frozen, tmp_path):
    encoders = frozen.sources.encoders()
    assert Widths.of(frozen.codec, encoders) == Widths(latent_channels=4, latent_bins=1, said=16, heard=8, text=8)
    mel = MelVaeCodec.from_pretrained(save_parts(tmp_path))
    of_mel = Widths.of(mel, replace(frozen.sources, listener=None, text=None).encoders())
    assert of_mel == Widths(latent_channels=2, latent_bins=16, said=16)
    noise = Widths.of(MelNoise(MelNoiseConfig(bands=8)), frozen.sources.encoders())
    assert noise == Widths(latent_channels=1, latent_bins=8, said=16, heard=8, text=8)


def test_the_paper_s_recipes_say_what_the_paper_says():
    for recipe, width in ((re_audioldm_small(), 128), (re_audioldm_large(), 196)):
        network, training = recipe.network, recipe.training
        assert (network.width, network.text_tokens, network.neighbours) == (width, 50, 10)
        assert (recipe.batch_clips, training.schedule.peak, training.total_clips) == (4, 5e-5, 80 * 46_000)
        assert training.ema.decay(4, 10**9) == pytest.approx(0.9999, abs=1e-7)


def test_a_network_narrower_than_its_latents_predicts_no_noise():
    tiny = re_audioldm_tiny(widths=Widths(latent_channels=96, latent_bins=1, said=16, heard=8, text=8))
    assert tiny.objective.schedule.target == "v_prediction"
    with pytest.raises(ValueError, match="width 24 cannot pass the noise of 96 latent channels"):
        replace(tiny, objective=ObjectiveSettings())
    assert re_audioldm_small().objective.schedule.target == "epsilon"
