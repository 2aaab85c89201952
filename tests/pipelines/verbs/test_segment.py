"""The verb `segment`: the policy that is asked for, and that it stays without being asked for again."""

import numpy as np

from curation.dataset import Dataset
from pipelines.verbs.fetch import fetch, segment
from pipelines.verbs.manifest import manifest
from tests.curation.encoding import encode

__all__ = ["encode"]


def clips(dataset: Dataset) -> list[tuple[int, int]]:
    rows = dataset.sql("SELECT start_ms, duration_ms FROM clips ORDER BY start_ms").to_pylist()
    return [(row["start_ms"], row["duration_ms"]) for row in rows]


def test_scenes_are_cut_where_the_picture_does_and_stay_the_policy(encode, tmp_path):
    rng = np.random.default_rng(4)
    grounds = [rng.integers(low, low + 120, (9, 16)).repeat(8, axis=0).repeat(8, axis=1) for low in (0, 120)]
    frames = np.concatenate([np.repeat(ground[None], 75, axis=0) for ground in grounds]).astype(np.uint8)
    made = encode("a.mp4", rng.normal(0, 0.1, (6 * 48_000, 1)), frames=frames)
    (made.parent / "list.csv").write_text("path\na.mp4\n")
    manifest("table", made.parent / "list.csv", out=tmp_path / "d")
    result = segment(tmp_path / "d", policy="scenes", workers=0)
    dataset = Dataset(tmp_path / "d")
    assert clips(dataset) == [(0, 3_000), (3_000, 3_000)]
    assert result.stages["cut"].done == 2
    again = fetch(tmp_path / "d", workers=0)
    assert clips(dataset) == [(0, 3_000), (3_000, 3_000)]
    assert (again.stages["segment"].requested, again.stages["segment"].pending) == (1, 0)
    assert again.tally.done == 0
