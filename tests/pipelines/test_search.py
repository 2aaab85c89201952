"""Search from the verbs: filters, expressions, copies, selections of what was found, changes, and neighbours."""

import json
import shutil
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.blobs import BlobReader
from curation.dataset import Dataset
from curation.duplicates.found import DUPLICATES, found_path
from curation.errors import ArgumentError, DatasetError, LockedError
from curation.keys import file_sha256
from curation.lock import writer_lock
from curation.measure import Measure
from curation.selections.selection import read_rows, select
from curation.selections.where import clips_where
from curation.text_arrays import text_hash
from models.encoders.clap_fit import TinyClapConfig, build_tiny_clap
from pipelines.program import make_app
from pipelines.runner import Job, run
from pipelines.verbs.embed import embed
from pipelines.verbs.index import index
from pipelines.verbs.neighbours import neighbours
from pipelines.verbs.query import QueryResult, Terms, open_index, query
from pipelines.wiring.embedders import load_clap
from retrieval_index.change import drop, remove
from retrieval_index.index import Index
from retrieval_index.manifest import GATHERED, PLACED, commit
from retrieval_index.manifest import read_rows as read_index_rows
from retrieval_index.neighbours import Neighbours
from tests.retrieval_index.tones import RATE_HZ, clip_of, tone_dataset
from tests.retrieval_index.toy_embedder import tone

CAPTIONS = {"low": "a low hum", "middle": "a steady tone", "high": "a shrill whistle", "noise": "a rushing waterfall"}
TINY = TinyClapConfig(sample_rate_hz=RATE_HZ, window_s=2, f_max_hz=3_900, audio_width=16, text_width=32, dimension=16)
ALL = {clip_of(name) for name in CAPTIONS}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search") / "dataset"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * RATE_HZ).astype(np.float32)
    sounds = {"low": tone(110, 1, RATE_HZ), "middle": tone(440, 2, RATE_HZ), "high": tone(3000, 3, RATE_HZ)}
    dataset = tone_dataset(folder, {**sounds, "noise": noise}, CAPTIONS)
    stage = Measure(media=dataset.media)
    run(dataset, Job(stage=stage, queue=lambda: dataset.pending(stage), batch_rows=8, workers=0))
    clap = build_tiny_clap(list(CAPTIONS.values()), TINY, seed=0).save(dataset.folder("runs") / "clap" / "model")
    select(dataset, name="train")
    embed(folder, embedder=str(clap), workers=0)
    index(folder, embedder=str(clap))
    return folder


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it, so that it may be changed."""
    yield Path(shutil.copytree(made, tmp_path / "dataset"))


def clap_of(dataset: Path) -> str:
    return str(dataset / "runs" / "clap" / "model")


def clips(result: QueryResult) -> list[str]:
    return [hit.clip_id for hit in result.hits]


def test_a_condition_filters_and_the_rest_keeps_its_order(made: Path) -> None:
    everything = clips(query(made, "a hum"))
    for condition, names in (
        ("measure.duration_s > 2.5", {"high", "noise"}),
        ("list_contains(clips.captions, 'a low hum')", {"low"}),
        ("videos.video_id = 'middle' OR measure.duration_s < 1.5", {"low", "middle"}),
        ("cut.sample_rate_hz = 1", set()),
    ):
        expected = {clip_of(name) for name in names}
        assert set(clips_where(Dataset(made), condition)) == expected
        assert clips(query(made, "a hum", where=condition)) == [clip for clip in everything if clip in expected]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("nothing.at = 1", "refused by DuckDB"),
        ("true) (", "refused by DuckDB"),
        ("true); CREATE TABLE t AS SELECT 1; SELECT (1", "more than one expression"),
        ("(SELECT count(*) FROM read_csv('/etc/passwd')) > 0", "outside of the dataset"),
        ("(SELECT count(*) FROM read_text('/etc/hostname')) > 0", "outside of the dataset"),
    ],
)
def test_a_condition_that_is_wrong_or_reaches_out_is_refused(made: Path, condition: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        query(made, "a hum", where=condition)


def test_like_a_clip_finds_others_and_not_itself(made: Path) -> None:
    found = query(made, clip=clip_of("noise"))
    assert set(clips(found)) == ALL - {clip_of("noise")}
    index_ = open_index(Dataset(made), "train")
    own = index_.clip_vectors(clip_of("noise"))
    assert own.shape == (2, 16)
    assert found.hits[0].score == pytest.approx(
        max(float((index_.clip_vectors(clip) @ own.T).max()) for clip in ALL - {clip_of("noise")}), abs=1e-5
    )
    with pytest.raises(ArgumentError, match="clip 'unknown' has no vectors 'clap'"):
        query(made, clip="unknown")


def test_a_clip_outside_of_the_index_is_asked_by_its_stored_vectors(dataset: Path) -> None:
    select(Dataset(dataset), name="few", where="measure.duration_s < 2.5")
    index(dataset, selection="few", embedder=clap_of(dataset))
    found = query(dataset, clip=clip_of("noise"), index="few")
    assert set(clips(found)) == {clip_of("low"), clip_of("middle")}
    inside = query(dataset, clip=clip_of("noise")).hits
    assert [hit.score for hit in found.hits] == pytest.approx(
        [hit.score for hit in inside if hit.clip_id in clips(found)], abs=1e-3
    )


def test_an_expression_equals_its_arithmetic(made: Path) -> None:
    clap, searched = load_clap(clap_of(made)), open_index(Dataset(made), "train")
    hum, whistle = clap.embed_text(["a low hum", "a shrill whistle"])
    wanted = hum - 0.5 * whistle
    wanted /= np.linalg.norm(wanted)
    expected = searched.search(wanted[None], 4)[0]
    found = query(made, "a low hum", terms=Terms(minus=("0.5 * a shrill whistle",)))
    assert clips(found) == [hit.clip_id for hit in expected]
    assert [hit.score for hit in found.hits] == pytest.approx([hit.score for hit in expected], abs=1e-5)
    only_plus = query(made, terms=Terms(plus=("a low hum",)))
    assert [hit.score for hit in only_plus.hits] == pytest.approx([h.score for h in query(made, "a low hum").hits])
    with pytest.raises(ArgumentError, match="cancel each other"):
        query(made, "a hum", terms=Terms(minus=("a hum",)))


def test_the_command_line_takes_terms(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["query", str(made), "a low hum", "--minus", "music", "--minus", "2*rain", "--plus", "a tone", "--k", "2"]
    assert len(make_app()(words).hits) == 2


def test_copies_are_folded_by_groups_and_by_cosine(dataset: Path) -> None:
    everything = clips(query(dataset, "a hum"))
    near, index_ = query(dataset, "a hum", fold=0.5), open_index(Dataset(dataset), "train")
    best_window = {hit.clip_id: index_.clip_vectors(hit.clip_id)[hit.window] for hit in query(dataset, "a hum").hits}
    assert near.folded and {*clips(near), *(copy for copies in near.folded.values() for copy in copies)} == ALL
    for head, copies in near.folded.items():
        assert all(float(best_window[head] @ best_window[copy]) >= 0.5 for copy in copies)
    assert all(float(best_window[a] @ best_window[b]) < 0.5 for a, b in combinations(clips(near), 2))
    path = found_path(Dataset(dataset), "duplicates")
    best, second = everything[1], everything[3]
    rows = [
        {"clip_id": clip, "group": "g", "rank": rank, "kept_clip_id": best, "layer": "samples", "guard_sounds": []}
        for rank, clip in enumerate((best, second))
    ]
    path.parent.mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema=DUPLICATES), path)
    described = {"schema_version": 1, "sha256": file_sha256(path), "settings": {}, "guards": {}, "covered": {}}
    path.with_suffix(".json").write_text(json.dumps({**described, "counts": {}}))
    folded = query(dataset, "a hum", k=4)
    assert clips(folded) == everything[:3]
    assert folded.folded == {best: [second]}
    assert "(and 1 copy)" in str(folded)
    assert [set(hit) for hit in folded.as_dict()] == [{"clip_id", "start_s", "end_s", "score", "caption", "path"}] * 3
    assert query(dataset, "a hum", where="false").as_dict() == [], "nothing found has no groups"


def test_what_was_found_becomes_a_selection(dataset: Path) -> None:
    found = query(dataset, "a low hum", k=2, select="hums")
    assert found.selection is not None
    assert found.selection.kept_clips == 2
    kept = read_rows(Dataset(dataset), "hums", kept_only=True)
    assert set(kept["clip_id"].to_pylist()) == set(clips(found))
    assert {caption for texts in kept["captions"].to_pylist() for caption in texts} <= set(CAPTIONS.values())
    with pytest.raises(ArgumentError, match="would replace the selection of the index"):
        query(dataset, "a low hum", select="train")
    assert query(dataset, "a low hum", k=1, select="hums").selection is not None, "what a query made, another may"
    select(Dataset(dataset), name="own")
    with pytest.raises(ArgumentError, match="would replace a selection that `select` made"):
        query(dataset, "a low hum", select="own")
    assert len(read_rows(Dataset(dataset), "own", kept_only=True)) > 2
    with pytest.raises(ArgumentError, match="nothing was found"):
        query(dataset, "a low hum", where="false", select="none")


def test_an_index_takes_in_only_what_changed_and_says_when_it_is_old(dataset: Path) -> None:
    opened, clap = Dataset(dataset), clap_of(dataset)
    same = index(dataset, embedder=clap)
    assert (same.added, same.removed) == (0, 0)
    before = same.manifest["files"]["vectors"]
    select(opened, name="train", where="videos.video_id <> 'low'")
    with pytest.raises(DatasetError, match="before it was made anew; bring it up to date with `foundsound index"):
        query(dataset, "a hum")
    fewer = index(dataset, embedder=clap)
    assert (fewer.added, fewer.removed, fewer.clips) == (0, 1, 3)
    assert fewer.manifest["files"]["vectors"] != before
    assert set(clips(query(dataset, "a hum"))) == ALL - {clip_of("low")}
    select(opened, name="train")
    assert index(dataset, embedder=clap).added is None, "a third of the index is more than is changed in place"
    assert set(clips(query(dataset, "a hum"))) == ALL
    assert index(dataset, embedder=clap, kind="flat").added == 0


def test_an_index_of_which_nothing_changed_reads_no_vector(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(*arguments: object) -> None:
        raise AssertionError("a vector was read")

    clap, folder = clap_of(dataset), dataset / "indexes" / "train"
    before = index(dataset, embedder=clap).manifest
    with monkeypatch.context() as patch:
        patch.setattr(BlobReader, "view", unexpected)
        same = index(dataset, embedder=clap)
        assert (same.added, same.removed, same.manifest) == (0, 0, before)
        for blob in (dataset / "vectors").rglob("*.bin"):
            blob.touch()
        with pytest.raises(AssertionError, match="a vector was read"):
            index(dataset, embedder=clap)
    remove(folder, [clip_of("low")])
    assert Index.read_manifest(folder)["source"].get(GATHERED) is None, "it is no more what was gathered"
    index(dataset, embedder=clap)
    assert set(clips(query(dataset, "a hum"))) == ALL


def test_a_takedown_leaves_the_index_usable(dataset: Path) -> None:
    index(dataset, name="second", embedder=clap_of(dataset))
    (dataset / "indexes" / "second" / "index.json").write_text("{")
    high = {clip_of("high")}
    assert not drop(dataset / "indexes" / "second", high), "what cannot be read is deleted as a whole"
    assert not (dataset / "indexes" / "second").exists()
    assert drop(dataset / "indexes" / "train", high)
    assert set(clips(query(dataset, "a hum"))) == ALL - high
    assert not drop(dataset / "indexes" / "train", ALL)


def test_captions_and_labels_are_embedded_by_themselves(dataset: Path) -> None:
    clap = clap_of(dataset)
    assert embed(dataset, embedder=clap, texts=True, workers=0).tally.done == len(CAPTIONS)
    assert embed(dataset, embedder=clap, texts=True, workers=0).tally.done == 0, "once"
    made = Dataset(dataset).sql("SELECT DISTINCT key, input FROM embed_text WHERE state = 'done'").to_pylist()
    assert {(row["key"], row["input"]) for row in made} == {
        (clip_of(name), text_hash(caption)) for name, caption in CAPTIONS.items()
    }


def test_neighbours_are_stored_for_every_caption_and_embedded_once(dataset: Path) -> None:
    opened, clap = Dataset(dataset), clap_of(dataset)
    select(opened, name="test", split="test")
    by_text = neighbours(dataset, embedder=clap, of="train", k=2)
    assert (by_text.manifest["captions"], by_text.manifest["store_clips"]) == (4, 4)
    facts = opened.sql("SELECT key, input, blob FROM embed_text ORDER BY key").to_pylist()
    assert {(row["key"], row["input"]) for row in facts} == {
        (clip_of(name), text_hash(text)) for name, text in CAPTIONS.items()
    }
    by_sound = neighbours(dataset, embedder=clap, of="train", by="sound", k=2)
    assert opened.sql("SELECT key, input, blob FROM embed_text ORDER BY key").to_pylist() == facts, "nothing twice"
    vectors = dict(zip(CAPTIONS, load_clap(clap).embed_text(list(CAPTIONS.values())), strict=True))
    sounds = open_index(opened, "train")
    for name, caption in CAPTIONS.items():
        others = [other for other in CAPTIONS if other != name]
        texts = sorted(others, key=lambda other: -float(vectors[other] @ vectors[name]))
        heard = sorted(others, key=lambda other: -float((sounds.clip_vectors(clip_of(other)) @ vectors[name]).max()))
        for result, expected in ((by_text, texts), (by_sound, heard)):
            found = Neighbours(result.folder).of(clip_of(name), caption)
            assert [one.clip_id for one in found] == [clip_of(other) for other in expected[:2]]


def test_neighbours_are_looked_for_in_the_training_split_only(dataset: Path) -> None:
    select(Dataset(dataset), name="test", split="test")
    with pytest.raises(ArgumentError, match="'test' is of the split 'test'; neighbours are looked for in the training"):
        neighbours(dataset, store="test", embedder=clap_of(dataset))
    with pytest.raises(ArgumentError, match="no clip of test has a caption"):
        neighbours(dataset, of="test", embedder=clap_of(dataset))
    with pytest.raises(ArgumentError, match="--k must be at least 1"):
        neighbours(dataset, k=0, embedder=clap_of(dataset))


@pytest.mark.parametrize("by", ["text", "sound"])
def test_captions_of_the_test_split_find_training_clips_only(dataset: Path, by: Literal["text", "sound"]) -> None:
    opened, clap = Dataset(dataset), clap_of(dataset)
    told = {"key": clip_of("high"), "grain": "clip", "list": "listed", "line": 99, "split": "test"}
    opened.append("annotations", [told])
    for name in ("train", "test"):
        select(opened, name=name, split=name)
    result = neighbours(dataset, embedder=clap, by=by)
    assert set(result.manifest["of"]) == {"train", "test"} and result.manifest["captions"] == 4
    found = Neighbours(result.folder)
    for name, caption in CAPTIONS.items():
        expected = ALL - {clip_of("high"), clip_of(name)}
        assert {one.clip_id for one in found.of(clip_of(name), caption)} == expected
    stored = pq.read_table(result.folder / result.manifest["files"]["store"]["name"])["clip_id"].to_pylist()
    assert set(stored) == ALL - {clip_of("high")}


@pytest.fixture
def bound(dataset: Path) -> Path:
    """A dataset whose index fits it wholly."""
    index(dataset, embedder=clap_of(dataset), check=True)
    return dataset


def repairing(dataset: Path) -> str:
    return f"foundsound index {dataset} --name train --selection train --vectors clap --embedder "


def refused(dataset: Path, message: str) -> None:
    """`index --check` refuses; the command that it names makes it fit again."""
    with pytest.raises(DatasetError, match=message) as error:
        index(dataset, embedder=clap_of(dataset), check=True)
    assert repairing(dataset) in str(error.value)
    index(dataset, embedder=clap_of(dataset))
    index(dataset, embedder=clap_of(dataset), check=True)


def test_a_check_takes_no_lock_and_refuses_an_index_that_is_being_written(bound: Path) -> None:
    locks = bound / "locks"
    shutil.rmtree(locks)
    index(bound, embedder=clap_of(bound), check=True)
    assert not list(locks.glob("index-*"))
    with writer_lock(locks / "index-train.lock", "it"), pytest.raises(LockedError, match="is being written now"):
        index(bound, embedder=clap_of(bound), check=True)


def test_vectors_that_were_changed_are_refused_and_taken_in_anew(bound: Path) -> None:
    dataset, clip = Dataset(bound), clip_of("noise")
    place = dataset.sql("SELECT blob, offset_bytes, windows FROM embed WHERE key = ?", [clip]).to_pylist()[0]
    before = open_index(dataset, "train").clip_vectors(clip)
    blob = dataset.folder("vectors") / place["blob"]
    content = bytearray(blob.read_bytes())
    vectors = np.frombuffer(content, "<f2", place["windows"] * 16, place["offset_bytes"])
    vectors[:] = vectors[::-1].copy()
    blob.write_bytes(content)
    refused(bound, f"1 clips differ in their sound or vectors, as {clip}")
    after = open_index(dataset, "train").clip_vectors(clip)
    assert np.allclose(after, before.ravel()[::-1].reshape(before.shape), atol=1e-3)


def test_a_selection_with_other_captions_is_refused(bound: Path) -> None:
    dataset = Dataset(bound)
    said = {"key": clip_of("low"), "grain": "clip", "list": "listed", "line": 99, "captions": ["a dark hum"]}
    dataset.append("annotations", [said])
    select(dataset, name="train")
    refused(bound, "selection 'train' was made anew since")


def test_a_clip_too_many_is_refused(bound: Path) -> None:
    select(Dataset(bound), name="train", where="measure.duration_s > 1.5")
    refused(bound, "selection 'train' was made anew since")
    assert set(clips(query(bound, "a hum"))) == ALL - {clip_of("low")}


@pytest.mark.parametrize("part", ["rows", "vectors"])
def test_a_file_of_an_index_that_was_changed_is_refused(bound: Path, part: str) -> None:
    folder = bound / "indexes" / "train"
    file = folder / json.loads((folder / "index.json").read_text())["files"][part]["name"]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(DatasetError, match="is missing or was changed") as error:
        open_index(Dataset(bound), "train")
    assert repairing(bound) in str(error.value)
    refused(bound, "is missing or was changed")


@pytest.mark.parametrize("what", ["weights_sha256", "preprocessing", "class"])
def test_another_embedder_is_refused(bound: Path, what: str) -> None:
    file = bound / "indexes" / "train" / "index.json"
    manifest = json.loads(file.read_text())
    manifest["embedder"][what] = "another"
    file.write_text(json.dumps(manifest))
    with pytest.raises(DatasetError, match=f"made with another embedder \\({what}: 'another' there") as error:
        open_index(Dataset(bound), "train")
    assert repairing(bound) in str(error.value)
    refused(bound, f"made with another embedder \\({what}")


def test_an_index_without_sums_of_vectors_is_bound_anew(bound: Path) -> None:
    """As `Index.build` makes it from vectors that come from elsewhere."""
    folder = bound / "indexes" / "train"
    manifest = Index.read_manifest(folder)
    del manifest["source"][GATHERED]
    rows = read_index_rows(folder, manifest).select(PLACED.names)
    at = rows.schema.get_field_index("vectors_sha256")
    commit(folder, manifest, rows.set_column(at, PLACED.field(at), pa.nulls(len(rows), pa.large_string())), None)
    assert set(clips(query(bound, "a hum"))) == ALL
    refused(bound, "4 clips differ")
