"""The whole way of a clip with media, shards and vectors in an object store: an S3 server on the loopback address."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from curation import storage
from curation.dataset import Dataset
from curation.keys import short_hash
from curation.selections.selection import select
from curation.shards.reader import Shards
from curation.storage import Root
from curation.takedowns.forget import forget
from pipelines.verbs.fetch import fetch
from pipelines.verbs.manifest import manifest
from pipelines.verbs.measure import measure
from pipelines.verbs.pack import extend, pack, verify
from pipelines.verbs.roots import roots

pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    moto = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (("ENDPOINT_URL", f"http://{host}:{port}"), ("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "x")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv(storage.CACHE_FOLDER, str(tmp_path / "cache"))
    storage._open.cache_clear()
    name = f"bucket-{short_hash(str(tmp_path), 8)}"  # the servers of one process share what they hold
    storage._filesystem("s3://x").mkdir(name)
    yield f"s3://{name}/data"
    storage._open.cache_clear()
    server.stop()


def test_from_a_list_to_shards_and_a_takedown_in_a_bucket(bucket: str, tmp_path: Path) -> None:
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    for n in range(5):
        noise = np.random.default_rng(n).integers(-9_000, 9_000, size=(16_000, 1), dtype=np.int16)
        soundfile.write(sounds / f"{n}.flac", noise, 16_000)
    listed = "\n".join(["path,labels", *(f"{n}.flac,label {n}" for n in range(5))])
    (sounds / "list.csv").write_text(listed + "\n")
    folder = tmp_path / "dataset"
    manifest("table", sounds / "list.csv", out=folder)
    assert roots(folder, f"media={bucket}/media", f"shards={bucket}/shards").roots["media"] == f"{bucket}/media"
    fetch(folder, workers=0)
    measure(folder, workers=0)
    dataset = Dataset(folder)
    assert not list(folder.glob("media/*")) and len(Root.of(f"{bucket}/media").names()) == 5
    select(
        dataset, name="few", where="list_contains(clips.labels, 'label 1') OR list_contains(clips.labels, 'label 2')"
    )
    select(dataset, name="all")
    assert pack(folder, selection="few", generation="first", clips_per_shard=1).report.index.clips == 2
    second = extend(folder, parent="first", selection="all", name="second")
    assert second.report.taken_over == 2 and not (folder / "shards").exists()
    verify(folder, workers=2)
    shards = Shards.open(dataset.root("shards") / "second")
    found = {shards.about(n)["labels"][0]: shards.read(n)["flac"] for n in range(5)}
    assert set(found) == {f"label {n}" for n in range(5)} and all(content[:4] == b"fLaC" for content in found.values())
    forget(dataset, ["2.flac"])
    verify(folder)
    left = Shards.open(dataset.root("shards") / "second")
    assert sorted(left.about(n)["labels"][0] for n in range(4)) == ["label 0", "label 1", "label 3", "label 4"]
    assert len(Root.of(f"{bucket}/media").names()) == 4


def test_of_two_writers_of_one_content_the_second_gives_way(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Root.of(f"{bucket}/media")
    monkeypatch.setattr(Root, "exists", lambda *_: False)  # both looked before either wrote
    for content, left in ((b"sound", b"sound"), (b"SOUND", b"sound")):
        (tmp_path / "made").write_bytes(content)
        root.put_new(tmp_path / "made", "ab/x.flac")
        assert root.read("ab/x.flac") == left and not (tmp_path / "made").exists()
    (tmp_path / "made").write_bytes(b"longer")
    with pytest.raises(FileExistsError):
        root.put_new(tmp_path / "made", "ab/x.flac")
