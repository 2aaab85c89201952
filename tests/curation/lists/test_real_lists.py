"""The published lists, row for row. Counts: VGGSound's and AudioCaps' papers, AudioSet's own comment line."""

from pathlib import Path

import pytest

from curation.dataset import Dataset
from curation.lists.ingest import ingest


def counts(dataset: Dataset, name: str) -> tuple[int, int]:
    """Annotations and distinct keys of a list."""
    query = "SELECT count(*) AS rows, count(DISTINCT key) AS keys FROM annotations WHERE list = ?"
    (row,) = dataset.sql(query, [name]).to_pylist()
    return row["rows"], row["keys"]


def test_vggsound_subset_and_test_list_agree(dataset: Dataset, real_lists: Path) -> None:
    test = ingest(dataset, "vggsound", real_lists / "vggsound" / "test.csv")
    subset = ingest(dataset, "vggsound", real_lists / "vggsound" / "vggsound_subset.csv")
    assert (test.accepted, test.rejected, test.new_clips) == (15_446, 0, 15_446)
    assert (subset.accepted, subset.rejected, subset.new_clips) == (22_580, 0, 22_580 - 15_446)
    agreeing = dataset.sql(
        """SELECT count(*) AS n, count(DISTINCT a.labels) AS classes FROM annotations a JOIN annotations b
        ON a.key = b.key AND a.split = b.split AND a.labels = b.labels
        WHERE a.list = 'vggsound-test' AND b.list = 'vggsound_subset' AND b.split = 'test'"""
    ).to_pylist()
    assert agreeing == [{"n": 15_446, "classes": 309}]


@pytest.mark.parametrize(
    ("file", "split", "clips"), [("test", "test", 975), ("v2_test", "test", 975), ("val", "val", 495)]
)
def test_audiocaps_has_five_captions_a_clip(
    dataset: Dataset, real_lists: Path, file: str, split: str, clips: int
) -> None:
    report = ingest(dataset, "audiocaps", real_lists / "audiocaps" / f"{file}.csv", split=split)
    assert report.rejected == 0
    assert report.new_clips == clips
    assert counts(dataset, f"audiocaps-{file}") == (5 * clips, clips)


def test_musiccaps_and_audioset(dataset: Dataset, real_lists: Path) -> None:
    music = ingest(dataset, "musiccaps", real_lists / "musiccaps" / "musiccaps-public.csv")
    names = real_lists / "audioset" / "class_labels_indices.csv"
    sounds = ingest(dataset, "audioset", real_lists / "audioset" / "eval_segments.csv", labels_file=names)
    assert (music.accepted, music.rejected) == (5_521, 0)
    assert (sounds.accepted, sounds.rejected) == (20_371, 0)
    query = "SELECT sum(len(labels)) AS n FROM annotations WHERE list = 'audioset-eval_segments'"
    assert dataset.sql(query)["n"].to_pylist() == [51_804]


def test_overlap_of_audiocaps_and_vggsound(dataset: Dataset, real_lists: Path) -> None:
    """AudioCaps' train and VGGSound's test share 15 clips by video, 12 of them overlapping in time."""
    ingest(dataset, "vggsound", real_lists / "vggsound" / "test.csv")
    report = ingest(dataset, "audiocaps", real_lists / "audiocaps" / "train.csv", split="train")
    assert (report.accepted, report.rejected) == (49_838, 0)
    overlap = dataset.sql(
        """WITH spans AS (SELECT DISTINCT list, clips.* FROM annotations JOIN clips ON clip_id = key)
        SELECT count(DISTINCT a.clip_id) AS by_video,
            count(DISTINCT a.clip_id) FILTER (abs(a.start_ms - b.start_ms) < 10000) AS by_time
        FROM spans a JOIN spans b USING (video_key) WHERE a.list = 'audiocaps-train' AND b.list = 'vggsound-test'"""
    ).to_pylist()
    assert overlap == [{"by_video": 15, "by_time": 12}]
