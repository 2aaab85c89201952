"""Builds: waiting for an egress, followers, and each recipe end to end on a loopback mirror, twice."""

import csv
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from builds.made_media import write_video

from curation.dataset import Dataset
from curation.errors import ArgumentError, PausedError, StoppedError
from curation.selections.selection import read_report
from curation.shards.generation import GenerationIndex
from curation.status import status
from pipelines.builds import run as running
from pipelines.builds.options import Step
from pipelines.builds.run import run_steps
from pipelines.quickstart.mirror import Mirror
from pipelines.verbs.build import BuildResult, Course, Parts, Plan, build
from pipelines.verbs.retry import retry

FETCH = Step("fetch", ("dataset",))


def script(monkeypatch: pytest.MonkeyPatch, *answers: object) -> list[list[str]]:
    """Let the program give these answers, one a command; an exception is raised. Returns the commands it was given."""
    commands: list[list[str]] = []
    left = list(answers)

    def program(words: list[str]) -> object:
        commands.append(words)
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(running, "make_app", lambda: program)
    monkeypatch.setattr(running, "check", lambda steps: None)
    return commands


def test_a_paused_egress_is_waited_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    until = time.time() + 60.0
    refused = [PausedError(text, until) for text in ("refused 24 times", "refused again")]
    commands = script(monkeypatch, *refused, "fetched", "measured")
    done = run_steps([FETCH, Step("measure", ("dataset",))], Path("dataset"), wait=True)
    assert [one.result for one in done] == ["fetched", "measured"]
    assert commands == [["fetch", "dataset"]] * 3 + [["measure", "dataset"]]
    assert slept == pytest.approx([61.0, 61.0], abs=0.5)
    assert "refused 24 times; the next row is due at 20" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wait", "error"),
    [(False, PausedError("the disk is full", 0.0)), (True, StoppedError("the disk is full"))],
)
def test_without_wait_or_without_a_pause_the_build_stops(
    wait: bool, error: StoppedError, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, error)
    with pytest.raises(StoppedError, match="the disk is full"):
        run_steps([FETCH], Path("dataset"), wait=wait)


def test_only_what_comes_after_the_fetch_follows_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The program that follows is replaced by one that writes down what it was given."""
    seen = tmp_path / "seen"
    (tmp_path / "follower.py").write_text(
        f"import sys; open({str(seen)!r}, 'a').write(' '.join(sys.argv[1:]) + chr(10)); sys.exit('fails' in sys.argv)"
    )
    monkeypatch.setattr(running, "FOLLOWER", (sys.executable, str(tmp_path / "follower.py")))
    monkeypatch.setattr(running, "Dataset", lambda out: SimpleNamespace(has_stage=lambda name: name == "cut"))
    monkeypatch.setattr(running, "_fetch", lambda step, out, wait: time.sleep(5 * running.LOOK_EVERY_S))
    after = [Step("measure", ("d",)), Step("dedupe", ("d",)), Step("embed", ("d", "--embedder", "x"))]
    script(monkeypatch, *["done"] * 3)
    run_steps([FETCH, *after], Path("d"), follow=True)
    assert sorted(seen.read_text().splitlines()) == ["embed d --embedder x --follow", "measure d --follow"]
    with pytest.raises(StoppedError, match="`foundsound measure fails --follow` failed"):
        run_steps([FETCH, Step("measure", ("fails",))], Path("d"), follow=True)


def test_a_plan_runs_nothing(tmp_path: Path) -> None:
    plan = build(
        "vggsound",
        out=tmp_path / "out",
        lists=["no.csv"],
        parts=Parts(rules=""),
        course=Course(plan=True),
        guard=GUARDS,
    )
    assert isinstance(plan, Plan) and str(plan).startswith("foundsound manifest vggsound no.csv --out ")
    assert plan.as_dict()[0][:3] == ["manifest", "vggsound", "no.csv"]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ArgumentError, match="must not train on"):
        build("vggsound", out=tmp_path / "out", lists=["no.csv"], course=Course(plan=True))


GUARDS = ["audiocaps-val=v.csv", "audiocaps-test=t.csv"]

CLIP_S, SEGMENTED_S = 10, 21
"""Length of the clips of VGGSound and AudioCaps, and of the videos that are cut every 10 s."""

VIDEOS = [f"madevideo{number:02d}" for number in range(5)]
DEAD = "deadvideo00"


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    folder = tmp_path_factory.mktemp("media")
    for video_id in VIDEOS:
        write_video(folder, video_id, CLIP_S + 2)
    for number in range(2):
        write_video(folder, f"longvideo{number:02d}", SEGMENTED_S)
    with Mirror(folder) as serving:
        yield serving


def written(path: Path, *rows: list[Any]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def built_twice(recipe: Any, mirror: Mirror, out: Path, **how: Any) -> BuildResult:
    """Build, and again: nothing is asked for, no row is added, no shard is written."""
    source = [f"{mirror.url}/{{video_id}}.mp4"]
    first = build(recipe, out=out, source=source, **how)
    assert isinstance(first, BuildResult) and first.done[-1].step.verb == "report"
    asked, parts = len(mirror.requests), sorted(out.glob("facts/**/part-*.parquet"))
    shards = {path: path.stat().st_mtime_ns for path in out.glob("shards/*/*")}
    build(recipe, out=out, source=source, **how)
    assert len(mirror.requests) == asked
    assert sorted(out.glob("facts/**/part-*.parquet")) == parts
    assert shards and {path: path.stat().st_mtime_ns for path in out.glob("shards/*/*")} == shards
    for stage, counts in status(Dataset(out)).items():
        assert (counts.pending, counts.done + sum(counts.set_aside.values())) == (0, counts.requested), stage
    assert (out / "reports" / "report.html").is_file()
    return first


def kept(out: Path, split: str) -> tuple[int, dict[str, int]]:
    """How many clips are in, and the others of this split by reason."""
    report = read_report(Dataset(out), split)
    return report.kept_clips, {reason: count for reason, count in report.refused.items() if reason != "SPLIT"}


HEADER = ["audiocap_id", "youtube_id", "start_time", "caption"]


@pytest.mark.slow
def test_vggsound(mirror: Mirror, tmp_path: Path) -> None:
    """Four clips for training, of which one is in an evaluation list and one is dead; one held out."""
    labels = [[video_id, 1, "dog, barking", "train"] for video_id in (*VIDEOS[:3], DEAD)]
    listed = written(tmp_path / "vggsound.csv", *labels, [VIDEOS[3], 0, "rain", "test"])
    held_out = written(tmp_path / "test.csv", HEADER, [1, VIDEOS[0], 5, "a dog"], [2, "anothervid0", 0, "rain"])
    nothing = written(tmp_path / "val.csv", HEADER, [1, "anothervid1", 0, "rain"])
    guards = [f"audiocaps-val={nothing}", f"audiocaps-test={held_out}"]
    out = tmp_path / "out"
    built_twice("vggsound", mirror, out, lists=[str(listed)], guard=guards, parts=Parts(workers=0))
    assert dict(status(Dataset(out))["fetch"].set_aside) == {"NOT_FOUND": 1}
    assert kept(out, "train") == (2, {"GUARD": 1, "NOT_FOUND": 1})
    assert kept(out, "test") == (1, {"NOT_FOUND": 1})


@pytest.mark.slow
def test_a_build_goes_on_when_more_clips_came(tmp_path: Path) -> None:
    """Two videos are there at first, a third one later: the shards of the first two are named, not written again."""
    media, out = tmp_path / "media", tmp_path / "out"
    media.mkdir()
    for video_id in VIDEOS[:2]:
        write_video(media, video_id, CLIP_S + 2)
    listed = written(tmp_path / "vggsound.csv", *[[video_id, 1, "rain", "train"] for video_id in VIDEOS[:3]])
    parts = Parts(workers=0, unguarded=("audiocaps-val", "audiocaps-test"))
    with Mirror(media) as mirror:
        how = {"lists": [str(listed)], "source": [f"{mirror.url}/{{video_id}}.mp4"], "parts": parts}
        build("vggsound", out=out, **how)
        first = {path.name: path.read_bytes() for path in (out / "shards" / "train").iterdir()}
        write_video(media, VIDEOS[2], CLIP_S + 2)
        retry(out, code=("NOT_FOUND",))
        for _ in range(2):
            again = build("vggsound", out=out, **how)
            assert isinstance(again, BuildResult)
            ran = [str(one.step) for one in again.done if one.step.verb in ("pack", "extend", "verify")]
            words = f"foundsound extend {out} --selection train --from train --name train-2"
            assert ran == [words, f"foundsound verify {out} --generation train-2"]
    assert kept(out, "train") == (3, {})
    assert {path.name: path.read_bytes() for path in (out / "shards" / "train").iterdir()} == first
    shards = Dataset(out).root("shards")
    assert (GenerationIndex.read(shards / "train-2").clips, GenerationIndex.read(shards / "train").clips) == (3, 2)
    assert sorted(path.name for path in (out / "shards").iterdir()) == ["train", "train-2"]


@pytest.mark.slow
def test_audiocaps(mirror: Mirror, tmp_path: Path) -> None:
    rows = [[number, video_id, 1, f"sound {number}"] for number, video_id in enumerate(VIDEOS)]
    train, test = written(tmp_path / "a.csv", HEADER, *rows[:3]), written(tmp_path / "b.csv", HEADER, *rows[3:])
    guard = written(tmp_path / "vggsound.csv", [VIDEOS[1], 11, "rain", "test"], [VIDEOS[2], 2, "rain", "test"])
    out, lists = tmp_path / "out", [f"train={train}", f"test={test}"]
    built_twice("audiocaps", mirror, out, lists=lists, guard=[f"vggsound-test={guard}"], parts=Parts(workers=0))
    assert kept(out, "train") == (2, {"GUARD": 1})
    assert kept(out, "test") == (2, {})


@pytest.mark.slow
def test_v2m(mirror: Mirror, tmp_path: Path) -> None:
    """Two videos of 21 s are two clips each; its rule is left out, since it wants a tagger's weights."""
    (tmp_path / "V2M.txt").write_text("longvideo00\nlongvideo01\n")
    (tmp_path / "bench.txt").write_text("longvideo01\n")
    out, guards = tmp_path / "out", [f"v2m-bench={tmp_path / 'bench.txt'}"]
    parts = Parts(workers=0, rules="", unguarded=("musiccaps",))
    built_twice("v2m", mirror, out, lists=[str(tmp_path / "V2M.txt")], guard=guards, parts=parts)
    assert kept(out, "train") == (2, {"GUARD": 2})


@pytest.mark.slow
def test_v2m_with_its_rule(mirror: Mirror, tmp_path: Path, real_data: Path) -> None:
    """Noise is no music, and 21 s are shorter than the rule's 30 s: nothing is kept, and nothing is packed."""
    (weights,) = real_data.glob("weights/efficientat_mn04/*.pt")
    (tmp_path / "V2M.txt").write_text("longvideo00\n")
    parts = Parts(workers=0, tagger=str(weights), unguarded=("musiccaps", "v2m-bench"))
    how = {"lists": [str(tmp_path / "V2M.txt")], "source": [f"{mirror.url}/{{video_id}}.mp4"], "parts": parts}
    built = build("v2m", out=tmp_path / "out", **how)
    assert isinstance(built, BuildResult)
    assert [done.step.verb for done in built.done[-2:]] == ["select", "report"]
    assert kept(tmp_path / "out", "train") == (0, {"RULE": 2})


@pytest.mark.slow
def test_stages_follow_a_build_and_a_split_without_clips_is_left_out(mirror: Mirror, tmp_path: Path) -> None:
    listed = written(tmp_path / "vggsound.csv", *[[video_id, 1, "rain", "train"] for video_id in VIDEOS])
    parts = Parts(workers=0, unguarded=("audiocaps-val", "audiocaps-test"))
    how = {"lists": [str(listed)], "source": [f"{mirror.url}/{{video_id}}.mp4"], "parts": parts}
    build("vggsound", out=tmp_path / "out", course=Course(follow=True, until="pack"), **how)
    assert status(Dataset(tmp_path / "out"))["measure"].done == len(VIDEOS)
    assert [path.name for path in (tmp_path / "out" / "shards").iterdir()] == ["train"]
