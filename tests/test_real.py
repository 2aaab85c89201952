"""The whole path on real lists and media, through the command line: every row asked for ends done or set aside.

Media come from a loopback mirror through the real yt-dlp, and from the disk. `make real` runs it and shows the counts.
"""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curation.dataset import Dataset
from pipelines.quickstart.mirror import Mirror
from tests.captioning import tiny_models

pytestmark = pytest.mark.real

DEAD_LINKS = 200
TRAINED_CLIPS = 640
SEED = 2

VGGSOUND_CLIPS = 12
URL_VIDEOS = {"done": 25, "NO_AUDIO": 7}
SOUNDS = {"done": 250}
LABELLED_SOUNDS = 243
ODD = {"done": 17, "UNREADABLE": 18, "EMPTY": 3, "TRUNCATED": 3, "NO_AUDIO": 3}
"""What the media are, counted once by cutting each file by itself; `videos.csv` and `odd.csv` say the same."""

LIMITS_S = {"fetch": 1200.0, "measure": 900.0, "caption": 600.0, "train": 600.0, "embed": 600.0}
"""Wall time after which a command counts as hanging, s; about five times what two busy cores take."""
LIMIT_S = 300.0


@dataclass(slots=True)
class Journey:
    """One dataset, and what each command answered and took."""

    folder: Path
    answers: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)

    @property
    def dataset(self) -> Path:
        return self.folder / "dataset"

    def step(self, name: str, verb: str, *words: str | Path) -> Any:
        """Run one verb as a user would, and keep its answer under a name."""
        command = [sys.executable, "-m", "pipelines.main", verb, *map(str, words), "--json"]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        begun = time.monotonic()
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            try:
                printed, _ = process.communicate(timeout=LIMITS_S.get(verb, LIMIT_S))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGINT)
                raise
        self.seconds[name] = time.monotonic() - begun
        assert process.returncode == 0, f"{' '.join(command)} ended with {process.returncode}"
        self.answers[name] = json.loads(printed)
        return self.answers[name]


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_table(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def vggsound_list(real_data: Path, path: Path) -> list[list[str]]:
    """The clips whose media are here, and rows of the same list whose media are not."""
    here = {row["video_id"]: row["start_s"] for row in read_csv(real_data / "media/videos.csv") if row["video_id"]}
    with (real_data / "annotations/vggsound/vggsound_subset.csv").open(newline="") as file:
        listed = list(csv.reader(file))
    rows = [row for row in listed if here.get(row[0]) == row[1]]
    assert len(rows) == 8
    rows += [[video_id, here[video_id], "unknown", "train"] for video_id in here.keys() - {row[0] for row in rows}]
    others = [row for row in listed if row[0] not in here]
    rows += [others[i] for i in np.random.default_rng(SEED).choice(len(others), DEAD_LINKS, replace=False)]
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    return rows


def tables(real_data: Path, folder: Path, address: str) -> dict[str, Path]:
    """General tables: the videos without an id by their URL; sounds with labels, sounds with captions, odd files."""
    media = real_data / "media"
    videos = [{"url": f"{address}/{row['file']}"} for row in read_csv(media / "videos.csv") if not row["video_id"]]
    labelled = [
        {
            "path": f"sounds/esc50/{row['filename']}",
            "labels": row["category"].replace("_", " "),
            "split": "test" if row["fold"] == "5" else "train",
        }
        for row in read_csv(media / "sounds/esc50.csv")
    ]
    captioned = [
        {"path": f"sounds/captioned/{row['file']}", "captions": row["caption"]}
        for row in read_csv(media / "sounds/captioned.csv")
    ]
    odd = [{"path": f"odd/{row['file']}"} for row in read_csv(media / "odd.csv")]
    lists = {"videos": videos, "esc50": labelled, "captioned": captioned, "odd": odd}
    return {name: write_table(folder / f"{name}.csv", rows) for name, rows in lists.items()}


def fetch_all(journey: Journey, real_data: Path) -> None:
    """All lists and all media; then the same commands once more."""
    dataset, media = journey.dataset, real_data / "media"
    with Mirror(media / "videos") as mirror:
        template = f"{mirror.url}/{{video_id}}_{{start:06d}}.mp4"
        vggsound_list(real_data, journey.folder / "vggsound.csv")
        lists = tables(real_data, journey.folder, mirror.url)
        journey.step("manifest vggsound", "manifest", "vggsound", journey.folder / "vggsound.csv", "--out", dataset)
        journey.step("fetch --from", "fetch", dataset, "--from", template)
        journey.step("manifest videos", "manifest", "table", lists["videos"], "--out", dataset)
        before = len(mirror.requests)
        journey.step("fetch, private refused", "fetch", dataset)
        journey.asked["private refused"] = len(mirror.requests) - before
        journey.step("fetch --allow-private", "fetch", dataset, "--allow-private")
        for name in ("esc50", "captioned", "odd"):
            journey.step(f"manifest {name}", "manifest", "table", lists[name], "--out", dataset, "--media-root", media)
        journey.step("fetch files", "fetch", dataset)
        before = len(mirror.requests)
        journey.step("again: --from", "fetch", dataset, "--from", template)
        journey.step("again: --allow-private", "fetch", dataset, "--allow-private")
        journey.asked["again"] = len(mirror.requests) - before


def describe_and_search(journey: Journey, real_data: Path) -> None:
    """From measurements to a search by text and by sound, with a CLAP trained here for a moment; and a captioner."""
    dataset, lists = journey.dataset, real_data / "annotations"
    journey.step("measure", "measure", dataset)
    journey.step("caption", "caption", dataset, "--captioner", "label")
    evaluation = f"vggsound-test={lists / 'vggsound/test.csv'}"
    journey.step("guard", "guard", dataset, "--kind", "vggsound", "--add", evaluation)
    where = "measure.silence_ratio < 0.95"
    journey.step("select", "select", dataset, "--where", where, "--guard", "vggsound-test")
    journey.step("pack", "pack", dataset)
    journey.step("verify", "verify", dataset)
    journey.step("train", "train", "clap-tiny", "--data", dataset, "--clips", str(TRAINED_CLIPS))
    clap = dataset / "runs/clap-tiny/model"
    journey.step("embed", "embed", dataset, "--embedder", clap)
    journey.step("index", "index", dataset, "--embedder", clap)
    journey.step("query", "query", dataset, "dog", "--k", "5")
    journey.step("query --sound", "query", dataset, "--sound", a_dog(real_data), "--k", "5")
    journey.step("report", "report", dataset, "--query", "dog")
    qwen = tiny_models.qwen2_audio(journey.folder / "qwen2-audio")
    journey.step("caption by a model", "caption", dataset, "--captioner", qwen, "--name", "model")
    journey.step("status", "status", dataset)


def a_dog(real_data: Path) -> Path:
    rows = read_csv(real_data / "media/sounds/esc50.csv")
    dog = next(row["filename"] for row in rows if row["category"] == "dog" and row["fold"] != "5")
    return real_data / "media/sounds/esc50" / dog


@pytest.fixture(scope="module")
def journey(real_data, tmp_path_factory):
    made = Journey(tmp_path_factory.mktemp("real"))
    fetch_all(made, real_data)
    describe_and_search(made, real_data)
    show(made)
    return made


def show(journey: Journey) -> None:
    """The table of counts, for whoever runs this with -s."""
    print("\n\nstage         requested    done  pending  set aside")
    for stage, counts in journey.answers["status"].items():
        aside = ", ".join(f"{count} {code}" for code, count in counts["set_aside"].items()) or "none"
        print(f"{stage:<14}{counts['requested']:>9}{counts['done']:>8}{counts['pending']:>9}  {aside}")
    for name, found in ends(journey).items():
        print(f"{name}: {', '.join(f'{count} {end}' for end, count in found.items())}")
    print(", ".join(f"{name} {seconds:.0f} s" for name, seconds in journey.seconds.items()), flush=True)


def ends(journey: Journey) -> dict[str, Counter[str]]:
    """How the videos (or cut clips) of each list ended: done when cut, else the code of the stage that refused."""
    rows = Dataset(journey.dataset).sql(
        """
        WITH listed AS (
            SELECT DISTINCT list, key, coalesce(clips.video_key, annotations.key) AS video_key
            FROM annotations LEFT JOIN clips ON clips.clip_id = annotations.key
        ),
        ended AS (
            SELECT clip_id AS unit, video_key, cut.state, cut.code FROM clips LEFT JOIN cut ON cut.key = clip_id
            UNION ALL SELECT key, key, state, code FROM "fetch" WHERE state <> 'done'
            UNION ALL SELECT key, key, state, code FROM segment WHERE state <> 'done'
        )
        SELECT list, listed.key, coalesce(any_value(code), any_value(state), 'pending') AS ended
        FROM listed LEFT JOIN ended ON listed.key IN (ended.unit, ended.video_key)
        GROUP BY ALL"""
    )
    found: dict[str, Counter[str]] = {}
    for row in rows.to_pylist():
        found.setdefault(row["list"], Counter())[row["ended"]] += 1
    return found


def test_every_row_is_done_or_set_aside(journey):
    for stage, counts in journey.answers["status"].items():
        aside = sum(counts["set_aside"].values())
        assert counts["done"] + aside + counts["pending"] == counts["requested"], stage
        assert counts["pending"] == 0, stage


def test_dead_links_are_not_found_and_the_others_are_cut(journey):
    counts = journey.answers["fetch --from"]["fetch"]
    assert counts["done"] == VGGSOUND_CLIPS and counts["set_aside"] == {"NOT_FOUND": DEAD_LINKS}
    assert ends(journey)["vggsound"] == {"done": VGGSOUND_CLIPS, "NOT_FOUND": DEAD_LINKS}


def test_private_addresses_are_asked_only_when_allowed(journey):
    refused = journey.answers["fetch, private refused"]["fetch"]["set_aside"]
    assert refused == {"FORBIDDEN": sum(URL_VIDEOS.values()), "NOT_FOUND": DEAD_LINKS}
    assert journey.asked["private refused"] == 0
    assert journey.seconds["fetch, private refused"] < 60
    assert "FORBIDDEN" not in journey.answers["status"]["fetch"]["set_aside"]


def test_media_end_as_they_are(journey):
    found = ends(journey)
    assert found["videos"] == URL_VIDEOS
    assert found["esc50"] + found["captioned"] == SOUNDS
    assert found["odd"] == ODD


def test_the_same_commands_again_do_nothing(journey):
    for again in ("again: --from", "again: --allow-private"):
        repeated = {**journey.answers[again], "seconds": None}
        assert repeated == {**journey.answers["fetch files"], "seconds": None}
        assert journey.seconds[again] < 30
    assert journey.asked["again"] == 0


def test_labels_and_captions_become_sentences(journey):
    status = journey.answers["status"]
    labelled = VGGSOUND_CLIPS + LABELLED_SOUNDS
    assert status["caption:label"]["done"] == labelled
    assert status["caption:label"]["set_aside"] == {"NO_LABEL": status["cut"]["done"] - labelled}
    assert status["caption:model"]["done"] > 250
    assert status["caption:model"]["set_aside"].keys() <= {"TOO_SHORT", "BAD_CAPTION"}
    assert status["measure"]["done"] == status["embed"]["done"] == status["cut"]["done"]


def test_the_guard_finds_the_clips_of_the_evaluation_list(journey, real_data):
    with (journey.folder / "vggsound.csv").open(newline="") as file:
        listed = {(row[0], int(row[1])) for row in csv.reader(file)}
    with (real_data / "annotations/vggsound/test.csv").open(newline="") as file:
        tests = {(row[0][:11], int(row[0][12:18])) for row in csv.reader(file)}
    near = {(video_id, start + shift) for video_id, start in tests for shift in range(-9, 10)}
    assert journey.answers["guard"]["vggsound-test"]["overlapping_clips"] == len(listed & near)


def test_shards_hold_what_was_selected(journey):
    kept = journey.answers["select"]["kept_clips"]
    assert kept > 200 and journey.answers["pack"]["clips"] == kept
    whole = {"shards": journey.answers["pack"]["shards"], "clips": kept, "problems": []}
    assert journey.answers["verify"]["train"] == whole


def test_a_sound_finds_itself_and_words_find_clips(journey):
    hits = journey.answers["query"]
    assert len({hit["clip_id"] for hit in hits}) == 5
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    assert all(Path(hit["path"]).is_file() and 0 <= hit["start_s"] < hit["end_s"] for hit in hits)
    best = journey.answers["query --sound"][0]
    assert best["score"] > 0.95 and "dog" in best["caption"].lower()


def test_the_report_is_a_page(journey):
    page = Path(journey.answers["report"]["page"])
    assert "<audio" in page.read_text(encoding="utf-8")
