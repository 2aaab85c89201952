"""The judge answers the nearest mean, whatever the length of a feature."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from benchmarks.evidence.judge import Judge, efficientat_weights, features_of
from curation.errors import ArgumentError
from pipelines.wiring.listeners import Listener

FEATURES = np.array([[1, 0, 0], [3, 0.3, 0], [0, 1, 0], [0, 5, 0.5]], np.float32)
LABELS = ["rain", "rain", "cow", "cow"]


def test_the_nearest_mean_by_direction() -> None:
    judge = Judge.fit(FEATURES, LABELS)
    assert judge.labels == ("cow", "rain")
    asked = np.array([[0.01, 0, 0], [0, 100, 1], [1, 2, 0]], np.float32)
    assert judge.answers(asked) == ["rain", "cow", "cow"]
    assert judge.right(asked, ["rain", "rain", "cow"]) == 2


def test_each_recording_counts_once_whatever_its_length() -> None:
    judge = Judge.fit(np.array([[100, 0], [0, 1], [0, 1], [1, 0]], np.float32), ["a", "a", "a", "b"])
    assert judge.answers(np.array([[1, 1.9]], np.float32)) == ["a"]
    assert judge.answers(np.array([[1, 0.1]], np.float32)) == ["b"]  # the plain mean of `a` would be nearer


def test_unlike_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="4 features and 3 labels"):
        Judge.fit(FEATURES, LABELS[:3])


def test_files_are_heard_at_the_listeners_rate_and_no_longer_than_asked(tmp_path: Path) -> None:
    file = tmp_path / "sound.wav"
    soundfile.write(file, np.full((3 * 8_000, 2), 0.5, np.float32), 8_000)
    listener = Listener(
        kind="length",
        name="length",
        sample_rate_hz=8_000,
        window_s=None,
        features="samples and mean",
        identity={},
        listen=lambda wave_BT: (
            torch.stack([torch.full((len(wave_BT),), wave_BT.shape[1]), wave_BT.mean(1)], 1)[:, None],
            None,
        ),
    )
    assert features_of(listener, [file], seconds=2.0)[0].tolist() == [16_000, 0.5]
    assert features_of(listener, [file])[0].tolist() == [24_000, 0.5]


def test_missing_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSOUND_REAL_DATA", str(tmp_path))
    with pytest.raises(ArgumentError, match="set FOUNDSOUND_REAL_DATA"):
        efficientat_weights()
