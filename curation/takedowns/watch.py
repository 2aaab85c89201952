"""Notices that clips are taken down while they are read.

A takedown fills with zeros what lies in blobs that others read at that moment, so what is read then may be silence. It
writes the deny list before it changes anything: what was read while the list was as before is whole.
"""

import os
import threading

import pyarrow as pa
import pyarrow.compute as pc

from curation.dataset import Dataset
from curation.errors import StoppedError
from curation.takedowns.deny import FOLDER


class TakedownWatch:
    """Watches over some clips of a dataset. Any thread may ask.

    Args:
        dataset: The dataset.
        keys: clip_ids.
    """

    def __init__(self, dataset: Dataset, keys: pa.Array) -> None:
        self._dataset, self._keys = dataset, keys
        self._lock = threading.Lock()
        self._known = frozenset[str]()
        self.check()

    def check(self) -> None:
        """See that no clip has been taken down; ask after something of them was read.

        Raises:
            StoppedError: Some were; says which.
        """
        parts = self._parts()
        if parts == self._known:
            return
        with self._lock:
            there = self._dataset.sql("SELECT clip_id FROM clips")["clip_id"]
            gone = self._keys.filter(pc.invert(pc.is_in(self._keys, there)))
            if len(gone):
                raise StoppedError(
                    f"{len(gone)} of the clips of {self._dataset.path} that are read here were taken down, {gone[0]} "
                    "among them: what was made of them is not complete any more. Run `foundsound forget` without names "
                    "to bring the takedown to its end, then begin with what is left, a run with another --out"
                )
            self._known = parts

    def _parts(self) -> frozenset[str]:
        """Names of the files of the deny list; they are never written anew."""
        try:
            return frozenset(entry.name for entry in os.scandir(self._dataset.path / FOLDER))
        except FileNotFoundError:
            return frozenset()
