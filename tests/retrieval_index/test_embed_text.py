"""Every caption and label of every clip has a vector, made once; a new caption does not make the others anew."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curation.blobs import BlobReader, BlobRef
from curation.current import last_sql
from curation.dataset import Dataset
from curation.errors import StoppedError
from curation.status import status
from curation.text_arrays import text_hash
from pipelines.runner import Job, Tally, run
from retrieval_index.embed_text import EmbedText
from retrieval_index.embedder import Vectors
from tests.retrieval_index.tones import RATE_HZ, clip_of, tone_dataset
from tests.retrieval_index.toy_embedder import Pitches, tone

CAPTIONS = {"a": "440", "b": "880", "c": "440"}
CANDIDATES = "SELECT key AS clip_id, unnest(captions) AS text FROM annotations"


class Counting(Pitches):
    asked: list[str] = []  # noqa: RUF012 - shared on purpose: the worker makes its own

    def embed_text(self, texts: Sequence[str]) -> Vectors:
        self.asked.extend(texts)
        return super().embed_text(texts)


class NotFinite(Pitches):
    def embed_text(self, texts: Sequence[str]) -> Vectors:
        return np.full((len(texts), self.dimension), np.nan, np.float32)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    Counting.asked.clear()
    return tone_dataset(tmp_path / "dataset", {name: tone(440, 1, RATE_HZ) for name in CAPTIONS}, CAPTIONS)


def go(dataset: Dataset, build: type[Pitches] = Counting) -> Tally:
    stage = EmbedText(
        embedder=build().identity(), candidates=CANDIDATES, build=build, blobs=dataset.root("vectors"), called="toy"
    )
    return run(dataset, Job(stage=stage, queue=partial(dataset.pending, stage), batch_rows=2, workers=0))


def stored(dataset: Dataset) -> dict[tuple[str, str], np.ndarray]:
    reader = BlobReader(dataset.root("vectors"))
    with dataset.reading():
        rows = dataset.sql(last_sql(dataset, "embed_text", "toy")).to_pylist()

    def vector(row: dict[str, Any]) -> np.ndarray:
        shape = (row["windows"], row["dimension"])
        return reader.read(BlobRef(blob=row["blob"], offset_bytes=row["offset_bytes"], shape=shape, dtype="<f2"))[0]

    return {(row["key"], row["input"]): vector(row) for row in rows}


def test_every_text_of_every_clip_has_its_vector(dataset: Dataset) -> None:
    assert go(dataset).done == 3
    vectors = stored(dataset)
    assert vectors.keys() == {(clip_of(name), text_hash(text)) for name, text in CAPTIONS.items()}
    for name, text in CAPTIONS.items():
        assert np.allclose(vectors[clip_of(name), text_hash(text)], Pitches().embed_text([text])[0], atol=1e-3)
    assert sorted(Counting.asked) == ["440", "880"], "equal texts of a worker are embedded once"
    counts = status(dataset)["embed_text"]
    assert (counts.requested, counts.done, counts.pending) == (3, 3, 0)


def test_a_new_caption_and_a_label_are_embedded_and_the_others_are_not_again(dataset: Dataset) -> None:
    go(dataset)
    before = stored(dataset)
    Counting.asked.clear()
    more = {"key": clip_of("a"), "grain": "clip", "list": "listed", "line": 9}
    dataset.append("annotations", [{**more, "captions": ["220"], "labels": ["1760", "440"]}])
    assert go(dataset).done == 2
    assert sorted(Counting.asked) == ["1760", "220"], "the label 440 is a caption of the clip already"
    after = stored(dataset)
    assert len(after) == 5
    assert all(np.array_equal(after[key], vector) for key, vector in before.items())
    assert go(dataset).done == 0


def test_vectors_that_are_not_finite_stop_the_stage(dataset: Dataset) -> None:
    with pytest.raises(StoppedError, match="gave vectors of texts that are not finite"):
        go(dataset, NotFinite)


def test_a_caption_hash_is_the_one_of_sql(dataset: Dataset) -> None:
    for text in ("", "a dog", "Grüße, 雨"):
        found = dataset.sql("SELECT substr(sha256(?), 1, 20) AS hash", [text]).to_pylist()
        assert found == [{"hash": text_hash(text)}]
