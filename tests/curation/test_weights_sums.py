"""Sums of weights: right at once, not read again while the file is the same, read again when it is not."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from curation import weights_sums
from curation.weights_sums import weights_sha256


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Path]]:
    """The files that were read; small ones count as large, and files as left alone at once."""
    monkeypatch.setenv("FOUNDSOUND_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(weights_sums, "KEPT_BYTES", 0)
    monkeypatch.setattr(weights_sums, "SETTLED_S", -1.0)
    read: list[Path] = []

    def summed(path: Path) -> str:
        read.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(weights_sums, "file_sha256", summed)
    return lambda: [read.pop() for _ in range(len(read))]


def sum_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_is_read_once(tmp_path: Path, reads: Callable[[], list[Path]]) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"one")
    assert [weights_sha256(file) for _ in range(3)] == [sum_of(b"one")] * 3
    assert reads() == [file]
    link = tmp_path / "link.safetensors"
    link.symlink_to(file)
    assert weights_sha256(link) == sum_of(b"one") and not reads()


def test_a_replaced_file_is_read_again_even_with_its_old_time_and_size(
    tmp_path: Path, reads: Callable[[], list[Path]]
) -> None:
    file, other = tmp_path / "model.safetensors", tmp_path / "other"
    file.write_bytes(b"one")
    was = file.stat()
    weights_sha256(file)
    other.write_bytes(b"two")
    os.utime(other, ns=(was.st_atime_ns, was.st_mtime_ns))
    other.replace(file)
    assert weights_sha256(file) == sum_of(b"two")
    with file.open("r+b") as opened:  # in place: the inode stays
        opened.write(b"six")
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert weights_sha256(file) == sum_of(b"six")
    assert len(reads()) == 3


def test_what_was_just_written_is_not_remembered(
    tmp_path: Path, reads: Callable[[], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_sums, "SETTLED_S", 3600.0)
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"one")
    weights_sha256(file)
    weights_sha256(file)
    assert len(reads()) == 2 and not (tmp_path / "cache").exists()


def test_a_damaged_memo_or_one_that_cannot_be_kept_costs_a_reading(
    tmp_path: Path, reads: Callable[[], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"one")
    weights_sha256(file)
    (memo,) = (tmp_path / "cache" / "sums").iterdir()
    for content in (b"{", b"[]", b'{"sha256": "x"}', memo.read_bytes().replace(sum_of(b"one").encode(), b"y" * 64)):
        memo.write_bytes(content)
        assert weights_sha256(file) == sum_of(b"one")
    assert len(reads()) == 5
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_bytes(b"a file, where a folder should be")
    assert weights_sha256(file) == sum_of(b"one")


def test_the_hubs_large_files_are_not_read(tmp_path: Path, reads: Callable[[], list[Path]]) -> None:
    blobs = tmp_path / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    for name in ("c" * 64, "c" * 40):
        (blobs / name).write_bytes(b"w")
        (tmp_path / f"{len(name)}.safetensors").symlink_to(blobs / name)
    assert weights_sha256(tmp_path / "64.safetensors") == "c" * 64 and not reads()
    assert weights_sha256(tmp_path / "40.safetensors") == sum_of(b"w")
    elsewhere = tmp_path / "blobs"
    elsewhere.mkdir()
    (elsewhere / ("d" * 64)).write_bytes(b"w")
    assert weights_sha256(elsewhere / ("d" * 64)) == sum_of(b"w"), "not in a cache of the Hub"
    with pytest.raises(FileNotFoundError):
        weights_sha256(tmp_path / "nothing")


def test_small_files_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSOUND_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"one")
    assert weights_sha256(file) == sum_of(b"one") and not (tmp_path / "cache").exists()
