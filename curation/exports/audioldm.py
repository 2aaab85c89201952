"""AudioLDM's JSON: `{"data": [{"wav", "caption", "labels"}, ...]}`, and the two files that lead to it.

Source: https://github.com/haoheliu/AudioLDM-training-finetuning, `audioldm_train/utilities/data/dataset.py`: `wav` is
relative to the root in `dataset_root.json`; of all keys with `caption` in their name one is drawn at each reading;
`labels` are ids joined by commas and must stand in `class_label_indices.csv`, so a clip without labels has no such key.
"""

import csv
import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from curation.exports.clip import ExportClip
from curation.exports.target import MediaMode, Target, Written, spread
from curation.tables import publish, temporary_beside, write_bytes

NAME = "foundsound"
"""What the data set is called in `dataset_root.json`."""

LABELS_FILE = "class_label_indices.csv"


class AudioLdm:
    """Writes `<split>.json`, `class_label_indices.csv`, `dataset_root.json`, and sounds below `audio/`."""

    def __init__(self) -> None:
        self._labels: set[str] = set()
        self._splits: list[str] = []
        self._rooted = True

    def write(self, clips: Iterator[ExportClip], target: Target) -> Written:
        """One row a clip, with all its captions; a clip without any is left out as NO_CAPTION."""
        written, rows = Written(), 0
        self._splits.append(target.split)
        self._rooted = target.media is not MediaMode.REFERENCE
        file = target.folder / f"{target.split}.json"
        temporary = temporary_beside(file)
        try:
            with temporary.open("w", encoding="utf-8", newline="\n") as out:
                out.write('{"data": [')
                for clip in clips:
                    if not clip.captions:
                        written.left_out["NO_CAPTION"] += 1
                        continue
                    out.write(",\n" if rows else "\n")
                    out.write(json.dumps(self._row(clip, target), ensure_ascii=False))
                    rows += 1
                out.write("\n]}\n")
            publish(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)
        return Written(rows, written.left_out)

    def finish(self, folder: Path, final: Path) -> None:
        """The labels of all splits with their numbers, and where everything lies."""
        table = StringIO()
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(("index", "mid", "display_name"))
        rows.writerows((number, label_id(label), label) for number, label in enumerate(sorted(self._labels)))
        write_bytes(folder / LABELS_FILE, table.getvalue().encode())
        files = {split: str(final / f"{split}.json") for split in self._splits}
        lists = {**files, "class_label_indices": str(final / LABELS_FILE)}
        root = {NAME: str(final) if self._rooted else "/", "metadata": {"path": {NAME: lists}}}
        write_bytes(folder / "dataset_root.json", json.dumps(root, indent=2, ensure_ascii=False).encode() + b"\n")

    def _row(self, clip: ExportClip, target: Target) -> dict[str, str]:
        self._labels.update(clip.labels)
        first, *others = clip.captions
        wav = target.place(clip.sound, spread("audio", clip, clip.sound)).removeprefix("/")
        row = {"wav": wav, "caption": first}
        row.update({f"caption_{number}": caption for number, caption in enumerate(others, start=2)})
        return {**row, "labels": ",".join(map(label_id, clip.labels))} if clip.labels else row


def label_id(label: str) -> str:
    """A label without commas, different for different labels."""
    return label.replace("%", "%25").replace(",", "%2C")
