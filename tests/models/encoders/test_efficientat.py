"""EfficientAT's network: the shapes and sizes that were published, loading by name, and answers that repeat."""

import csv
import math

import numpy as np
import pytest
import soundfile
import soxr
import torch
from safetensors.torch import save_file

from models.encoders.audioset_labels import AUDIOSET_LABELS, read_label_file
from models.encoders.efficientat import BLOCKS, EfficientAt, MobileNet, MobileNetConfig, in_steps, weights_file
from models.encoders.efficientat_mel import EfficientAtMel, EfficientAtMelConfig

MN04_NUMBERS, MN04_PARAMETERS = 993_485, 983_599
MN10_PARAMETERS = 4_876_831
"""Published: 0.983 and 4.88 million parameters; the file of mn04 holds 993,485 numbers, statistics included."""

MN04_SHAPES = {
    "features.0.0.weight": (8, 1, 3, 3),
    "features.1.block.0.0.weight": (8, 1, 3, 3),
    "features.1.block.1.0.weight": (8, 8, 1, 1),
    "features.2.block.0.0.weight": (24, 8, 1, 1),
    "features.4.block.1.0.weight": (32, 1, 5, 5),
    "features.4.block.2.conc_se_layers.0.fc1.weight": (8, 32),
    "features.5.block.2.conc_se_layers.0.fc1.weight": (16, 48),
    "features.7.block.2.0.weight": (32, 96, 1, 1),
    "features.12.block.2.conc_se_layers.0.fc2.weight": (272, 72),
    "features.15.block.3.1.running_mean": (64,),
    "features.16.0.weight": (384, 64, 1, 1),
    "classifier.2.weight": (512, 384),
    "classifier.5.bias": (527,),
}


def made(width=0.4, seed=0, classes=527):
    """A network of random weights whose answers differ from sound to sound."""
    torch.manual_seed(seed)
    network = MobileNet(MobileNetConfig(width=width, classes=classes)).eval()
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0)
        elif name.endswith("running_mean"):
            value.normal_(0, 0.1)
    return network


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    torch.save(made().state_dict(), folder / "mn04.pt")
    return folder


@pytest.fixture(scope="module")
def tagger(saved):
    return EfficientAt.from_pretrained(saved)


def noise(seconds, count=1):
    rng = np.random.default_rng(2)
    return torch.from_numpy(rng.uniform(-0.5, 0.5, (count, round(32_000 * seconds))).astype(np.float32))


def test_sizes_are_those_that_were_published():
    state = made().state_dict()
    assert {name: tuple(state[name].shape) for name in MN04_SHAPES} == MN04_SHAPES
    assert len(state) == 312
    assert sum(value.numel() for value in state.values()) == MN04_NUMBERS
    for width, count in ((0.4, MN04_PARAMETERS), (1.0, MN10_PARAMETERS)):
        with torch.device("meta"):
            network = MobileNet(MobileNetConfig(width=width))
        assert sum(value.numel() for value in network.parameters()) == count
        assert network.dimension == {0.4: 384, 1.0: 960}[width]


@pytest.mark.parametrize("width", [0.1, 0.2, 0.4, 0.5, 1.0, 2.0, 3.0, 4.0])
def test_the_width_is_read_off_the_weights(width):
    """All widths that are published: mn01 to mn40."""
    with torch.device("meta"):
        state = MobileNet(MobileNetConfig(width=width)).state_dict()
    assert MobileNetConfig.of_weights(state) == MobileNetConfig(width=width, classes=527)


def test_the_picture_shrinks_by_two_five_times():
    """128 bands and 1000 frames end as 4 x 32: the strides of the paper's table 1."""
    assert [block.stride for block in BLOCKS].count(2) == 4
    features = made(width=0.1).features
    assert features(torch.zeros(1, 1, 128, 1000)).shape[2:] == (4, 32)


@pytest.mark.parametrize(("asked", "given"), [(25.6, 24), (28.8, 32), (6.4, 8), (12, 16), (68, 72), (16, 16), (1, 8)])
def test_channels_come_in_steps_of_eight(asked, given):
    """10 % below what is asked for is allowed, and not more."""
    assert in_steps(asked) == given
    assert given % 8 == 0 and given >= 0.9 * asked


def test_what_is_loaded_answers_as_what_was_saved(tagger):
    wave_BT = noise(1.5, count=2)
    mel = EfficientAtMel(EfficientAtMelConfig())
    with torch.no_grad():
        logits_BL, vector_BD = made()(mel(wave_BT))
    loaded_BL, loaded_BD = tagger.forward(wave_BT)
    torch.testing.assert_close(loaded_BL, logits_BL, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(loaded_BD, vector_BD, atol=1e-4, rtol=1e-4)
    assert (loaded_BL.shape, loaded_BD.shape, tagger.dimension) == ((2, 527), (2, 384), 384)
    assert torch.equal(tagger.tag(wave_BT)[0], loaded_BL.sigmoid())


def test_a_batch_equals_one_by_one_bit_for_bit(tagger):
    wave_BT = noise(1.0, count=3)
    one_by_one = torch.cat([tagger.forward(wave_T[None])[0] for wave_T in wave_BT])
    assert torch.equal(tagger.forward(wave_BT)[0], one_by_one)
    assert not torch.equal(one_by_one[0], one_by_one[1])


def test_a_short_sound_is_the_same_sound_with_silence_behind_it(tagger):
    wave_BT = noise(0.4)
    filled_BT = torch.nn.functional.pad(wave_BT, (0, 32_000 - wave_BT.shape[1]))
    assert torch.equal(tagger.forward(wave_BT)[0], tagger.forward(filled_BT)[0])
    assert torch.isfinite(tagger.forward(torch.zeros(1, 0))[0]).all()


def test_safetensors_give_the_same_answers_and_another_identity(tagger, saved, tmp_path):
    save_file(torch.load(saved / "mn04.pt", weights_only=True), tmp_path / "mn04.safetensors")
    other = EfficientAt.from_pretrained(tmp_path)
    assert torch.equal(other.forward(noise(1))[0], tagger.forward(noise(1))[0])
    assert other.identity()["weights_sha256"] != tagger.identity()["weights_sha256"]
    assert EfficientAt.from_pretrained(saved / "mn04.pt").identity() == tagger.identity()


@pytest.mark.parametrize("spoil", ["features.3.block.0.0.weight", "classifier.5.bias"])
def test_every_tensor_must_be_there_and_no_other(saved, tmp_path, spoil):
    state = torch.load(saved / "mn04.pt", weights_only=True)
    value = state.pop(spoil)
    torch.save(state, tmp_path / "less.pt")
    with pytest.raises(ValueError, match=spoil):
        EfficientAt.from_pretrained(tmp_path / "less.pt")
    torch.save({**state, spoil: value, "features.17.weight": value}, tmp_path / "more.pt")
    with pytest.raises(ValueError, match=r"features\.17\.weight"):
        EfficientAt.from_pretrained(tmp_path / "more.pt")


def test_what_is_no_weights_is_refused(saved, tmp_path):
    (tmp_path / "text.pt").write_text("not weights")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        EfficientAt.from_pretrained(tmp_path / "text.pt")
    whole = (saved / "mn04.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cannot be read as weights"):
        EfficientAt.from_pretrained(tmp_path / "cut.pt")
    torch.save({"a": [1, 2]}, tmp_path / "list.pt")
    with pytest.raises(ValueError, match="does not hold tensors by name"):
        EfficientAt.from_pretrained(tmp_path / "list.pt")
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"classifier\.2\.weight"):
        EfficientAt.from_pretrained(tmp_path / "other.pt")
    torch.save(made().eval(), tmp_path / "pickled.pt")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        EfficientAt.from_pretrained(tmp_path / "pickled.pt")
    with pytest.raises(FileNotFoundError, match="no folder with one"):
        weights_file(tmp_path / "nothing")
    with pytest.raises(ValueError, match="several weights"):
        weights_file(tmp_path)


def test_names_of_classes_lie_beside_the_weights_or_are_audiosets(saved, tmp_path):
    torch.save(made(width=0.1, classes=2).state_dict(), tmp_path / "two.pt")
    with pytest.raises(ValueError, match="527 labels cannot name 2 classes"):
        EfficientAt.from_pretrained(tmp_path)
    (tmp_path / "class_labels_indices.csv").write_text('index,mid,display_name\n1,/m/b,"Dog, bark"\n0,/m/a,Cat\n')
    tagger = EfficientAt.from_pretrained(tmp_path)
    assert tagger.labels == ("Cat", "Dog, bark") and tagger.identity()["labels"] == ["Cat", "Dog, bark"]
    for text, what in (("a,b\n1,2\n", "no columns"), ("index,display_name\n1,Cat\n", "are not 0 to 0")):
        (tmp_path / "class_labels_indices.csv").write_text(text)
        with pytest.raises(ValueError, match=what):
            EfficientAt.from_pretrained(tmp_path)


def test_audioset_has_527_names():
    assert len(AUDIOSET_LABELS) == len(set(AUDIOSET_LABELS)) == 527
    assert [AUDIOSET_LABELS[index] for index in (0, 27, 74, 137)] == ["Speech", "Singing", "Dog", "Music"]


def test_the_log_mel_is_what_its_parts_say():
    """A slow way: pre-emphasis, mirrored ends, a window of 800 in the middle of 1024, a transform a frame."""
    wave_T = noise(0.1)[0].double()
    config = EfficientAtMelConfig()
    mel = EfficientAtMel(config)
    sharp = (wave_T[1:] - 0.97 * wave_T[:-1]).numpy()
    padded = np.pad(sharp, 512, mode="reflect")
    hann = np.pad(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(800) / 799), 112)
    frames = [padded[start : start + 1024] * hann for start in range(0, len(padded) - 1023, 320)]
    power_FK = np.abs(np.fft.rfft(np.stack(frames), axis=1)) ** 2
    expected_FM = (np.log(power_FK @ mel.filters.double().numpy() + 1e-5) + 4.5) / 5
    found = mel(wave_T[None].float())
    assert found.shape == (1, 1, 128, len(frames)) == (1, 1, 128, 10)
    np.testing.assert_allclose(found[0, 0].T.numpy(), expected_FM, atol=2e-4, rtol=0)


def test_silence_is_the_floor():
    mel = EfficientAtMel(EfficientAtMelConfig())
    torch.testing.assert_close(mel(torch.zeros(1, 3200)), torch.full((1, 1, 128, 10), (math.log(1e-5) + 4.5) / 5))


def test_a_transform_must_fit():
    mel = EfficientAtMel(EfficientAtMelConfig())
    shortest = mel.config.shortest_samples
    assert mel(torch.zeros(1, shortest)).shape[3] == 2
    for shape in ((1, shortest - 1), (shortest,), (1, 1, shortest)):
        with pytest.raises(ValueError, match="at least 514 samples"):
            mel(torch.zeros(shape))


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({"f_max_hz": 16_001.0}, "16001"),
        ({"f_min_hz": -1.0}, "-1.0"),
        ({"n_fft": 1023}, "1023"),
        ({"window_samples": 1025}, "1025"),
        ({"hop_samples": 0}, "0"),
        ({"preemphasis": 1.0}, "1.0"),
        ({"floor": 0.0}, "0.0"),
    ],
)
def test_mel_config_names_the_bad_value(changes, value):
    with pytest.raises(ValueError, match=value):
        EfficientAtMelConfig(**changes)


@pytest.mark.parametrize(
    ("changes", "value"), [({"width": 0.0}, "0.0"), ({"width": 8.1}, "8.1"), ({"classes": 0}, "0")]
)
def test_network_config_names_the_bad_value(changes, value):
    with pytest.raises(ValueError, match=value):
        MobileNetConfig(**changes)


@pytest.mark.real
def test_real_weights_hear_real_sounds(real_data):
    """The nearest neighbour from another source has the same class; the tags are what people would say."""
    tagger = EfficientAt.from_pretrained(real_data / "weights" / "efficientat_mn04")
    assert tagger.labels == read_label_file(real_data / "annotations" / "audioset" / "class_labels_indices.csv")
    with (real_data / "media" / "sounds" / "esc50.csv").open() as file:
        rows = list(csv.DictReader(file))
    scores, vectors = [], []
    for row in rows:
        wave_T, rate_hz = soundfile.read(real_data / "media" / "sounds" / "esc50" / row["filename"], dtype="float32")
        wave_T = soxr.resample(wave_T, rate_hz, tagger.sample_rate_hz, quality="HQ").astype(np.float32)
        score_BL, vector_BD = tagger.tag(torch.from_numpy(wave_T)[None])
        scores.append(score_BL[0].numpy())
        vectors.append(torch.nn.functional.normalize(vector_BD[0], dim=0).numpy())
    source, category = (np.array([row[name] for row in rows]) for name in ("src_file", "category"))
    cosine = np.stack(vectors) @ np.stack(vectors).T
    cosine[source[:, None] == source] = -np.inf
    has_other = np.array([((category == kind) & (source != own)).any() for kind, own in zip(category, source)])
    agreement = (category[cosine.argmax(1)] == category)[has_other].mean()
    print(f"nearest neighbour agrees for {agreement:.3f} of {has_other.sum()} recordings")
    assert has_other.sum() == 223 and agreement > 0.8
    kinds = {"dog": "Dog", "rooster": "Chicken, rooster", "crow": "Crow", "toilet_flush": "Toilet flush", "cow": "Moo"}
    for kind, label in kinds.items():
        mean_L = np.stack(scores)[category == kind].mean(0)
        assert label in [tagger.labels[index] for index in mean_L.argsort()[::-1][:3]]
