"""PE-AV as a judge: its settings, what it says without its libraries, and, where they are, a tiny one of the class."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.encoders import pe_av
from models.encoders.pe_av import PeAv, PictureConfig

ROOT = Path(__file__).resolve().parents[3]
LIBRARIES = "FOUNDSOUND_TEST_LIBRARIES"
"""A folder with timm 1.0.22 and torchvision: pip install --no-deps --target FOLDER timm==1.0.22 torchvision"""

PROCESSOR = {
    "size": {"height": 336, "width": 336},
    "num_frames": 16,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
"""As facebook/pe-av-base-16-frame publishes it."""


def test_the_picture_is_what_the_checkpoint_says():
    assert PictureConfig.of_processor(PROCESSOR) == PictureConfig()
    small = PictureConfig.of_processor({"size": {"height": 224, "width": 224}, "image_std": [1.0, 1.0, 0.5]})
    assert (small.side_px, small.frames, small.deviation) == (224, 16, (1.0, 1.0, 0.5))


@pytest.mark.parametrize("size", [None, {"shortest_edge": 336}, {"height": 336, "width": 224}])
def test_frames_that_are_not_square_are_refused(size):
    with pytest.raises(ValueError, match="squares are made here"):
        PictureConfig.of_processor({**PROCESSOR, "size": size})


@pytest.mark.parametrize("changes", [{"side_px": 0}, {"frames": 0}, {"mean": (0.5,)}, {"deviation": (0.5, 0.5, 0.0)}])
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises(ValueError, match=r"at least 1|three colours"):
        PictureConfig(**changes)


def test_a_missing_library_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(pe_av, "LIBRARIES", ("numpy", "no_such_library"))
    with pytest.raises(ImportError, match=r"needs no_such_library: pip install 'foundsound\[pe-av\]'"):
        PeAv.from_pretrained("anything")


@pytest.mark.slow
def test_a_tiny_one_of_the_real_class_scores_as_the_class_does(tmp_path):
    libraries = os.environ.get(LIBRARIES)
    if not libraries:
        pytest.skip(f"timm and torchvision are not there; set {LIBRARIES}")
    script = str(Path(__file__).with_name("tiny_pe_av.py"))
    done = subprocess.run(
        [sys.executable, script, libraries, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["settings"] == [48_000, 4, 32]
    assert found["score"] == found["again"] == found["wired"] == pytest.approx(found["theirs"], abs=1e-4)
    scores = [found[name] for name in ("score", "other_picture", "other_sound", "odd_length", "one_sample")]
    assert len({round(score, 6) for score in scores}) == len(scores)
    assert [("sound" in text, "frames" in text) for text in found["refused"]] == [
        (True, False),
        (True, False),
        (False, True),
        (False, True),
    ]
    assert found["same_identity"]
