"""CNN14: the published sizes and names, its log-mel by arithmetic, and answers that repeat."""

import numpy as np
import pytest
import torch

from models.encoders.panns import MELS, Cnn14, Panns, PannsMel, PannsMelConfig
from tests.models.encoders.tiny_listeners import cnn14, cnn14_file, save_cnn14

PARAMETERS = 80_753_615
"""Published: 80.8 million (table IX of arXiv 1912.10211, all but the frozen front end)."""

SHAPES = {
    "bn0.running_mean": (64,),
    "conv_block1.conv1.weight": (64, 1, 3, 3),
    "conv_block1.bn2.weight": (64,),
    "conv_block3.conv1.weight": (256, 128, 3, 3),
    "conv_block6.conv2.weight": (2048, 2048, 3, 3),
    "conv_block6.bn1.running_var": (2048,),
    "fc1.weight": (2048, 2048),
    "fc_audioset.weight": (527, 2048),
    "fc_audioset.bias": (527,),
}

LAYERS = {"bn0", "fc1", "fc_audioset"} | {
    f"conv_block{block}.{layer}" for block in range(1, 7) for layer in ("conv1", "conv2", "bn1", "bn2")
}


@pytest.fixture(scope="module")
def listener(tmp_path_factory):
    return Panns.from_pretrained(save_cnn14(tmp_path_factory.mktemp("panns") / "Cnn14_16k.pth"))


def noise(samples, count=1):
    return torch.from_numpy(np.random.default_rng(1).uniform(-0.5, 0.5, (count, samples)).astype(np.float32))


def test_names_shapes_and_size_are_the_published_ones():
    with torch.device("meta"):
        network = Cnn14()
    state = network.state_dict()
    assert {name: tuple(state[name].shape) for name in SHAPES} == SHAPES
    assert {name.rpartition(".")[0] for name in state} == LAYERS
    assert sum(value.numel() for value in network.parameters()) == PARAMETERS


@pytest.mark.parametrize(
    ("bins", "rate_hz", "top_hz"), [(513, 32_000, 14_000), (257, 16_000, 8_000), (129, 8_000, 4_000)]
)
def test_the_rate_is_read_off_the_bands(tmp_path, bins, rate_hz, top_hz):
    loaded = Panns.from_pretrained(save_cnn14(tmp_path / "Cnn14.pth", bins))
    assert loaded.sample_rate_hz == rate_hz
    assert MELS[bins].f_max_hz == top_hz
    assert (loaded.dimension, len(loaded.labels)) == (64, 527)


def test_a_full_band_of_noise_has_the_level_of_its_filters():
    """An impulse of height 1 has the power 1 in every bin where the window is 1: a band is the sum of its weights."""
    config = PannsMelConfig()
    wave = torch.zeros(1, 32_000)
    wave[0, 16_000] = 1.0
    mel_NM = PannsMel(config)(wave)[0, 0]
    assert mel_NM.shape == (101, 64)
    torch.testing.assert_close(mel_NM[50], 10 * config.filters().sum(0).log10(), atol=1e-3, rtol=0)
    assert mel_NM[0].unique().tolist() == [-100.0]


def test_bands_are_of_equal_area():
    """Slaney's bands: weight times bandwidth is 1 Hz Hz^-1; wide ones are sampled finely enough to show it."""
    step_hz = 32_000 / 1024
    areas = PannsMelConfig().filters().sum(0) * step_hz
    assert areas[-8:].tolist() == pytest.approx([1.0] * 8, abs=5e-3)


def test_what_is_loaded_answers_as_what_was_saved(listener):
    wave_BT = noise(24_000, count=2)
    with torch.no_grad():
        logits_BL, vector_BD = cnn14()(PannsMel(MELS[257])(wave_BT))
    loaded_BL, loaded_BD = listener.forward(wave_BT)
    torch.testing.assert_close(loaded_BL, logits_BL, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(loaded_BD, vector_BD, atol=1e-5, rtol=1e-4)
    assert torch.equal(listener.tag(wave_BT)[0], loaded_BL.sigmoid())
    assert not torch.equal(loaded_BD[0], loaded_BD[1])
    assert listener.labels[0] == "Speech"


def test_a_batch_equals_one_by_one_bit_for_bit(listener):
    wave_BT = noise(16_000, count=3)
    alone = torch.cat([listener.forward(wave_T[None])[1] for wave_T in wave_BT])
    assert torch.equal(listener.forward(wave_BT)[1], alone)


@pytest.mark.parametrize("samples", [1, 4_959, 4_960])
def test_short_sounds_are_filled_with_silence(listener, samples):
    """32 frames of 160 samples, of which the first is centred at 0: 4,960 samples are heard as they are."""
    short = noise(samples)
    filled = torch.nn.functional.pad(short, (0, 4_960 - samples))
    assert torch.equal(listener.forward(short)[0], listener.forward(filled)[0])


def test_other_files_and_sounds_are_refused(tmp_path, listener):
    def refused(name, match, **changes):
        state = {**cnn14_file(MELS[257]), **changes}
        torch.save({key: value for key, value in state.items() if value is not None}, tmp_path / name)
        with pytest.raises(ValueError, match=match):
            Panns.from_pretrained(tmp_path / name)

    refused("none.pth", "not one of PANNs'", **{"logmel_extractor.melW": None})
    refused("mel.pth", "another log-mel", **{"logmel_extractor.melW": MELS[257].filters() * 1.01})
    refused("bins.pth", "another log-mel", **{"logmel_extractor.melW": torch.zeros(300, 64)})
    refused("bent.pth", r"bent\.pth does not fit", **{"fc1.bias": torch.zeros(3)})
    with pytest.raises(ValueError, match=r"\(B, T\)"):
        listener.forward(torch.zeros(16_000))


@pytest.mark.parametrize("wrong", [{"n_fft": 3}, {"f_max_hz": 16_001.0}, {"mel_bins": 0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"log-mel needs|bands need"):
        PannsMelConfig(**wrong)
