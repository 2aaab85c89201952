"""Answers that are JSON: one object about a sound, checked field by field.

An answer that is not such an object is repaired once, by rules and not by guessing words: what stands around the object
is cut off, trailing commas are dropped, and brackets that a cut-off answer left open are closed. What is still no such
object then is `BAD_CAPTION`.

The fields are those that AudioX's later captions have (events with counts and times, order, scene, music).
"""

import json
import re
from typing import Any

from captioning.captioner import one_line
from curation.errors import ClipError, Code

FIELDS = ("caption", "events", "scene", "music")
EVENT_FIELDS = ("sound", "count", "start_s", "end_s")
MUSIC_FIELDS = ("genre", "mood", "tempo", "instruments")

MAX_EVENTS = 50
"""More events in one clip are no description. Source: ours."""

MAX_COUNT, MAX_TIME_S = 10_000, 86_400.0
"""Larger counts and times are none, whatever is heard. Source: ours; a day, in which clips of any list fit."""

TIME_SLACK_S = 0.5
"""So much an event may end after the sound does. Source: ours; models round to whole or half seconds."""

Structure = dict[str, Any]


def parse_structure(answer: str, heard_s: float | None = None) -> Structure:
    """The object in an answer, with all its fields, and events sorted by start.

    Args:
        answer: What the model wrote.
        heard_s: Length of the sound that it heard, s; None does not compare times with it.

    Returns:
        `caption`, `events`, `scene`, `music`; strings on one line, times as floats.

    Raises:
        ClipError: It is no such object (`BAD_CAPTION`); the detail names the field.
    """
    found = _loaded(answer)
    if not isinstance(found, dict):
        raise _bad(f"the answer is no JSON object: {answer[:80]!r}")
    if unknown := sorted(set(found) - set(FIELDS)):
        raise _bad(f"the answer has fields that were not asked for: {', '.join(unknown)[:80]}")
    events = [_event(event, heard_s) for event in _list(found.get("events"), "events", MAX_EVENTS)]
    return {
        "caption": _text(found.get("caption"), "caption"),
        "events": sorted(events, key=lambda event: (event["start_s"], event["end_s"])),
        "scene": _text_or_none(found.get("scene"), "scene"),
        "music": _music(found.get("music")),
    }


def _loaded(answer: str) -> Any:
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        pass
    try:
        return json.loads(repaired(answer))
    except (ValueError, RecursionError) as error:
        raise _bad(f"the answer is no JSON, also when repaired ({error}): {answer[:80]!r}") from error


DEEPEST = 32
"""Brackets inside of each other in an answer that is repaired. Source: ours; what is asked for has three."""


def repaired(answer: str) -> str:
    """The JSON object of an answer without what stands around it and without trailing commas.

    Of an answer that was cut off, what follows the last whole member is dropped and the brackets are closed.
    """
    start = answer.find("{")
    if start < 0:
        return answer
    closing: list[str] = []
    in_string = escaped = False
    whole, then = start, ""
    for place in range(start, len(answer)):
        character = answer[place]
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
            continue
        in_string = character == '"'
        if character in "{[":
            closing.append("}" if character == "{" else "]")
            if len(closing) > DEEPEST:
                return answer
        elif character in "}]" and closing:
            closing.pop()
        if character in "{[}],":
            whole, then = place + (character != ","), "".join(reversed(closing))
        if not closing:
            break
    return re.sub(r",\s*([}\]])", r"\1", answer[start:whole] + then)


def _event(event: Any, heard_s: float | None) -> Structure:
    if not isinstance(event, dict) or set(event) - set(EVENT_FIELDS):
        raise _bad(f"an event is an object with {', '.join(EVENT_FIELDS)}, not {str(event)[:80]}")
    start_s, end_s = (_number(event.get(name), name) for name in ("start_s", "end_s"))
    if end_s < start_s or (heard_s is not None and end_s > heard_s + TIME_SLACK_S):
        raise _bad(f"an event lasts from {start_s} s to {end_s} s in a sound of {heard_s} s")
    count = event.get("count")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_COUNT):
        raise _bad(f"the count of an event is {str(count)[:80]}, not a whole number from 1 to {MAX_COUNT}, or null")
    return {"sound": _text(event.get("sound"), "sound"), "count": count, "start_s": start_s, "end_s": end_s}


def _music(music: Any) -> Structure | None:
    if music is None:
        return None
    if not isinstance(music, dict) or set(music) - set(MUSIC_FIELDS):
        raise _bad(f"music is null or an object with {', '.join(MUSIC_FIELDS)}, not {str(music)[:80]}")
    instruments = [_text(name, "instruments") for name in _list(music.get("instruments"), "instruments", MAX_EVENTS)]
    return {
        "genre": _text_or_none(music.get("genre"), "genre"),
        "mood": _text_or_none(music.get("mood"), "mood"),
        "tempo": _text_or_none(music.get("tempo"), "tempo"),
        "instruments": instruments,
    }


def _text(value: Any, field: str) -> str:
    text = one_line(value) if isinstance(value, str) else ""
    if not any(character.isalnum() for character in text):
        raise _bad(f"the field {field} holds no words but {value!r}"[:300])
    return text


def _text_or_none(value: Any, field: str) -> str | None:
    return None if value is None else _text(value, field)


def _list(value: Any, field: str, most: int) -> list[Any]:
    items = [] if value is None else value
    if not isinstance(items, list) or len(items) > most:
        raise _bad(f"the field {field} is no list of at most {most}, but {str(value)[:80]}")
    return items


def _number(value: Any, field: str) -> float:
    is_time = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_TIME_S
    if not is_time:  # neither is NaN, which is not above 0
        raise _bad(f"the field {field} is {str(value)[:80]!r}, not a time in seconds")
    return float(value)


def _bad(detail: str) -> ClipError:
    return ClipError(Code.BAD_CAPTION, one_line(detail))
