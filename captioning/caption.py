"""The stage `caption`: one captioner and one prompt over every cut clip, with the provenance of every sentence.

Several captioners stand side by side under their labels; which sentence is used is decided in `candidates.py` and by
`select`, never here. How a captioner is kept busy is `asking.py`'s.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa

from captioning.asking import Asked, Asking
from captioning.cache import AnswerCache, question_sha256
from captioning.captioner import Captioner, CaptionerIdentity, Sound, unended
from captioning.facts.hints import Hints
from captioning.picture import seen
from captioning.prompt import Prompt
from captioning.sound import heard, length_s
from captioning.structure import parse_structure
from captioning.text_scores import is_echo, other_language
from curation.annotated import ANNOTATED
from curation.errors import ArgumentError, ClipError, Code
from curation.media import MediaStore
from curation.schema import column, table
from curation.stage import Outcome, Stage, Work, how
from curation.tables import Row

LABELLED = f"""SELECT clip_id AS key, list_sort(list_distinct(flatten(list(labels)))) AS labels
    FROM ({ANNOTATED}) WHERE labels IS NOT NULL GROUP BY clip_id"""
"""What lists call each clip, and its video: `key`, `labels`."""

REQUESTS = """WITH labelled AS ({labelled})
SELECT cut.key, {input} AS input, {audio} AS audio_sha256, {video} AS video_sha256, {labels} AS labels
FROM cut {join} labelled USING (key) WHERE cut.state = 'done'"""

_LABELS = "coalesce(labelled.labels, []::VARCHAR[])"
_LABELS_SHA256 = f"sha256(array_to_string({_LABELS}, chr(0)))"
"""Hash of the labels, joined by NUL, which no label holds (`manifest` refuses it)."""


TOKEN_CHARACTERS = 16
"""Tokens of any text have fewer characters on average. Source: ours; of English words they have about 4."""


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
        batch: Clips that a model in this process is asked about at once.
        hints: Where the labels come from that a prompt is filled with; None takes all that lists say.
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
        column("video_sha256", pa.string(), "the .mp4 that was shown beside it; null when none was"),
        column("made_from", pa.string(), "`sound`, `label`, `tags`, `facts` or `list`; null in older datasets"),
        column("sources", pa.string(), "what it was made from beside the sound and labels of lists, as JSON, or null"),
    )

    captioner: CaptionerIdentity
    prompt: Prompt
    build: Callable[[], Captioner] = how()
    media: MediaStore = how()
    cache: Path | None = how(default=None)
    batch: int = how(default=8)
    hints: Hints | None = how(default=None)
    called: str | None = how(default=None)

    def __post_init__(self) -> None:
        if not self.captioner.listens and not self.prompt.wants_labels:
            raise ArgumentError(
                f"captioner {self.captioner.name!r} hears nothing and prompt {self.prompt.name} has no "
                "{labels}: give a prompt that has, such as sentence-v1"
            )
        if self.prompt.wants_facts != (self.hints is not None and self.hints.kind == "facts"):
            raise ArgumentError(
                f"prompt {self.prompt.name} {'has' if self.prompt.wants_facts else 'lacks'} {{facts}}, which "
                "`foundsound augment` alone fills in: give another prompt"
            )
        if self.batch < 1:
            raise ArgumentError(f"--batch must be at least 1, not {self.batch}")

    @property
    def label(self) -> str:
        """`called`, or the model's name in small letters, as `qwen2-audio-7b-instruct`."""
        name = self.called or (self.captioner.model or self.captioner.name).rpartition("/")[2]
        return re.sub(r"[^a-z0-9._]+", "-", name.lower()).strip("-.") or self.captioner.name

    @property
    def _is_paid(self) -> bool:
        """Whether a model answers; of one that does not listen, too, answers are kept by the sound they are about."""
        return self.captioner.listens or self.captioner.model is not None

    def identity(self) -> dict[str, Any]:
        """With the captioner's identity spelled out, and of the prompt its hash."""
        return {
            **super().identity(),
            "captioner": self.captioner.as_dict(),
            "prompt": self.prompt.sha256,
            **({"hints": self.hints.identity()} if self.hints else {}),
        }

    def requests(self) -> str:
        """Every clip that was cut; labels are those of the clip and of its video, sorted, each once, or the hints'."""
        reads = []
        if self.captioner.listens:
            reads.append("cut.audio_sha256")
        if self.captioner.sees:
            reads.append("coalesce(cut.video_sha256, '')")
        if self.prompt.wants_labels:
            reads.append(_LABELS_SHA256)
        uses_hints = self.hints is not None and self.prompt.wants_labels
        return REQUESTS.format(
            labelled=self.hints.sql if self.hints and uses_hints else LABELLED,
            join="JOIN" if uses_hints else "LEFT JOIN",
            input=" || '+' || ".join(reads),
            audio="cut.audio_sha256" if self._is_paid else "NULL::VARCHAR",
            video="cut.video_sha256" if self.captioner.sees else "NULL::VARCHAR",
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

        cache = AnswerCache(self.cache) if self.cache and self._is_paid else None
        asking = Asking(
            captioner=captioner,
            prompt=self.prompt,
            cache=cache,
            batch=self.batch,
            load=self._sound,
            length_s=self._heard_s,
            check=self._checked,
        )

        def work(rows: Sequence[Row]) -> list[Outcome]:
            asked = [Asked(row, self._questions(row)) for row in rows]
            asking.answer(asked)
            return [self._outcome(one) for one in asked]

        return work

    def _questions(self, row: Row) -> list[tuple[str, str]]:
        """The sound and the hash of the question, for each draw."""
        captioner, prompt, labels = self.captioner, self.prompt, tuple(row["labels"])
        picture = row["video_sha256"]
        return [
            (row["audio_sha256"] or "", question_sha256(captioner, prompt, labels, draw, picture=picture))
            for draw in range(captioner.draws)
        ]

    def _checked(self, answer: str | ClipError, sound: Sound | None) -> str | ClipError:
        """A model's answer unless it is too long or echoes the prompt; of a structured prompt its object as JSON."""
        if isinstance(answer, ClipError) or not self._is_paid:
            return answer
        tokens = self.captioner.decoding.get("max_new_tokens")  # a server may not heed it
        if tokens is not None and (len(answer.split()) > tokens or len(answer) > TOKEN_CHARACTERS * tokens):
            return unended(answer, tokens)
        if is_echo(answer, self.prompt.text):
            return ClipError(Code.BAD_CAPTION, f"the answer repeats the prompt: {answer[:80]!r}")
        if not self.prompt.is_structured:
            return self._in_language(answer)
        wave_T, rate_hz = (sound.wave_T, sound.sample_rate_hz) if sound else (None, None)
        heard_s = len(wave_T) / rate_hz if wave_T is not None and rate_hz else None
        try:
            structure = json.dumps(parse_structure(answer, heard_s), ensure_ascii=False)
        except ClipError as error:
            return error
        in_language = self._in_language(self._caption(structure))
        return in_language if isinstance(in_language, ClipError) else structure

    def _in_language(self, sentence: str) -> str | ClipError:
        language = other_language(sentence, self.prompt.text)
        if language is None:
            return sentence
        return ClipError(Code.BAD_CAPTION, f"the answer is not in English but in {language!r}: {sentence[:80]!r}")

    def _sound(self, row: Row) -> Sound | ClipError:
        labels = tuple(row["labels"])
        rate_hz, window_s = self.captioner.sample_rate_hz, self.captioner.window_s
        if rate_hz is None or window_s is None:
            return Sound(key=row["key"], labels=labels)
        try:
            frames_NHWC, mp4 = self._picture(row, window_s)
            path = self.media.open_path(row["audio_sha256"], ".flac")
            wave_T = heard(path, sample_rate_hz=rate_hz, window_s=window_s)
        except ClipError as error:
            return error
        return Sound(
            key=row["key"], wave_T=wave_T, sample_rate_hz=rate_hz, labels=labels, frames_NHWC=frames_NHWC, mp4=mp4
        )

    def _picture(self, row: Row, window_s: float) -> tuple[Any, bytes | None]:
        """The frames of the clip, or its file, as the captioner wants to see it."""
        if self.captioner.sees is None:
            return None, None
        if row["video_sha256"] is None:
            raise ClipError(Code.NO_VIDEO, "the clip was cut without a picture, which --picture wants to show")
        if self.captioner.sees == "file":
            return None, self.media.read(row["video_sha256"], ".mp4")
        return seen(self.media.open_path(row["video_sha256"], ".mp4"), window_s=window_s), None

    def _heard_s(self, row: Row) -> float | None:
        """How much of the clip is heard, s; None by a captioner that does not listen."""
        if row["audio_sha256"] is None or self.captioner.window_s is None:
            return None
        path = self.media.open_path(row["audio_sha256"], ".flac")
        return min(length_s(path), self.captioner.window_s)

    def _outcome(self, asked: Asked) -> Outcome:
        key = asked.row["key"]
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
            "audio_sha256": asked.row["audio_sha256"] if self.captioner.listens else None,
            "made_from": "sound" if self.captioner.listens else "facts" if self._is_paid else self.captioner.name,
            "sources": json.dumps(self.hints.identity(), sort_keys=True) if self.hints else None,
            "heard_s": self._heard_s(asked.row),
            "video_sha256": asked.row["video_sha256"],
        }
        return Outcome(key=key, values=values)

    def _caption(self, answer: str) -> str:
        """The sentence in an answer."""
        return str(json.loads(answer)["caption"]) if self.prompt.is_structured else answer
