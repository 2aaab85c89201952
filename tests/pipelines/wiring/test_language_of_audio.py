"""AudioMAE as the stage `encode_sound` has it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from curation.errors import ArgumentError
from models.encoders.audiomae import AudioMae, save_audiomae
from models.encoders.audiomae_network import AudioMaeConfig, AudioMaeEncoder
from pipelines.verbs.encode import EncodePlan, Listening, encode
from pipelines.verbs.result import StageResult
from pipelines.wiring.language_of_audio import encode_sound_stage, load_audiomae, load_numpy_listener
from tests.curation.made import Made
from tests.pipelines.verbs.test_encode import saved_codec

SIZE = AudioMaeConfig(frames=64, width=16, depth=3, heads=2)
"""Hears 0.64 s: a grid of 4 by 8 patches, two tokens where four by eight are pooled."""


def saved(folder: Path, *, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    network = AudioMaeEncoder(SIZE)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return save_audiomae(network, folder)


def test_a_run_a_folder_and_a_file_are_the_same_listener(tmp_path: Path) -> None:
    file = saved(tmp_path / "run" / "model")
    wave_T = np.sin(np.arange(9_000) / 9).astype(np.float32)
    heard = [load_numpy_listener(str(path), 2).hear(wave_T) for path in (tmp_path / "run", file.parent, file)]
    assert heard[0].shape == (2 * 4, 16) and heard[0].dtype == np.float32
    for other in heard[1:]:
        np.testing.assert_array_equal(other, heard[0])
    expected = AudioMae.from_pretrained(file).language_of_audio(torch.from_numpy(wave_T)[None], factor=2)[0]
    np.testing.assert_array_equal(heard[0], expected.numpy())


def test_the_identity_is_what_changes_the_tokens(tmp_path: Path) -> None:
    dataset = Made(tmp_path / "data").dataset() if (tmp_path / "data").mkdir() is None else None
    assert dataset is not None
    first, moved, other = (str(saved(tmp_path / name, seed=seed)) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    stage = encode_sound_stage(dataset, first, called="tiny")
    assert stage.window_s == pytest.approx(0.64)
    assert encode_sound_stage(dataset, moved, called="tiny").folder_name == stage.folder_name
    changed = [
        encode_sound_stage(dataset, other, called="tiny"),
        encode_sound_stage(dataset, first, called="tiny", factor=1),
        encode_sound_stage(dataset, first, called="tiny", window_s=0.32),
    ]
    assert len({stage.folder_name, *(one.folder_name for one in changed)}) == 4


def test_what_cannot_be_heard_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    dataset, file = Made(tmp_path / "data").dataset(), str(saved(tmp_path / "a"))
    with pytest.raises(ArgumentError, match=r"hears at most 0\.64 s at once, not 5 s"):
        encode_sound_stage(dataset, file, called="tiny", window_s=5.0)
    with pytest.raises(ArgumentError, match="factor of the language of audio must be at least 1, not 0"):
        encode_sound_stage(dataset, file, called="tiny", factor=0)
    with pytest.raises(ArgumentError, match="no AudioMAE can be loaded from"):
        load_audiomae(str(tmp_path / "nothing"))
    with pytest.raises(ArgumentError, match="say how --listener listens"):
        Listening(window_s=1.0)


def test_encode_plans_and_keeps_what_is_heard(tmp_path: Path) -> None:
    made = Made(tmp_path)
    for number in range(3):
        made.clip(f"v{number}")
    dataset, codec, file = made.dataset(), str(saved_codec(tmp_path / "codec")), str(saved(tmp_path / "a"))
    listening = replace(Listening(), listener=file, window_s=0.04)
    plan = encode(dataset.path, codec=codec, name="blocks", listening=listening, plan=True)
    assert isinstance(plan, EncodePlan)
    # Clips of 0.1 s have two windows of one token: all four patches of time by eight of frequency.
    assert (plan.pending_sounds, plan.heard_bytes) == (3, 2 * 1 * 16 * 2)
    assert "3 sounds to hear of 64 bytes" in str(plan)
    done = encode(dataset.path, codec=codec, name="blocks", listening=listening, workers=0)
    assert isinstance(done, StageResult)
    assert (done.stages["encode"].done, done.stages["encode_sound"].done) == (3, 3)
    row, *_ = dataset.sql("SELECT windows, tokens, token_channels, window_s FROM encode_sound").to_pylist()
    assert row == {"windows": 2, "tokens": 1, "token_channels": 16, "window_s": 0.04}
