"""AudioX's JSONL: files by their paths, types as they stand, captions where a row shows them."""

import json
from pathlib import Path
from typing import Any

import pytest

from curation.errors import ArgumentError
from curation.keys import short_hash
from curation.lists import audiox
from curation.lists.listfile import ListFile
from curation.lists.row import Entry, ListRow, Reject


def read(folder: Path, *rows: dict[str, Any], **given: Any) -> list[Entry]:
    file = folder / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(audiox.read(ListFile(path=file, **given)))


def test_a_row_with_a_video_is_about_the_video(tmp_path: Path) -> None:
    sound = {"path": "audio/a.wav", "video_path": "", "caption": " a dog ", "type": "text_condition-audio"}
    video = {"path": "audio/b.wav", "video_path": "video/b.mp4", "caption": "x", "type": "text+video_condition-audio"}
    first, second = read(tmp_path, sound, video, split="val")
    assert first == ListRow(
        line=1, platform="file", video_id=short_hash("audio/a.wav"), path="audio/a.wav", split="val",
        captions=("a dog",), type="text_condition-audio",
    )  # fmt: skip
    assert isinstance(second, ListRow) and (second.path, second.captions) == ("video/b.mp4", ("x",))


def test_the_fixed_prompt_of_a_video_alone_is_no_caption(tmp_path: Path) -> None:
    row = {"path": "a.wav", "video_path": "a.mp4", "caption": "Generate music for the video"}
    shown, plain = read(tmp_path, {**row, "type": "video_condition-music"}, row)
    assert isinstance(shown, ListRow) and (shown.captions, shown.type) == ((), "video_condition-music")
    assert isinstance(plain, ListRow) and (plain.captions, plain.type) == (("Generate music for the video",), None)


def test_absolute_paths_count_where_they_lie_below_the_root(tmp_path: Path) -> None:
    inside, outside, none = read(
        tmp_path, {"path": str(tmp_path / "deep" / "a.wav")}, {"path": "/etc/passwd"}, {"caption": "a dog"}
    )
    assert isinstance(inside, ListRow) and inside.path == "deep/a.wav"
    assert isinstance(outside, Reject) and "is absolute" in outside.reason
    assert isinstance(none, Reject) and "needs path or video_path" in none.reason


def test_other_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="unknown columns 'label'"):
        read(tmp_path, {"path": "a.wav", "label": "dog"})
