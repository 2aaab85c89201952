"""The routes of the page: a few files beside this package, which hold nothing of any dataset."""

from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path

from fastapi import APIRouter, Request, Response

from retrieval_index.service.getting import add_get
from retrieval_index.service.media import etag_of, is_known

FOLDER = Path(__file__).resolve().parents[1] / "page"

FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/ask.js": ("ask.js", "text/javascript; charset=utf-8"),
    "/player.js": ("player.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""Address -> file and its media type."""


def page_router() -> APIRouter:
    """The routes; the files are read once."""
    router = APIRouter(include_in_schema=False)
    for path, (name, kind) in FILES.items():
        add_get(router, path, _answer((FOLDER / name).read_bytes(), kind))
    return router


def _answer(content: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    etag = etag_of(sha256(content).hexdigest())
    headers = {"etag": etag, "cache-control": "no-cache"}

    async def answer(request: Request) -> Response:
        if is_known(request, etag):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=kind)

    return answer
