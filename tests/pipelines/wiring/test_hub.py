"""Without a network the Hub is given up at once; a slow or proxied one is left to its own library."""

import errno
import socket
from collections.abc import Iterator

import pytest
from huggingface_hub import close_session, get_session
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.file_download import hf_hub_download

from pipelines.wiring import hub

NOT_FOUND = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
SOON = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.fixture(autouse=True)
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A client of its own, without proxies, that knows no host yet."""
    for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(hub, "_failed", {})
    monkeypatch.setattr(hub, "_reached", set())
    close_session()
    hub.give_up_without_network()
    hub.give_up_without_network()
    yield
    close_session()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited before another try, s; nothing is."""
    waited: list[float] = []
    monkeypatch.setattr(hub.time, "sleep", waited.append)
    return waited


def answers(monkeypatch: pytest.MonkeyPatch, *tries: OSError | None) -> list[tuple[str, int]]:
    """What becomes of the next tries to connect; gives the places that were tried."""
    left, tried = list(tries), []

    def connect(place: tuple[str, int], timeout: float) -> socket.socket:
        tried.append(place)
        error = left.pop(0)
        if error is not None:
            raise error
        return socket.socket()

    monkeypatch.setattr(hub.socket, "create_connection", connect)
    return tried


def asked(address: str = "https://hub.example/a") -> None:
    """What the client does before it asks."""
    hub._refuse_without_network(get_session().build_request("HEAD", address))


def test_a_name_that_is_found_nowhere_is_looked_up_twice_and_then_believed(
    monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    tried = answers(monkeypatch, NOT_FOUND, NOT_FOUND)
    for _ in range(3):
        with pytest.raises(OfflineModeIsEnabled, match=r"hub\.example cannot be reached: Name or service not known"):
            asked()
    assert tried == [("hub.example", 443)] * 2 and waits == [hub.AGAIN_S]


def test_after_a_while_a_host_is_tried_again(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> None:
    answers(monkeypatch, NOT_FOUND, NOT_FOUND, None)
    with pytest.raises(OfflineModeIsEnabled):
        asked()
    monkeypatch.setattr(hub, "BELIEVED_S", 0.0)
    asked()


@pytest.mark.parametrize("tries", [(None,), (SOON, None), (TimeoutError("timed out"),), (OSError(errno.EIO, "odd"),)])
def test_a_network_that_is_slow_or_odd_is_asked(
    tries: tuple[OSError | None, ...], monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    tried = answers(monkeypatch, *tries)
    asked()
    asked()
    assert len(tried) == len(tries)


def test_behind_a_proxy_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = answers(monkeypatch)
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    asked()
    assert tried == []


def test_a_file_that_is_not_in_the_cache_is_refused_without_a_retry(
    tmp_path, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    with socket.socket() as closed:  # bound and never listening: refused at once
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(LocalEntryNotFoundError) as refused:
            hf_hub_download("nosuch/model", "config.json", cache_dir=tmp_path, endpoint=endpoint)
    assert isinstance(refused.value.__cause__, OfflineModeIsEnabled) and waits == []
