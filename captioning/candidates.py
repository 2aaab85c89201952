"""All that was said about a clip, by people, models, labels and tags, and the rule for which of it is used.

Everything here is SQL over a dataset's views, so that a choice changes without running a model; `select` takes such a
query with the columns `clip_id`, `text`, `source`. Texts that were not chosen stay where they are.
"""

from captioning.score import SCORES
from curation.annotated import HUMAN_CAPTIONS
from curation.dataset import Dataset
from curation.errors import ArgumentError, DatasetError
from curation.selections.judging import refuse_several

_MADE = """
SELECT caption.key AS clip_id, said.text,
    CASE WHEN caption.model IS NOT NULL THEN 'model:' || caption.label WHEN {made_from} = 'tags' THEN 'tags'
        ELSE 'label' END AS source,
    caption.label AS captions, said.candidate
FROM (SELECT *, unnest(list_prepend({{'candidate': candidate, 'text': text}}, {further})) AS said
    FROM caption WHERE state = 'done') AS caption
JOIN cut ON cut.key = caption.key
WHERE cut.state = 'done' AND (caption.audio_sha256 IS NULL OR caption.audio_sha256 = cut.audio_sha256)"""
"""A caption of a sound that was cut anew since then is about another file, and left out."""

_SCORED = """
SELECT made.clip_id, made.text, made.source, made.captions, made.candidate, {scores}
FROM ({made}) AS made LEFT JOIN (
    SELECT key, label, unnest(candidates) AS scores FROM score WHERE state = 'done'
) AS scored ON scored.key = made.clip_id AND scored.label = made.captions
    AND scored.scores.candidate = made.candidate"""

RANKS: tuple[tuple[str, str], ...] = (
    ("human:", "by people"),
    ("model:", "by a model, here or in a published set"),
    ("label", "made from labels"),
    ("tags", "made from tags"),
)
"""Beginning of a source and what it means, the best first."""

BROKEN = 0xFFFD
"""The character that stands in a text for one that could not be read."""

CLEAN = (
    "hedges = 0 AND repetition <= 0.3 AND quoted_words = 0 AND coalesce(told_words, 0) = 0 AND english_margin > -1.3 "
    f"AND words BETWEEN 3 AND 60 AND NOT contains(text, chr({BROKEN}))"
)
"""A model's sentence that does not guess, refuse, stammer, tell what is said or change the language, and is whole.
Source: ours; of Clotho's captions by people 99.8 % pass. Scores of older datasets have no `told_words`."""

_PEOPLE = "clap IS NULL AND source LIKE 'human:%'"

RULES = {"clean": f"{_PEOPLE} OR {CLEAN}", "confirmed": f"{_PEOPLE} OR {CLEAN} AND contradicted = 0"}
"""Rules by name; captions by people have no scores and stay. `confirmed` also refuses sentences that repeat a label
that the tags could confirm and do not; it needs scores with tags."""


PROVENANCE = (
    *("model", "revision", "weights_sha256", "prompt_sha256", "decoding", "structure", "made_from", "sources"),
    *("audio_sha256", "heard_s", "video_sha256", "finished_at"),
)
"""What `caption` says of where a sentence is from, and when it was made; datasets of older versions lack some."""

_SCORED_NAMES = tuple(field.name for field in SCORES if field.name != "candidate")


def candidates_sql(dataset: Dataset) -> str:
    """A query for every candidate: `clip_id`, `text`, `source`, `captions`, and its scores or nulls.

    `source` is `human:<list>`, `model:<label of the captions>`, `label` or `tags`; `captions` is that label, null for
    sentences by people. The scores are those of `captioning.score.SCORES`; `candidate` is the number of the draw. What
    a list says of a video is said of each of its clips.

    Args:
        dataset: Says whether captioners have run, and `score`.
    """
    none = ", ".join(f"NULL AS {name}" for name in _SCORED_NAMES)
    if not (dataset.has_stage("caption") and dataset.has_stage("cut")):
        return f"SELECT clip_id, text, source, NULL AS captions, NULL AS candidate, {none} FROM ({HUMAN_CAPTIONS})"
    made = _MADE.format(further=further_sql(dataset), made_from=_made_from_sql(dataset))
    if dataset.has_stage("score"):
        stored = {field.name for field in dataset.sql("SELECT candidates FROM score LIMIT 0").schema[0].type.value_type}
        scores = ", ".join(
            f"{f'scored.scores.{name}' if name in stored else 'NULL'} AS {name}" for name in _SCORED_NAMES
        )
        made = _SCORED.format(made=made, scores=scores)
    else:
        made = f"SELECT clip_id, text, source, captions, candidate, {none} FROM ({made})"
    return f"SELECT clip_id, text, source FROM ({HUMAN_CAPTIONS}) UNION ALL BY NAME {made}"


def provenance_sql(dataset: Dataset) -> str:
    """A query for where captions are from: `clip_id`, `captions` (their label), and the columns of `PROVENANCE`.

    `structure` is that of the answer with the number `structured`; of those drawn beside it only the sentence is kept.

    Args:
        dataset: Captioners must have run on it.
    """
    there = set(dataset.sql("SELECT * FROM caption LIMIT 0").column_names)
    columns = ", ".join(name if name in there else f"NULL AS {name}" for name in PROVENANCE)
    whose = "key AS clip_id, label AS captions, candidate AS structured"
    return f"SELECT {whose}, {columns} FROM caption WHERE state = 'done'"


def further_sql(dataset: Dataset) -> str:
    """The column of drawn answers of the view `caption`; captions of older datasets have none."""
    columns = dataset.sql("SELECT * FROM caption LIMIT 0").column_names
    kind = "STRUCT(candidate INTEGER, text VARCHAR)[]"
    return f"coalesce(caption.further, []::{kind})" if "further" in columns else f"[]::{kind}"


def _made_from_sql(dataset: Dataset) -> str:
    """The column that says what a caption was made from; captions of older datasets have none."""
    columns = dataset.sql("SELECT * FROM caption LIMIT 0").column_names
    return "caption.made_from" if "made_from" in columns else "NULL"


def choose(candidates: str, rule: str | None = None) -> str:
    """Which candidates are used, as a query: of each clip those of the best kind that it has, all of them.

    Sentences by people win over those by models, those over sentences made from labels, and those over such from tags.

    Args:
        candidates: A query as `candidates_sql` gives it.
        rule: Name of a rule, or a SQL condition over the columns of that query; what does not fulfil it does not count.
            A null counts as false. None takes everything.
    """
    kinds = " ".join(f"WHEN starts_with(source, '{prefix}') THEN {rank}" for rank, (prefix, _) in enumerate(RANKS))
    wanted = RULES.get(rule, rule) if rule else "true"
    return f"""SELECT clip_id, text, source FROM ({candidates}) WHERE trim(text) <> '' AND ({wanted}
)
QUALIFY CASE {kinds} END = min(CASE {kinds} END) OVER (PARTITION BY clip_id)"""


def checked_rule(dataset: Dataset, rule: str) -> str:
    """The rule, if it can be asked of this dataset.

    Raises:
        ArgumentError: It is no condition over candidates, more than one, or needs scores and none are there.
    """
    if not dataset.has_stage("score"):
        raise ArgumentError(
            f"--captions {rule!r} chooses by scores, and {dataset.path} has none; run `foundsound score` first"
        )
    chosen = choose(candidates_sql(dataset), rule)
    try:
        with dataset.connect("") as connection:
            refuse_several(connection, chosen, f"--captions {rule!r}")
        dataset.sql(f"SELECT * FROM ({chosen}) LIMIT 0")
    except (ArgumentError, DatasetError) as error:
        names = ", ".join(["text", "source", "captions", *(field.name for field in SCORES)])
        raise ArgumentError(
            f"--captions {rule!r} is no condition over {names}, nor one of {', '.join(RULES)}"
        ) from error
    return rule
