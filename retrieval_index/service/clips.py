"""The routes of single clips: what is known of one, its sound and picture, and how it looks."""

import anyio
from fastapi import APIRouter, Request, Response

from retrieval_index.service.collection import Collection
from retrieval_index.service.getting import add_get
from retrieval_index.service.media import CACHED, etag_of, is_known, media_response, path_of
from retrieval_index.service.messages import ClipFacts
from retrieval_index.service.refusal import Refused
from retrieval_index.service.spectrograms import BINS, FRAMES, Spectrograms

FLAC, MP4, PNG = "audio/flac", "video/mp4", "image/png"


class Clips:
    """Answers for single clips.

    Args:
        collection: Whose clips.
        spectrograms: Pictures of them.
    """

    def __init__(self, collection: Collection, spectrograms: Spectrograms) -> None:
        self._collection, self._spectrograms = collection, spectrograms

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(prefix="/api/clips/{clip_id}", tags=["clips"])
        add_get(router, "", self.facts, response_model=ClipFacts)
        for name, answer, kind in (
            ("/sound", self.sound, FLAC),
            ("/video", self.video, MP4),
            ("/spectrogram", self.spectrogram, PNG),
        ):
            add_get(router, name, answer, response_class=Response, responses={200: {"content": {kind: {}}}})
        return router

    async def facts(self, clip_id: str) -> ClipFacts:
        """What is known of a clip."""
        clip = self._collection.clip(clip_id)
        return ClipFacts(
            clip_id=clip.clip_id,
            platform=clip.platform,
            video_id=clip.video_id,
            start_s=clip.start_ms / 1000,
            duration_s=clip.duration_ms / 1000,
            split=clip.split,
            labels=clip.labels,
            captions=clip.captions,
            caption_sources=clip.caption_sources,
            licence=clip.licence,
            sample_rate_hz=clip.sample_rate_hz,
            has_video=clip.video_sha256 is not None,
        )

    async def sound(self, clip_id: str, request: Request) -> Response:
        """The sound of a clip, FLAC; ranges are served."""
        clip = self._collection.clip(clip_id)
        return await media_response(request, self._collection.dataset.media, clip.audio_sha256, ".flac", FLAC)

    async def video(self, clip_id: str, request: Request) -> Response:
        """The picture of a clip, MP4; ranges are served."""
        clip = self._collection.clip(clip_id)
        if clip.video_sha256 is None:
            raise Refused(404, "NO_VIDEO", "this clip has no picture")
        return await media_response(request, self._collection.dataset.media, clip.video_sha256, ".mp4", MP4)

    async def spectrogram(self, clip_id: str, request: Request) -> Response:
        """The spectrogram of a clip, PNG: time to the right, 50 Hz to 20 kHz upwards, logarithmic."""
        clip = self._collection.clip(clip_id)
        etag = etag_of(f"{BINS}x{FRAMES}-{clip.audio_sha256}")
        headers = {"etag": etag, "cache-control": CACHED}
        if is_known(request, etag):
            return Response(status_code=304, headers=headers)

        def made() -> bytes:
            file = path_of(self._collection.dataset.media, clip.audio_sha256, ".flac")
            return self._spectrograms.picture(clip.audio_sha256, file)

        return Response(await anyio.to_thread.run_sync(made), headers=headers, media_type=PNG)
