"""Prompts lack what they are said to lack, and the judge of the world is right about a world it was not fitted on."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from benchmarks.evidence import world
from benchmarks.evidence.world import (
    GIVEN,
    HeldOut,
    half_said,
    half_seen,
    judge_of,
    sounds_of,
    write_changed,
    write_prompts,
)
from pipelines.quickstart.pictures import BACKGROUND
from pipelines.quickstart.world import World, make_world
from pipelines.wiring.listeners import Listener


def write_video(path: Path) -> Path:
    """Six white pictures of 64 x 64."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number in range(6):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 255, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 12)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("text", "half"), [("a fast clock ticking rapidly", "a fast clock"), ("a b", "a"), ("a", "a")])
def test_half_of_a_sentence_is_its_first_words(text: str, half: str) -> None:
    assert half_said(text) == half


def test_half_of_a_picture_is_background_and_the_other_as_it_was() -> None:
    frames = np.full((2, 4, 6, 3), 200, np.uint8)
    hidden = half_seen(frames)
    assert (hidden[:, :, :3] == 200).all() and (hidden[:, :, 3:] == BACKGROUND).all() and (frames == 200).all()


def test_a_changed_video_has_the_changed_pictures_and_as_many(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mp4")
    changed = write_changed(video, tmp_path / "half.mp4", half_seen)
    with av.open(str(changed)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 6
    assert frames[3][:, :24].mean() > 240 and abs(frames[3][:, 40:].mean() - BACKGROUND) < 10
    written = changed.stat().st_mtime_ns
    assert write_changed(video, changed, half_seen).stat().st_mtime_ns == written


def test_each_way_of_giving_gives_what_it_says(tmp_path: Path) -> None:
    clip = HeldOut(label="beep train", query="a b c d", video=write_video(tmp_path / "videos" / "x.mp4"))
    given = {way: json.loads(write_prompts([clip], way, tmp_path).read_text()) for way in GIVEN}
    assert given == {
        "text and video": {"text": "a b c d", "video": "videos/x.mp4"},
        "text": {"text": "a b c d"},
        "video": {"video": "videos/x.mp4"},
        "half the text": {"text": "a b"},
        "half the video": {"video": "videos/half-x.mp4"},
        "half of both": {"text": "a b", "video": "videos/half-x.mp4"},
    }


def test_another_world_is_judged_by_its_spectrum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "make_world", lambda seed: World(seed=seed, clips=make_world(seed).clips[:40]))

    def listen(wave_BT: torch.Tensor) -> tuple[torch.Tensor, None]:
        power_BF = torch.stft(wave_BT, 512, window=torch.hann_window(512), return_complex=True).abs().square().mean(2)
        return torch.log(power_BF + 1e-6)[:, None], None

    listener = Listener(
        kind="spectrum",
        name="spectrum",
        sample_rate_hz=8_000,
        window_s=None,
        features="log power of bands",
        identity={},
        listen=listen,
    )
    judge = judge_of(listener)
    waves, labels = sounds_of(0, 8_000)
    right = judge.right(np.stack([heard.features_ED[0] for heard in listener.hear(waves)]), labels)
    assert len(judge.labels) == 8 and right > len(labels) / 2  # an eighth by chance
