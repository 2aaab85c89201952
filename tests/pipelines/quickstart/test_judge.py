import itertools

import numpy as np
import pytest
import soxr

from pipelines.quickstart.judge import RULES, judge, measure, precision_at_5
from pipelines.quickstart.sounds import CLASSES
from pipelines.quickstart.world import Clip, make_world, synthesise

RATE_HZ = 16_000


def clip_sound(clip: Clip) -> np.ndarray:
    wave, _, _ = synthesise(clip)
    start = round(clip.start_s * 48_000)
    return wave[:, start : start + 4 * 48_000]


@pytest.fixture(scope="module")
def sounds() -> list[tuple[str, np.ndarray]]:
    return [(clip.label, clip_sound(clip)) for clip in make_world().good]


def noise(seconds: float = 4.0) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(round(seconds * RATE_HZ))


def tone(hz: float, seconds: float = 4.0) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)


def test_every_true_sound_is_recognised(sounds: list[tuple[str, np.ndarray]]) -> None:
    assert [judge(wave, 48_000).label for _, wave in sounds] == [label for label, _ in sounds]


@pytest.mark.parametrize("snr_db", [20, 10])
def test_and_at_16_khz_in_noise(sounds: list[tuple[str, np.ndarray]], snr_db: float) -> None:
    rng = np.random.default_rng(snr_db)
    right = 0
    for label, wave in sounds:
        low = soxr.resample(wave.mean(axis=0), 48_000, RATE_HZ)
        noisy = low + rng.standard_normal(low.size) * np.sqrt(np.mean(low**2)) * 10 ** (-snr_db / 20)
        right += judge(noisy, RATE_HZ).label == label
    assert right / len(sounds) >= 0.98


def test_another_world_is_recognised_too() -> None:
    clips = [clip for clip in make_world(7).good if clip.split == "test"]
    right = sum(judge(clip_sound(clip), 48_000).label == clip.label for clip in clips)
    assert right / len(clips) >= 0.98


@pytest.mark.parametrize("shift_s", [0.3, 0.9])
def test_when_a_sound_starts_does_not_matter(sounds: list[tuple[str, np.ndarray]], shift_s: float) -> None:
    right = [judge(np.roll(wave, round(shift_s * 48_000), axis=-1), 48_000).label == label for label, wave in sounds]
    assert np.mean(right) >= 0.98


OTHER_SOUNDS = {
    "silence": np.zeros(64_000),
    "nothing": np.zeros(0),
    "a constant": np.ones(64_000),
    "one sample": np.eye(1, 64_000)[0],
    "white noise": 0.1 * noise(),
    "white noise that swells": 0.1 * noise() * (1 + np.sin(np.arange(64_000) / RATE_HZ * 4 * np.pi)),
    "rumble": 0.001 * np.cumsum(noise()),
    "a steady tone": tone(1000),
    "a steady low tone": tone(115),
    "two tones at once": tone(550) + tone(825),
    "one slow sweep": 0.3 * np.sin(2 * np.pi * np.cumsum(np.geomspace(400, 800, 64_000)) / RATE_HZ),
    "beeps that are too fast": tone(1000) * (np.arange(64_000) % 1600 < 800),
    "clicks that are too slow": np.where(np.arange(64_000) % 16_000 < 40, tone(3000), 0.0),
}


@pytest.mark.parametrize("name", OTHER_SOUNDS)
def test_other_sounds_are_no_class(name: str) -> None:
    assert judge(OTHER_SOUNDS[name], RATE_HZ).label is None


def test_no_sound_can_be_two_classes() -> None:
    assert set(RULES) == set(CLASSES)
    for one, other in itertools.combinations(RULES.values(), 2):
        shared = one.keys() & other.keys()
        assert any(one[name][1] < other[name][0] or other[name][1] < one[name][0] for name in shared)


def test_evidence_of_known_sounds() -> None:
    steady = measure(tone(1000), RATE_HZ)
    assert steady.level_db == pytest.approx(20 * np.log10(0.3) - 3.01, abs=0.01)
    assert steady.pitch_hz == pytest.approx(1000, abs=1)
    assert steady.tonality > 0.99
    assert steady.swing < 0.02
    gated = measure(tone(1000) * (np.arange(64_000) % 4000 < 1600), RATE_HZ)
    assert gated.rate_hz == pytest.approx(4.0, abs=0.05)
    assert gated.on_share == pytest.approx(0.4, abs=0.04)
    assert gated.swing == pytest.approx(1.0, abs=0.01)
    sweep = 2.0 ** (np.arange(RATE_HZ) / RATE_HZ * 1.5) * 400
    rising = measure(np.tile(0.3 * np.sin(2 * np.pi * np.cumsum(sweep) / RATE_HZ), 4), RATE_HZ)
    assert rising.slope_octaves_per_s == pytest.approx(1.5, abs=0.05)
    assert rising.spread_octaves == pytest.approx(0.8 * 1.5, abs=0.1)


def test_a_sound_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="3 of its samples"):
        judge(np.array([0.0, np.nan, np.inf, -np.inf] + [0.0] * 5000), RATE_HZ)


def test_precision_at_5() -> None:
    assert precision_at_5(["a", "b", "a", "a", "b", "a", "a"], "a") == pytest.approx(0.6)
    assert precision_at_5(["a", "a"], "a") == pytest.approx(0.4)
    assert precision_at_5([], "a") == 0.0
