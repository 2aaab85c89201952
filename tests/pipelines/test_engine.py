"""A process is connected to the Ray that was asked for, whatever it was connected to before."""

from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray._private.node import Node

from curation.errors import ArgumentError
from pipelines import engine

CLUSTER, OTHER = "127.0.0.1:1111", "127.0.0.1:2222"


class FakeRay:
    """Stands in for the calls that `start_ray` makes of Ray, and keeps what it was asked for."""

    def __init__(self) -> None:
        self.address: str | None = None
        self.asked: list[str] = []
        self.dashboards: list[Any] = []

    def init(self, address: str, **settings: Any) -> None:
        self.address = address
        self.asked.append(address)
        self.dashboards.append(Node.start_api_server)

    def shutdown(self) -> None:
        self.address = None


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setattr(engine, "_own_session", None)
    monkeypatch.setattr(ray, "init", fake.init)
    monkeypatch.setattr(ray, "shutdown", fake.shutdown)
    monkeypatch.setattr(ray, "is_initialized", lambda: fake.address is not None)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address=fake.address))
    return fake


def test_a_session_of_our_own_is_left_for_a_cluster(fake: FakeRay) -> None:
    for address in (None, None, CLUSTER, CLUSTER, None, OTHER):
        engine.start_ray(address)
    assert fake.asked == ["local", CLUSTER, OTHER]


def test_a_session_of_the_caller_is_taken_and_never_left(fake: FakeRay) -> None:
    fake.init(CLUSTER)
    engine.start_ray()
    engine.start_ray(CLUSTER)
    with pytest.raises(ArgumentError, match=f"uses Ray at {CLUSTER}, and --address is {OTHER}"):
        engine.start_ray(OTHER)
    assert fake.asked == [CLUSTER]


def test_only_a_session_of_our_own_has_no_dashboard(fake: FakeRay) -> None:
    usual = Node.start_api_server
    engine.start_ray()
    engine.start_ray(CLUSTER)
    assert fake.dashboards[0] is not usual
    assert fake.dashboards[1] is usual
    assert Node.start_api_server is usual
