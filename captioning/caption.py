"""The stage `caption`: one captioner and one prompt over every cut clip, with the provenance of every sentence.

Several captioners stand side by side under their labels; which sentence is used is decided in `candidates.py` and by
`select`, never here.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa
import soundfile

from captioning.cache import AnswerCache, question_sha256
from captioning.captioner import Captioner, CaptionerIdentity, Sound
from captioning.prompt import Prompt
from captioning.sound import heard
from captioning.structure import parse_structure
from captioning.text_scores import echo_ratio
from curation.annotated import ANNOTATED
from curation.errors import ArgumentError, ClipError, Code
from curation.media import MediaStore
from curation.schema import column, table
from curation.stage import Outcome, Stage, Work, how
from curation.tables import Row

REQUESTS = f"""WITH labelled AS (
    SELECT clip_id AS key, list_sort(list_distinct(flatten(list(labels)))) AS labels
    FROM ({ANNOTATED}) WHERE labels IS NOT NULL GROUP BY clip_id
)
SELECT cut.key, {{input}} AS input, {{audio}} AS audio_sha256, {{labels}} AS labels
FROM cut LEFT JOIN labelled USING (key) WHERE cut.state = 'done'"""

_LABELS = "coalesce(labelled.labels, []::VARCHAR[])"
_LABELS_SHA256 = f"sha256(array_to_string({_LABELS}, chr(0)))"
"""Hash of the labels, joined by NUL, which no label holds (`manifest` refuses it)."""


MAX_ECHO = 0.5
"""An answer of which more than this share stands in the prompt says nothing. Source: ours."""


@dataclass(frozen=True, kw_only=True)
class Caption(Stage):
    """Captions every clip that was cut.

    Only what is asked about is read: a captioner that does not listen gets no sound, and a prompt without `{labels}`
    no labels, so that a new label repeats no work that it cannot change.

    Args:
        captioner: What decides the sentences; `build` must give a captioner with this identity.
        prompt: What is asked.
        build: Makes the captioner in the worker; must be picklable.
        media: Where the cut sounds are.
        cache: File of answers that were paid for before; None asks always.
        called: Label of the captions; None takes the model's name, or the captioner's where no model speaks. Give one
            to let a second prompt of the same model stand beside the first instead of taking its place.
    """

    NAME: ClassVar[str] = "caption"
    VERSION: ClassVar[int] = 1
    GRAIN: ClassVar[Literal["video", "clip"]] = "clip"
    RESULTS: ClassVar[pa.Schema] = table(
        "One row a clip and captioner: the sentence, and all that decided it.",
        column("text", pa.string(), "the sentence, on one line: the most likely answer that is usable"),
        column("structure", pa.string(), "the answer of a structured prompt, as JSON; see captioning/structure.py"),
        column("model", pa.string(), "name on the Hub or of the model's folder; null for a sentence from labels"),
        column("revision", pa.string(), "commit on the Hub; null for a folder"),
        column("weights_sha256", pa.string(), "hash of the model's weights"),
        column("prompt_sha256", pa.string(), "hash of the prompt, before labels were filled in"),
        column("decoding", pa.string(), "how the answers were found by the model, as JSON"),
        column("candidate", pa.int32(), "number of its draw: 0 is the most likely answer"),
        column(
            "further",
            pa.list_(pa.struct({"candidate": pa.int32(), "text": pa.string()})),
            "the usable answers drawn beside it, each with the number of its draw",
        ),
        column("audio_sha256", pa.string(), "the .flac that was heard; null when none was"),
        column("heard_s", pa.float64(), "how much of its beginning was heard, s; null when none was"),
    )

    captioner: CaptionerIdentity
    prompt: Prompt
    build: Callable[[], Captioner] = how()
    media: MediaStore = how()
    cache: Path | None = how(default=None)
    called: str | None = how(default=None)

    def __post_init__(self) -> None:
        if not self.captioner.listens and not self.prompt.wants_labels:
            raise ArgumentError(
                f"captioner {self.captioner.name!r} hears nothing and prompt {self.prompt.name} has no "
                "{labels}: give a prompt that has, such as sentence-v1"
            )

    @property
    def label(self) -> str:
        """`called`, or the model's name in small letters, as `qwen2-audio-7b-instruct`."""
        name = self.called or (self.captioner.model or self.captioner.name).rpartition("/")[2]
        return re.sub(r"[^a-z0-9._]+", "-", name.lower()).strip("-.") or self.captioner.name

    def identity(self) -> dict[str, Any]:
        """With the captioner's identity spelled out, and of the prompt its hash."""
        return {
            **super().identity(),
            "captioner": self.captioner.as_dict(),
            "prompt": self.prompt.sha256,
        }

    def requests(self) -> str:
        """Every clip that was cut; labels are those of the clip and of its video, sorted, each once."""
        reads = []
        if self.captioner.listens:
            reads.append("cut.audio_sha256")
        if self.prompt.wants_labels:
            reads.append(_LABELS_SHA256)
        return REQUESTS.format(
            input=" || '+' || ".join(reads),
            audio="cut.audio_sha256" if self.captioner.listens else "NULL::VARCHAR",
            labels=_LABELS if self.prompt.wants_labels else "[]::VARCHAR[]",
        )

    def open(self) -> Work:
        """Load the captioner; the function captions a batch at once.

        Raises:
            ArgumentError: `build` gave another captioner than the one this stage is named for.
        """
        captioner = self.build()
        if captioner.identity() != self.captioner:
            raise ArgumentError(
                f"the captioner loaded is {captioner.identity()}, not {self.captioner}; the model changed on the disk "
                "since the run began: run the same command again"
            )

        cache = AnswerCache(self.cache) if self.cache and self.captioner.listens else None

        def work(rows: Sequence[Row]) -> list[Outcome]:
            asked = [_Asked(row, self._questions(row)) for row in rows]
            if cache:
                known = cache.find(pair for one in asked for pair in one.pairs)
                for one in asked:
                    one.answers |= {draw: known[pair] for draw, pair in enumerate(one.pairs) if pair in known}
            self._ask(captioner, [one for one in asked if len(one.answers) < self.captioner.draws])
            if cache:
                paid = ((one.pairs[draw], answer) for one in asked for draw, answer in one.answers.items())
                cache.keep({pair: answer for pair, answer in paid if isinstance(answer, str)})
            return [self._outcome(one) for one in asked]

        return work

    def _questions(self, row: Row) -> list[tuple[str, str]]:
        """The sound and the hash of the question, for each draw."""
        labels = tuple(row["labels"])
        draws = range(self.captioner.draws)
        return [
            (row["audio_sha256"] or "", question_sha256(self.captioner, self.prompt, labels, draw)) for draw in draws
        ]

    def _ask(self, captioner: Captioner, asked: Sequence["_Asked"]) -> None:
        """Fill in the answers that are missing, draw by draw."""
        sounds = {one.row["key"]: self._sound(one.row) for one in asked}
        for draw in range(self.captioner.draws):
            missing: list[tuple[_Asked, Sound]] = []
            for one in asked:
                sound = sounds[one.row["key"]]
                if isinstance(sound, ClipError):
                    one.answers[draw] = sound
                elif draw not in one.answers:
                    missing.append((one, sound))
            if missing:
                answers = captioner.caption([sound for _, sound in missing], self.prompt, draw)
                for (one, sound), answer in zip(missing, answers, strict=True):
                    one.answers[draw] = self._checked(answer, sound)

    def _checked(self, answer: str | ClipError, sound: Sound) -> str | ClipError:
        """A model's answer unless it only repeats what was asked; of a structured prompt its object as JSON."""
        if isinstance(answer, ClipError) or not self.captioner.listens:
            return answer
        if echo_ratio(answer, self.prompt.text) > MAX_ECHO:
            return ClipError(Code.BAD_CAPTION, f"the answer repeats the prompt: {answer[:80]!r}")
        if not self.prompt.is_structured:
            return answer
        heard_s = (
            len(sound.wave_T) / sound.sample_rate_hz if sound.wave_T is not None and sound.sample_rate_hz else None
        )
        try:
            return json.dumps(parse_structure(answer, heard_s), ensure_ascii=False)
        except ClipError as error:
            return error

    def _sound(self, row: Row) -> Sound | ClipError:
        labels = tuple(row["labels"])
        rate_hz, window_s = self.captioner.sample_rate_hz, self.captioner.window_s
        if rate_hz is None or window_s is None:
            return Sound(key=row["key"], labels=labels)
        path = self.media.open_path(row["audio_sha256"], ".flac")
        try:
            wave_T = heard(path, sample_rate_hz=rate_hz, window_s=window_s)
        except ClipError as error:
            return error
        return Sound(key=row["key"], wave_T=wave_T, sample_rate_hz=rate_hz, labels=labels)

    def _outcome(self, asked: "_Asked") -> Outcome:
        key, audio_sha256 = asked.row["key"], asked.row["audio_sha256"]
        sentences = list(asked.sentences())
        if not sentences:
            return Outcome(key=key, error=next(a for _, a in sorted(asked.answers.items()) if isinstance(a, ClipError)))
        (candidate, text), *further = sentences
        values = {
            "text": self._caption(text),
            "structure": text if self.prompt.is_structured else None,
            "model": self.captioner.model,
            "revision": self.captioner.revision,
            "weights_sha256": self.captioner.weights_sha256,
            "prompt_sha256": self.prompt.sha256,
            "decoding": json.dumps(self.captioner.decoding, sort_keys=True),
            "candidate": candidate,
            "further": [{"candidate": number, "text": self._caption(other)} for number, other in further],
            "audio_sha256": audio_sha256,
        }
        if audio_sha256 is not None and self.captioner.window_s is not None:
            path = self.media.open_path(audio_sha256, ".flac")
            values["heard_s"] = min(soundfile.info(path).duration, self.captioner.window_s)
        return Outcome(key=key, values=values)

    def _caption(self, answer: str) -> str:
        """The sentence in an answer."""
        return str(json.loads(answer)["caption"]) if self.prompt.is_structured else answer


@dataclass(slots=True)
class _Asked:
    """One clip's request: the pairs of sound and question, and the answers so far, by draw."""

    row: Row
    pairs: list[tuple[str, str]]
    answers: dict[int, str | ClipError] = field(default_factory=dict)

    def sentences(self) -> Iterator[tuple[int, str]]:
        """The usable answers in the order of the draws, each text once."""
        seen: set[str] = set()
        for draw, answer in sorted(self.answers.items()):
            if isinstance(answer, str) and answer not in seen:
                seen.add(answer)
                yield draw, answer
