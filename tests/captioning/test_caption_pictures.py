"""The stage with a captioner that sees: what it is shown, what is recorded, and what is set aside."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from captioning.caption import Caption
from captioning.captioner import CaptionerIdentity, Sound
from captioning.prompt import Prompt
from curation.dataset import Dataset
from curation.errors import ClipError
from tests.curation.made import Made, made_mp4

PROMPT = Prompt(name="made-v1", text="What?")


class Watcher:
    """Says what it was shown."""

    def __init__(self, sees: str | None) -> None:
        self._sees = sees
        self.asked: list[str] = []

    def identity(self) -> CaptionerIdentity:
        return CaptionerIdentity(
            name="watcher", version=1, model="made/Watcher", sample_rate_hz=16_000, window_s=1.0, sees=self._sees
        )

    def caption(self, sounds: Sequence[Sound], prompt: Prompt, draw: int = 0) -> list[str | ClipError]:
        self.asked.extend(sound.key for sound in sounds)
        return [
            f"{None if sound.frames_NHWC is None else sound.frames_NHWC.shape} of {len(sound.mp4 or b'')} bytes"
            for sound in sounds
        ]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    made = Made(tmp_path)
    for name, sound, picture in (("shown", 1, True), ("other", 1, False), ("again", 1, True), ("else", 2, True)):
        made.clip(name, sound=sound, picture=picture)
    return made.dataset()


def captions(dataset: Dataset, watcher: Watcher, cache: Path | None = None) -> dict[str, dict]:
    """By video: values, or the code."""
    stage = Caption(
        captioner=watcher.identity(), prompt=PROMPT, build=lambda: watcher, media=dataset.media, cache=cache
    )
    rows = dataset.pending(stage).to_pylist()
    named = dataset.sql("SELECT clip_id, video_id FROM clips JOIN videos USING (video_key)").to_pylist()
    videos = {row["clip_id"]: row["video_id"] for row in named}
    return {videos[o.key]: {"code": o.error.code.value} if o.error else dict(o.values) for o in stage.open()(rows)}


def test_frames_or_the_file_are_shown_and_named_in_the_row(dataset: Dataset) -> None:
    frames = captions(dataset, Watcher("frames"))
    assert frames["shown"]["text"] == "(1, 16, 16, 3) of 0 bytes"
    assert len(frames["shown"]["video_sha256"]) == 64 and frames["other"] == {"code": "NO_VIDEO"}
    file = captions(dataset, Watcher("file"))
    assert file["else"]["text"] == f"None of {len(made_mp4(2))} bytes"
    blind = captions(dataset, Watcher(None))
    assert blind["shown"]["text"] == "None of 0 bytes" and blind["shown"]["video_sha256"] is None


def test_an_answer_about_another_picture_of_the_same_sound_is_not_taken(dataset: Dataset, tmp_path: Path) -> None:
    cache = tmp_path / "answers.sqlite"
    blind = Watcher(None)
    captions(dataset, blind, cache)
    watcher = Watcher("file")
    captions(dataset, watcher, cache)
    assert len(watcher.asked) == 3, "what was heard without a picture is another question"
    again = Watcher("file")
    captions(dataset, again, cache)
    assert again.asked == []
