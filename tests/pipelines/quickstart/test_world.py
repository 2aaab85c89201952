from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

from pipelines.quickstart.pictures import BACKGROUND, FRAMES_PER_S
from pipelines.quickstart.sounds import CLASSES
from pipelines.quickstart.world import FAULTS, Clip, Fault, World, make_world, synthesise, write_video


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


def one(world: World, **wanted: object) -> Clip:
    return next(c for c in world.clips if all(getattr(c, name) == value for name, value in wanted.items()))


def test_counts(world: World) -> None:
    assert len(world.good) == 104
    assert Counter((clip.label, clip.split) for clip in world.good) == {
        (label, split): n for label in CLASSES for split, n in (("train", 8), ("test", 5))
    }
    assert Counter(clip.fault for clip in world.clips if clip.fault) == Counter(FAULTS)
    assert len(world.with_fault(Fault.DEAD)) == 4
    assert sum(clip.video_s == 6 and clip.start_s == 1 for clip in world.good) == 8
    assert {clip.channels for clip in world.good} == {1, 2}


def test_ids_are_unique_and_look_like_those_of_youtube(world: World) -> None:
    ids = [clip.video_id for clip in world.clips]
    assert len(set(ids)) == len(ids)
    assert all(len(i) == 11 and i.replace("-", "a").replace("_", "a").isalnum() and i.isascii() for i in ids)


def test_a_seed_gives_one_world(world: World) -> None:
    assert make_world(0) == world
    assert {clip.video_id for clip in make_world(1).clips}.isdisjoint({clip.video_id for clip in world.clips})


@pytest.mark.parametrize("label", CLASSES)
def test_the_same_clip_gives_the_same_bytes_and_another_one_others(world: World, label: str) -> None:
    clips = [clip for clip in world.good if clip.label == label][:2]
    wave, frames, frames_per_s = synthesise(clips[0])
    again, frames_again, _ = synthesise(clips[0])
    assert wave.dtype == np.float32
    assert wave.shape == (clips[0].channels, round(clips[0].video_s * 48_000))
    assert len(frames) == round(clips[0].video_s * frames_per_s)
    assert wave.tobytes() == again.tobytes()
    assert frames.tobytes() == frames_again.tobytes()
    assert wave.tobytes() != synthesise(clips[1])[0].tobytes()


def test_margins_are_silent_and_blank_up_to_the_sample(world: World) -> None:
    wave, frames, _ = synthesise(one(world, start_s=1.0, fault=None))
    assert not wave[:, :48_000].any()
    assert not wave[:, -48_000:].any()
    assert np.abs(wave[:, 48_000:48_480]).max() > 1e-3
    assert (frames[:FRAMES_PER_S] == BACKGROUND).all()
    assert (frames[FRAMES_PER_S] != BACKGROUND).any()


def test_faults_of_the_media(world: World) -> None:
    (silent,), (still,), (copy,) = (world.with_fault(f) for f in (Fault.SILENT, Fault.STILL, Fault.DUPLICATE))
    wave, frames, _ = synthesise(silent)
    assert not wave.any()
    assert (frames[0] != frames[-1]).any()
    wave, frames, _ = synthesise(still)
    assert wave.any()
    assert (frames == frames[0]).all()
    original = one(world, video_id=copy.copy_of)
    assert original.split == "train"
    assert original.fault is None
    assert synthesise(copy)[0].tobytes() == synthesise(original)[0].tobytes()
    assert copy.video_id != original.video_id


def test_a_video_decodes_to_what_went_in_and_is_encoded_bit_by_bit_the_same(world: World, tmp_path: Path) -> None:
    clip = one(world, channels=2, fault=None, label="rising chirp")
    first, second = tmp_path / "first.mp4", tmp_path / "second.mp4"
    write_video(clip, first)
    write_video(clip, second)
    assert first.read_bytes() == second.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["first.mp4", "second.mp4"]
    wave, frames, frames_per_s = synthesise(clip)
    with av.open(first) as container:
        assert container.duration == round(clip.video_s * 1e6)
        assert container.streams.video[0].average_rate == frames_per_s
        sound = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    with av.open(first) as container:
        seen = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert sound.shape[0] == 2
    assert 0 <= sound.shape[1] - wave.shape[1] < 2048
    error = sound[:, : wave.shape[1]] - wave
    assert 10 * np.log10(np.mean(wave**2) / np.mean(error**2)) > 20
    assert seen.shape == frames.shape
    assert np.abs(seen.astype(int) - frames).mean() < 4


def test_silence_is_encoded_as_silence(world: World, tmp_path: Path) -> None:
    (silent,) = world.with_fault(Fault.SILENT)
    write_video(silent, tmp_path / "silent.mp4")
    with av.open(tmp_path / "silent.mp4") as container:
        assert max(np.abs(frame.to_ndarray()).max() for frame in container.decode(audio=0)) < 1e-4


def test_the_index_of_a_video_comes_last(world: World, tmp_path: Path) -> None:
    write_video(world.good[0], tmp_path / "clip.mp4")
    content = (tmp_path / "clip.mp4").read_bytes()
    assert content.index(b"mdat") < content.index(b"moov")
