"""What a stage is: a rule that turns rows into facts.

A stage is a frozen dataclass whose fields are its knobs. It holds its rule and nothing else: the runner counts, times,
retries, shows progress and commits. `open()` loads what is heavy, once per worker, and returns the function that works
on a batch.

    @dataclass(frozen=True, kw_only=True)
    class Measure(Stage):
        NAME = "measure"
        VERSION = 1
        GRAIN = "clip"
        RESULTS = table("...", column("loudness_lufs", pa.float64(), "..."))
        media: MediaStore = how()                 # changes nothing in the result: left out of the identity
        silence_db: float = -60.0                 # changes the result: part of the identity
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pyarrow as pa

from curation.errors import ClipError
from curation.keys import short_hash
from curation.tables import Row


def how(**options: Any) -> Any:
    """A dataclass field that says how the work is done, not what comes out; it is left out of the identity."""
    return field(metadata={"how": True}, **options)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one requested row.

    Args:
        key: The key of the request.
        values: The stage's result columns, for a row that is done.
        error: Why it was set aside; `values` may then hold what is known all the same.
        recorded: False when the row itself was done before and only `clips`, `also` are new.
        clips: New rows of the table `clips` (only `segment` makes any).
        also: Outcomes of other stages that were finished on the way; they say `stage`, `input` and `attempt`, which
            the runner knows only for the stage it runs.
        again: A request to put back into the queue, when a part of this one may still succeed.
        stage: NAME of the stage, for outcomes in `also`.
        input: Hash of what was read, for outcomes in `also`.
        attempt: Number of this try, for outcomes in `also`.
        seconds: Time it took, s; None takes the batch's mean.
        answer: What the source answered, for a row that is not recorded itself; `error` otherwise says it.
    """

    key: str
    values: Mapping[str, Any] = field(default_factory=dict)
    error: ClipError | None = None
    recorded: bool = True
    clips: Sequence[Row] = ()
    also: Sequence["Outcome"] = ()
    again: Row | None = None
    stage: str | None = None
    input: str | None = None
    attempt: int | None = None
    seconds: float | None = None
    answer: ClipError | None = None


Work = Callable[[Sequence[Row]], list[Outcome]]
"""A batch of requests to as many outcomes, in the same order."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Base of all stages: the identity, computed from the fields."""

    NAME: ClassVar[str]
    """Folder below `facts/`, and SQL view."""
    VERSION: ClassVar[int]
    """Grows when a mended bug or a new rule changes results."""
    GRAIN: ClassVar[Literal["video", "clip"]]
    """What the keys of its facts are."""
    RESULTS: ClassVar[pa.Schema]
    """The result columns."""

    @property
    def label(self) -> str:
        """Name by which several variants of one stage stand side by side, as `qwen2-audio`."""
        return self.NAME

    def identity(self) -> dict[str, Any]:
        """What determines the results beside the input: stage, version, and every field not marked `how()`."""
        knobs = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if not f.metadata.get("how")}
        return {"stage": self.NAME, "version": self.VERSION, **knobs}

    @property
    def folder_name(self) -> str:
        """`<label>-<hash8>` of the identity: the folder of its facts below `facts/<NAME>/`."""
        return f"{self.label}-{short_hash(self.identity(), 8)}"

    def requests(self) -> str:
        """SQL over the dataset's views that gives what is requested.

        Columns: `key`, `input`, what the work needs, and, where a row can be lost before this stage, `inherited`: the
        code with which it was set aside there. Such a row is counted as set aside here and never worked on.
        """
        raise TypeError(f"{type(self).__name__} does not say what it works on")

    def reopen(self) -> str | None:
        """SQL condition over the stage's facts: set-aside rows for which it holds are tried again in this run."""
        return None

    def open(self) -> Work:
        """Load what is heavy and return the function that works on a batch; called once per worker."""
        raise TypeError(f"{type(self).__name__} does not say how it works")


def each(work_on_one: Callable[[Row], Mapping[str, Any]]) -> Work:
    """The batch function of a stage that works on one row at a time; a `ClipError` sets the row aside."""

    def work(rows: Sequence[Row]) -> list[Outcome]:
        return [outcome_of(row, work_on_one) for row in rows]

    return work


def outcome_of(row: Row, work_on_one: Callable[[Row], Mapping[str, Any]]) -> Outcome:
    """Run the function on one row; a `ClipError` becomes the outcome, everything else goes up."""
    try:
        return Outcome(key=row["key"], values=work_on_one(row))
    except ClipError as error:
        return Outcome(key=row["key"], error=error)
