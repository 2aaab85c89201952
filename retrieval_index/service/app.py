"""The whole service as one ASGI application: routes, the page, and what stands before them."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from curation.errors import FoundsoundError
from retrieval_index.embedder import PictureEmbedder
from retrieval_index.service.access import COOKIE, Access, Guarded
from retrieval_index.service.admission import Admitted
from retrieval_index.service.batcher import Batcher
from retrieval_index.service.clips import Clips
from retrieval_index.service.collection import Collection
from retrieval_index.service.connection import Connections
from retrieval_index.service.getting import add_get
from retrieval_index.service.limits import Limits
from retrieval_index.service.messages import About, Token
from retrieval_index.service.metrics import CONTENT_TYPE, Counted, Metrics
from retrieval_index.service.page import page_router
from retrieval_index.service.refusal import Refused, as_json, as_response, refusal_of
from retrieval_index.service.searching import Searching
from retrieval_index.service.sharing import SharedEmbedder
from retrieval_index.service.spectrograms import Spectrograms

REFRESH_S = 1.0
"""How often it is looked whether the index has changed, s. Takedowns do not wait for it."""

SHOWN_PROBLEMS = 5
"""Of a request that is not understood."""


class Service:
    """A dataset that is served.

    Args:
        collection: What is searched.
        embedder: The embedder of its index.
        access: Who may ask.
        limits: Bounds.
        may_select: Whether clients may make selections of the dataset.
    """

    def __init__(
        self,
        collection: Collection,
        embedder: SharedEmbedder,
        *,
        access: Access,
        limits: Limits,
        may_select: bool = False,
    ) -> None:
        self._collection, self._embedder, self._access, self.limits = collection, embedder, access, limits
        self._may_select = may_select
        self.connections = Connections()
        self._spectrograms = Spectrograms()
        self.metrics = Metrics(self._numbers)
        self.app: ASGIApp = self._application()

    def _application(self) -> ASGIApp:
        app = FastAPI(
            title="foundsound",
            description="Search of a dataset of sounds.",
            docs_url=None,
            redoc_url=None,
            lifespan=self._life,
        )
        app.include_router(Searching(self._collection, self.limits, may_select=self._may_select).router())
        app.include_router(Clips(self._collection, self._spectrograms).router())
        add_get(app, "/api/about", self.about, response_model=About)
        app.add_api_route("/api/session", self.session, methods=["POST"], status_code=204, response_class=Response)
        add_get(app, "/healthz", self.health)
        add_get(app, "/metrics", self.numbers, response_class=Response)
        app.include_router(page_router())
        app.add_exception_handler(HTTPException, _refused)
        app.add_exception_handler(RequestValidationError, _not_understood)
        app.add_exception_handler(FoundsoundError, self._failed)
        app.add_exception_handler(Exception, _crashed)
        self._admitted = Admitted(app, self.limits)
        return Counted(Guarded(self._admitted, self._access), self.metrics)

    @asynccontextmanager
    async def _life(self, app: FastAPI) -> AsyncIterator[None]:
        """Follow the index while the service runs; let batches end when it ends."""
        follower = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            follower.cancel()
            await asyncio.wait([follower])  # whatever ended it, the rest is ended too
            await anyio.to_thread.run_sync(self.close)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            await anyio.to_thread.run_sync(self._collection.refresh)

    def close(self) -> None:
        """End what was asked of embedder and index."""
        self._embedder.close()
        self._collection.close()

    async def about(self) -> About:
        """What is served: counts, limits, and the columns that filters may name."""
        now, limits = self._collection.now, self.limits
        return About(
            clips=len(now.catalogue) - len(self._collection.taken_down()),
            windows=len(now.index),
            window_s=now.index.embedder.window_s,
            may_select=self._may_select,
            sees=isinstance(now.index.embedder, PictureEmbedder),
            most_clips=limits.clips,
            most_upload_bytes=limits.upload_bytes,
            most_upload_s=limits.upload_s,
            most_text_characters=limits.text_characters,
            columns=now.columns.as_dict(),
        )

    async def session(self, given: Token, request: Request) -> Response:
        """Exchange the token for a cookie, for the page; no script reads it and no other site sends it."""
        if not self._access.knows(given.token):
            raise Refused(401, "TOKEN", "this is not the token of this service")
        response = Response(status_code=204)
        is_secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, self._access.session, httponly=True, samesite="strict", secure=is_secure)
        return response

    async def health(self) -> dict[str, str]:
        """Whether the service lives."""
        return {"status": "ok"}

    async def numbers(self) -> Response:
        """Numbers in Prometheus' text format."""
        return Response(self.metrics.text(), media_type=CONTENT_TYPE)

    def _numbers(self) -> Iterable[tuple[str, str, float, bool]]:
        now, pictures, embedder = self._collection.now, self._spectrograms, self._embedder
        yield "index_clips", "Clips of the index.", len(now.catalogue), False
        yield "index_windows", "Windows of the index.", len(now.index), False
        yield "taken_down_clips", "Clips of the index that are not served.", len(self._collection.taken_down()), False
        yield "requests_refused", "Requests refused for want of room.", self._admitted.refused, True
        yield "connections_refused", "Connections refused for want of room.", self.connections.refused, True
        yield "connections_open", "Connections that are open and answered.", len(self.connections.admitted), False
        yield "spectrograms_made", "Pictures that were made.", pictures.misses, True
        yield "spectrograms_kept", "Pictures that were there already.", pictures.hits, True
        batchers: dict[str, Batcher[Any, Any]] = {**embedder.batchers, "search": self._collection.searches}
        for name, batcher in batchers.items():
            yield f"{name}_batches", f"Batches of kind {name}.", batcher.batches, True
            yield f"{name}_items", f"Items in batches of kind {name}.", batcher.items, True

    async def _failed(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, FoundsoundError)
        return as_response(refusal_of(error, {str(self._collection.dataset.path): "the dataset"}))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return as_response(error)


async def _not_understood(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if any(one["type"] == "json_invalid" for one in error.errors()):
        return as_json(422, "NOT_UNDERSTOOD", "the body is no JSON")
    problems = [
        f"{'.'.join(str(part) for part in one['loc'] if part not in ('body', 'query')) or 'body'}: {one['msg']}"
        for one in error.errors()[:SHOWN_PROBLEMS]
    ]
    return as_json(422, "NOT_UNDERSTOOD", "; ".join(problems))


async def _crashed(request: Request, error: Exception) -> Response:
    return as_json(500, "CRASHED", "the service failed; its log says how")
