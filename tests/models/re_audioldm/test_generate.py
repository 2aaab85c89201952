"""Sounds from prompts and what was found for them: the sampler against its equation, guidance, seeds, and the disk."""

import json
from dataclasses import replace

import pytest
import torch

from models.diffusion.discrete import DiscreteSchedule
from models.re_audioldm import ReAudioLDM
from models.re_audioldm.conditioning import Neighbour
from models.re_audioldm.generate import sizes_of
from models.re_audioldm.network import ReAudioLdmNetwork
from tests.models.audiox.tiny_audiox import fitted_codec
from tests.models.re_audioldm.tiny_re_audioldm import save_sources, small_config, small_network


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return save_sources(tmp_path_factory.mktemp("encoders"))


@pytest.fixture(scope="module")
def model(sources):
    network = small_network().requires_grad_(False)
    return ReAudioLDM(network, codec=fitted_codec(), encoders=sources.encoders(), schedule=DiscreteSchedule())


def found(seed, count=2):
    generator = torch.Generator().manual_seed(seed)
    return [
        Neighbour(heard_LH=torch.randn(2, 8, generator=generator), text_NT=torch.randn(3, 8, generator=generator))
        for _ in range(count)
    ]


def make(model, text=("rain", "siren"), **how):
    given = {"seconds": 0.3, "steps": 3, "neighbours": [found(1), found(2)], **how}
    return model.generate(list(text), **given)


def close(first, second):
    """Alike but for rounding, which a step's division by the noise at the first levels makes larger."""
    torch.testing.assert_close(first, second, atol=2e-4, rtol=0)


def test_a_sound_depends_on_its_prompt_neighbours_and_seed_alone(model):
    wave = make(model)
    assert wave.shape == (2, 1, 300) and wave.dtype == torch.float32
    assert torch.equal(make(model), wave)
    close(make(model, at_once=1), wave)
    alone = make(model, text=("siren",), neighbours=[found(2)], seed=[(0, 1)])
    close(alone, wave[1:])
    for other in ({"text": ("loud", "siren")}, {"neighbours": [found(3), found(2)]}, {"seed": [(1, 0), (0, 1)]}):
        changed = make(model, **other)
        assert not torch.allclose(changed[0], wave[0], atol=1e-3), other
        close(changed[1], wave[1])


def test_only_as_many_neighbours_are_read_as_the_network_was_made_for(model):
    several = found(1, 4)
    first = make(model, text=("rain",), neighbours=[several])
    close(make(model, text=("rain",), neighbours=[several[:2]]), first)
    one = make(model, text=("rain",), neighbours=[several[:1]])
    assert not torch.allclose(one, first, atol=1e-3)
    none = make(model, text=("rain",), neighbours=None)
    close(make(model, text=("rain",), neighbours=[[]]), none)
    assert not torch.allclose(one, none, atol=1e-3)


class Known(ReAudioLdmNetwork):
    """Knows the sounds: what it answers is the noise that is in them, more so for a prompt than for none."""

    def __init__(self, schedule, x_FD):
        super().__init__(small_config("none"))
        self.schedule, self.x_FD = schedule, x_FD

    def forward(self, z_BFD, level_B, conditions):
        kept, added = (one[:, None, None] for one in self.schedule.weights(level_B))
        has_said = conditions.said_BS.abs().amax(1)[:, None, None] > 0
        return (z_BFD - kept * torch.where(has_said, self.x_FD, 0 * self.x_FD)) / added


@pytest.mark.parametrize("target", ["epsilon", "v_prediction"])
def test_a_network_that_knows_the_noise_leads_to_the_sound_as_far_as_guidance_says(sources, target):
    """Guidance g of x for the prompt and 0 for none comes to g x, up to what the first level keeps of its noise."""
    schedule, x_FD = DiscreteSchedule(target=target), torch.linspace(-0.2, 0.2, 60).reshape(15, 4)

    class Answering(Known):
        def forward(self, z_BFD, level_B, conditions):
            noise = super().forward(z_BFD, level_B, conditions)
            kept, added = (one[:, None, None] for one in schedule.weights(level_B))
            return noise if target == "epsilon" else (noise - added * z_BFD) / kept

    codec = fitted_codec()
    model = ReAudioLDM(Answering(schedule, x_FD), codec=codec, encoders=sources.encoders(), schedule=schedule)
    for guidance in (1.0, 2.0):
        wave = model.generate(["rain"], seconds=0.3, steps=50, guidance=guidance)
        expected = codec.decode(guidance * x_FD[None])[..., :300]
        assert float((wave - expected).abs().max()) < 0.25 * float(expected.abs().max()), guidance


def test_a_model_comes_back_from_its_folder(model, sources, tmp_path):
    model.save_pretrained(tmp_path / "run" / "model", sources)
    told = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert told["system"] == "re_audioldm"
    again = ReAudioLDM.from_pretrained(tmp_path / "run")
    assert torch.equal(make(again), make(model))
    assert sizes_of(tmp_path / "run") == model.network.config
    (tmp_path / "run" / "model" / "config.json").write_text('{"format": "re_audioldm 9"}')
    with pytest.raises(ValueError, match="has format 're_audioldm 9'"):
        ReAudioLDM.from_pretrained(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="holds no trained model"):
        ReAudioLDM.from_pretrained(tmp_path)


def test_parts_that_do_not_fit_and_bad_numbers_are_refused(model, sources):
    with pytest.raises(ValueError, match="said_width of 12, the CLAP has 16"):
        ReAudioLDM(small_network(said_width=12), codec=model.codec, encoders=model.encoders, schedule=model.schedule)
    alone = replace(sources, listener=None, text=None).encoders()
    with pytest.raises(ValueError, match="reads neighbours: give its listener"):
        ReAudioLDM(small_network(), codec=model.codec, encoders=alone, schedule=model.schedule)
    plain = ReAudioLDM(small_network("none"), codec=model.codec, encoders=alone, schedule=model.schedule)
    assert plain.generate(["rain"], seconds=0.2, steps=1).shape == (1, 1, 200)
    for how, match in (
        ({"seconds": 0}, "seconds is 0"),
        ({"steps": 0}, "steps is 0: it goes from 1 to the 1000"),
        ({"guidance": float("nan")}, "guidance is nan"),
        ({"at_once": 0}, "at_once is 0"),
        ({"neighbours": [found(1)]}, "2 prompts and neighbours of 1"),
        ({"text": ()}, "at least one prompt"),
    ):
        with pytest.raises(ValueError, match=match):
            make(model, **how)
