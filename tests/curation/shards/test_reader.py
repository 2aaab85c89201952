"""Clips are read by number, by this reader and by everybody else's."""

import hashlib
import json
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from curation.errors import DatasetError
from curation.selections.selection import select
from curation.shards import reader
from curation.shards.pack import pack
from curation.shards.reader import Shards
from tests.curation.made import Made


@pytest.fixture
def generation(tmp_path: Path) -> Path:
    made = Made(tmp_path)
    for n in range(7):
        made.clip(f"v{n}", picture=n % 3 == 0, said=[{"captions": [f"caption {n}"], "labels": ["a", "b"]}])
    dataset = made.dataset()
    select(dataset, name="s")
    return pack(dataset, "s", clips_per_shard=3).folder


def test_every_clip_is_what_the_tar_has(generation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "OPEN_SHARDS", 1)
    shards = Shards.open(generation)
    expected: dict[str, dict[str, bytes]] = {}
    for path in sorted(generation.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, suffix = member.name.split(".")
                expected.setdefault(key, {})[suffix] = tar.extractfile(member).read()
    assert len(shards) == 7 and shards.keys == sorted(expected) == [shards.key(n) for n in range(7)]
    for number in (6, 0, 3, 2, 5, 1, 4, -1):
        assert shards.read(number, ("flac", "mp4", "json")) == expected[shards.key(number)]
        assert shards.about(number) == json.loads(expected[shards.key(number)]["json"])
    copy = pickle.loads(pickle.dumps(shards))
    assert copy.read(2) == shards.read(2)
    assert shards.read(2, ("flac",), head_bytes=26) == {"flac": shards.read(2)["flac"][:26]}
    assert shards.read(2, ("json",), head_bytes=1 << 20) == {"json": shards.read(2)["json"]}, "not beyond its end"


def test_many_threads_read_what_one_reads(generation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "OPEN_SHARDS", 1)
    shards = Shards.open(generation)
    alone = [shards.read(n) for n in range(7)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(shards.read, [n % 7 for n in range(140)])) == alone * 20


def test_what_cannot_be_read_is_named(generation: Path) -> None:
    shards = Shards.open(generation)
    for number in (7, -8):
        with pytest.raises(IndexError, match="of a generation of 7"):
            shards.read(number)
    with pytest.raises(ValueError, match="'wav'"):
        shards.read(0, ["wav"])
    tar = generation / "000002.tar"
    tar.write_bytes(tar.read_bytes()[:-1])
    with pytest.raises(DatasetError, match=r"000002\.tar"):
        shards.read(6)
    (generation / "index.json").unlink()
    with pytest.raises(DatasetError, match="not a finished generation"):
        Shards.open(generation)


def test_the_webdataset_package_reads_the_tars(generation: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    urls = [str(path) for path in sorted(generation.glob("*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False))
    shards = Shards.open(generation)
    assert [sample["__key__"] for sample in samples] == shards.keys
    assert [sample["flac"] for sample in samples] == [shards.read(n)["flac"] for n in range(7)]
    assert sum("mp4" in sample for sample in samples) == 3


def test_hugging_face_datasets_reads_the_tars(
    generation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets
    from datasets import Features, List, Value

    text = Value("string")
    about = dict.fromkeys(("clip_id", "licence", "platform", "prev_clip_id", "split", "video_id"), text)
    about |= {name: List(text) for name in ("captions", "caption_sources", "labels")}
    about |= {"start_s": Value("float64"), "duration_s": Value("float64"), "sample_rate_hz": Value("int64")}
    about |= {"sha256": {"flac": text, "mp4": text}}
    about |= {"provenance": {"lists": List(text), "url": text, "original_sha256": text}}
    media = {"flac": Value("binary"), "mp4": Value("binary")}
    features = Features({"__key__": text, "__url__": text, "json": about, **media})
    found = datasets.load_dataset(
        "webdataset",
        data_files=[str(path) for path in sorted(generation.glob("*.tar"))],
        features=features,
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    shards = Shards.open(generation)
    assert found["__key__"][:] == shards.keys
    assert [hashlib.sha256(sound).hexdigest() for sound in found["flac"]] == [
        shards.about(n)["sha256"]["flac"] for n in range(7)
    ]
    assert [about["captions"] for about in found["json"]] == [shards.about(n)["captions"] for n in range(7)]
