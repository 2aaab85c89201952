"""How many connections one address may have, without a network."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from retrieval_index.service.connection import Connections, connection_class
from retrieval_index.service.limits import Limits


class Wire(asyncio.Transport):
    """Comes from an address, and keeps what is sent."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 40_000), "sockname": ("127.0.0.1", 8765)})
        self.sent = b""

    def write(self, data: Any) -> None:
        self.sent += bytes(data)

    def close(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def test_one_address_cannot_take_all_connections(loop: asyncio.AbstractEventLoop) -> None:
    counted = Connections()
    protocol = connection_class(Limits(connections=10, connections_per_client=3), counted)

    async def answers(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    config = Config(answers, log_config=None, lifespan="off")
    config.load()

    def come(address: str) -> tuple[Any, bytes]:
        wire = Wire(address)
        made = protocol(config=config, server_state=ServerState(), app_state={}, _loop=loop)
        made.connection_made(wire)
        if made not in counted.admitted:
            made.data_received(b"GET / HTTP/1.1\r\n")
        return made, wire.sent

    greedy = [come("203.0.113.1") for _ in range(20)]
    assert len(counted.admitted) == 3 and counted.refused == 17
    assert [bool(sent) for _, sent in greedy] == [False] * 3 + [True] * 17
    assert greedy[-1][1].startswith(b"HTTP/1.1 503 ") and b"retry-after: 1" in greedy[-1][1]
    assert all(not come(f"198.51.100.{number}")[1] for number in range(3)), "others still find room"
    greedy[0][0].connection_lost(None)
    assert not come("203.0.113.1")[1] and come("203.0.113.1")[1], "who leaves makes room for one"
    assert [bool(come("127.0.0.1")[1]) for _ in range(5)] == [False] * 4 + [True], "up to all, where a proxy may be"
