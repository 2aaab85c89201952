"""A root is the same thing whether it is a folder or an object store: whole files under their names, read anywhere."""

import os
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from curation import storage
from curation.blobs import BlobReader, BlobWriter, erase
from curation.errors import ArgumentError, DatasetError
from curation.media import MediaStore
from curation.selections.selection import select
from curation.shards.generation import GenerationIndex
from curation.shards.pack import pack
from curation.shards.reader import Shards
from curation.shards.verify import verify
from curation.storage import Root, fresh_copy, parse_roots
from tests.curation.made import Made


@pytest.fixture(params=["folder", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Root:
    monkeypatch.setenv(storage.CACHE_FOLDER, str(tmp_path / "cache"))
    return Root.of(tmp_path / "root" if request.param == "folder" else f"memory://{tmp_path.name}/root")


def made(folder: Path, content: bytes) -> Path:
    path = folder / "made"
    path.write_bytes(content)
    return path


def test_a_file_is_put_read_and_removed(root: Root, tmp_path: Path) -> None:
    assert root.names() == [] and not root.exists("a/b.bin") and not root.remove("a/b.bin")
    with pytest.raises(FileNotFoundError):
        root.read("a/b.bin")
    with pytest.raises(FileNotFoundError):
        root.local("a/b.bin")
    root.put(made(tmp_path, b"0123456789"), "a/b.bin")
    assert not (tmp_path / "made").exists()
    assert root.exists("a/b.bin") and not root.exists("a") and root.size_bytes("a/b.bin") == 10
    assert root.read("a/b.bin") == b"0123456789" and root.read("a/b.bin", 2, 5) == b"234"
    assert (root / "a").names() == ["b.bin"] and root.names() == ["a"]
    assert (root / "a" / ".." / "a").read("../a/b.bin", 8) == b"89"
    path = root.local("a/b.bin")
    assert path.read_bytes() == b"0123456789" and path.suffix == ".bin" and root.local("a/b.bin") == path
    with ExitStack() as copies:
        copy = fresh_copy(root, "a/b.bin", copies)
        assert copy.read_bytes() == b"0123456789"
    assert copy.exists() == root.is_local
    root.write("a/b.bin", b"new")
    assert root.read("a/b.bin") == b"new"
    assert root.remove("a/b.bin") and not root.exists("a/b.bin") and not path.exists()


def test_the_same_content_is_kept_once_and_a_cut_off_file_is_replaced(root: Root, tmp_path: Path) -> None:
    store = MediaStore(root)
    sha256 = store.put(made(tmp_path, b"sound"), ".flac")
    assert store.put(made(tmp_path, b"sound"), ".flac") == sha256 and not (tmp_path / "made").exists()
    assert store.open_path(sha256, ".flac").read_bytes() == store.read(sha256, ".flac") == b"sound"
    root.write(f"{sha256[:2]}/{sha256}.flac", b"sou")
    store.put(made(tmp_path, b"sound"), ".flac")
    assert store.read(sha256, ".flac") == b"sound"
    for read in (store.open_path, store.read):
        with pytest.raises(DatasetError, match=r"000\.flac is named by a table but missing"):
            read("0" * 64, ".flac")


def test_vectors_are_written_read_and_erased(root: Root) -> None:
    writer = BlobWriter(root / "set")
    refs = []
    for n in range(6):
        refs.append(writer.append(np.full((2, 3), n + 1.0, np.float32)))
        if n % 3 == 2:
            writer.sync()
    reader = BlobReader(root / "set")
    for n, ref in enumerate(refs):
        np.testing.assert_array_equal(reader.read(ref), np.full((2, 3), n + 1.0))
    assert len({ref.blob for ref in refs}) == (1 if root.is_local else 2) == len((root / "set").names())
    kept = [(ref.offset_bytes, ref.offset_bytes + 24) for ref in refs[:3] if ref is not refs[1]]
    if root.is_local:
        kept += [(ref.offset_bytes, ref.offset_bytes + 24) for ref in refs[3:]]
    assert erase(root, f"set/{refs[1].blob}", kept) and not erase(root, f"set/{refs[1].blob}", kept)
    after = BlobReader(root / "set")
    np.testing.assert_array_equal(after.read(refs[1]), np.zeros((2, 3)))
    for n in (0, 2, 5):
        np.testing.assert_array_equal(after.read(refs[n]), np.full((2, 3), n + 1.0))
    assert erase(root, f"set/{refs[1].blob}", []) and not root.exists(f"set/{refs[1].blob}")


def test_shards_in_an_object_store_are_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(storage.CACHE_FOLDER, str(tmp_path / "cache"))
    clips = Made(tmp_path)
    for n in range(7):
        clips.clip(f"v{n}", picture=n == 2, loudness_lufs=-20.0 - n)
    here, there = clips.dataset("here"), clips.dataset("there")
    there.set_config(roots={"media": "media", "shards": f"memory://{tmp_path.name}/shards"})
    for dataset in (here, there):
        select(dataset, name="few", where="loudness_lufs > -24.5")
        select(dataset, name="all")
        pack(dataset, "few", generation="first", clips_per_shard=2)
        pack(dataset, "all", generation="second", parent="first")
    assert not (there.path / "shards").exists()
    for name in ("first", "second"):
        ours, theirs = (dataset.root("shards") / name for dataset in (here, there))
        assert ours.names() == theirs.names()
        assert all(ours.read(file) == theirs.read(file) for file in ours.names())
        assert not verify(theirs, workers=2).problems
        members = ("flac", "mp4", "json")
        one, other = Shards.open(ours), Shards.open(theirs)
        assert [one.read(n, members) for n in range(len(one))] == [other.read(n, members) for n in range(len(other))]
    first = there.root("shards") / "first"
    first.write("000000.tar", first.read("000000.tar")[:700])
    assert "000000.tar" in {problem.file for problem in verify(first).problems}
    with pytest.raises(DatasetError, match=r"000000\.tar is missing or does not have"):
        Shards.open(first).read(0)
    first.remove("index.json")
    assert pack(there, "few", generation="first", clips_per_shard=2).index == GenerationIndex.read(
        here.root("shards") / "first"
    )


def test_copies_that_were_not_used_for_longest_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = tmp_path / "objects"
    now = 2_000_000_000
    monkeypatch.setattr(storage.time, "time", lambda: float(now))
    for n, age_s in enumerate((9_000, 7_000, 8_000, 500)):
        path = objects / "ab" / f"{n}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (now - age_s, now - age_s))
    for limit, left in (("400", "0123"), ("399", "123"), ("200", "13"), ("0", "3")):
        monkeypatch.setenv(storage.CACHE_BYTES, limit)
        storage._trim(objects)
        assert sorted(path.stem for path in objects.glob("*/*")) == list(left), limit


def test_places_are_understood_or_named(tmp_path: Path) -> None:
    assert (
        Root.of("s3://bucket//a/./b/").url == "s3://bucket/a/b"
        and Root.of("media", base=tmp_path).path == tmp_path / "media"
    )
    assert str(Root.of("s3://bucket/a") / "../b/c") == "s3://bucket/b/c" and (Root.of("/a/b") / "../c").url == "/a/c"
    for wrong in ("s3://", "s3://..", "://x"):
        with pytest.raises(ArgumentError, match="is no place for files"):
            Root.of(wrong)
    with pytest.raises(DatasetError, match="needs a folder"):
        _ = Root.of("s3://bucket/a").path
    with pytest.raises(ArgumentError, match="not known to fsspec"):
        Root.of("nothing://bucket/a").exists("b")
    assert parse_roots(["media=s3://bucket/a/", "shards=/b"]) == {"media": "s3://bucket/a", "shards": "/b"}
    for wrong in ("media", "media=", "facts=/a"):
        with pytest.raises(ArgumentError, match="KIND=PLACE"):
            parse_roots([wrong])
