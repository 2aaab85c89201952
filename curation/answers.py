"""What a stage answered to some clips as they are cut now: a row a clip, by number, for those who read its arrays."""

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.dataset import Dataset
from curation.errors import ArgumentError

_ANSWERS = """
SELECT answer.*, coalesce(answer.state, if(cut.{medium} IS NULL, 'nothing', 'missing')) AS found
FROM clip
LEFT JOIN cut ON cut.key = clip.key
LEFT JOIN (SELECT * FROM {stage} WHERE label = $label AND state <> 'pending') AS answer
    ON answer.key = clip.key AND answer.input = cut.{medium}
ORDER BY clip.number"""


def answers(
    dataset: Dataset,
    stage: str,
    called: str,
    keys: pa.Array,
    *,
    kind: str,
    of: Literal["sounds", "pictures"],
    line: str,
    enough: tuple[str, ...] = ("done",),
) -> pa.Table:
    """The answers of a stage that reads one medium of a clip.

    Args:
        dataset: The dataset.
        stage: Name of the stage, as `embed`.
        called: Label of its answers.
        keys: clip_ids.
        kind: What it makes, in a word.
        of: The medium.
        line: What to do where an answer is missing.
        enough: What may become of a clip: `done`, `set_aside`, or `nothing` where it has no such medium.

    Returns:
        A row a key: the columns of the stage, null where a clip has no answer.

    Raises:
        ArgumentError: The stage did not run, or not for some clip that needs an answer.
    """
    if called not in dataset.current_facts(stage):
        raise ArgumentError(f"{dataset.path} has no {kind} {called!r} of {of}; {line}")
    medium = {"sounds": "audio_sha256", "pictures": "video_sha256"}[of]
    with dataset.connect() as connection:
        connection.register("clip", pa.table({"key": keys, "number": np.arange(len(keys))}))
        query = _ANSWERS.format(stage=stage, medium=medium)
        table = connection.sql(query, params={"label": called}).to_arrow_table()
    missing = keys.filter(pc.invert(pc.is_in(table["found"], pa.array(enough))).combine_chunks())
    if len(missing):
        raise ArgumentError(
            f"{len(missing)} of {len(keys)} clips of {dataset.path} have no {kind} {called!r} of their {of}, "
            f"{missing[0]} among them; {line}"
        )
    return table.drop_columns("found")
