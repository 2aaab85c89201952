"""What counts of a stage is what `status` counts: the answer to what it is asked now."""

from pathlib import Path
from typing import Any

import pytest

from curation.current import FETCH_OF, current_sql, variants
from curation.dataset import Dataset
from curation.errors import ArgumentError, Code
from curation.keys import clip_id, video_key
from curation.status import status
from tests.curation.made import Made, MadeCut, MadeFetch, MadeMeasure, write_facts

CLIP = clip_id("youtube", "v", 0, 10_000)


def current(dataset: Dataset, stage: str) -> list[dict[str, Any]]:
    (label,) = dataset.current_facts(stage)
    with dataset.connect() as connection:
        connection.execute(f"CREATE TEMP TABLE fetch_of AS {FETCH_OF}")
        return connection.sql(current_sql(dataset, stage, label)).to_arrow_table().to_pylist()


def answer(dataset: Dataset, audio: str, original: str = "original") -> None:
    write_facts(dataset, MadeCut(), [(CLIP, "done", {"audio_sha256": audio}, original)])


def original(dataset: Dataset, key: str, state: Any, sha256: str) -> None:
    write_facts(dataset, MadeFetch(), [(key, state, {"original_sha256": sha256}, key)])


def test_a_stage_is_current_for_the_sound_that_is_there(tmp_path: Path) -> None:
    made = Made(tmp_path)
    assert made.clip("v") == CLIP
    dataset = made.dataset()
    first = dataset.sql("FROM cut")["audio_sha256"][0].as_py()
    assert [row["input"] for row in current(dataset, "measure")] == [first]
    answer(dataset, "f" * 64)
    assert current(dataset, "measure") == [] and status(dataset)["measure"].pending == 1
    write_facts(dataset, MadeMeasure(), [(CLIP, "done", {"loudness_lufs": -1.0}, "f" * 64)])
    assert [row["loudness_lufs"] for row in current(dataset, "measure")] == [-1.0]
    answer(dataset, first)
    assert [row["loudness_lufs"] for row in current(dataset, "measure")] == [-20.0], "the first sound is back"
    assert status(dataset)["measure"].done == 1


def test_a_cut_is_current_for_the_original_that_is_there(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.clip("v")
    dataset = made.dataset()
    video = video_key("youtube", "v")
    original(dataset, video, "done", "anew")
    assert current(dataset, "cut") == []
    answer(dataset, "a" * 64, "anew")
    assert [row["audio_sha256"] for row in current(dataset, "cut")] == ["a" * 64]
    original(dataset, CLIP, Code.NOT_FOUND, "")
    assert len(current(dataset, "cut")) == 1, "a clip that is not found does not hide its video"
    original(dataset, CLIP, "done", "of the clip")
    assert current(dataset, "cut") == []
    answer(dataset, "b" * 64, "of the clip")
    assert [row["audio_sha256"] for row in current(dataset, "cut")] == ["b" * 64]


def test_the_better_answer_of_a_clip_and_its_video_is_taken(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.clip("v", fetch=None, cut=None, measure=None)
    video = video_key("youtube", "v")
    states = {"done": "done", "pending": Code.NETWORK, "set aside": Code.REMOVED, "nothing": None}
    better = ["done", "pending", "set aside", "nothing"]
    for n, (own, of_video) in enumerate((a, b) for a in states for b in states):
        dataset = made.dataset(f"dataset{n}")
        original(dataset, video, states[of_video], "video")
        original(dataset, CLIP, states[own], "clip")
        if own == of_video == "nothing":
            expected = None
        else:
            expected = CLIP if better.index(own) <= better.index(of_video) else video
        assert dataset.sql(FETCH_OF)["fetch_key"].to_pylist() == [expected], (own, of_video)


def test_variants_go_by_the_stage_alone_or_with_their_label(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.clip("v")
    dataset = made.dataset()
    assert variants(dataset, {}) == {"cut": ("cut", "cut"), "measure": ("measure", "measure")}
    write_facts(dataset, type("Other", (MadeMeasure,), {"label": "other"})(), [(CLIP, "done", {}, "x")])
    assert set(variants(dataset, {})) == {"cut", "measure:measure", "measure:other"}
    assert variants(dataset, {"measure": "other"})["measure"] == ("measure", "other")
    with pytest.raises(ArgumentError, match=r"no 'third' of stage 'measure' \(there are: measure, other\)"):
        variants(dataset, {"measure": "third"})
