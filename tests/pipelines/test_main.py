"""What the program does with a verb's result, and with a system that refuses."""

import errno
import os
import sys
from pathlib import Path

import pytest

from curation.dataset import Dataset
from pipelines.main import main, show


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


def test_other_errors_of_the_system_are_bugs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Dataset.create(tmp_path / "d")

    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "a file")

    monkeypatch.setattr(Path, "mkdir", broken)
    with pytest.raises(OSError, match="a file"):
        main(["compact", str(tmp_path / "d")])
