"""Generated sounds judged by a listener of arithmetic: what equals the real ones, what is silent, what goes on."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from curation.dataset import Dataset
from curation.errors import ArgumentError
from pipelines.evaluations import heard as heard_module
from pipelines.evaluations import sounds as module
from pipelines.evaluations.sounds import Otherwise, SoundsJudged, sounds
from pipelines.main import main
from tests.models.audiox.tiny_audiox import save_audiox
from tests.pipelines.evaluations.listening import NAMES, RATE_HZ, Ears, packed_tones
from tests.retrieval_index.tones import clip_of


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed_tones(tmp_path_factory.mktemp("sounds") / "dataset")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_audiox(tmp_path_factory.mktemp("run"))


@pytest.fixture
def ears(monkeypatch: pytest.MonkeyPatch) -> Ears:
    """The listener that every --embedder is."""
    found = Ears()
    monkeypatch.setattr(module, "load_listener", lambda name: found.listener())
    return found


def folder_of(place: Path, wave_of: Callable[[str, float], np.ndarray]) -> Path:
    """A sound for every clip, with a list."""
    place.mkdir()
    rows = []
    for name, pitch in NAMES.items():
        soundfile.write(place / f"{name}.wav", wave_of(name, pitch), RATE_HZ, subtype="PCM_16")
        rows.append({"file": f"{name}.wav", "clip_id": clip_of(name)})
    (place / "sounds.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return place


def copy_of(data: Path) -> Callable[[str, float], np.ndarray]:
    dataset = Dataset(data)
    stored = dict(zip(*dataset.sql("SELECT key, audio_sha256 FROM cut").to_pydict().values(), strict=True))
    return lambda name, _: soundfile.read(dataset.media.open_path(stored[clip_of(name)], ".flac"))[0]


def go(made: Path, real: Path | str, **given: object) -> SoundsJudged:
    return sounds(made, real=str(real), embedder=["clap:ears"], **{"split": "train", **given})  # type: ignore[arg-type]


def test_copies_of_the_real_sounds_are_at_no_distance(data: Path, ears: Ears, tmp_path: Path) -> None:
    (table,) = go(folder_of(tmp_path / "copies", copy_of(data)), data).tables
    made, halves, silence, noise = table.rows
    assert [row.name for row in table.rows] == ["generated", "real, two halves", "silence", "noise"]
    assert [row.sounds for row in table.rows] == [24, 12, 24, 24]
    assert made.frechet == pytest.approx(0.0, abs=1e-9)
    assert made.kl_softmax == pytest.approx(0.0, abs=1e-5)
    assert made.kl_sigmoid == pytest.approx(0.0, abs=1e-5)
    assert 0.0 < halves.frechet < min(silence.frechet, noise.frechet)
    assert halves.kl_softmax is not None and halves.kl_softmax > 0.1, "between unrelated clips"
    assert silence.inception == pytest.approx(1.0)
    assert made.inception is not None and made.inception > 1.3
    assert made.clap == pytest.approx(1.0, abs=0.02)
    assert silence.clap is not None and silence.clap < made.clap
    assert made.infinity is not None and made.infinity.low <= made.infinity.distance <= made.infinity.high
    assert halves.infinity is None, "12 features are too few"


def test_the_distance_is_that_of_the_features(data: Path, ears: Ears, tmp_path: Path) -> None:
    """All at half the amplitude: the third feature halves, the others stay; C1 and C2 commute in it alone."""
    copies = copy_of(data)
    quiet = folder_of(tmp_path / "quiet", lambda name, pitch: copies(name, pitch) / 2)
    (table,) = go(quiet, data).tables
    loud = np.array([np.sqrt(np.mean(np.square(copies(name, 0.0)))) for name in NAMES])
    shift, spread = (loud.mean() / 2) ** 2, (loud.std(ddof=1) / 2) ** 2
    assert table.rows[0].frechet == pytest.approx(shift + spread, rel=0.05)
    assert table.rows[0].kl_softmax == pytest.approx(0.0, abs=1e-5)


def test_everything_is_said_of_the_listener(data: Path, ears: Ears, tmp_path: Path) -> None:
    judged = go(folder_of(tmp_path / "copies", copy_of(data)), f"{data}@train", seconds=0.25)
    shown = str(judged)
    for word in ("clap ears (weights aaaaaaaaaaaa)", "8,000 Hz by soxr HQ", "generation train, 24 clips", "real, two"):
        assert word in shown
    assert "of each the first 0.25 s" in shown and "far too high" not in shown
    written = json.loads(judged.report.read_text())
    assert written["tables"][0]["rows"][0]["frechet"] == judged.tables[0].rows[0].frechet
    assert written["protocol"] and written == json.loads(json.dumps(judged.as_dict()))


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_lists_of_other_forms_and_names(data: Path, ears: Ears, tmp_path: Path, suffix: str) -> None:
    made = folder_of(tmp_path / "copies", copy_of(data))
    rows = [json.loads(line) for line in (made / "sounds.jsonl").read_text().splitlines()]
    (made / "sounds.jsonl").unlink()
    text = json.dumps(rows)
    if suffix == "csv":
        text = "\n".join(["file,clip_id,text", *(f"{row['file']},{row['clip_id']},440" for row in rows)])
    (made / f"list.{suffix}").write_text(text)
    (table,) = go(made, data, listed=made / f"list.{suffix}").tables
    assert table.rows[0].frechet == pytest.approx(0.0, abs=1e-9)
    clap = table.rows[0].clap
    assert clap is not None and (clap < 0.99) == (suffix == "csv"), "each is asked to be of 440 Hz"


def test_nothing_is_heard_twice_and_an_interrupt_keeps_what_was(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heard_module, "SOUNDS_AT_ONCE", 8)
    copies = copy_of(data)
    made = folder_of(tmp_path / "made", lambda name, pitch: copies(name, pitch) / 2)
    first, second, third = Ears(stop_after=17), Ears(), Ears()
    monkeypatch.setattr(module, "load_listener", lambda name: first.listener())
    with pytest.raises(KeyboardInterrupt):
        go(made, data)
    monkeypatch.setattr(module, "load_listener", lambda name: second.listener())
    judged = go(made, data)
    assert second.heard == 24 + 24 + 1 + 24 - 16, "silence of one length is one sound; two of the chunks were kept"
    monkeypatch.setattr(module, "load_listener", lambda name: third.listener())
    again = go(made, data)
    assert third.heard == 0
    assert again == judged
    whole = go(shutil.copytree(made, tmp_path / "other", ignore=shutil.ignore_patterns("evaluation")), data)
    assert whole.tables == judged.tables, "an evaluation that was never stopped says the same"
    monkeypatch.setattr(module, "load_listener", lambda name: Ears(weights="b").listener())
    assert len(list((made / "evaluation" / "features").iterdir())) == 1
    go(made, data)
    assert len(list((made / "evaluation" / "features").iterdir())) == 2, "other weights are another listener"


def test_a_run_makes_what_is_missing(data: Path, model: Path, ears: Ears, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = {"clips": 8, "seconds": 0.25, "otherwise": Otherwise(steps=2), "out": out}
    first = go(model, f"{data}@train", **given)
    assert (first.generated, first.clips, first.making["seconds"]) == (8, 24, 0.25)
    files = sorted(out.glob("sounds-*/*.wav"))
    assert len(files) == 8
    assert all(soundfile.info(file).frames == 250 for file in files)
    listed = [json.loads(line) for line in (files[0].parent / "sounds.jsonl").read_text().splitlines()]
    assert {row["file"] for row in listed} == {file.name for file in files}
    count = ears.heard
    assert go(model, f"{data}@train", **given) == first
    assert ears.heard == count
    before, wave = {file: file.stat().st_mtime_ns for file in files}, soundfile.read(files[3])[0]
    files[3].unlink()
    again = go(model, f"{data}@train", **given)
    assert again.tables[0].rows[0].frechet == pytest.approx(first.tables[0].rows[0].frechet, rel=1e-2)
    # Alone and among others differ in rounding.
    np.testing.assert_allclose(soundfile.read(files[3])[0], wave, atol=3 / 32768)
    assert [file.stat().st_mtime_ns == before[file] for file in files] == [n != 3 for n in range(8)]
    other = go(model, f"{data}@train", **{**given, "seed": 1})
    assert other.tables != first.tables
    assert not (model / "evaluation").exists()


def test_a_run_says_how_long_its_sounds_are(data: Path, model: Path, ears: Ears, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="give --seconds"):
        go(model, data, out=tmp_path)
    run_folder = Path(shutil.copytree(model, tmp_path / "run"))
    (run_folder / "config.json").write_text(json.dumps({"settings": {"data": {"seconds": 0.2}}}))
    assert go(run_folder, data, clips=4, otherwise=Otherwise(steps=1)).making["seconds"] == 0.2


def test_what_cannot_be_judged_is_refused(data: Path, model: Path, ears: Ears, tmp_path: Path) -> None:
    made = folder_of(tmp_path / "made", copy_of(data))

    def refused(match: str, made: Path = made, real: str = str(data), **given: object) -> None:
        with pytest.raises(ArgumentError, match=match):
            go(made, real, **given)

    refused("no folder", made=tmp_path / "nowhere")
    refused("no run, and holds no sounds.jsonl", made=data)
    refused(r"--clips is for a run", clips=5)
    refused(r"neither a generation nor a selection 'none'", real=f"{data}@none")
    refused(r"split test of .* has no clip with a sound", split="test")
    refused(r"'tests' is none of train", split="tests")
    refused(r"--clips must be 4 to that many, not 3", made=model, seconds=0.2, clips=3)
    refused(r"0 of 24 real clips have what --prompt video needs", made=model, seconds=0.2, prompt="video")
    refused(r"--steps must be at least 1", made=model, seconds=0.2, otherwise=Otherwise(steps=0))
    refused(r"--guidance must be a finite number", made=model, seconds=0.2, otherwise=Otherwise(guidance=math.nan))
    for row, match in (
        ({"file": "../made/440-0.wav"}, None),
        ({"file": "none.wav"}, "there is no file 'none.wav'"),
        ({"file": "../../secret.wav"}, "there is no file"),
        ({"clip_id": "nobody"}, "'nobody' is none of the real clips"),
    ):
        (made / "one.jsonl").write_text(json.dumps({"file": "440-0.wav", "clip_id": clip_of("440-0"), **row}))
        refused(match or "at least 4 are compared", listed=made / "one.jsonl")
    (made / "440-0.wav").write_bytes(b"no sound")
    refused(r"440-0\.wav cannot be read as a sound")
    (made / "sounds.jsonl").write_text("{")
    refused("cannot be read as a list")


def test_what_cannot_judge_is_told_before_a_sound_is_made(
    data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(name: str) -> Any:
        raise ArgumentError(f"--embedder {name}: damaged")

    monkeypatch.setattr(module, "load_listener", damaged)
    with pytest.raises(ArgumentError, match="clap:ears: damaged"):
        go(model, data, seconds=0.2, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_a_listener_at_hand_it_says_what_to_give(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "listeners_at_hand", lambda dataset: [])
    made = folder_of(tmp_path / "made", copy_of(data))
    assert main(["evaluate", "sounds", str(made), "--real", str(data), "--split", "train"]) == 2
    assert "--embedder KIND:WEIGHTS" in " ".join(capsys.readouterr().err.split())


def test_the_verb_prints_the_table(data: Path, ears: Ears, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = folder_of(tmp_path / "made", copy_of(data))
    asked = ["evaluate", "sounds", str(made), "--real", f"{data}@train", "--embedder", "clap:ears"]
    assert main([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tables"][0]["rows"][0]["sounds"] == 24
