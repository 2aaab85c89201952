"""The other names of a YouTube video: an address that leads to it, a file that is called for it.

Lists name one video in three ways: by its id, by a URL, by a file of a collection that calls its copies by the id. A
takedown removes all of them, and a guard knows all of them. A file that is called like a video by chance counts as it.
"""

import re
from pathlib import PurePosixPath

from curation.views import quoted

YOUTUBE_ADDRESS = (
    r"(?:(?i:youtube(?:-nocookie)?\.com)/+(?:watch/?\?(?:[^#]*[&;])?v=|shorts/|embed/|live/|v/|e/)|(?i:youtu\.be)/+)"
    r"([A-Za-z0-9_-]{11})(?:[^A-Za-z0-9_-]|$)"
)
"""Addresses of a YouTube video, its id in the first group. Source: the addresses that YouTube itself gives out."""

YOUTUBE_FILE = r"^Y?([A-Za-z0-9_-]{11})(?:_[0-9]+(?:[.][0-9]+)?){0,2}$"
"""File names, without suffix, by which audio collections call a YouTube video: its id; AudioSet's copies have a `Y`
before it, VGGSound's and AudioCaps' the start (and end) after it."""


def youtube_id(url: str | None, path: str | None) -> str | None:
    """The id of the YouTube video that an address leads to, or that a file is named for; None: none is seen.

    Args:
        url: An http(s) address.
        path: Path of a file.
    """
    found = re.search(YOUTUBE_ADDRESS, url) if url else None
    if path is not None:
        found = re.search(YOUTUBE_FILE, PurePosixPath(path).stem)
    return found[1] if found else None


def known_as_sql(videos: str = "videos") -> str:
    """SQL for every key by which a video may be known; `youtube_id` and `curation/keys.py` in SQL.

    Args:
        videos: SQL of a table with `video_key`, `platform`, `url` and `path`.

    Returns:
        A query for `video_key`, `source_key` (its own key, or that of the YouTube video that it is), `youtube_id` (null
        in the row of its own key) and `is_file`: a file named for a video may be any part of it.
    """
    return f"""SELECT video_key, video_key AS source_key, NULL AS youtube_id, false AS is_file FROM {videos}
UNION ALL
SELECT video_key, left(sha256('["youtube","' || id || '"]'), 20), id, platform = 'file'
FROM (
    SELECT video_key, platform, CASE platform WHEN 'url' THEN regexp_extract(url, {quoted(YOUTUBE_ADDRESS)}, 1)
        ELSE regexp_extract(regexp_extract(path, '([^/]*?)(?:[.][^./]*)?$', 1), {quoted(YOUTUBE_FILE)}, 1) END AS id
    FROM {videos} WHERE platform IN ('url', 'file')
)
WHERE id <> ''"""
