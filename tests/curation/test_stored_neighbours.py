"""What a sample has of the nearest clips of its text: which they are, what is heard in them and what they say."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curation.annotated import HUMAN_CAPTIONS
from curation.dataset import Dataset
from curation.encode_sound import EncodeSound
from curation.encode_text import EncodeText
from curation.errors import ArgumentError, DatasetError
from curation.latents import Extras, Lengths
from curation.samples import Samples, Source
from curation.selections.selection import select
from curation.shards.pack import pack
from curation.stored_neighbours import NeighboursWanted
from curation.text_arrays import text_hash
from pipelines.runner import Job, run
from retrieval_index.neighbours import NEIGHBOURS, Items, read_neighbours, write_neighbours
from tests.curation.made import RATE_HZ, Made
from tests.curation.test_samples import HOP, encode
from tests.curation.test_stored_conditions import Words

FOUR = Lengths(latent_frames=(4,), latent_rate_hz=RATE_HZ / HOP, frame_rate_hz=50.0)


class Ears:
    """Two tokens of a sound: its mean and its loudest sample, each beside its length."""

    sample_rate_hz = RATE_HZ

    def hear(self, wave_T: np.ndarray) -> np.ndarray:
        return np.array([(wave_T.mean() * 8, 1), (wave_T.max() * 8, 2)], np.float32)


def heard_of(dataset: Dataset, *, window_s: float = 0.1) -> dict[str, np.ndarray]:
    """Let `encode_sound` run; clip_id -> the tokens of its first window."""
    stage = EncodeSound(
        listener={"class": "Ears"},
        window_s=window_s,
        build=Ears,
        media=dataset.media,
        blobs=dataset.root("latents"),
        called="blocks",
    )
    run(dataset, Job(stage=stage, queue=lambda: dataset.pending(stage), batch_rows=4, workers=0))
    import soundfile

    found = {}
    for row in dataset.sql("SELECT key, audio_sha256 FROM cut").to_pylist():
        wave, _ = soundfile.read(dataset.media.open_path(row["audio_sha256"], ".flac"), dtype="float32")
        found[row["key"]] = Ears().hear(wave[: round(window_s * RATE_HZ)]).astype(np.float16)
    return found


def encode_texts(dataset: Dataset) -> None:
    stage = EncodeText(
        encoder={"class": "Words"},
        chosen=HUMAN_CAPTIONS,
        build=Words,
        blobs=dataset.root("latents"),
        called="blocks",
    )
    run(dataset, Job(stage=stage, queue=lambda: dataset.pending(stage), batch_rows=4, workers=0))


def store(dataset: Dataset, rows: Sequence[dict[str, Any]], clips: Sequence[str]) -> None:
    """Let `neighbours` have found these."""
    items = Items(np.array(clips), np.array(clips), None, np.ones((len(clips), 2), np.float32))
    table = pa.Table.from_pylist([{"scores": [0.5] * len(row["neighbours"]), **row} for row in rows], NEIGHBOURS)
    write_neighbours(dataset.folder("neighbours") / "text", table, items, {"by": "text"})


def found(clip: str, text: str, *neighbours: tuple[str, str | None]) -> dict[str, Any]:
    """A row of stored neighbours: (clip_id, its nearest caption)."""
    said = [None if caption is None else text_hash(caption) for _, caption in neighbours]
    return {
        "clip_id": clip,
        "caption_hash": text_hash(text),
        "neighbours": [key for key, _ in neighbours],
        "captions": None if None in said else said,
    }


def wanted(most: int = 2, **others: Any) -> NeighboursWanted:
    given = {"name": "text", "heard": "blocks", "tokens": "blocks", "read": read_neighbours, **others}
    return NeighboursWanted(most=most, **given)


def opened(dataset: Dataset, most: int = 2, **others: Any) -> Samples:
    extras = Extras(neighbours=wanted(most, **others))
    return Samples.open([Source(dataset=dataset)], latents="blocks", lengths=FOUR, extras=extras)


@pytest.fixture
def three(tmp_path: Path) -> tuple[Dataset, list[str]]:
    """A dog that is trained on, and two clips beside it: rain with two captions, and a bell outside of the training."""
    written = Made(tmp_path)
    dog = written.clip("dog", said=[{"captions": ["a dog barks"]}])
    rain = written.clip("rain", said=[{"captions": ["rain", "it rains hard"]}])
    bell = written.clip("bell", said=[{"captions": ["one bell"]}])
    dataset = written.dataset()
    select(dataset, name="train", where=f"clips.clip_id = '{dog}'")
    pack(dataset, "train")
    encode(dataset)
    return dataset, [dog, rain, bell]


def test_a_sample_has_the_nearest_clips_of_its_text(three: tuple[Dataset, list[str]]) -> None:
    dataset, (dog, rain, bell) = three
    heard = heard_of(dataset)
    encode_texts(dataset)
    store(dataset, [found(dog, "a dog barks", (bell, "one bell"), (rain, "it rains hard"))], [rain, bell])
    samples = opened(dataset, 3)
    batch = samples.batch(samples.plan(batch_size=2, seed=0), 0)
    assert batch["neighbours"] == [[bell, rain]] * 2
    assert batch["has_neighbours"].tolist() == [[True, True, False]] * 2
    assert batch["neighbour_heard"].shape == (2, 3, 2, 2) and batch["neighbour_heard"].dtype == np.float16
    np.testing.assert_array_equal(batch["neighbour_heard"][0], np.stack([heard[bell], heard[rain], heard[rain] * 0]))
    assert batch["neighbour_token_lengths"].tolist() == [[2, 3, 0]] * 2
    bell_NT, rain_NT = Words().encode_text(["one bell", "it rains hard"])
    np.testing.assert_array_equal(batch["neighbour_tokens"][1, 0], np.concatenate([bell_NT, np.zeros((1, 2))]))
    np.testing.assert_array_equal(batch["neighbour_tokens"][1, 1], rain_NT)
    assert not batch["neighbour_tokens"][:, 2].any()
    assert "tokens" not in batch and "heard" not in batch


def test_only_the_nearest_are_read_and_what_is_not_asked_for_changes_no_draw(
    three: tuple[Dataset, list[str]],
) -> None:
    dataset, (dog, rain, bell) = three
    heard_of(dataset)
    encode_texts(dataset)
    store(dataset, [found(dog, "a dog barks", (bell, "one bell"), (rain, "rain"))], [rain, bell])
    samples = opened(dataset, 1)
    plan = samples.plan(batch_size=3, seed=0)
    batch = samples.batch(plan, 0)
    assert batch["neighbours"] == [[bell]] * 3 and batch["neighbour_heard"].shape[1] == 1
    plain = Samples.open([Source(dataset=dataset)], latents="blocks", lengths=FOUR)
    np.testing.assert_array_equal(batch["latents"], plain.batch(plan, 0)["latents"])


def test_where_sounds_were_compared_a_neighbour_says_its_first_caption(three: tuple[Dataset, list[str]]) -> None:
    dataset, (dog, rain, bell) = three
    heard_of(dataset)
    encode_texts(dataset)
    store(dataset, [found(dog, "a dog barks", (rain, None), (bell, None))], [rain, bell])
    samples = opened(dataset)
    batch = samples.batch(samples.plan(batch_size=1, seed=0), 0)
    first = min(("rain", "it rains hard"), key=text_hash)
    assert batch["neighbour_token_lengths"].tolist() == [[len(first.split()), 2]]


def test_a_blank_text_has_none(tmp_path: Path) -> None:
    written = Made(tmp_path)
    written.clip("blank", said=[{"captions": [" "]}])
    rain = written.clip("rain", said=[{"captions": ["rain"]}])
    dataset = written.dataset()
    select(dataset, name="train")
    pack(dataset, "train")
    encode(dataset)
    heard_of(dataset)
    encode_texts(dataset)
    store(dataset, [found(rain, "rain")], [rain])
    samples = opened(dataset)
    batch = samples.batch(samples.plan(batch_size=4, seed=0), 0)
    assert not batch["has_neighbours"].any() and batch["neighbours"] == [[]] * 4
    assert not batch["neighbour_heard"].any()


def test_what_is_missing_is_an_error_that_says_what_to_run(three: tuple[Dataset, list[str]]) -> None:
    dataset, (dog, rain, bell) = three
    with pytest.raises(DatasetError, match="holds no neighbours; find them with"):
        opened(dataset)
    store(dataset, [found(rain, "rain", (bell, "one bell"))], [rain, bell])
    with pytest.raises(ArgumentError, match=r"1 of 1 texts .* no neighbours 'text', one of clip .* --of"):
        opened(dataset)
    store(dataset, [found(dog, "a dog barks", (bell, "one bell"), (rain, "gone"))], [rain, bell])
    with pytest.raises(ArgumentError, match="no tokens 'blocks' of texts; run `foundsound encode` with --text-enc"):
        opened(dataset)
    encode_texts(dataset)
    with pytest.raises(ArgumentError, match="no tokens 'blocks' of sounds; run `foundsound encode` with --listener"):
        opened(dataset)
    heard_of(dataset)
    with pytest.raises(ArgumentError, match=r"1 of 2 texts of neighbours .* captions were chosen anew"):
        opened(dataset)
    store(dataset, [found(dog, "a dog barks", ("0" * 20, "one bell"))], [rain])
    with pytest.raises(ArgumentError, match=r"1 of 1 clips of .* have no tokens 'blocks' of their sounds, 0{20}"):
        opened(dataset)
    with pytest.raises(ArgumentError, match="at least 1 neighbour, not 0"):
        wanted(0)
