"""Lists of ids that are left out: how they are read, and what they refuse."""

from pathlib import Path

import pytest

from curation.errors import ArgumentError
from curation.selections.selection import Choice, read_report, read_rows, select
from curation.selections.without import Without
from pipelines.verbs.select import select as select_verb
from tests.curation.made import Made


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ids.txt", "# unfit\n-abc_defgh1\n\nbbbbbbbbbbb\n"),
        ("ids.csv", "ytid,why\n-abc_defgh1,dark\nbbbbbbbbbbb,\n"),
        ("ids.json", '["-abc_defgh1", "bbbbbbbbbbb", " "]'),
    ],
)
def test_a_list_is_read_as_lines_columns_or_json(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    found = Without.read(file)
    assert found.ids == {"-abc_defgh1", "bbbbbbbbbbb"} and found.name == "ids"
    assert found.table().to_pylist()[0] == {"id": "-abc_defgh1", "list": "ids"}


@pytest.mark.parametrize(("name", "text"), [("a.txt", "# nothing\n"), ("a.json", '{"a": 1}'), ("a.json", "[1]")])
def test_a_list_without_ids_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ArgumentError, match=r"names no id|cannot be read as a list of ids"):
        Without.read(tmp_path / name)
    with pytest.raises(ArgumentError, match="cannot be read as a list of ids"):
        Without.read(tmp_path / "missing.txt")


def test_videos_and_clips_of_lists_are_left_out(tmp_path: Path) -> None:
    made = Made(tmp_path)
    clips = [made.clip(f"v{number}", sound=number) for number in range(4)]
    dataset = made.dataset()
    unmatched, quality = tmp_path / "unmatched.txt", tmp_path / "low-quality.txt"
    unmatched.write_text("v1\nelsewhere\n")
    quality.write_text(f"v1\n{clips[2]}\n")
    lists = (Without.read(unmatched), Without.read(quality))
    report = select(dataset, name="s", choice=Choice(without=lists))
    rows = {row["clip_id"]: (row["reason"], row["refused_by"]) for row in read_rows(dataset, "s").to_pylist()}
    assert rows == {
        clips[0]: (None, None),
        clips[1]: ("RULE", "unmatched"),
        clips[2]: ("RULE", "low-quality"),
        clips[3]: (None, None),
    }
    assert report.settings["without"] == {one.name: one.sha256 for one in lists}
    assert read_report(dataset, "s").settings == report.settings
    verb = select_verb(dataset.path, name="t", without=[unmatched])
    assert (verb.report.kept_clips, verb.report.refused) == (3, {"RULE": 1})


def test_two_lists_of_one_name_are_refused(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.clip("v")
    dataset = made.dataset()
    (tmp_path / "ids.txt").write_text("a\n")
    one = Without.read(tmp_path / "ids.txt")
    with pytest.raises(ArgumentError, match="two lists 'ids'"):
        select(dataset, name="s", choice=Choice(without=(one, one)))
