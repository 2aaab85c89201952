"""A guard finds every clip that shares time with it, and nothing weakens it unnoticed."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from curation import guard
from curation.errors import ArgumentError, DatasetError
from curation.selection import select
from tests.curation.made import Made


@dataclass(frozen=True)
class Entry:
    platform: str
    video_id: str
    start_ms: int | None = None
    duration_ms: int | None = None


def test_overlaps_are_those_that_comparing_everything_finds(tmp_path: Path) -> None:
    made = Made(tmp_path)
    random = np.random.default_rng(5)
    clips = {}
    for video, start_ms, duration_ms in random.integers([0, 0, 1], [4, 40, 12], size=(40, 3)).tolist():
        clips[made.clip(f"v{video}", start_ms, duration_ms=duration_ms)] = (f"v{video}", start_ms, duration_ms)
    spans = [(f"v{v}", start, length) for v, start, length in random.integers([0, 0, 1], [4, 40, 9], (9, 3)).tolist()]
    spans += [("v1", None, None), ("v2", 39, None)]
    dataset = made.dataset()
    guard.add(dataset, "eval", [Entry("youtube", *span) for span in spans])
    expected = {
        (clip_id, start)
        for clip_id, (video, begin_ms, clip_ms) in clips.items()
        for name, start, length in spans
        if name == video and (length is None or max(begin_ms, start) < min(begin_ms + clip_ms, start + length))
    }
    found = guard.overlaps(dataset, ["eval"]).to_pylist()
    assert {(row["clip_id"], row["guard_start_ms"]) for row in found} == expected
    assert len(expected) > 10 and {clip_id for clip_id, _ in expected} < set(clips)
    assert guard.overlaps(dataset, []).num_rows == 0


def test_guards_fail_closed(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.clip("v")
    dataset = made.dataset()
    with pytest.raises(ArgumentError, match=r"'eval' is not registered.*registered: none"):
        select(dataset, name="s", guards=["eval"])
    with pytest.raises(ArgumentError, match="no rows"):
        guard.add(dataset, "eval", [])
    guard.add(dataset, "eval", [Entry("youtube", "a"), Entry("youtube", "b", 0, 5)])
    assert guard.add(dataset, "eval", [Entry("youtube", "b", 0, 5), Entry("youtube", "a"), Entry("youtube", "a")]) == 2
    with pytest.raises(ArgumentError, match="other rows"):
        guard.add(dataset, "eval", [Entry("youtube", "a")])
    with pytest.raises(ArgumentError, match="split 'test' takes none"):
        select(dataset, name="s", split="test", guards=["eval"])
    guard.guard_path(dataset, "eval").write_bytes(b"PAR1 damaged PAR1")
    with pytest.raises(DatasetError, match="damaged"):
        select(dataset, name="s", guards=["eval"])
