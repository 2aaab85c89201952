"""What is served: an index with its catalogue, as they are now. Both change while the service runs.

When an index is changed on the disk, as by a takedown, it is opened anew beside the old one and takes its place; what
was taken down is not served from the moment it stands on the deny list, whatever the index still holds.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic

import duckdb
import pyarrow as pa

from curation.dataset import Dataset
from curation.errors import ArgumentError, FoundsoundError
from curation.selections.where import clips_where
from retrieval_index.embedder import Vectors
from retrieval_index.manifest import MANIFEST_FILE
from retrieval_index.question import Answer, Wanted, answer
from retrieval_index.service.catalogue import Catalogue, Clip, Takedowns
from retrieval_index.service.columns import Columns
from retrieval_index.service.filter import filter_sql
from retrieval_index.service.limits import Limits
from retrieval_index.service.refusal import LOG, Refused, busy
from retrieval_index.service.sharing import SharedIndex, shared_searches

KEPT_FILTERS = 32
KEPT_CLIPS = 2_000_000
FRESH_S = 60.0
"""Results of filters that are kept, the clips in all of them together, and for how long, s: what stages add meanwhile
is seen a minute later. Source: ours."""

Open = Callable[[Dataset], SharedIndex]
"""Opens the index that is served, as it is on the disk now."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An index and what belongs to it, at one moment.

    Args:
        index: The index.
        catalogue: Its clips.
        columns: What filters may name.
    """

    index: SharedIndex
    catalogue: Catalogue
    columns: Columns


class Collection:
    """A dataset whose index is served.

    Args:
        dataset: The dataset.
        opened: Opens its index.
        captions_sql: Query of the captions that filters see; called for each.
        limits: Bounds.

    Raises:
        FoundsoundError: What opening the index raises.
    """

    def __init__(self, dataset: Dataset, opened: Open, captions_sql: Callable[[], str], limits: Limits) -> None:
        self.dataset, self._open, self._captions_sql, self._limits = dataset, opened, captions_sql, limits
        self.searches = shared_searches()
        self._takedowns = Takedowns(dataset)
        self._filters: OrderedDict[str, tuple[float, tuple[str, ...]]] = OrderedDict()
        self._filtering, self._refreshing = threading.Lock(), threading.Lock()
        self._denied: tuple[object, object, frozenset[str]] = (None, None, frozenset())
        self.now = self._snapshot()
        self._manifest = self._complained = self._stamp(self.now.index)

    def _snapshot(self) -> Snapshot:
        index = self._open(self.dataset)
        index.searches = self.searches
        return Snapshot(index, Catalogue.of(self.dataset, index), Columns.of(self.dataset))

    @staticmethod
    def _stamp(index: SharedIndex) -> object:
        """Changes when the index is changed: its manifest is replaced."""
        try:
            found = (index.folder / MANIFEST_FILE).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def refresh(self) -> bool:
        """Open the index anew if it was changed; keeps the old one where the new one cannot be opened (yet)."""
        with self._refreshing:
            return self._refresh()

    def _refresh(self) -> bool:
        stamp = self._stamp(self.now.index)
        if stamp == self._manifest:
            return False
        try:
            self.now = self._snapshot()
        except (FoundsoundError, OSError, duckdb.Error, pa.ArrowException) as error:
            if stamp != self._complained:
                LOG.warning("the index has changed and cannot be opened (yet); the one before is served: %s", error)
            self._complained = stamp
            return False
        self._manifest = stamp
        LOG.info("the index has changed and was opened anew: %d clips", len(self.now.catalogue))
        return True

    def taken_down(self, snapshot: Snapshot | None = None) -> frozenset[str]:
        """clip_ids of an index that may not be served any more; of the one that is served now when none is given."""
        videos, catalogue = self._takedowns.videos(), (snapshot or self.now).catalogue
        denied = self._denied
        if denied[0] is not videos or denied[1] is not catalogue:
            denied = self._denied = (videos, catalogue, frozenset(catalogue.of_videos(videos)))
        return denied[2]

    def clip(self, clip_id: str) -> Clip:
        """A clip that is served.

        Raises:
            Refused: There is none of this id, or it was taken down.
        """
        found = self.now.catalogue.get(clip_id)
        if found is None or clip_id in self.taken_down():
            raise Refused(404, "NOT_FOUND", "there is no clip of this id")
        return found

    def ask(self, snapshot: Snapshot, vectors_WD: Vectors, wanted: Wanted) -> Answer:
        """The clips that fit best, without those that were taken down.

        Args:
            snapshot: What is asked.
            vectors_WD: The query.
            wanted: How many, and from among what.
        """
        allowed = replace(wanted, gone=self.taken_down(snapshot))
        return answer(self.dataset, snapshot.index, vectors_WD, allowed)

    def matching(self, condition: str) -> tuple[str, ...]:
        """The clips that a filter lets through, the same tuple while it is kept, by which an index knows it again.

        One filter at a time is answered, since each may take all cores.

        Raises:
            ArgumentError: It is no filter.
            Refused: The database cannot answer it, or not in time; or it had to wait for others for `filter_s`.
        """
        sql = filter_sql(condition, self.now.columns)
        if not self._filtering.acquire(timeout=self._limits.filter_s):
            raise busy("other filters are being answered")
        try:
            kept = self._filters.pop(sql, None)
            if kept is None or monotonic() - kept[0] > FRESH_S:
                kept = (monotonic(), self._let_through(sql))
            self._filters[sql] = kept
            while len(self._filters) > 1 and (
                len(self._filters) > KEPT_FILTERS or sum(len(ids) for _, ids in self._filters.values()) > KEPT_CLIPS
            ):
                self._filters.popitem(last=False)
            return kept[1]
        finally:
            self._filtering.release()

    def _let_through(self, sql: str) -> tuple[str, ...]:
        limit_s = self._limits.filter_s
        try:
            return tuple(clips_where(self.dataset, sql, captions_sql=self._captions_sql(), limit_s=limit_s))
        except ArgumentError as error:  # in the words of the database, which quote the paths of tables
            LOG.warning("%s", error)
            message = f"the filter cannot be answered: a number is out of range, or it takes longer than {limit_s:g} s"
            raise Refused(400, "FILTER", message) from error

    def close(self) -> None:
        """End what was asked."""
        self.searches.close()
