"""`foundsound query`: clips that fit words, a sound, another clip, or sums and differences of those."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow.parquet as pq
import soundfile
from cyclopts import Parameter

from captioning.candidates import candidates_sql, choose
from curation.blobs import BlobReader, BlobRef
from curation.dataset import Dataset
from curation.duplicates.found import found_path, read_found
from curation.errors import ArgumentError, DatasetError
from curation.names import plain_name
from curation.selections.selection import Choice, SelectionReport, read_report
from curation.selections.selection import select as select_clips
from curation.selections.where import clips_where
from curation.views import quoted
from pipelines.wiring.embedders import embedder_of
from retrieval_index.expression import Term, combined, parse_term
from retrieval_index.index import Hit, Index
from retrieval_index.structure import unit
from retrieval_index.windows import mono

DUPLICATES = "duplicates"
"""Name of the groups of duplicates that results are folded by, where `dedupe` has found them."""

_STORED = """
SELECT embed.blob, embed.offset_bytes, embed.windows, embed.dimension
FROM embed JOIN cut ON cut.key = embed.key AND cut.state = 'done' AND cut.audio_sha256 = embed.input
WHERE embed.key = ? AND embed.label = ? AND embed.state = 'done'"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """Words that are added to a query or taken from it.

    Args:
        plus: Words to add, as rain or '0.5 * rain'; again for each further term.
        minus: Words to subtract, as music or '0.5 * music'; again for each further term.
    """

    plus: tuple[str, ...] = ()
    minus: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What was found, best first.

    Args:
        hits: One a clip.
        dataset: The dataset.
        folded: clip_id of a hit -> copies of its sound that were found too.
        selection: The selection that was made of them.
    """

    hits: list[Hit]
    dataset: Dataset
    folded: Mapping[str, list[str]] = field(default_factory=dict)
    selection: SelectionReport | None = None

    def path(self, hit: Hit) -> Path:
        """The sound file of a hit."""
        media = self.dataset.media
        find = media.path if self.dataset.root("media").is_local else media.open_path
        return find(hit.audio_sha256, ".flac")

    def as_dict(self) -> list[dict[str, Any]]:
        """One entry a clip: clip_id, start_s, end_s, score, caption, path."""
        return [
            {
                "clip_id": hit.clip_id,
                "start_s": hit.start_s,
                "end_s": hit.end_s,
                "score": hit.score,
                "caption": hit.caption,
                "path": str(self.path(hit)),
            }
            for hit in self.hits
        ]

    def __str__(self) -> str:
        lines = []
        for hit in self.hits:
            copies = len(self.folded.get(hit.clip_id, ()))
            more = f"  (and {copies} {'copy' if copies == 1 else 'copies'})" if copies else ""
            lines.append(f"{hit.score:6.3f}  {hit.start_s:6.2f}-{hit.end_s:.2f} s  {hit.clip_id}  {hit.caption}{more}")
            lines.append(f"        {self.path(hit)}")
        if self.selection is not None:
            made = self.selection
            lines.append(f"selection {made.name}: {made.kept_clips:,} of these are in; {made.path}")
        return "\n".join(lines)


def open_index(dataset: Dataset, name: str) -> Index:
    """An index of the dataset with the embedder that made it, ready to be asked.

    Raises:
        ArgumentError: The embedder is not there any more.
        DatasetError: There is no index, it is damaged, or the selection that it is of was made anew since.
    """
    folder = dataset.folder("indexes") / plain_name(name, "index")
    _check_selection(dataset, folder)
    return Index.open(folder, embedder=embedder_of(folder))


def _check_selection(dataset: Dataset, folder: Path) -> None:
    """Refuse an index of another selection than the one that now has its name."""
    source = Index.read_manifest(folder).get("source", {})
    sha256, selection = source.get("selection_sha256"), source.get("selection")
    if sha256 is None or not (dataset.folder("selections") / f"{selection}.json").is_file():
        return
    report = read_report(dataset, selection)
    if sha256 not in (report.sha256, *report.settings.get("before_forget", ())):
        raise DatasetError(
            f"{folder} is of selection {selection!r} as it was before it was made anew; bring it up to date with "
            f"`foundsound index {dataset.path} --selection {selection} --name {folder.name} "
            f"--vectors {source.get('vectors')} --embedder {source.get('given')}`"
        )


def query(
    dataset: Path,
    text: str | None = None,
    /,
    *,
    sound: Path | None = None,
    clip: str | None = None,
    terms: Annotated[Terms, Parameter(name="*")] | None = None,
    index: str = "train",
    k: int = 10,
    where: str | None = None,
    fold: float | None = None,
    select: str | None = None,
) -> QueryResult:
    """Find the clips that fit a text, sound like a sound file, or like a clip of the dataset.

    Args:
        dataset: Folder of the dataset.
        text: What is looked for, in words.
        sound: A sound file to look for instead; every part of it is asked.
        clip: A clip_id of the dataset to look for instead; it is not found itself.
        terms: Words to add or subtract.
        index: Name of the index.
        k: How many clips.
        where: SQL condition that clips must fulfil, as for `select --where`.
        fold: Least cosine of two clips of which only the better is shown; copies that `dedupe` found always are.
        select: Name of a selection to make of what is found, ready to pack.
    """
    terms = terms or Terms()
    given = [one for one in (text, sound, clip) if one is not None]
    if len(given) > 1 or not (given or terms.plus):
        raise ArgumentError("give a text, --sound FILE or --clip ID (or only --plus WORDS), and not both")
    if fold is not None and not 0 < fold <= 1:
        raise ArgumentError(f"--fold must be in (0, 1], not {fold}")
    opened = Dataset(dataset)
    searched = open_index(opened, index)
    if select is not None:
        plain_name(select, "selection")
    among = None
    if where is not None:
        among = clips_where(opened, where, captions_sql=choose(candidates_sql(opened)))
    vectors_WD = _vectors(opened, searched, text, sound, clip)
    if terms.plus or terms.minus:
        vectors_WD = combined(_terms(searched, str(given[0]) if given else "", vectors_WD, terms))

    def ask(count: int) -> list[Hit]:
        found = searched.query_windows(vectors_WD, count + (clip is not None), among=among)
        return [hit for hit in found if hit.clip_id != clip][:count]

    hits, folded = _folded(opened, searched, ask, k, fold)
    result = QueryResult(hits, opened, folded)
    return result if select is None else select_found(result, searched, select)


def _vectors(dataset: Dataset, index: Index, text: str | None, sound: Path | None, clip: str | None) -> np.ndarray:
    """What is asked before terms are added: the vector of a text, or of every window of a sound; none without any."""
    if text is not None:
        return index.text_vectors([text])
    if sound is not None:
        return index.sound_vectors(read_query_sound(sound, index.embedder.sample_rate_hz))
    if clip is not None:
        return index.clip_vectors(clip) if clip in index else stored_vectors(dataset, index, clip)
    return np.zeros((0, index.dimension), np.float32)


def _terms(index: Index, what: str, vectors_WD: np.ndarray, terms: Terms) -> list[Term]:
    parsed = [(sign, *parse_term(text)) for sign, texts in ((1, terms.plus), (-1, terms.minus)) for text in texts]
    embedded = index.text_vectors([words for _, _, words in parsed])
    further = [
        Term(what=words, weight=sign * weight, vectors_WD=vector_D[None])
        for (sign, weight, words), vector_D in zip(parsed, embedded, strict=True)
    ]
    return [Term(what=what, weight=1.0, vectors_WD=vectors_WD), *further] if len(vectors_WD) else further


def stored_vectors(dataset: Dataset, index: Index, clip_id: str) -> np.ndarray:
    """The vectors of a clip that is in the dataset and not in the index, (W, D) of length 1.

    Raises:
        ArgumentError: It has none that the index's embedder made.
    """
    label = index.manifest["source"].get("vectors", "clap")
    found = dataset.sql(_STORED, [clip_id, label]).to_pylist() if dataset.has_stage("embed") else []
    if not found:
        raise ArgumentError(f"clip {clip_id!r} has no vectors {label!r} in {dataset.path}; give another clip")
    row = found[0]
    place = BlobRef(
        blob=row["blob"], offset_bytes=row["offset_bytes"], shape=(row["windows"], row["dimension"]), dtype="<f2"
    )
    return unit(BlobReader(dataset.root("vectors")).read(place))


def _folded(
    dataset: Dataset, index: Index, ask: Callable[[int], list[Hit]], k: int, min_cosine: float | None
) -> tuple[list[Hit], dict[str, list[str]]]:
    """The first `k` hits without copies; asks for more while copies take places."""
    wanted = k
    while True:
        hits = ask(wanted)
        folded = list(index.fold(hits, min_cosine, _groups(dataset, [hit.clip_id for hit in hits])))
        if len(folded) >= k or len(hits) < wanted:
            shown = folded[:k]
            return [hit for hit, _ in shown], {hit.clip_id: copies for hit, copies in shown if copies}
        wanted *= 2


def _groups(dataset: Dataset, clip_ids: list[str]) -> dict[str, str]:
    """clip_id -> group of duplicates, of those that are in one."""
    if not found_path(dataset, DUPLICATES).is_file():
        return {}
    path = read_found(dataset, DUPLICATES).path
    rows = pq.read_table(path, columns=["clip_id", "group"], filters=[("clip_id", "in", clip_ids)])
    return dict(zip(rows["clip_id"].to_pylist(), rows["group"].to_pylist(), strict=True))


def select_found(result: QueryResult, index: Index, name: str) -> QueryResult:
    """Make a selection of what was found: the index's own selection, judged anew, of these clips only.

    Its split, guards, rules and duplicates are asked for again, so that nothing is in that they refuse now.

    Raises:
        ArgumentError: Nothing was found, the index's selection is not there, or the name is the selection's own.
    """
    source = index.manifest["source"].get("selection")
    if not result.hits:
        raise ArgumentError(f"nothing was found, so there is nothing to make the selection {name!r} of")
    if source is None or name == source:
        raise ArgumentError(f"--select {name!r} would replace the selection of the index; give another name")
    before = read_report(result.dataset, source).settings
    listed = ", ".join(quoted(hit.clip_id) for hit in result.hits)
    condition = f"clips.clip_id IN ({listed})"
    report = select_clips(
        result.dataset,
        name=name,
        where=f"({before['where']}\n) AND {condition}" if before["where"] else condition,
        split=before["split"],
        guards=list(before["guards"]),
        rules=list(before.get("rules") or ()),
        captions_sql=before["captions_sql"],
        choice=Choice(duplicates=next(iter(before.get("duplicates") or ()), None), using=before.get("using") or {}),
    )
    return QueryResult(result.hits, result.dataset, result.folded, report)


def read_query_sound(path: Path, sample_rate_hz: int) -> np.ndarray:
    """A sound file given by the user, mono.

    Raises:
        ArgumentError: It is not there or cannot be read.
    """
    try:
        return mono(path, sample_rate_hz)
    except (OSError, soundfile.LibsndfileError) as error:
        raise ArgumentError(f"the sound {path} cannot be read: {error}; give a WAV, FLAC, OGG or MP3 file") from error
