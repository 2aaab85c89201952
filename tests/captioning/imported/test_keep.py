"""Rows of published sets in a dataset: which clip has which, and what is left out."""

import csv
import json
from pathlib import Path

import pytest

from captioning.candidates import candidates_sql, choose
from captioning.imported.join import SAME_SPAN, Fate
from captioning.imported.keep import ImportReport, import_captions
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.keys import clip_id, video_key
from curation.status import status
from pipelines.verbs.forget import forget
from tests.captioning.made_facts import CutMade, commit, with_spans

A, B, C = "aaaaaaaaaaa", "bbbbbbbbbbb", "ccccccccccc"


def audiosetcaps(folder: Path, *rows: tuple[str, str], name: str = "made.csv") -> Path:
    file = folder / name
    with file.open("w", encoding="utf-8", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(("id", "caption"))
        writer.writerows(rows)
    return file


def fates(report: ImportReport) -> dict[Fate, int]:
    return {fate: count for fate, count in report.fates.items() if count}


def texts(dataset: Dataset) -> dict[str, list[str]]:
    rows = dataset.sql("SELECT key, text, further FROM caption ORDER BY key").to_pylist()
    return {row["key"]: [row["text"], *(one["text"] for one in row["further"])] for row in rows}


def test_a_span_is_the_same_within_half_a_second_of_ten(tmp_path: Path) -> None:
    spans = [("youtube", A, 30_000, 10_000), ("youtube", B, 30_526, 10_000), ("youtube", C, 30_527, 10_000)]
    dataset = with_spans(tmp_path / "d", *spans)
    file = audiosetcaps(tmp_path, *((f"{one}_30_10", f"Of {one}.") for one in (A, B, C)))
    report = import_captions(dataset, "audiosetcaps", file)
    # 9.474 s of 10.526 s are shared: 0.90006; of the third 9.473 of 10.527: 0.8999
    assert SAME_SPAN == 0.9
    assert fates(report) == {Fate.JOINED: 2, Fate.OTHER_SPAN: 1}
    assert texts(dataset) == {clip_id(*spans[0]): [f"Of {A}."], clip_id(*spans[1]): [f"Of {B}."]}


def test_every_row_has_its_fate_and_they_add_up(tmp_path: Path) -> None:
    spans = [("youtube", A, 0, 10_000), ("youtube", B, 5_000, 10_000), ("youtube", B, 5_200, 10_000)]
    dataset = with_spans(tmp_path / "d", *spans)
    file = audiosetcaps(
        tmp_path,
        (f"{A}_0_10", "Rain."),
        (f"{A}_0_10", "Wind."),
        (f"{A}_20_10", "Later."),
        (f"{B}_5_10", "Which one?"),
        (f"{C}_000000", "Not here."),
        (f"Y{A}", "When?"),
        ("nonsense", "Rain."),
    )
    report = import_captions(dataset, "audiosetcaps", file)
    assert fates(report) == {
        Fate.JOINED: 2,
        Fate.OTHER_SPAN: 1,
        Fate.SEVERAL_CLIPS: 1,
        Fate.ABSENT: 1,
        Fate.NO_TIME: 1,
        Fate.MALFORMED: 1,
    }
    assert report.as_dict()["rows"] == 7 and report.as_dict()["first_malformed"][0]["line"] == 8
    assert texts(dataset) == {clip_id(*spans[0]): ["Rain.", "Wind."]}


def test_a_row_without_a_time_needs_a_list_of_audiosets_segments(tmp_path: Path) -> None:
    span = ("youtube", A, 21_000, 10_000)
    file = audiosetcaps(tmp_path, (f"Y{A}", "Rain."))
    other = with_spans(tmp_path / "d", span, kind="vggsound")
    assert fates(import_captions(other, "audiosetcaps", file)) == {Fate.NO_TIME: 1}
    segments = with_spans(tmp_path / "e", span, kind="audioset")
    assert fates(import_captions(segments, "audiosetcaps", file)) == {Fate.JOINED: 1}
    two = with_spans(tmp_path / "f", span, ("youtube", A, 50_000, 10_000), kind="audiocaps")
    assert fates(import_captions(two, "audiosetcaps", file)) == {Fate.SEVERAL_CLIPS: 1}


def test_audiosets_own_list_says_the_times(tmp_path: Path) -> None:
    dataset = with_spans(tmp_path / "d", ("youtube", A, 21_000, 10_000), ("youtube", B, 0, 10_000), kind="vggsound")
    segments = tmp_path / "eval_segments.csv"
    segments.write_text(
        f'# made\n# YTID, start_seconds, end_seconds, positive_labels\n{A}, 21.000, 31.000, "/m/1,/m/2"\n'
        f'{B}, 30.000, 40.000, "/m/1"\nnot here..., 0, x, "/m/1"\n'
    )
    file = audiosetcaps(tmp_path, (f"Y{A}", "Rain."), (f"Y{B}", "Wind."), (f"Y{C}", "Where?"), ("?", "What?"))
    report = import_captions(dataset, "audiosetcaps", file, segments=segments)
    assert fates(report) == {Fate.JOINED: 1, Fate.OTHER_SPAN: 1, Fate.ABSENT: 1, Fate.MALFORMED: 1}
    segments.write_text(f'{A}, 40, 30, "/m/1"\n')
    with pytest.raises(ArgumentError, match="line 1 is no segment"):
        import_captions(dataset, "audiosetcaps", file, segments=segments)
    with pytest.raises(ArgumentError, match="none of AudioSet's segment lists"):
        import_captions(dataset, "audiosetcaps", file, segments=file)


def wavcaps(folder: Path, *entries: dict[str, object]) -> Path:
    file = folder / "fsd_final.json"
    file.write_text(json.dumps({"data": entries}))
    return file


def test_a_recording_is_a_whole_file_of_its_name_and_length(tmp_path: Path) -> None:
    dataset = with_spans(tmp_path / "d", ("file", "hash", 0, 10_000), path="sounds/2219.flac")
    join = {"id": "2219", "caption": "A plane.", "duration": 10.5}
    for entry, fate in (
        (join, Fate.JOINED),
        ({**join, "duration": 14.1}, Fate.OTHER_SPAN),
        ({**join, "duration": None}, Fate.OTHER_SPAN),
        ({**join, "id": "19"}, Fate.ABSENT),
    ):
        assert fates(import_captions(dataset, "wavcaps", wavcaps(tmp_path, entry))) == {fate: 1}
    part = with_spans(tmp_path / "e", ("file", "hash", 10_000, 10_000), path="2219.flac")
    assert fates(import_captions(part, "wavcaps", wavcaps(tmp_path, join))) == {Fate.OTHER_SPAN: 1}


def test_a_recording_is_what_its_address_leads_to(tmp_path: Path) -> None:
    dataset = with_spans(tmp_path / "d", ("url", "hash", 0, 10_000), url="http://x/2219.wav")
    entry = {"id": "2219", "caption": "A plane.", "duration": 10.0, "download_link": "http://x/2219.wav"}
    assert fates(import_captions(dataset, "wavcaps", wavcaps(tmp_path, entry))) == {Fate.JOINED: 1}


def test_where_a_caption_is_from_stands_beside_it(tmp_path: Path) -> None:
    span = ("youtube", A, 0, 10_000)
    dataset = with_spans(tmp_path / "d", span)
    file = audiosetcaps(tmp_path, (f"{A}_0_10", "Rain."), (f"{A}_0_10", "Rain."))
    report = import_captions(dataset, "audiosetcaps", file)
    assert (report.label, report.clips, report.new_clips) == ("audiosetcaps-made", 1, 1)
    (row,) = dataset.sql("SELECT * FROM caption").to_pylist()
    assert (row["label"], row["model"], row["made_from"]) == ("audiosetcaps-made", "AudioSetCaps", "list")
    assert row["further"] == [] and row["audio_sha256"] is None
    sources = json.loads(row["sources"])
    assert (sources["set"], sources["file"], sources["rows"]) == ("audiosetcaps", "made.csv", [2, 3])
    assert len(sources["file_sha256"]) == 64
    commit(dataset, CutMade(), {clip_id(*span): {"audio_sha256": "sound"}})
    said = dataset.sql(choose(candidates_sql(dataset))).to_pylist()
    assert said == [{"clip_id": clip_id(*span), "text": "Rain.", "source": "model:audiosetcaps-made"}]


def test_again_adds_what_is_new_and_nothing_twice(tmp_path: Path) -> None:
    spans = [("youtube", A, 0, 10_000), ("youtube", B, 0, 10_000)]
    dataset = with_spans(tmp_path / "d", spans[0])
    file = audiosetcaps(tmp_path, (f"{A}_0_10", "Rain."), (f"{B}_0_10", "Wind."))
    assert import_captions(dataset, "audiosetcaps", file).new_clips == 1
    assert import_captions(dataset, "audiosetcaps", file).new_clips == 0
    dataset.append("videos", [{"video_key": video_key("youtube", B), "platform": "youtube", "video_id": B}])
    row = {"clip_id": clip_id(*spans[1]), "video_key": video_key("youtube", B), "start_ms": 0, "duration_ms": 10_000}
    dataset.append("clips", [{**row, "origin": "segment"}])
    dataset.append("annotations", [{"key": row["clip_id"], "grain": "clip", "list": "one", "line": 9}])
    again = import_captions(dataset, "audiosetcaps", file)
    assert (again.clips, again.new_clips) == (2, 1)
    assert dataset.sql("SELECT count(*) AS n FROM caption")["n"].to_pylist() == [2]
    counts = status(dataset)["caption"]
    assert (counts.requested, counts.done, counts.pending) == (2, 2, 0)


def test_another_file_under_the_same_name_takes_its_place(tmp_path: Path) -> None:
    dataset = with_spans(tmp_path / "d", ("youtube", A, 0, 10_000))
    import_captions(dataset, "audiosetcaps", audiosetcaps(tmp_path, (f"{A}_0_10", "Old.")), name="caps")
    import_captions(dataset, "audiosetcaps", audiosetcaps(tmp_path, (f"{A}_0_10", "New.")), name="caps")
    assert list(texts(dataset).values()) == [["New."]]
    with pytest.raises(ArgumentError, match="that are no wavcaps"):
        import_captions(dataset, "wavcaps", wavcaps(tmp_path), name="caps")


def test_a_takedown_reaches_imported_captions_and_they_stay_away(tmp_path: Path) -> None:
    dataset = with_spans(tmp_path / "d", ("youtube", A, 0, 10_000), ("youtube", B, 0, 10_000))
    file = audiosetcaps(tmp_path, (f"{A}_0_10", "Rain."), (f"{B}_0_10", "Wind."))
    import_captions(dataset, "audiosetcaps", file)
    forget(dataset.path, A)
    assert list(texts(Dataset(dataset.path)).values()) == [["Wind."]]
    assert fates(import_captions(Dataset(dataset.path), "audiosetcaps", file)) == {Fate.JOINED: 1, Fate.ABSENT: 1}


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    dataset = with_spans(tmp_path / "d", ("youtube", A, 0, 10_000))
    with pytest.raises(ArgumentError, match="is not a file"):
        import_captions(dataset, "audiosetcaps", tmp_path / "none.csv")
    with pytest.raises(ArgumentError, match="audiosetcaps, auto-acd, wavcaps"):
        import_captions(dataset, "clotho", audiosetcaps(tmp_path))
