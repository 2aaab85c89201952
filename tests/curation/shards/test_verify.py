"""Re-reading finds one flipped bit anywhere, and says where it is."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from curation.errors import DatasetError
from curation.keys import canonical
from curation.selections.selection import select
from curation.shards import layout
from curation.shards.generation import GenerationIndex, ShardInfo
from curation.shards.pack import pack
from curation.shards.verify import verify
from tests.curation.made import Made


@pytest.fixture
def generation(tmp_path: Path) -> Path:
    made = Made(tmp_path)
    for n in range(5):
        made.clip(f"v{n}", picture=n == 2)
    dataset = made.dataset()
    select(dataset, name="s")
    return pack(dataset, "s", clips_per_shard=3).folder


def what(folder: Path) -> str:
    return "\n".join(str(problem) for problem in verify(folder).problems)


def test_a_whole_generation_has_no_problem(generation: Path) -> None:
    found = verify(generation)
    assert (found.shards, found.clips, found.problems) == (2, 5, ())


def test_one_flipped_bit_anywhere_is_found(generation: Path) -> None:
    files = sorted(generation.iterdir())
    assert len(files) == 5
    for file in files:
        content = file.read_bytes()
        positions = np.random.default_rng(3).integers(0, len(content), size=25)
        for position in [0, len(content) - 1, *positions.tolist()]:
            damaged = bytearray(content)
            damaged[position] ^= 1 << position % 8
            file.write_bytes(damaged)
            assert any(problem.file == file.name for problem in verify(generation).problems), (file, position)
        file.write_bytes(content)
    assert not verify(generation).problems


def test_the_damaged_clip_is_named(generation: Path) -> None:
    row = layout.read_offsets(generation / "000000.arrow").to_pylist()[1]
    tar = generation / "000000.tar"
    content = bytearray(tar.read_bytes())
    content[row["flac_offset_bytes"] + row["flac_size_bytes"] // 2] ^= 16
    tar.write_bytes(content)
    assert f"clip {row['key']}: its .flac has another sum" in what(generation)


def test_a_tar_that_agrees_with_its_index_and_not_with_its_sound_is_found(generation: Path) -> None:
    """Sums alone would be satisfied: .json, offsets and index are all rewritten around bytes that do not decode."""
    tar, arrow = generation / "000001.tar", generation / "000001.arrow"
    rows = [dict(row) for row in layout.read_offsets(arrow).to_pylist()]
    index = GenerationIndex.read(generation)
    noise = b"this is not a sound"
    noise_sha256 = hashlib.sha256(noise).hexdigest()
    with tar.open("wb") as file:
        writer = layout.TarWriter(file)
        for row in rows:
            fields = json.loads(row["json"])
            fields["sha256"] = {"flac": noise_sha256}
            text = canonical(fields)
            row |= {"mp4_offset_bytes": None, "mp4_size_bytes": None, "json": text.decode()}
            for member, content in (("flac", noise), ("json", text)):
                row[f"{member}_offset_bytes"], _ = writer.add(f"{row['key']}.{member}", content)
                row[f"{member}_size_bytes"] = len(content)
        sha256 = writer.finish()
    layout.write_offsets(arrow, rows, plan_sha256="", members_sha256=sha256)
    last = ShardInfo(
        name="000001",
        clips=len(rows),
        tar_bytes=tar.stat().st_size,
        members_sha256=sha256,
        arrow_bytes=arrow.stat().st_size,
        arrow_sha256=hashlib.sha256(arrow.read_bytes()).hexdigest(),
    )
    (generation / "index.json").write_bytes(replace(index, shards=(index.shards[0], last)).to_bytes())
    assert what(generation).count("its sound cannot be decoded") == len(rows) == len(verify(generation).problems)


def test_missing_extra_and_swapped_files_are_found(generation: Path) -> None:
    (generation / "000000.arrow").rename(generation / "000007.arrow")
    assert "000000.arrow: is missing" in what(generation)
    assert "000007.arrow: is not named by index.json" in what(generation)
    (generation / "000007.arrow").unlink()
    shutil.copy(generation / "000001.tar", generation / "000000.tar")
    assert "000000.tar: has 2 clips, not 3" in what(generation) and "stands before an earlier shard" in what(generation)


def test_what_is_not_finished_is_not_verified(generation: Path) -> None:
    (generation / "index.json").unlink()
    with pytest.raises(DatasetError, match="not a finished generation"):
        verify(generation)
