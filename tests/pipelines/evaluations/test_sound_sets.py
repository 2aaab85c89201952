"""Which sounds are compared: real sets by generation, selection and split, and what stands beside them."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.selections.selection import select
from pipelines.evaluations.sound_sets import NOISE_RMS, Sound, decoded, noise_for, real_set, silence_for
from pipelines.verbs.pack import pack
from tests.pipelines.evaluations.listening import NAMES, RATE_HZ, packed_tones
from tests.retrieval_index.tones import clip_of


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = packed_tones(tmp_path_factory.mktemp("sets") / "dataset")
    select(Dataset(folder), name="some")
    return folder


def flac(wave: np.ndarray, rate_hz: int = RATE_HZ) -> bytes:
    held = io.BytesIO()
    soundfile.write(held, wave, rate_hz, format="FLAC", subtype="PCM_16")
    return held.getvalue()


def test_a_generation_a_selection_and_a_split_are_the_same_clips(data: Path) -> None:
    sets = [real_set(f"{data}{tail}", split="train", seed=0) for tail in ("@train", "@some", "")]
    assert [found.of for found in sets] == ["generation train", "selection some", "split train"]
    for found in sets:
        assert [clip.clip_id for clip in found.clips] == sorted(clip_of(name) for name in NAMES)
        captions = {clip_of(name): str(pitch) for name, pitch in NAMES.items()}
        assert {clip.clip_id: clip.caption for clip in found.clips} == captions
        assert all(clip.open_picture is None for clip in found.clips)
    first, second, third = (found.clips[5].sound(None) for found in sets)
    assert first.key == second.key == third.key
    waves = [sound.read(RATE_HZ) for sound in (first, second, third)]
    assert np.array_equal(waves[0], waves[1]) and np.array_equal(waves[0], waves[2]) and len(waves[0]) == 4_000


def test_what_is_said_is_known_by_generation_selection_and_split(tmp_path: Path) -> None:
    dataset = Dataset(packed_tones(tmp_path / "dataset"))
    one = clip_of(next(iter(NAMES)))
    dataset.append(
        "annotations", [{"key": one, "grain": "clip", "list": "listed", "line": 99, "transcript": "a high tone"}]
    )
    select(dataset, name="said")
    pack(dataset.path, selection="said", generation="packed", workers=1)
    for tail in ("@packed", "@said", ""):
        clips = real_set(f"{dataset.path}{tail}", split="train", seed=0).clips
        assert {clip.clip_id for clip in clips if clip.transcript == "a high tone"} == {one}, tail
        assert sum(not clip.transcript for clip in clips) == len(NAMES) - 1


def test_a_caption_of_several_is_drawn_by_the_seed(tmp_path: Path) -> None:
    dataset = Dataset(packed_tones(tmp_path / "dataset"))
    dataset.append(
        "annotations",
        [
            {"key": clip_of(name), "grain": "clip", "list": "listed", "line": 99 + line, "captions": ["another"]}
            for line, name in enumerate(NAMES)
        ],
    )
    drawn = [[clip.caption for clip in real_set(str(dataset.path), split="train", seed=seed).clips] for seed in (0, 1)]
    assert drawn[0] != drawn[1]
    assert 4 < drawn[0].count("another") < 20
    again = [clip.caption for clip in real_set(str(dataset.path), split="train", seed=0).clips]
    assert again == drawn[0]


def test_sounds_are_cut_mixed_and_resampled() -> None:
    """0.5 s of 0.5 left and 0 right, of which 0.25 s are heard: 0.25 throughout, at half the rate half as many."""
    content = flac(np.stack([np.full(4_000, 0.5), np.zeros(4_000)], axis=1))
    wave = decoded(content, RATE_HZ, "it", 0.25)
    assert wave.shape == (2_000,) and np.allclose(wave, 0.25, atol=1e-4)
    assert len(decoded(content, RATE_HZ // 2, "it")) == 2_000
    held = io.BytesIO()
    soundfile.write(held, np.array([0.0, np.nan]), RATE_HZ, format="WAV", subtype="FLOAT")
    for bad, match in ((b"x", "it cannot be read as a sound"), (held.getvalue(), "it is empty or holds samples")):
        with pytest.raises(ArgumentError, match=match):
            decoded(bad, RATE_HZ, "it")


def test_silence_and_noise_are_as_long_and_repeat() -> None:
    sound = Sound(key="real", clip_id="c", caption="rain", read=lambda rate_hz: np.zeros(1, np.float32))
    silence, other = silence_for(sound, 0.5), silence_for(sound, 0.25)
    assert silence.read(1_000).tolist() == [0.0] * 500
    assert silence.key == silence_for(sound, 0.5).key != other.key
    noise, next_one = noise_for(sound, 2.0, 0, 3), noise_for(sound, 2.0, 0, 4)
    wave = noise.read(16_000)
    assert len(wave) == 32_000 and wave.dtype == np.float32
    assert np.sqrt(np.square(wave).mean()) == pytest.approx(NOISE_RMS, rel=0.02)
    assert np.array_equal(wave, noise.read(16_000)) and not np.array_equal(wave, next_one.read(16_000))
    assert len({silence.key, noise.key, next_one.key, noise_for(sound, 2.0, 1, 3).key}) == 4
    assert (noise.clip_id, noise.caption) == ("c", "rain")
