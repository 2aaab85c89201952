"""The layouts as published, and what is not one."""

import json
from pathlib import Path

import pytest

from captioning.imported.entry import Caption
from captioning.imported.sets import BLOCK_CHARACTERS, SETS, json_entries, rows_in
from curation.errors import ArgumentError
from curation.lists.row import Reject


def rows(kind: str, file: Path) -> list[Caption | Reject]:
    return list(SETS[kind].read(file))


def test_audiosetcaps(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('id,caption\nY---1_cCGK4M,"Rain, then wind."\nbad,Rain.\n_7Xe9vD3Hpg_4_10,"Two\nlines."\n')
    first, bad, last = rows("audiosetcaps", file)
    assert isinstance(first, Caption) and (first.text, first.start_ms) == ("Rain, then wind.", None)
    assert isinstance(bad, Reject) and (bad.line, "'bad'" in bad.reason) == (3, True)
    assert isinstance(last, Caption) and (last.line, last.text, last.start_ms) == (4, "Two lines.", 4_000)


@pytest.mark.parametrize("header", ["youtube_id,caption", "# YouTube ID, caption", "split,vid,caption"])
def test_auto_acd_under_the_headers_it_goes_by(tmp_path: Path, header: str) -> None:
    file = tmp_path / "a.csv"
    before = "train," if header.startswith("split") else ""
    file.write_text(f"{header}\n{before}OxPnZzn1_L8_000883,Rain.\n")
    (only,) = rows("auto-acd", file)
    assert isinstance(only, Caption) and (only.video_id, only.start_ms) == ("OxPnZzn1_L8", 883_000)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "id,text\nx,y\n", "id,caption,caption\n"])
def test_another_header_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.csv"
    file.write_text(text)
    with pytest.raises(ArgumentError, match="header must name"):
        rows("audiosetcaps", file)


def test_wavcaps(tmp_path: Path) -> None:
    file = tmp_path / "w.json"
    entries = [
        {"id": "Y---1_cCGK4M.wav", "caption": "Rain.", "duration": 10.0, "audio": "wav_path"},
        {"id": "2219", "caption": "An airplane is landing.", "duration": 14.1424375, "download_link": "http://x/2219"},
        {"id": 7, "caption": "Wind.", "duration": 3},
        {"id": "8", "caption": " ", "duration": 3},
        {"caption": "Nameless."},
        "no object",
    ]
    file.write_text(json.dumps({"num_captions_per_audio": 1, "data": entries}))
    video, plane, number, *bad = rows("wavcaps", file)
    assert isinstance(video, Caption) and isinstance(plane, Caption) and isinstance(number, Caption)
    assert (video.video_id, video.start_ms, video.name) == ("---1_cCGK4M", None, "Y---1_cCGK4M")
    assert (plane.video_id, plane.name, plane.duration_ms, plane.url) == (None, "2219", 14_142, "http://x/2219")
    assert (number.name, number.line) == ("7", 3)
    assert [(one.line, type(one)) for one in bad] == [(4, Reject), (5, Reject), (6, Reject)]
    assert rows_in(file) == 5


def test_entries_that_lie_over_the_ends_of_blocks_are_whole(tmp_path: Path) -> None:
    file = tmp_path / "w.json"
    entries = [{"id": str(number), "caption": "é" * (number * 997 % 4000)} for number in range(1500)]
    file.write_text(json.dumps({"data": entries}, ensure_ascii=False), encoding="utf-8")
    assert file.stat().st_size > 2 * BLOCK_CHARACTERS
    assert list(json_entries(file)) == entries


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"[]", "no JSON object with a list"),
        (b"", "no JSON object with a list"),
        (b'{"data": [{"id": 1}', "breaks off"),
        (b'{"data": [{"id": 1}, {"id":', "breaks off"),
        (b'{"data": [' + b"[" * 100_000, "breaks off"),
        (b'{"data": ["\xff"]}', "not UTF-8"),
    ],
)
def test_a_damaged_json_is_named(tmp_path: Path, content: bytes, complaint: str) -> None:
    file = tmp_path / "w.json"
    file.write_bytes(content)
    with pytest.raises(ArgumentError, match=complaint):
        list(json_entries(file))


@pytest.mark.slow
def test_soundbibles_part_of_wavcaps(real_data: Path) -> None:
    found = rows("wavcaps", real_data / "annotations" / "wavcaps" / "sb_final.json")
    captions = [row for row in found if isinstance(row, Caption)]
    assert len(found) == len(captions) == 1232
    assert all(row.url and row.duration_ms and row.video_id is None for row in captions)
    assert rows_in(real_data / "annotations" / "wavcaps" / "sb_final.json") == 1232
