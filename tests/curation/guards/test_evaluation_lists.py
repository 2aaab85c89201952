"""Lists of file names become rows that a guard understands, each line or a complaint."""

from pathlib import Path

import pytest

from curation.errors import ArgumentError
from curation.guards.evaluation_lists import GUARD_KINDS
from curation.lists.kinds import KINDS
from curation.lists.listfile import ListFile
from curation.lists.row import ListRow, Reject


def read(kind: str, path: Path) -> list[ListRow | Reject]:
    return list(GUARD_KINDS[kind](ListFile(path=path)))


def test_clotho_gives_file_names(tmp_path: Path) -> None:
    path = tmp_path / "clotho.csv"
    captions = ",".join(f"caption_{n}" for n in range(1, 6))
    path.write_text(f'file_name,{captions}\nSanta Motor.wav,a,b,c,d,e\n"a, b.wav","x\ny",b,c,d,e\n,a,b,c,d,e\n')
    rows = read("clotho", path)
    assert [row.path for row in rows[:2] if isinstance(row, ListRow)] == ["Santa Motor.wav", "a, b.wav"]
    assert isinstance(rows[2], Reject) and rows[2].line == 5
    path.write_text("file,caption\na.wav,x\n")
    with pytest.raises(ArgumentError, match="header"):
        read("clotho", path)


def test_wavcaps_gives_the_names_of_every_source(tmp_path: Path) -> None:
    path = tmp_path / "blacklist.json"
    path.write_text('{"FreeSound": ["117790"], "AudioSet": ["Yr1nicOVtvkQ.wav"]}')
    assert [row.path for row in read("wavcaps", path) if isinstance(row, ListRow)] == ["Yr1nicOVtvkQ.wav", "117790"]
    for wrong in ("[1]", '{"a": [1]}', '{"a": ["", "b"]}', "{", '{"a": 3}'):
        path.write_text(wrong)
        with pytest.raises(ArgumentError, match="no WavCaps blacklist"):
            read("wavcaps", path)


def test_every_kind_that_can_be_ingested_can_be_a_guard() -> None:
    assert set(KINDS) < set(GUARD_KINDS)
