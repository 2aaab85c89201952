"""Embedders of other kinds than a folder with a CLAP: laion-clap's files and taggers, from sounds to answers."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from curation.dataset import Dataset
from curation.errors import ArgumentError, DatasetError
from curation.selections.selection import select
from models.encoders.clap_fit import build_tiny_clap
from pipelines.verbs.embed import embed
from pipelines.verbs.index import index
from pipelines.verbs.query import query
from pipelines.wiring.embedders import (
    ClapEmbedder,
    PeAvEmbedder,
    TagEmbedder,
    embed_stage,
    embed_text_stage,
    embedder_of,
    embedder_source,
    load_embedder,
)
from retrieval_index.embedder import Embedder, PictureEmbedder
from retrieval_index.windows import mono
from tests.models.encoders.tiny_checkpoint import write_checkpoint
from tests.pipelines.test_tagging import save_mobilenet
from tests.pipelines.test_wiring import CAPTIONS, TINY, measured
from tests.retrieval_index.tones import RATE_HZ, clip_of, tone_dataset
from tests.retrieval_index.toy_embedder import tone


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four sounds, a checkpoint of laion-clap inside the dataset, a tagger's weights beside it."""
    folder = tmp_path_factory.mktemp("embedders")
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * RATE_HZ).astype(np.float32)
    sounds = {"low": tone(110, 1, RATE_HZ), "middle": tone(440, 2, RATE_HZ), "high": tone(3000, 12, RATE_HZ)}
    dataset = measured(tone_dataset(folder / "dataset", {**sounds, "noise": noise}, CAPTIONS))
    select(dataset, name="train")
    (folder / "dataset" / "runs" / "clap").mkdir(parents=True)
    write_checkpoint(folder / "dataset" / "runs" / "clap")
    save_mobilenet(folder / "tagger")
    return folder


@pytest.fixture(scope="module")
def clap(made: Path) -> Path:
    """The dataset, embedded and indexed with the checkpoint."""
    dataset, file = made / "dataset", str(made / "dataset" / "runs" / "clap" / "tiny.pt")
    assert embed(dataset, embedder=file, workers=0).stages["embed"].done == 4
    assert index(dataset, embedder=file).windows == 5
    return dataset


@pytest.fixture(scope="module")
def tags(made: Path) -> Path:
    """The dataset, embedded and indexed with the tagger."""
    dataset, tagger = made / "dataset", f"tag:{made / 'tagger' / 'mn01.pt'}"
    assert embed(dataset, embedder=tagger, name="tags", workers=0).tally.done == 4
    assert index(dataset, name="tags", embedder=tagger, vectors="tags").clips == 4
    return dataset


def test_a_checkpoint_of_laion_clap_makes_an_index_that_is_asked_in_words(clap: Path) -> None:
    hits = query(clap, "a shrill whistle", k=4).hits
    assert {hit.clip_id for hit in hits} == {clip_of(name) for name in CAPTIONS}
    encoder = embedder_of(clap / "indexes" / "train")
    assert isinstance(encoder, ClapEmbedder) and encoder.identity()["conversion"] == "1"
    source = json.loads((clap / "indexes" / "train" / "index.json").read_text())["source"]
    assert source["embedder"] == "../../runs/clap/tiny.pt", "inside the dataset: named as seen from the index"


def test_a_dataset_with_its_own_checkpoint_may_be_moved_and_another_checkpoint_is_refused(
    clap: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(clap, tmp_path / "moved"))
    assert query(moved, "a low hum").hits == query(clap, "a low hum").hits
    write_checkpoint(moved / "runs" / "clap", note=1)
    with pytest.raises(DatasetError, match=r"another embedder \(weights_sha256"):
        query(moved, "a low hum")


def test_a_wrong_checkpoint_is_a_wrong_argument(clap: Path, tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(ArgumentError, match=r"no CLAP can be loaded from .*text\.pt.* cannot be read as weights"):
        embed(clap, embedder=str(tmp_path / "text.pt"), name="other", workers=0)


def test_a_tagger_finds_sounds_by_sounds_and_knows_no_words(tags: Path, made: Path) -> None:
    opened = Dataset(tags)
    for name in CAPTIONS:
        sha256 = opened.sql("SELECT audio_sha256 FROM cut WHERE key = ?", [clip_of(name)]).to_pylist()[0]
        file = opened.media.path(sha256["audio_sha256"], ".flac")
        best = query(tags, sound=file, index="tags", k=1).hits[0]
        assert (best.clip_id, best.score) == (clip_of(name), pytest.approx(1, abs=1e-3))
        assert clip_of(name) not in {hit.clip_id for hit in query(tags, clip=clip_of(name), index="tags").hits}
    with pytest.raises(ArgumentError, match="'a hum' cannot be looked for: a tagger's vectors are of sounds only"):
        query(tags, "a hum", index="tags")
    assert index(tags, name="graph", embedder=f"tag:{made / 'tagger' / 'mn01.pt'}", vectors="tags", kind="hnsw").clips


def test_a_taggers_vectors_are_those_before_its_classifier(made: Path) -> None:
    embedder = load_embedder(f"tag:{made / 'tagger' / 'mn01.pt'}")
    assert isinstance(embedder, TagEmbedder)
    wave_BT = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 40_000)).astype(np.float32)
    vectors_BD = embedder.tagger.tag(wave_BT)[1]
    expected = vectors_BD / np.linalg.norm(vectors_BD, axis=1, keepdims=True)
    np.testing.assert_allclose(embedder.embed_sound(wave_BT), expected, atol=1e-6)
    assert (embedder.sample_rate_hz, embedder.dimension) == (32_000, 96)


@pytest.mark.parametrize("searched", ["train", "tags"])
def test_an_index_of_sounds_is_not_asked_with_pictures(searched: str, clap: Path, tags: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"Embedder|Encoder.* cannot see pictures; use vectors of one that does"):
        query(clap, picture=tmp_path / "a.png", index=searched)
    with pytest.raises(ArgumentError, match="and not both"):
        query(clap, "a hum", picture=tmp_path / "a.png")


def test_vectors_of_pictures_need_an_embedder_that_sees(made: Path) -> None:
    for name in (made / "dataset" / "runs" / "clap" / "tiny.pt", f"tag:{made / 'tagger' / 'mn01.pt'}"):
        with pytest.raises(ArgumentError, match="has vectors of sounds, not of picture"):
            embed(made / "dataset", embedder=str(name), of="picture", workers=0)


class Encoder:
    """PE-AV, as far as its embedder asks for it."""

    sample_rate_hz, window_s, dimension, frames, frame_size_px = RATE_HZ, 2.0, 4, 2, 8

    def embed_text(self, texts: list[str], of: str) -> object:
        import torch

        return torch.tensor([[len(of), 0.0, 0.0, 0.0]] * len(texts))

    def identity(self) -> dict[str, object]:
        return {"class": "Encoder"}


def test_the_kind_of_a_model_decides_who_loads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build_tiny_clap(["a hum"], TINY).save(tmp_path / "clap")
    assert isinstance(load_embedder(folder), ClapEmbedder)
    (tmp_path / "seeing").mkdir()
    (tmp_path / "seeing" / "config.json").write_text('{"model_type": "pe_audio_video"}')
    asked = []

    def loaded(name: str, revision: str | None, of: object) -> Embedder:
        asked.append((name, revision, of))
        return PeAvEmbedder(Encoder(), of)  # type: ignore[arg-type]

    monkeypatch.setattr("pipelines.wiring.embedders.load_pe_av", loaded)
    seen = str(tmp_path / "seeing")
    assert isinstance(load_embedder(seen, "main", "both"), PictureEmbedder)
    dataset = tone_dataset(tmp_path / "dataset", {"low": tone(110, 1, RATE_HZ)})
    assert embed_stage(dataset, seen, called="pe").of == "sound", "nothing is stored yet"
    assert asked[:1] == [(seen, "main", "both")]


def test_texts_are_for_what_the_stored_vectors_are_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.wiring.embedders.load_embedder", lambda _, __, of: PeAvEmbedder(Encoder(), of))  # type: ignore[arg-type]
    dataset = tone_dataset(tmp_path / "dataset", {"low": tone(110, 1, RATE_HZ)})
    stage = embed_stage(dataset, "seeing", called="pe", of="both")
    assert stage.embedder == {"class": "Encoder", "of": "both"}
    dataset.facts(stage).make_current(stage)
    assert embed_stage(dataset, "seeing", called="pe").of == "both"
    assert embed_text_stage(dataset, "seeing", called="pe").embedder == stage.embedder
    assert embed_stage(dataset, "seeing", called="other").of == "sound"
    assert PeAvEmbedder(Encoder(), "both").embed_text(["a"])[0, 0] == 4  # type: ignore[arg-type]


def test_a_tagger_inside_the_dataset_is_named_as_seen_from_the_index(tmp_path: Path) -> None:
    (tmp_path / "data" / "mn").mkdir(parents=True)
    inside = embedder_source(f"tag:{tmp_path / 'data' / 'mn'}", tmp_path / "data", tmp_path / "data" / "indexes" / "i")
    assert inside == "tag:../../mn"
    assert embedder_source("tag:mn04", tmp_path / "data", tmp_path / "data" / "indexes" / "i") == "tag:mn04"


@pytest.mark.slow
def test_real_sounds_find_sounds_of_their_kind(real_data: Path) -> None:
    """The nearest recording of another source is of the same class for about 85 of 100 recordings of ESC-50."""
    embedder = load_embedder(f"tag:{real_data / 'weights' / 'efficientat_mn04'}")
    with (real_data / "media" / "sounds" / "esc50.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    folder = real_data / "media" / "sounds" / "esc50"
    waves = [mono(folder / Path(row["filename"]).name, embedder.sample_rate_hz) for row in rows]
    vectors_ND = np.concatenate([embedder.embed_sound(wave_T[None]) for wave_T in waves])
    kinds, sources = (np.array([row[name] for row in rows]) for name in ("category", "src_file"))
    elsewhere = sources[:, None] != sources[None]
    asked = ((kinds[:, None] == kinds[None]) & elsewhere).any(axis=1)
    nearest = np.where(elsewhere, vectors_ND @ vectors_ND.T, -2.0).argmax(axis=1)
    agreeing = (kinds[nearest] == kinds)[asked].mean()
    print(f"{agreeing:.3f} of {asked.sum()}")
    assert asked.sum() >= 200 and 0.8 < agreeing < 0.95
