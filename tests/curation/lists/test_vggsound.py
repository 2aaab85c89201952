from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curation.lists import vggsound
from curation.lists.listfile import ListFile
from curation.lists.row import ListRow, Reject

Write = Callable[[str, str | bytes], Path]
ID = st.text(st.sampled_from("aZ0_-"), min_size=11, max_size=11)


def test_both_layouts_give_the_same_clip(write: Write) -> None:
    whole = list(vggsound.read(ListFile(path=write("vggsound.csv", '_-aaaaaaa-_,27,"dog, barking",test\n'))))
    test = list(vggsound.read(ListFile(path=write("test.csv", '_-aaaaaaa-__000027.mp4,"dog, barking"\n'))))
    assert whole == test
    expected = ListRow(
        line=1,
        platform="youtube",
        video_id="_-aaaaaaa-_",
        start_ms=27_000,
        duration_ms=10_000,
        split="test",
        labels=("dog, barking",),
    )
    assert whole == [expected]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.lists(st.tuples(ID, st.integers(0, 999_999)), min_size=1, max_size=5))
def test_ids_of_underscores_and_dashes_are_parted_from_the_start(write: Write, clips: list[tuple[str, int]]) -> None:
    content = "".join(f"{video_id}_{start:06d}.mp4,bell\n" for video_id, start in clips)
    rows = list(vggsound.read(ListFile(path=write("test.csv", content))))
    assert [(row.video_id, row.start_ms) for row in rows if isinstance(row, ListRow)] == [
        (video_id, start * 1000) for video_id, start in clips
    ]


def test_malformed_rows_are_rejected_with_their_lines(write: Write) -> None:
    content = (
        "aaaaaaaaaaa,1,dog,train\n"
        "aaaaaaaaaaa,1,dog\n"  # cells
        "aaaaaaaaaa,1,dog,train\n"  # id of 10
        "aaaaaaaaaaa,one,dog,train\n"
        "\n"
        "aaaaaaaaaaa,1, ,train\n"  # empty label
        "aaaaaaaaaaa,1,dog,Train\n"
        "aaaaaaaaaaa_00001.mp4,dog\n"  # five digits
        'aaaaaaaaaaa,1,"dog,train\n'
        "bbbbbbbbbbb,2,cat,test\n"
    )
    entries = list(vggsound.read(ListFile(path=write("vggsound.csv", content))))
    rejects = {entry.line: entry.reason for entry in entries if isinstance(entry, Reject)}
    assert [entry.line for entry in entries if isinstance(entry, ListRow)] == [1, 10]
    assert sorted(rejects) == [2, 3, 4, 6, 7, 8, 9]
    assert "3 cells" in rejects[2]
    assert "'aaaaaaaaaa'" in rejects[3]
    assert "'one'" in rejects[4]
    assert "label is empty" in rejects[6]
    assert "'Train'" in rejects[7]
    assert "ID_SSSSSS.mp4" in rejects[8]
    assert "quote" in rejects[9]
