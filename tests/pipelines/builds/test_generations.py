"""A build that is run again goes on from the latest generation of a selection, and makes none where nothing is new."""

from pathlib import Path

import pytest

from curation.dataset import Dataset
from curation.selections.selection import select
from curation.shards.pack import pack
from pipelines.builds.generations import continued
from pipelines.builds.options import Step
from pipelines.program import make_app
from tests.curation.made import Made


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    made = Made(tmp_path)
    for n in range(6):
        made.clip(f"v{n}", loudness_lufs=-20.0 - n)
    return made.dataset()


def choose(dataset: Dataset, clips: int, name: str = "train") -> None:
    select(dataset, name=name, where=f"loudness_lufs > {-19.5 - clips}")


def run(step: Step, dataset: Dataset) -> str:
    """Run what the step is now; the command without its first words."""
    now = continued(step, dataset.path)
    make_app()(now.command)
    return " ".join([now.verb, *now.words[1:]])


def test_more_clips_make_the_next_generation_and_the_same_ones_none(dataset: Dataset) -> None:
    place = str(dataset.path)
    packing = Step("pack", (place, "--selection", "train"))
    verifying = Step("verify", (place, "--generation", "train"))
    choose(dataset, 2)
    assert continued(verifying, dataset.path) == verifying
    for _ in range(2):
        assert run(packing, dataset) == "pack --selection train"
        assert run(verifying, dataset) == "verify --generation train"
    choose(dataset, 4)
    for _ in range(2):
        assert run(packing, dataset) == "extend --selection train --from train --name train-2"
        assert run(verifying, dataset) == "verify --generation train-2"
    choose(dataset, 5)
    assert run(packing, dataset) == "extend --selection train --from train-2 --name train-3"
    choose(dataset, 3)
    assert run(packing, dataset) == "extend --selection train --from train-3 --name train-4"
    assert run(verifying, dataset) == "verify --generation train-4"
    names = sorted(path.name for path in dataset.folder("shards").iterdir())
    assert names == ["train", "train-2", "train-3", "train-4"]


def test_generations_of_other_selections_are_neither_extended_nor_replaced(dataset: Dataset) -> None:
    packing = Step("pack", (str(dataset.path), "--selection", "train"))
    choose(dataset, 2)
    choose(dataset, 6, "mine")
    pack(dataset, "train")
    pack(dataset, "mine", generation="train-2")
    pack(dataset, "mine", generation="train-02")
    pack(dataset, "mine", generation="training-7")
    choose(dataset, 3)
    assert run(packing, dataset) == "extend --selection train --from train --name train-3"


def test_an_extension_that_was_killed_is_begun_again(dataset: Dataset) -> None:
    packing = Step("pack", (str(dataset.path), "--selection", "train"))
    choose(dataset, 2)
    pack(dataset, "train")
    choose(dataset, 4)
    (dataset.folder("shards") / "train-2").mkdir()
    (dataset.folder("shards") / "train-2" / ".writing-000001.tar").write_bytes(b"x")
    assert run(packing, dataset) == "extend --selection train --from train --name train-2"
    assert not list(dataset.folder("shards").rglob(".writing-*"))


def test_other_steps_stay_as_they_are(dataset: Dataset) -> None:
    for step in (Step("measure", (str(dataset.path),)), Step("verify", (str(dataset.path),))):
        assert continued(step, dataset.path) is step
