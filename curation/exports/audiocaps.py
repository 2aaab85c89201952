"""AudioCaps' CSV: `audiocap_id,youtube_id,start_time,caption`, one caption a row.

Source: https://github.com/cdjkim/audiocaps: every clip is 10 s of a YouTube video and starts at a whole second. What
does not fit is left out and counted. `foundsound manifest audiocaps` reads these files again.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from curation.exports.clip import ExportClip
from curation.exports.target import MediaMode, Target, Written
from curation.lists.audiocaps import CLIP_MS, COLUMNS
from curation.tables import publish, temporary_beside


class AudioCaps:
    """Writes `<split>.csv`, and sounds as `audio/{youtube_id}_{start_time:06d}.flac`."""

    def __init__(self) -> None:
        self._last_id = 0

    def write(self, clips: Iterator[ExportClip], target: Target) -> Written:
        """One row a caption, numbered from 1 through all splits."""
        written, rows = Written(), 0
        file = target.folder / f"{target.split}.csv"
        temporary = temporary_beside(file)
        try:
            with temporary.open("w", encoding="utf-8", newline="") as out:
                table = csv.writer(out, lineterminator="\n")
                table.writerow(COLUMNS)
                for clip in clips:
                    reason = misfit(clip)
                    if reason:
                        written.left_out[reason] += 1
                        continue
                    start_s = int(clip.start_s)
                    if target.media is not MediaMode.REFERENCE:
                        target.place(clip.sound, f"audio/{clip.video_id}_{start_s:06d}{clip.sound.suffix}")
                    for caption in clip.captions:
                        self._last_id += 1
                        table.writerow((self._last_id, clip.video_id, start_s, " ".join(caption.split())))
                    rows += len(clip.captions)
            publish(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)
        return Written(rows, written.left_out)

    def finish(self, folder: Path, final: Path) -> None:
        """There is nothing beside the splits."""


def misfit(clip: ExportClip) -> str | None:
    """Why a clip cannot stand in such a file; None when it can."""
    if clip.platform != "youtube":
        return "NOT_YOUTUBE"
    if round(clip.duration_s * 1000) != CLIP_MS:
        return "NOT_10_S"
    if clip.start_s != int(clip.start_s):
        return "NOT_A_WHOLE_SECOND"
    return None if clip.captions else "NO_CAPTION"
