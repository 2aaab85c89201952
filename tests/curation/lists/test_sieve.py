"""What the sieve takes is what the reader would have said: over made lines with every kind of fault, byte for byte."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.lists import text
from curation.lists.ingest import ingest
from curation.lists.kinds import KINDS
from curation.lists.listfile import ListFile
from curation.lists.row import Entry, ListRow
from curation.lists.sieve import sifted
from curation.lists.table import sure_lines
from curation.schema import TABLES

Write = Callable[[str, str | bytes], Path]

A = b"aaaaaaaaaaa"
EMPTY = b",\xe2\x80\x83\xc2\xa0"  # two blanks that are none in ASCII

PIECES: dict[str, tuple[list[bytes], ...]] = {
    "vggsound": (
        [A, b"-_AZaz09-_A", b" " + A, b"short", A + b"a", "ä".encode() * 11],
        [b",1", b",999999", b",1000000", b",1000001", b",007", b",1.5", b",-1", b", 5", b",", b""],
        [b",dog", b',"dog, cat"', b',"say ""hi"""', b",caf\xc3\xa9", b", dog", b',"dog "', b',do"g', b',"dog', EMPTY],
        [b",train", b",val", b",test", b",dev", b", test ", b"", b",train,more"],
    ),
    "v2m": ([A, b"-_AZaz09-_A", b" " + A, b"short", A + b"a", b"", b"\xef\xbb\xbf" + A, b"a\0" + A[2:], A + b"\x0c"],),
    "table": (
        [A, b"-_AZaz09-_A", b" " + A, b"short", b"", "ä".encode() * 11],
        [
            b",1",
            b",1.5",
            b",0.125",
            b",12.3456",
            b",999999.999",
            b",1000000",
            b",1000000.1",
            b",007",
            b",-1",
            b",1e2",
            b",",
        ],
        [b",10", b",0.5", b",1", b",1.001", b",0", b",1000000", b",1000001", b", 10", b",010", b",", b""],
        [b",train", b",val", b",dev", b", test ", b","],
        [b",dog", b",caf\xc3\xa9", b",say hi", b",[1]", b", [", b", dog", b",do\0g", b",", EMPTY, b",dog,more"],
        [b",", b",http://example.org/a", b", "],
    ),
}
"""Kind -> the pieces of its lines in their order, a plain one first."""

HEADERS = {"table": b"video_id,start_s,duration_s,split,labels,url\n"}

ENDS = [b"\n", b"\n", b"\r\n", b"\r\r\n", b"\n\n"]


def made_lines(kind: str, count: int, seed: int) -> bytes:
    """Lines put together of pieces, good ones more often than others; the last one may lack its end."""
    draw = np.random.default_rng(seed)
    lines = [HEADERS.get(kind, b"")]
    for _ in range(count):
        pieces = [some[0] if draw.random() < 0.6 else some[draw.integers(len(some))] for some in (*PIECES[kind], ENDS)]
        lines.append(b"".join(pieces))
    return b"".join(lines) + b"".join(some[0] for some in PIECES[kind])


def as_read(kind: str, file: Path) -> dict[int, Entry]:
    return {entry.line: entry for entry in KINDS[kind].read(ListFile(path=file))}


def as_sifted(kind: str, file: Path) -> tuple[dict[int, Entry], int]:
    """The same with a sieve, and how many rows it took."""
    taken: list[pa.Table] = []
    sure_in = KINDS[kind].sure_in
    sure = sure_in(ListFile(path=file)) if sure_in else KINDS[kind].sure
    assert sure is not None
    found = {entry.line: entry for entry in KINDS[kind].read(sifted(ListFile(path=file), sure, taken.append))}
    rows = [row for table in taken for row in table.to_pylist()]
    for row in rows:
        labels = () if row["label"] is None else (row["label"],)
        values = {name: row[name] for name in ("line", "video_id", "start_ms", "duration_ms", "split")}
        assert row["line"] not in found
        found[row["line"]] = ListRow(platform="youtube", labels=labels, **values)
    return found, len(rows)


@pytest.mark.parametrize("kind", PIECES)
@pytest.mark.parametrize("block_bytes", [50, 8 << 20])
def test_reader_and_sieve_agree(write: Write, kind: str, block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "BLOCK_BYTES", block_bytes)
    for seed in range(3):
        file = write("list.csv", made_lines(kind, 400, seed))
        found, taken = as_sifted(kind, file)
        assert found == as_read(kind, file)
        assert 0 < taken < len(found)


def test_a_line_that_is_too_long_and_all_after_it_go_to_the_reader(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "MAX_LINE_BYTES", 100)
    monkeypatch.setattr(text, "BLOCK_BYTES", 150)
    good = b"aaaaaaaaaaa,1,dog,train\n"
    for long in (99, 100, 101, 300, 1000):
        file = write("list.csv", good * 3 + b"x" * long + b"\n" + good * 9)
        found, _ = as_sifted("vggsound", file)
        assert found == as_read("vggsound", file)
        assert len(found) == 13


def test_a_label_longer_than_the_sieve_allows_is_the_readers(write: Write) -> None:
    file = write("list.csv", b"aaaaaaaaaaa,1," + b"d" * 20_000 + b",train\naaaaaaaaaaa,1,dog,train\n")
    found, taken = as_sifted("vggsound", file)
    assert taken == 1
    assert found == as_read("vggsound", file)


def test_a_byte_that_is_not_utf8_is_named_by_its_offset(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "BLOCK_BYTES", 64)
    good = b"aaaaaaaaaaa,1,dog,train\n"
    file = write("list.csv", good * 20 + b"aaaaaaaaaaa,1,caf\xe9,train\n")
    with pytest.raises(ArgumentError, match=f"byte 0xE9 at offset {20 * len(good) + 17}"):
        as_sifted("vggsound", file)


@pytest.mark.parametrize("kind", PIECES)
def test_a_dataset_has_the_same_tables_with_and_without_the_sieve(
    tmp_path: Path, write: Write, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write("list.csv", made_lines(kind, 300, seed=7))
    contents, reports = [], []
    for sieve in (True, False):
        if not sieve:
            monkeypatch.setitem(KINDS, kind, replace(KINDS[kind], sure=None, sure_in=None))
        dataset = Dataset.create(tmp_path / f"dataset-{sieve}")
        told: list[int] = []
        reports.append(ingest(dataset, kind, file, progress=told.append))
        assert sum(told) == reports[-1].rows
        contents.append({name: dataset.sql(f"SELECT * FROM {name} ORDER BY ALL").to_pylist() for name in TABLES})
    assert contents[0] == contents[1]
    assert reports[0] == reports[1]
    assert contents[0]["videos"]
    assert contents[0]["rejects"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b'video_id,labels\naaaaaaaaaaa,"dog\nbbbbbbbbbbb,cat\n"\n'),
        ("a.csv", b"video_id,start_s\naaaaaaaaaaa,1\n"),
        ("a.csv", b"video_id,video_id\naaaaaaaaaaa,aaaaaaaaaaa\n"),
        ("a.csv", b"video_id,more\naaaaaaaaaaa,x\n"),
        ("a.csv", b"url\nhttp://example.org/a.mp4\n"),
        ("a.jsonl", b"{}\n"),
    ],
)
def test_a_table_that_may_be_other_than_it_looks_goes_to_the_reader(write: Write, name: str, content: bytes) -> None:
    assert sure_lines(ListFile(path=write(name, content))) is None


def test_a_split_that_contradicts_the_one_given_is_the_readers(write: Write) -> None:
    lines = b"\xef\xbb\xbf video_id ,split\naaaaaaaaaaa,train\nbbbbbbbbbbb,test\nccccccccccc,\n"
    file = ListFile(path=write("a.csv", lines), split="train")
    sure, taken = sure_lines(file), list[pa.Table]()
    assert sure is not None
    left = list(KINDS["table"].read(sifted(file, sure, taken.append)))
    assert [row["video_id"] for rows in taken for row in rows.to_pylist()] == ["aaaaaaaaaaa"]
    assert [(entry.line, isinstance(entry, ListRow)) for entry in left] == [(3, False), (4, True)]
