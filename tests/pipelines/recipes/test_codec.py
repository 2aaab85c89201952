"""Codecs trained on a dataset: which windows are drawn, what is kept out, and that the run's folder is a codec."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.selections.selection import select
from curation.shards.pack import pack
from models.codecs.codec import load_codec
from models.codecs.mel_vae import MelVaeCodec
from models.codecs.oobleck import OobleckCodec
from pipelines.recipes import codec as recipes
from pipelines.recipes.codec_windows import SoundWindows
from pipelines.recipes.data import open_shards
from pipelines.recipes.options import RunOptions
from pipelines.wiring.codecs import load_numpy_codec
from tests.curation.made import RATE_HZ, Made

CLIPS = 23
SECONDS = 0.1
"""Of every made sound."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    made = Made(tmp_path_factory.mktemp("codec"))
    for number in range(CLIPS):
        made.clip(f"v{number}")
    dataset = made.dataset()
    select(dataset, name="s")
    pack(dataset, "s", clips_per_shard=10)
    return dataset


def windows_of(dataset: Dataset, *, rate_hz: int = RATE_HZ, samples: int = 200, channels: int = 1) -> SoundWindows:
    return SoundWindows(
        shards=open_shards(dataset, "s"),
        sample_rate_hz=rate_hz,
        channels=channels,
        window_samples=samples,
        batch_clips=4,
        seed=3,
    )


def test_a_batch_is_a_function_of_its_number_and_its_rows_of_nothing_else(dataset: Dataset) -> None:
    whole = windows_of(dataset)(7, range(4))
    assert whole["waves"].shape == (4, 1, 200) and whole["waves"].dtype == torch.float32
    for rank in range(2):
        part = windows_of(dataset)(7, range(rank, 4, 2))
        assert part["keys"] == whole["keys"][rank::2]
        assert torch.equal(part["waves"], whole["waves"][rank::2])
    assert not torch.equal(windows_of(dataset)(8, range(4))["waves"], whole["waves"])


def test_a_window_is_a_piece_of_its_clip(dataset: Dataset) -> None:
    windows = windows_of(dataset)
    batch = windows(0, range(4))
    keys = windows.shards.keys
    for key, window in zip(batch["keys"], batch["waves"], strict=True):
        (whole,) = windows.waves([keys.index(key)])
        pieces = whole[0].unfold(0, 200, 1)
        assert bool((pieces == window[0]).all(dim=1).any())


def test_a_tenth_is_kept_out_and_an_epoch_sees_all_others_once(dataset: Dataset) -> None:
    windows = windows_of(dataset)
    kept = {windows.shards.key(number) for number in windows.held_out}
    assert len(kept) == CLIPS // 10
    seen = [key for batch in range(21) for key in windows(batch, range(4))["keys"]]  # four epochs of 21 clips
    assert kept.isdisjoint(seen)
    assert {key: seen.count(key) for key in set(seen)} == dict.fromkeys(set(windows.shards.keys) - kept, 4)
    assert set(windows.fitting) | set(windows.held_out) == set(range(CLIPS))


def test_sounds_come_at_the_rate_and_channels_asked_for_and_short_ones_are_filled_up(dataset: Dataset) -> None:
    waves = windows_of(dataset, rate_hz=2 * RATE_HZ, samples=4_000, channels=2)(0, range(4))["waves"]
    assert waves.shape == (4, 2, 4_000)
    assert torch.equal(waves[:, 0], waves[:, 1])
    sounding = round(SECONDS * 2 * RATE_HZ)
    assert bool(waves[:, :, :sounding].abs().amax(-1).gt(0).all())
    assert not bool(waves[:, :, sounding + 1 :].any())


@pytest.mark.parametrize(
    ("train", "kind", "clips"),
    [
        (recipes.train_codec_tiny, OobleckCodec, 8),
        pytest.param(recipes.train_mel_vae_tiny, MelVaeCodec, 4, marks=pytest.mark.slow),
    ],
)
def test_the_folder_of_a_run_is_a_codec(
    dataset: Dataset, tmp_path: Path, train: object, kind: type, clips: int
) -> None:
    pytest.importorskip("diffusers")
    assert callable(train)
    options = RunOptions(generation="s", clips=clips, seconds=0.16)
    facts = train(dataset, tmp_path / "run", options)
    assert facts["clips"] == CLIPS - 2 and facts["held_out"] == 2
    measured = {"si_sdr_db", "mel_distance", "closed_form_si_sdr_db", "closed_form_mel_distance", "loss"}
    assert measured <= facts.keys()
    assert ("judge" in facts) == (train is not recipes.train_mel_vae_tiny), "the tiny vocoder has no judge"
    assert all(np.isfinite(value) for value in facts.values())
    codec = load_codec(tmp_path / "run")
    assert isinstance(codec, kind)
    mean, std = load_numpy_codec(str(tmp_path / "run")).encode(np.zeros((1, 4_000), np.float32))
    assert std is not None and mean.shape == std.shape
    assert mean.shape == (-(-4_000 // codec.hop_samples), codec.latent_channels)
    assert json.loads((tmp_path / "run/config.json").read_text())["settings"]["data"]["generation"] == "s"
    again = train(dataset, tmp_path / "run", options)
    assert again["mel_distance"] == facts["mel_distance"]
    with pytest.raises(ValueError, match="other settings"):
        train(dataset, tmp_path / "run", RunOptions(generation="s", clips=clips, seconds=0.16, seed=1))


@pytest.mark.parametrize("option", [{"codec": "x"}, {"text_encoder": "x"}])
def test_options_that_codecs_do_not_have_are_refused(dataset: Dataset, tmp_path: Path, option: dict) -> None:
    with pytest.raises(ArgumentError, match=r"codec-44k trains a codec .* drop"):
        recipes.train_codec_44k(dataset, tmp_path, RunOptions(generation="s", **option))


def test_one_sound_is_too_few(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.clip("only")
    dataset = made.dataset()
    select(dataset, name="s")
    pack(dataset, "s", clips_per_shard=1)
    with pytest.raises(ArgumentError, match="two clips at least, there are 1"):
        windows_of(dataset)
