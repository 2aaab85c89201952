"""What is asked of an index beside bare vectors: terms, conditions, copies folded, and results that become selections.

The verb `query` and the service ask in the same way because both ask here.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import pyarrow.parquet as pq

from curation.blobs import BlobReader, BlobRef
from curation.dataset import Dataset
from curation.duplicates.found import found_path, read_found
from curation.errors import ArgumentError
from curation.selections.selection import Choice, SelectionReport, read_report, select, selection_path
from curation.views import quoted
from retrieval_index.embed import INPUT_OF_PICTURE
from retrieval_index.embedder import Vectors
from retrieval_index.expression import Term, combined, parse_term
from retrieval_index.index import Hit, Index
from retrieval_index.structure import unit

DUPLICATES = "duplicates"
"""Name of the groups of duplicates that results are folded by, where `dedupe` has found them."""

MOST_GONE = 1_000
"""So many clips more are asked for at once where the index still holds ones that may not be found. Source: ours."""

DEEPEST_FOLD = 64
"""While copies take places, at most so many times as many clips are looked at as are wanted; then there are fewer.
Source: ours; a cosine that is far too low folds everything into one clip, and would read the whole index."""

_STORED = f"""
SELECT embed.blob, embed.offset_bytes, embed.windows, embed.dimension
FROM embed JOIN cut ON cut.key = embed.key AND cut.state = 'done'
    AND embed.input IN (cut.audio_sha256, {INPUT_OF_PICTURE})
WHERE embed.key = ? AND embed.label = ? AND embed.state = 'done'"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found, best first.

    Args:
        hits: One a clip.
        folded: clip_id of a hit -> copies of its sound that were found too.
    """

    hits: list[Hit]
    folded: Mapping[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """How much is wanted, and from among what.

    Args:
        clips: How many clips at most, at least 1.
        among: clip_ids that may be found; None: all.
        without: The clip that was asked for, which is not found itself.
        gone: clip_ids that may not be found, nor hide others as copies, though the index may still hold them.
        min_cosine: Least cosine of two clips of which only the better is shown; None: only copies that `dedupe` found
            are folded.
    """

    clips: int = 10
    among: Collection[str] | None = None
    without: str | None = None
    gone: frozenset[str] = frozenset()
    min_cosine: float | None = None

    def __post_init__(self) -> None:
        if self.clips < 1:
            raise ArgumentError(f"k must be at least 1, not {self.clips}")
        if self.min_cosine is not None and not 0 < self.min_cosine <= 1:
            raise ArgumentError(f"the cosine to fold by must be in (0, 1], not {self.min_cosine}")


def clip_vectors(dataset: Dataset, index: Index, clip_id: str) -> Vectors:
    """The vectors of a clip of the dataset, (W, D) of length 1; it need not be in the index.

    Raises:
        ArgumentError: It has none that the index's embedder made.
    """
    if clip_id in index:
        return index.clip_vectors(clip_id)
    label = index.manifest["source"].get("vectors", "clap")
    found = dataset.sql(_STORED, [clip_id, label]).to_pylist() if dataset.has_stage("embed") else []
    if not found:
        raise ArgumentError(f"clip {clip_id!r} has no vectors {label!r} in {dataset.path}; give another clip")
    row = found[0]
    place = BlobRef(
        blob=row["blob"], offset_bytes=row["offset_bytes"], shape=(row["windows"], row["dimension"]), dtype="<f2"
    )
    return unit(BlobReader(dataset.root("vectors")).read(place))


def with_terms(index: Index, what: str, vectors_WD: Vectors, plus: Sequence[str], minus: Sequence[str]) -> Vectors:
    """A query with words added and subtracted, (1, D) of length 1; without any, the query as it is.

    Args:
        index: Its embedder reads the words.
        what: What is asked before, for messages.
        vectors_WD: The query before; (0, D) where there are only terms.
        plus: Words to add, as `rain` or `0.5 * rain`.
        minus: Words to subtract.

    Raises:
        ArgumentError: A term has no words, or what is asked cancels itself.
    """
    if not plus and not minus:
        return vectors_WD
    parsed = [(sign, *parse_term(text)) for sign, texts in ((1, plus), (-1, minus)) for text in texts]
    embedded = index.text_vectors([words for _, _, words in parsed])
    terms = [
        Term(what=words, weight=sign * weight, vectors_WD=vector_D[None])
        for (sign, weight, words), vector_D in zip(parsed, embedded, strict=True)
    ]
    return combined([Term(what=what, weight=1.0, vectors_WD=vectors_WD), *terms] if len(vectors_WD) else terms)


def answer(dataset: Dataset, index: Index, vectors_WD: Vectors, wanted: Wanted) -> Answer:
    """The clips that are nearest to any of the vectors, without copies; looks deeper while copies take places.

    It stops at `DEEPEST_FOLD` times as many clips as are wanted: there may be fewer then.
    """
    asked = wanted.clips
    spare = min(len(wanted.gone), MOST_GONE) + (wanted.without is not None)
    while True:
        found = index.query_windows(vectors_WD, asked + spare, among=wanted.among)
        allowed = (hit for hit in found if hit.clip_id != wanted.without and hit.clip_id not in wanted.gone)
        hits = list(islice(allowed, asked))
        is_deepest = len(found) < asked + spare or asked >= DEEPEST_FOLD * wanted.clips
        groups = _groups(dataset, [hit.clip_id for hit in hits])
        folded = list(index.fold(hits, wanted.min_cosine, groups))
        if len(folded) >= wanted.clips or is_deepest:
            shown = folded[: wanted.clips]
            return Answer([hit for hit, _ in shown], {hit.clip_id: copies for hit, copies in shown if copies})
        asked *= 2


def _groups(dataset: Dataset, clip_ids: list[str]) -> dict[str, str]:
    """clip_id -> group of duplicates, of those that are in one."""
    if not clip_ids or not found_path(dataset, DUPLICATES).is_file():
        return {}
    path = read_found(dataset, DUPLICATES).path
    rows = pq.read_table(path, columns=["clip_id", "group"], filters=[("clip_id", "in", clip_ids)])
    return dict(zip(rows["clip_id"].to_pylist(), rows["group"].to_pylist(), strict=True))


FOUND = "clips.clip_id IN ("
"""Begins the condition of a selection that was made of what was found."""


def select_clips(dataset: Dataset, index: Index, clip_ids: Sequence[str], name: str) -> SelectionReport:
    """Make a selection of clips that were found: the index's own selection, judged anew, of these clips only.

    Its split, guards, rules and duplicates are asked for again, so that nothing is in that they refuse now.

    Raises:
        ArgumentError: Nothing was found, the index's selection is not there, or the name is that of a selection that
            was not made of what was found.
    """
    source = index.manifest["source"].get("selection")
    if not clip_ids:
        raise ArgumentError(f"nothing was found, so there is nothing to make the selection {name!r} of")
    if source is None or name == source:
        raise ArgumentError(f"--select {name!r} would replace the selection of the index; give another name")
    if selection_path(dataset, name).exists() and FOUND not in (read_report(dataset, name).settings["where"] or ""):
        raise ArgumentError(f"--select {name!r} would replace a selection that `select` made; give another name")
    before = read_report(dataset, source).settings
    condition = f"{FOUND}{', '.join(quoted(clip_id) for clip_id in clip_ids)})"
    return select(
        dataset,
        name=name,
        where=f"({before['where']}\n) AND {condition}" if before["where"] else condition,
        split=before["split"],
        guards=list(before["guards"]),
        rules=list(before.get("rules") or ()),
        captions_sql=before["captions_sql"],
        choice=Choice(duplicates=next(iter(before.get("duplicates") or ()), None), using=before.get("using") or {}),
    )
