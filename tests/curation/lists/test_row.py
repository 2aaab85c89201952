from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation import keys
from curation.errors import ClipError, Code
from curation.lists.row import MAX_S, ListRow, Record, Reject, each_row, malformed, milliseconds, span_ms

ID = "a_-bcdefghi"


@given(st.integers(0, MAX_S * 1000))
def test_whole_milliseconds_survive_as_text_float_and_decimal(ms: int) -> None:
    text = f"{ms // 1000}.{ms % 1000:03d}"
    assert milliseconds(text, "start") == ms
    assert milliseconds(Decimal(text), "start") == ms
    assert milliseconds(ms / 1000, "start") == ms


@given(st.integers(0, 10**9), st.integers(0, 6))
def test_rounding_is_half_to_even(digits: int, places: int) -> None:
    value = Decimal(digits).scaleb(-places)
    if value <= MAX_S:
        assert milliseconds(str(value), "start") == round(Fraction(value) * 1000)


def test_half_a_millisecond_goes_to_the_even_neighbour() -> None:
    assert [milliseconds(text, "start") for text in ("0.0005", "0.0015", "0.0025", "0.00051")] == [0, 2, 2, 1]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "ten",
        "nan",
        "inf",
        "-1",
        "-0.001",
        "1_0",
        "1,5",
        "0x10",
        "1e99",
        "1e",
        ".",
        "\u0661",
        "1000000.001",
        True,
        float("nan"),
        -1,
    ],
)
def test_what_is_no_plain_number_of_seconds_is_malformed(value: str | float) -> None:
    with pytest.raises(ClipError, match=r"seconds|between") as caught:
        milliseconds(value, "start")
    assert caught.value.code == Code.MALFORMED


@pytest.mark.parametrize(
    ("text", "ms"), [(" 30 ", 30_000), ("1e1", 10_000), (".5", 500), ("5.", 5_000), ("1000000", 10**9)]
)
def test_plain_decimal_notation_is_read(text: str, ms: int) -> None:
    assert milliseconds(text, "start") == ms


def test_span_needs_its_end_after_its_start() -> None:
    assert span_ms("20.000", "28.5") == (20_000, 8_500)
    with pytest.raises(ClipError, match="not after"):
        span_ms("20", "20")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"video_id": "short"}, "not a YouTube id"),
        ({"video_id": ID + "x"}, "not a YouTube id"),
        ({"video_id": "a b-bcdefgh"}, "not a YouTube id"),
        ({"start_ms": None}, "start is missing"),
        ({"duration_ms": None}, "duration is missing"),
        ({"duration_ms": 0}, "below 1 ms"),
        ({"start_ms": -1}, "negative"),
        ({"split": "dev"}, "split 'dev'"),
        ({"labels": ("dog", "")}, "label is empty"),
        ({"captions": ("",)}, "caption is empty"),
        ({"url": "http://a/b"}, "platform youtube has url"),
        ({"platform": "file"}, "platform file has url None and path None"),
    ],
)
def test_a_row_holds_its_rules(changes: dict[str, object], reason: str) -> None:
    good = {"line": 1, "platform": "youtube", "video_id": ID, "start_ms": 0, "duration_ms": 1, "split": "val"}
    ListRow(**good)  # type: ignore[arg-type]
    with pytest.raises(ClipError, match=reason):
        ListRow(**{**good, **changes})  # type: ignore[arg-type]


@given(st.permutations(range(6)))
def test_keys_do_not_depend_on_line_or_order(order: list[int]) -> None:
    rows = [ListRow(line=1, platform="youtube", video_id=ID, start_ms=1000 * i, duration_ms=10_000) for i in range(6)]
    moved = [
        ListRow(line=9 + i, platform="youtube", video_id=ID, start_ms=1000 * i, duration_ms=10_000, labels=("x",))
        for i in order
    ]
    assert {row.clip_id for row in rows} == {row.clip_id for row in moved}
    assert len({row.clip_id for row in rows}) == 6
    assert {row.video_key for row in rows + moved} == {keys.video_key("youtube", ID)}


def test_only_the_malformed_record_is_rejected() -> None:
    def understand(record: Record[str]) -> ListRow:
        if record.content == "bad":
            raise malformed("it is bad")
        return ListRow(line=record.line, platform="youtube", video_id=record.content)

    records = [Record(1, "x", ID), Record(2, "the bad line", "bad"), Reject(3, "before", "z"), Record(4, "x", ID)]
    entries = list(each_row(records, understand))
    assert entries[1:3] == [Reject(2, "it is bad", "the bad line"), Reject(3, "before", "z")]
    assert [entry.line for entry in entries] == [1, 2, 3, 4]


def test_a_reject_keeps_200_characters_and_no_password() -> None:
    reject = Reject(1, "r", "http://me:secret@host/x," + "y" * 500)
    assert "secret" not in reject.text
    assert len(reject.text) == 200
