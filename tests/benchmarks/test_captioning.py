"""The benchmarks of captioning, small: both sides are measured, and the numbers follow from each other."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks import _made_clips, caption, chat, overhead
from benchmarks._made_clips import captionable, sounds_of_many_lengths


def test_sounds_have_many_lengths_and_stay_the_same() -> None:
    waves, _ = sounds_of_many_lengths(12)
    lengths = [len(wave_T) / _made_clips.HEARD_HZ for wave_T in waves]
    assert all(1 <= seconds <= 30 for seconds in lengths) and len(set(lengths)) > 6
    again, _ = sounds_of_many_lengths(12)
    assert all(np.array_equal(one, other) for one, other in zip(waves, again, strict=True))


def test_made_clips_differ_in_name_and_not_in_sound(tmp_path: Path) -> None:
    dataset = captionable(tmp_path / "dataset", 5, seconds=0.2, kinds=2)
    names = dataset.sql("SELECT audio_sha256 FROM cut WHERE state = 'done'")["audio_sha256"].to_pylist()
    assert len(set(names)) == 5
    sounds = {soundfile.read(dataset.media.open_path(name, ".flac"))[0].tobytes() for name in names}
    assert len(sounds) == 2


@pytest.mark.slow
def test_a_batch_says_what_the_clips_say_alone() -> None:
    measured = caption.measure(clips=4, batch=3, size=(128, 2), rounds=1)
    assert measured["ratio"] == pytest.approx(
        float(measured["clips_a_second"]) / float(measured["peer_clips_a_second"])
    )
    assert float(measured["usable_answers"]) >= 2 and float(measured["different_answers"]) > 1


@pytest.mark.slow
def test_a_server_is_asked_and_what_stands_around_a_model_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "SERVERS", ((0.01, 2), (0.02, 4)))
    asked = chat.measure(clips=40, verb_clips=6, rounds=1)
    assert 0 < float(asked["ratio"]) <= 1 and float(asked["verb_clips_a_second"]) > 0
    timed = overhead.measure(clips=24, seconds=0.5, ray=False)
    assert timed["ratio"] == pytest.approx(overhead.BOUND_MS / float(timed["beside_model_ms"]))
    assert float(timed["at_once_ms"]) > 0
