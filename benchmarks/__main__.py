"""`python -m benchmarks [NAME ...] [--save]`: runs the benchmarks and prints a table.

With `--save` each also writes `benchmarks/results/NAME.json`, with the machine's processors and versions.
"""

import argparse
import json
import os
import platform
import sys
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import distributions
from multiprocessing import get_context
from pathlib import Path
from pkgutil import iter_modules

from benchmarks import Measured, measure

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the program itself does; read by the processes that measure

HERE = Path(__file__).parent
NAMES = sorted(
    module.name for module in iter_modules([str(HERE)]) if not module.ispkg and not module.name.startswith("_")
)
LIBRARIES = (
    "torch",
    "transformers",
    "numpy",
    "faiss-cpu",
    "faiss-gpu",
    "faiss-gpu-cuvs",
    "pyarrow",
    "imageio-ffmpeg",
    "soundfile",
)


def measure_alone(name: str) -> Measured:
    """Measure one benchmark in a fresh process, so that none meets the threads and memory of another."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        return processes.submit(measure, name).result()


def machine() -> dict[str, object]:
    """What the numbers depend on, without naming the machine."""
    return {
        "processors": len(os.sched_getaffinity(0)),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "versions": {found.name: found.version for found in distributions() if found.name in LIBRARIES},
    }


def number(value: float) -> str:
    """Four digits, and thousands apart."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def lines(name: str, measured: Measured) -> list[str]:
    """One benchmark for the table."""
    head = f"{name:<10} {measured['ratio']:>6.2f} x  {measured['peer']}"
    numbers = {key: value for key, value in measured.items() if not isinstance(value, str) and key != "ratio"}
    return [head, *(f"  {key:<26} {number(value):>10}" for key, value in numbers.items())]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(NAMES)}; all when none is given")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/NAME.json")
    given = parser.parse_args()
    unknown = sorted(set(given.names) - set(NAMES))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    for name in given.names or NAMES:
        measured = measure_alone(name)
        print("\n".join(lines(name, measured)), flush=True)
        if given.save:
            file = HERE / "results" / f"{name}.json"
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps({**measured, "machine": machine()}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
