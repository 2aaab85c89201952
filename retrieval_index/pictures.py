"""A picture or a video as a question: what an embedder that sees makes of a file nobody has vouched for."""

import tempfile
from itertools import chain
from pathlib import Path

import numpy as np

from curation.agree import frames_at, moments
from curation.errors import ArgumentError, ClipError
from curation.programs.picture_copy import length_s, picture_copy
from retrieval_index.embedder import Embedder, Frames, PictureEmbedder, Vectors, seeing
from retrieval_index.windows import window_starts

WINDOWS_AT_ONCE = 4
"""Source: ours; 16 frames of 336 px are 5 MB a window, and a thousand times that inside of the network."""


def picture_vectors(path: Path, embedder: Embedder) -> Vectors:
    """The vectors of a picture or of every part of a video, as the pictures of clips are embedded.

    Args:
        path: A picture (PNG, JPEG, WebP, BMP) or a video; of a video the first five minutes.
        embedder: One that sees.

    Returns:
        (W, dimension) float32 of norm 1, one row a window of the embedder's length; one for a picture.

    Raises:
        ArgumentError: The file is not there or cannot be read, or the embedder does not see.
        StoppedError: ffmpeg is missing, or the disk is full.
    """
    sees = seeing(embedder)
    if not path.is_file():
        raise ArgumentError(f"there is no picture {path}; give a PNG, JPEG or WebP file, or a video")
    with tempfile.TemporaryDirectory(prefix="foundsound-picture-") as folder:
        try:
            copy = picture_copy(path, Path(folder))
        except ClipError as error:
            raise ArgumentError(f"the picture {path} cannot be read: {error}; give a PNG, JPEG, WebP or MP4") from error
        frames_WNSSC = frames_of(copy, sees)
    return frame_vectors(frames_WNSSC, sees)


def frames_of(copy: Path, sees: PictureEmbedder) -> Frames:
    """What an embedder looks at of a picture or video.

    Args:
        copy: As `picture_copy` wrote it.
        sees: The embedder.

    Returns:
        (W, frames, S, S, 3) uint8: of each window, which overlap by half, its frames at equal distances.
    """
    ends_s = length_s(copy)
    starts_s = window_starts(ends_s, sees.window_s)
    spans = [moments(start, min(sees.window_s, ends_s - start), sees.frames) for start in starts_s]
    found = frames_at(copy, list(chain.from_iterable(spans)), sees.frame_size_px)
    return found.reshape(len(spans), sees.frames, *found.shape[1:])


def frame_vectors(frames_WNSSC: Frames, sees: PictureEmbedder) -> Vectors:
    """Windows of frames as unit vectors, (W, dimension), some at a time."""
    pieces = [
        sees.embed_picture(frames_WNSSC[first : first + WINDOWS_AT_ONCE])
        for first in range(0, len(frames_WNSSC), WINDOWS_AT_ONCE)
    ]
    return np.concatenate(pieces)
