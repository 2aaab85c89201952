"""SPIDEr-FL and FENSE through aac-metrics, in an environment of its own, where its jars and models are at hand.

aac-metrics wants other versions of its libraries than this project, a Java and gigabytes of jars and models. So it is
asked as a program, is never a dependency, and fetches nothing when it is asked. Without it the answer is what is
missing, never a number.

Source of the metrics: Zhou et al. 2022, arXiv 2110.04684 (FENSE); DCASE 2023, task 6a (SPIDEr-FL); Labbé, aac-metrics.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from curation.errors import ArgumentError

METRICS = ("spider_fl", "fense")
"""As aac-metrics names them."""

NAMES = {"spider_fl": "SPIDEr-FL", "fense": "FENSE"}

LIMIT_S = 3600.0
"""Longest time for one metric, s. Source: ours; SPICE takes about 10 minutes for 5,000 sentences."""

INSTALL = (
    "python -m venv aac && aac/bin/pip install aac-metrics && aac/bin/aac-metrics-download, which fetches its jars and "
    "models; then --aac aac/bin/python"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outside:
    """A metric that is not ours.

    Args:
        name: One of `METRICS`.
        value: Its score; None where it could not be had.
        missing: Why not, and what to do; empty with a value.
    """

    name: str
    value: float | None = None
    missing: str = ""


def outside_scores(
    candidates: Sequence[str], references: Sequence[Sequence[str]], python: Path | None = None
) -> list[Outside]:
    """Every metric of `METRICS`, or what it lacks.

    Args:
        candidates: A sentence a clip, as it was said.
        references: The sentences by people for each clip.
        python: The Python of an environment with aac-metrics; None takes this one if it has it.

    Raises:
        ArgumentError: `python` is no program.
    """
    if python is not None and not (python.is_file() and os.access(python, os.X_OK)):
        raise ArgumentError(f"--aac {python} is no program; give the python of an environment with aac-metrics")
    if python is None:
        if find_spec("aac_metrics") is None:
            return [Outside(name=name, missing=f"aac-metrics is not here; {INSTALL}") for name in METRICS]
        python = Path(sys.executable)
    sentences = json.dumps({"candidates": list(candidates), "references": [list(said) for said in references]})
    return [_score(name, sentences, python) for name in METRICS]


def _score(name: str, sentences: str, python: Path) -> Outside:
    """One metric, in a process of its own, so that what one lacks does not stop the other."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    child = [str(python), str(Path(__file__).with_name("aac_child.py")), name]
    try:
        done = subprocess.run(
            child, input=sentences, capture_output=True, text=True, timeout=LIMIT_S, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return Outside(name=name, missing=f"it took longer than {LIMIT_S:g} s")
    said = done.stdout.split()
    if done.returncode == 0 and said:
        return Outside(name=name, value=float(said[-1]))
    why = next((line.strip() for line in reversed(done.stderr.splitlines()) if line.strip()), "it said nothing")
    return Outside(name=name, missing=f"{python} cannot ({why[:200]}); {INSTALL}")
