"""The page of pictures of a run, and the loss of windows that are the same each time."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from models.training.step import StepResult
from models.training.world import World
from pipelines.training.picture_evaluation import FIXED_BATCHES, FixedLoss, grid
from tests.pipelines.recipes.test_audiotoken import windows


def grey(value: int, side: int = 4) -> np.ndarray:
    return np.full((side, side, 3), value, np.uint8)


def test_a_page_holds_all_pictures_in_order() -> None:
    """Ten in rows of eight; what is empty is white."""
    page = grid([grey(10 * n) for n in range(10)])
    assert page.shape == (8, 32, 3)
    assert page[0, ::4, 0].tolist() == [0, 10, 20, 30, 40, 50, 60, 70]
    assert page[4, ::4, 0].tolist() == [80, 90] + [255] * 6


def test_large_pictures_are_shrunk() -> None:
    assert grid([grey(0, 512), grey(9, 512)]).shape == (256, 512, 3)


def test_fixed_windows_are_the_same_each_time() -> None:
    """The loss is the mean of what four batches come to, and no global random number is drawn."""
    seen: list[tuple[Any, ...]] = []

    def objective(network: nn.Module, batch: Any, rngs: Any) -> StepResult:
        seen.append((batch["waves"].clone(), [rng.random() for rng in rngs]))
        return StepResult(loss=torch.tensor(float(len(seen))))

    loss = FixedLoss(objective=objective, batches=windows(), world=World(device=torch.device("cpu")))
    before = torch.random.get_rng_state()
    assert loss(SimpleNamespace()) == np.mean(range(1, FIXED_BATCHES + 1))  # type: ignore[arg-type]
    loss(SimpleNamespace())  # type: ignore[arg-type]
    assert torch.equal(torch.random.get_rng_state(), before)
    for one, again in zip(seen[:FIXED_BATCHES], seen[FIXED_BATCHES:], strict=True):
        assert torch.equal(one[0], again[0]) and one[1] == again[1]
    assert len({draws[0] for _, draws in seen[:FIXED_BATCHES]}) == FIXED_BATCHES
