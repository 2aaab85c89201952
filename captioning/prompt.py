"""Prompts: files with a version in their name, whose hash is part of every caption's provenance.

A prompt is UTF-8 text. `{labels}` in it stands for the clip's class names; `[[` and `]]` enclose what is only said to a
clip that has some, so that the others are asked without a hint. `{facts}` stands for all that is known of the clip, a
line each, for models that do not listen. Nothing else is replaced. A prompt that
ships here is never edited after it was used: a new wording is a new file, `<name>-v<number>.txt`.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from curation.errors import ArgumentError, ClipError, Code

PLACEHOLDER = "{labels}"
FACTS = "{facts}"
STYLE, LENGTH = "{style}", "{length}"
"""What `augment` fills in beside the facts."""

FIELDS = (PLACEHOLDER, FACTS, STYLE, LENGTH)
"""All that is ever filled in."""

LONGEST_CHARACTERS = 20_000
"""Source: ours; about 5,000 tokens, more than any published captioning prompt, and less than a wrong file."""

NO_PROMPT = "none"
"""Name of the prompt that asks nothing, for models that describe a sound whatever they are asked."""

_FIELD = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")
_UNPRINTED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_HINT = re.compile(r"\[\[(.*?)\]\]", re.DOTALL)
_SHIPPED_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*-v[1-9][0-9]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """What a captioner is asked.

    Args:
        name: Name of the file without ending, as `sound-v1`.
        text: Its text without outer blanks.
    """

    name: str
    text: str

    def __post_init__(self) -> None:
        if not 0 < len(self.text) <= LONGEST_CHARACTERS and self.name != NO_PROMPT:
            raise ArgumentError(
                f"prompt {self.name} has {len(self.text)} characters; it needs 1 to {LONGEST_CHARACTERS}"
            )

    @property
    def sha256(self) -> str:
        """sha256 of the text, 64 hexadecimal digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def is_structured(self) -> bool:
        """Whether the answer is to be a JSON object, see `structure.py`: its name begins with `structured`."""
        return self.name.startswith("structured")

    @property
    def wants_labels(self) -> bool:
        """Whether the labels of a clip stand in it, or facts."""
        return PLACEHOLDER in self.text or self.wants_facts

    @property
    def wants_facts(self) -> bool:
        """Whether facts stand in it; they are given in place of labels."""
        return FACTS in self.text

    def filled(self, labels: Sequence[str]) -> str:
        """The text with the labels in their place.

        Raises:
            ClipError: It wants labels, not only between `[[` and `]]`, and there are none (`NO_LABEL`).
        """
        if not self.wants_labels:
            return self.text
        if self.wants_facts:
            return self.text.replace(FACTS, _lines(labels))
        has_labels = any(label.replace("_", " ").strip() for label in labels)
        text = _HINT.sub(r"\1" if has_labels else "", self.text)
        if PLACEHOLDER not in text:
            return text
        return text.replace(PLACEHOLDER, spoken(labels, f"prompt {self.name}"))


def _lines(facts: Sequence[str]) -> str:
    if not facts:
        raise ClipError(Code.NO_LABEL, "nothing is known of the clip: no label, tag or caption")
    return "\n".join(f"- {' '.join(fact.split())}" for fact in facts)


def spoken(labels: Sequence[str], wanted_by: str) -> str:
    """Class names as they stand in a sentence: `rain, thunder and wind`.

    Underscores become blanks. A capital that only begins a word becomes small (`Dog barking`); `MIDI` and `R&B` stay.

    Args:
        labels: Class names.
        wanted_by: Who asks, for the error's text.

    Raises:
        ClipError: There is no label (`NO_LABEL`).
    """
    words = [" ".join(label.replace("_", " ").split()) for label in labels]
    names = [word[0].lower() + word[1:] if word[1:2].islower() else word for word in words if word]
    if not names:
        raise ClipError(Code.NO_LABEL, f"the clip has no label, which {wanted_by} is made from")
    return listed(names)


def listed(names: Sequence[str]) -> str:
    """One or more names as a sentence lists them: `rain, thunder and wind`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def prompt_names() -> list[str]:
    """Names of the prompts that ship with foundsound."""
    folder = files("captioning").joinpath("prompts")
    return sorted(file.name.removesuffix(".txt") for file in folder.iterdir() if file.name.endswith(".txt"))


def load_prompt(name_or_path: str | Path) -> Prompt:
    """A prompt that ships with foundsound, by name, or a text file of one's own, by path.

    Args:
        name_or_path: `sound-v1`, or a path that ends in `.txt`; `none` asks nothing.

    Raises:
        ArgumentError: There is none, or it is not a text that can be asked.
    """
    given = str(name_or_path)
    if given == NO_PROMPT:
        return Prompt(name=NO_PROMPT, text="")
    if given.endswith(".txt"):
        path = Path(given)
        if not path.is_file():
            raise ArgumentError(f"there is no prompt file {path}")
        return _checked(Prompt(name=path.stem, text=_decoded(path.read_bytes(), given)), given)
    if not _SHIPPED_NAME.fullmatch(given) or given not in prompt_names():
        raise ArgumentError(
            f"there is no prompt {given!r}; give one of {', '.join(prompt_names())}, or a file that ends in .txt"
        )
    content = files("captioning").joinpath("prompts", f"{given}.txt").read_bytes()
    return Prompt(name=given, text=_decoded(content, given))


def _decoded(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").strip()
    except UnicodeDecodeError as error:
        raise ArgumentError(f"prompt {name} is not UTF-8 (offset {error.start}); save it as UTF-8") from error


def _checked(prompt: Prompt, given: str) -> Prompt:
    """A prompt of one's own, if all of it will be understood as it was meant.

    Raises:
        ArgumentError: It has a field that nobody fills in, half of a hint's brackets, or control characters.
    """
    unknown = sorted(set(_FIELD.findall(prompt.text)) - set(FIELDS))
    if unknown:
        raise ArgumentError(
            f"prompt {given} has {', '.join(unknown)}, which nothing is filled in for; there are {', '.join(FIELDS)}: "
            "write it without the braces, or with blanks inside of them"
        )
    if not prompt.wants_facts and (STYLE in prompt.text or LENGTH in prompt.text):
        raise ArgumentError(f"prompt {given} has {STYLE} or {LENGTH}, which are filled in only beside {FACTS}")
    if prompt.wants_facts and PLACEHOLDER in prompt.text:
        raise ArgumentError(f"prompt {given} has {FACTS} and {PLACEHOLDER}; labels are among the facts: leave one out")
    rest = _HINT.sub("", prompt.text)
    if PLACEHOLDER in prompt.text and ("[[" in rest or "]]" in rest):
        raise ArgumentError(f"prompt {given} has [[ without ]], or the other way round: they enclose what is a hint")
    if found := _UNPRINTED.search(prompt.text):
        raise ArgumentError(f"prompt {given} has the control character {found.group()!r}: save it as plain text")
    return prompt
