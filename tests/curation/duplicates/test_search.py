"""Copies of a sound meet in one group, different sounds do not, and the best copy is kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curation.blobs import BlobWriter
from curation.dataset import Dataset
from curation.duplicates.chromaprint import Print
from curation.duplicates.found import DUPLICATES, read_found, read_groups
from curation.duplicates.search import Search, find_duplicates
from curation.errors import ArgumentError, DatasetError
from curation.guards import guard
from curation.guards.guarded_sounds import add_sounds
from curation.selections.selection import Choice, read_rows, select
from tests.curation.duplicates.recordings import RATE_HZ, clip_of, melody, run_stage, write_dataset

SONG = melody(1, 14.0)


def second(start_s: float, seconds: float = 10.0) -> np.ndarray:
    begin = round(start_s * RATE_HZ)
    return SONG[begin : begin + round(seconds * RATE_HZ)]


SOUNDS: list[dict[str, Any]] = [
    {"video_id": "original", "sound": second(0)},
    {"video_id": "samples", "sound": second(0)},
    {"video_id": "quieter", "sound": 0.3 * second(0), "bandwidth_hz": 4_000.0},
    {"video_id": "shifted", "sound": second(2.03), "bandwidth_hz": 9_000.0},
    {"video_id": "half", "sound": second(9.5, 4.5), "duration_ms": 4_500},
    {"video_id": "other", "sound": melody(2)},
    {"video_id": "third", "sound": melody(3)},
    {"video_id": "third", "sound": melody(4), "start_ms": 4_000},
    {"video_id": "third", "sound": melody(5), "start_ms": 9_001},
]
ORIGINAL, SAMPLES, QUIETER, SHIFTED, HALF, OTHER, THIRD, LATER, LATEST = (clip_of(row) for row in SOUNDS)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_dataset(tmp_path_factory.mktemp("recordings") / "dataset", SOUNDS)


def rows(dataset: Dataset, name: str) -> dict[str, dict[str, Any]]:
    return {row["clip_id"]: row for row in read_groups(dataset, name).to_pylist()}


def test_three_ways_to_be_the_same_sound(dataset: Dataset) -> None:
    found = find_duplicates(dataset, "d", Search())
    members = rows(dataset, "d")
    assert set(members) == {ORIGINAL, SAMPLES, QUIETER, SHIFTED, THIRD, LATER}
    song = {ORIGINAL, SAMPLES, QUIETER, SHIFTED}
    assert {members[clip]["group"] for clip in song} == {min(song)}
    assert members[SAMPLES]["layer"] == members[ORIGINAL]["layer"] == "samples"
    assert members[SAMPLES]["like_id"] == ORIGINAL and members[SAMPLES]["distance"] == 0
    assert members[SHIFTED]["layer"] == "print" and 0 < members[SHIFTED]["distance"] <= 0.1
    assert (members[THIRD]["layer"], members[THIRD]["like_id"], members[LATER]["distance"]) == ("span", LATER, 0.4)
    assert found.counts == {
        "groups": 2,
        "clips": 6,
        "by_layer": {"samples": 2, "print": 2, "span": 2},
        "without_print": 0,
    }
    assert found.covered["clips"] == len(SOUNDS)
    assert read_found(dataset, "d") == found
    assert read_groups(dataset, "d").schema.names == DUPLICATES.names


def test_the_widest_band_is_the_best_copy_then_the_smallest_id(dataset: Dataset) -> None:
    find_duplicates(dataset, "d", Search())
    members = rows(dataset, "d")
    ranks = sorted((ORIGINAL, SAMPLES, QUIETER, SHIFTED), key=lambda clip: members[clip]["rank"])
    assert ranks == [SHIFTED, *sorted((ORIGINAL, SAMPLES)), QUIETER]
    assert {members[clip]["kept_clip_id"] for clip in ranks} == {SHIFTED}
    assert members[THIRD]["rank"] + members[LATER]["rank"] == 1


def test_only_the_layers_asked_for_are_searched(dataset: Dataset) -> None:
    found = find_duplicates(dataset, "s", Search(layers=("samples",)))
    assert set(rows(dataset, "s")) == {ORIGINAL, SAMPLES} and found.settings["layers"] == ["samples"]
    with pytest.raises(ArgumentError, match="'sound' is none of samples, print, vectors"):
        Search(layers=("sound",))
    with pytest.raises(ArgumentError, match="needs --embedder"):
        Search(layers=("vectors",))
    with pytest.raises(ArgumentError, match="'embed' has not run"):
        find_duplicates(dataset, "v", Search(layers=("vectors",), embedder="embed:clap", min_cosine=0.9))


def test_the_same_clips_give_the_same_bytes_in_any_order(dataset: Dataset, tmp_path: Path) -> None:
    other = write_dataset(tmp_path / "dataset", SOUNDS[::-1])
    assert find_duplicates(dataset, "d", Search()).sha256 == find_duplicates(other, "d", Search()).sha256


def test_a_selection_keeps_the_best_copy_that_passes(dataset: Dataset) -> None:
    find_duplicates(dataset, "d", Search())
    by_duplicates = Choice(duplicates="d")

    def reasons(where: str | None = None) -> dict[str, tuple[str | None, str | None]]:
        select(dataset, name="s", where=where, choice=by_duplicates)
        return {row["clip_id"]: (row["reason"], row["refused_by"]) for row in read_rows(dataset, "s").to_pylist()}

    judged = reasons()
    assert {clip for clip, reason in judged.items() if reason == (None, None)} == {
        SHIFTED,
        HALF,
        OTHER,
        LATEST,
        min(THIRD, LATER),
    }
    assert judged[ORIGINAL] == judged[QUIETER] == ("DUPLICATE", SHIFTED)
    judged = reasons("bandwidth_hz < 9000")
    best = min(ORIGINAL, SAMPLES)
    assert judged[SHIFTED] == ("WHERE", None) and judged[best] == (None, None)
    assert judged[QUIETER] == ("DUPLICATE", best)


def test_a_copy_of_an_evaluation_clip_is_refused_and_so_is_a_sound_of_a_guard(tmp_path: Path) -> None:
    sounds = [{**SOUNDS[0], "split": "test"}, SOUNDS[3], SOUNDS[5], {"video_id": "clotho", "sound": melody(9)}]
    dataset = write_dataset(tmp_path / "dataset", sounds)
    media = write_dataset(tmp_path / "evaluation", [{"video_id": "elsewhere", "sound": 0.5 * melody(9)[8_000:]}])
    guard.add(dataset, "clotho", [_named("Santa Motor.wav")])
    assert add_sounds(dataset, "clotho", media.path) == 1
    with pytest.raises(ArgumentError, match="guard 'clotho' has sounds, and no duplicates are given"):
        select(dataset, name="s", guards=["clotho"])
    find_duplicates(dataset, "samples", Search(layers=("samples",)))
    with pytest.raises(ArgumentError, match="were found without them"):
        select(dataset, name="s", guards=["clotho"], choice=Choice(duplicates="samples"))
    find_duplicates(dataset, "d", Search())
    select(dataset, name="s", guards=["clotho"], choice=Choice(duplicates="d"))
    judged = {row["clip_id"]: (row["reason"], row["refused_by"]) for row in read_rows(dataset, "s").to_pylist()}
    evaluation = "clotho/" + clip_of({"video_id": "elsewhere"})
    assert judged == {
        ORIGINAL: ("SPLIT", "test"),
        SHIFTED: ("DUPLICATE_OF_EVALUATION", ORIGINAL),
        OTHER: (None, None),
        clip_of(sounds[3]): ("DUPLICATE_OF_EVALUATION", evaluation),
    }
    select(dataset, name="s", choice=Choice(duplicates="d"))
    assert {row["clip_id"] for row in read_rows(dataset, "s", kept_only=True).to_pylist()} == {
        OTHER,
        clip_of(sounds[3]),
    }


def _named(name: str) -> Any:
    from curation.guards.evaluation_lists import named

    return named(1, name)


def test_groups_of_other_clips_or_without_a_guards_sounds_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    own = write_dataset(tmp_path / "dataset", SOUNDS[:3])
    with pytest.raises(ArgumentError, match="no duplicates 'd'"):
        select(own, name="s", choice=Choice(duplicates="d"))
    find_duplicates(own, "d", Search())
    select(own, name="s", choice=Choice(duplicates="d"))
    guard.add(own, "eval", [_named("a.wav")])
    add_sounds(own, "eval", dataset.path)
    with pytest.raises(ArgumentError, match="were found without them"):
        select(own, name="s", guards=["eval"], choice=Choice(duplicates="d"))
    more = write_dataset(tmp_path / "more", SOUNDS[:4])
    find_duplicates(more, "d", Search())
    for name in ("d.parquet", "d.json"):
        (own.path / "duplicates" / name).write_bytes((more.path / "duplicates" / name).read_bytes())
    with pytest.raises(ArgumentError, match="among 4 clips, and 3 or others"):
        select(own, name="s", choice=Choice(duplicates="d"))
    (own.path / "duplicates" / "d.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match="run `foundsound dedupe` again"):
        select(own, name="s", choice=Choice(duplicates="d"))


def test_a_print_is_taken_once(dataset: Dataset) -> None:
    assert dataset.pending(Print(media=dataset.media)).num_rows == 0


def test_near_vectors_are_duplicates(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    sounds = [{"video_id": f"v{n}", "sound": melody(n, 1.0), "duration_ms": 1_000} for n in range(4)]
    dataset = write_dataset(tmp_path / "dataset", sounds)
    run_stage(dataset, _embed(dataset, [[3.0, 4.0], [3.0, 4.1], [-3.0, 4.0], [4.0, 3.0]]))
    search = Search(layers=("vectors",), embedder="embed:toy", min_cosine=0.99)
    found = find_duplicates(dataset, "v", search)
    members = rows(dataset, "v")
    assert set(members) == {clip_of(sounds[0]), clip_of(sounds[1])}
    assert {row["layer"] for row in members.values()} == {"vectors"} and found.counts["without_vector"] == 0


def _embed(dataset: Dataset, vectors: list[list[float]]) -> Any:
    from tests.curation.duplicates.toy_vectors import ToyVectors

    order = [clip_of({"video_id": f"v{n}", "duration_ms": 1_000}) for n in range(len(vectors))]
    writer = BlobWriter(dataset.root("vectors"))
    places = {clip: writer.append(np.array([vector], np.float16)) for clip, vector in zip(order, vectors, strict=True)}
    writer.sync()
    return ToyVectors(places={clip: (place.blob, place.offset_bytes) for clip, place in places.items()})
