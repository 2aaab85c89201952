"""All that is known of each clip, a line each, for a model that does not listen: what experts and people said of it."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from captioning.caption import LABELLED
from captioning.facts.hints import Hints, confirmed_sql, heard_sql
from curation.annotated import HUMAN_CAPTIONS
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.facts import IDENTITY_FILE, REQUESTS_FILE
from curation.views import answers_sql, quoted

LONGEST_LINE = 1_000
"""More characters of one source are not shown. Source: ours; the longest published caption of a sound has 800."""

_LINES = """SELECT cut.key, list(line ORDER BY rank, line) FILTER (WHERE line IS NOT NULL) AS labels
    FROM cut LEFT JOIN (SELECT key, rank, left(line, {longest}) AS line FROM ({lines})) AS known USING (key)
    GROUP BY cut.key"""

_FILED = """SELECT key, 1 AS rank, 'Filed by people under: ' || array_to_string(labels, ', ') AS line
    FROM ({labels}) WHERE len(labels) > 0"""
_HEARD = """SELECT key, 2 AS rank, 'Heard by a tagger: ' || array_to_string(labels, '; ') AS line
    FROM ({heard}) WHERE len(labels) > 0"""
_PEOPLE = f"SELECT clip_id AS key, 3 AS rank, 'Described by a person: ' || text AS line FROM ({HUMAN_CAPTIONS})"
_MODELS = """SELECT caption.key, 4 AS rank, 'Described by ' || caption.label || ': ' ||
        coalesce(caption.structure, caption.text) AS line
    FROM caption JOIN cut ON cut.key = caption.key WHERE caption.state = 'done' AND caption.label IN ({captions})
        AND (caption.audio_sha256 IS NULL OR caption.audio_sha256 = cut.audio_sha256)"""


def known_hints(dataset: Dataset, *, captions: Sequence[str] | None = None, tags: str | None = None) -> Hints:
    """Labels, captions by people, and what taggers and captioners gave, as lines.

    Args:
        dataset: Whose clips.
        captions: Names of captions that are read; None takes all that say something of their own.
        tags: Name of tags that are read; then only labels that they confirm are. None reads none.

    Raises:
        ArgumentError: There are no such captions or tags.
    """
    known = dataset.current_facts("caption")
    names = sorted(experts(dataset)) if captions is None else list(captions)
    for name in names:
        if name not in known:
            raise ArgumentError(
                f"{dataset.path} has no captions {name!r} (there are: {', '.join(sorted(known)) or 'none'}); run "
                "`foundsound caption` first"
            )
    facts = [known[name].name for name in names]
    labels, lines = LABELLED, []
    if tags is not None:
        folder, labels = confirmed_sql(dataset, tags)
        facts.append(folder)
        lines.append(_HEARD.format(heard=heard_sql(tags)))
    lines += [_FILED.format(labels=labels), _PEOPLE]
    if names:
        lines.append(_MODELS.format(captions=", ".join(map(quoted, names))))
    sql = _LINES.format(lines=" UNION ALL ".join(lines), longest=LONGEST_LINE)
    return Hints(kind="facts", facts=tuple(facts), above=0.0, sql=sql)


def facts_read(dataset: Dataset, hints: Hints) -> dict[Path, str]:
    """The folders of the facts that hints are made from, and whose each is: of `tag` or `caption`."""
    places = {dataset.path / "facts" / stage / name: stage for name in hints.facts for stage in ("tag", "caption")}
    return {folder: stage for folder, stage in places.items() if folder.is_dir()}


def spoken_of(dataset: Dataset, hints: Hints) -> pa.ChunkedArray:
    """Keys of the cut clips of which every tagger and captioner that hints are made from has said what it will say.

    Args:
        dataset: Whose clips.
        hints: As `known_hints` gives them.
    """
    with dataset.reading():
        pending = [
            f"SELECT key FROM ({answers_sql((folder / REQUESTS_FILE).read_text(), folder)}) WHERE state = 'pending'"
            for folder in facts_read(dataset, hints)
        ]
        return dataset.sql(" EXCEPT ".join(["SELECT key FROM cut WHERE state = 'done'", *pending]))["key"]


def experts_of(dataset: Dataset, captions: str) -> tuple[str, ...]:
    """Names of the captions that others were written from; none for captions of what was heard.

    Args:
        dataset: The dataset.
        captions: Name of captions that it has.
    """
    known = dataset.current_facts("caption")
    identity = json.loads((known[captions] / IDENTITY_FILE).read_text(encoding="utf-8"))
    read = set(identity.get("hints", {}).get("facts", ()))
    return tuple(sorted(name for name, folder in known.items() if folder.name in read))


def experts(dataset: Dataset) -> list[str]:
    """Names of the captions that say something of their own: not made from labels, tags or other captions."""

    def says_something(name: str) -> bool:
        identity = json.loads((dataset.current_facts("caption")[name] / IDENTITY_FILE).read_text(encoding="utf-8"))
        is_template = "captioner" in identity and identity["captioner"].get("model") is None
        return not is_template and identity.get("hints", {}).get("hints") != "facts"

    return [name for name in dataset.current_facts("caption") if says_something(name)]
