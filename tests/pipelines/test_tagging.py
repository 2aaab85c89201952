"""The verb `tag` with real, untrained networks: EfficientAT and AST behind one interface."""

from pathlib import Path

import numpy as np
import pytest
import torch

from curation.blobs import BlobReader
from curation.errors import ArgumentError
from curation.tag import read_scores
from models.encoders.efficientat import MobileNet, MobileNetConfig
from pipelines.verbs.agree import agree
from pipelines.verbs.tag import tag
from pipelines.wiring.taggers import load_tagger
from tests.models.encoders.tiny_ast import save_ast
from tests.retrieval_index.tones import RATE_HZ, clip_of, tone_dataset
from tests.retrieval_index.toy_embedder import tone

SOUNDS = {"low": tone(110, 1, RATE_HZ), "high": tone(3000, 3, RATE_HZ)}


def save_mobilenet(folder: Path) -> Path:
    torch.manual_seed(0)
    folder.mkdir()
    torch.save(MobileNet(MobileNetConfig(width=0.1)).state_dict(), folder / "mn01.pt")
    return folder


def test_efficientat_tags_a_dataset(tmp_path: Path) -> None:
    dataset = tone_dataset(tmp_path / "dataset", SOUNDS)
    weights = save_mobilenet(tmp_path / "weights")
    result = tag(dataset.path, tagger=str(weights), workers=0)
    assert (result.stages["tag"].done, result.stages["tag"].pending) == (2, 0)
    (row,) = dataset.sql("SELECT * FROM tag WHERE key = ?", [clip_of("high")]).to_pylist()
    assert (row["windows"], row["share_windows"], row["dimension"], row["classes"]) == (1, 2, 96, 527)
    assert (row["starts_s"], row["ends_s"]) == ([0.0], [3.0])
    assert 0 <= row["music_ratio"] <= 1 and 0 <= row["speech_ratio_tag"] <= 1 and 0 <= row["singing_ratio"] <= 1
    tagger = load_tagger(str(weights))
    scores = read_scores(BlobReader(dataset.folder("vectors")), row)
    assert row["tags"][0]["label"] == tagger.labels[int(scores.argmax())]
    assert [one["score"] for one in row["tags"]] == sorted((one["score"] for one in row["tags"]), reverse=True)
    assert tag(dataset.path, tagger=str(weights), workers=0).tally.done == 0


def test_ast_tags_a_dataset(tmp_path: Path) -> None:
    dataset = tone_dataset(tmp_path / "dataset", SOUNDS)
    folder = save_ast(tmp_path / "ast")
    assert tag(dataset.path, tagger=str(folder), name="ast", workers=0).stages["tag"].done == 2
    rows = dataset.sql("SELECT * FROM tag ORDER BY key").to_pylist()
    assert {row["label"] for row in rows} == {"ast"}
    assert {tuple(sorted(one["label"] for one in row["tags"])) for row in rows} == {
        ("Dog", "Music", "Rain", "Singing", "Speech")
    }
    assert all(row["windows"] == row["share_windows"] for row in rows)


def test_scores_are_those_of_the_network_alone(tmp_path: Path) -> None:
    tagger = load_tagger(str(save_mobilenet(tmp_path / "weights")))
    wave_BT = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 40_000)).astype(np.float32)
    scores_BL, vectors_BD = tagger.tag(wave_BT)
    expected_BL, expected_BD = tagger.tagger.forward(torch.from_numpy(wave_BT))
    np.testing.assert_array_equal(scores_BL, expected_BL.sigmoid().numpy())
    np.testing.assert_array_equal(vectors_BD, expected_BD.numpy())


def test_what_cannot_be_loaded_is_an_argument(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("not weights")
    with pytest.raises(ArgumentError, match=r"no tagger can be loaded from .*text\.pt"):
        load_tagger(str(tmp_path / "text.pt"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArgumentError, match="no folder with one"):
        load_tagger(str(tmp_path / "empty"))
    with pytest.raises(ArgumentError, match="no tagger can be loaded from 'nobody/nothing'"):
        load_tagger("nobody/nothing")
    with pytest.raises(ArgumentError, match="give it with --sha256"):
        load_tagger("mn10")
    with pytest.raises(ArgumentError, match="--sha256 is for weights that are fetched"):
        load_tagger("nobody/nothing", sha256="0" * 64)


def test_a_scorer_whose_libraries_are_missing_is_an_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.encoders.pe_av.LIBRARIES", ("no_such_library",))
    dataset = tone_dataset(tmp_path / "dataset", SOUNDS)
    with pytest.raises(ArgumentError, match=r"no_such_library: pip install 'foundsound\[pe-av\]'"):
        agree(dataset.path, scorer="facebook/pe-av-base-16-frame")
