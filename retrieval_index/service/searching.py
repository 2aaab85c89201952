"""The routes that search: by words, by a clip, by a sound or picture that is sent; and the one that keeps a result."""

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import anyio
import numpy as np
from fastapi import APIRouter, Query, Request
from starlette.requests import ClientDisconnect

from curation.errors import ArgumentError
from curation.names import plain_name
from retrieval_index.embedder import PictureEmbedder, Vectors
from retrieval_index.index import Index
from retrieval_index.pictures import frame_vectors
from retrieval_index.question import Wanted, clip_vectors, select_clips, with_terms
from retrieval_index.service.collection import Collection
from retrieval_index.service.getting import add_get
from retrieval_index.service.limits import Limits
from retrieval_index.service.messages import Answers, Found, Options, Question, Selected, Selection
from retrieval_index.service.refusal import Refused, busy
from retrieval_index.service.upload import decoded, looked_at, receive

Made = TypeVar("Made")

RECEIVED_AHEAD = 4
"""For each file that is decoded so many may be on their way; a further one is answered with 503."""

_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class Searching:
    """Answers queries.

    Args:
        collection: What is asked.
        limits: Bounds.
        may_select: Whether what was found may become a selection of the dataset.
    """

    def __init__(self, collection: Collection, limits: Limits, *, may_select: bool) -> None:
        self._collection, self._limits, self._may_select = collection, limits, may_select
        self._threads = anyio.CapacityLimiter(limits.requests)
        self._decoders = anyio.CapacityLimiter(limits.uploads)
        self._receiving = 0
        self._selecting = threading.Lock()

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(tags=["search"])
        router.add_api_route("/api/search", self.ask, methods=["POST"], response_model=Answers)
        add_get(router, "/api/search", self.ask_by_address, response_model=Answers)
        for path, answer in (("/api/search/sound", self.ask_by_sound), ("/api/search/picture", self.ask_by_picture)):
            router.add_api_route(path, answer, methods=["POST"], response_model=Answers, openapi_extra=_BODY)
        router.add_api_route("/api/selections", self.select, methods=["POST"], response_model=Selection)
        return router

    async def ask(self, question: Question) -> Answers:
        """Find clips by words, by a clip, or by terms."""
        question.check(self._limits)
        return await anyio.to_thread.run_sync(self._find, question, limiter=self._threads)

    async def ask_by_address(self, question: Annotated[Question, Query()]) -> Answers:
        """The same with everything in the address."""
        return await self.ask(question)

    async def ask_by_sound(self, request: Request, options: Annotated[Options, Query()]) -> Answers:
        """Find clips that sound like the sound file in the body: WAV, FLAC, MP3, OGG, MP4 and more."""
        options.check(self._limits)
        rate_hz = self._collection.now.index.embedder.sample_rate_hz
        wave_T = await self._received(request, lambda file: decoded(file, rate_hz, self._limits))
        return await self._find_uploaded(options, lambda index: index.sound_vectors(wave_T))

    async def ask_by_picture(self, request: Request, options: Annotated[Options, Query()]) -> Answers:
        """Find clips that fit the picture or video in the body, where the index's embedder sees: PNG, JPEG, MP4."""
        options.check(self._limits)
        sees = self._collection.now.index.embedder
        if not isinstance(sees, PictureEmbedder):
            raise Refused(
                400, "NO_PICTURES", "the embedder of this index cannot see pictures; ask with words or a sound"
            )
        frames_WNSSC = await self._received(request, lambda file: looked_at(file, sees, self._limits))
        return await self._find_uploaded(options, lambda index: frame_vectors(frames_WNSSC, sees))

    async def _received(self, request: Request, decode: Callable[[Path], Made]) -> Made:
        """The file in the body, decoded."""
        if self._receiving >= RECEIVED_AHEAD * self._limits.uploads:
            raise busy("too many files are being sent")
        self._receiving += 1
        try:
            with tempfile.TemporaryDirectory(prefix="foundsound-") as folder:
                file = Path(folder) / "upload"
                try:
                    await receive(request.stream(), file, self._limits)
                except ClientDisconnect as error:
                    raise Refused(400, "GONE", "the client has gone before its file had come") from error
                return await anyio.to_thread.run_sync(decode, file, limiter=self._decoders)
        finally:
            self._receiving -= 1

    async def _find_uploaded(self, options: Options, vectors: Callable[[Index], Vectors]) -> Answers:
        return await anyio.to_thread.run_sync(self._find, options, vectors, limiter=self._threads)

    async def select(self, selected: Selected) -> Selection:
        """Make a selection of the dataset from clips, as `query --select` does."""
        if not self._may_select:
            raise Refused(403, "READ_ONLY", "this service writes nothing; start it with --may-select")
        return await anyio.to_thread.run_sync(self._select, selected, limiter=self._threads)

    def _find(self, options: Options, vectors: Callable[[Index], Vectors] | None = None) -> Answers:
        begun, collection = time.perf_counter(), self._collection
        now = collection.now
        clip = text = None
        if isinstance(options, Question):
            clip, text = options.clip, options.text
        if clip is not None:
            collection.clip(clip)
            vectors_WD = clip_vectors(collection.dataset, now.index, clip)
        elif text is not None:
            vectors_WD = now.index.text_vectors([text])
        elif vectors is not None:
            vectors_WD = vectors(now.index)
        else:
            vectors_WD = np.zeros((0, now.index.dimension), np.float32)
        vectors_WD = with_terms(now.index, text or "the query", vectors_WD, options.plus, options.minus)
        among = None if options.where is None else collection.matching(options.where)
        wanted = Wanted(clips=options.k, among=among, without=clip, min_cosine=options.fold)
        answer = collection.ask(now, vectors_WD, wanted)
        hits = []
        for hit in answer.hits:
            facts = now.catalogue.get(hit.clip_id)
            found = Found(
                clip_id=hit.clip_id,
                score=round(hit.score, 4),
                start_s=round(hit.start_s, 3),
                end_s=round(hit.end_s, 3),
                duration_s=facts.duration_ms / 1000 if facts else round(hit.end_s, 3),
                caption=hit.caption,
                labels=facts.labels if facts else [],
                has_video=bool(facts and facts.video_sha256),
                copies=list(answer.folded.get(hit.clip_id, ())),
            )
            hits.append(found)
        return Answers(hits=hits, seconds=round(time.perf_counter() - begun, 4))

    def _select(self, selected: Selected) -> Selection:
        collection = self._collection
        name = plain_name(selected.name, "selection")
        clip_ids = sorted({collection.clip(clip_id).clip_id for clip_id in selected.clip_ids})
        if not self._selecting.acquire(blocking=False):
            raise busy("another selection is being made")
        try:
            if (collection.dataset.folder("selections") / f"{name}.json").exists():
                raise Refused(409, "EXISTS", f"there is a selection {name!r} already; give another name")
            try:
                report = select_clips(collection.dataset, collection.now.index, clip_ids, name)
            except ArgumentError as error:
                raise Refused(409, "REFUSED", "the selection of the index allows none of these now") from error
        finally:
            self._selecting.release()
        return Selection(name=name, asked=len(clip_ids), kept=report.kept_clips)
