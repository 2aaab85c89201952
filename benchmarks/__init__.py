"""Measurements of speed, one a module, each against a named peer that does the same thing in the same run.

A benchmark is a module with a function `measure() -> Measured`; `python -m benchmarks` runs them all. Nothing here is
installed or imported by foundsound.
"""

import time
from collections.abc import Callable
from importlib import import_module

Measured = dict[str, float | str]
"""What `measure` gives: `ratio`, how many times as fast as `peer` (above 1 is faster), and the numbers behind it."""

REST_S = 0.1
"""Between two timed calls. Ours: OpenBLAS's threads spin for some 30 ms after a product, where the next way runs."""


def best_seconds(
    *ways: Callable[[], object], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Shortest time of each way, s; they take turns, so that what else the machine does meets all of them.

    Args:
        ways: What is timed; each is run once before, untimed.
        rounds: How often each is timed, at least 1.
        clock: What the time is read off, s; `time.process_time` counts the processors' own.
    """
    for way in ways:
        way()
    best = [float("inf")] * len(ways)
    for _ in range(rounds):
        for number, way in enumerate(ways):
            time.sleep(REST_S)
            begun = clock()
            way()
            best[number] = min(best[number], clock() - begun)
    return best


def measure(name: str) -> Measured:
    """The numbers of one benchmark, by the name of its module."""
    measured: Measured = import_module(f"benchmarks.{name}").measure()
    return measured
