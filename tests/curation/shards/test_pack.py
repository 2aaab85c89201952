"""The same selection gives the same bytes, whatever was killed on the way."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from curation.dataset import Dataset
from curation.errors import ArgumentError, DatasetError, StoppedError
from curation.selections.selection import read_rows, select
from curation.shards import layout, write
from curation.shards.pack import pack
from curation.shards.verify import verify
from tests.curation.made import Made, made_flac

PACK = """if True:
    import os, signal, sys
    from pathlib import Path
    from curation.dataset import Dataset
    from curation.shards.pack import pack
    dataset, last, seen = Dataset(sys.argv[1]), int(sys.argv[2]), 0
    def count(event, arguments):
        global seen
        if event in ("open", "os.rename", "os.remove") and sys.argv[1] in str(arguments[0]):
            seen += 1
            if seen == last:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    pack(dataset, "s", clips_per_shard=4)
    print(seen)
"""
"""Packs, and kills itself at the n-th file that it opens, renames or deletes inside the dataset."""


def made_dataset(folder: Path, name: str = "dataset", *, reverse: bool = False) -> Dataset:
    made = Made(folder)
    for n in range(11):
        said = [{"labels": [f"l{n}"], "captions": [f"süß {n}"]}]
        made.clip(f"v{n}", n * 500, picture=n % 2 == 0, said=said)
    made.clip("lost", sound=100)
    dataset = made.dataset(name, reverse=reverse)
    select(dataset, name="s")
    return dataset


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_two_datasets_with_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    one, other = (made_dataset(tmp_path, name, reverse=reverse) for name, reverse in (("a", False), ("b", True)))
    found = [contents(pack(dataset, "s", clips_per_shard=4).folder) for dataset in (one, other)]
    assert found[0] == found[1]
    names = {f"00000{n}.{suffix}" for n in range(3) for suffix in ("tar", "arrow")}
    assert set(found[0]) == {"index.json", *names}


def test_a_kill_anywhere_and_the_same_command_give_the_same_bytes(tmp_path: Path) -> None:
    made_dataset(tmp_path)

    def run(name: str, last: int) -> subprocess.CompletedProcess[str]:
        shutil.copytree(tmp_path / "dataset", tmp_path / name)
        command = [sys.executable, "-c", PACK, str(tmp_path / name), str(last)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    whole = run("whole", -1)
    steps = int(whole.stdout)
    expected = contents(tmp_path / "whole" / "shards" / "s")
    assert len(expected) == 7 and steps > 30
    for last in range(steps // 10, steps, max(1, steps // 5)):
        name = f"killed-{last}"
        assert run(name, last).returncode == -signal.SIGKILL, last
        pack(Dataset(tmp_path / name), "s", clips_per_shard=4)
        assert contents(tmp_path / name / "shards" / "s") == expected, last


def test_finished_shards_are_taken_over_and_damaged_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = made_dataset(tmp_path)
    folder = pack(dataset, "s", clips_per_shard=3).folder
    expected = contents(folder)
    (folder / "index.json").unlink()
    written: list[str] = []
    write_tar = write._write_tar
    monkeypatch.setattr(write, "_write_tar", lambda plan, *rest: written.append(plan.name) or write_tar(plan, *rest))
    flip(folder / "000001.tar", 700)
    flip(folder / "000002.arrow", 1_000)
    (folder / "000003.arrow").unlink()
    (folder / "000009.tar").write_bytes(b"of another plan")
    pack(dataset, "s", clips_per_shard=3)
    assert contents(folder) == expected
    assert "000000" not in written and {"000001", "000003"} <= set(written)


def test_shards_of_another_unfinished_plan_are_written_anew(tmp_path: Path) -> None:
    dataset = made_dataset(tmp_path)
    expected = contents(pack(dataset, "s", generation="g", clips_per_shard=5).folder)
    folder = pack(dataset, "s", generation="h", clips_per_shard=2).folder
    (folder / "index.json").unlink()
    pack(dataset, "s", generation="h", clips_per_shard=5)
    assert contents(folder) == expected


def test_a_finished_generation_is_never_changed(tmp_path: Path) -> None:
    dataset = made_dataset(tmp_path)
    first = pack(dataset, "s", clips_per_shard=4)
    before = contents(first.folder)
    again = pack(dataset, "s", clips_per_shard=4)
    assert (first.existed, again.existed, again.index) == (False, True, first.index)
    with pytest.raises(ArgumentError, match="another --name"):
        pack(dataset, "s", clips_per_shard=5)
    select(dataset, name="s", where="loudness_lufs < -100")
    with pytest.raises(ArgumentError, match=r"keeps no clip \(WHERE: 12\)"):
        pack(dataset, "s", clips_per_shard=4)
    assert contents(first.folder) == before


def test_members_and_json_say_what_the_selection_said(tmp_path: Path) -> None:
    dataset = made_dataset(tmp_path)
    folder = pack(dataset, "s").folder
    rows = {row["clip_id"]: row for row in read_rows(dataset, "s", kept_only=True).to_pylist()}
    with tarfile.open(folder / "000000.tar") as tar:
        members = tar.getmembers()
        texts = {m.name.split(".")[0]: tar.extractfile(m).read() for m in members if m.name.endswith(".json")}
    assert list(texts) == sorted(rows)
    assert {(m.mode, m.uid, m.gid, m.mtime, m.uname, m.gname) for m in members} == {(0o644, 0, 0, 0, "", "")}
    for clip_id, text in texts.items():
        fields, row = json.loads(text), rows[clip_id]
        assert fields["captions"] == row["captions"] and fields["labels"] == row["labels"]
        assert fields["start_s"] * 1000 == row["start_ms"] and fields["duration_s"] == 10.0
        assert fields["licence"] == "CC BY 4.0" and fields["provenance"]["lists"] == ["listed"]
        suffixes = [m.name.split(".")[1] for m in members if m.name.startswith(clip_id)]
        assert suffixes == (["flac", "mp4", "json"] if row["video_sha256"] else ["flac", "json"])
        assert fields["sha256"]["flac"] == row["audio_sha256"]


def test_damaged_and_missing_media_stop_the_work(tmp_path: Path) -> None:
    dataset = made_dataset(tmp_path)
    sha256 = hashlib.sha256(made_flac(103)[0]).hexdigest()
    path = dataset.media.open_path(sha256, ".flac")
    flip(path, 200)
    with pytest.raises(DatasetError, match="does not have the content"):
        pack(dataset, "s")
    path.unlink()
    with pytest.raises(DatasetError, match=sha256):
        pack(dataset, "s")
    assert not (dataset.folder("shards") / "s" / "index.json").exists()


def test_a_full_disk_stops_and_the_same_command_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = made_dataset(tmp_path)
    expected = contents(pack(dataset, "s", generation="expected", clips_per_shard=4).folder)
    add = layout.TarWriter.add

    def full(self: layout.TarWriter, name: str, content: bytes) -> tuple[int, str]:
        if self.size_bytes > 4_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return add(self, name, content)

    with monkeypatch.context() as patched:
        patched.setattr(layout.TarWriter, "add", full)
        with pytest.raises(StoppedError, match="free some space"):
            pack(dataset, "s", clips_per_shard=4)
    folder = pack(dataset, "s", clips_per_shard=4).folder
    assert contents(folder) == expected and not verify(folder).problems


def test_ctrl_c_leaves_nothing_half_written_and_the_same_command_goes_on(tmp_path: Path) -> None:
    dataset = made_dataset(tmp_path)
    expected = contents(pack(dataset, "s", generation="expected", clips_per_shard=1).folder)

    def interrupted(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(dataset, "s", clips_per_shard=1, workers=2, progress=interrupted)
    folder = dataset.folder("shards") / "s"
    left = sorted(path.name for path in folder.iterdir())
    assert 6 <= len(left) < 22 and not any(name.startswith(".") for name in left) and "index.json" not in left
    assert contents(pack(dataset, "s", clips_per_shard=1).folder) == expected


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    dataset = made_dataset(tmp_path)
    with pytest.raises(ArgumentError, match="not 0"):
        pack(dataset, "s", clips_per_shard=0)
    with pytest.raises(ArgumentError, match="no selection 'no'"):
        pack(dataset, "no")
    with pytest.raises(ArgumentError, match="cannot name a generation"):
        pack(dataset, "s", generation="a/b")


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
