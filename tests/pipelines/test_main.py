"""What the program does with a verb's result, and with a system that refuses."""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App, Argument

from curation.dataset import Dataset
from pipelines.main import main
from pipelines.program import make_app, refuse_fractions, show


def test_a_reader_that_has_enough_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as broken:
        monkeypatch.setattr(sys, "stdout", broken)
        show("a line", as_json=False)
        show("another line", as_json=False)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_what_may_not_be_written_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    Dataset.create(tmp_path / "d")

    def refused(folder: Path, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(folder))

    monkeypatch.setattr(Path, "mkdir", refused)
    assert main(["compact", str(tmp_path / "d")]) == 1
    told = capsys.readouterr().err
    assert f"{tmp_path / 'd' / 'locks'}: {os.strerror(number)}; change the rights" in told


def test_a_file_where_a_folder_should_be_is_said_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Dataset.create(tmp_path / "d")
    (tmp_path / "d" / "locks").write_text("no folder")
    assert main(["compact", str(tmp_path / "d")]) == 1
    assert f"{tmp_path / 'd' / 'locks'}" in (told := capsys.readouterr().err) and "Traceback" not in told


def test_other_errors_of_the_system_are_bugs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Dataset.create(tmp_path / "d")

    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "a file")

    monkeypatch.setattr(Path, "mkdir", broken)
    with pytest.raises(OSError, match="a file"):
        main(["compact", str(tmp_path / "d")])


def whole_numbers(app: App, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Argument]]:
    """Every option of every verb that takes whole numbers, after the verb's words."""
    verbs = [name for name in app if not name.startswith("-")]
    for verb in verbs:
        yield from whole_numbers(app[verb], (*words, verb))
    for argument in () if verbs else app.assemble_argument_collection():
        if re.search(r"\bint\b", str(argument.hint)):
            yield words, argument


def test_every_whole_number_of_every_verb_refuses_a_fraction() -> None:
    found = list(whole_numbers(make_app()))
    assert len(found) > 50
    for words, argument in found:
        assert any(refuse_fractions in group.validator for group in argument.parameter.group), (words, argument.name)


EVENTS = "evaluate events d --real d@test --trained d --index d --edge"


@pytest.mark.parametrize("words", ["neighbours d --k", "train audiox-tiny --data d --workers", EVENTS])
@pytest.mark.parametrize("number", ["2.5", "1.04"])
def test_a_fraction_is_not_rounded(words: str, number: str, capsys: pytest.CaptureFixture[str]) -> None:
    *before, option = words.split()
    assert main([*before, f"{option}={number}"]) == 2
    assert f"{option} takes a whole number, not {number}" in capsys.readouterr().err


def test_a_whole_number_may_be_written_with_a_point(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["neighbours", str(tmp_path), "--k", "2.0"]) == 2
    assert "is not a dataset" in capsys.readouterr().err


INTERRUPTED = """
import os, signal, sys
from pipelines.main import main

class Interrupt:
    def find_spec(self, name, *_):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
sys.exit(main(["doctor"]))
"""


@pytest.mark.parametrize("imported", ["pipelines.program", "cyclopts", "curation.errors", "numpy", "pyarrow"])
def test_an_interrupt_while_the_program_is_imported_ends_it_quietly(imported: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED, imported]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[2])
    assert done.returncode == 130
    assert done.stderr == "foundsound: stopped; the same command goes on from here\n"
