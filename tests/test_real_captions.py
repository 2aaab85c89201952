"""Captions of real sounds by every kind of captioner, looked at, written out and judged: the verbs in their order.

The sounds are those that people have captioned and some of ESC-50; the tagger has its published weights, the
audio-language models are tiny random ones of their real classes, and a loopback server speaks the chat protocol.
"""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from captioning.cache import CAPTION_CACHE, AnswerCache
from curation.dataset import Dataset
from curation.status import StageStatus
from pipelines.evaluations.captions import captions as judge
from pipelines.verbs.augment import augment
from pipelines.verbs.caption import caption
from pipelines.verbs.captions import captions
from pipelines.verbs.fetch import fetch
from pipelines.verbs.manifest import manifest
from pipelines.verbs.result import StageResult
from pipelines.verbs.tag import tag
from pipelines.wiring.captioners import ModelOptions
from tests.captioning import tiny_models, tiny_omni
from tests.captioning.augment.text_server import text_server
from tests.captioning.chat_stand_in import Asked, Reply, chat_server

pytestmark = pytest.mark.real

FAMILIES: dict[str, Callable[[Path], Path]] = {
    "qwen2-audio": tiny_models.qwen2_audio,
    "qwen2.5-omni": tiny_omni.qwen2_5_omni,
    "qwen3-omni": tiny_omni.qwen3_omni,
    "audio-flamingo-3": tiny_models.audio_flamingo_3,
    "music-flamingo": tiny_models.music_flamingo,
}
EVERY = 30
"""Of ESC-50 every so many-th sound is taken."""

SAID = "A sound of {} samples at a level of {} is heard in the room."


def says(question: Asked, before: int) -> Reply:
    return Reply.saying(SAID.format(question.samples, question.level))


@pytest.fixture(scope="module")
def dataset(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Real sounds with captions by people or labels, cut and tagged."""
    folder, media = tmp_path_factory.mktemp("real"), real_data / "media"
    with (media / "sounds/captioned.csv").open(newline="") as file:
        people = [(f"sounds/captioned/{row['file']}", "", row["caption"]) for row in csv.DictReader(file)]
    with (media / "sounds/esc50.csv").open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["filename"])[::EVERY]
        labelled = [(f"sounds/esc50/{row['filename']}", row["category"].replace("_", " "), "") for row in rows]
    with (folder / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "labels", "captions"), *people, *labelled])
    manifest("table", folder / "list.csv", out=folder / "dataset", media_root=media)
    fetch(folder / "dataset", workers=0)
    tag(folder / "dataset", tagger=str(real_data / "weights/efficientat_mn04"), workers=0)
    return Dataset(folder / "dataset")


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("FOUNDSOUND_CACHE", str(folder))
        yield folder / CAPTION_CACHE


def counted(result: StageResult, name: str) -> StageStatus:
    """Where the captions of a name stand."""
    return result.stages.get(f"caption:{name}") or result.stages["caption"]


def test_every_captioner_speaks_of_every_sound_once(dataset: Dataset, cache: Path, tmp_path: Path) -> None:
    clips = dataset.sql("SELECT key FROM cut WHERE state = 'done'").num_rows
    assert clips >= 12
    counts = {}
    for name, make in FAMILIES.items():
        asked = {"captioner": str(make(tmp_path / name)), "name": name, "model": ModelOptions(batch=4), "workers": 0}
        counts[name] = counted(caption(dataset.path, candidates=2, **asked), name)
        assert caption(dataset.path, candidates=2, **asked).tally.done == 0
    for name in ("tags", "label"):
        counts[name] = counted(caption(dataset.path, captioner=name), name)
    with chat_server(says) as server:
        asked = {"captioner": server.url, "name": "served", "prompt": "vggsound-caps-v2", "tags": "audioset"}
        counts["served"] = counted(caption(dataset.path, workers=0, **asked), "served")
        assert len(server.asked) == counts["served"].done == clips
    with text_server(lambda question, _: question.splitlines()[-1][:60]) as server:
        written = augment(dataset.path, writer=server.url, name="written", tags="audioset", workers=0)
        counts["written"] = counted(written, "written")
    print("\n" + "\n".join(f"{name:<18}{one.done:>4} done, {dict(one.set_aside)}" for name, one in counts.items()))
    for one in counts.values():
        assert one.pending == 0 and one.done + sum(one.set_aside.values()) == one.requested == clips
        assert one.set_aside.keys() <= {"BAD_CAPTION", "NO_LABEL", "TOO_SHORT"}
    assert counts["tags"].done >= clips // 2
    sounds = dataset.sql("SELECT audio_sha256 FROM cut WHERE state = 'done'")["audio_sha256"].to_pylist()
    assert AnswerCache(cache).count(sounds) >= 2 * clips
    look_and_judge(dataset, clips, tmp_path)


def look_and_judge(dataset: Dataset, clips: int, folder: Path) -> None:
    """The page has every clip with its sound, the CSV every caption, and people agree with themselves best."""
    page = folder / "captions.html"
    captions(dataset.path, page=page, limit=clips)
    html = page.read_text(encoding="utf-8")
    assert html.count("<article") == html.count("data:audio/ogg;base64,") == clips
    assert "model:served" in html and "model:written" in html and "NO_LABEL" in html
    file = folder / "captions.csv"
    rows = captions(dataset.path, out=file).rows
    with file.open(encoding="utf-8", newline="") as text:
        assert [row["text"] for row in csv.DictReader(text)] == [row["text"] for row in rows]
    assert {"label", "tags", "model:served", "model:written"} <= {row["source"] for row in rows}
    judged = judge(dataset.path)
    print(judged)
