"""All that was said about a clip, by people, models and labels, and the default rule for which of it is used.

Everything here is SQL over a dataset's views, so that a choice changes without running a model; `select` takes such a
query with the columns `clip_id`, `text`, `source`. Texts that were not chosen stay where they are.
"""

from curation.dataset import Dataset

_HUMAN = """
SELECT annotations.key AS clip_id, unnest(annotations.captions) AS text, 'human:' || annotations.list AS source
FROM annotations WHERE annotations.grain = 'clip'
UNION ALL
SELECT clips.clip_id, unnest(annotations.captions), 'human:' || annotations.list
FROM annotations JOIN clips ON clips.video_key = annotations.key WHERE annotations.grain = 'video'"""

_MADE = """
UNION ALL
SELECT caption.key, unnest(list_prepend(caption.text, {further})),
    CASE WHEN caption.model IS NULL THEN 'label' ELSE 'model:' || caption.label END
FROM caption JOIN cut ON cut.key = caption.key
WHERE caption.state = 'done' AND cut.state = 'done'
    AND (caption.audio_sha256 IS NULL OR caption.audio_sha256 = cut.audio_sha256)"""
"""A caption of a sound that was cut anew since then is about another file, and left out."""

RANKS: tuple[tuple[str, str], ...] = (("human:", "by people"), ("model:", "by a model"), ("label", "made from labels"))
"""Beginning of a source and what it means, the best first."""


def candidates_sql(dataset: Dataset) -> str:
    """A query for every candidate: `clip_id`, `text`, `source`.

    `source` is `human:<list>`, `model:<label of the captions>` or `label`. What a list says of a video is said of each
    of its clips.

    Args:
        dataset: Says whether any captioner has run.
    """
    if not (dataset.has_stage("caption") and dataset.has_stage("cut")):
        return _HUMAN
    columns = dataset.sql("SELECT * FROM caption LIMIT 0").column_names
    further = "list_transform(coalesce(caption.further, []), lambda drawn: drawn.text)"
    return _HUMAN + _MADE.format(further=further if "further" in columns else "[]")


def choose(candidates: str) -> str:
    """The default rule as a query: of each clip the candidates of the best kind that it has, all of them.

    Sentences by people win over those by models, and those over sentences made from labels.

    Args:
        candidates: A query with the columns `clip_id`, `text`, `source`, as `candidates_sql` gives it.
    """
    kinds = " ".join(f"WHEN starts_with(source, '{prefix}') THEN {rank}" for rank, (prefix, _) in enumerate(RANKS))
    return f"""SELECT clip_id, text, source FROM ({candidates}) WHERE trim(text) <> ''
QUALIFY CASE {kinds} END = min(CASE {kinds} END) OVER (PARTITION BY clip_id)"""
