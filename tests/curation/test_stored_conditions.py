"""What samples have beside latents: what sounded before, a teacher's vectors, tokens of texts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from curation import keys
from curation.annotated import HUMAN_CAPTIONS
from curation.blobs import BlobWriter
from curation.dataset import Dataset
from curation.encode_text import EncodeText, pending_texts
from curation.errors import ArgumentError, Code, StoppedError
from curation.latents import Extras, Lengths, Members
from curation.samples import Samples, Source
from curation.schema import column, table
from curation.selections.selection import select
from curation.shards.pack import pack
from curation.stage import Stage
from curation.takedowns.forget import forget
from pipelines.runner import Job, run
from retrieval_index.embed_text import EmbedText
from tests.curation.made import RATE_HZ, Made, write_facts
from tests.curation.test_samples import HOP, Blocks, encode, made

FOUR = Lengths(latent_frames=(4,), latent_rate_hz=RATE_HZ / HOP, frame_rate_hz=50.0)


def followed(folder: Path, *, pairs: int = 2, codec: Blocks | None = None) -> tuple[Dataset, dict[str, str]]:
    """Videos of two clips each, the second following the first; and clip_id -> that of the one before."""
    written = Made(folder)
    folder.mkdir(exist_ok=True)
    clips = [(f"v{n}", start, written.clip(f"v{n}", start)) for n in range(pairs) for start in (0, 10_000)]
    dataset = written.dataset()
    earlier = {second: first for (_, _, first), (_, _, second) in zip(clips[::2], clips[1::2], strict=True)}
    dataset.append(
        "clips",
        [
            {
                "video_key": keys.video_key("youtube", video), "clip_id": clip, "start_ms": start,
                "duration_ms": 10_000, "origin": "segment", "prev_clip_id": earlier.get(clip),
            }
            for video, start, clip in clips
        ],
    )  # fmt: skip
    select(dataset, name="train")
    pack(dataset, "train")
    encode(dataset, codec)
    return dataset, earlier


def opened(dataset: Dataset, *, where: str | None = None, lengths: Lengths = FOUR, **extras: Any) -> Samples:
    source = Source(dataset=dataset, where=where)
    return Samples.open([source], latents="blocks", lengths=lengths, extras=Extras(**extras))


def whole(dataset: Dataset) -> dict[str, np.ndarray]:
    """All latents of each clip, which have ten frames."""
    ten = Lengths(latent_frames=(10,), latent_rate_hz=RATE_HZ / HOP, frame_rate_hz=50.0)
    samples = opened(dataset, lengths=ten)
    batch = samples.batch(samples.plan(batch_size=len(samples), seed=0), 0)
    return dict(zip(batch["keys"], batch["latents"], strict=True))


def test_what_sounded_before_ends_where_the_span_starts(tmp_path: Path) -> None:
    dataset, earlier = followed(tmp_path)
    latents = whole(dataset)
    samples = opened(dataset, before=True)
    batch = samples.batch(samples.plan(batch_size=64, seed=0), 0)
    assert batch["before"].shape == (64, 4, 2)
    seen = set()
    for key, span, before, has in zip(
        batch["keys"], batch["latents"], batch["before"], batch["has_before"], strict=True
    ):
        start = int(span[0, 0])
        seen.add((key in earlier, start))
        assert has == (key in earlier or start >= 4)
        joined = np.concatenate([latents[earlier[key]] if key in earlier else np.zeros((10, 2)), latents[key]])
        np.testing.assert_array_equal(before, joined[6 + start : 10 + start] if has else np.zeros((4, 2)))
    assert {(True, 0), (True, 6), (False, 3), (False, 4)} <= seen


def test_what_is_not_asked_for_changes_no_draw(tmp_path: Path) -> None:
    dataset, _ = followed(tmp_path, codec=Blocks(spread=0.5))
    plain, more = opened(dataset), opened(dataset, before=True)
    plan = plain.plan(batch_size=16, seed=2)
    without, having = plain.batch(plan, 1), more.batch(plan, 1)
    assert without.keys() == {"latents", "texts", "keys", "seconds", "frames", "has_frames"}
    np.testing.assert_array_equal(without["latents"], having["latents"])
    assert having["before"].dtype == np.float32


def test_an_earlier_clip_counts_where_its_generation_has_it_whatever_the_condition(tmp_path: Path) -> None:
    dataset, earlier = followed(tmp_path)
    only = opened(dataset, before=True, where="clips.start_ms > 0")
    batch = only.batch(only.plan(batch_size=16, seed=0), 0)
    assert set(batch["keys"]) == set(earlier) and batch["has_before"].all()
    select(dataset, name="later", where="clips.start_ms > 0")
    pack(dataset, "later")
    later = Samples.open(
        [Source(dataset=dataset, generation="later")], latents="blocks", lengths=FOUR, extras=Extras(before=True)
    )
    batch = later.batch(later.plan(batch_size=64, seed=0), 0)
    starts = batch["latents"][:, 0, 0]
    np.testing.assert_array_equal(batch["has_before"], starts >= 4)


def test_after_a_takedown_nothing_names_what_is_gone(tmp_path: Path) -> None:
    dataset, _ = followed(tmp_path)
    forget(dataset, ["v0"])
    samples = opened(Dataset(dataset.path), before=True)
    assert len(samples) == 2
    batch = samples.batch(samples.plan(batch_size=32, seed=0), 0)
    assert batch["has_before"].any() and not set(batch["keys"]) & {keys.clip_id("youtube", "v0", 0, 10_000)}


class MadeEmbed(Stage):
    NAME, VERSION, GRAIN = "embed", 1, "clip"
    RESULTS: ClassVar[pa.Schema] = table(
        "",
        column("blob", pa.string(), ""),
        column("offset_bytes", pa.int64(), ""),
        *(column(name, pa.int32(), "") for name in ("windows", "dimension")),
    )
    label = "clap"

    def requests(self) -> str:
        return "SELECT key, audio_sha256 AS input FROM cut WHERE state = 'done'"


def embedded(dataset: Dataset, *, skipped: int = 0, refused: int = 0) -> dict[str, np.ndarray]:
    """Let `embed` have run: two windows a clip; clip_id -> their mean."""
    rows = dataset.sql("SELECT key, audio_sha256 FROM cut ORDER BY key").to_pylist()[skipped:]
    rng, answers, means = np.random.default_rng(0), [], {}
    with BlobWriter(dataset.root("vectors")) as writer:
        for nth, row in enumerate(rows):
            vectors = rng.standard_normal((2, 3)).astype(np.float16)
            place = writer.append(vectors)
            shape = {"offset_bytes": place.offset_bytes, "windows": 2, "dimension": 3}
            state = Code.NO_AUDIO if nth < refused else "done"
            answers.append((row["key"], state, {"blob": place.blob, **shape}, row["audio_sha256"]))
            if nth >= refused:
                means[row["key"]] = vectors.astype(np.float32).mean(axis=0)
    write_facts(dataset, MadeEmbed(), answers)
    return means


def test_a_teacher_is_the_mean_of_the_windows(tmp_path: Path) -> None:
    dataset = made(tmp_path, ["a", "b", "c"])
    means = embedded(dataset, refused=1)
    samples = opened(dataset, teachers="clap")
    batch = samples.batch(samples.plan(batch_size=9, seed=0), 0)
    assert batch["teachers"].shape == (9, 3) and batch["teachers"].dtype == np.float32
    assert batch["has_teachers"].tolist() == [key in means for key in batch["keys"]]
    for key, vector in zip(batch["keys"], batch["teachers"], strict=True):
        np.testing.assert_allclose(vector, means.get(key, np.zeros(3)), atol=1e-6)


def test_missing_teachers_say_what_to_run(tmp_path: Path) -> None:
    dataset = made(tmp_path, ["a", "b", "c"])
    with pytest.raises(ArgumentError, match=r"no vectors 'clap' of sounds; run `foundsound embed .* --name clap`"):
        opened(dataset, teachers="clap")
    embedded(dataset, skipped=2)
    with pytest.raises(ArgumentError, match=r"2 of 3 clips of .* have no vectors 'clap' of their sounds"):
        opened(dataset, teachers="clap")


class Words:
    """A token of (length, sum of its letters) a word."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def encode_text(self, texts: Sequence[str]) -> list[np.ndarray]:
        self.calls.extend(texts)
        return [np.array([(len(w), sum(w.encode()) / 8) for w in text.split()], np.float32) for text in texts]


def encode_texts(dataset: Dataset, words: Words) -> EncodeText:
    stage = EncodeText(
        encoder={"class": "Words"},
        chosen=HUMAN_CAPTIONS,
        build=lambda: words,
        blobs=dataset.root("latents"),
        called="blocks",
    )
    said = Members.of(dataset, "train", None).said()
    run(dataset, Job(stage=stage, queue=lambda: pending_texts(dataset, stage, said), batch_rows=3, workers=0))
    return stage


def test_tokens_are_stored_once_and_unpadded(tmp_path: Path) -> None:
    dataset, words = made(tmp_path, ["a", "b", "c", "d"]), Words()
    stage = encode_texts(dataset, words)
    assert sorted(words.calls) == ["a", "b one", "b two", "c", "d one", "d two"]
    encode_texts(dataset, words)
    assert len(words.calls) == 6 and not dataset.pending(stage).num_rows
    samples = opened(dataset, tokens="blocks")
    batch = samples.batch(samples.plan(batch_size=32, seed=0), 0)
    assert batch["tokens"].shape == (32, 2, 2) and batch["tokens"].dtype == np.float16
    for text, tokens, length in zip(batch["texts"], batch["tokens"], batch["token_lengths"], strict=True):
        expected = Words().encode_text([text])[0]
        assert length == len(expected)
        np.testing.assert_array_equal(tokens[:length], expected)
        assert not tokens[length:].any()


def test_a_blank_text_is_one_token_of_zeros_and_texts_packed_otherwise_are_encoded_too(tmp_path: Path) -> None:
    written = Made(tmp_path)
    written.clip("blank", said=[{"captions": [" "]}])
    written.clip("said", said=[{"captions": ["rain falls"]}])
    dataset = written.dataset()
    packed = f"SELECT clip_id, replace(text, 'rain', 'packed rain') AS text, source FROM ({HUMAN_CAPTIONS})"
    select(dataset, name="train", captions_sql=packed)
    pack(dataset, "train")
    encode(dataset)
    words = Words()
    encode_texts(dataset, words)
    assert sorted(words.calls) == ["packed rain falls", "rain falls"]
    samples = opened(dataset, tokens="blocks")
    batch = samples.batch(samples.plan(batch_size=8, seed=0), 0)
    lengths = {text.strip(): length for text, length in zip(batch["texts"], batch["token_lengths"], strict=True)}
    assert lengths == {"": 1, "packed rain falls": 3}


def test_missing_tokens_say_what_to_run_and_equal_texts_share_a_place(tmp_path: Path) -> None:
    dataset = made(tmp_path, ["a", "b"])
    with pytest.raises(ArgumentError, match=r"no tokens 'blocks' of texts; run `foundsound encode` with"):
        opened(dataset, tokens="blocks")
    written = Made(tmp_path / "same")
    (tmp_path / "same").mkdir()
    for video, text in (("x", "rain"), ("y", "rain"), ("z", "a dog")):
        written.clip(video, said=[{"captions": [text]}])
    same = written.dataset()
    select(same, name="train")
    pack(same, "train")
    encode(same)
    encode_texts(same, Words())
    places = same.sql("SELECT tokens_offset_bytes AS begin, tokens_size_bytes AS size, blob FROM encode_text")
    assert sorted((row["begin"], row["size"]) for row in places.to_pylist()) == [(0, 8), (64, 4), (64, 4)]
    forget(same, ["x", "z"])
    content = (same.root("latents").path / places["blob"][0].as_py()).read_bytes()
    assert not any(content[:64]) and any(content[64:]), "what only z said is gone, what y says too is not"
    samples = opened(Dataset(same.path), tokens="blocks")
    batch = samples.batch(samples.plan(batch_size=2, seed=0), 0)
    np.testing.assert_array_equal(batch["tokens"][0], Words().encode_text(["rain"])[0])


def test_tokens_beyond_float16_stop_the_stage(tmp_path: Path) -> None:
    class Loud(Words):
        def encode_text(self, texts: Sequence[str]) -> list[np.ndarray]:
            return [np.full((1, 2), 1e5, np.float32) for _ in texts]

    with pytest.raises(StoppedError, match="no finite float16"):
        encode_texts(made(tmp_path, ["a"]), Loud())


class Lengths3:
    """Embeds a text as (its letters, its words, 1)."""

    def identity(self) -> dict[str, Any]:
        return {"class": "Lengths3"}

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([(len(text), len(text.split()), 1) for text in texts], np.float32)


def embed_texts(dataset: Dataset) -> None:
    stage = EmbedText(
        embedder=Lengths3().identity(),
        candidates=HUMAN_CAPTIONS,
        build=Lengths3,  # type: ignore[arg-type]
        blobs=dataset.root("vectors"),
        called="clap",
    )
    run(dataset, Job(stage=stage, queue=lambda: dataset.pending(stage), batch_rows=3, workers=0))


def test_a_sample_has_the_vector_of_the_text_that_was_drawn(tmp_path: Path) -> None:
    dataset = made(tmp_path, ["a", "bb", "ccc", "dddd"])
    embed_texts(dataset)
    samples = opened(dataset, said="clap")
    batch = samples.batch(samples.plan(batch_size=32, seed=0), 0)
    assert batch["said"].dtype == np.float32 and len(set(batch["texts"])) == 6
    np.testing.assert_array_equal(batch["said"], Lengths3().embed_text(batch["texts"]))


def test_missing_vectors_of_texts_say_what_to_run_and_a_blank_text_is_zeros(tmp_path: Path) -> None:
    written = Made(tmp_path)
    written.clip("blank", said=[{"captions": [" "]}])
    written.clip("said", said=[{"captions": ["rain falls"]}])
    dataset = written.dataset()
    select(dataset, name="train")
    pack(dataset, "train")
    encode(dataset)
    line = r"run `foundsound embed .* --name clap --texts` first"
    with pytest.raises(ArgumentError, match=rf"has no vectors 'clap' of texts; {line}"):
        opened(dataset, said="clap")
    embed_texts(dataset)
    samples = opened(dataset, said="clap")
    batch = samples.batch(samples.plan(batch_size=8, seed=0), 0)
    vectors = {text.strip(): tuple(vector) for text, vector in zip(batch["texts"], batch["said"], strict=True)}
    assert vectors == {"": (0, 0, 0), "rain falls": (10, 2, 1)}
    packed = f"SELECT clip_id, text || ' hard' AS text, source FROM ({HUMAN_CAPTIONS})"
    select(dataset, name="later", captions_sql=packed)
    pack(dataset, "later")
    with pytest.raises(ArgumentError, match=rf"2 of 2 texts of .* have no vectors 'clap', one of clip .*; {line}"):
        Samples.open(
            [Source(dataset=dataset, generation="later")], latents="blocks", lengths=FOUR, extras=Extras(said="clap")
        )
