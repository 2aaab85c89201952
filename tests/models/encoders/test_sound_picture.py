"""A small judge learns two kinds of pictures and sounds, across both, and comes back as it was saved."""

import numpy as np
import pytest
import torch

from models.encoders.sound_picture import SoundPictureConfig, SoundPictureJudge, fit_judge, save_judge

CONFIG = SoundPictureConfig(
    labels=("high", "low"), side_px=16, window_samples=4_800, width=4, dimension=8, batch=8, steps=40
)


def clips(count, seed):
    """High tones with bright tops, low ones with bright bottoms."""
    rng = np.random.default_rng(seed)
    pictures, waves, labels = [], [], []
    for number in range(count):
        label = CONFIG.labels[number % 2]
        picture = rng.integers(0, 60, (20, 20, 3), dtype=np.uint8)
        (picture[:10] if label == "high" else picture[10:])[:] = 220
        hz = rng.uniform(3_000, 4_000) if label == "high" else rng.uniform(200, 400)
        times = np.arange(5_000) / 16_000
        pictures.append(picture)
        waves.append(torch.from_numpy(np.float32(0.3 * np.sin(2 * np.pi * hz * times))))
        labels.append(label)
    return pictures, waves, labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    network = fit_judge(*clips(24, 0), config=CONFIG)
    return save_judge(network, CONFIG, tmp_path_factory.mktemp("judge"))


def test_it_tells_kinds_apart_that_it_has_not_seen(folder):
    judge = SoundPictureJudge.from_pretrained(folder)
    pictures, waves, labels = clips(12, 1)
    assert judge.classes_seen(pictures) == labels
    assert judge.classes_heard(waves) == labels
    seen, heard = (torch.nn.functional.normalize(one, dim=1) for one in (judge.see(pictures), judge.hear(waves)))
    score = seen @ heard.T
    assert score[0, 0] > score[0, 1] and score[1, 1] > score[1, 0]
    assert judge.identity()["labels"] == list(CONFIG.labels)


def test_sounds_of_any_length_are_heard(folder):
    judge = SoundPictureJudge.from_pretrained(folder)
    assert judge.hear([torch.zeros(100), torch.zeros(20_000)]).shape == (2, 8)


def test_bad_input_is_named(folder, tmp_path):
    pictures, waves, labels = clips(4, 0)
    with pytest.raises(ValueError, match="3 labels"):
        fit_judge(pictures, waves, labels[:3], config=CONFIG)
    with pytest.raises(ValueError, match=r"\['other'\] are not among"):
        fit_judge(pictures, waves, [*labels[:3], "other"], config=CONFIG)
    with pytest.raises(ValueError, match="two different labels"):
        SoundPictureConfig(labels=("a", "a"))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="holds no judge"):
        SoundPictureJudge.from_pretrained(tmp_path)
