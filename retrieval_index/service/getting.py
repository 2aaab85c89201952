"""A route that answers HEAD as it answers GET; the server leaves the body out (RFC 9110 section 9.3.2)."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, FastAPI

Answer = Callable[..., Awaitable[Any]]


def add_get(router: APIRouter | FastAPI, path: str, answer: Answer, **described: Any) -> None:
    """Add a route for both; FastAPI's own is for GET alone.

    Args:
        router: Where.
        path: Its path.
        answer: What answers.
        described: What `add_api_route` takes beside; the description of the service names GET only.
    """
    router.add_api_route(path, answer, methods=["GET"], **described)
    router.add_api_route(path, answer, methods=["HEAD"], **{**described, "include_in_schema": False})
