"""`foundsound build`: a published list becomes shards, step by step, and goes on where it stopped."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from pipelines.builds import audiocaps, v2m, vggsound
from pipelines.builds.options import BuildOptions, Step
from pipelines.builds.run import Done, run_steps, until
from pipelines.verbs.ways import DIRECT, Ways

RECIPES: dict[str, Callable[[BuildOptions], list[Step]]] = {
    "vggsound": vggsound.steps,
    "audiocaps": audiocaps.steps,
    "v2m": v2m.steps,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """The models, rules and machines of a build.

    Args:
        tagger: Weights of an AudioSet tagger, as for `tag`; nothing is tagged when not given.
        captioner: As for `caption`.
        embedder: As for `embed`; no vectors and no index are made when not given.
        rules: Names of published thresholds, separated by commas, in place of the recipe's; '' for none.
        unguarded: An evaluation list that the recipe names and that is left out on purpose; again for each further.
        workers: As for every stage; 0 works in this process, without Ray.
        address: Address of a Ray cluster.
    """

    tagger: str | None = None
    captioner: str = "label"
    embedder: str | None = None
    rules: str | None = None
    unguarded: tuple[str, ...] = ()
    workers: int | None = None
    address: str | None = None


PLAIN = Parts()
"""Nothing but labels and the recipe's own rules, on this machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """How far a build goes, and how.

    Args:
        until: Stop after this step, as fetch or select.
        plan: Print the steps as commands and run none.
        wait: While every way out pauses, say when the next row is due and sleep until then.
        follow: Measure, tag, caption and embed beside the fetch, each in a process of its own.
    """

    until: str | None = None
    plan: bool = False
    wait: bool = False
    follow: bool = False


TO_THE_END = Course()
"""All steps, one after the other."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a build that was not run."""

    steps: list[Step]

    def as_dict(self) -> list[list[str]]:
        """The words of every command after `foundsound`."""
        return [step.shown() for step in self.steps]

    def __str__(self) -> str:
        return "\n".join(map(str, self.steps))


@dataclass(frozen=True, slots=True)
class BuildResult:
    """The steps that were run."""

    done: list[Done]

    def as_dict(self) -> list[dict[str, Any]]:
        """Command, result and seconds of every step."""
        return [
            {"command": done.step.shown(), "result": done.result.as_dict(), "seconds": done.seconds}
            for done in self.done
        ]

    def __str__(self) -> str:
        return "\n\n".join(f"{done.step}   ({done.seconds:.1f} s)\n{done.result}" for done in self.done)


def build(
    recipe: Literal["vggsound", "audiocaps", "v2m"],
    /,
    *,
    out: Path,
    lists: Annotated[Sequence[str], Parameter(name="--list")] = (),
    source: Annotated[Sequence[str], Parameter(name="--from")] = (),
    guard: Annotated[Sequence[str], Parameter(name="--guard")] = (),
    course: Annotated[Course, Parameter(name="*")] = TO_THE_END,
    parts: Annotated[Parts, Parameter(name="*")] = PLAIN,
    ways: Annotated[Ways, Parameter(name="*")] = DIRECT,
) -> BuildResult | Plan:
    """Run all steps from a published list to shards; run again, it goes on where it stopped.

    Args:
        recipe: Whose list it is, and what is done with it; --plan shows the commands.
        out: Folder of the dataset.
        lists: The list as its authors publish it; for audiocaps SPLIT=FILE, given for each split.
        source: As for `fetch`: given several times, the first is asked first.
        guard: NAME=FILE of an evaluation list that training must not touch; the recipe says which are needed.
        course: How far, and how.
        parts: Models, rules and machines.
        ways: The ways out of this machine and what bounds them, as for `fetch`.
    """
    options = BuildOptions(
        out=out,
        lists=lists,
        sources=source,
        guards=guard,
        ways=ways,
        unguarded=parts.unguarded,
        tagger=parts.tagger,
        captioner=parts.captioner,
        embedder=parts.embedder,
        rules=parts.rules,
        workers=parts.workers,
        address=parts.address,
    )
    steps = until(RECIPES[recipe](options), course.until)
    if course.plan:
        return Plan(steps)
    return BuildResult(run_steps(steps, out.expanduser().resolve(), wait=course.wait, follow=course.follow))
