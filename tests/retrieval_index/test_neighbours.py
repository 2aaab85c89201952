"""Neighbours equal brute force, never the own clip, video or another split, and go by clip and caption."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from curation.errors import ArgumentError, DatasetError
from curation.text_arrays import text_hash
from retrieval_index import neighbours as module
from retrieval_index.neighbours import MANIFEST_FILE, Items, Neighbour, Neighbours, find_neighbours, write_neighbours

WIDTH = 8


def items(count: int, seed: int, *, a_clip: int = 1, a_video: int = 2, hashed: bool = True) -> Items:
    """`a_clip` items a clip and `a_video` clips a video, shuffled."""
    draw = np.random.default_rng(seed)
    order = draw.permutation(count)
    clips = np.array([f"c{row // a_clip:04d}" for row in range(count)])[order]
    videos = np.array([f"v{row // a_clip // a_video:04d}" for row in range(count)])[order]
    hashes = np.array([text_hash(f"{row}") for row in range(count)])[order]
    vectors = draw.standard_normal((count, WIDTH)).astype(np.float32)
    return Items(clips, videos, hashes if hashed else None, vectors)


def brute_force(queries: Items, store: Items, k: int) -> list[list[str]]:
    found = []
    unit = store.vectors_ND / np.linalg.norm(store.vectors_ND, axis=1, keepdims=True)
    for vector_D, video in zip(queries.vectors_ND, queries.videos, strict=True):
        scores = unit @ vector_D
        best = [row for row in np.argsort(-scores, kind="stable") if store.videos[row] != video]
        found.append(list(dict.fromkeys(store.clip_ids[best].tolist()))[:k])
    return found


@pytest.mark.parametrize("spare", [0, 6])
@pytest.mark.parametrize("a_clip", [1, 3])
@pytest.mark.parametrize("k", [1, 5, 1_000])
def test_neighbours_equal_brute_force(monkeypatch: pytest.MonkeyPatch, spare: int, a_clip: int, k: int) -> None:
    """However many are asked for at first, with one and several captions a clip, and where there are fewer than k."""
    monkeypatch.setattr(module, "SPARE_CLIPS", spare)
    monkeypatch.setattr(module, "QUERIES_AT_ONCE", 50)
    queries, store = items(120, 0, a_clip=a_clip), items(300, 1, a_clip=a_clip)
    rows = find_neighbours(queries, store, k)
    assert rows["neighbours"].to_pylist() == brute_force(queries, store, k)
    assert rows["clip_id"].to_pylist() == queries.clip_ids.tolist()
    assert all(scores == sorted(scores, reverse=True) for scores in rows["scores"].to_pylist())


def test_the_own_video_is_left_out_and_the_nearest_caption_named() -> None:
    """Equal vectors everywhere: what is left are the clips of the other video, by clip_id."""
    store = Items(
        np.array(["b2", "a1", "b1", "a2", "b1"]),
        np.array(["b", "a", "b", "a", "b"]),
        np.array(["h1", "h2", "h3", "h4", "h5"]),
        np.array([[1, 0], [1, 0], [0, 1], [1, 0], [1, 0]], np.float32),
    )
    query = Items(np.array(["a1"]), np.array(["a"]), np.array(["h2"]), np.array([[2, 0]], np.float32))
    row = find_neighbours(query, store, 10).to_pylist()[0]
    assert (row["neighbours"], row["captions"], row["scores"]) == (["b1", "b2"], ["h5", "h1"], [1.0, 1.0])


def test_a_query_whose_video_is_the_whole_store_has_none() -> None:
    store = items(6, 0, a_video=6)
    assert find_neighbours(store, store, 3)["neighbours"].to_pylist() == [[]] * 6


def test_sounds_have_no_captions() -> None:
    rows = find_neighbours(items(4, 0), items(40, 1, a_clip=2, hashed=False), 3)
    assert rows["captions"].to_pylist() == [None] * 4
    assert rows["neighbours"].to_pylist() == brute_force(items(4, 0), items(40, 1, a_clip=2), 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_a_vector_without_direction_is_refused(bad: float) -> None:
    store = items(4, 0)
    store.vectors_ND[2] = bad
    with pytest.raises(ArgumentError, match="1 of 4 vectors are zero or not finite"):
        find_neighbours(items(2, 1), store)


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(ArgumentError, match="k of at least 1, not 0"):
        find_neighbours(items(2, 0), items(4, 1), 0)
    with pytest.raises(ArgumentError, match="need captions, a store"):
        find_neighbours(items(2, 0), items(0, 1))
    with pytest.raises(ArgumentError, match="do not belong together"):
        Items(np.array(["a"]), np.array(["v"]), None, np.zeros((2, WIDTH)))


def test_they_are_read_back_by_clip_and_caption(tmp_path: Path) -> None:
    queries, store = items(20, 0), items(30, 1)
    folder = tmp_path / "neighbours" / "text"
    write_neighbours(folder, find_neighbours(queries, store, 2), store, {"k": 2})
    write_neighbours(folder, find_neighbours(queries, store, 3), store, {"k": 3})
    assert len(list(folder.iterdir())) == 3, "the files of before are gone"
    read = Neighbours(folder)
    assert (len(read), read.manifest["k"], read.manifest["store_clips"]) == (20, 3, 30)
    place = queries.hashes.tolist().index(text_hash("7")) if queries.hashes is not None else -1
    found = read.of(str(queries.clip_ids[place]), "7")
    assert [one.clip_id for one in found] == brute_force(queries, store, 3)[place]
    assert isinstance(found[0], Neighbour) and found[0].caption_hash is not None
    with pytest.raises(ArgumentError, match="has no neighbours for the caption"):
        read.of(str(queries.clip_ids[place]), "another")


def test_files_that_are_damaged_or_gone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no neighbours"):
        Neighbours(tmp_path)
    queries, store = items(20, 0), items(30, 1)
    manifest = write_neighbours(tmp_path, find_neighbours(queries, store, 2), store, {})
    file = tmp_path / manifest["files"]["neighbours"]["name"]
    pq.write_table(pq.read_table(file).slice(1), file)
    with pytest.raises(DatasetError, match="was changed"):
        Neighbours(tmp_path)
    (tmp_path / MANIFEST_FILE).write_text('{"version": 9}')
    with pytest.raises(DatasetError, match="has version 9"):
        Neighbours(tmp_path)
