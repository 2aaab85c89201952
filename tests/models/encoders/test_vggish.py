"""VGGish: the published sizes and names, examples of a known number and loudness, and answers that repeat."""

import math

import numpy as np
import pytest
import torch

from models.encoders.vggish import EXAMPLE_SAMPLES, Vggish, VggishConfig, VggishMel, VggishNetwork
from tests.models.encoders.tiny_listeners import TINY_VGGISH, save_vggish, vggish

SHAPES = {
    "features.0.weight": (64, 1, 3, 3),
    "features.3.weight": (128, 64, 3, 3),
    "features.6.weight": (256, 128, 3, 3),
    "features.8.weight": (256, 256, 3, 3),
    "features.11.weight": (512, 256, 3, 3),
    "features.13.weight": (512, 512, 3, 3),
    "embeddings.0.weight": (4096, 512 * 4 * 6),
    "embeddings.2.weight": (4096, 4096),
    "embeddings.4.weight": (128, 4096),
}
"""Of vggish-10086976.pth; each with a bias."""

PARAMETERS = 72_141_184
"""4,499,712 of the convolutions and 67,641,472 of the layers after them."""


@pytest.fixture(scope="module")
def listener(tmp_path_factory):
    return Vggish.from_pretrained(save_vggish(tmp_path_factory.mktemp("vggish") / "vggish.pth"))


def noise(samples, count=1):
    return torch.from_numpy(np.random.default_rng(1).uniform(-0.5, 0.5, (count, samples)).astype(np.float32))


def test_names_shapes_and_size_are_the_published_ones():
    with torch.device("meta"):
        state = VggishNetwork(VggishConfig()).state_dict()
    biases = {name.replace("weight", "bias"): shape[:1] for name, shape in SHAPES.items()}
    assert {name: tuple(value.shape) for name, value in state.items()} == {**SHAPES, **biases}
    assert sum(value.numel() for value in state.values()) == PARAMETERS
    assert VggishConfig.of_weights(state) == VggishConfig()


@pytest.mark.parametrize(("samples", "examples"), [(1, 1), (15_600, 1), (30_959, 1), (30_960, 2), (160_000, 10)])
def test_each_whole_example_is_heard(samples, examples):
    """96 frames a piece, the last of which needs 400 samples: n examples need 15,360 n + 240."""
    assert EXAMPLE_SAMPLES == 15_360 + 240
    assert VggishMel()(torch.zeros(2, samples)).shape == (2, examples, 96, 64)


def test_silence_is_the_logarithm_of_the_offset():
    assert torch.allclose(VggishMel()(torch.zeros(1, 16_000)), torch.full((1, 1, 96, 64), math.log(0.01)))


def test_a_tone_is_in_its_band():
    """Band m of 64 is centred at mel 185.19 + (m + 1) * 40.40 on 1127 ln(1 + f / 700): 1,000 Hz is nearest to 19."""
    low, high = (1127 * math.log1p(edge / 700) for edge in (125, 7500))
    band = (1127 * math.log1p(1000 / 700) - low) / ((high - low) / 65) - 1
    time_T = torch.arange(16_000) / 16_000
    mel_NM = VggishMel()(torch.sin(2 * math.pi * 1000 * time_T)[None])[0, 0]
    assert (mel_NM.argmax(1) == round(band)).all()
    assert round(band) == 19


def test_what_is_loaded_answers_as_what_was_saved(listener):
    wave_BT = noise(32_000, count=2)
    with torch.no_grad():
        expected = vggish()(VggishMel()(wave_BT).flatten(0, 1)[:, None]).reshape(2, 2, 8)
    torch.testing.assert_close(listener.forward(wave_BT), expected)
    assert (listener.dimension, listener.sample_rate_hz) == (8, 16_000)
    assert listener.network.config == TINY_VGGISH
    assert (listener.forward(wave_BT) < 0).any(), "the features are those before the last ReLU"
    assert listener.identity()["features"] == "before the last ReLU and the PCA"


def test_a_short_sound_is_the_same_with_silence_behind_it(listener):
    short = noise(8_000)
    filled = torch.nn.functional.pad(short, (0, EXAMPLE_SAMPLES - 8_000))
    assert torch.equal(listener.forward(short), listener.forward(filled))


def test_other_files_and_sounds_are_refused(tmp_path, listener):
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"no features\.3\.weight"):
        Vggish.from_pretrained(tmp_path / "other.pth")
    state = vggish().state_dict()
    state["embeddings.2.bias"] = torch.zeros(3)
    torch.save(state, tmp_path / "bent.pth")
    with pytest.raises(ValueError, match=r"bent\.pth does not fit a VGGish"):
        Vggish.from_pretrained(tmp_path / "bent.pth")
    with pytest.raises(ValueError, match=r"\(B, T\)"):
        listener.forward(torch.zeros(16_000))
