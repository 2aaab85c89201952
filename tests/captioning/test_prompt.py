"""Prompts by name and by path."""

import hashlib
import re
from pathlib import Path

import pytest

from captioning.prompt import LONGEST_CHARACTERS, Prompt, load_prompt, prompt_names
from curation.errors import ArgumentError, ClipError

SHIPPED_SHA256 = {
    "augment-v1": "e8c0b7962d8d0f33",
    "labelled-sound-v1": "874950ccb523496b",
    "sentence-v1": "4d3a32ccc9cfacdc",
    "sentences-v1": "f441f86e05b10db6",
    "sound-v1": "3d044349e04e47b5",
    "structured-v1": "14fc30820125ed87",
    "tags-v1": "f7576309264d23d2",
    "v2m-caps-v1": "aa45b584edb42e18",
    "vggsound-caps-v1": "55a16ef7f1811862",
    "vggsound-caps-v2": "265343009a06b145",
}


def test_shipped_prompts_never_change_under_their_name() -> None:
    assert {name: load_prompt(name).sha256[:16] for name in prompt_names()} == SHIPPED_SHA256


def test_the_hash_is_of_the_text_and_not_of_line_ends(tmp_path: Path) -> None:
    unix, windows = tmp_path / "a.txt", tmp_path / "b.txt"
    unix.write_bytes("One.\nTwo: {labels}é\n".encode())
    windows.write_bytes("One.\r\nTwo: {labels}é\r\n".encode())
    assert load_prompt(unix).text == "One.\nTwo: {labels}é"
    expected = hashlib.sha256("One.\nTwo: {labels}é".encode()).hexdigest()
    assert load_prompt(unix).sha256 == load_prompt(windows).sha256 == expected
    assert load_prompt(str(unix)).name == "a"


def test_labels_stand_where_the_prompt_wants_them() -> None:
    hinted = Prompt(name="x", text="It is {labels}? {x}")
    assert hinted.wants_labels and hinted.filled(("Dog", "cat")) == "It is dog and cat? {x}"
    with pytest.raises(ClipError, match="NO_LABEL"):
        hinted.filled(())
    plain = Prompt(name="x", text="What is it?")
    assert not plain.wants_labels and plain.filled(()) == "What is it?"


@pytest.mark.parametrize("name", ["sound", "sound-v9", "../prompts/sound-v1", "missing.txt", "", "sound-v1\n"])
def test_a_prompt_that_is_not_there_is_refused_with_the_ones_that_are(name: str) -> None:
    with pytest.raises(ArgumentError, match=r"sound-v1|no prompt file"):
        load_prompt(name)


def test_a_prompt_must_be_text_of_a_sane_length(tmp_path: Path) -> None:
    file = tmp_path / "p.txt"
    for content, complaint in ((b" \n", "0 characters"), (b"ab\xff", "offset 2"), (b"x" * 20_001, "20001 characters")):
        file.write_bytes(content)
        with pytest.raises(ArgumentError, match=complaint):
            load_prompt(file)
    file.write_bytes(b"x" * LONGEST_CHARACTERS)
    assert len(load_prompt(file).text) == LONGEST_CHARACTERS


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Describe the {label} here.", "{label}, which nothing"),
        ("Describe it in a {style} way.", "only beside {facts}"),
        ("Known: {facts}. Filed under {labels}.", "leave one out"),
        ("[[It is {labels}. Describe it.", "enclose"),
        ("[[It is {labels}.]] Describe it.]]", "enclose"),
        ("Describe\0 it.", "control character"),
        ("Describe\x1b[2J it.", "control character"),
    ],
)
def test_what_would_not_be_understood_as_it_was_meant_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "p.txt"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ArgumentError, match=re.escape(complaint)):
        load_prompt(file)


@pytest.mark.parametrize(
    "text",
    [
        'Answer with {"caption": "a sentence", "events": [[0, 1]]}.',
        "[[It is {labels}. ]]Describe it.",
        "Write a caption.\n\t{style} {length}\n{facts}",
        "Answer as { mood }.",
    ],
)
def test_a_prompt_of_ones_own_is_taken_as_it_is(tmp_path: Path, text: str) -> None:
    file = tmp_path / "p.txt"
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())  # an editor's mark is no part of it
    assert load_prompt(file).text == text
