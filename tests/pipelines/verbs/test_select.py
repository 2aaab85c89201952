"""`select` takes lists of names, and says what it does not understand."""

from pathlib import Path

import pytest

from curation.errors import ArgumentError
from pipelines.verbs.select import select
from tests.curation.made import Made


def test_names_are_separated_by_commas_and_ranks_are_passed_on(tmp_path: Path) -> None:
    made = Made(tmp_path)
    for n in range(3):
        made.clip(f"v{n}", loudness_lufs=-float(n))
    folder = made.dataset().path
    result = select(folder, name="best", best=1, by="measure.loudness_lufs", using="measure=measure, ")
    settings = result.as_dict()["settings"]
    assert (settings["best_clips"], settings["using"]) == (1, {"measure": "measure"})
    assert "best: 1 of 3 clips are in; refused: 2 RANK" in str(result)
    with pytest.raises(ArgumentError, match="wants STAGE=LABEL"):
        select(folder, using="mn10")
    with pytest.raises(ArgumentError, match="'a' is not registered"):
        select(folder, guard=" a, b")
    with pytest.raises(ArgumentError, match="rule 'x' is none of"):
        select(folder, rules="x")
