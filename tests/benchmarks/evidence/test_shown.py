"""Tables are read by people and programs alike."""

import json
import socket
from pathlib import Path

import pytest

from benchmarks.evidence.shown import keep, lines_of, right_of


def test_a_column_for_every_name() -> None:
    rows = [{"row": "made", "FD": 12.3456}, {"row": "real", "right": right_of(3, 4)}]
    assert lines_of(rows) == [
        "| row | FD | right |",
        "| --- | --- | --- |",
        "| made | 12.3 | - |",
        "| real | - | 3 of 4 |",
    ]


def test_more_right_than_asked_is_refused() -> None:
    with pytest.raises(ValueError, match="5 of 4"):
        right_of(5, 4)


def test_what_is_kept_names_no_machine(tmp_path: Path) -> None:
    keep(tmp_path / "found.json", {"quality": [{"row": "made", "FD": 1.5}]}, clips=8)
    text = (tmp_path / "found.json").read_text()
    told = json.loads(text)
    assert told["tables"] == {"quality": [{"row": "made", "FD": 1.5}]} and told["clips"] == 8
    assert told["machine"]["processors"] >= 1 and socket.gethostname() not in text
