"""What Hugging Face `datasets` loads is the sounds, byte for byte, and everything that was said of them."""

import json
from pathlib import Path

import pytest

from curation.dataset import Dataset
from curation.exports import hf
from curation.exports.export import export
from curation.exports.target import MediaMode
from curation.selections.selection import read_rows
from tests.curation.exports.conftest import HOSTILE


@pytest.fixture(scope="module", params=["selection", "generation"])
def folder(request: pytest.FixtureRequest, exported: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hf") / "folder"
    chosen = {"selections": ["train", "test"]} if request.param == "selection" else {"generations": ["train", "test"]}
    return export(exported, "hf", out, pictures=True, **chosen).folder


def test_load_dataset_gives_every_clip_and_its_sound(exported: Dataset, folder: Path, tmp_path: Path) -> None:
    from datasets import Audio, Video, load_dataset

    loaded = load_dataset(str(folder), cache_dir=str(tmp_path))
    assert set(loaded) == {"train", "test"}
    assert isinstance(loaded["train"].features["audio"], Audio)
    assert isinstance(loaded["train"].features["video"], Video)
    for split, clips in loaded.items():
        kept = {row["clip_id"]: row for row in read_rows(exported, split, kept_only=True).to_pylist()}
        rows = clips.cast_column("audio", Audio(decode=False)).cast_column("video", Video(decode=False))
        assert rows["clip_id"][:] == sorted(kept)
        for row in rows:
            known = kept[row["clip_id"]]
            sound = exported.media.open_path(known["audio_sha256"], ".flac").read_bytes()
            assert row["audio"] == {"bytes": sound, "path": f"{row['clip_id']}.flac"}
            assert (row["video"] is None) == (known["video_sha256"] is None)
            if row["video"]:
                picture = exported.media.open_path(known["video_sha256"], ".mp4").read_bytes()
                assert row["video"]["bytes"] == picture
            assert row["start_s"] == known["start_ms"] / 1000
            for same in ("captions", "caption_sources", "labels", "lists", "video_id", "licence", "sample_rate_hz"):
                assert row[same] == known[same]
    assert HOSTILE in {caption for captions in loaded["train"]["captions"] for caption in captions}


def test_files_hold_so_many_clips_and_are_kept_when_they_are_finished(
    exported: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hf, "CLIPS_PER_FILE", 2)
    write_file = hf._write_file
    written: list[str] = []

    def stopping(file: Path, *rest: object) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        write_file(file, *rest)
        written.append(file.name)

    whole = export(exported, "hf", tmp_path / "whole", selections=["train"]).folder
    with monkeypatch.context() as stopped:
        stopped.setattr(hf, "_write_file", stopping)
        with pytest.raises(KeyboardInterrupt):
            export(exported, "hf", tmp_path / "out", selections=["train"])
    assert not (tmp_path / "out").exists()
    written.clear()
    monkeypatch.setattr(hf, "_write_file", stopping)
    folder = export(exported, "hf", tmp_path / "out", selections=["train"]).folder
    assert written == ["train-00002-of-00003.parquet"]
    names = [file.name for file in sorted((folder / "data").iterdir())]
    assert names == [f"train-0000{n}-of-00003.parquet" for n in range(3)]
    for name in names:
        assert (folder / "data" / name).read_bytes() == (whole / "data" / name).read_bytes()
    assert not list(tmp_path.glob(".writing-*"))


def test_validation_is_named_as_the_hub_names_it(exported: Dataset, tmp_path: Path) -> None:
    from datasets import load_dataset

    folder = export(exported, "hf", tmp_path / "out", selections=["val"]).folder
    assert set(load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))) == {"validation"}
    assert json.loads((folder / "export.json").read_text())["splits"]["val"]["clips"] == 1


def test_referenced_sounds_are_paths_into_the_dataset(exported: Dataset, tmp_path: Path) -> None:
    from datasets import Audio
    from datasets import Dataset as Rows

    folder = export(exported, "hf", tmp_path / "out", selections=["test"], media=MediaMode.REFERENCE).folder
    (file,) = (folder / "data").iterdir()
    rows = Rows.from_parquet(str(file), cache_dir=str(tmp_path / "cache")).cast_column("audio", Audio(decode=False))
    for row in rows:
        assert row["audio"]["bytes"] is None
        assert Path(row["audio"]["path"]).is_relative_to(exported.root("media").path)
        assert Path(row["audio"]["path"]).is_file()
