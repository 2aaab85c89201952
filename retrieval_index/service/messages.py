"""What the service is asked and what it answers, as JSON; the OpenAPI description is made from these."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from retrieval_index.question import DEEPEST_FOLD
from retrieval_index.service.limits import Limits
from retrieval_index.service.refusal import Refused

MOST_TERMS = 8
"""Terms of one query. Source: ours."""

MOST_SELECTED = 1_000
"""Clips of one selection that a page makes. Source: ours; their ids fit into a small body."""


MOST_ID_CHARACTERS = 64
"""Of a clip_id; ours have 20 (`curation.keys.clip_id`)."""


class Options(BaseModel):
    """What every query may say."""

    model_config = ConfigDict(extra="forbid")

    k: Annotated[int, Field(ge=1, description="clips wanted")] = 10
    plus: Annotated[list[str], Field(description="words to add, as `rain` or `0.5 * rain`")] = []
    minus: Annotated[list[str], Field(description="words to subtract")] = []
    where: Annotated[str | None, Field(description="filter: columns, literals, AND, OR, NOT; see /api/about")] = None
    fold: Annotated[
        float | None,
        Field(
            gt=0,
            le=1,
            description="least cosine of two clips of which only the better is shown; "
            f"at most {DEEPEST_FOLD} times k clips are looked at, so there may be fewer than k",
        ),
    ] = None

    def check(self, limits: Limits) -> None:
        """Refuse what is over the limits.

        Raises:
            Refused: It is.
        """
        if self.k > limits.clips:
            raise Refused(400, "TOO_MANY_CLIPS", f"k may be {limits.clips} at most, not {self.k}")
        if len(self.plus) + len(self.minus) > MOST_TERMS:
            raise Refused(400, "TOO_MANY_TERMS", f"a query may have {MOST_TERMS} terms at most")
        for term in (*self.plus, *self.minus):
            check_text(term, "a term", limits.text_characters)
        if self.where is not None:
            check_text(self.where, "a filter", limits.filter_characters)


class Question(Options):
    """A query by words or by a clip, or by terms alone."""

    text: Annotated[str | None, Field(description="what is looked for, in words")] = None
    clip: Annotated[
        str | None,
        Field(max_length=MOST_ID_CHARACTERS, description="a clip_id: what sounds like it; it is not found itself"),
    ] = None

    def check(self, limits: Limits) -> None:
        """Refuse what is over the limits, and what asks for nothing or for two things.

        Raises:
            Refused: It does.
        """
        super().check(limits)
        if self.text is not None:
            check_text(self.text, "a text", limits.text_characters)
        if (self.text is not None and self.clip is not None) or (
            self.text is None and self.clip is None and not self.plus
        ):
            raise Refused(400, "BAD_REQUEST", "give one of text and clip, or terms to add in plus")


def check_text(text: str, what: str, most_characters: int) -> None:
    """Refuse a text that is too long, or holds what no text holds.

    Raises:
        Refused: It is, or does.
    """
    if len(text) > most_characters:
        raise Refused(400, "TOO_LONG", f"{what} may have {most_characters} characters at most, not {len(text)}")
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise Refused(400, "BAD_REQUEST", f"{what} holds characters that no text has")


class Found(BaseModel):
    """A clip that fits."""

    clip_id: str
    score: Annotated[float, Field(description="cosine, -1 to 1")]
    start_s: Annotated[float, Field(description="start of the part that fits best, s")]
    end_s: Annotated[float, Field(description="end of that part, s")]
    duration_s: Annotated[float, Field(description="length of the clip, s")]
    caption: str
    labels: list[str]
    has_video: bool
    copies: Annotated[list[str], Field(description="clip_ids of copies that were folded into this one")]


class Answers(BaseModel):
    """Clips that fit, best first."""

    hits: list[Found]
    seconds: Annotated[float, Field(description="time it took, s")]


class ClipFacts(BaseModel):
    """What is known of a clip."""

    clip_id: str
    platform: str
    video_id: str
    start_s: float
    duration_s: float
    split: str
    labels: list[str]
    captions: list[str]
    caption_sources: list[str]
    licence: str | None
    sample_rate_hz: int
    has_video: bool


class About(BaseModel):
    """What is served, and within which limits."""

    clips: int
    windows: int
    window_s: float
    may_select: bool
    sees: Annotated[bool, Field(description="whether pictures and videos may be asked for")]
    most_clips: int
    most_upload_bytes: int
    most_upload_s: float
    most_text_characters: int
    columns: Annotated[dict[str, Literal["number", "text", "bool", "list"]], Field(description="for filters")]


class Selected(BaseModel):
    """Clips that become a selection."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=64)]
    clip_ids: Annotated[
        list[Annotated[str, Field(max_length=MOST_ID_CHARACTERS)]], Field(min_length=1, max_length=MOST_SELECTED)
    ]


class Selection(BaseModel):
    """A selection that was made; guards, rules and duplicates of the index's own may have refused some clips."""

    name: str
    asked: int
    kept: int


class Token(BaseModel):
    """The token of the service."""

    model_config = ConfigDict(extra="forbid")

    token: Annotated[str, Field(max_length=1_000)]
