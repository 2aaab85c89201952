"""AudioX's JSONL: one row a caption, `{"path", "video_path", "caption", "type"}`.

Source: https://github.com/ZeyueT/AudioX, `stable_audio_tools/data/dataset.py`: paths are opened as they stand, so they
are absolute here; `type` is one of the names listed there, and the loader swaps a row of any other for a random one.
"""

import json
from collections.abc import Container, Iterator
from pathlib import Path

import numpy as np

from curation.dataset import Dataset
from curation.exports.clip import ExportClip
from curation.exports.target import MediaMode, Target, Written, spread
from curation.tables import publish, temporary_beside

CONDITIONS = {
    (True, False): "text_condition",
    (False, True): "video_condition",
    (True, True): "text+video_condition",
}
"""(has a caption, has a picture) -> the first half of `type`."""

PROMPTS = {"audio": "Generate general audio for the video", "music": "Generate music for the video"}
"""The caption of a picture without one. Source: the prompts of AudioX's README for video-to-audio and -music."""

MUSIC_LISTS = ("v2m", "musiccaps")
"""Kinds of lists that hold music only."""

MUSIC_LABEL = "music"
"""AudioSet's class /m/04rlf, in lower case."""

MUSIC_RATIO = 0.5
"""Share of a clip's windows that must be tagged as music. Source: VidMuse's filter of V2M (arXiv 2406.04321)."""


class Music:
    """Which clips hold music: by their tags where `tag` has run, else by the list or the label that names them.

    Args:
        dataset: The dataset.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._lists = {source["list"] for source in dataset.config["sources"] if source.get("kind") in MUSIC_LISTS}
        self._tagged = self._music = np.empty(0, "S1")
        if dataset.has_stage("tag"):
            done = "SELECT DISTINCT key FROM tag WHERE state = 'done' {more} ORDER BY key"
            self._tagged = _keys(dataset, done.format(more=""))
            self._music = _keys(dataset, done.format(more=f"AND music_ratio >= {MUSIC_RATIO}"))

    def __contains__(self, clip: object) -> bool:
        if not isinstance(clip, ExportClip):
            return False
        if _holds(self._tagged, clip.clip_id):
            return _holds(self._music, clip.clip_id)
        return bool(self._lists & set(clip.lists)) or MUSIC_LABEL in {label.lower() for label in clip.labels}


def _keys(dataset: Dataset, query: str) -> np.ndarray:
    """Sorted keys as bytes: 20 bytes a clip, so six million are 120 MB."""
    return np.array(dataset.sql(query)["key"].to_numpy(), dtype="S")


def _holds(keys: np.ndarray, key: str) -> bool:
    place = int(np.searchsorted(keys, key.encode()))
    return place < len(keys) and keys[place] == key.encode()


class AudioX:
    """Writes `<split>.jsonl`, and media below `audio/` and `video/`.

    Args:
        music: The clips that hold music.
    """

    def __init__(self, music: Container[ExportClip]) -> None:
        self._music = music

    def write(self, clips: Iterator[ExportClip], target: Target) -> Written:
        """One row a caption; a clip without caption and picture is left out as NO_CAPTION."""
        written, rows = Written(), 0
        file = target.folder / f"{target.split}.jsonl"
        temporary = temporary_beside(file)
        try:
            with temporary.open("w", encoding="utf-8", newline="\n") as lines:
                for clip in clips:
                    found = self._rows(clip, target)
                    lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in found)
                    rows += len(found)
                    written.left_out.update([] if found else ["NO_CAPTION"])
            publish(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)
        return Written(rows, written.left_out)

    def finish(self, folder: Path, final: Path) -> None:
        """There is nothing beside the splits."""

    def _rows(self, clip: ExportClip, target: Target) -> list[dict[str, str]]:
        picture = clip.picture if target.pictures else None
        if not clip.captions and picture is None:
            return []
        kind = "music" if clip in self._music else "audio"
        row = {
            "path": _absolute(target, target.place(clip.sound, spread("audio", clip, clip.sound))),
            "video_path": _absolute(target, target.place(picture, spread("video", clip, picture))) if picture else "",
        }
        named = f"{CONDITIONS[bool(clip.captions), picture is not None]}-{kind}"
        return [{**row, "caption": caption, "type": named} for caption in clip.captions or (PROMPTS[kind],)]


def _absolute(target: Target, path: str) -> str:
    return path if target.media is MediaMode.REFERENCE else str(target.final / path)
