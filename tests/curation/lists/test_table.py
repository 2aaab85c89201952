import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curation.errors import ArgumentError
from curation.keys import short_hash
from curation.lists import table
from curation.lists.listfile import ListFile
from curation.lists.row import ListRow, Reject

Write = Callable[[str, str | bytes], Path]
TEXT = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8).filter(lambda t: t[0] != "[")
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "video_id": st.text(st.sampled_from("ab_-0"), min_size=11, max_size=11),
            "start_s": st.integers(0, 10**7).map(lambda ms: ms / 1000),
            "duration_s": st.integers(1, 10**5).map(lambda ms: ms / 1000),
            "labels": st.lists(TEXT, max_size=3, unique=True),
            "captions": st.lists(TEXT, max_size=3, unique=True),
            "split": st.sampled_from(["train", "val", "test", None]),
            "transcript": st.none() | TEXT,
        }
    ),
    min_size=1,
    max_size=5,
)


def read(file: Path, **options: Any) -> tuple[list[ListRow], dict[int, str]]:
    """The rows, and the reason of each reject by line."""
    entries = list(table.read(ListFile(path=file, **options)))
    rows = [entry for entry in entries if isinstance(entry, ListRow)]
    return rows, {entry.line: entry.reason for entry in entries if isinstance(entry, Reject)}


def as_csv(rows: list[dict[str, Any]]) -> str:
    def cell(value: Any) -> str:
        text = "" if value is None else json.dumps(value) if isinstance(value, list) else str(value)
        return '"' + text.replace('"', '""') + '"'

    return "\n".join([",".join(rows[0]), *(",".join(cell(row[name]) for name in rows[0]) for row in rows)])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(ROWS)
def test_the_three_formats_say_the_same(write: Write, rows: list[dict[str, Any]]) -> None:
    parquet = write("list.parquet", "")
    types = {"start_s": pa.float64(), "duration_s": pa.float64(), "labels": pa.list_(pa.string())}
    types["captions"] = types["labels"]
    pq.write_table(
        pa.table({name: pa.array([row[name] for row in rows], types.get(name, pa.string())) for name in rows[0]}),
        parquet,
    )
    from_parquet, parquet_rejects = read(parquet)
    from_csv, csv_rejects = read(write("list.csv", as_csv(rows)))
    from_jsonl, jsonl_rejects = read(write("list.jsonl", "\n".join(map(json.dumps, rows))))
    assert parquet_rejects == csv_rejects == jsonl_rejects == {}
    assert from_parquet == from_jsonl
    assert [row.clip_id for row in from_csv] == [row.clip_id for row in from_jsonl]
    for row, was in zip(from_jsonl, rows, strict=True):
        assert (row.video_id, row.split, row.transcript) == (was["video_id"], was["split"], was["transcript"])
        assert (row.start_ms, row.duration_ms) == (round(was["start_s"] * 1000), round(was["duration_s"] * 1000))
        assert (list(row.labels), list(row.captions)) == (was["labels"], was["captions"])
    assert [(row.labels, row.captions) for row in from_csv] == [(row.labels, row.captions) for row in from_jsonl]


def test_platforms_and_their_ids(write: Write) -> None:
    content = "video_id,url,path\naaaaaaaaaaa,,\n,https://a/b.mp4,\n,,./x//y.wav\n,,x/y.wav\n"
    rows, rejects = read(write("list.csv", content))
    assert [(row.platform, row.video_id, row.url, row.path, row.clip_id) for row in rows] == [
        ("youtube", "aaaaaaaaaaa", None, None, None),
        ("url", short_hash("https://a/b.mp4"), "https://a/b.mp4", None, None),
        ("file", short_hash("x/y.wav"), None, "x/y.wav", None),
        ("file", short_hash("x/y.wav"), None, "x/y.wav", None),
    ]
    assert rejects == {}


def test_rows_that_cannot_be_meant_are_rejected(write: Write, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "out").symlink_to(tmp_path)
    content = (
        "video_id,url,path,start_s,duration_s\n"
        ",,a.wav,0,1\n"
        "aaaaaaaaaaa,,a.wav,0,1\n"
        ",,,0,1\n"
        ",,/etc/passwd,0,1\n"
        ",,../a.wav,0,1\n"
        ",,out/a.wav,0,1\n"
        ",file:///etc/passwd,,0,1\n"
        ",,a.wav,1,\n"
        ",,a.wav,,1\n"
        ",,a.wav,0,0.0001\n"
        ",,a.wav,0,nan\n"
        ",,b.wav,,\n"
    )
    rows, rejects = read(write("list.csv", content))
    assert [(row.line, row.path) for row in rows] == [(2, "a.wav"), (13, "b.wav")]
    assert sorted(rejects) == list(range(3, 13))
    assert "video_id and path" in rejects[3]
    assert "absolute" in rejects[5]
    assert "through a link" in rejects[7]
    assert "duration is missing" in rejects[9]


def test_the_media_root_replaces_the_list_folder(write: Write, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "link").symlink_to(tmp_path / "out")
    file = write("list.csv", "path\nlink/a.wav\n")
    assert sorted(read(file)[1]) == [2]
    assert [row.path for row in read(file, media_root=tmp_path)[0]] == ["link/a.wav"]


def test_label_cells(write: Write) -> None:
    content = (
        "video_id,labels\n"
        'aaaaaaaaaaa,"dog, barking"\n'
        'aaaaaaaaaaa,"[""dog"", ""[music]""]"\n'
        "aaaaaaaaaaa,[music]\n"
        'aaaaaaaaaaa,"[""dog"", """"]"\n'
        "aaaaaaaaaaa,[1]\n"
        "aaaaaaaaaaa,\n"
        'aaaaaaaaaaa,"[""\\ud800""]"\n'
    )
    rows, rejects = read(write("list.csv", content))
    assert [row.labels for row in rows] == [("dog, barking",), ("dog", "[music]"), ()]
    assert sorted(rejects) == [4, 5, 6, 8]


def test_json_lines_that_are_no_rows_are_rejected(write: Write) -> None:
    good = {"video_id": "aaaaaaaaaaa", "start_s": 1, "duration_s": 0.5}
    lines = [
        json.dumps(good),
        "{",
        "[]",
        '{"video_id": "aaaaaaaaaaa", "video_id": "bbbbbbbbbbb"}',
        '{"video_id": "aaaaaaaaaaa", "start_s": NaN, "duration_s": 1}',
        '{"video_id": "aaaaaaaaaaa", "start_s": true, "duration_s": 1}',
        '{"video_id": 12345678901}',
        '{"video_id": "aaaaaaaaaaa", "title": "x"}',
        '{"labels": ' + "[" * 100_000 + "}",
        '{"video_id": "aaaaaaaaaaa", "captions": ["a\\u0000"]}',
        '{"video_id": "aaaaaaaaaaa", "start_s": 1e99, "duration_s": ' + "9" * 5000 + "}",
        json.dumps(good),
    ]
    rows, rejects = read(write("list.jsonl", "\n".join(lines)))
    assert [(row.line, row.duration_ms) for row in rows] == [(1, 500), (12, 500)]
    assert sorted(rejects) == list(range(2, 12))
    assert "'title'" in rejects[8]


def test_a_split_for_all_rows_may_not_contradict_one(write: Write) -> None:
    file = write("list.csv", "video_id,split\naaaaaaaaaaa,\naaaaaaaaaaa,val\naaaaaaaaaaa,train\n")
    rows, rejects = read(file, split="val")
    assert [(row.line, row.split) for row in rows] == [(2, "val"), (3, "val")]
    assert "'train'" in rejects[4]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.csv", "video_id,title\n", "unknown columns: 'title'"),
        ("list.jsonl", '{"video_id": "a", "title": 1}\n', "unknown columns 'title'"),
        ("list.txt", "x", "not '.txt'"),
        ("list.parquet", "PAR1 no", "not a whole Parquet file"),
    ],
)
def test_wrong_files_are_refused(write: Write, name: str, content: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        read(write(name, content))


def test_unknown_parquet_columns_are_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"video_id": ["aaaaaaaaaaa"], "caption": ["x"]}), tmp_path / "list.parquet")
    with pytest.raises(ArgumentError, match="unknown columns 'caption'"):
        read(tmp_path / "list.parquet")


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl"])
def test_blanks_around_a_path_belong_to_the_name_of_the_file(name: str, tmp_path: Path) -> None:
    rows = {
        "list.csv": "path,split\n a.wav,train\na.wav ,train\n",
        "list.jsonl": '{"path": " a.wav"}\n{"path": "a.wav "}\n',
    }
    (tmp_path / name).write_text(rows[name])
    found = [(row.path, row.video_id) for row in table.read(ListFile(path=tmp_path / name))]
    assert [path for path, _ in found] == [" a.wav", "a.wav "] and len({video for _, video in found}) == 2
