"""Keeping a captioner busy: what it hears next is read while it answers, and what it answered is kept at once.

A model in this process gets batches of sounds of about one length, so that little of a batch is filling; while it works
on one, the next is read and resampled by threads, since neither decoding nor the model holds Python's lock. A server
gets as many questions at once as it may, each clip read shortly before. Answers go into the cache within a quarter of a
second: of those that were finished a kill loses no more, even where the batch of the runner was not, and nothing else
loses any.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from captioning.cache import AnswerCache, AnswersOnTheWay
from captioning.captioner import AsksSideBySide, Captioner, Question, Sound
from captioning.prompt import Prompt
from curation.errors import ClipError
from curation.tables import Row

READERS = 4
"""Threads that read sounds for a model. Source: ours; reading and resampling 10 s at 48 kHz takes a thread 20 ms."""


@dataclass(slots=True)
class Asked:
    """One clip's request: the pairs of sound and question by draw, and the answers so far."""

    row: Row
    pairs: list[tuple[str, str]]
    answers: dict[int, str | ClipError] = field(default_factory=dict)

    def missing(self) -> tuple[int, ...]:
        """Draws without an answer."""
        return tuple(draw for draw in range(len(self.pairs)) if draw not in self.answers)

    def sentences(self) -> Iterator[tuple[int, str]]:
        """The usable answers in the order of the draws, each text once."""
        seen: set[str] = set()
        for draw, answer in sorted(self.answers.items()):
            if isinstance(answer, str) and answer not in seen:
                seen.add(answer)
                yield draw, answer


class Asking:
    """Finds the answers that are missing: in the cache, or by the captioner.

    Args:
        captioner: Who is asked.
        prompt: What is asked.
        cache: Answers that were paid for before; None asks always.
        batch: Clips that a model in this process is asked about at once.
        load: Reads a clip as the captioner hears it.
        length_s: How much of a clip is heard, s; None by a captioner that does not listen.
        check: What an answer is worth.
    """

    def __init__(
        self,
        *,
        captioner: Captioner,
        prompt: Prompt,
        cache: AnswerCache | None,
        batch: int,
        load: Callable[[Row], Sound | ClipError],
        length_s: Callable[[Row], float | None],
        check: Callable[[str | ClipError, Sound | None], str | ClipError],
    ) -> None:
        self._captioner = captioner
        self._prompt = prompt
        self._cache = cache
        self._batch = batch
        self._load = load
        self._length_s = length_s
        self._check = check
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="reader")

    def answer(self, asked: Sequence[Asked]) -> None:
        """Fill in every answer of every request."""
        if self._cache:
            known = self._cache.find(pair for one in asked for pair in one.pairs)
            for one in asked:
                one.answers |= {draw: known[pair] for draw, pair in enumerate(one.pairs) if pair in known}
        waiting = [one for one in asked if one.missing()]
        with AnswersOnTheWay(self._cache) as kept:
            if isinstance(self._captioner, AsksSideBySide):
                questions = [
                    Question(
                        load=partial(self._load, one.row), draws=one.missing(), tell=partial(self._told, kept, one)
                    )
                    for one in waiting
                ]
                self._captioner.ask(questions, self._prompt)
            else:
                self._ask_in_batches(waiting, kept)

    def _told(self, kept: AnswersOnTheWay, one: Asked, draw: int, said: str | ClipError, sound: Sound | None) -> None:
        """Fill in one answer that was just given."""
        one.answers[draw] = answer = self._check(said, sound)
        if isinstance(answer, str):
            kept.add(one.pairs[draw], answer)

    def _ask_in_batches(self, waiting: Sequence[Asked], kept: AnswersOnTheWay) -> None:
        lengths_s = list(self._readers.map(self._length_s, [one.row for one in waiting]))
        order = sorted(range(len(waiting)), key=lambda place: lengths_s[place] or 0.0)
        batches = [[waiting[place] for place in order[n : n + self._batch]] for n in range(0, len(order), self._batch)]
        ahead: list[Future[Sound | ClipError]] = []
        for number, batch in enumerate(batches):
            reading = ahead or self._read(batch)
            ahead = self._read(batches[number + 1]) if number + 1 < len(batches) else []
            self._ask_batch(batch, [future.result() for future in reading], kept)

    def _read(self, batch: Sequence[Asked]) -> list[Future[Sound | ClipError]]:
        return [self._readers.submit(self._load, one.row) for one in batch]

    def _ask_batch(self, batch: Sequence[Asked], sounds: Sequence[Sound | ClipError], kept: AnswersOnTheWay) -> None:
        """All draws of a batch; what could not be read is answered by that."""
        heard: list[tuple[Asked, Sound]] = []
        for one, sound in zip(batch, sounds, strict=True):
            if isinstance(sound, ClipError):
                one.answers |= dict.fromkeys(one.missing(), sound)
            else:
                heard.append((one, sound))
        for draw in range(max((len(one.pairs) for one in batch), default=0)):
            missing = [(one, sound) for one, sound in heard if draw in one.missing()]
            if missing:
                answers = self._captioner.caption([sound for _, sound in missing], self._prompt, draw)
                for (one, sound), answer in zip(missing, answers, strict=True):
                    self._told(kept, one, draw, answer, sound)
