"""Answers that were paid for once: a file beside no dataset, which every dataset may ask first.

It is only a cache: deleting it loses time and nothing else. Answers are found by the hash of the sound and of all that
was asked (model, weights, settings, precision, prompt with its labels, decoding), never by a clip or its place.
"""

import contextlib
import hashlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from captioning.captioner import CaptionerIdentity
from captioning.prompt import Prompt
from curation.keys import canonical

CAPTION_CACHE = "captions.sqlite"
"""Name of the file in the folder of caches."""

WAIT_S = 60.0
"""So long another process that is writing is waited for. Source: ours."""

HOLD_S = 0.25
"""So long answers wait for others, to be kept together. Source: ours; keeping takes 6 ms, be it one or a hundred, and
what a kill may lose is the answers of this time."""

_TABLE = """CREATE TABLE IF NOT EXISTS answers (
    sound TEXT NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL, PRIMARY KEY (sound, question)
) WITHOUT ROWID"""


def question_sha256(
    captioner: CaptionerIdentity, prompt: Prompt, labels: Sequence[str], draw: int, *, picture: str | None = None
) -> str:
    """Hash of all that decides an answer but the sound.

    Draw 0 is the same question whether or not further answers are drawn.

    Args:
        captioner: Who is asked.
        prompt: What is asked.
        labels: The labels filled in; they count only where the prompt wants them.
        draw: Number of the answer.
        picture: Hash of the picture that is shown; None where none is.
    """
    decoding = dict(captioner.decoding)
    drawing = dict(decoding.pop("drawing", {}))
    drawing.pop("draws", None)
    asked = {
        **captioner.as_dict(),
        "decoding": {**decoding, "draw": draw, **(drawing if draw else {})},
        "prompt": prompt.sha256,
        "labels": list(labels) if prompt.wants_labels else [],
        **({"picture": picture} if picture else {}),
    }
    return hashlib.sha256(canonical(asked)).hexdigest()


class AnswerCache:
    """Answers by sound and question, in one SQLite file that several processes may use.

    Args:
        path: The file; made when it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as database:
            database.execute(_TABLE)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._path, timeout=WAIT_S)) as database, database:
            yield database

    def find(self, asked: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """The answers that are there for pairs of (sound sha256, question sha256)."""
        found = {}
        with self._open() as database:
            for pair in asked:
                row = database.execute("SELECT answer FROM answers WHERE sound = ? AND question = ?", pair).fetchone()
                if row is not None:
                    found[pair] = str(row[0])
        return found

    def keep(self, answers: dict[tuple[str, str], str]) -> None:
        """Store answers; one that is there already stays."""
        if answers:
            rows = [(*pair, answer) for pair, answer in answers.items()]
            with self._open() as database:
                database.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", rows)

    def forget(self, sounds: Iterable[str]) -> int:
        """Delete every answer about some sounds, as a takedown asks; returns how many there were."""
        with self._open() as database:
            database.execute("PRAGMA secure_delete = ON")
            return sum(
                database.execute("DELETE FROM answers WHERE sound = ?", (sound,)).rowcount for sound in set(sounds)
            )

    def count(self, sounds: Iterable[str]) -> int:
        """How many answers there are about some sounds."""
        with self._open() as database:
            counts = (
                database.execute("SELECT count(*) FROM answers WHERE sound = ?", (sound,)).fetchone()[0]
                for sound in set(sounds)
            )
            return sum(counts)


class AnswersOnTheWay:
    """Answers that wait at most `HOLD_S` to be kept together; leaving the context keeps all, whatever ended it.

    Args:
        cache: Where they go; None keeps nothing.
    """

    def __init__(self, cache: AnswerCache | None) -> None:
        self._cache = cache
        self._held: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()
        self._leaving = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="answers")
        self._is_writing = False
        self._written: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._thread.shutdown()
        self._write()

    def add(self, pair: tuple[str, str], answer: str) -> None:
        """Keep an answer soon; from any thread.

        Args:
            pair: sha256 of the sound and of the question.
            answer: What was said.

        Raises:
            sqlite3.Error: What was added before could not be kept; it is tried once more when the context is left.
        """
        if self._cache is None:
            return
        with self._lock:
            self._held[pair] = answer
            if self._written is not None and self._written.done():
                self._written.result()
            if not self._is_writing:
                self._is_writing = True
                self._written = self._thread.submit(self._write_while_held)

    def _write_while_held(self) -> None:
        while self._is_writing:
            self._leaving.wait(HOLD_S)
            self._write()
            with self._lock:
                self._is_writing = bool(self._held)

    def _write(self) -> None:
        with self._lock:
            held = dict(self._held)
        if self._cache is not None:
            self._cache.keep(held)
        with self._lock:
            for pair in held:
                del self._held[pair]
