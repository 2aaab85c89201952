"""Several workers that train one run: Ray Train starts the same function that trains alone, once a worker.

Each finds its place in the environment (`models/training/world.py`). A worker that dies ends the run, which goes on
from its last checkpoint, with any number of workers, when the command is run again.
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from curation.errors import StoppedError
from curation.tables import write_bytes

FACTS_FILE = "facts.json"
"""What a run had to say at its end; read by the process that started the workers."""


def train_together(
    train: Callable[..., Any], arguments: Mapping[str, Any], *, folder: Path, workers: int, address: str | None
) -> dict[str, Any]:
    """Run a training function in several workers and wait for its end.

    Args:
        train: A function that can be imported by its name; called with `arguments` in every worker.
        arguments: Picklable.
        folder: Of the run, which every worker sees.
        workers: How many, one a GPU where there are GPUs.
        address: Of a Ray cluster; None: on this machine.

    Returns:
        What the first worker left in `folder`.

    Raises:
        StoppedError: A worker failed.
    """
    from pipelines.engine import start_ray
    from pipelines.wiring.devices import device_name

    start_ray(address)
    from ray.train import RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    known = known_facts(folder)
    (folder / FACTS_FILE).unlink(missing_ok=True)

    def work(settings: dict[str, Any]) -> None:
        train(**settings)

    with tempfile.TemporaryDirectory(prefix="foundsound-train-") as notes:  # Ray's own, of no use afterwards
        trainer = TorchTrainer(
            work,
            train_loop_config=dict(arguments),
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=device_name() == "cuda"),
            run_config=RunConfig(name=folder.name, storage_path=notes),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            raise StoppedError(
                f"a worker of the run in {folder} failed; the same command goes on from its last checkpoint: {error}"
            ) from error
    return write_facts(folder, {**known, **read_facts(folder)})


def write_facts(folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Leave what a run had to say in its folder, beside what it had said: a run that was over is told no losses."""
    told = {**known_facts(folder), **facts}
    write_bytes(folder / FACTS_FILE, json.dumps(told, indent=1).encode())
    return told


def known_facts(folder: Path) -> dict[str, Any]:
    """What a run has said; nothing where it has not, or where that is damaged."""
    try:
        known = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def read_facts(folder: Path) -> dict[str, Any]:
    """What the run in a folder had to say.

    Raises:
        StoppedError: It has not come to its end.
    """
    path = folder / FACTS_FILE
    if not path.is_file():
        raise StoppedError(f"the run in {folder} was stopped; the same command goes on from its last checkpoint")
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return facts
