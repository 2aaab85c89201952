"""Which clips fulfil a condition, in the words of `select --where`; nothing is judged and nothing written.

The condition may come from far away, so it is one expression of one query, and the connection that it runs in reads
no file outside of the dataset.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import duckdb

from curation.annotated import HUMAN_CAPTIONS
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.selections.judging import ALWAYS, DESCRIBED, confine, divide_safely, execute, execute_one, joined_sql

INTERRUPT_EVERY_S = 0.05
"""A query that is over its time is told so again and again, since one that is between two steps does not hear it."""


def clips_where(
    dataset: Dataset,
    where: str,
    *,
    captions_sql: str | None = None,
    using: Mapping[str, str] | None = None,
    limit_s: float | None = None,
) -> list[str]:
    """The clips for which a condition is true; null counts as false.

    Args:
        dataset: The dataset; `cut` and `measure` must have run on it.
        where: SQL condition over the tables that `select --where` has.
        captions_sql: Query that gives `clip_id`, `text`, `source` of the captions that `clips.captions` shows; None
            takes those by people.
        using: Stage -> label, for stages that ran in several variants.
        limit_s: Time after which the query is cut off, s; None: it may take as long as it takes.

    Returns:
        clip_ids, sorted.

    Raises:
        ArgumentError: The condition is not SQL, takes too long, or a stage has not run.
    """
    for stage in ALWAYS:
        if not dataset.has_stage(stage):
            raise ArgumentError(f"a condition needs stage {stage!r}, which has not run on {dataset.path}")
    what = f"the condition {where!r}"
    with dataset.connect() as connection, _cut_off(connection, what, limit_s):
        divide_safely(connection)
        execute(connection, DESCRIBED.format(captions=captions_sql or HUMAN_CAPTIONS), "the query for captions")
        joined = joined_sql(connection, dataset, using or {}, [where])
        query = f"CREATE TEMP TABLE matching AS SELECT DISTINCT clips.clip_id FROM {joined} WHERE (\n{where}\n)"
        confine(connection, dataset)
        execute_one(connection, query, what)
        matching = connection.sql("SELECT clip_id FROM matching ORDER BY clip_id").to_arrow_table()
        clip_ids: list[str] = matching["clip_id"].to_pylist()
        return clip_ids


@contextmanager
def _cut_off(connection: duckdb.DuckDBPyConnection, what: str, limit_s: float | None) -> Iterator[None]:
    """Interrupt what the connection does when its time is over."""
    if limit_s is None:
        yield
        return
    done = threading.Event()

    def watch() -> None:
        if not done.wait(limit_s):
            while not done.wait(INTERRUPT_EVERY_S):
                connection.interrupt()

    watcher = threading.Thread(target=watch, daemon=True, name="time-limit")
    watcher.start()
    try:
        yield
    except duckdb.InterruptException as error:
        raise ArgumentError(f"{what} takes longer than {limit_s:g} s; ask for less") from error
    finally:
        done.set()
        watcher.join()
