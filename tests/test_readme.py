"""The README tells the truth: what can be run is run, the other commands are understood, and the map has every file."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines.main import main
from pipelines.program import make_app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RUN = re.findall(r"<!-- run -->\n```(\w*)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [shlex.split(text) for text in re.findall(r"`(foundsound [^`]+)`", README) if "VERB" not in text]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:3]))
def test_every_command_is_understood(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = [word for word in words[1:] if word != "--json"]  # `main` takes it for every verb
    _, bound, _ = make_app().parse_args(given, exit_on_error=False, print_error=False)
    assert bound.arguments or words[1] in ("quickstart", "doctor")


def test_the_commands_of_the_readme_cover_every_verb() -> None:
    from pipelines.evaluations import EVALUATIONS
    from pipelines.verbs import VERBS

    assert {words[1] for words in COMMANDS} == set(VERBS)
    assert {words[2] for words in COMMANDS if words[1] == "evaluate"} == set(EVALUATIONS)


def test_the_map_names_every_folder_and_file() -> None:
    shown = README.partition("## The map")[2].partition("## Limits")[0]
    words = set(re.findall(r"[\w/]+(?:\.py)?", shown))
    for folder in ("curation", "captioning", "retrieval_index", "models", "pipelines"):
        for path in sorted((ROOT / folder).glob("*.py")):
            assert path.name == "__init__.py" or path.name in words, f"{folder}/{path.name} is not in the map"
    for folder in ("curation", "captioning", "models", "pipelines"):
        for path in sorted((ROOT / folder).iterdir()):
            if path.is_dir() and path.name != "__pycache__":
                assert f"{path.name}/" in words, f"{folder}/{path.name}/ is not in the map"


def make_sounds(folder: Path) -> None:
    """A dozen sounds of 2 s: steady tones and noise, with captions."""
    folder.mkdir()
    lines = ["path,labels,captions"]
    for number in range(12):
        rng = np.random.default_rng([number, 7])
        time_s = np.arange(2 * 48_000) / 48_000
        is_tone = number % 2 == 0
        wave = np.sin(2 * np.pi * 220 * (1 + number) * time_s) if is_tone else rng.standard_normal(len(time_s)) / 4
        soundfile.write(folder / f"{number}.flac", 0.5 * wave, 48_000)
        lines.append(f"{number}.flac,{'tone,a steady tone' if is_tone else 'noise,hissing noise'}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.slow
def test_what_can_be_run_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    make_sounds(tmp_path / "sounds")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for kind, block in RUN:
        if kind == "python":
            exec(compile(block, "README.md", "exec"), names)
            continue
        for line in block.splitlines():
            assert main(shlex.split(line)[1:]) == 0, f"{line}\n{capsys.readouterr().err[-2000:]}"
    assert [kind for kind, _ in RUN].count("python") == 3
    assert names["wave_BCT"].shape == (1, 1, 16_000)
    assert names["loud"].num_rows == 12
    assert len(list((tmp_path / "my_dataset/runs/audiox-tiny/generated").glob("*.wav"))) == 1
    assert (tmp_path / "my_dataset/reports/report.html").is_file()
