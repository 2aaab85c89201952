"""A dataset searched by words, sounds, pictures and videos with a tiny PE-AV of the real class."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.models.encoders.test_pe_av import LIBRARIES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    libraries = os.environ.get(LIBRARIES)
    if not libraries:
        pytest.skip(f"timm and torchvision are not there; set {LIBRARIES}")
    script = str(Path(__file__).with_name("seeing_dataset.py"))
    done = subprocess.run(
        [sys.executable, script, libraries, str(tmp_path_factory.mktemp("see"))],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.slow
def test_vectors_equal_those_of_the_class_itself(found: dict[str, Any]) -> None:
    assert len(found["parity"]) == 7
    assert max(found["parity"].values()) < 1e-4, found["parity"]


@pytest.mark.slow
def test_each_kind_of_vectors_is_asked_in_every_way(found: dict[str, Any]) -> None:
    assert found["done"] == {"sound": 4, "picture": 3, "both": 3}
    for of, answers in found["asked"].items():
        assert answers.keys() == {"text", "sound", "picture", "video", "clip"}
        for way, hits in answers.items():
            assert len(hits) == (2 if way == "clip" else 3), (of, way)
            assert found["blind"] not in {clip for clip, _ in hits}
    itself = dict(found["asked"]["sound"]["sound"])[found["clip"]]
    assert itself == pytest.approx(1, abs=2e-3)
    assert dict(found["asked"]["picture"]["video"])[found["clip"]] > 0.99, "a copy of it is looked at, not it itself"
    texts = [tuple(score for _, score in found["asked"][of]["text"]) for of in ("sound", "picture", "both")]
    assert len(set(texts)) == 3


@pytest.mark.slow
def test_what_cannot_be_seen_is_said(found: dict[str, Any]) -> None:
    assert "1 of 4 clips of selection 'all' have no vectors 'picture'" in found["blind_refused"]
    assert "text.png cannot be read" in found["refused"]
