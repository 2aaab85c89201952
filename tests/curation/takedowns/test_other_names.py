"""A YouTube video is taken down under every name that a list gave it, and no list brings it back under another."""

from pathlib import Path

import pytest

from curation.dataset import Dataset
from curation.keys import video_key
from curation.lists.ingest import IngestReport, ingest
from curation.takedowns.deny import denied, denied_ids, deny
from curation.takedowns.forget import forget

ID, OTHER = "dQw4w9WgXcQ", "dQw4w9WgXcR"
WATCH, SHORT, FILE = f"https://www.youtube.com/watch?v={ID}&t=1", f"http://youtu.be/{ID}", f"deep/{ID}_000030.mp4"
NAMES = {ID, WATCH, SHORT, FILE}
OTHERS = {OTHER, f"https://youtu.be/{OTHER}", f"{OTHER}_000030.mp4", f"https://example.org/{ID}.mp4", f"my {ID}.mp4"}


def read(dataset: Dataset, names: set[str], list_name: str) -> IngestReport:
    """Ingest a table of ids, addresses and paths."""
    lines = ["video_id,url,path,start_s,duration_s"]
    for name in sorted(names):
        column = 1 if "://" in name else 2 if "." in name else 0
        lines.append(",".join(name if n == column else "" for n in range(3)) + ",0,10")
    table = dataset.path.parent / f"{list_name}.csv"
    table.write_text("\n".join(lines) + "\n")
    return ingest(dataset, "table", table, media_root=dataset.path.parent)


def left(dataset: Dataset) -> set[str]:
    rows = dataset.sql("SELECT coalesce(url, path, video_id) AS name FROM videos JOIN clips USING (video_key)")
    return set(rows["name"].to_pylist())


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset.create(tmp_path / "dataset")


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_video_goes_under_all_its_names_whichever_is_given(name: str, dataset: Dataset) -> None:
    read(dataset, NAMES | OTHERS, "all")
    done = forget(dataset, [name])
    assert left(dataset) == OTHERS and not done.unknown
    assert ("youtube", ID) in done.videos and len(done.videos) == 4
    assert len(denied(dataset.path).video_keys) == 4
    for part in dataset.path.glob("videos/*.parquet"):
        assert not any(text.encode() in part.read_bytes() for text in (ID + "&", FILE))
    assert not forget(dataset, []).touched


@pytest.mark.parametrize("name", sorted(NAMES))
def test_no_list_brings_it_back_under_another_name(name: str, dataset: Dataset) -> None:
    """Also where nothing here had it when it was denied."""
    assert forget(dataset, [name]).unknown == (name,)
    assert ("youtube", ID) in denied_ids(dataset.path)
    more = {f"https://m.youtube.com/shorts/{ID}", f"Y{ID}.wav", f"https://www.youtube.com/embed/{ID}?rel=0"}
    report = read(dataset, NAMES | OTHERS | more, "later")
    assert (report.rows, report.accepted, report.denied) == (12, 5, 7)
    assert left(dataset) == OTHERS
    listed = dataset.path.parent / "vggsound.csv"
    listed.write_text(f"{ID},30,dog,train\n{OTHER},30,dog,train\n")
    assert ingest(dataset, "vggsound", listed).denied == 1


def test_a_deny_list_from_before_is_completed_by_the_next_call(dataset: Dataset) -> None:
    read(dataset, NAMES | OTHERS, "all")
    deny(dataset.path, [{"platform": "youtube", "video_id": ID, "video_key": video_key("youtube", ID)}])
    assert left(dataset) == (NAMES | OTHERS) - {ID}
    assert len(forget(dataset, []).videos) == 3
    assert left(dataset) == OTHERS


def test_a_name_that_is_a_plain_address_or_path_is_denied_as_that(dataset: Dataset) -> None:
    names = {"https://example.org/a.mp4", "sounds/dog.wav"}
    assert forget(dataset, sorted(names)).unknown == tuple(sorted(names))
    assert read(dataset, names | OTHERS, "later").denied == 2
    assert left(dataset) == OTHERS
