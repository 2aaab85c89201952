"""The parts of AudioX's evidence: what is trained apart, what is compared, and the whole of it on made sounds."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.evidence import audiox, audiox_real, audiox_runs
from benchmarks.evidence.audiox_masking import masked, strictly, unmasked
from benchmarks.evidence.audiox_real import RealPlan, real_tables
from benchmarks.evidence.audiox_runs import RunsPlan, command, curve_of, furthest, kill_after_first_checkpoint
from models.audiox.recipes import audiox_tiny
from pipelines.quickstart.sounds import RATE_HZ
from pipelines.quickstart.world import make_world, synthesise
from pipelines.wiring.listeners import Listener

LINE = {"step": 1, "clips_seen": 8, "loss": 2.0, "gradient_norm": 0.5, "seconds": 1.0}


def test_both_trainings_differ_in_what_is_shown_alone() -> None:
    plain = audiox_tiny(latent_channels=4, text_width=8).objective
    with_masks, without = masked(plain), unmasked(plain)
    assert with_masks.masking is not None and without.masking is None
    assert with_masks.tasks is not None and without.tasks is None
    assert set(with_masks.tasks.weights) == {"text", "video", "text+video", "image"}
    assert (without.drop.everything, without.drop.text, without.drop.frames) == (0.1, 0.0, 0.0)
    assert with_masks.drop.everything == without.drop.everything
    assert (with_masks.path, with_masks.times) == (without.path, without.times)


def test_the_strict_judge_hears_files(tmp_path: Path) -> None:
    clips = [clip for clip in make_world(0).good if clip.start_s == 0][:4]
    files = [tmp_path / f"{number}.wav" for number in range(4)]
    for file, clip in zip(files, clips, strict=True):
        soundfile.write(file, synthesise(clip)[0].T, RATE_HZ)
    labels = [clip.label for clip in clips]
    assert strictly(files, labels) == 4
    assert strictly(files, ["siren of another world", *labels[1:]]) == 3


def write_log(run: Path, *lines: dict[str, float]) -> Path:
    run.mkdir(parents=True, exist_ok=True)
    (run / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return run


def test_curves_are_compared_number_by_number(tmp_path: Path) -> None:
    one = curve_of(write_log(tmp_path / "one", LINE, {**LINE, "step": 2, "seconds": 2.0}))
    same = curve_of(write_log(tmp_path / "same", LINE, {**LINE, "step": 2, "seconds": 9.0}))
    other = curve_of(write_log(tmp_path / "other", LINE, {**LINE, "step": 2, "loss": 2.002}))
    assert furthest(one, same) == 0.0
    assert furthest(one, other) == pytest.approx(0.002 / 2.002)
    with pytest.raises(ValueError, match="2 and 1 lines"):
        furthest(one, one[:1])
    with pytest.raises(ValueError, match="holds no line"):
        curve_of(write_log(tmp_path / "none"))


SAVES = """
import json, pathlib, sys, time
run = pathlib.Path(sys.argv[1])
(run / "checkpoints" / "step-1").mkdir(parents=True)
(run / "log.jsonl").write_text(json.dumps({"step": 1, "clips_seen": 8, "loss": 2.0, "gradient_norm": 0.5}) + "\\n")
time.sleep(float(sys.argv[2]))
"""


def test_a_run_is_killed_once_it_has_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audiox_runs, "FURTHER_S", 0.3)
    assert kill_after_first_checkpoint([sys.executable, "-c", SAVES, str(tmp_path / "a"), "60"], tmp_path / "a") == 8
    with pytest.raises(RuntimeError, match="had ended before it was killed"):
        kill_after_first_checkpoint([sys.executable, "-c", SAVES, str(tmp_path / "b"), "0"], tmp_path / "b")
    with pytest.raises(RuntimeError, match="before it saved"):
        kill_after_first_checkpoint([sys.executable, "-c", ""], tmp_path / "c")


def test_the_command_is_one_that_the_program_understands(tmp_path: Path) -> None:
    from pipelines.program import make_app

    words = command(RunsPlan(), tmp_path, tmp_path / "run", 64, "--workers", "2")
    _, bound, _ = make_app().parse_args(words[3:], exit_on_error=False, print_error=False)
    assert bound.arguments["seconds"] == 0.5 and bound.arguments["clips"] == 64


def test_every_part_can_be_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    parts = {
        name: (lambda folder, seeds: {"found": [{"folder": folder.name}]}, plan)
        for name, (_, plan) in audiox.PARTS.items()
    }
    monkeypatch.setattr(audiox, "PARTS", parts)
    monkeypatch.setattr(audiox, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["audiox", "--out", str(tmp_path / "here"), "--only", "runs", "--save"])
    assert audiox.main() == 0
    assert "| here |" in capsys.readouterr().out
    (saved,) = tmp_path.glob("*.json")
    told = json.loads(saved.read_text())
    assert saved.name == "evidence-audiox-runs.json" and told["plan"]["seconds"] == 0.5


def made_esc50(folder: Path) -> Path:
    """ESC-50's layout: tones and noise, four sources of two recordings each, 1.5 s long."""
    (folder / "esc50").mkdir(parents=True)
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for number in range(16):
        label, rng = ("tone", "noise")[number % 2], np.random.default_rng(number)
        time_s = np.arange(24_000) / 16_000
        tone = np.sin(2 * np.pi * rng.uniform(300, 600) * time_s)
        wave = tone if label == "tone" else rng.standard_normal(len(time_s)) / 2
        soundfile.write(folder / "esc50" / f"{number}.flac", 0.4 * wave, 16_000)
        lines.append(f"{number}.flac,1,0,{label},False,{number // 4 * 2 + number % 2},A")
    (folder / "esc50.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.slow
def test_the_whole_of_real_sounds_on_made_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from pipelines.evaluations import sounds as evaluation

    def listen(wave_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        power_BF = torch.stft(wave_BT, 32, window=torch.hann_window(32), return_complex=True).abs().square().mean(2)
        return torch.log(power_BF + 1e-6)[:, None], power_BF

    listener = Listener(
        kind="spectrum",
        name="spectrum",
        sample_rate_hz=16_000,
        window_s=None,
        features="log power of bands",
        identity={"weights_sha256": "none"},
        listen=listen,
    )
    monkeypatch.setattr(audiox_real, "sounds_folder", lambda: made_esc50(tmp_path / "sounds"))
    monkeypatch.setattr(audiox_real, "efficientat", lambda: listener)
    monkeypatch.setattr(audiox_real, "efficientat_weights", lambda: Path("none"))
    monkeypatch.setattr(evaluation, "load_listener", lambda name: listener)
    tables = real_tables(RealPlan(classes=2, seconds=1.0, clips=32, draws=1), tmp_path / "out")
    assert [row["row"] for row in tables["quality"]] == [
        *("trained", "real, two halves", "silence", "noise"),
        "after one step",
        *("trained", "real, two halves", "silence", "noise"),
    ]
    found = {(row["prompts"], row["row"]): row for row in tables["followed"]}
    real = found["captions of 2 classes", "real recordings, trained on"]
    assert (real["right by the held-out recordings"], real["by chance"]) == ("8 of 8", 4.0)
    assert found["held-out recordings, no words", "the prompts themselves"]["by those trained on"] == "8 of 8"
    assert found["recordings trained on, no words", "trained"]["by chance"] == 4.0
    assert len(found) == 8
