"""Retrieval with answers known by counting, and through the verb with an embedder of arithmetic."""

import json
from pathlib import Path

import numpy as np
import pytest

from curation import keys
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.measure import Measure
from curation.selections.selection import select
from pipelines.evaluations import EVALUATIONS
from pipelines.evaluations import retrieval as module
from pipelines.evaluations.retrieval import RetrievalResult, retrieval, scores_of
from pipelines.main import main
from pipelines.runner import Job, run
from retrieval_index.embed import Embed
from retrieval_index.embed_text import EmbedText
from tests.retrieval_index.tones import clip_of, tone_dataset
from tests.retrieval_index.toy_embedder import PITCHES_HZ, Pitches, tone

TOY = Pitches()
NAMES = [f"tone{pitch}" for pitch in PITCHES_HZ]


def one(*indices: int) -> list[np.ndarray]:
    return [np.array([index]) for index in indices]


def test_each_query_finds_its_own() -> None:
    found = scores_of(np.eye(12) * 3, np.eye(12), one(*range(12)))
    assert (found.queries, found.searched, found.median_rank, found.map_at_10) == (12, 12, 1.0, 1.0)
    assert (found.recall_at_1, found.recall_at_5, found.recall_at_10) == (1.0, 1.0, 1.0)
    assert (found.chance_at_1, found.chance_at_5, found.chance_at_10) == pytest.approx((1 / 12, 5 / 12, 10 / 12))


def test_ranks_just_inside_and_outside_of_each_bound() -> None:
    """Stored items on a quarter circle, in order of likeness to the query: item r - 1 has rank r."""
    angles = np.linspace(0.1, 1.4, 20)
    stored = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    wanted = [1, 2, 5, 6, 10, 11]
    found = scores_of(np.tile([[1.0, 0.0]], (6, 1)), stored, one(*(rank - 1 for rank in wanted)))
    assert (found.recall_at_1, found.recall_at_5, found.recall_at_10) == (1 / 6, 3 / 6, 5 / 6)
    assert found.map_at_10 == pytest.approx((1 + 1 / 2 + 1 / 5 + 1 / 6 + 1 / 10) / 6)
    assert found.median_rank == 5.5


def test_any_of_five_captions_is_a_hit_and_precision_counts_all() -> None:
    angles = np.linspace(0.1, 1.4, 20)
    stored = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = scores_of(np.array([[1.0, 0.0]]), stored, [np.array([2, 3, 9, 10, 19])])
    assert (found.recall_at_1, found.recall_at_5, found.median_rank) == (0.0, 1.0, 3.0)
    assert found.map_at_10 == pytest.approx((1 / 3 + 2 / 4 + 3 / 10) / 5)
    assert found.chance_at_1 == pytest.approx(5 / 20)
    assert found.chance_at_5 == pytest.approx(1 - 15 * 14 * 13 * 12 * 11 / (20 * 19 * 18 * 17 * 16))


def test_an_embedder_that_tells_nothing_apart_is_below_chance() -> None:
    found = scores_of(np.ones((4, 2)), np.ones((4, 2)), one(0, 1, 2, 3))
    assert (found.recall_at_1, found.median_rank, found.chance_at_5) == (0.0, 4.0, 1.0)


def test_queries_in_parts_equal_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    given = draw.standard_normal((30, 4)), draw.standard_normal((9, 4)), one(*draw.integers(0, 9, 30).tolist())
    whole = scores_of(*given)
    monkeypatch.setattr(module, "QUERIES_AT_ONCE", 7)
    assert scores_of(*given) == whole


def made(folder: Path, kind: str = "audiocaps", split: str | None = "test") -> Dataset:
    """Four tones, the last longer than a window; each with its own pitch and the next one as captions, and a clip that
    was never fetched."""
    sounds = {name: tone(pitch, 2 + 3 * (pitch == 1760), 8_000) for name, pitch in zip(NAMES, PITCHES_HZ, strict=True)}
    dataset = tone_dataset(folder, sounds)
    dataset.set_config(sources=[{"list": "listed", "kind": kind, "rows": 9, "rejected": 0}])
    said = [(name, PITCHES_HZ[(number + step) % 4]) for step in (0, 1) for number, name in enumerate(NAMES)]
    lines = [(clip_of(name), str(pitch)) for name, pitch in said]
    lost = keys.clip_id("youtube", "lost", 0, 10_000)
    dataset.append("videos", [{"video_key": "lost", "platform": "youtube", "video_id": "lost"}])
    dataset.append(
        "clips",
        [{"clip_id": lost, "video_key": "lost", "start_ms": 0, "duration_ms": 10_000, "origin": "list"}],
    )
    dataset.append(
        "annotations",
        [
            {"key": key, "grain": "clip", "list": "listed", "line": line, "captions": [text], "split": split}
            for line, (key, text) in enumerate([*lines, (lost, "440")])
        ],
    )
    return dataset


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The toy embedder in place of CLAP; what it was asked to embed."""
    asked: list[str] = []

    class Noted(Pitches):
        def embed_text(self, texts: list[str]) -> np.ndarray:
            asked.extend(texts)
            return super().embed_text(texts)

    def sounds(dataset: Dataset, name: str, *, called: str, revision: str | None) -> Embed:
        given = Noted(weights=name)
        return Embed(
            embedder=given.identity(),
            build=lambda: given,
            media=dataset.media,
            blobs=dataset.root("vectors"),
            called=called,
        )

    def texts(dataset: Dataset, name: str, *, called: str, revision: str | None) -> EmbedText:
        given = Noted(weights=name)
        candidates = module.candidates_sql(dataset)
        return EmbedText(
            embedder=given.identity(),
            candidates=candidates,
            build=lambda: given,
            blobs=dataset.root("vectors"),
            called=called,
        )

    monkeypatch.setattr(module, "embed_stage", sounds)
    monkeypatch.setattr(module, "embed_text_stage", texts)
    return asked


def go(dataset: Dataset, **given: object) -> RetrievalResult:
    return retrieval(dataset.path, workers=0, **{"embedder": "first", **given})  # type: ignore[arg-type]


def test_the_verb_equals_the_arithmetic(tmp_path: Path, toy: list[str]) -> None:
    """Of each two captions one names the clip's tone (rank 1) and one that of another (which then is first)."""
    dataset = made(tmp_path / "d")
    result = go(dataset)
    assert (result.clips, result.clips_listed, result.captions_a_clip) == (4, 5, (2, 2))
    forth, back = result.text_to_sound, result.sound_to_text
    assert (forth.queries, forth.searched, forth.recall_at_1, forth.recall_at_5) == (8, 4, 0.5, 1.0)
    assert (back.queries, back.searched) == (4, 8)
    # The tone's own caption was also given to the clip before: equal scores, and the right one counts as the last.
    assert (back.recall_at_1, back.recall_at_5, back.median_rank) == (0.0, 1.0, 2.0)
    shown = str(result)
    assert "4 of 5 clips with captions have a sound" in shown and "8 captions (human), 2 a clip" in shown
    assert "embedder first, weights" in shown and "LAION-CLAP, AudioCaps test" in shown and "36.7" in shown
    assert json.loads(json.dumps(result.as_dict()))["text_to_sound"]["recall_at_1"] == 0.5
    first = len(toy)
    assert go(dataset).as_dict() == result.as_dict()
    assert len(toy) == first, "what has a vector is not embedded again"


def test_only_the_clips_that_are_asked_are_embedded(tmp_path: Path) -> None:
    dataset = made(tmp_path / "d")
    stage = Measure(media=dataset.media)
    run(dataset, Job(stage=stage, queue=lambda: dataset.pending(stage), batch_rows=8, workers=0))
    select(dataset, name="some", split="test", where="videos.video_id IN ('tone220', 'tone880')")
    result = go(dataset, selection="some")
    assert (result.clips, result.of) == (2, "selection some")
    assert dataset.sql("SELECT count(*) AS n FROM embed").to_pylist() == [{"n": 2}]


@pytest.mark.parametrize(("kind", "split"), [("table", "test"), ("audiocaps", "val")])
def test_published_figures_stand_beside_their_own_list_only(tmp_path: Path, kind: str, split: str) -> None:
    result = go(made(tmp_path / "d", kind, split), split=split)
    assert result.published is None and "LAION" not in str(result)


def test_what_cannot_be_judged_is_refused(tmp_path: Path) -> None:
    dataset = made(tmp_path / "d")
    for given, message in (
        ({"split": "val"}, "no clip of split val .* has captions 'human'"),
        ({"captions": "label"}, "no clip of split test .* has captions 'label'"),
        ({"captions": "human:list"}, "has captions 'human:list'"),
        ({"split": "dev"}, "--split 'dev' is none of train, val, test"),
    ):
        with pytest.raises(ArgumentError, match=message):
            go(dataset, **given)
    assert go(dataset, captions="human:listed").text_to_sound.queries == 8
    with pytest.raises(ArgumentError, match="were made with another embedder"):
        go(dataset, embedder="second")
    assert go(dataset, embedder="second", vectors="other").identity["weights"] == "second"


def test_evaluate_alone_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in EVALUATIONS)
    assert main(["evaluate", "nothing"]) == 2
    assert main(["evaluate", "retrieval", "--split", "dev", "nowhere"]) == 2
