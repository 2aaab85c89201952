"""Names that are computed: the keys of videos and clips, and the hashes from which everything random is derived.

Keys never depend on the list, the row, or the order in which something was met, so that two lists that name the same
clip meet in one row.
"""

import hashlib
import json
from pathlib import Path

KEY_HEX_DIGITS = 20
"""Length of a key: 80 bits. Source: ours; with 10 million keys a collision has a chance of 4e-11 (birthday bound)."""


def canonical(value: object) -> bytes:
    """JSON text with sorted keys and no blanks, UTF-8: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def short_hash(value: object, digits: int = KEY_HEX_DIGITS) -> str:
    """The first `digits` hexadecimal digits of the sha256 of `canonical(value)`."""
    return hashlib.sha256(canonical(value)).hexdigest()[:digits]


def video_key(platform: str, video_id: str) -> str:
    """Key of a video: hash of its platform (`youtube`, `file`, `url`) and its id there."""
    return short_hash([platform, video_id])


def clip_id(platform: str, video_id: str, start_ms: int, duration_ms: int) -> str:
    """Key of a clip: hash of its video and its span in whole milliseconds."""
    if start_ms < 0 or duration_ms <= 0:
        raise ValueError(f"a clip needs start_ms >= 0 and duration_ms > 0, not {start_ms} and {duration_ms}")
    return short_hash([platform, video_id, start_ms, duration_ms])


def stable_hash(text: str) -> int:
    """A 64-bit integer from a text, the same in every process; to seed `numpy.random.default_rng([seed, ...])`."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
