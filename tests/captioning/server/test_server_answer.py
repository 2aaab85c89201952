"""The header `Retry-After` in its two forms, and what is none of them."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from captioning.server.server_answer import LONGEST_WAIT_S, AgainError, answer_text, retry_after_s


@pytest.mark.parametrize(
    ("header", "pause_s"), [(None, None), ("7", 7.0), ("0", 0.0), ("soon", None), ("-3", None), ("²", None)]
)
def test_seconds(header: str | None, pause_s: float | None) -> None:
    assert retry_after_s(header) == pause_s


def test_a_date() -> None:
    header = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert retry_after_s(header) == pytest.approx(30, abs=3)
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


def test_a_date_beyond_all_bounds_says_nothing() -> None:
    assert retry_after_s("Wed, 21 Oct 99999999999999999999 07:28:00 GMT") is None


@pytest.mark.parametrize("body", [b"[" * 200_000, b"{", b"[]", b'{"choices": []}'])
def test_what_is_no_chat_completion_is_asked_for_again(body: bytes) -> None:
    with pytest.raises(AgainError, match="no chat completion"):
        answer_text(body, "what it said")


def test_a_pause_is_bounded() -> None:
    assert retry_after_s("999999") == LONGEST_WAIT_S
