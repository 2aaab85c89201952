"""The CSV is read back by the reader of the published list, and names the same clips."""

import csv
from pathlib import Path

from curation import keys
from curation.dataset import Dataset
from curation.exports.audiocaps import misfit
from curation.exports.export import export
from curation.exports.target import MediaMode
from curation.lists.audiocaps import read
from curation.lists.listfile import ListFile
from curation.lists.row import ListRow


def test_our_own_reader_gives_the_same_clips_and_captions(exported: Dataset, tmp_path: Path) -> None:
    report = export(exported, "audiocaps", tmp_path / "out", selections=["train", "test"])
    assert report.splits == {
        "train": {"clips": 5, "rows": 4, "left_out": {"NO_CAPTION": 2, "NOT_10_S": 1}},
        "test": {"clips": 2, "rows": 1, "left_out": {"NOT_A_WHOLE_SECOND": 1}},
    }
    rows = list(read(ListFile(path=report.folder / "train.csv", split="train")))
    assert all(isinstance(row, ListRow) for row in rows)
    said = {(row.video_id, row.start_ms, row.captions) for row in rows}
    assert said == {
        ("plain______", 30_000, ('a bell, "rung" | <script> over two lines',)),
        ("plain______", 30_000, ("a dog",)),
        ("picture____", 1_000, ("a tune",)),
        ("picture____", 1_000, ("music",)),
    }
    ids = {keys.clip_id(row.platform, row.video_id, row.start_ms, row.duration_ms) for row in rows}
    known = exported.sql("SELECT clip_id FROM clips").to_pydict()["clip_id"]
    assert len(ids) == 2 and ids <= set(known)


def test_captions_are_numbered_through_all_splits_and_sounds_are_named_by_video_and_start(
    exported: Dataset, tmp_path: Path
) -> None:
    folder = export(exported, "audiocaps", tmp_path / "out", generations=["train", "test"]).folder
    numbers = []
    for split in ("train", "test"):
        with (folder / f"{split}.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                numbers.append(int(row["audiocap_id"]))
                assert (folder / "audio" / f"{row['youtube_id']}_{int(row['start_time']):06d}.flac").is_file()
    assert numbers == [1, 2, 3, 4, 5]
    assert len(list((folder / "audio").iterdir())) == 3


def test_a_list_alone_has_no_sounds(exported: Dataset, tmp_path: Path) -> None:
    folder = export(exported, "audiocaps", tmp_path / "out", selections=["test"], media=MediaMode.REFERENCE).folder
    assert not (folder / "audio").exists()


def test_what_does_not_fit_is_named() -> None:
    from dataclasses import replace

    from curation.exports.clip import ExportClip, Media

    sound = Media(sha256="0", suffix=".flac", place=None, file=None, content=lambda: b"")
    fits = ExportClip(
        clip_id="c",
        platform="youtube",
        video_id="v",
        url=None,
        start_s=3.0,
        duration_s=10.0,
        labels=(),
        captions=("a",),
        caption_sources=("human:x",),
        lists=("x",),
        sample_rate_hz=8_000,
        licence=None,
        sound=sound,
        picture=None,
    )
    assert misfit(fits) is None
    assert misfit(replace(fits, platform="url")) == "NOT_YOUTUBE"
    assert misfit(replace(fits, duration_s=9.999)) == "NOT_10_S"
    assert misfit(replace(fits, start_s=3.001)) == "NOT_A_WHOLE_SECOND"
    assert misfit(replace(fits, captions=())) == "NO_CAPTION"
