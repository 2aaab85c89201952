"""Latents of pictures: of the moments asked for, of the middle square, read by number, and gone with a takedown."""

import io
from pathlib import Path

import av
import numpy as np
import pytest

from curation.dataset import Dataset
from curation.encode import read_frames
from curation.encode_pictures import EncodePictures, StoredPictures
from curation.errors import ArgumentError
from curation.takedowns.forget import forget
from pipelines.runner import Job, run
from tests.curation.made import Made


class Eye:
    """Two channels of 1 x 1: the mean of a picture and 7; a spread of halves."""

    side_px = 8

    def encode_picture(self, picture_HW3: np.ndarray) -> np.ndarray:
        assert picture_HW3.shape == (8, 8, 3)
        mean = np.array([picture_HW3.mean() / 255, 7.0], np.float32)[:, None, None]
        return np.stack([mean, np.full_like(mean, 0.5)])


def encoded(dataset: Dataset, rate_hz: float = 5.0) -> EncodePictures:
    stage = EncodePictures(
        encoder={"class": "Eye"},
        rate_hz=rate_hz,
        build=Eye,
        media=dataset.media,
        blobs=dataset.root("latents"),
        called="seen",
    )
    run(dataset, Job(stage=stage, queue=lambda: dataset.pending(stage), batch_rows=2, workers=0))
    return stage


def made(folder: Path) -> tuple[Dataset, list[str]]:
    """Three clips with three even pictures each, brighter by a step from one to the next, and one without."""
    clips = Made(folder)
    keys = [clips.clip(f"v{number}", picture=True, sound=number) for number in range(3)]
    clips.clip("blind")
    return clips.dataset(), keys


def test_every_clip_with_a_picture_has_its_moments(tmp_path: Path) -> None:
    dataset, keys = made(tmp_path)
    stage = encoded(dataset)
    assert not dataset.pending(stage).num_rows
    stored = StoredPictures.of(dataset, "seen", keys)
    assert stored.pictures.tolist() == [3, 3, 3] and stored.rate_hz == 5.0
    for number in range(3):
        for picture in range(3):
            mean, spread = stored.read(number, picture)
            assert mean.shape == spread.shape == (2, 1, 1) and mean.dtype == np.float16
            assert mean[:, 0, 0].tolist() == pytest.approx([(number * 37 + picture) / 255, 7.0], abs=0.02)
            assert (spread == 0.5).all()
    with pytest.raises(IndexError, match="picture 3 of 3"):
        stored.read(0, 3)


def test_half_the_rate_has_every_other_picture(tmp_path: Path) -> None:
    dataset, keys = made(tmp_path)
    encoded(dataset, rate_hz=2.5)
    stored = StoredPictures.of(dataset, "seen", keys)
    assert stored.pictures.tolist() == [2, 2, 2]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    dataset, keys = made(tmp_path)
    with pytest.raises(ArgumentError, match="no latents 'seen' of pictures"):
        StoredPictures.of(dataset, "seen", keys)
    encoded(dataset)
    with pytest.raises(ArgumentError, match=r"1 of 4 clips .* have no latents 'seen'"):
        StoredPictures.of(dataset, "seen", [*keys, "f" * 20])
    with pytest.raises(ArgumentError, match="above 0 Hz"):
        EncodePictures(encoder={}, rate_hz=0.0, build=Eye, media=dataset.media, blobs=dataset.root("latents"))


def test_a_takedown_erases_them(tmp_path: Path) -> None:
    dataset, keys = made(tmp_path)
    encoded(dataset)
    (blob,) = dataset.root("latents").path.rglob("*.bin")
    before = np.frombuffer(blob.read_bytes(), np.float16)
    forget(dataset, ["v1"])
    after = np.frombuffer(blob.read_bytes(), np.float16)
    assert (before == 7).sum() == 9 and (after == 7).sum() == 6
    assert StoredPictures.of(dataset, "seen", [keys[0], keys[2]]).read(1, 0)[0][1, 0, 0] == 7


def test_the_middle_square_is_cut_out_and_not_squeezed(tmp_path: Path) -> None:
    """A picture 32 wide and 16 high: black, but white in its middle square."""
    file = io.BytesIO()
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, 8:24] = 255
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    middle, squeezed = (
        read_frames(io.BytesIO(file.getvalue()), 5.0, 16, middle=middle)[0].astype(int) for middle in (True, False)
    )
    assert middle.shape == squeezed.shape == (16, 16, 3)
    assert middle[:, 2:14].mean() > 240 and middle.mean() > 220
    assert squeezed.mean() == pytest.approx(127, abs=20)
