"""Every recipe that is named is there, and is told by name what it has no use for."""

from typing import get_args

import pytest

from curation.dataset import Dataset
from curation.errors import ArgumentError
from pipelines.recipes import NO_USE, RECIPES, RecipeName, function_of
from pipelines.verbs.train import Machinery, Parts, train


def test_every_name_has_its_function() -> None:
    assert set(get_args(RecipeName)) == set(RECIPES)
    for name in RECIPES:
        assert callable(function_of(name))
        assert RECIPES[name].takes <= set(NO_USE)


@pytest.mark.parametrize(
    ("recipe", "given", "said"),
    [
        ("clap-tiny", {"machinery": Machinery(workers=2)}, "clap-tiny is trained in one process"),
        ("codec-tiny", {"machinery": Machinery(samples=4)}, "codec-tiny is a part of a system"),
        ("audiox-tiny", {"parts": Parts(pictures="sd")}, "audiox-tiny has no use for --pictures"),
        ("re-audioldm-tiny", {"parts": Parts(start="run")}, "re-audioldm-tiny trains no other model further"),
        ("audiotoken-tiny", {"parts": Parts(clap="run")}, "audiotoken-tiny has no use for --clap"),
    ],
)
def test_what_a_recipe_has_no_use_for_is_refused(recipe: RecipeName, given: dict, said: str, tmp_path: object) -> None:
    path = Dataset.create(tmp_path / "dataset").path  # type: ignore[operator]
    with pytest.raises(ArgumentError, match=said):
        train(recipe, data=[str(path)], **given)
