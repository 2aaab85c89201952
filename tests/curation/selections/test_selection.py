"""Every clip is kept or refused for one reason, each shown by a clip inside and a clip outside."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from curation.dataset import Dataset
from curation.errors import ArgumentError, Code, DatasetError
from curation.fetch import Fetch
from curation.guards import guard
from curation.keys import video_key
from curation.measure import Measure
from curation.schema import column, table
from curation.segment import Segment
from curation.selections.rules import RULES, Rule
from curation.selections.selection import SELECTION, Choice, read_report, read_rows, select
from curation.stage import Stage
from curation.tag import Tag
from tests.curation.made import Made, MadeCut, MadeFetch, MadeMeasure, write_facts


@dataclass(frozen=True, kw_only=True)
class MadeTag(Stage):
    NAME, VERSION, GRAIN = "tag", 1, "clip"
    RESULTS: ClassVar[pa.Schema] = table("", column("music_ratio", pa.float64(), ""))
    called: str = "toy"

    @property
    def label(self) -> str:
        return self.called

    def requests(self) -> str:
        return "SELECT key, audio_sha256 AS input FROM cut WHERE state = 'done'"


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def entry(video_id: str, start_ms: int | None = None, duration_ms: int | None = None) -> Any:
    span = {"start_ms": start_ms, "duration_ms": duration_ms}
    return SimpleNamespace(platform="youtube", video_id=video_id, url=None, path=None, **span)


def verdicts(dataset: Dataset, name: str = "s", **options: Any) -> dict[str, tuple[str | None, str | None]]:
    report = select(dataset, name=name, **options)
    rows = read_rows(dataset, name).to_pylist()
    assert report.clips == len(rows) == report.kept_clips + sum(report.refused.values())
    assert report.kept_clips == sum(row["kept"] for row in rows)
    assert all(row["kept"] == (row["reason"] is None) for row in rows)
    return {row["clip_id"]: (row["reason"], row["refused_by"]) for row in rows}


KEPT = (None, None)


def test_what_a_stage_set_aside_or_has_not_done_is_refused_by_that_stage(made: Made) -> None:
    expected = {
        made.clip("good"): KEPT,
        made.clip("gone", fetch=Code.REMOVED, cut=None, measure=None): ("REMOVED", "fetch"),
        made.clip("unfetched", fetch=None, cut=None, measure=None): ("PENDING", "fetch"),
        made.clip("busy", fetch=Code.NETWORK, cut=None, measure=None): ("PENDING", "fetch"),
        made.clip("uncut", cut=None, measure=None): ("PENDING", "cut"),
        made.clip("short", cut=Code.TOO_SHORT, measure=None): ("TOO_SHORT", "cut"),
        made.clip("slow", cut=Code.TIMEOUT, measure=None): ("PENDING", "cut"),
        made.clip("unmeasured", measure=None): ("PENDING", "measure"),
        made.clip("odd", measure=Code.UNREADABLE): ("UNREADABLE", "measure"),
    }
    assert verdicts(made.dataset()) == expected
    assert read_report(Dataset(made.folder / "dataset"), "s").refused["PENDING"] == 5


def test_a_measurement_of_an_older_cut_does_not_count(made: Made) -> None:
    clip_id = made.clip("v")
    dataset = made.dataset()
    assert verdicts(dataset)[clip_id] == KEPT
    write_facts(dataset, MadeCut(), [(clip_id, "done", {"audio_sha256": "f" * 64}, "original")])
    assert verdicts(dataset)[clip_id] == ("PENDING", "measure")


def test_a_cut_of_an_older_original_does_not_count(made: Made) -> None:
    clip_id = made.clip("v")
    dataset = made.dataset()
    anew = {"licence": "CC0", "duration_s": 9.0, "original_sha256": "another"}
    write_facts(dataset, MadeFetch(), [(video_key("youtube", "v"), "done", anew, "video")])
    assert verdicts(dataset)[clip_id] == ("PENDING", "cut")
    write_facts(dataset, MadeCut(), [(clip_id, "done", {"audio_sha256": "f" * 64}, "another")])
    assert verdicts(dataset)[clip_id] == ("PENDING", "measure")


def test_the_better_of_a_video_and_its_clip_counts_for_fetch(made: Made) -> None:
    clip_id = made.clip("v", cut=None, measure=None)
    dataset = made.dataset()
    write_facts(dataset, MadeFetch(), [(clip_id, Code.NOT_FOUND, {}, "x")])
    assert verdicts(dataset)[clip_id] == ("PENDING", "cut")


def test_the_strictest_annotation_of_a_clip_and_its_video_is_its_split(made: Made) -> None:
    train = made.clip("a", said=[{"split": "train"}, {"split": None}])
    nothing = made.clip("b", said=[])
    val = made.clip("c", said=[{"split": "train"}, {"split": "val", "list": "other"}])
    test = made.clip("d", said=[{"split": "val"}, {"split": "test", "grain": "video"}])
    dataset = made.dataset()
    assert verdicts(dataset) == {train: KEPT, nothing: KEPT, val: ("SPLIT", "val"), test: ("SPLIT", "test")}
    assert [key for key, verdict in verdicts(dataset, split="test").items() if verdict == KEPT] == [test]
    assert {row["clip_id"]: row["split"] for row in read_rows(dataset, "s").to_pylist()}[val] == "val"


def test_null_counts_as_false_and_the_bound_itself_is_inside(made: Made) -> None:
    on = made.clip("on", loudness_lufs=-40.0)
    below = made.clip("below", loudness_lufs=-40.001)
    null = made.clip("null", loudness_lufs=None)
    expected = {on: KEPT, below: ("WHERE", None), null: ("WHERE", None)}
    assert verdicts(made.dataset(), where="measure.loudness_lufs >= -40 -- quiet ones") == expected


def test_the_condition_sees_labels_captions_split_and_every_table(made: Made) -> None:
    yes = made.clip("yes", said=[{"labels": ["dog", "cat"], "captions": ["a dog"]}])
    no = made.clip("no", said=[{"labels": ["cat"]}])
    where = """list_contains(labels, 'dog') AND len(captions) = 1 AND split = 'train' AND clips.duration_ms = 10000
        AND videos.platform = 'youtube' AND "fetch".licence LIKE 'CC%' AND cut.sample_rate_hz = 8000
        AND clip_id IN (SELECT key FROM measure)"""
    assert verdicts(made.dataset(), where=where) == {yes: KEPT, no: ("WHERE", None)}


@pytest.mark.parametrize("where", ["loudness >= ", "no_such_column > 1", "CAST(platform AS INTEGER) > 1", "code = 'X'"])
def test_a_condition_that_is_not_sql_is_an_argument_error_that_quotes_it(made: Made, where: str) -> None:
    made.clip("v")
    dataset = made.dataset()
    with pytest.raises(ArgumentError) as caught:
        select(dataset, name="s", where=where)
    assert repr(where) in str(caught.value) and "Error" in str(caught.value)
    assert not (dataset.path / "selections").exists()


@pytest.mark.parametrize("asked", ["where", "by", "captions_sql"])
def test_what_a_person_asks_for_is_one_expression_and_writes_nothing(made: Made, tmp_path: Path, asked: str) -> None:
    made.clip("v")
    dataset, stolen = made.dataset(), tmp_path / "stolen"
    tail = f"; COPY (SELECT 1) TO '{stolen}'; SELECT "
    given: dict[str, Any] = {
        "where": {"where": f"true){tail}(1"},
        "by": {"choice": Choice(best_clips=1, by=f"1)::DOUBLE{tail}(1")},
        "captions_sql": {"captions_sql": f"SELECT '' AS clip_id{tail}1"},
    }[asked]
    with pytest.raises(ArgumentError, match="more than one expression"):
        select(dataset, name="s", **given)
    assert not stolen.exists() and not (dataset.path / "selections").exists()


@pytest.mark.parametrize("asked", ["where", "by", "captions_sql"])
def test_what_a_person_asks_for_reads_nothing_outside_of_the_dataset(made: Made, tmp_path: Path, asked: str) -> None:
    made.clip("v")
    dataset, secret = made.dataset(), tmp_path.parent / f"{tmp_path.name}-secret.txt"
    secret.write_text("told to nobody")
    read = f"(SELECT content FROM read_text('{secret}'))"
    given: dict[str, Any] = {
        "where": {"where": f"{read} LIKE 'told%'"},
        "by": {"choice": Choice(best_clips=1, by=f"length({read})")},
        "captions_sql": {"captions_sql": f"SELECT clip_id, {read} AS text, 'human:x' AS source FROM clips"},
    }[asked]
    with pytest.raises(ArgumentError, match="outside of the dataset"):
        select(dataset, name="s", **given)
    assert not (dataset.path / "selections").exists()


def test_a_guard_refuses_what_overlaps_and_not_what_touches(made: Made) -> None:
    touching = made.clip("v", 0)
    inside = made.clip("v", 5_000)
    after = made.clip("v", 20_000)
    whole = made.clip("whole", 90_000)
    free = made.clip("free")
    dataset = made.dataset()
    assert guard.add(dataset, "eval", [entry("v", 10_000, 10_000), entry("whole")]) == 2
    refused = {inside: ("GUARD", "eval"), whole: ("GUARD", "eval")}
    assert verdicts(dataset, guards=["eval"]) == {touching: KEPT, after: KEPT, free: KEPT, **refused}
    assert set(verdicts(dataset).values()) == {KEPT}
    found = guard.overlaps(dataset, ["eval"]).to_pylist()
    assert {(row["clip_id"], row["guard_start_ms"]) for row in found} == {(inside, 10_000), (whole, None)}


def test_of_equal_sounds_the_first_clip_that_passes_is_kept(made: Made) -> None:
    copies = sorted(made.clip(f"v{n}", sound=1) for n in range(4))
    made.rows.sort(key=lambda row: row["clip_id"])
    made.rows[0]["loudness_lufs"] = -90.0
    other = made.clip("other", sound=2)
    expected = {copies[0]: ("WHERE", None), copies[1]: KEPT, other: KEPT}
    expected |= {copies[n]: ("DUPLICATE", copies[1]) for n in (2, 3)}
    assert verdicts(made.dataset(), where="loudness_lufs > -50") == expected


def test_a_sound_of_a_stricter_split_or_of_a_guarded_clip_is_refused(made: Made) -> None:
    test = made.clip("t", sound=1, said=[{"split": "test"}])
    like_test = made.clip("a", sound=1)
    guarded = made.clip("g", sound=2)
    like_guarded = made.clip("b", sound=2)
    val = made.clip("w", sound=3, said=[{"split": "val"}])
    like_val = made.clip("c", sound=3)
    own = made.clip("d", sound=4)
    dataset = made.dataset()
    guard.add(dataset, "eval", [entry("g")])
    assert verdicts(dataset, guards=["eval"]) == {
        test: ("SPLIT", "test"),
        like_test: ("DUPLICATE_OF_EVALUATION", test),
        guarded: ("GUARD", "eval"),
        like_guarded: ("DUPLICATE_OF_EVALUATION", guarded),
        val: ("SPLIT", "val"),
        like_val: ("DUPLICATE_OF_EVALUATION", val),
        own: KEPT,
    }
    assert verdicts(dataset, split="val")[val] == KEPT


def test_captions_are_those_by_people_unless_a_query_chooses(made: Made) -> None:
    two = made.clip("a", said=[{"captions": ["b", "a", "b"]}, {"captions": ["c"], "list": "other", "grain": "video"}])
    none = made.clip("b", said=[{"labels": ["dog"]}])
    dataset = made.dataset()
    select(dataset, name="s")
    rows = {row["clip_id"]: row for row in read_rows(dataset, "s").to_pylist()}
    assert (rows[two]["captions"], rows[two]["caption_sources"]) == (
        ["a", "b", "c"],
        ["human:listed", "human:listed", "human:other"],
    )
    assert (rows[none]["captions"], rows[none]["labels"], rows[none]["kept"]) == ([], ["dog"], True)
    select(dataset, name="s", captions_sql="SELECT clip_id, 'hum' AS text, 'model' AS source FROM clips")
    rows = {row["clip_id"]: row for row in read_rows(dataset, "s").to_pylist()}
    assert {(*row["captions"], *row["caption_sources"]) for row in rows.values()} == {("hum", "model")}
    with pytest.raises(ArgumentError, match="captions"):
        select(dataset, name="s", captions_sql="SELECT clip_id FROM clips")


def test_rows_in_any_order_give_the_same_bytes(made: Made) -> None:
    for n in range(12):
        said = [{"labels": [f"l{n % 3}", "z"], "captions": [f"c{n}", "x"]}, {"captions": ["x"], "list": "other"}]
        made.clip(f"v{n % 5}", n * 1000, sound=n % 7, said=said)
    one, other = made.dataset("one"), made.dataset("other", reverse=True)
    reports = [select(dataset, name="s", where="loudness_lufs < 0") for dataset in (one, other, one)]
    assert len({report.sha256 for report in reports}) == 1
    assert len({report.path.with_suffix(".json").read_bytes() for report in reports}) == 1
    assert read_rows(one, "s").schema.names == SELECTION.names
    assert reports[0].refused["DUPLICATE"] == 5


def test_a_selection_that_is_not_there_or_not_whole_is_named(made: Made) -> None:
    made.clip("v")
    dataset = made.dataset()
    with pytest.raises(ArgumentError, match=r"no selection 's' \(there are: none\)"):
        read_rows(dataset, "s")
    with pytest.raises(ArgumentError, match="cannot name a selection"):
        select(dataset, name="../s")
    report = select(dataset, name="s")
    fields = json.loads(report.path.with_suffix(".json").read_text())
    assert fields["kept_clips"] == 1 and fields["settings"]["split"] == "train"
    report.path.with_suffix(".json").write_text(json.dumps({**fields, "sha256": "0" * 64}))
    with pytest.raises(DatasetError, match="run `foundsound select` again"):
        read_rows(dataset, "s")


def test_a_dataset_that_was_not_measured_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"'cut' has not run.*foundsound fetch"):
        select(Dataset.create(tmp_path / "d"), name="s")


def test_each_rule_refuses_by_its_name_the_first_that_fails(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    both = made.clip("both", loudness_lufs=-80.0)
    second = made.clip("second", loudness_lufs=-60.0)
    null = made.clip("null", loudness_lufs=None)
    fine = made.clip("fine", loudness_lufs=-20.0)
    for name, least in (("heard", -70), ("loud", -50)):
        rule = Rule(name=name, where=f"measure.loudness_lufs > {least} -- LUFS", needs=("measure",), source="made")
        monkeypatch.setitem(RULES, name, rule)
    expected = {both: ("RULE", "heard"), second: ("RULE", "loud"), null: ("RULE", "heard"), fine: KEPT}
    assert verdicts(made.dataset(), rules=["heard", "loud"]) == expected
    dataset = Dataset(made.folder / "dataset")
    assert verdicts(dataset, rules=["loud", "heard"], where="loudness_lufs > -70") == {
        both: ("WHERE", None),
        second: ("RULE", "loud"),
        null: ("WHERE", None),
        fine: KEPT,
    }
    assert read_report(dataset, "s").settings["rules"]["loud"] == "measure.loudness_lufs > -50 -- LUFS"


def test_a_rule_that_is_unknown_or_lacks_its_stage_is_refused(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    made.clip("v")
    dataset = made.dataset()
    with pytest.raises(ArgumentError, match="rule 'nothing' is none of"):
        select(dataset, name="s", rules=["nothing"])
    monkeypatch.setitem(RULES, "sung", Rule(name="sung", where="tag.singing_ratio < 1", needs=("tag",), source="made"))
    with pytest.raises(ArgumentError, match=r"'tag' has not run.*run `foundsound tag` first"):
        select(dataset, name="s", rules=["sung"])
    monkeypatch.setitem(RULES, "wrong", Rule(name="wrong", where="no_column", needs=("measure",), source="made"))
    with pytest.raises(ArgumentError, match="rule wrong: the condition 'no_column' is refused"):
        select(dataset, name="s", rules=["wrong"])


@pytest.mark.parametrize("rule", sorted(RULES))
def test_published_rules_are_sql_over_real_columns(made: Made, rule: str) -> None:
    """Each refuses a clip of which nothing is known, and none is an error."""
    clip = made.clip("v", loudness_lufs=None)
    dataset = made.dataset()
    audio, video = dataset.sql("SELECT audio_sha256 FROM cut")["audio_sha256"][0].as_py(), video_key("youtube", "v")
    for made_stage, real_stage, key, values in (
        (MadeMeasure, Measure, clip, {}),
        (MadeMeasure, Tag, clip, {}),
        (MadeFetch, Segment, video, {}),
        (MadeFetch, Fetch, video, {"original_sha256": "original"}),
    ):
        columns = {"NAME": real_stage.NAME, "RESULTS": real_stage.RESULTS, "VERSION": 9}
        stage = type(real_stage.__name__, (made_stage,), columns)()
        write_facts(dataset, stage, [(key, "done", values, audio)])
    assert verdicts(dataset, rules=[rule]) == {clip: ("RULE", rule)}


def test_other_stages_are_seen_as_they_answer_the_present_cut(made: Made) -> None:
    now, before, never = made.clip("now"), made.clip("before"), made.clip("never")
    dataset = made.dataset()
    audio = {row["key"]: row["audio_sha256"] for row in dataset.sql("SELECT key, audio_sha256 FROM cut").to_pylist()}
    tags = [(now, "done", {"music_ratio": 0.9}, audio[now]), (before, "done", {"music_ratio": 0.9}, "an older sound")]
    write_facts(dataset, MadeTag(), tags)
    expected = {now: KEPT, before: ("WHERE", None), never: ("WHERE", None)}
    assert verdicts(dataset, where="tag.music_ratio > 0.5") == expected
    other = MadeTag(called="other")
    write_facts(dataset, other, [(clip, "done", {"music_ratio": 0.1}, audio[clip]) for clip in audio])
    with pytest.raises(ArgumentError, match="tag"):
        select(dataset, name="s", where="tag.music_ratio > 0.5")
    assert verdicts(dataset, where="tag.music_ratio > 0.5", choice=Choice(using={"tag": "toy"})) == expected
    both = '"tag:toy".music_ratio > 0.5 AND "tag:other".music_ratio < 0.5'
    assert verdicts(dataset, where=both) == expected
    with pytest.raises(ArgumentError, match=r"no 'third' of stage 'tag' \(there are: other, toy\)"):
        select(dataset, name="s", choice=Choice(using={"tag": "third"}))


def test_the_best_are_taken_from_those_that_pass_everything_else(made: Made) -> None:
    loudest = made.clip("a", loudness_lufs=-1.0, said=[{"split": "test"}])
    copies = sorted(made.clip(f"c{n}", loudness_lufs=-5.0, sound=1) for n in range(2))
    tied = sorted(made.clip(f"t{n}", loudness_lufs=-9.0) for n in range(2))
    quiet = made.clip("q", loudness_lufs=-30.0)
    unknown = made.clip("u", loudness_lufs=None)
    best = Choice(best_clips=2, by="measure.loudness_lufs -- the louder, the better")
    assert verdicts(made.dataset(), choice=best) == {
        loudest: ("SPLIT", "test"),
        copies[0]: KEPT,
        copies[1]: ("DUPLICATE", copies[0]),
        tied[0]: KEPT,
        tied[1]: ("RANK", None),
        quiet: ("RANK", None),
        unknown: ("RANK", None),
    }
    dataset = Dataset(made.folder / "dataset")
    many = verdicts(dataset, choice=Choice(best_clips=99, by="measure.loudness_lufs"))
    assert [clip for clip, verdict in many.items() if verdict == ("RANK", None)] == [unknown]
    with pytest.raises(ArgumentError, match="the rank 'no_column'"):
        select(dataset, name="s", choice=Choice(best_clips=1, by="no_column"))
    with pytest.raises(ArgumentError, match="go together"):
        Choice(best_clips=1)
    with pytest.raises(ArgumentError, match="at least 1"):
        Choice(best_clips=0, by="1")
