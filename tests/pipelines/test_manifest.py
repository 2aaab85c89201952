"""A list that cannot be read leaves nothing behind; one that can be read in part shows what it lost."""

from pathlib import Path

import pytest

from curation.errors import ArgumentError
from pipelines.verbs.manifest import manifest


def test_a_list_in_another_encoding_leaves_no_dataset(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_bytes("video_id,labels\nabcdefghijk,caf\u00e9\n".encode("latin-1"))
    with pytest.raises(ArgumentError, match="offset"):
        manifest("table", file, out=tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()


def test_a_second_list_that_cannot_be_read_leaves_the_first(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text("video_id\nabcdefghijk\nno\n")
    bad.write_bytes(b"video_id\n\xe9\n")
    shown = str(manifest("table", good, out=tmp_path / "dataset"))
    assert "1 rejected" in shown and "3" in shown, "the line of the rejected row"
    with pytest.raises(ArgumentError):
        manifest("table", bad, out=tmp_path / "dataset")
    assert manifest("table", good, out=tmp_path / "dataset").report.already


def test_a_list_of_another_kind_is_refused_and_keeps_no_name(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text("audiocap_id,youtube_id,start_time,caption\n1,abcdefghijk,30,A dog barks\n")
    with pytest.raises(ArgumentError, match=r"none of the 2 rows of .* line 1: start 'youtube_id' is not a number"):
        manifest("vggsound", file, out=tmp_path / "dataset", name="mine")
    assert not (tmp_path / "dataset").exists()
    assert manifest("audiocaps", file, out=tmp_path / "dataset", name="mine").report.accepted == 1
