"""The stage `score`: numbers about every candidate of one captioner, by which `select` may choose.

A candidate is compared with the sound, with what people said, with the tags and the labels of the clip, all in the one
space of an embedder of sounds and texts, and looked at as a text (`text_scores.py`). Nothing is judged and nothing is
dropped here. The embedder is handed in; the sounds' vectors are those that `embed` stored.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from captioning.facts.audioset import CONFIRMED_ABOVE, classes_of, named_in, unsupported
from captioning.metrics.rouge import rouge_l
from captioning.metrics.words import words
from captioning.prompt import spoken
from captioning.text_scores import stem, text_scores
from curation.blobs import BlobReader, BlobRef
from curation.schema import column, table
from curation.stage import Outcome, Stage, Work, how
from curation.storage import Root
from curation.tables import Row
from curation.views import quoted

Vectors = npt.NDArray[np.float32]

TAG_SCORE = 0.3
"""A tag that scores above is compared with. Source: ours; taggers of AudioSet give a present class 0.3 to 0.9."""

MAX_TAGS = 3
"""As many tags at most. Source: ours; a sentence names about so many sources of sound."""

SENTENCE = "The sound of {}."
"""How class names are embedded. Source: Elizalde et al. 2023 (CLAP), arXiv 2206.04769, prompts of this kind."""


class TextEmbedder(Protocol):
    """Gives texts as unit vectors in the space of the stored vectors of sounds."""

    def embed_text(self, texts: Sequence[str]) -> Vectors:
        """Texts, at least one -> (B, D) float32 of norm 1."""

    def identity(self) -> dict[str, Any]:
        """Class, sha256 of the weights and preprocessing."""


SCORES = pa.struct(
    {
        "candidate": pa.int32(),
        "clap": pa.float32(),
        "human_clap": pa.float32(),
        "human_rouge_l": pa.float32(),
        "tags_clap": pa.float32(),
        "mentions": pa.list_(pa.string()),
        "contradicted": pa.int32(),
        "unsupported": pa.int32(),
        "words": pa.int32(),
        "repetition": pa.float32(),
        "hedges": pa.int32(),
        "refusals": pa.int32(),
        "quoted_words": pa.int32(),
        "told_words": pa.int32(),
        "language": pa.string(),
        "english_margin": pa.float32(),
    }
)
"""What is stored of every candidate; `select --captions` takes conditions over these names."""

_REQUESTS = """
WITH said AS (
    SELECT annotated.clip_id,
        list_sort(list_distinct(flatten(list(coalesce(annotated.captions, []))))) AS human,
        list_sort(list_distinct(flatten(list(coalesce(annotated.labels, []))))) AS labels
    FROM ({annotated}) AS annotated GROUP BY annotated.clip_id
), heard AS ({tags}), written_from AS ({experts})
SELECT caption.key, sha256(to_json([
        caption.text, {further}::VARCHAR, embed.blob, embed.offset_bytes::VARCHAR,
        said.human::VARCHAR, said.labels::VARCHAR, heard.tags::VARCHAR,
        heard.near::VARCHAR, written_from.texts::VARCHAR
    ])::VARCHAR) AS input,
    caption.candidate, caption.text, {further} AS further,
    embed.blob, embed.offset_bytes, embed.windows, embed.dimension,
    coalesce(said.human, []) AS human, coalesce(said.labels, []) AS labels,
    coalesce(heard.tags, []) AS tags, heard.near,
    coalesce(written_from.texts, []) AS experts
FROM caption JOIN embed ON embed.key = caption.key AND embed.label = {vectors} AND embed.state = 'done'
LEFT JOIN said ON said.clip_id = caption.key LEFT JOIN heard ON heard.key = caption.key
LEFT JOIN written_from ON written_from.key = caption.key
WHERE caption.label = {captions} AND caption.state = 'done'"""

_TAGS = f"""SELECT key, list_transform(list_filter(tags, lambda one: one.score > {TAG_SCORE}), lambda one: one.label)
    [:{MAX_TAGS}] AS tags,
    list_transform(list_filter(tags, lambda one: one.score > {CONFIRMED_ABOVE}), lambda one: one.label) AS near
    FROM tag WHERE state = 'done' AND label = """
_EXPERTS = """SELECT key, list(DISTINCT text ORDER BY text) AS texts
    FROM caption WHERE state = 'done' AND label IN ({names}) GROUP BY key"""
_NO_TAGS = "SELECT NULL::VARCHAR AS key, []::VARCHAR[] AS tags, []::VARCHAR[] AS near WHERE false"


@dataclass(frozen=True, kw_only=True)
class Score(Stage):
    """Scores the captions of one captioner.

    Args:
        captions: Label of the captions.
        embedder: Identity of the embedder of the texts, that of the stored vectors.
        annotated: SQL of what lists say of a clip, as `curation.annotated.ANNOTATED`.
        build: Makes the embedder in the worker; must be picklable.
        vectors: Name of the stored vectors of the sounds.
        blobs: Folder or root of the vectors.
        further: SQL of the drawn answers, as `captioning.candidates.further_sql`.
        tags: Name of the tags that are compared with; None compares with none.
        experts: Names of the captions that these were written from.
    """

    NAME: ClassVar[str] = "score"
    VERSION: ClassVar[int] = 2
    GRAIN: ClassVar[Literal["video", "clip"]] = "clip"
    RESULTS: ClassVar[pa.Schema] = table(
        "One row a clip and captioner: numbers about every candidate. `clap` is the cosine of the candidate with the "
        "mean vector of the sound, `human_clap` the highest cosine with a caption by people and `human_rouge_l` the "
        "ROUGE-L to them (null without any), `tags_clap` the cosine with a sentence of the best tags (null without "
        "any), `mentions` the labels that it names, `contradicted` how many of them tags could confirm and do not "
        "(null without tags), `unsupported` how many of AudioSet's classes it names that neither labels, tags, people "
        "nor the captions that it was written from do (null where those name none); the others are explained in "
        "captioning/text_scores.py.",
        column("candidates", pa.list_(SCORES), "scores of each candidate"),
        column(
            "labels",
            pa.list_(pa.struct({"label": pa.string(), "clap": pa.float32()})),
            "cosine of a sentence of each label with the sound: a label that the sound contradicts is low",
        ),
    )

    captions: str
    embedder: Mapping[str, Any]
    annotated: str = how()
    build: Callable[[], TextEmbedder] = how()
    vectors: str = how()
    blobs: Path | Root = how()
    further: str = how(default="caption.further")
    tags: str | None = None
    experts: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """That of the captions."""
        return self.captions

    def requests(self) -> str:
        """Every clip that has captions and vectors."""
        tags = _NO_TAGS if self.tags is None else _TAGS + quoted(self.tags)
        return _REQUESTS.format(
            annotated=self.annotated,
            further=self.further,
            tags=tags,
            experts=_EXPERTS.format(names=", ".join(map(quoted, self.experts)) or "''"),
            vectors=quoted(self.vectors),
            captions=quoted(self.captions),
        )

    def open(self) -> Work:
        """Load the embedder."""
        embedder, reader = self.build(), BlobReader(self.blobs)

        def work(rows: Sequence[Row]) -> list[Outcome]:
            texts = sorted({text for row in rows for text in _texts(row)})
            vectors = dict(zip(texts, embedder.embed_text(texts), strict=True)) if texts else {}
            return [Outcome(key=row["key"], values=_scores(row, _mean(reader, row), vectors)) for row in rows]

        return work


def _mean(reader: BlobReader, row: Row) -> Vectors:
    """The mean direction of a sound's windows: (D,)."""
    place = BlobRef(
        blob=row["blob"], offset_bytes=row["offset_bytes"], shape=(row["windows"], row["dimension"]), dtype="<f2"
    )
    mean_D = np.asarray(reader.read(place), np.float32).mean(axis=0)
    return np.asarray(mean_D / max(float(np.linalg.norm(mean_D)), 1e-12), np.float32)


def _sentence(names: Sequence[str]) -> str:
    return SENTENCE.format(spoken(names, "a sentence of tags"))


def _candidates(row: Row) -> list[tuple[int, str]]:
    return [(row["candidate"], row["text"]), *((one["candidate"], one["text"]) for one in row["further"] or ())]


def _texts(row: Row) -> list[str]:
    """Every text of a row that is embedded."""
    of_labels = [_sentence([label]) for label in row["labels"]]
    of_tags = [_sentence(row["tags"])] if row["tags"] else []
    return [*(text for _, text in _candidates(row)), *row["human"], *of_labels, *of_tags]


def _scores(row: Row, sound_D: Vectors, vectors: Mapping[str, Vectors]) -> Row:
    human = [vectors[text] for text in row["human"]]
    people = [words(text) for text in row["human"]]
    denied = None if row["near"] is None else {name for name in row["labels"] if _is_denied(name, row["near"])}
    known = {*row["tags"]}.union(
        *map(classes_of, row["labels"]), *map(named_in, row["human"]), *map(named_in, row["experts"])
    )
    tags_D = vectors[_sentence(row["tags"])] if row["tags"] else None
    scored = []
    for number, text in _candidates(row):
        vector_D, said = vectors[text], words(text)
        named = [label for label in row["labels"] if mentions(said, label)]
        scored.append(
            {
                "candidate": number,
                "clap": float(vector_D @ sound_D),
                "human_clap": max((float(vector_D @ other_D) for other_D in human), default=None),
                "human_rouge_l": rouge_l([said], [people]) if people else None,
                "tags_clap": None if tags_D is None else float(vector_D @ tags_D),
                "mentions": named,
                "contradicted": None if denied is None else len(denied.intersection(named)),
                "unsupported": len(unsupported(named_in(text), known)) if known else None,
                **dataclasses.asdict(text_scores(text)),
            }
        )
    labels = [{"label": label, "clap": float(vectors[_sentence([label])] @ sound_D)} for label in row["labels"]]
    return {"candidates": scored, "labels": labels}


def _is_denied(label: str, near: Sequence[str]) -> bool:
    """Whether AudioSet has classes for a label and none of them is among the tags."""
    classes = classes_of(label)
    return bool(classes) and classes.isdisjoint(near)


def mentions(said: Sequence[str], label: str) -> bool:
    """Whether a sentence names a label: every word of it, up to its ending (`barking` for `bark`).

    Args:
        said: Words of the sentence.
        label: Class name, as `dog barking`.
    """
    stems = {stem(word) for word in said}
    wanted = words(label.replace("_", " "))
    return bool(wanted) and all(stem(word) in stems for word in wanted)
