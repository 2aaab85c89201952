import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curation.errors import ArgumentError
from curation.lists.row import Record, Reject
from curation.lists.text import MAX_LINE_BYTES, csv_records, lines, take_header

Write = Callable[[str, str | bytes], Path]
CELLS = st.lists(
    st.lists(st.text(st.sampled_from('ab ,"\né\u2028'), max_size=6), min_size=2, max_size=4), min_size=1, max_size=8
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(CELLS)
def test_what_csv_writes_is_read_back_with_the_line_it_begins_on(write: Write, rows: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    begins = []
    for row in rows:
        begins.append(text.getvalue().count("\n") + 1)
        csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(row)
    records = list(csv_records(write("list.csv", text.getvalue()), multiline=True))
    assert [record.content for record in records if isinstance(record, Record)] == rows
    assert [record.line for record in records] == begins


def test_line_ends_byte_order_mark_and_missing_last_line_end(write: Write) -> None:
    found = list(lines(write("list.csv", b"\xef\xbb\xbfone\r\ntwo\n\nfour\x0bfour")))
    assert [(line.number, line.text) for line in found] == [(1, "one"), (2, "two"), (3, ""), (4, "four\x0bfour")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"abc\nd\xe9f\n", "byte 0xE9 at offset 5"),
        (b"abc\n\xc3", "byte 0xC3 at offset 4"),
        (b"\xff\xfea\0b\0", "byte 0xFF at offset 0 .it looks like UTF-16"),
        (b"x" * (MAX_LINE_BYTES - 1) + b"\xc3\xa9\xe9", f"byte 0xE9 at offset {MAX_LINE_BYTES + 1}"),
        (b"\xed\xa0\x80", "byte 0xED at offset 0"),
    ],
)
def test_other_encodings_are_refused_with_the_offset(write: Write, content: bytes, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        list(lines(write("list.csv", content)))


def test_a_long_line_and_a_nul_are_rejected_alone(write: Write) -> None:
    content = b"a,b\n" + b"\xc3\xa9" * MAX_LINE_BYTES + b"\nc\0,d\ne,f\n"
    records = list(csv_records(write("list.csv", content)))
    assert [(record.line, type(record)) for record in records] == [(1, Record), (2, Reject), (3, Reject), (4, Record)]
    assert "longer than 1048576 bytes" in records[1].reason  # type: ignore[union-attr]
    assert "NUL" in records[2].reason  # type: ignore[union-attr]


@pytest.mark.parametrize("multiline", [False, True])
def test_an_open_quote_takes_nothing_with_it(write: Write, multiline: bool) -> None:
    content = 'a,1\n"b,2\nc,3\n"d,d",4\ne,5\n"f\n'
    records = list(csv_records(write("list.csv", content), multiline=multiline))
    assert [record.line for record in records if isinstance(record, Reject)] == [2, 6]
    assert [record.content for record in records if isinstance(record, Record)] == [
        ["a", "1"],
        ["c", "3"],
        ["d,d", "4"],
        ["e", "5"],
    ]


def test_a_quoted_line_end_is_a_fault_only_where_no_cell_has_one(write: Write) -> None:
    file = write("list.csv", 'a,"x\r\ny"\r\nb,z\r\n')
    whole = [record.content for record in csv_records(file, multiline=True) if isinstance(record, Record)]
    assert whole == [["a", "x\ny"], ["b", "z"]]
    assert [record.line for record in csv_records(file) if isinstance(record, Reject)] == [1]


def test_an_open_quote_before_many_lines_is_found_in_linear_time(write: Write) -> None:
    content = '"open\n' + "a,b\n" * 20_000
    records = list(csv_records(write("list.csv", content), multiline=True))
    assert isinstance(records[0], Reject)
    assert len(records) == 20_001


def test_a_wrong_header_is_shown_beside_the_expected_one(write: Write) -> None:
    file = write("list.csv", "one,three\n1,2\n")
    with pytest.raises(ArgumentError, match="must be one,two, found one,three"):
        take_header(file, csv_records(file), ("one", "two"))
    with pytest.raises(ArgumentError, match="unknown columns: 'three'"):
        take_header(file, csv_records(file), ("one", "two"), whole=False)
    empty = write("empty.csv", "")
    with pytest.raises(ArgumentError, match="found nothing"):
        take_header(empty, csv_records(empty), ("one", "two"))
    double = write("double.csv", "one,one\n")
    with pytest.raises(ArgumentError, match="found one,one"):
        take_header(double, csv_records(double), ("one", "two"), whole=False)
