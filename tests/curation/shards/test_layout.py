"""The tar is the standard library's, byte for byte, and damaged tables of offsets are refused."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from curation.errors import DatasetError
from curation.shards.layout import END_OF_TAR, TarWriter, read_offsets, write_offsets


def test_the_tar_is_what_the_standard_library_writes() -> None:
    contents = {f"clip{size}.flac": bytes([size % 251]) * size for size in (0, 1, 511, 512, 513, 1024, 5000)}
    ours, theirs = io.BytesIO(), io.BytesIO()
    writer = TarWriter(ours)
    offsets = {name: writer.add(name, content)[0] for name, content in contents.items()}
    writer.finish()
    with tarfile.open(fileobj=theirs, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    assert theirs.getvalue().startswith(ours.getvalue()) and ours.getvalue().endswith(END_OF_TAR)
    assert not theirs.getvalue()[len(ours.getvalue()) :].strip(b"\0")
    for name, offset_bytes in offsets.items():
        assert ours.getvalue()[offset_bytes : offset_bytes + len(contents[name])] == contents[name]


def test_inner_offsets_that_lead_out_of_the_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "000000.arrow"
    rows = [{"key": f"{n:020d}", "json": "{}"} for n in range(5)]
    write_offsets(path, rows, plan_sha256="a", members_sha256="b")
    assert [row["key"] for row in read_offsets(path).to_pylist()] == [row["key"] for row in rows]
    inner = np.array([0, 20, 40, 60, 80, 100], dtype="<i4").tobytes()
    damaged = np.array([0, 20, 40, 2_000_000_000, 80, 100], dtype="<i4").tobytes()
    content = path.read_bytes()
    assert content.count(inner) == 1
    (tmp_path / "damaged.arrow").write_bytes(content.replace(inner, damaged))
    with pytest.raises(DatasetError, match=r"damaged\.arrow is missing or damaged"):
        read_offsets(tmp_path / "damaged.arrow")
