"""An export appears whole or not at all, is the same each time, and accounts for every clip."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from curation.dataset import Dataset
from curation.errors import ArgumentError, DatasetError, StoppedError
from curation.exports import audiox, target
from curation.exports.export import FORMATS, export
from curation.exports.target import MediaMode
from curation.keys import video_key
from curation.selections.selection import read_report, select
from curation.takedowns.deny import deny
from pipelines.main import main
from tests.curation.made import Made


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("layout", FORMATS)
def test_every_clip_is_a_row_or_left_out_for_a_reason(exported: Dataset, tmp_path: Path, layout: str) -> None:
    report = export(exported, layout, tmp_path / "out", selections=["train", "val", "test"])
    described = json.loads((report.folder / "export.json").read_text())
    assert described["splits"] == report.splits
    for split, counts in report.splits.items():
        assert counts["clips"] == read_report(exported, split).kept_clips
        with_rows = counts["clips"] - sum(counts["left_out"].values())
        assert counts["rows"] >= with_rows > 0
    assert not list(tmp_path.glob(".writing-*")) and not (report.folder / "plan.json").exists()


@pytest.mark.parametrize("layout", ["hf", "audiocaps"])
def test_shards_and_links_and_copies_give_the_same_bytes(exported: Dataset, tmp_path: Path, layout: str) -> None:
    linked = export(exported, layout, tmp_path / "linked", selections=["train"])
    copied = export(exported, layout, tmp_path / "copied", selections=["train"], media=MediaMode.COPY)
    packed = export(exported, layout, tmp_path / "packed", generations=["train"])
    files = [contents(report.folder) for report in (linked, copied, packed)]
    for described in files:
        del described["export.json"], described["README.md"]
    assert files[0] == files[1] == files[2]


def test_links_share_the_file_and_copies_do_not(
    exported: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = {path.stat().st_ino for path in exported.root("media").path.rglob("*.flac")}

    def shared(name: str, media: MediaMode) -> set[bool]:
        folder = export(exported, "audiocaps", tmp_path / name, selections=["test"], media=media).folder
        return {path.stat().st_ino in stored for path in (folder / "audio").iterdir()}

    assert shared("linked", MediaMode.LINK) == {True}
    assert shared("copied", MediaMode.COPY) == {False}

    def refused(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(target.os, "link", refused)
    assert shared("elsewhere", MediaMode.LINK) == {False}


def test_an_interrupted_export_leaves_nothing_under_its_name_and_goes_on(
    exported: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    expected = contents(export(exported, "audiox", out, selections=["train"]).folder)
    out.rename(tmp_path / "first")
    place = target.Target.place
    placed: list[str] = []

    def stopping(self: target.Target, media: object, name: str) -> str:
        if len(placed) == 2:
            raise KeyboardInterrupt
        placed.append(name)
        return place(self, media, name)

    with monkeypatch.context() as stopped:
        stopped.setattr(target.Target, "place", stopping)
        with pytest.raises(KeyboardInterrupt):
            export(exported, "audiox", out, selections=["train"])
    assert not out.exists()
    left = tmp_path / ".writing-out"
    assert (left / placed[0]).is_file()
    assert contents(export(exported, "audiox", out, selections=["train"]).folder) == expected
    assert not left.exists()


def test_another_export_does_not_go_on_with_the_files_of_this_one(
    exported: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as stopped:
        stopped.setattr(audiox.AudioX, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            export(exported, "audiox", tmp_path / "out", selections=["train"])
    folder = export(exported, "audiocaps", tmp_path / "out", selections=["test"]).folder
    assert {path.name for path in folder.iterdir()} == {"README.md", "export.json", "test.csv", "audio"}


def test_a_full_disk_stops_and_says_so(exported: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(target.shutil, "copyfile", full)
    with pytest.raises(StoppedError, match="free some space"):
        export(exported, "audiox", tmp_path / "out", selections=["train"], media=MediaMode.COPY)
    assert not (tmp_path / "out").exists()


def test_folders_that_hold_something_are_refused(exported: Dataset, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / ".writing-other").mkdir()
    (tmp_path / ".writing-other" / "mine.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    for name, words in (("full", "not empty"), ("other", "in the way")):
        with pytest.raises(ArgumentError, match=words):
            export(exported, "audiox", tmp_path / name, selections=["train"])
    assert (tmp_path / "full" / "mine.txt").read_text() == (tmp_path / ".writing-other" / "mine.txt").read_text()
    export(exported, "audiox", tmp_path / "empty", selections=["train"])


def test_wrong_arguments_are_named(exported: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ArgumentError, match="formats are hf, audiox"):
        export(exported, "csv", out, selections=["train"])
    with pytest.raises(ArgumentError, match="--selection"):
        export(exported, "hf", out)
    with pytest.raises(ArgumentError, match="no selection 'no'"):
        export(exported, "hf", out, selections=["no"])
    with pytest.raises(ArgumentError, match="no generation 'no'"):
        export(exported, "hf", out, generations=["no"])
    with pytest.raises(ArgumentError, match="both of the split 'train'"):
        export(exported, "hf", out, selections=["train"], generations=["train"])
    with pytest.raises(ArgumentError, match="no path to refer to"):
        export(exported, "hf", out, generations=["train"], media=MediaMode.REFERENCE)
    select(exported, name="nothing", where="false")
    with pytest.raises(ArgumentError, match="keeps no clip"):
        export(exported, "hf", out, selections=["nothing"])
    assert not out.exists()


def test_a_format_that_can_hold_none_of_the_clips_leaves_nothing_behind(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.clip("a", duration_ms=4_000, said=[{"captions": ["a"]}])
    dataset = made.dataset()
    select(dataset, name="train")
    with pytest.raises(ArgumentError, match="1 NOT_10_S: it is not 10 s long"):
        export(dataset, "audiocaps", tmp_path / "out", selections=["train"])
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".writing-*"))


def test_media_that_are_missing_or_changed_stop_the_export(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.clip("a", said=[{"captions": ["a"]}])
    dataset = made.dataset()
    select(dataset, name="train")
    (sound,) = (dataset.path / "media").rglob("*.flac")
    sound.write_bytes(b"something else")
    with pytest.raises(DatasetError, match="do not have the content"):
        export(dataset, "hf", tmp_path / "out", selections=["train"])
    sound.unlink()
    with pytest.raises(DatasetError, match="missing"):
        export(dataset, "audiox", tmp_path / "out", selections=["train"], media=MediaMode.REFERENCE)


def test_the_card_says_what_was_kept_refused_and_under_which_terms(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.clip("kept", said=[{"captions": ["a | b"], "labels": ["x"]}])
    made.clip("quiet", loudness_lufs=-70.0)
    dataset = made.dataset("<b>data")
    dataset.set_config(sources=[{"list": "listed", "rows": 2, "rejected": 0, "licence": "CC | BY <i>\n4.0"}])
    select(dataset, name="train", where="measure.loudness_lufs > -60 -- ```")
    card = (export(dataset, "audiox", tmp_path / "out", selections=["train"]).folder / "README.md").read_text()
    assert "# &lt;b&gt;data\n" in card
    assert "| listed | 2 | CC \\| BY &lt;i&gt; 4.0 |" in card
    assert "| CC BY 4.0 | 1 |" in card
    assert "1 of 2 clips were kept" in card
    assert "| WHERE | 1 | the condition is false or null for the clip |" in card
    assert "````json" in card and "measure.loudness_lufs > -60" in card
    assert "| train | selection train | 1 | 1 | 0.00 | 1 | 0 | 1 |" in card


def test_the_card_of_a_replaced_selection_does_not_guess(tmp_path: Path) -> None:
    from curation.shards.pack import pack

    made = Made(tmp_path)
    for name in ("a", "b"):
        made.clip(name, said=[{"captions": [name]}])
    dataset = made.dataset()
    select(dataset, name="train")
    pack(dataset, "train")
    select(dataset, name="train", where="clips.captions[1] = 'a'")
    report = export(dataset, "audiox", tmp_path / "out", generations=["train"])
    assert report.splits["train"]["clips"] == 2
    assert "Not known: the selection was replaced" in (report.folder / "README.md").read_text()


def test_the_verb_takes_the_train_selection_and_prints_counts(
    exported: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(exported.path), "--format", "audiox", "--out", str(tmp_path / "out")]) == 0
    assert "train: 6 rows of 5 clips; left out: 2 NO_CAPTION" in capsys.readouterr().out
    words = [
        "export",
        str(exported.path),
        "--format",
        "audiocaps",
        "--out",
        str(tmp_path / "caps"),
        "--shards",
        "train",
    ]
    assert main([*words, "--shards", "test", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["splits"]) == {"train", "test"}
    assert main(["export", str(exported.path), "--format", "csv", "--out", str(tmp_path / "x")]) == 2


def test_a_selection_older_than_a_takedown_is_refused(tmp_path: Path) -> None:
    made = Made(tmp_path)
    for name in ("stays", "goes"):
        made.clip(name, said=[{"captions": [name]}])
    dataset = made.dataset()
    select(dataset, name="train")
    deny(dataset.path, [{"platform": "youtube", "video_id": "goes", "video_key": video_key("youtube", "goes")}])
    with pytest.raises(ArgumentError, match="names 1 clips of videos that were taken down"):
        export(dataset, "audiox", tmp_path / "out", selections=["train"])
    select(dataset, name="train")
    assert export(dataset, "audiox", tmp_path / "out", selections=["train"]).splits["train"]["clips"] == 1


def test_media_in_an_object_store_are_copied_or_named_by_address(tmp_path: Path) -> None:
    import fsspec

    made = Made(tmp_path)
    made.clip("a", said=[{"captions": ["a"]}])
    dataset = made.dataset()
    select(dataset, name="train")
    (sound,) = (dataset.path / "media").rglob("*.flac")
    content = sound.read_bytes()
    store = fsspec.filesystem("memory")
    address = f"memory://exports/{sound.parent.name}/{sound.name}"
    with store.open(address, "wb") as file:
        file.write(content)
    dataset.set_config(roots={"media": "memory://exports"})
    copied = export(dataset, "audiocaps", tmp_path / "copied", selections=["train"]).folder
    assert (copied / "audio" / "a_000000.flac").read_bytes() == content
    named = export(dataset, "audiox", tmp_path / "named", selections=["train"], media=MediaMode.REFERENCE).folder
    assert json.loads((named / "train.jsonl").read_text())["path"] == address


EXPORT = """if True:
    import os, signal, sys
    from pathlib import Path
    from curation.dataset import Dataset
    from curation.exports.export import export
    from curation.exports.target import MediaMode
    dataset, out, last, seen = Dataset(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), 0
    def count(event, arguments):
        global seen
        if event in ("open", "os.rename", "os.remove", "os.link") and str(out.parent) in str(arguments[0]):
            seen += 1
            if seen == last:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    export(dataset, "audioldm", out, selections=["train", "test"], media=MediaMode.COPY)
    print(seen)
"""
"""Exports, and kills itself at the n-th file that it opens, renames, links or deletes outside the dataset."""


@pytest.mark.slow
def test_a_kill_anywhere_and_the_same_command_give_the_same_bytes(exported: Dataset, tmp_path: Path) -> None:
    def run(name: str, last: int) -> subprocess.CompletedProcess[str]:
        (tmp_path / name).mkdir(exist_ok=True)
        command = [sys.executable, "-c", EXPORT, str(exported.path), str(tmp_path / name / "out"), str(last)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    whole = run("whole", -1)
    assert whole.returncode == 0, whole.stderr
    steps = int(whole.stdout)
    expected = set(contents(tmp_path / "whole" / "out"))
    assert steps > 20
    for last in sorted({1, steps - 3, steps - 2, steps - 1, steps, *range(4, steps, max(1, steps // 6))}):
        folder = tmp_path / f"killed-{last}"
        assert run(folder.name, last).returncode == -signal.SIGKILL
        out = folder / "out"
        if not (out / "export.json").is_file():
            assert not out.exists() and run(folder.name, -1).returncode == 0
        found = contents(out)
        assert set(found) - {"plan.json"} == expected
        for name in ("train.json", "test.json", "class_label_indices.csv", "README.md"):
            assert found[name] == contents(tmp_path / "whole" / "out")[name]
