"""Runs the steps of a build in order; what follows a long fetch may run beside it, and pauses are waited for."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from cyclopts.exceptions import CycloptsError

from curation.dataset import Dataset
from curation.errors import ArgumentError, PausedError, StoppedError
from curation.selections.selection import read_report
from pipelines.builds.generations import continued
from pipelines.builds.options import Step
from pipelines.program import make_app

FETCHING = ("fetch", "segment")
FOLLOWING = ("measure", "tag", "caption", "embed")
"""Verbs that can work on what is fetched while the fetch goes on."""

FOLLOWER = (sys.executable, "-m", "pipelines.main")
"""The program that a follower is."""

LOOK_EVERY_S = 0.2
"""How often it is looked whether the fetch has begun."""

MARGIN_S = 1.0
"""A pause is over for certain so much after its end."""


@dataclass(frozen=True, slots=True)
class Done:
    """A step that was run: what its verb gave back, and how long it took, s."""

    step: Step
    result: Any
    seconds: float


def check(steps: Sequence[Step]) -> None:
    """Parse every command before the first one runs.

    Raises:
        ArgumentError: A verb does not take what it is given.
    """
    app = make_app()
    for step in steps:
        try:
            app.parse_args(step.command, exit_on_error=False, print_error=False)
        except CycloptsError as error:
            raise ArgumentError(f"{step}: {error}") from error


def until(steps: Sequence[Step], verb: str | None) -> list[Step]:
    """The steps up to the last one with a verb; all of them for None.

    Raises:
        ArgumentError: There is none.
    """
    if verb is None:
        return list(steps)
    places = [place for place, step in enumerate(steps) if step.verb == verb]
    if not places:
        verbs = ", ".join(dict.fromkeys(step.verb for step in steps))
        raise ArgumentError(f"--until {verb!r}: this build has the steps {verbs}")
    return list(steps[: places[-1] + 1])


def _say(text: str) -> None:
    print(f"build: {text}", file=sys.stderr, flush=True)


def _fetch(step: Step, out: Path, wait: bool) -> Any:
    """Fetch to the end; with `wait` again and again, whenever an egress may ask once more."""
    while True:
        try:
            return make_app()(step.command)
        except PausedError as error:
            if not wait:
                raise
            pause_s = max(error.until - time.time(), 0.0) + MARGIN_S
            at = datetime.fromtimestamp(error.until).astimezone().isoformat(timespec="seconds")
            _say(f"{error}; the next row is due at {at}, waiting {pause_s:.0f} s")
            time.sleep(pause_s)


@contextmanager
def _followers(steps: Sequence[Step], out: Path) -> Iterator[None]:
    """Processes that work on what the body fetches; they end by themselves once it is over.

    They begin when the fetch has made its tables, and not at all where it is over before.

    Raises:
        StoppedError: One of them failed.
    """
    commands = [[*step.command, "--follow"] for step in steps if step.verb in FOLLOWING]
    running: list[subprocess.Popen[bytes]] = []
    over = threading.Event()

    def begin() -> None:
        while not over.wait(LOOK_EVERY_S):
            if Dataset(out).has_stage("cut"):
                running.extend(subprocess.Popen([*FOLLOWER, *words], stdout=subprocess.DEVNULL) for words in commands)
                return

    beginner = threading.Thread(target=begin, daemon=True, name="build-followers")
    if commands:
        beginner.start()
    try:
        yield
        over.set()
        if commands:
            beginner.join()
        codes = [process.wait() for process in running]
    finally:
        over.set()
        for process in running:
            process.terminate()
            process.wait()
    failed = [" ".join(words) for words, code in zip(commands, codes, strict=False) if code]
    if failed:
        raise StoppedError(f"`foundsound {failed[0]}` failed beside the fetch; run it by itself to see why")


def _keeps_nothing(step: Step, out: Path) -> bool:
    """Whether a step works on a selection that has no clip, as of a split that the list does not have."""
    names = [name for option, name in pairwise(step.words) if option in ("--selection", "--generation")]
    return any(read_report(Dataset(out), name).kept_clips == 0 for name in names)


def run_steps(steps: Sequence[Step], out: Path, *, wait: bool = False, follow: bool = False) -> list[Done]:
    """Run commands one after the other; each finds by itself what is left to do.

    A step on a selection that keeps no clip is left out; one on a generation goes on from the latest.

    Args:
        steps: The commands.
        out: Folder of the dataset.
        wait: Sleep while every egress pauses, instead of stopping.
        follow: Let the stages after a fetch run beside it, each in a process of its own, and again after it.

    Raises:
        FoundsoundError: A step failed; the same build goes on there.
    """
    check(steps)
    done = []
    for number, step in enumerate(steps, start=1):
        _say(f"step {number} of {len(steps)}: {step}")
        if _keeps_nothing(step, out):
            _say("left out: the selection keeps no clip")
            continue
        if (now := continued(step, out)) != step:
            _say(f"that is now: {now}")
        begun = time.perf_counter()
        if step.verb in FETCHING:
            with _followers(steps[number:] if follow else (), out):
                result = _fetch(step, out, wait)
        else:
            result = make_app()(now.command)
        done.append(Done(now, result, time.perf_counter() - begun))
    return done
