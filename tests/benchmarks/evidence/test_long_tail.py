"""The world of named events, its judge, and what is trained on of a long tail."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.evidence.band_judge import BandJudge, looked_at
from benchmarks.evidence.esc50 import Recording
from benchmarks.evidence.long_tail import behind_codec, tail_of
from benchmarks.evidence.named_events import RATE_HZ, SECONDS, Event, events_of, recorded, write_recordings
from benchmarks.evidence.tail_worlds import trained_of_esc50, trained_of_named
from models.codecs.mel_noise import MelNoise, MelNoiseConfig

CODEC = MelNoise(MelNoiseConfig(bands=8))


def event(**changes: object) -> Event:
    known = {"name": "bodaki", "band_hz": 943.0, "gesture": "steady", "background": "nothing", **changes}
    return Event(**known)  # type: ignore[arg-type]


def latents(one: Event, *takes: int) -> torch.Tensor:
    waves = np.stack([recorded(one, np.random.default_rng(take)) for take in takes])
    return CODEC.encode(torch.from_numpy(waves)[:, None])


def test_every_combination_has_one_name() -> None:
    events = events_of(0)
    assert len(events) == len({one.name for one in events}) == 6 * 6 * 3
    assert len({(one.band_hz, one.gesture, one.background) for one in events}) == len(events)
    assert [one.name for one in events_of(0)] == [one.name for one in events] != [one.name for one in events_of(1)]


def test_an_event_lies_in_its_band_and_its_background_at_the_ends() -> None:
    assert int(latents(event(), 0).mean(1).argmax()) == 2, "943 Hz is in the third of eight bands"
    levels = latents(event(background="rumble"), 0).mean(1)[0]
    assert levels[0] > levels[1:2].max() and int(latents(event(background="hiss"), 0).mean(1)[0, 5:].argmax()) == 2


def test_pulses_move_and_steady_sounds_do_not() -> None:
    moved = {gesture: float(latents(event(gesture=gesture), 0)[0, :, 2].std()) for gesture in ("steady", "slow pulses")}
    assert moved["steady"] < 0.3 < 1.0 < moved["slow pulses"]


def test_recordings_are_as_long_as_said_and_within_full_scale() -> None:
    wave = recorded(event(gesture="rising", background="hiss"), np.random.default_rng(0))
    assert wave.shape == (round(SECONDS * RATE_HZ),) and wave.dtype == np.float32 and np.abs(wave).max() < 1


def test_the_judge_does_not_hear_where_a_cycle_begins_but_which_way_it_goes() -> None:
    rising, falling = (latents(event(gesture=gesture), *range(6)) for gesture in ("rising", "falling"))
    judge = BandJudge.fit(torch.cat([rising[:3], falling[:3]]), ["rising"] * 3 + ["falling"] * 3)
    assert judge.answers(torch.cat([rising[3:], falling[3:]])) == ["rising"] * 3 + ["falling"] * 3
    turned = rising.roll(3, dims=1)
    torch.testing.assert_close(looked_at(turned), looked_at(rising), atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="3 recordings and 1 labels"):
        BandJudge.fit(rising[:3], ["rising"])


def test_what_is_written_is_kept(tmp_path: Path) -> None:
    found = write_recordings([event()], [(2, 1)], tmp_path)
    assert [one.split for one in found] == ["train", "train", "test"] and found[0].label == "bodaki"
    before = found[0].path.stat().st_mtime_ns
    write_recordings([event()], [(2, 1)], tmp_path)
    assert found[0].path.stat().st_mtime_ns == before


def test_a_sound_behind_the_codec_is_of_the_same_event(tmp_path: Path) -> None:
    found = write_recordings([event(background="rumble")], [(1, 0)], tmp_path)
    content = behind_codec(found[0].path.read_bytes(), CODEC, SECONDS)
    (tmp_path / "behind.wav").write_bytes(content)
    assert content[:4] == b"RIFF" and len(content) == 44 + 2 * round(SECONDS * RATE_HZ)


def test_the_tail_keeps_the_first_of_each() -> None:
    labels = {"a": "dog", "b": "dog", "c": "cat", "d": "cow", "e": "cow"}
    assert tail_of(labels, {"dog": 1, "cat": 0, "cow": None}) == ["a", "d", "e"]


def test_kinds_go_in_turn() -> None:
    several = [
        Recording(path=Path(f"{label}{take}"), label=label, source="x") for label in "abcde" for take in range(3)
    ]
    assert trained_of_esc50(several) == {"a": 0, "b": 1, "c": 2, "d": None, "e": 0}
    numbers = list(trained_of_named([]).values())
    assert numbers[:5] == [0, 1, 3, 10, 0] and all(numbers.count(one) == 27 for one in (0, 1, 3, 10))
