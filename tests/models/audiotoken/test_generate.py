"""Pictures from sounds: the pipeline's own for the same words and seed, one by one as together, saved and loaded."""

import json

import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler, PNDMScheduler, StableDiffusionPipeline

from models.audiotoken import AudioToken
from models.audiotoken.generate import FrozenSources
from models.audiotoken.network import AudioTokenConfig, AudioTokenNetwork
from tests.models.audiotoken.tiny_audiotoken import embedder, save_listener, save_pictures, waves


@pytest.fixture
def model(frozen):
    pictures, listener = frozen
    return AudioToken(embedder(), pictures=pictures, listener=listener)


@pytest.mark.parametrize(
    ("scheduler", "settings"),
    [
        (None, {}),
        (PNDMScheduler, {"skip_prk_steps": True}),
        (PNDMScheduler, {"skip_prk_steps": True, "prediction_type": "v_prediction"}),
        (EulerAncestralDiscreteScheduler, {}),
    ],
)
@pytest.mark.parametrize("guidance", [7.5, 1.0])
def test_a_picture_is_that_of_diffusers_pipeline(tmp_path, sources, frozen, scheduler, settings, guidance):
    folder = sources.pictures if scheduler is None else save_pictures(tmp_path / "p", scheduler=scheduler, **settings)
    sources = FrozenSources(pictures=str(folder), listener=sources.listener)
    pictures, listener = sources.load()
    made_by = AudioToken(embedder(), pictures=pictures, listener=listener)
    sounds = waves(2)
    ours = made_by.generate(sounds, steps=5, guidance=guidance, seeds=[3, 11])
    pipeline = StableDiffusionPipeline.from_pretrained(str(folder), low_cpu_mem_usage=False)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        prompt_embeds=made_by.states(sounds),
        num_inference_steps=5,
        guidance_scale=guidance,
        generator=[torch.Generator().manual_seed(seed) for seed in (3, 11)],
        output_type="np",
    ).images
    assert abs(ours.float().numpy() / 255 - theirs).max() <= 0.5 / 255 + 1e-3
    assert ours.float().std() > 1  # it is no even grey


def test_a_picture_depends_on_its_sound_and_seed_alone(model):
    sounds = waves(3)
    together = model.generate(sounds, steps=3, seeds=[5, 6, 7])
    alone = model.generate(sounds[1:2], steps=3, seeds=[6])
    assert (together[1].int() - alone[0].int()).abs().max() <= 1
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(
        model.generate(sounds[:1], steps=3, seeds=[8]), model.generate(sounds[:1], steps=3, seeds=[9])
    )


def test_nothing_is_dropped_at_inference(frozen):
    pictures, listener = frozen
    made = AudioToken(embedder().train(), pictures=pictures, listener=listener)  # as a loop leaves it
    assert made.network.config.dropout == 0.5
    assert torch.equal(made.token(waves(1)[0]), made.token(waves(1)[0]))


def test_sounds_may_have_any_length(model):
    pictures = model.generate([waves(1, 3_000)[0], waves(1, 20_000)[0]], steps=2)
    assert pictures.shape == (2, 16, 16, 3) and pictures.dtype == torch.uint8


def test_steps_are_told(model):
    told = []
    model.generate(waves(1), steps=3, on_step=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_only_the_embedder_is_saved_and_loads_to_the_same_pictures(tmp_path, model, sources):
    model.save_pretrained(tmp_path / "run" / "model", sources)
    model.save_pretrained(tmp_path / "run" / "model", sources)  # over itself
    assert sorted(file.name for file in (tmp_path / "run" / "model").iterdir()) == [
        "config.json",
        "embedder.safetensors",
    ]
    loaded = AudioToken.from_pretrained(tmp_path / "run")
    assert torch.equal(loaded.generate(waves(1), steps=2), model.generate(waves(1), steps=2))


def test_other_frozen_models_than_those_of_the_training_are_refused(tmp_path, model, sources):
    model.save_pretrained(tmp_path / "model", sources)
    other = save_pictures(tmp_path / "other", seed=1)
    with pytest.raises(ValueError, match="unet_sha256"):
        AudioToken.from_pretrained(tmp_path / "model", pictures=str(other))
    with pytest.raises(ValueError, match="weights_sha256"):
        AudioToken.from_pretrained(tmp_path / "model", listener=str(save_listener(tmp_path / "beats", seed=1)))
    moved = tmp_path / "moved"
    model.pictures.unet.save_pretrained(str(tmp_path / "ignored"))
    save_pictures(moved)  # the same weights elsewhere
    AudioToken.from_pretrained(tmp_path / "model", pictures=str(moved))


def test_a_run_that_is_moved_with_its_frozen_models_finds_them(tmp_path):
    runs = tmp_path / "before" / "runs"
    sources = FrozenSources(
        pictures=str(save_pictures(runs / "pictures" / "model")), listener=str(save_listener(runs / "beats" / "model"))
    )
    pictures, listener = sources.load()
    AudioToken(embedder(), pictures=pictures, listener=listener).save_pretrained(runs / "run" / "model", sources)
    (tmp_path / "before").rename(tmp_path / "after")
    AudioToken.from_pretrained(tmp_path / "after" / "runs" / "run")
    (tmp_path / "after" / "runs" / "beats").rename(tmp_path / "beats")
    with pytest.raises(OSError, match="beats"):
        AudioToken.from_pretrained(tmp_path / "after" / "runs" / "run")
    AudioToken.from_pretrained(tmp_path / "after" / "runs" / "run", listener=str(tmp_path / "beats" / "model"))


def test_damaged_folders_are_named(tmp_path, model, sources):
    with pytest.raises(FileNotFoundError, match="holds no trained model"):
        AudioToken.from_pretrained(tmp_path)
    model.save_pretrained(tmp_path / "model", sources)
    config = tmp_path / "model" / "config.json"
    whole = json.loads(config.read_text())
    config.write_text(json.dumps({**whole, "format": "audiotoken 9"}))
    with pytest.raises(ValueError, match="audiotoken 9"):
        AudioToken.from_pretrained(tmp_path)
    config.write_text(json.dumps({name: value for name, value in whole.items() if name != "sources"}))
    with pytest.raises(ValueError, match="it has no sources"):
        AudioToken.from_pretrained(tmp_path)
    config.write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        AudioToken.from_pretrained(tmp_path)
    config.write_text(json.dumps(whole))
    (tmp_path / "model" / "embedder.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"embedder.safetensors is damaged"):
        AudioToken.from_pretrained(tmp_path)


def test_an_embedder_of_other_widths_is_refused(frozen):
    pictures, listener = frozen
    for config, said in (
        (AudioTokenConfig(heard_width=5, token_width=16), "hears 5 numbers"),
        (AudioTokenConfig(heard_width=48, token_width=8), "words are 8 wide"),
    ):
        with pytest.raises(ValueError, match=said):
            AudioToken(AudioTokenNetwork(config), pictures=pictures, listener=listener)


@pytest.mark.parametrize(("sounds", "more"), [(0, {}), (1, {"steps": 0}), (1, {"seeds": [1, 2]})])
def test_nothing_can_be_made_of_nothing(model, sounds, more):
    with pytest.raises(ValueError, match="needs a sound, a step and a seed"):
        model.generate(list(waves(1))[:sounds], **more)
