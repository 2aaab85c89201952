"""A dataset whose cut clips are known sounds; the facts of `fetch` and `cut` are written directly."""

from collections.abc import Mapping
from pathlib import Path

import soundfile

from curation import keys
from curation.cut import Cut
from curation.dataset import Dataset
from curation.download.download import Limits
from curation.fetch import Fetch
from curation.segment import Segment
from retrieval_index.windows import Wave
from tests.curation.made import write_facts

RATE_HZ = 8_000


def clip_of(name: str) -> str:
    """The clip_id of the sound of this name."""
    return keys.clip_id("youtube", name, 0, 10_000)


def tone_dataset(folder: Path, sounds: Mapping[str, Wave], captions: Mapping[str, str] | None = None) -> Dataset:
    """One clip a sound, in the list `listed`, with a caption where there is one."""
    dataset = Dataset.create(folder)
    dataset.set_config(sources=[{"list": "listed", "rows": len(sounds), "rejected": 0}])
    videos = {name: keys.video_key("youtube", name) for name in sounds}
    dataset.append(
        "videos",
        [{"video_key": key, "platform": "youtube", "video_id": name} for name, key in videos.items()],
    )
    dataset.append(
        "clips",
        [
            {"clip_id": clip_of(name), "video_key": key, "start_ms": 0, "duration_ms": 10_000, "origin": "segment"}
            for name, key in videos.items()
        ],
    )
    dataset.append(
        "annotations",
        [
            {"key": clip_of(name), "grain": "clip", "list": "listed", "line": line, "captions": [text]}
            for line, (name, text) in enumerate((captions or {}).items())
        ],
    )
    cut = []
    for name, wave_T in sounds.items():
        file = folder / "sound.flac"
        soundfile.write(file, wave_T, RATE_HZ, subtype="PCM_16")
        values = {"audio_sha256": dataset.media.put(file, ".flac"), "sample_rate_hz": RATE_HZ, "channels": 1}
        cut.append((clip_of(name), "done", values, name))
    cutter = Cut(media=dataset.media)
    fetched = [(key, "done", {"original_sha256": name}, key) for name, key in videos.items()]
    fetcher = Fetch(segment=Segment(), cut=cutter, media=dataset.media, limits=Limits())
    write_facts(dataset, fetcher, fetched)
    write_facts(dataset, cutter, cut)
    return dataset
