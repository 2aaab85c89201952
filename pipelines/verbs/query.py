"""`foundsound query`: clips that fit words, a sound, a picture, another clip, or sums and differences of those."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import soundfile
from cyclopts import Parameter

from captioning.candidates import candidates_sql, choose
from curation.dataset import Dataset
from curation.errors import ArgumentError, ClipError, DatasetError
from curation.names import plain_name
from curation.programs.sound_copy import sound_copy
from curation.selections.selection import SelectionReport, read_report
from curation.selections.where import clips_where
from pipelines.wiring.embedders import embedder_of
from retrieval_index.embedder import Embedder
from retrieval_index.index import Hit, Index
from retrieval_index.manifest import repair
from retrieval_index.pictures import picture_vectors
from retrieval_index.question import Wanted, answer, clip_vectors, select_clips, with_terms
from retrieval_index.windows import mono


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


def open_index(
    dataset: Dataset, name: str, *, embedder: Embedder | None = None, opened_as: type[Index] = Index
) -> Index:
    """An index of the dataset with the embedder that made it, ready to be asked.

    Args:
        dataset: The dataset.
        name: Name of the index.
        embedder: The one that made it, where it is loaded already; None loads it.
        opened_as: What it becomes.

    Raises:
        ArgumentError: The embedder is not there any more.
        DatasetError: There is no index, it is damaged, or the selection that it is of was made anew since.
    """
    folder = dataset.folder("indexes") / plain_name(name, "index")
    _check_selection(dataset, folder)
    return opened_as.open(folder, embedder=embedder or embedder_of(folder))


def _check_selection(dataset: Dataset, folder: Path) -> None:
    """Refuse an index of another selection than the one that now has its name."""
    manifest = Index.read_manifest(folder)
    source = manifest.get("source", {})
    sha256, selection = source.get("selection_sha256"), source.get("selection")
    if sha256 is None or not (dataset.folder("selections") / f"{selection}.json").is_file():
        return
    report = read_report(dataset, selection)
    if sha256 not in (report.sha256, *report.settings.get("before_forget", ())):
        raise DatasetError(
            f"{folder} is of selection {selection!r} as it was before it was made anew; bring it up to date with "
            f"`{repair(folder, manifest)}`"
        )


def query(
    dataset: Path,
    text: str | None = None,
    /,
    *,
    sound: Path | None = None,
    picture: Path | None = None,
    clip: str | None = None,
    terms: Annotated[Terms, Parameter(name="*")] | None = None,
    index: str = "train",
    k: int = 10,
    where: str | None = None,
    fold: float | None = None,
    select: str | None = None,
) -> QueryResult:
    """Find the clips that fit a text or a picture, or sound like a sound file or a clip of the dataset.

    Args:
        dataset: Folder of the dataset.
        text: What is looked for, in words.
        sound: A sound or video file to look for instead; every part of it is asked.
        picture: A picture or video to look for instead, where the index's embedder sees (PE-AV).
        clip: A clip_id of the dataset to look for instead; it is not found itself.
        terms: Words to add or subtract.
        index: Name of the index.
        k: How many clips.
        where: SQL condition that clips must fulfil, as for `select --where`.
        fold: Least cosine of two clips of which only the better is shown; copies that `dedupe` found always are.
        select: Name of a selection to make of what is found, ready to pack.
    """
    terms = terms or Terms()
    given = [one for one in (text, sound, picture, clip) if one is not None]
    if len(given) > 1 or not (given or terms.plus):
        raise ArgumentError("give a text, --sound, --picture or --clip (or only --plus WORDS), and not both")
    if fold is not None and not 0 < fold <= 1:
        raise ArgumentError(f"--fold must be in (0, 1], not {fold}")
    opened = Dataset(dataset)
    searched = open_index(opened, index)
    if select is not None:
        plain_name(select, "selection")
    among = None
    if where is not None:
        among = clips_where(opened, where, captions_sql=choose(candidates_sql(opened)))
    wanted = Wanted(clips=k, among=among, without=clip, min_cosine=fold)
    if picture is not None:
        vectors_WD = picture_vectors(picture, searched.embedder)
    else:
        vectors_WD = _vectors(opened, searched, text, sound, clip)
    vectors_WD = with_terms(searched, str(given[0]) if given else "", vectors_WD, terms.plus, terms.minus)
    found = answer(opened, searched, vectors_WD, wanted)
    made = None
    if select is not None:
        made = select_clips(opened, searched, [hit.clip_id for hit in found.hits], select)
    return QueryResult(found.hits, opened, found.folded, made)


def _vectors(dataset: Dataset, index: Index, text: str | None, sound: Path | None, clip: str | None) -> np.ndarray:
    """What is asked before terms are added: the vector of a text, or of every window of a sound; none without any."""
    if text is not None:
        return index.text_vectors([text])
    if sound is not None:
        return index.sound_vectors(read_query_sound(sound, index.embedder.sample_rate_hz))
    if clip is not None:
        return clip_vectors(dataset, index, clip)
    return np.zeros((0, index.dimension), np.float32)


def read_query_sound(path: Path, sample_rate_hz: int) -> np.ndarray:
    """A sound file given by the user, mono; of what libsndfile does not read, as MP4, the first five minutes.

    Raises:
        ArgumentError: It is not there or cannot be read.
    """
    if not path.is_file():
        raise ArgumentError(f"there is no sound {path}; give a WAV, FLAC, OGG, MP3, M4A or MP4 file")
    try:
        return mono(path, sample_rate_hz)
    except soundfile.LibsndfileError:
        with tempfile.TemporaryDirectory(prefix="foundsound-sound-") as folder:
            try:
                return mono(sound_copy(path, Path(folder)), sample_rate_hz)
            except ClipError as error:
                raise ArgumentError(
                    f"the sound {path} cannot be read: {error}; give a WAV, FLAC, OGG, MP3, M4A or MP4 file"
                ) from error
    except OSError as error:
        raise ArgumentError(f"the sound {path} cannot be read: {error}") from error
