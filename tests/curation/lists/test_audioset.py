from collections.abc import Callable
from pathlib import Path

import pytest

from curation.errors import ArgumentError
from curation.lists import audioset
from curation.lists.listfile import ListFile
from curation.lists.row import ListRow, Reject

Write = Callable[[str, str | bytes], Path]
COMMENTS = f"# Segments csv created today\n# num_ytids=2\n{audioset.HEADER}\n"
NAMES = 'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/m/05zppz,"Male speech, man speaking"\n'


def test_label_ids_become_names(write: Write) -> None:
    content = COMMENTS + (
        '--4gqARaEJE, 0.000, 10.000, "/m/05zppz,/m/09x0r"\n'
        'aaaaaaaaaaa, 30.000, 37.250, "/m/09x0r"\n'
        'aaaaaaaaaaa, 30.000, 37.250, "/m/0"\n'
        'aaaaaaaaaaa, 30.000, 37.250, ""\n'
        "aaaaaaaaaaa, 30.000, 37.250\n"
    )
    entries = list(
        audioset.read(ListFile(path=write("eval.csv", content), labels_file=write("names.csv", NAMES), split="test"))
    )
    rows = [entry for entry in entries if isinstance(entry, ListRow)]
    assert [row.labels for row in rows] == [("Male speech, man speaking", "Speech"), ("Speech",)]
    assert [(row.line, row.start_ms, row.duration_ms) for row in rows] == [(4, 0, 10_000), (5, 30_000, 7_250)]
    assert [entry.line for entry in entries if isinstance(entry, Reject)] == [6, 7, 8]


def test_without_names_it_says_which_file_to_give(write: Write) -> None:
    with pytest.raises(ArgumentError, match=r"class_labels_indices\.csv"):
        audioset.read(ListFile(path=write("eval.csv", COMMENTS)))


@pytest.mark.parametrize("content", ["", "a,b\n", f"{audioset.HEADER}\n", COMMENTS.replace("start", "begin")])
def test_other_comment_lines_are_refused(write: Write, content: str) -> None:
    with pytest.raises(ArgumentError, match="YTID, start_seconds"):
        audioset.read(ListFile(path=write("eval.csv", content), labels_file=write("names.csv", NAMES)))


def test_a_damaged_file_of_names_is_refused(write: Write) -> None:
    with pytest.raises(ArgumentError, match="line 4"):
        audioset.read_label_names(write("names.csv", NAMES + "2,/m/1\n"))
