"""How many connections one address may have, and who gives way to whom, without a network."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from retrieval_index.service.connection import IDLE_S, Connections, connection_class
from retrieval_index.service.limits import Limits


class Wire(asyncio.Transport):
    """Comes from an address, and keeps what is sent."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 40_000), "sockname": ("127.0.0.1", 8765)})
        self.sent, self.is_closed = b"", False

    def write(self, data: Any) -> None:
        self.sent += bytes(data)

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed


class Loop(asyncio.SelectorEventLoop):
    """Its clock shows what a test sets."""

    now_s = 0.0

    def time(self) -> float:
        return self.now_s


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    begun = asyncio.all_tasks(made)
    for task in begun:
        task.cancel()
    for task in begun:
        with suppress(asyncio.CancelledError):
            made.run_until_complete(task)
    made.close()


def coming(loop: Loop, counted: Connections, **limits: int) -> Callable[[str], tuple[Any, Wire]]:
    """Lets a client connect; one that is refused asks, and is told."""
    protocol = connection_class(Limits(**limits), counted)

    async def answers(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("the loop does not run while clients come")

    config = Config(answers, log_config=None, lifespan="off")
    config.load()

    def come(address: str) -> tuple[Any, Wire]:
        wire = Wire(address)
        made = protocol(config=config, server_state=ServerState(), app_state={}, _loop=loop)
        made.connection_made(wire)
        if made not in counted.admitted:
            made.data_received(b"GET / HTTP/1.1\r\n")
        return made, wire

    return come


def test_one_address_cannot_take_all_connections(loop: Loop) -> None:
    counted = Connections()
    come = coming(loop, counted, connections=10, connections_per_client=3)
    greedy = [come("203.0.113.1") for _ in range(20)]
    assert len(counted.admitted) == 3 and counted.refused == 17
    assert [bool(wire.sent) for _, wire in greedy] == [False] * 3 + [True] * 17
    refusal = greedy[-1][1].sent
    assert refusal.startswith(b"HTTP/1.1 503 ") and b"retry-after: 1" in refusal
    assert all(not come(f"198.51.100.{number}")[1].sent for number in range(3)), "others still find room"
    greedy[0][0].connection_lost(None)
    assert not come("203.0.113.1")[1].sent and come("203.0.113.1")[1].sent, "who leaves makes room for one"
    assert [bool(come("127.0.0.1")[1].sent) for _ in range(5)] == [False] * 4 + [True], "all, where a proxy may be"


def test_addresses_of_one_ipv6_network_are_one_client(loop: Loop) -> None:
    counted = Connections()
    come = coming(loop, counted, connections=10, connections_per_client=3)
    assert [bool(come(f"2001:db8::{number:x}")[1].sent) for number in range(1, 6)] == [False] * 3 + [True] * 2
    assert not come("2001:db8:0:1::1")[1].sent, "the next network is another client"
    assert [bool(come("::ffff:203.0.113.1")[1].sent) for _ in range(4)] == [False] * 3 + [True]
    assert come("203.0.113.1")[1].sent, "an IPv4 address is the same however it is written"


def test_idle_connections_give_their_places_to_those_that_come(loop: Loop) -> None:
    counted = Connections()
    come = coming(loop, counted, connections=4)
    asking, asked_by = come("198.51.100.1")
    asking.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    idle = [come(f"203.0.113.{number}") for number in range(3)]
    idle[1][0].data_received(b"GET / HTTP/1.1\r\nHost:")  # and never the rest
    loop.now_s = 0.9 * IDLE_S
    assert come("192.0.2.1")[1].sent.startswith(b"HTTP/1.1 503 "), "they may still ask"
    loop.now_s = 1.1 * IDLE_S
    assert [bool(come("192.0.2.1")[1].sent) for _ in range(4)] == [False] * 3 + [True]
    assert [wire.is_closed for _, wire in idle] == [True] * 3
    assert not asked_by.is_closed, "what is being answered is answered"
    assert len(counted.admitted) == 4 and asking in counted.admitted
    asking.cycle.response_complete = True
    asking.on_response_complete()
    loop.now_s = 2 * IDLE_S
    for protocol in list(counted.admitted):
        if protocol is not asking:
            protocol.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert come("192.0.2.1")[1].sent and not asked_by.is_closed, "it was answered a moment ago"
    loop.now_s = 3 * IDLE_S
    assert not come("192.0.2.1")[1].sent and asked_by.is_closed, "who is silent after an answer gives way too"
