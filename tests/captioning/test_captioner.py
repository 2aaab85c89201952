"""Answers as they are kept: one line of text that a file can hold and a terminal can show."""

import pytest

from captioning.captioner import checked_answer, one_line
from curation.errors import ClipError, Code


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (" A dog\n barks.\t", "A dog barks."),
        ("A dog\x00\x1b[31m barks\x9b.", "A dog [31m barks ."),
        ("\ufeffA dog \u202ebarks\u2069.", "A dog barks ."),
        ("A dog \ud83d barks.", "A dog \ufffd barks."),
        ("A dog \U0001f415 barks.", "A dog \U0001f415 barks."),
        ("Ein Hund bellt: \u5c0f\u72d7.", "Ein Hund bellt: \u5c0f\u72d7."),
    ],
)
def test_what_a_file_or_a_terminal_would_choke_on_is_gone(said: str, kept: str) -> None:
    assert one_line(said) == checked_answer(said) == kept
    assert kept.encode()


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("<think>A dog? Yes.</think>\n\nA dog barks.", "A dog barks."),
        ("A dog? Yes.</think> A dog barks.", "A dog barks."),  # templates that open the thought themselves
        ("<think></think><think>Hm.</think>A dog barks.", "A dog barks."),
    ],
)
def test_a_thought_is_no_part_of_the_answer(said: str, kept: str) -> None:
    assert checked_answer(said) == kept


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "no word"),
        ("... \n", "no word"),
        ("<think>A dog.</think>", "no word"),
        ("<think>A dog, and then", "did not end"),
        ("<think>A dog.</think>It barks <think>or", "did not end"),
    ],
)
def test_what_says_nothing_is_a_bad_caption(said: str, why: str) -> None:
    answer = checked_answer(said)
    assert isinstance(answer, ClipError) and answer.code is Code.BAD_CAPTION and why in answer.detail
