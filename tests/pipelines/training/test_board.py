"""What is shown of a run while it goes on."""

from pathlib import Path
from types import TracebackType

import pytest
import torch

from models.training.world import World
from pipelines.recipes.options import RunOptions
from pipelines.training import board as module
from pipelines.training.board import watching


class Bar:
    """Keeps what it is told."""

    told: list[tuple[int, str]]

    def __init__(self, what: str, *, total: int, unit: str) -> None:
        Bar.told = []

    def __enter__(self) -> "Bar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def advance(self, count: int, *, note: str) -> None:
        Bar.told.append((count, note))

    def note(self, text: str) -> None:
        pass


def test_no_loss_is_shown_before_one_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples may be made, and reported, before the first loss is."""
    monkeypatch.setattr(module, "Progress", Bar)
    last: dict[str, float] = {}
    with watching(tmp_path, RunOptions(), World(device=torch.device("cpu")), total=8, last=last) as watchers:
        assert watchers.report is not None
        watchers.report({"step": 1, "clips_seen": 2, "seconds": 0.1, "samples": 4.0})
        watchers.report({"step": 4, "clips_seen": 8, "seconds": 0.4, "loss": 0.5})
    assert Bar.told == [(2, ""), (6, "loss 0.500")]
    assert (last["samples"], last["loss"], last["clips_seen"]) == (4.0, 0.5, 8)
