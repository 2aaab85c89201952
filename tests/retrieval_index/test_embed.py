"""Vectors in the blobs are those of the embedder, however the work was divided."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curation.blobs import BlobReader, BlobRef
from curation.dataset import Dataset
from curation.errors import ArgumentError, DatasetError, StoppedError
from curation.status import status
from curation.tables import Row
from pipelines.runner import Job, Tally, run
from retrieval_index.embed import Embed
from retrieval_index.windows import mono, windows
from tests.retrieval_index.tones import RATE_HZ, clip_of, tone_dataset
from tests.retrieval_index.toy_embedder import Broken, Pitches, tone

LENGTHS_S = {"a": 1.0, "b": 2.0, "c": 2.5, "d": 5.2, "e": 2.0, "f": 1.0}
WINDOWS = {"a": 1, "b": 1, "c": 2, "d": 5, "e": 1, "f": 1}
"""Of 2 s, one a second."""


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    sounds = {name: tone(220 * 2**n, length_s, RATE_HZ) for n, (name, length_s) in enumerate(LENGTHS_S.items())}
    return tone_dataset(tmp_path / "dataset", sounds)


def stage_of(dataset: Dataset, embedder: type[Pitches] = Pitches, **options: Any) -> Embed:
    options = {"media": dataset.media, "blobs": dataset.folder("vectors"), "called": "toy", **options}
    return Embed(embedder=embedder().identity(), build=embedder, **options)


def go(dataset: Dataset, stage: Embed, batch_rows: int = 4, most: int | None = None) -> Tally:
    queue = partial(_first, dataset, stage, most)
    return run(dataset, Job(stage=stage, queue=queue, batch_rows=batch_rows, workers=0))


def _first(dataset: Dataset, stage: Embed, most: int | None) -> Any:
    return dataset.pending(stage).slice(0, most)


def stored(dataset: Dataset) -> dict[str, np.ndarray]:
    reader = BlobReader(dataset.folder("vectors"))

    def read(row: Row) -> np.ndarray:
        shape = (row["windows"], row["dimension"])
        return reader.read(BlobRef(blob=row["blob"], offset_bytes=row["offset_bytes"], shape=shape, dtype="<f2"))

    return {row["key"]: read(row) for row in dataset.sql("SELECT * FROM embed WHERE state = 'done'").to_pylist()}


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(np.allclose(first[key], second[key], atol=1e-3) for key in first)


def test_vectors_are_those_of_the_embedder(dataset: Dataset) -> None:
    assert go(dataset, stage_of(dataset)).done == len(LENGTHS_S)
    found = stored(dataset)
    embedder = Pitches()
    rows = dataset.sql("SELECT embed.*, cut.audio_sha256 FROM embed JOIN cut USING (key)").to_pylist()
    for row in rows:
        wave_T = mono(dataset.media.path(row["audio_sha256"], ".flac"), RATE_HZ)
        cut = windows(wave_T, RATE_HZ, embedder.window_s)
        expected = np.concatenate([embedder.embed_sound(piece[None]) for _, piece in cut])
        assert np.allclose(found[row["key"]], expected, atol=1e-3)
        assert row["starts_s"] == [start for start, _ in cut]
        assert row["ends_s"] == [start + len(piece) / RATE_HZ for start, piece in cut]
    assert {name: len(found[clip_of(name)]) for name in LENGTHS_S} == WINDOWS


@pytest.mark.parametrize(("batch_rows", "batch_windows"), [(1, 32), (6, 1), (6, 2), (6, 32)])
def test_batch_equals_one_by_one(dataset: Dataset, tmp_path: Path, batch_rows: int, batch_windows: int) -> None:
    go(dataset, stage_of(dataset, called="single", batch_windows=1), batch_rows=1)
    one_by_one = stored(dataset)
    go(dataset, stage_of(dataset, called="batched", batch_windows=batch_windows), batch_rows=batch_rows)
    both = dataset.sql("SELECT label, key FROM embed").to_pylist()
    assert len(both) == 2 * len(LENGTHS_S), "two names stand side by side"
    assert same(one_by_one, stored(dataset))


def test_an_interrupted_run_goes_on_and_gives_the_same(dataset: Dataset, tmp_path: Path) -> None:
    stage = stage_of(dataset)
    assert go(dataset, stage, most=2).done == 2
    assert status(dataset)["embed"].pending == 4
    assert go(dataset, stage).done == 4
    assert go(dataset, stage).done == 0
    resumed = stored(dataset)
    whole = tone_dataset(
        tmp_path / "whole", {name: tone(220 * 2**n, s, RATE_HZ) for n, (name, s) in enumerate(LENGTHS_S.items())}
    )
    go(whole, stage_of(whole))
    assert same(resumed, stored(whole))


def test_only_what_changes_the_vectors_is_identity(dataset: Dataset) -> None:
    stage = stage_of(dataset)
    assert stage_of(dataset, batch_windows=1).folder_name == stage.folder_name
    assert stage_of(dataset, hop_ratio=1.0).folder_name != stage.folder_name


def test_a_vector_that_is_not_finite_stops_the_run_and_names_the_clip(dataset: Dataset) -> None:
    with pytest.raises(StoppedError, match=f"not finite for clip {min(map(clip_of, LENGTHS_S))}"):
        go(dataset, stage_of(dataset, Broken))
    assert status(dataset)["embed"].pending == len(LENGTHS_S)


def test_a_damaged_sound_stops_the_run_and_names_the_clip(dataset: Dataset) -> None:
    row = dataset.sql("SELECT key, audio_sha256 FROM cut ORDER BY key LIMIT 1").to_pylist()[0]
    dataset.media.path(row["audio_sha256"], ".flac").write_bytes(b"fLaC but not really")
    with pytest.raises(DatasetError, match=f"of clip {row['key']} cannot be decoded"):
        go(dataset, stage_of(dataset))


@pytest.mark.parametrize("options", [{"hop_ratio": 0.0}, {"hop_ratio": 1.5}, {"batch_windows": 0}])
def test_knobs_out_of_range_are_refused(dataset: Dataset, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"not {next(iter(options.values()))}"):
        stage_of(dataset, **options)


def test_a_name_that_leaves_the_folder_is_refused(dataset: Dataset) -> None:
    with pytest.raises(ArgumentError, match="cannot name a set of vectors"):
        stage_of(dataset, called="../elsewhere")
