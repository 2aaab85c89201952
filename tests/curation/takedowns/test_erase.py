"""What is erased of a blob ends where its array does: as the row says, by its shape, or where the next one begins."""

from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pytest

from curation.dataset import Dataset
from curation.schema import column, table
from curation.stage import Stage
from curation.takedowns.erase import Doomed, arrays
from tests.curation.made import write_facts


class Framed(Stage):
    NAME, VERSION, GRAIN = "encode", 1, "clip"
    RESULTS: ClassVar[pa.Schema] = table(
        "",
        *(column("blob", pa.string(), ""), column("latents_offset_bytes", pa.int64(), "")),
        *(column(name, pa.int32(), "") for name in ("latent_frames", "latent_channels")),
        *(column(name, pa.int64(), "") for name in ("frames_offset_bytes", "frames_size_bytes")),
        *(column(name, pa.int32(), "") for name in ("frames", "frame_size_px")),
    )

    def requests(self) -> str:
        return "SELECT clip_id AS key, clip_id AS input FROM clips"


@pytest.mark.parametrize("said", [40, None])
def test_arrays_end_where_the_row_or_the_shape_says(said: int | None, tmp_path: Path) -> None:
    """Two clips, each with 2 x 4 latents of 16 bits and frames: 40 bytes of JPEG, or one raw frame of 2 x 2 px."""
    dataset = Dataset.create(tmp_path / "dataset")
    length = said or 1 * 2 * 2 * 3
    shape = {"latent_frames": 2, "latent_channels": 4, "frames": 1, "frame_size_px": 2, "frames_size_bytes": said}
    rows = [
        (name, "done", {"blob": "blob-0.bin", "latents_offset_bytes": at, "frames_offset_bytes": at + 64, **shape}, "x")
        for name, at in (("a", 0), ("b", 128))
    ]
    write_facts(dataset, Framed(), rows)
    blob = dataset.root("latents").path / "blob-0.bin"
    blob.parent.mkdir()
    blob.write_bytes(bytes([1]) * 256)
    assert len(list(arrays(dataset, Doomed(keys=frozenset({"a"}), ids=frozenset()), True))) == 1
    expected = bytearray(256)
    for begin, size in ((128, 2 * 4 * 2), (192, length)):
        expected[begin : begin + size] = bytes([1]) * size
    assert blob.read_bytes() == bytes(expected)
