"""Ranges of files: every form that RFC 9110 has, and the ones that it ignores."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval_index.service.media import Span, span_of


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (None, None),
        ("bytes=0-", Span(0, 10)),
        ("bytes=0-0", Span(0, 1)),
        ("bytes=9-", Span(9, 10)),
        ("bytes=3-99", Span(3, 10)),
        ("bytes=-4", Span(6, 10)),
        ("bytes=-40", Span(0, 10)),
        ("Bytes = 1 - 2", Span(1, 3)),
        ("bytes=5-4", None),
        ("bytes=0-1,3-4", None),
        ("bytes=a-b", None),
        ("bytes=-", None),
        ("seconds=0-1", None),
        ("bytes=0-9999999999999999999", Span(0, 10)),
        ("bytes=0-99999999999999999999", None),
        ("bytes=-" + "9" * 5_000, None),
        ("bytes=\u0663-", None),
    ],
)
def test_what_is_asked_for(header: str | None, span: Span | None) -> None:
    assert span_of(header, 10) == span


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-1", 0)])
def test_what_is_not_there(header: str, size: int) -> None:
    with pytest.raises(ValueError, match="bytes"):
        span_of(header, size)


@given(first=st.integers(0, 30), last=st.integers(0, 30), size=st.integers(1, 20))
def test_a_span_lies_in_the_file(first: int, last: int, size: int) -> None:
    if first >= size or last < first:
        return
    span = span_of(f"bytes={first}-{last}", size)
    content = bytes(range(size))
    assert span is not None and content[span.first : span.end] == content[first : last + 1]
