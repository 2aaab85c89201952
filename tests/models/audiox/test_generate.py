"""Generation: samples do not depend on each other, and a saved model gives the same sounds wherever it is moved."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from models.audiox import AudioX
from models.audiox.adapters import Adapters
from models.audiox.network import AudioXNetwork
from models.audiox.sampling import Sampling


@pytest.fixture
def model(config, codec, sources):
    encoders = sources.encoders()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = AudioXNetwork(config(encoders.text.text_width))
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.3)
    return AudioX(network, codec=codec, encoders=encoders, path="flow")


def test_sounds_have_the_length_asked_for(model):
    wave_BCT = model.generate(["rain", "a siren"], seconds=0.33, steps=2)
    assert wave_BCT.shape == (2, 1, 330), "the last latent frame is cut"
    assert wave_BCT.dtype == torch.float32
    assert float(wave_BCT.abs().max()) <= 1


@pytest.mark.parametrize("path", ["flow", "v"])
def test_a_sound_does_not_depend_on_the_others_of_its_batch(model, path):
    model.path = path
    prompts = ["rain falls on the roof", "siren", "a dog barks"]
    many = model.generate(prompts, seconds=0.4, steps=4, seed=3)
    for count in (1, 2):
        torch.testing.assert_close(model.generate(prompts[:count], seconds=0.4, steps=4, seed=3), many[:count])
    others = model.generate([prompts[0], "loud", "rain"], seconds=0.4, steps=4, seed=3)
    torch.testing.assert_close(others[:1], many[:1])
    assert float((others[1] - many[1]).abs().max()) > 1e-3


def test_seed_number_text_and_pictures_are_felt(model, frames):
    def made(**changes):
        return model.generate(**{"text": ["rain", "rain"], "seconds": 0.4, "steps": 3, **changes})

    first = made()
    assert torch.equal(made(), first)
    assert float((first[0] - first[1]).abs().max()) > 1e-3, "two sounds of one prompt"
    for other in (made(seed=1), made(text=["siren", "siren"]), made(video=frames), made(guidance=1.0)):
        assert float((other - first).abs().max()) > 1e-3
    assert torch.equal(made(video=frames), made(video=frames.numpy()))
    assert made(text=None, video=frames).shape == first.shape


def test_progress_is_told(model):
    told = []
    model.generate(["rain"], seconds=0.2, steps=3, on_step=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_saved_model_is_the_same_wherever_it_is_moved(model, sources, t5_folder, tmp_path):
    wave = model.generate(["rain"], seconds=0.3, steps=3)
    model.save_pretrained(tmp_path / "run" / "model", sources)
    shutil.move(tmp_path / "run", tmp_path / "moved")
    for folder in (tmp_path / "moved", tmp_path / "moved" / "model"):
        assert torch.equal(AudioX.from_pretrained(folder).generate(["rain"], seconds=0.3, steps=3), wave)
    config = json.loads((tmp_path / "moved" / "model" / "config.json").read_text())
    assert config["text_encoder"] == {"kind": "t5", "path": "text_encoder"}
    assert str(t5_folder) not in json.dumps(config)
    files = {path.suffix for path in (tmp_path / "moved").rglob("*") if path.is_file()}
    assert files <= {".json", ".safetensors"}, "no pickle"


def test_saving_again_replaces_the_model(model, sources, tmp_path):
    for _ in range(2):
        model.save_pretrained(tmp_path / "model", sources)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no trained model"):
        AudioX.from_pretrained(tmp_path)


def test_a_sound_that_is_not_finite_is_not_passed_on(model):
    nn.init.constant_(model.network.transformer.leave.bias, torch.inf)
    with pytest.raises(FloatingPointError, match=r"not finite, with guidance 3\.0"):
        model.generate(["rain"], seconds=0.2, steps=2)


def test_seeds_may_be_numbers_of_numpy(model):
    def made(seed):
        return model.generate(["rain"], seconds=0.2, steps=2, seed=seed)

    assert torch.equal(made(np.int64(3)), made(3))
    assert torch.equal(made([np.int64(3)]), made([3]))
    assert torch.equal(made([(np.int64(3), np.uint8(0))]), made(3))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda config: config.pop("network"), "has no 'network'"),
        (lambda config: config.pop("path"), "has no 'path'"),
        (lambda config: config.pop("text_encoder"), "has no 'text_encoder'"),
        (lambda config: config["network"].update(colour=3), "colour"),
        (lambda config: config["network"].update(width="wide"), "wide|str"),
        (lambda config: config.update(network=[]), "list"),
        (lambda config: config.update(format="audiox 1"), "has format 'audiox 1'"),
    ],
)
def test_a_damaged_configuration_is_named(model, sources, tmp_path, change, said):
    model.save_pretrained(tmp_path / "model", sources)
    file = tmp_path / "model" / "config.json"
    config = json.loads(file.read_text())
    change(config)
    for text, why in ((json.dumps(config), said), ("{", "damaged"), ("[]", "damaged")):
        file.write_text(text)
        with pytest.raises(ValueError, match=f"config.json.*({why})"):
            AudioX.from_pretrained(tmp_path)


def test_parts_that_do_not_fit_are_refused(config, codec, sources):
    with pytest.raises(ValueError, match="text_width 5, the text encoder has 8"):
        AudioX(AudioXNetwork(config(5)), codec=codec, encoders=sources.encoders(), path="flow")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"text": "rain"}, "one string"),
        ({"text": []}, "no prompt"),
        ({}, "no prompt"),
        ({"text": ["rain"], "seconds": 0.0}, r"0\.0"),
        ({"text": ["rain"], "seconds": 1e-9}, "no sample"),
        ({"text": ["rain"], "seconds": 4e-4}, "no sample"),
        ({"text": ["rain"], "guidance": float("nan")}, "sum to nan"),
        ({"text": ["rain"], "steps": 0}, "steps is 0"),
        ({"video": np.zeros((1, 2, 3), np.uint8)}, r"\(2, 3\)"),
    ],
)
def test_prompts_that_make_no_sense_are_refused(model, given, said):
    with pytest.raises(ValueError, match=said):
        model.generate(**{"seconds": 0.2, "steps": 2, **given})


@pytest.fixture
def hearing(config, codec, sources):
    """A model that reads prompts of sound."""
    encoders = sources.encoders()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = AudioXNetwork(replace(config(encoders.text.text_width), adapters=Adapters(audio=True)))
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.3)
    return AudioX(network.requires_grad_(False), codec=codec, encoders=encoders, path="flow")


@pytest.fixture
def heard():
    return torch.from_numpy(np.random.default_rng(7).standard_normal((2, 1, 400), dtype=np.float32)) / 10


@pytest.mark.parametrize(("path", "solver"), [("flow", None), ("v", None), ("v", "dpm_solver_3m_sde")])
def test_a_sound_is_the_same_in_a_batch_of_four_and_alone(hearing, frames, heard, path, solver):
    """Every sound has another mix of prompts, so that each is padded for the others."""
    hearing.path = path
    prompts = {
        "text": ["rain falls on the roof", "", "siren", "a dog barks"],
        "video": [None, frames[0], None, frames[1][:2]],
        "image": [None, None, frames[0][0], None],
        "audio": [heard[0], None, None, None],
        "music": [None, None, None, heard[1]],
    }
    seeds = [4, 9, 4, 2]
    sampling = Sampling(solver=solver)
    many = hearing.generate(**prompts, seconds=0.4, steps=4, seed=seeds, sampling=sampling)
    in_parts = hearing.generate(
        **prompts, seconds=0.4, steps=4, seed=seeds, sampling=Sampling(solver=solver, at_once=3)
    )
    torch.testing.assert_close(in_parts, many, atol=1e-5, rtol=1e-4)
    for row in range(4):
        alone = {name: value[row : row + 1] for name, value in prompts.items()}
        one = hearing.generate(**alone, seconds=0.4, steps=4, seed=seeds[row : row + 1], sampling=sampling)
        torch.testing.assert_close(one[0], many[row], atol=1e-5, rtol=1e-4)


def test_every_kind_of_prompt_is_felt(hearing, frames, heard):
    plain = hearing.generate(["rain"], seconds=0.4, steps=3)
    given = {"video": frames[:1], "image": frames[:1, 0], "audio": heard[:1], "music": heard[:1]}
    made = {name: hearing.generate(["rain"], seconds=0.4, steps=3, **{name: value}) for name, value in given.items()}
    for name, wave in made.items():
        assert float((wave - plain).abs().max()) > 1e-4, name
    assert float((made["audio"] - made["music"]).abs().max()) > 1e-5
    still = hearing.generate(["rain"], seconds=0.4, steps=3, video=frames[:1, :1].expand(-1, 3, -1, -1, -1))
    torch.testing.assert_close(made["image"], still)


@pytest.mark.parametrize("path", ["flow", "v"])
def test_a_gap_is_filled_and_all_else_is_kept(hearing, heard, path):
    hearing.path = path
    made = hearing.generate(["rain", "rain"], audio=heard, gaps=[(0.1, 0.2)], seconds=0.4, steps=6)
    # 10 samples beside the gap fade into the codec's copy.
    for outside in (slice(0, 90), slice(210, 400)):
        assert torch.equal(made[..., outside], heard[..., outside])
    assert float((made - heard)[..., 100:200].abs().max()) > 1e-2


def test_a_network_without_prompts_of_sound_continues_one_all_the_same(model, heard):
    made = model.generate(["rain"], audio=heard[:1], gaps=[(0.4, 0.6)], seconds=0.6, steps=6)
    assert torch.equal(made[..., :390], heard[:1, :, :390])
    assert float(made[..., 400:].abs().max()) > 1e-3
    with pytest.raises(ValueError, match=r"begins at 0\.6 s and the sound ends at 0\.6"):
        model.generate(["rain"], audio=heard[:1], gaps=[(0.6, 0.7)], seconds=0.6, steps=6)
    with pytest.raises(ValueError, match="without prompts of sound"):
        model.generate(["rain"], audio=heard[:1], seconds=0.4, steps=2)


def test_guidance_of_each_modality(hearing, frames, heard):
    given = {"text": ["rain"], "video": frames[:1], "audio": heard[:1], "seconds": 0.4, "steps": 3}
    plain = hearing.generate(**given, guidance=1.0)
    torch.testing.assert_close(hearing.generate(**given, guidance={}), plain)
    torch.testing.assert_close(hearing.generate(**given, guidance={"video": 1.0}), plain)
    ways = [hearing.generate(**given, guidance={name: 3.0}) for name in ("text", "video", "audio")]
    for one in ways:
        assert float((one - plain).abs().max()) > 1e-4
    alone = {"text": ["rain"], "seconds": 0.4, "steps": 3}
    torch.testing.assert_close(
        hearing.generate(**alone, guidance={"text": 3.0}), hearing.generate(**alone, guidance=3.0), atol=1e-5, rtol=1e-4
    )
    with pytest.raises(ValueError, match="smell"):
        hearing.generate(**alone, guidance={"smell": 2.0})


@pytest.mark.parametrize(("path", "solver"), [("flow", "heun"), ("flow", "dpm_solver_2m"), ("v", "dpm_solver_2m")])
def test_solvers_agree_where_steps_are_many(model, path, solver):
    model.path = path
    fine = model.generate(["rain"], seconds=0.2, steps=100, guidance=1.0)
    finer = model.generate(["rain"], seconds=0.2, steps=250, guidance=1.0, sampling=Sampling(solver=solver))
    assert float((fine - finer).abs().max()) < 0.1 * float(finer.abs().max())
    spread = model.generate(["rain"], seconds=0.2, steps=4, sampling=Sampling(times="exponential", rescale=0.7))
    assert bool(spread.isfinite().all())


def test_progress_counts_the_parts_of_a_batch(model):
    told = []
    model.generate(
        ["rain"] * 3,
        seconds=0.2,
        steps=2,
        sampling=Sampling(at_once=2),
        on_step=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seed": [1, 2]}, "2 seeds for 1"),
        ({"seed": -1}, "seed is -1"),
        ({"sampling": Sampling(solver="euler"), "path": "v"}, "'euler' follows rectified flow"),
    ],
)
def test_settings_of_sampling_that_do_not_fit_are_refused(model, given, said):
    model.path = given.pop("path", "flow")
    with pytest.raises(ValueError, match=said):
        model.generate(["rain"], seconds=0.2, steps=2, **given)


@pytest.mark.parametrize("settings", [{"solver": "rk4"}, {"times": "late"}, {"rescale": 2.0}, {"at_once": 0}])
def test_settings_of_sampling_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=r"rk4|late|2\.0|0"):
        Sampling(**settings)
