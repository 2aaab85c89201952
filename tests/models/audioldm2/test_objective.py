"""The three phases: which LOA the UNet is told, what is dropped, which part learns."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from models.audioldm2.conditioning import streams_of_batch
from models.audioldm2.network import AudioLdm2Network
from models.audioldm2.objective import AudioLdm2Objective, ObjectiveSettings, published_schedule, trained_parts
from tests.models.audioldm2.tiny_audioldm2 import CONFIG, random_network

NOTHING = {"clap": torch.full((1, 8), 0.5), "t5": torch.full((1, 16), -0.5)}


def batch(count: int = 3) -> dict[str, Any]:
    rng = torch.Generator().manual_seed(3)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=rng)

    return {
        "keys": [str(number) for number in range(count)],
        "latents": drawn(count, 6, 32),
        "heard": drawn(count, 8, 16),
        "said": drawn(count, 8),
        "tokens": drawn(count, 4, 16),
        "token_lengths": [4, 2, 3][:count],
        "texts": ["a dog"] * count,
    }


def rngs(count: int = 3) -> list[np.random.Generator]:
    return [np.random.default_rng([1, number]) for number in range(count)]


class Seen(AudioLdm2Network):
    """Notes what the UNet is told, and finds no noise."""

    def noise(self, z_BFD, level_B, loa_BLW, text):
        self.told = (z_BFD, level_B, loa_BLW, text)
        return z_BFD * 0


def seen() -> Seen:
    network = random_network()
    other = Seen(network.language, network.unet)
    other.load_state_dict(network.state_dict())
    return other


def test_the_diffusion_is_told_the_true_loa_and_the_mean_where_words_are_dropped() -> None:
    network, given = seen(), batch()
    for drop, expected in ((0.0, given["heard"]), (1.0, network.mean_loa_LW.expand(3, -1, -1))):
        objective = AudioLdm2Objective(ObjectiveSettings(phase="diffusion", drop=drop), NOTHING)
        result = objective(network, given, rngs())
        z, level, loa, text = network.told
        torch.testing.assert_close(loa, expected)
        torch.testing.assert_close(
            text.tokens_BTC[:, :1], NOTHING["t5"].expand(3, 1, -1) if drop else given["tokens"][:, :1]
        )
        assert text.lengths_B.tolist() == [4, 2, 3]
        # Of noise that is not found the mean square is left.
        noise = torch.from_numpy(np.stack([_noise(rng) for rng in rngs()]))
        assert float(result.loss.detach()) == pytest.approx(float(noise.square().mean()), rel=1e-5)
        x = given["latents"] * 0.7
        torch.testing.assert_close(z, published_schedule().noised(x, noise, level))


def _noise(rng: np.random.Generator) -> np.ndarray:
    rng.random(3)
    published_schedule().draw(rng)
    return rng.standard_normal((6, 32), np.float32)


def test_joint_tells_the_true_loa_in_its_share_and_what_is_said_in_the_others() -> None:
    network, given = seen(), batch()
    settings = ObjectiveSettings(phase="joint", drop=0.0)
    for ratio, is_true in ((1.0, True), (0.0, False)):
        AudioLdm2Objective(replace(settings, true_ratio=ratio), NOTHING)(network, given, rngs())
        streams = streams_of_batch(
            given, CONFIG.language.streams, dropped_B=torch.zeros(3, dtype=torch.bool), nothing=NOTHING
        )
        torch.testing.assert_close(
            network.told[2], given["heard"] if is_true else network.language.spoken(streams), atol=1e-5, rtol=1e-5
        )
    AudioLdm2Objective(replace(settings, true_ratio=1.0, drop=1.0), NOTHING)(network, given, rngs())
    assert not torch.allclose(network.told[2], given["heard"], atol=0.1), "of nothing there is no true LOA"


@pytest.mark.parametrize("distance", ["l1", "mse"])
def test_language_is_the_distance_to_the_true_loa(distance: Any) -> None:
    network, given = random_network().eval(), batch()
    objective = AudioLdm2Objective(ObjectiveSettings(phase="language", drop=0.0, distance=distance), NOTHING)
    result = objective(network, given, rngs())
    streams = streams_of_batch(
        given, CONFIG.language.streams, dropped_B=torch.zeros(3, dtype=torch.bool), nothing=NOTHING
    )
    difference = network.language.predicted(streams, given["heard"]) - given["heard"]
    expected = difference.abs().mean() if distance == "l1" else difference.square().mean()
    torch.testing.assert_close(result.loss, expected, atol=1e-5, rtol=1e-5)
    assert set(result.tallies) == {"loss_language"}


@pytest.mark.parametrize(
    ("phase", "parts"), [("diffusion", {"unet"}), ("language", {"language"}), ("joint", {"unet", "language"})]
)
def test_each_phase_trains_its_parts(phase: Any, parts: set[str]) -> None:
    network = random_network()
    trained_parts(network, phase)
    AudioLdm2Objective(ObjectiveSettings(phase=phase, true_ratio=0.0), NOTHING)(
        network, batch(), rngs()
    ).loss.backward()
    learned = {
        name.partition(".")[0]
        for name, one in network.named_parameters()
        if one.grad is not None and float(one.grad.abs().max()) > 0
    }
    assert learned == parts


def test_the_joint_phase_teaches_the_language_model_by_the_sounds_too() -> None:
    """Without the regression its gradient is that of the noise which the UNet does not find."""
    network = random_network()
    trained_parts(network, "joint")
    settings = ObjectiveSettings(phase="joint", true_ratio=0.0, language_weight=0.0, drop=0.0)
    result = AudioLdm2Objective(settings, NOTHING)(network, batch(), rngs())
    result.loss.backward()
    assert float(network.language.adapters["clap"].projection.weight.grad.abs().max()) > 0
    assert set(result.tallies) == {"loss_language", "loss_diffusion"}


def test_blank_texts_say_nothing_and_a_sounds_vector_may_stand_for_words() -> None:
    given = {**batch(), "teachers": torch.ones(3, 8), "has_teachers": np.array([True, True, False])}
    dropped_B = torch.tensor([True, False, False])
    found = streams_of_batch(
        given,
        CONFIG.language.streams,
        dropped_B=dropped_B,
        nothing=NOTHING,
        of_sound_B=torch.tensor([True, True, True]),
    )
    clap = found["clap"].tokens_BTC[:, 0]
    torch.testing.assert_close(clap[0], NOTHING["clap"][0])
    torch.testing.assert_close(clap[1], torch.full((8,), 8**-0.5), msg="the sound's, of length 1")
    torch.testing.assert_close(clap[2], given["said"][2], msg="it has none")
    blank = {name: value for name, value in given.items() if not name.startswith("token")}
    with pytest.raises(ValueError, match="no 'tokens' for stream 't5'"):
        streams_of_batch(blank, CONFIG.language.streams, dropped_B=dropped_B, nothing=NOTHING)
    blank["texts"] = ["", " ", ""]
    whole_B = torch.ones(3, dtype=torch.bool)
    silent = streams_of_batch(blank, CONFIG.language.streams, dropped_B=whole_B, nothing=NOTHING)
    torch.testing.assert_close(silent["t5"].tokens_BTC, NOTHING["t5"].expand(3, 1, -1))
    hidden = streams_of_batch(given, CONFIG.language.streams, dropped_B=dropped_B, nothing={})
    assert hidden["t5"].shown_BT.tolist() == [[False] * 4, [True, True, False, False], [True, True, True, False]]


def test_settings_out_of_range_are_refused() -> None:
    for how, message in (
        ({"phase": "last"}, "phase is 'last'"),
        ({"distance": "l3"}, "distance is 'l3'"),
        ({"drop": 1.5}, "drop is 1.5"),
        ({"language_weight": -1.0}, "cannot be negative"),
    ):
        with pytest.raises(ValueError, match=message):
            ObjectiveSettings(**{"phase": "joint", **how})
    with pytest.raises(TypeError, match="not an AudioLdm2Network"):
        AudioLdm2Objective(ObjectiveSettings(phase="joint"), NOTHING)(torch.nn.Linear(1, 1), batch(), rngs())
