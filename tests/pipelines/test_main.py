"""What the program does with a verb's result."""

import os
import sys

import pytest

from pipelines.main import show


def test_a_reader_that_has_enough_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as broken:
        monkeypatch.setattr(sys, "stdout", broken)
        show("a line", as_json=False)
        show("another line", as_json=False)
