"""`python -m benchmarks.evidence.audiox --out FOLDER [--only PART ...] [--save]`: what a small AudioX learns.

real     ESC-50: FD and KL far from noise toward real, texts and prompts of sound followed
world    the quickstart's world: texts and videos followed, masked training against none when something is missing
runs     ESC-50: a run that is killed and gone on with, and one that two Ray workers share, have the losses of one

Run again, it goes on where it stopped. With `--save` the tables are also written to `benchmarks/results/`.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.evidence.audiox_masking import WorldPlan, world_table
from benchmarks.evidence.audiox_real import RealPlan, dataset_of, real_tables
from benchmarks.evidence.audiox_runs import RunsPlan, killed_row, shared_row
from benchmarks.evidence.shown import Row, keep, lines_of

RESULTS = Path(__file__).parents[1] / "results"

REAL, WORLD, RUNS = RealPlan(), WorldPlan(), RunsPlan()

Tables = dict[str, list[Row]]


def _real(folder: Path, seeds: tuple[int, ...]) -> Tables:
    return real_tables(REAL, folder / "esc50")


def _world(folder: Path, seeds: tuple[int, ...]) -> Tables:
    return {"world": world_table(replace(WORLD, seeds=seeds), folder / "world")}


def _runs(folder: Path, seeds: tuple[int, ...]) -> Tables:
    dataset = dataset_of(REAL, folder / "esc50")
    return {"runs": [killed_row(RUNS, dataset.path), shared_row(RUNS, dataset.path)]}


PARTS: dict[str, tuple[Callable[[Path, tuple[int, ...]], Tables], RealPlan | WorldPlan | RunsPlan]] = {
    "real": (_real, REAL),
    "world": (_world, WORLD),
    "runs": (_runs, RUNS),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for data sets, runs and sounds")
    parser.add_argument("--only", choices=sorted(PARTS), action="append", help="all parts when not given")
    parser.add_argument("--seeds", type=int, nargs="+", default=WORLD.seeds, help="of the runs of world (0 1)")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/evidence-audiox-PART.json")
    given = parser.parse_args()
    for name in given.only or PARTS:
        measure, plan = PARTS[name]
        tables = measure(given.out.resolve(), tuple(given.seeds))
        for title, rows in tables.items():
            print("\n".join([f"{title}:", *lines_of(rows), ""]), flush=True)
        if given.save:
            told = {**asdict(plan), **({"seeds": given.seeds} if name == "world" else {})}
            keep(RESULTS / f"evidence-audiox-{name}.json", tables, plan=told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
