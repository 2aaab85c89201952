"""A run on several nodes is refused where one of them sees other storage."""

import os
from pathlib import Path

import pytest

from curation.dataset import Dataset
from curation.errors import StoppedError
from curation.tables import remove_leftovers
from pipelines import nodes
from pipelines.nodes import Node, read_nonces, remove_nonce, require_shared_roots, roots_of, write_nonce

HERE, THERE = Node("a", "first (10.0.0.1)"), Node("b", "second (10.0.0.2)")


def other_disk(files: dict[str, str], root: str) -> dict[str, str]:
    """What a node reads on which `root` is a folder of its own."""
    return read_nonces({**files, root: "nothing-of-this-name"})


def connect(monkeypatch: pytest.MonkeyPatch, *there: Node, other: str | None = None) -> None:
    """Let the cluster have these nodes; `other` is a root that the last one does not share."""

    def ask(asked: list[Node], files: dict[str, str]) -> dict[Node, dict[str, str]]:
        found = {node: read_nonces(files) for node in asked}
        return {**found, asked[-1]: other_disk(files, other)} if other else found

    monkeypatch.setattr(nodes, "alive_nodes", lambda: list(there))
    monkeypatch.setattr(nodes, "_ask", ask)


def test_nodes_that_share_every_root_may_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = {"media": str(tmp_path / "media"), "shards": "memory://nodes-test/shards"}
    connect(monkeypatch, HERE, THERE)
    require_shared_roots(roots)
    assert list((tmp_path / "media").iterdir()) == []


def test_a_node_with_another_disk_is_named_with_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = {"media": str(tmp_path / "media"), "shards": str(tmp_path / "shards")}
    connect(monkeypatch, HERE, THERE, other=roots["shards"])
    with pytest.raises(StoppedError, match=r"node second \(10\.0\.0\.2\).*'shards' at .*FileNotFoundError"):
        require_shared_roots(roots)
    assert list(tmp_path.rglob("*nonce*")) == []


def test_one_node_needs_no_nonce(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, HERE, other=str(tmp_path))
    require_shared_roots({"media": str(tmp_path / "media")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_a_nonce_is_read_back_once(kind: str, tmp_path: Path) -> None:
    root = str(tmp_path / "media") if kind == "folder" else "memory://nodes-test/one"
    name, content = write_nonce(root)
    assert read_nonces({root: name}) == {root: content}
    remove_nonce(root, name)
    assert "FileNotFoundError" in read_nonces({root: name})[root]


def test_the_nonce_of_a_killed_driver_is_a_leftover(tmp_path: Path) -> None:
    name, _ = write_nonce(str(tmp_path))
    os.utime(tmp_path / name, (0, 0))
    assert remove_leftovers(tmp_path) == 1


def test_roots_are_those_of_the_dataset(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "dataset")
    dataset.set_config(roots={"media": "media", "shards": "s3://bucket/shards", "vectors": "/shared/vectors"})
    assert roots_of(dataset) == {
        "media": str(dataset.path / "media"),
        "shards": "s3://bucket/shards",
        "vectors": "/shared/vectors",
        "latents": str(dataset.path / "latents"),
    }
