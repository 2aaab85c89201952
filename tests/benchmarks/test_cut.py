"""The benchmark of cutting, on one small video."""

import subprocess
from pathlib import Path

import pytest

from benchmarks import cut
from curation.programs.ffmpeg import ffmpeg_path


@pytest.mark.slow
def test_both_sides_cut_and_measure(tmp_path: Path) -> None:
    inputs = ["-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25:duration=10", "-f", "lavfi", "-i", "sine=duration=10"]
    subprocess.run([ffmpeg_path(), "-v", "error", *inputs, str(tmp_path / "a.mp4")], check=True, timeout=60)
    measured = cut.measure([tmp_path / "a.mp4"], rounds=1, workers=1)
    ratio = float(measured["clips_a_second"]) / float(measured["peer_clips_a_second"])
    assert measured["ratio"] == pytest.approx(ratio) and measured["workers"] == 1
    assert {file.suffix for file in tmp_path.iterdir()} == {".mp4"}
