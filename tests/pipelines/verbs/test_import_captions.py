"""The verb `import`: what it prints, and real clips of VGGSound and sounds of WavCaps' list."""

import csv
import json
from pathlib import Path

import pytest

from curation.errors import ArgumentError
from pipelines.main import main
from pipelines.verbs.import_captions import import_captions
from pipelines.verbs.manifest import manifest
from tests.captioning.made_facts import with_spans

VIDEO = "aaaaaaaaaaa"


def test_every_row_is_accounted_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = with_spans(tmp_path / "d", ("youtube", VIDEO, 0, 10_000))
    file = tmp_path / "a.csv"
    file.write_text(f"id,caption\n{VIDEO}_0_10,Rain.\nY{VIDEO},When?\nbbbbbbbbbbb_0_10,Where?\n?,What?\n")
    assert main(["import", str(dataset.path), "audiosetcaps", str(file), "--name", "caps", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {name: found[name] for name in ("captions", "rows", "joined", "absent", "no_time", "malformed")} == {
        "captions": "caps",
        "rows": 4,
        "joined": 1,
        "absent": 1,
        "no_time": 1,
        "malformed": 1,
    }
    shown = str(import_captions(dataset.path, "audiosetcaps", file, name="caps"))
    assert "captions caps: 1 clips have some (0 new), of 4 rows 1 joined" in shown
    assert "1 no time:" in shown and "row 5: " in shown


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    dataset = with_spans(tmp_path / "d", ("youtube", VIDEO, 0, 10_000))
    with pytest.raises(ArgumentError, match="is not a file"):
        import_captions(dataset.path, "wavcaps", tmp_path / "none.json")


@pytest.mark.slow
def test_real_clips_of_vggsound_by_span_and_by_file_name(real_data: Path, tmp_path: Path) -> None:
    """The VGGSound part of AudioSetCaps names clips `<id>_<start>`, as the files of the clips are called."""
    with (real_data / "annotations" / "vggsound" / "test.csv").open(encoding="utf-8") as text:
        names = [row[0].removesuffix(".mp4") for row in csv.reader(text)][:500]
    captions = tmp_path / "VGGSound_AudioSetCaps_caption.csv"
    with captions.open("w", encoding="utf-8", newline="") as text:
        csv.writer(text).writerows([("id", "caption"), *((name, f"The sound of {name}.") for name in names)])
    listed = tmp_path / "listed"
    manifest("vggsound", real_data / "annotations" / "vggsound" / "test.csv", out=listed)
    report = import_captions(listed, "audiosetcaps", captions).as_dict()
    assert (report["rows"], report["joined"], report["malformed"]) == (500, 500, 0)


@pytest.mark.slow
def test_soundbibles_sounds_by_name_and_length(real_data: Path, tmp_path: Path) -> None:
    file = real_data / "annotations" / "wavcaps" / "sb_final.json"
    entries = json.loads(file.read_text(encoding="utf-8"))["data"]
    table = tmp_path / "list.csv"
    (tmp_path / "sounds").mkdir()
    with table.open("w", encoding="utf-8", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(("path", "start_s", "duration_s"))
        for entry in entries:
            (tmp_path / "sounds" / f"{entry['id']}.flac").touch()
            writer.writerow((f"sounds/{entry['id']}.flac", 0, entry["duration"]))
    dataset = tmp_path / "dataset"
    manifest("table", table, out=dataset)
    report = import_captions(dataset, "wavcaps", file).as_dict()
    assert (report["rows"], report["joined"], report["clips"]) == (1232, 1232, 1232)
