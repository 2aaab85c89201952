"""What listeners made of sounds, kept by content, so that nothing is heard twice and a stopped evaluation goes on.

    <folder>/<kind>-<hash of the listener>/listener.json   what determines its answers
                                           part-*.parquet  a row a sound: its key, features, logits

Sounds are read ahead of the listener and not kept.
"""

import json
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from curation.tables import append_part, part_files, rows_to_table, write_bytes
from pipelines.evaluations.sound_sets import Sound
from pipelines.progress import Progress
from pipelines.wiring.listeners import Heard, Listener

Float = npt.NDArray[np.float32]

SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("examples", pa.int32(), nullable=False),
        pa.field("features", pa.binary(), nullable=False),
        pa.field("logits", pa.binary()),
    ]
)
"""Features are (examples, D) and logits (L,), both little-endian float32."""

SOUNDS_AT_ONCE = 32
"""Sounds that are read while others are heard. Source: ours."""

COMMIT_S = 20.0
"""A kill costs no more than this. Source: ours."""

READERS = 2
"""Threads that read and resample."""


class HeardStore:
    """What one listener made of sounds.

    Args:
        folder: Of all listeners' answers.
        listener: Whose.
    """

    def __init__(self, folder: Path, listener: Listener) -> None:
        self.listener = listener
        self._folder = folder / listener.folder_name
        self._known: dict[str, Heard] = {}
        self._fresh: list[tuple[str, Heard]] = []
        about = self._folder / "listener.json"
        if not about.is_file():
            write_bytes(about, json.dumps(listener.identity, indent=1, sort_keys=True).encode())
        for part in part_files(self._folder):
            rows = pq.read_table(part, schema=SCHEMA)
            for row in rows.to_pylist():
                self._known[row["key"]] = _heard(row["examples"], row["features"], row["logits"])

    def __getitem__(self, sound: Sound) -> Heard:
        return self._known[sound.key]

    def missing(self, sounds: Iterable[Sound]) -> list[Sound]:
        """Those that were not heard yet, each once."""
        return list({sound.key: sound for sound in sounds if sound.key not in self._known}.values())

    def features(self, sounds: Sequence[Sound]) -> Float:
        """Of all examples of sounds that were heard: (N, D)."""
        return np.concatenate([self[sound].features_ED for sound in sounds])

    def means(self, sounds: Sequence[Sound]) -> Float:
        """The mean of each sound's examples: (sounds, D)."""
        return np.stack([self[sound].features_ED.mean(axis=0) for sound in sounds])

    def logits(self, sounds: Sequence[Sound]) -> Float | None:
        """Of each sound: (sounds, L); None where the listener knows no classes."""
        found = [logits_L for sound in sounds if (logits_L := self[sound].logits_L) is not None]
        return np.stack(found) if found else None

    def hear(self, sounds: Iterable[Sound], progress: Progress | None = None) -> None:
        """Listen to what is missing; on Ctrl-C what was heard is kept."""
        missing = self.missing(sounds)
        chunks = [missing[first : first + SOUNDS_AT_ONCE] for first in range(0, len(missing), SOUNDS_AT_ONCE)]
        rate_hz, committed = self.listener.sample_rate_hz, time.monotonic()
        with ThreadPoolExecutor(READERS) as pool:
            coming = [pool.submit(sound.read, rate_hz) for sound in chunks[0]] if chunks else []
            try:
                for number, chunk in enumerate(chunks):
                    waves = [one.result() for one in coming]
                    ahead = chunks[number + 1] if number + 1 < len(chunks) else []
                    coming = [pool.submit(sound.read, rate_hz) for sound in ahead]
                    for sound, heard in zip(chunk, self.listener.hear(waves), strict=True):
                        self._known[sound.key] = heard
                        self._fresh.append((sound.key, heard))
                    if progress is not None:
                        progress.advance(len(chunk))
                    if time.monotonic() - committed > COMMIT_S:
                        self._commit()
                        committed = time.monotonic()
            finally:
                for one in coming:
                    one.cancel()
                self._commit()

    def _commit(self) -> None:
        rows = [
            {
                "key": key,
                "examples": len(heard.features_ED),
                "features": _bytes(heard.features_ED),
                "logits": None if heard.logits_L is None else _bytes(heard.logits_L),
            }
            for key, heard in self._fresh
        ]
        append_part(self._folder, rows_to_table(rows, SCHEMA))
        self._fresh = []


def _bytes(values: Float) -> bytes:
    return np.ascontiguousarray(values, "<f4").tobytes()


def _heard(examples: int, features: bytes, logits: bytes | None) -> Heard:
    return Heard(
        np.frombuffer(features, "<f4").reshape(examples, -1),
        None if logits is None else np.frombuffer(logits, "<f4"),
    )
