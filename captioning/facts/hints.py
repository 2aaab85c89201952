"""What a prompt's `{labels}` is filled with when the sound was tagged: tags, or those labels that tags confirm.

A label that a list gives may be wrong for the sound: a dog that is seen and not heard. A captioner that is told of it
describes a bark. So a hint is only what a tagger hears too. A label of which AudioSet has no class cannot be confirmed,
and is no hint either.
"""

from dataclasses import dataclass
from typing import Any, Literal

from captioning.facts.audioset import CONFIRMED_ABOVE, classes_of
from curation.annotated import ANNOTATED
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.views import quoted

VERSION = 1
"""Grows when the same tags and labels give other hints."""

SAID_ABOVE = 0.3
"""A tag with a higher mean score is said. Source: ours; taggers of AudioSet give a present class 0.3 to 0.9. With mn04
76 % of ESC-50's recordings have such a tag."""

_HEARD = """SELECT tag.key,
    list_transform(list_filter(tag.tags, lambda one: one.score > {above}), lambda one: one.label) AS labels
    FROM tag JOIN cut ON cut.key = tag.key AND cut.audio_sha256 = tag.input
    WHERE tag.state = 'done' AND tag.label = {tags}"""
"""Tags of the sound that the clip has now, best first."""

_CONFIRMED = """WITH heard AS ({heard}), said AS (
        SELECT DISTINCT clip_id AS key, unnest(labels) AS label FROM ({annotated})
    ), vocabulary(label, classes) AS (VALUES {vocabulary})
    SELECT heard.key,
        list_sort(list(said.label) FILTER (WHERE list_has_any(vocabulary.classes, heard.labels))) AS labels
    FROM heard LEFT JOIN said USING (key) LEFT JOIN vocabulary USING (label) GROUP BY heard.key"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hints:
    """Labels by tags.

    Args:
        kind: `tags`: what is heard; `confirmed`: those labels of lists that tags confirm; `facts`: all that is known, a
            line each.
        facts: Folders of the facts that are read, `<name>-<hash8>`: which tagger or captioner with which settings.
        above: A tag with a higher mean score is heard, 0 to 1.
        sql: Query over the dataset's views for `key` and `labels`, a row a clip that is asked about.
    """

    kind: Literal["tags", "confirmed", "facts"]
    facts: tuple[str, ...]
    above: float
    sql: str

    def __post_init__(self) -> None:
        if not 0 <= self.above < 1:
            raise ArgumentError(f"a score above which tags count must lie in [0, 1), not {self.above}")

    def identity(self) -> dict[str, Any]:
        """What decides the labels beside the tags of the clip and what lists say."""
        return {"hints": self.kind, "facts": list(self.facts), "above": self.above, "version": VERSION}


def tag_hints(dataset: Dataset, tags: str, *, above: float = SAID_ABOVE) -> Hints:
    """The best tags of each clip as its labels.

    Args:
        dataset: Whose clips.
        tags: Name of the tags.
        above: A tag with a higher mean score counts.

    Raises:
        ArgumentError: There are no tags of that name.
    """
    return Hints(kind="tags", facts=(_facts(dataset, tags),), above=above, sql=heard_sql(tags, above))


def heard_sql(tags: str, above: float = SAID_ABOVE) -> str:
    """Query for `key` and `labels`, the tags of each clip that are strong enough, best first.

    Args:
        tags: Name of the tags.
        above: A tag with a higher mean score counts.
    """
    return _HEARD.format(above=above, tags=quoted(tags))


def confirmed_hints(dataset: Dataset, tags: str, *, above: float = CONFIRMED_ABOVE) -> Hints:
    """Of the labels that lists give each clip those that its tags confirm.

    Args:
        dataset: Whose clips; all labels that it has now are looked up among AudioSet's classes.
        tags: Name of the tags.
        above: A class with a higher mean score confirms.

    Raises:
        ArgumentError: There are no tags of that name.
    """
    facts, sql = confirmed_sql(dataset, tags, above)
    return Hints(kind="confirmed", facts=(facts,), above=above, sql=sql)


def confirmed_sql(dataset: Dataset, tags: str, above: float = CONFIRMED_ABOVE) -> tuple[str, str]:
    """Folder of the tags' facts, and the query for `key` and `labels` of `confirmed_hints`.

    Raises:
        ArgumentError: There are no tags of that name.
    """
    facts = _facts(dataset, tags)
    known = dataset.sql(f"SELECT DISTINCT unnest(labels) AS label FROM ({ANNOTATED}) ORDER BY 1")["label"].to_pylist()
    rows = ["('', []::VARCHAR[])"]
    for label in known:
        if classes := sorted(classes_of(label)):
            rows.append(f"({quoted(label)}, [{', '.join(map(quoted, classes))}])")
    sql = _CONFIRMED.format(heard=heard_sql(tags, above), annotated=ANNOTATED, vocabulary=", ".join(rows))
    return facts, sql


def _facts(dataset: Dataset, tags: str) -> str:
    known = dataset.current_facts("tag")
    if tags not in known:
        raise ArgumentError(
            f"{dataset.path} has no tags {tags!r} (there are: {', '.join(sorted(known)) or 'none'}); "
            "run `foundsound tag` first"
        )
    return known[tags].name
