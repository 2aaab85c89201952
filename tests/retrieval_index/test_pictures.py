"""Pictures as vectors: of clips that have one, and of files that are asked for."""

from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from curation.agree import frames_at
from curation.blobs import BlobReader, BlobRef
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.status import status
from pipelines.runner import Job, Tally, run
from retrieval_index.embed import Embed
from retrieval_index.embedder import seeing
from retrieval_index.pictures import picture_vectors
from retrieval_index.windows import mono
from tests.curation.made import RATE_HZ, Made
from tests.retrieval_index.toy_embedder import Pitches, Seeing


def stage_of(dataset: Dataset, embedder: Pitches, of: Any, **knobs: Any) -> Embed:
    return Embed(
        embedder={**embedder.identity(), "of": of},
        build=partial(_same, embedder),
        media=dataset.media,
        blobs=dataset.folder("vectors"),
        called=knobs.pop("called", of),
        of=of,
        **knobs,
    )


def _same(embedder: Pitches) -> Pitches:
    return embedder


def done(dataset: Dataset, stage: Embed) -> Tally:
    return run(dataset, Job(stage=stage, queue=lambda: dataset.pending(stage), batch_rows=8, workers=0))


def stored(dataset: Dataset, of: str) -> dict[str, np.ndarray]:
    rows = dataset.sql("SELECT * FROM embed WHERE state = 'done' AND label = ?", [of]).to_pylist()
    reader = BlobReader(dataset.folder("vectors"))
    return {
        row["key"]: reader.read(
            BlobRef(
                blob=row["blob"],
                offset_bytes=row["offset_bytes"],
                shape=(row["windows"], row["dimension"]),
                dtype="<f2",
            )
        ).astype(np.float32)
        for row in rows
    }


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    made = Made(tmp_path)
    for seed in (1, 3, 5):
        made.clip(f"seen{seed}", sound=seed, picture=True)
    made.clip("blind", sound=9)
    return made.dataset()


@pytest.mark.parametrize("of", ["picture", "both"])
def test_clips_with_a_picture_are_embedded_as_the_embedder_sees_them(dataset: Dataset, of: str) -> None:
    embedder = Seeing(window_s=0.04)
    assert done(dataset, stage_of(dataset, embedder, of)).done == 3
    assert status(dataset)["embed"].requested == 3, "a clip without a picture is not asked for"
    found = stored(dataset, of)
    for row in dataset.sql(
        "SELECT key, audio_sha256, video_sha256 FROM cut WHERE video_sha256 IS NOT NULL"
    ).to_pylist():
        wave_T = mono(dataset.media.path(row["audio_sha256"], ".flac"), RATE_HZ)
        movie = dataset.media.path(row["video_sha256"], ".mp4")
        assert len(found[row["key"]]) == 4, "0.1 s in windows of 0.04 s, every 0.02 s"
        for n, vector_D in enumerate(found[row["key"]]):
            piece_T = wave_T[160 * n : 160 * n + 320]
            frames = frames_at(movie, [0.02 * n, 0.02 * n + len(piece_T) / RATE_HZ], 8)[None]
            seen = embedder.embed_picture(frames) if of == "picture" else embedder.embed_both(piece_T[None], frames)
            np.testing.assert_allclose(vector_D, seen[0], atol=2e-3)


def test_vectors_of_all_kinds_stand_side_by_side_and_are_made_once(dataset: Dataset) -> None:
    stages = [stage_of(dataset, Seeing(), of) for of in ("sound", "picture", "both")]
    assert [done(dataset, stage).done for stage in stages] == [4, 3, 3]
    assert [done(dataset, stage).done for stage in stages] == [0, 0, 0]
    assert len({stage.folder_name for stage in stages}) == 3
    inputs = {row["label"]: row["input"] for row in dataset.sql("SELECT label, input FROM embed").to_pylist()}
    assert "+" not in inputs["sound"] and "+" in inputs["picture"] and "+" in inputs["both"]


def test_the_number_at_once_changes_nothing(dataset: Dataset) -> None:
    embedder = Seeing(window_s=0.02)
    for count in (1, 3):
        done(dataset, stage_of(dataset, embedder, "picture", called=f"by{count}", batch_windows=count))
    one, three = stored(dataset, "by1"), stored(dataset, "by3")
    assert one.keys() == three.keys() and all(np.array_equal(one[key], three[key]) for key in one)


def test_an_embedder_that_does_not_see_says_so(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="the embedder Pitches cannot see pictures; use vectors of one that does"):
        done(dataset, stage_of(dataset, Pitches(), "picture"))
    with pytest.raises(ArgumentError, match="cannot see pictures"):
        picture_vectors(tmp_path / "a.png", Pitches())
    assert seeing(Seeing()) == Seeing()
    with pytest.raises(ValueError, match="of must be one of sound, picture, both, not 'smell'"):
        stage_of(dataset, Seeing(), "smell")


def coloured(path: Path, colours: list[tuple[int, int, int]], rate_hz: int = 10) -> Path:
    """A video whose frames have these colours."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=rate_hz)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for colour in colours:
            pixels = np.broadcast_to(np.array(colour, np.uint8), (16, 32, 3))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")))
        container.mux(stream.encode())
    return path


def test_every_part_of_a_video_is_asked(tmp_path: Path) -> None:
    """4 s in windows of 2 s, every second; each is looked at in its first and its last moment."""
    red, blue = (200, 20, 20), (20, 20, 200)
    vectors = picture_vectors(coloured(tmp_path / "v.mp4", [red] * 20 + [blue] * 20), Seeing(window_s=2.0))
    assert vectors.shape == (3, 4)
    half, whole = [110, 20, 110, 64], [20, 20, 200, 64]
    expected = np.array([half, half, whole], np.float32)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert (vectors * expected).sum(axis=1) == pytest.approx([1, 1, 1], abs=0.01)


def still(colour: tuple[int, int, int]) -> bytes:
    """A PNG of this colour."""
    codec = av.CodecContext.create("png", "w")
    codec.width, codec.height, codec.pix_fmt = 64, 64, "rgb24"
    codec.time_base = Fraction(1, 25)
    pixels = np.broadcast_to(np.array(colour, np.uint8), (64, 64, 3))
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode()])


def test_a_still_is_one_window(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(still((20, 200, 20)))
    (vector_D,) = picture_vectors(tmp_path / "a.png", Seeing())
    expected = np.array([20, 200, 20, 64]) / np.linalg.norm([20, 200, 20, 64])
    assert vector_D @ expected == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("name", ["gone.png", "text.png"])
def test_a_file_that_is_no_picture_is_a_wrong_argument(name: str, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ArgumentError, match=r"there is no picture .*gone\.png|the picture .*text\.png cannot be read"):
        picture_vectors(tmp_path / name, Seeing())
