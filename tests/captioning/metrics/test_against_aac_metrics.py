"""Our metrics against aac-metrics, another implementation, in an environment of its own.

    python -m venv aac
    aac/bin/pip install aac-metrics
    FOUNDSOUND_AAC_PYTHON=aac/bin/python python -m pytest -m real tests/captioning/metrics/test_against_aac_metrics.py

Its jars and models are not needed: both get the same words. Of what its import asks for and these metrics do not use,
msclap and sentence_transformers may be missing.
"""

import csv
import json
import os
import subprocess
from pathlib import Path

import pytest

from captioning.metrics.agreement import LONGEST_RUNS
from captioning.metrics.bleu import bleu
from captioning.metrics.cider import cider_d
from captioning.metrics.rouge import rouge_l
from captioning.metrics.words import words

pytestmark = pytest.mark.real

CLIPS = 1045
"""All of Clotho's test set."""

CHILD = """
import importlib.machinery, importlib.util, json, sys, types
import transformers
for name, wanted in (("msclap", "CLAP"), ("sentence_transformers", "SentenceTransformer")):
    if importlib.util.find_spec(name) is None:
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__spec__ = importlib.machinery.ModuleSpec(name, None)
        setattr(sys.modules[name], wanted, object)
from aac_metrics.functional import bleu, cider_d, rouge_l
candidates, references = json.load(sys.stdin)
options = {"return_all_scores": False, "tokenizer": str.split}
scores = {f"bleu_{n}": bleu(candidates, references, n=n, **options) for n in (1, 2, 3, 4)}
scores |= {"cider_d": cider_d(candidates, references, **options), "rouge_l": rouge_l(candidates, references, **options)}
print(json.dumps({name: float(value) for name, value in scores.items()}))
"""


def test_the_same_words_give_the_same_scores(real_data: Path) -> None:
    python = os.environ.get("FOUNDSOUND_AAC_PYTHON")
    if not python:
        pytest.skip("FOUNDSOUND_AAC_PYTHON names no python with aac-metrics")
    with (real_data / "annotations" / "clotho" / "test.csv").open(encoding="utf-8", newline="") as file:
        rows = [[words(row[f"caption_{n}"]) for n in range(1, 6)] for row in csv.DictReader(file)][:CLIPS]
    candidates, references = [row[0] for row in rows], [row[1:] for row in rows]
    joined = [[" ".join(said) for said in candidates], [[" ".join(said) for said in row] for row in references]]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [python, "-c", CHILD], input=json.dumps(joined), capture_output=True, text=True, timeout=600, env=environment
    )
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout.splitlines()[-1])
    ours = {f"bleu_{n}": bleu(candidates, references, longest=n) for n in LONGEST_RUNS}
    ours |= {"cider_d": cider_d(candidates, references), "rouge_l": rouge_l(candidates, references)}
    print(json.dumps({"ours": ours, "aac-metrics": theirs}, indent=1))
    assert ours == pytest.approx(theirs, abs=1e-6)
