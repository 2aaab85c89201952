"""The answer of each stage that counts now: of what the stage is asked at present, the last try.

The view of a stage shows the last row of each key, whatever it read. A clip that was cut anew has older measurements
too; they count for nothing until it is measured again. Every reader that joins stages takes them from here, so that
all agree with `status`. The SQL names part files, so it is made while a connection is open, or `Dataset.reading` held.
"""

from collections.abc import Mapping

from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.facts import REQUESTS_FILE
from curation.views import is_final_sql, latest_sql, quoted

FETCH_OF = """
SELECT clips.clip_id, CASE
        WHEN of_clip.key IS NULL THEN of_video.key
        WHEN of_video.key IS NULL THEN of_clip.key
        WHEN of_clip.state <> 'done' AND (of_video.state = 'done' OR of_video.state = 'pending' AND
            of_clip.state <> 'pending') THEN of_video.key
        ELSE of_clip.key
    END AS fetch_key
FROM clips
LEFT JOIN (SELECT key, state FROM "fetch") AS of_clip ON of_clip.key = clips.clip_id
LEFT JOIN (SELECT key, state FROM "fetch") AS of_video ON of_video.key = clips.video_key"""
"""Of a fetched video and a fetched clip the better answer, of equal ones the clip's: as `cut` takes them."""

CUT_OF = """
SELECT last.* FROM ({last}) AS last
JOIN fetch_of ON fetch_of.clip_id = last.key
JOIN (SELECT key, original_sha256 FROM "fetch" WHERE state = 'done') AS got ON got.key = fetch_of.fetch_key
WHERE last.input = got.original_sha256"""
"""What `Cut.requests` asks for, without gathering every clip."""


def last_sql(dataset: Dataset, stage: str, label: str) -> str:
    """SQL: the last try of every (key, input) of a stage, with `label` and `state` as its view has them."""
    return f"""
    SELECT {quoted(label)} AS label, *, CASE WHEN code IS NULL THEN 'done' WHEN {is_final_sql()} THEN 'set_aside'
        ELSE 'pending' END AS state
    FROM ({latest_sql(dataset.current_facts(stage)[label], "key, input")})"""


def current_sql(dataset: Dataset, stage: str, label: str) -> str:
    """SQL: the rows of a stage of clips that answer what it is asked now, at most one a key.

    `cut` needs the table `fetch_of` (`FETCH_OF`) where anything was fetched.

    Args:
        dataset: The dataset.
        stage: Name of the stage, as `measure`.
        label: Which of its variants.
    """
    last = last_sql(dataset, stage, label)
    if stage == "cut":
        return CUT_OF.format(last=last) if dataset.has_stage("fetch") else last
    requests = (dataset.current_facts(stage)[label] / REQUESTS_FILE).read_text(encoding="utf-8")
    return f"SELECT last.* FROM ({last}) AS last JOIN (SELECT key, input FROM ({requests})) USING (key, input)"


def variants(dataset: Dataset, using: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Name by which a condition calls a stage -> (stage, label), for every stage of clips that has run.

    A stage with one variant goes by its name. Of several the one that `using` names does, and each goes by
    `stage:label`.

    Args:
        dataset: The dataset.
        using: Stage -> label.

    Raises:
        ArgumentError: `using` names a variant that has not run.
    """
    found: dict[str, tuple[str, str]] = {}
    for stage in dataset.stages():
        labels = sorted(dataset.current_facts(stage))
        if stage in ("fetch", "segment", "embed_text", "encode_text"):  # not one row a clip
            continue
        if len(labels) == 1:
            found[stage] = (stage, labels[0])
        else:
            found |= {f"{stage}:{label}": (stage, label) for label in labels}
    for stage, label in using.items():
        if label not in dataset.current_facts(stage):
            known = ", ".join(sorted(dataset.current_facts(stage))) or "none"
            raise ArgumentError(f"{dataset.path} has no {label!r} of stage {stage!r} (there are: {known})")
        found[stage] = (stage, label)
    return found
