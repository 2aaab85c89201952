"""JSON answers: whole ones, such as can be repaired, and such as cannot."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioning.prompt import load_prompt
from captioning.structure import FIELDS, parse_structure, repaired
from curation.errors import ClipError, Code

BARK = {"sound": "a dog barks", "count": 2, "start_s": 1, "end_s": 2.5}
RAIN = {"sound": "rain", "count": None, "start_s": 0, "end_s": 10}
WHOLE = {"caption": "A dog barks twice in the rain.", "events": [BARK, RAIN], "scene": "a yard", "music": None}
MUSIC = {"genre": "jazz", "mood": None, "tempo": "slow", "instruments": ["piano", "double bass"]}


def bad(answer: object) -> str:
    with pytest.raises(ClipError) as raised:
        parse_structure(answer if isinstance(answer, str) else json.dumps(answer), heard_s=10.0)
    assert raised.value.code is Code.BAD_CAPTION
    return raised.value.detail


def test_a_whole_answer_keeps_its_fields_with_events_in_order() -> None:
    found = parse_structure(json.dumps({**WHOLE, "music": MUSIC}), heard_s=10.0)
    assert [event["sound"] for event in found["events"]] == ["rain", "a dog barks"]
    assert found["events"][1] == {**BARK, "start_s": 1.0}
    assert (found["caption"], found["scene"], found["music"]) == (WHOLE["caption"], "a yard", MUSIC)


def test_fields_that_may_be_missing_are_filled_in() -> None:
    assert parse_structure('{"caption": "Wind."}') == {"caption": "Wind.", "events": [], "scene": None, "music": None}


@pytest.mark.parametrize(
    "answer",
    [
        "```json\n" + json.dumps(WHOLE) + "\n```",
        "Here it is: " + json.dumps(WHOLE) + " I hope this helps {you}!",
        json.dumps(WHOLE).replace("}]", "},]").replace("null}", "null,}"),
    ],
)
def test_what_stands_around_and_trailing_commas_are_repaired(answer: str) -> None:
    assert parse_structure(answer, heard_s=10.0)["caption"] == WHOLE["caption"]


def test_an_answer_that_was_cut_off_keeps_what_is_whole() -> None:
    cut = json.dumps(WHOLE)[: json.dumps(WHOLE).index('"scene"') + 4]
    found = parse_structure(cut, heard_s=10.0)
    assert (len(found["events"]), found["scene"]) == (2, None)


@given(st.integers(0, len(json.dumps(WHOLE))))
def test_a_cut_anywhere_gives_a_true_part_or_a_code(end: int) -> None:
    try:
        found = parse_structure(json.dumps(WHOLE)[:end], heard_s=10.0)
    except ClipError as error:
        assert error.code is Code.BAD_CAPTION
    else:
        assert found["caption"] == WHOLE["caption"]
        assert all(event["sound"] in (BARK["sound"], RAIN["sound"]) for event in found["events"])


def test_brackets_in_strings_are_no_brackets() -> None:
    assert json.loads(repaired('x {"caption": "a } and \\" {"} y')) == {"caption": 'a } and " {'}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("A dog barks.", "no JSON"),
        ("[1, 2]", "no JSON object"),
        ("[" * 200_000, "no JSON"),
        ('{"caption": ' + "[" * 200_000, "no JSON"),
        ({**WHOLE, "caption": " "}, "caption"),
        ({**WHOLE, "caption": None}, "caption"),
        ({**WHOLE, "mood": "x"}, "not asked for: mood"),
        ({**WHOLE, "events": "rain"}, "events"),
        ({**WHOLE, "events": [RAIN] * 51}, "at most 50"),
        ({**WHOLE, "events": [{**RAIN, "end_s": 10.6}]}, "10.6"),
        ({**WHOLE, "events": [{**RAIN, "start_s": 11}]}, "11"),
        ({**WHOLE, "events": [{**BARK, "count": 0}]}, "count"),
        ({**WHOLE, "events": [{**BARK, "count": True}]}, "count"),
        ({**WHOLE, "events": [{**BARK, "count": 10**400}]}, "count"),
        ({**WHOLE, "events": [{**BARK, "end_s": 10**400}]}, "end_s"),
        ({**WHOLE, "events": ["\ud83d"]}, "an event"),
        ({**WHOLE, "mood\ud83d": "x"}, "not asked for: mood\ufffd"),
        ({**WHOLE, "events": [{**BARK, "start_s": "1"}]}, "start_s"),
        ('{"caption": "x", "events": [{"sound": "x", "count": 1, "start_s": NaN, "end_s": 2}]}', "start_s"),
        ({**WHOLE, "music": "jazz"}, "music"),
        ({**WHOLE, "music": {**MUSIC, "key": "C"}}, "music"),
        ({**WHOLE, "music": {**MUSIC, "instruments": [1]}}, "instruments"),
    ],
)
def test_what_is_no_such_object_is_a_bad_caption(answer: object, said: str) -> None:
    assert said in bad(answer)


def test_half_characters_and_control_characters_are_not_kept() -> None:
    found = parse_structure(r'{"caption": "A dog \ud83d barks\u0000 in a yard.", "scene": "a\u001byard"}')
    assert (found["caption"], found["scene"]) == ("A dog \ufffd barks in a yard.", "a yard")


def test_an_event_may_end_a_little_late() -> None:
    assert parse_structure(json.dumps({**WHOLE, "events": [{**RAIN, "end_s": 10.5}]}), heard_s=10.0)


def test_the_prompt_asks_for_these_fields() -> None:
    text = load_prompt("structured-v1").text
    assert all(f'"{field}"' in text for field in (*FIELDS, "sound", "count", "start_s", "end_s", "instruments"))
