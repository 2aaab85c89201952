"""Recipes of the published settings, and a run that learns, stops and goes on."""

import math
from dataclasses import replace

import pytest
import torch
from diffusers import StableDiffusionPipeline

from models.audiotoken import AudioToken
from models.audiotoken.network import AudioTokenNetwork
from models.audiotoken.recipes import Frozen, audiotoken_base, audiotoken_labels_base, audiotoken_tiny, train_audiotoken
from models.audiotoken.text_to_image_fit import (
    PicturesConfig,
    TextAndUnet,
    pictures_tiny,
    scaled,
    tokenizer_of,
    train_pictures,
)
from models.training.world import World
from tests.models.audiotoken.tiny_audiotoken import PICTURES, TEXTS, waves


def rows_at(number, rows):
    generator = torch.Generator().manual_seed(number)
    latents, spreads = torch.randn(2, 16, 4, 8, 8, generator=generator)
    found = {"waves": waves(16, 6_000, seed=number), "latents": latents, "spreads": 0.1 * spreads.abs()}
    return {"keys": [str(row) for row in rows], **{name: value[list(rows)] for name, value in found.items()}}


def run(folder, sources, clips=48):
    recipe = audiotoken_tiny(heard_width=48, token_width=16, total_clips=clips)
    frozen = Frozen.load(sources, "cpu")
    return train_audiotoken(
        recipe, rows_at, frozen=frozen, folder=folder, data={}, world=World(device=torch.device("cpu"))
    )


def test_base_is_as_published():
    recipe = audiotoken_base()
    with torch.device("meta"):
        network = AudioTokenNetwork(recipe.network)
    assert sum(parameter.numel() for parameter in network.parameters()) == 8_853_507
    assert recipe.training.total_clips / recipe.batch_clips == 30_000
    assert recipe.training.schedule.peak == pytest.approx(1e-5 * 16)
    assert recipe.training.schedule.warmup_clips == 500 * 16
    assert recipe.training.optimizer.weight_decay == 0.01
    assert recipe.objective.size_weight == 0.01 and recipe.network.dropout == 0.5


def test_the_variant_with_labels_differs_in_its_loss_alone():
    base, labelled = audiotoken_base(seed=3), audiotoken_labels_base(seed=3)
    assert (base.objective.label_weight, labelled.objective.label_weight) == (0.0, 0.01)
    assert replace(labelled, objective=base.objective) == base


def test_a_run_saves_an_embedder_and_is_not_mixed_with_another(tmp_path, sources):
    model = run(tmp_path, sources)
    loaded = AudioToken.from_pretrained(tmp_path)
    assert torch.equal(loaded.token(waves(1)[0]), model.token(waves(1)[0]))
    with pytest.raises(ValueError, match="other settings"):
        run(tmp_path, sources, clips=64)
    assert run(tmp_path, sources) is not None  # ended: nothing is done again


def test_a_run_that_was_stopped_comes_to_the_same_bits(tmp_path, sources, monkeypatch):
    whole = run(tmp_path / "whole", sources)
    import models.training.loop as loop

    class StopsOnce:
        asked = False

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    once = StopsOnce()
    step = loop._Run.step

    def stepping(self, batch, stop):
        asked = step(self, batch, stop)
        once.asked = self.state.step == 1
        return asked

    with monkeypatch.context() as patch:
        patch.setattr(loop, "StopWish", lambda: once)
        patch.setattr(loop._Run, "step", stepping)
        assert run(tmp_path / "stopped", sources) is None
    again = run(tmp_path / "stopped", sources)
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name]), name


def test_a_tokenizer_knows_its_words_each_as_one_token():
    tokenizer = tokenizer_of(TEXTS, PICTURES)
    assert tokenizer.bos_token_id == 0 and tokenizer.eos_token_id == tokenizer.pad_token_id == 1
    ids = tokenizer("A photo of rising  chirp").input_ids
    assert len(ids) == 7 and ids[0] == 0 and ids[-1] == 1
    assert 1 not in tokenizer("xylophone", add_special_tokens=False).input_ids  # by its letters
    with pytest.raises(ValueError, match="there are none"):
        tokenizer_of([""], PICTURES)


def greys(number, rows):
    """Pictures of one grey each, said to be grey."""
    levels = torch.tensor([(37 * (number + row)) % 256 for row in rows], dtype=torch.uint8)
    pictures = levels[:, None, None, None].expand(-1, 8, 8, 3).contiguous()
    return {"keys": [str(row) for row in rows], "pictures": pictures, "texts": ["a photo of grey"] * len(rows)}


def test_a_small_text_to_image_model_is_a_pipeline_of_diffusers(tmp_path):
    small = PicturesConfig(
        side_px=8, vae_widths=(8, 8), latent_channels=4, unet_widths=(8, 16), text_width=16, tokens=8
    )
    recipe = replace(pictures_tiny(total_clips=64), config=small)
    world = World(device=torch.device("cpu"))
    folder = train_pictures(recipe, greys, texts=["a photo of grey"], folder=tmp_path, data={}, world=world)
    pipeline = StableDiffusionPipeline.from_pretrained(str(folder), low_cpu_mem_usage=False)
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(["a photo of grey"], num_inference_steps=2, output_type="np").images
    assert made.shape == (1, 8, 8, 3)
    batches = [greys(number, range(16))["pictures"] for number in range(8)]
    latents = torch.cat([pipeline.vae.encode(scaled(one)).latent_dist.mean for one in batches])
    assert (latents * pipeline.vae.config.scaling_factor).std().item() == pytest.approx(1, rel=1e-3)
    with pytest.raises(ValueError, match="drop --workers"):
        train_pictures(
            recipe, greys, texts=["grey"], folder=tmp_path, data={}, world=World(device=torch.device("cpu"), size=2)
        )


def test_the_small_models_pictures_fit_their_networks():
    config = pictures_tiny().config
    network = TextAndUnet(config, vocabulary=100)
    side = config.latent_side
    with torch.no_grad():
        said = network(
            torch.zeros(1, config.latent_channels, side, side), torch.tensor([3]), torch.zeros(1, 16, dtype=torch.int64)
        )
    assert said.shape == (1, config.latent_channels, side, side) and math.isfinite(said.abs().sum())
    with pytest.raises(ValueError, match="side_px is 30"):
        PicturesConfig(side_px=30)
