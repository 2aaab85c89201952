"""Search equals brute force, and an index whose parts do not belong together is refused."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curation.errors import ArgumentError, DatasetError
from retrieval_index import manifest as manifest_module
from retrieval_index.embedder import Vectors
from retrieval_index.index import Hit, Index
from retrieval_index.manifest import MANIFEST_FILE, ROWS, faiss_module
from retrieval_index.structure import Structure
from tests.retrieval_index.toy_embedder import PITCHES_HZ, Pitches, tone

D = len(PITCHES_HZ)
EMBEDDER = Pitches()
SOURCE = {"embedder": "toy"}


def unit(count: int, seed: int, width: int = D) -> Vectors:
    vectors = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def rows_of(clips: list[str]) -> pa.Table:
    """A row a window; the windows of a clip follow each other, 1 s apart."""
    rows = [
        {
            "clip_id": clip,
            "start_s": float(clips[:row].count(clip)),
            "end_s": clips[:row].count(clip) + 2.0,
            "caption": f"words of {clip}",
            "audio_sha256": clip * 8,
        }
        for row, clip in enumerate(clips)
    ]
    return pa.Table.from_pylist(rows, schema=ROWS)


def build(folder: Path, vectors: Vectors, clips: list[str]) -> Path:
    return Index.build(folder, vectors, rows_of(clips), EMBEDDER.identity(), SOURCE)


def brute_force(vectors: Vectors, clips: list[str], query: Vectors, k: int) -> list[tuple[str, float, float]]:
    """(clip, start of its best window, score) of the best clips, by a sort of all the scores."""
    starts = rows_of(clips)["start_s"].to_pylist()
    best: dict[str, tuple[str, float, float]] = {}
    for row in sorted(range(len(clips)), key=lambda row: (-float(vectors[row] @ query), row)):
        best.setdefault(clips[row], (clips[row], starts[row], float(vectors[row] @ query)))
    return list(best.values())[:k]


CLIPS = [f"c{number:02d}" for number in range(40) for _ in range(1 + number % 4)]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = tmp_path_factory.mktemp("indexes") / "all"
    return Index.open(build(folder, unit(len(CLIPS), 0), CLIPS), embedder=EMBEDDER)


@pytest.mark.parametrize("k", [1, 5, 40, 1000])
def test_search_equals_brute_force(opened: Index, k: int) -> None:
    queries = unit(7, 1)
    answers = opened.search(queries, k)
    for query, hits in zip(queries, answers, strict=True):
        expected = brute_force(unit(len(CLIPS), 0), CLIPS, query, k)
        assert [(hit.clip_id, hit.start_s) for hit in hits] == [(clip, start) for clip, start, _ in expected]
        assert np.allclose([hit.score for hit in hits], [score for _, _, score in expected], atol=1e-5)
    assert len(answers[0]) == min(k, 40), "no more hits than clips"


@pytest.mark.parametrize("k", [1, 7, 30, 31])
def test_clips_of_one_window_each_and_equal_scores(tmp_path: Path, k: int) -> None:
    """Twenty different vectors and ten that are equal, which come in the order of the rows."""
    clips = [f"c{number:02d}" for number in range(30)]
    vectors = np.concatenate([unit(20, 0), np.tile(unit(1, 1), (10, 1))])
    opened = Index.open(build(tmp_path / "i", vectors, clips), embedder=EMBEDDER)
    queries = unit(6, 2)
    for query, hits in zip(queries, opened.search(queries, k), strict=True):
        assert [hit.clip_id for hit in hits] == [clip for clip, _, _ in brute_force(vectors, clips, query, k)]
        assert all(hit == opened.search(query[None], 30)[0][place] for place, hit in enumerate(hits))


def test_a_clip_with_many_windows_does_not_hide_the_others(tmp_path: Path) -> None:
    """100 windows of one clip lie nearer than any other clip: each clip is found once all the same."""
    near, far = np.eye(D, dtype=np.float32)[:1], unit(30, 5)
    vectors = np.concatenate([np.repeat(near, 100, axis=0), far])
    clips = ["long"] * 100 + [f"c{number}" for number in range(30)]
    hits = Index.open(build(tmp_path / "i", vectors, clips), embedder=EMBEDDER).search(near, k=10)[0]
    assert [hit.clip_id for hit in hits] == [clip for clip, _, _ in brute_force(vectors, clips, near[0], 10)]
    assert (hits[0].clip_id, hits[0].start_s) == ("long", 0.0), "of equal windows the first"


def test_a_hit_carries_its_row(opened: Index) -> None:
    hit = opened.search(unit(len(CLIPS), 0)[2:3], k=1)[0][0]
    assert hit == Hit(
        clip_id="c01", start_s=1.0, end_s=3.0, caption="words of c01", audio_sha256="c01" * 8, score=hit.score, window=1
    )
    assert 1 - 1e-6 <= hit.score <= 1


def test_a_text_and_a_sound_find_the_same_tone(tmp_path: Path) -> None:
    rate_hz = EMBEDDER.sample_rate_hz
    vectors = np.concatenate([EMBEDDER.embed_sound(tone(pitch_hz, 2, rate_hz)[None]) for pitch_hz in PITCHES_HZ])
    opened = Index.open(build(tmp_path / "i", vectors, [str(p) for p in PITCHES_HZ]), embedder=EMBEDDER)
    for pitch_hz in PITCHES_HZ:
        assert opened.query_text([str(pitch_hz)], k=1)[0][0].clip_id == str(pitch_hz)
        assert opened.query_sound(tone(pitch_hz, 1.5, rate_hz), k=1)[0].clip_id == str(pitch_hz)


def test_every_part_of_a_long_sound_is_asked(tmp_path: Path) -> None:
    rate_hz = EMBEDDER.sample_rate_hz
    vectors = np.concatenate([EMBEDDER.embed_sound(tone(pitch_hz, 2, rate_hz)[None]) for pitch_hz in PITCHES_HZ])
    opened = Index.open(build(tmp_path / "i", vectors, [str(p) for p in PITCHES_HZ]), embedder=EMBEDDER)
    wave_T = np.concatenate([tone(220, 4, rate_hz), tone(1760, 4, rate_hz)])
    hits = opened.query_sound(wave_T, k=2)
    assert {hit.clip_id for hit in hits} == {"220", "1760"}
    assert all(hit.score > 0.99 for hit in hits)


@pytest.mark.parametrize("k", [0, -1])
def test_fewer_than_one_clip_is_refused(opened: Index, k: int) -> None:
    with pytest.raises(ArgumentError, match=f"not {k}"):
        opened.search(unit(1, 0), k)


@pytest.mark.parametrize(
    "queries", [np.zeros((1, D + 1), np.float32), np.zeros(D, np.float32), np.full((1, D), np.nan, np.float32)]
)
def test_queries_of_another_shape_or_not_finite_are_refused(opened: Index, queries: Vectors) -> None:
    with pytest.raises(ArgumentError, match=r"must be finite and of shape \(n, 4\)"):
        opened.search(queries)


@pytest.mark.parametrize("texts", [[], [""], ["440", "  "]])
def test_an_empty_text_is_refused(opened: Index, texts: list[str]) -> None:
    with pytest.raises(ArgumentError, match="give some words"):
        opened.query_text(texts)


@pytest.mark.parametrize("wave_T", [np.zeros(0, np.float32), np.full(100, np.inf, np.float32)])
def test_an_empty_or_infinite_sound_is_refused(opened: Index, wave_T: Any) -> None:
    with pytest.raises(ArgumentError, match="the sound of the query"):
        opened.query_sound(wave_T)


def test_vectors_are_brought_to_length_one(tmp_path: Path) -> None:
    vectors = unit(5, 3)
    folder = Index.build(tmp_path / "i", 7 * vectors, rows_of(list("abcde")), EMBEDDER.identity(), SOURCE)
    hits = Index.open(folder, embedder=EMBEDDER).search(vectors[:1], k=1)[0]
    assert hits[0].score == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_a_vector_without_direction_is_refused_with_its_clip(tmp_path: Path, bad: float) -> None:
    vectors = unit(5, 3)
    vectors[3] = bad
    with pytest.raises(ArgumentError, match="the first is of clip d at 0 s"):
        build(tmp_path / "i", vectors, list("abcde"))
    assert list(tmp_path.iterdir()) == []


def test_a_vector_of_a_file_that_is_no_number_is_never_found(tmp_path: Path) -> None:
    """Whoever wrote the file: building refuses such vectors, and sums tell a file that was changed later."""
    folder = build(tmp_path / "i", unit(4, 0), ["a", "b", "c", "d"])
    manifest = manifest_module.read_manifest(folder)
    structure = Structure("flat", faiss_module().read_index(str(folder / manifest["files"]["vectors"]["name"])))
    faiss_module().rev_swig_ptr(structure.stored.get_xb(), 4 * D)[D : 2 * D] = np.nan
    rows = manifest_module.read_rows(folder, manifest).select(manifest_module.PLACED.names)
    manifest_module.commit(folder, manifest, rows, structure.index)
    index = Index.open(folder, embedder=EMBEDDER)
    hits = index.search(unit(3, 1), 4)
    assert [{hit.clip_id for hit in found} for found in hits] == [{"a", "c", "d"}] * 3
    assert np.isfinite([hit.score for found in hits for hit in found]).all()
    with pytest.raises(ArgumentError, match="must be finite"):
        index.query_windows(index.clip_vectors("b"))


@pytest.mark.parametrize(("vectors", "clips"), [(5, 4), (4, 5), (0, 0)])
def test_counts_that_differ_and_nothing_at_all_are_refused(tmp_path: Path, vectors: int, clips: int) -> None:
    with pytest.raises(ArgumentError, match=rf"\({vectors}, 4\) and {clips} rows do not make an index"):
        build(tmp_path / "i", unit(vectors, 0), list("abcde")[:clips])
    assert list(tmp_path.iterdir()) == []


def test_another_embedder_is_refused_by_what_differs(tmp_path: Path) -> None:
    folder = build(tmp_path / "i", unit(5, 0), list("abcde"))
    with pytest.raises(DatasetError, match="weights: 'first' there, 'second' here"):
        Index.open(folder, embedder=Pitches(weights="second"))


def file_of(folder: Path, part: str) -> Path:
    return folder / json.loads((folder / MANIFEST_FILE).read_text())["files"][part]["name"]


@pytest.mark.parametrize("part", ["vectors", "rows"])
def test_a_flipped_byte_is_refused(tmp_path: Path, part: str) -> None:
    file = file_of(build(tmp_path / "i", unit(5, 0), list("abcde")), part)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(DatasetError, match=f"{file.name} is missing or was changed"):
        Index.open(tmp_path / "i", embedder=EMBEDDER)


def test_rows_and_vectors_that_differ_in_number_are_refused(tmp_path: Path) -> None:
    """Also when the sums fit: here the manifest names the rows of another index."""
    folder, other = build(tmp_path / "i", unit(5, 0), list("abcde")), build(tmp_path / "o", unit(4, 0), list("abcd"))
    shutil.copy(file_of(other, "rows"), folder)
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest["files"]["rows"] = json.loads((other / MANIFEST_FILE).read_text())["files"]["rows"]
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    with pytest.raises(DatasetError, match="has 5 vectors, 4 rows and 5 in its manifest"):
        Index.open(folder, embedder=EMBEDDER)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "holds no index"), ("{", "is damaged"), ("[]", "is damaged"), ('{"version": 4}', "has index version 4")],
)
def test_a_manifest_that_is_missing_damaged_or_newer_is_refused(
    tmp_path: Path, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / MANIFEST_FILE).write_text(content)
    with pytest.raises(DatasetError, match=message):
        Index.open(tmp_path, embedder=EMBEDDER)


def test_a_second_build_replaces_the_first_and_leaves_nothing_else(tmp_path: Path) -> None:
    build(tmp_path / "i", unit(5, 0), list("abcde"))
    build(tmp_path / "i", unit(3, 0), list("xyz"))
    opened = Index.open(tmp_path / "i", embedder=EMBEDDER)
    assert len(opened) == 3
    assert {hit.clip_id for hit in opened.search(unit(1, 1), 10)[0]} == set("xyz")
    assert [path.name for path in tmp_path.iterdir()] == ["i"]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", ["sync_path", "write_bytes", "file_sha256"])
def test_a_build_that_fails_leaves_the_old_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    build(tmp_path / "i", unit(5, 0), list("abcde"))
    before = sorted(path.name for path in (tmp_path / "i").iterdir())

    def fail(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(manifest_module, moment, fail)
        build(tmp_path / "i", unit(3, 0), list("xyz"))
    assert len(Index.open(tmp_path / "i", embedder=EMBEDDER)) == 5
    assert sorted(path.name for path in (tmp_path / "i").iterdir()) == before


@pytest.mark.slow
def test_an_index_of_200_000_windows_opens_and_answers_in_seconds(tmp_path: Path) -> None:
    count, width = 200_000, 512
    clips = np.repeat(np.arange(count // 2), 2).astype(str)
    rows = pa.table(
        {
            "clip_id": clips,
            "start_s": np.tile([0.0, 5.0], count // 2),
            "end_s": np.tile([10.0, 15.0], count // 2),
            "caption": clips,
            "audio_sha256": clips,
        }
    )
    wide = Pitches(dimension=width)
    vectors = unit(count, 0, width)
    Index.build(tmp_path / "i", vectors, rows, wide.identity(), SOURCE)
    begun = time.monotonic()
    opened = Index.open(tmp_path / "i", embedder=wide)
    hits = opened.search(vectors[::10_000], k=10)
    assert time.monotonic() - begun < 30
    assert [found[0].clip_id for found in hits] == [str(row // 2) for row in range(0, count, 10_000)]


@pytest.mark.parametrize("kind", [tuple, frozenset, list, set])
@pytest.mark.parametrize("queries", [1, 40])
def test_clips_that_may_be_found_are_known_again_if_they_cannot_change(opened: Index, kind: Any, queries: int) -> None:
    asked = unit(queries, 1)
    among = kind(["c01", "c05", "c09", "not there"])
    expected = [[hit for hit in hits if hit.clip_id in among] for hits in opened.search(asked, 40)]
    for _ in range(2):
        found = opened.search(asked, 5, among=among)
        for hits, wanted in zip(found, expected, strict=True):
            assert [(hit.clip_id, hit.start_s) for hit in hits] == [(hit.clip_id, hit.start_s) for hit in wanted]
            assert np.allclose([hit.score for hit in hits], [hit.score for hit in wanted], atol=1e-5)
    if isinstance(among, list):
        among.remove("c05")
        assert {hit.clip_id for hit in opened.search(asked, 5, among=among)[0]} == {"c01", "c09"}
    assert any(kept.among is among for kept in opened._kept) == isinstance(among, tuple | frozenset)
    opened.search(asked, 5, among=kind())
