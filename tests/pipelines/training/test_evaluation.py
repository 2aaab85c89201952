"""What is said about samples during a run, and which process is called."""

from types import SimpleNamespace
from typing import Any

import pytest

from curation.errors import ArgumentError
from models.training.loop import Watchers
from pipelines.training.evaluation import EvaluationOptions, watched


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"samples": -1}, "--samples must be at least 0"),
        ({"samples": 1, "every_clips": 0}, "--evaluate-every must be at least 1"),
        ({"every_clips": 5}, "give --samples N"),
        ({"judges": ("clap:x",)}, "give --samples N"),
    ],
)
def test_options_out_of_range_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        EvaluationOptions(**given)


def test_every_process_is_called_where_one_makes_samples() -> None:
    plain = Watchers()
    assert watched(plain, EvaluationOptions(), None) is plain
    beside = watched(plain, EvaluationOptions(samples=2), None).evaluate
    assert beside is not None and beside(SimpleNamespace()) == {}  # type: ignore[arg-type]
