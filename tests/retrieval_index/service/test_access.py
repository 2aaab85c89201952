"""Who may ask: names of this machine, tokens, and what makes them unusable."""

import pytest

from curation.errors import ArgumentError
from retrieval_index.service.access import Access, is_loopback


def test_without_a_token_only_this_machine_is_served() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.8.9.10"):
        assert Access(host=host).knows("anything")
    for host in ("0.0.0.0", "192.168.1.2", "::", "example.org", "127.0.0.1.example.org"):
        with pytest.raises(ArgumentError, match="a token is needed"):
            Access(host=host)
    assert not is_loopback("localhost.example.org")


def test_a_token_is_long_plain_and_never_shown() -> None:
    token = "0123456789abcdef"
    access = Access(host="0.0.0.0", token=token)
    assert access.knows(token) and not access.knows(token + "x") and not access.knows("") and not access.knows("é")
    assert token not in repr(access) and token not in access.session
    for wrong in (token[:-1], "", "pässwörter-0123456", "a b\n0123456789abc"):
        with pytest.raises(ArgumentError, match="at least 16 characters") as caught:
            Access(host="0.0.0.0", token=wrong)
        assert not wrong or wrong not in str(caught.value)
