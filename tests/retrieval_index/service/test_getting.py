"""What is got can be asked for without its body."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from tests.retrieval_index.service.served import client_of, make_dataset, make_service
from tests.retrieval_index.tones import clip_of


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client_of(make_service(make_dataset(tmp_path_factory.mktemp("served") / "dataset"))) as opened:
        yield opened


@pytest.mark.parametrize(
    "address",
    [
        "/",
        "/page.css",
        "/healthz",
        "/metrics",
        "/api/about",
        "/api/search?text=440",
        f"/api/clips/{clip_of('low')}",
    ],
)
def test_head_is_answered_as_get_without_the_body(address: str, client: TestClient) -> None:
    whole, head = client.get(address), client.head(address)
    assert (whole.status_code, head.status_code, head.content) == (200, 200, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]
    assert "HEAD" not in str(client.get("/openapi.json").json()).upper().split("'")


def test_head_of_what_is_only_posted_is_refused(client: TestClient) -> None:
    assert client.head("/api/session").status_code == 405
