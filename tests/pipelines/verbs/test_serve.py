"""`foundsound serve`: who may be served is decided before anything is loaded; what it says is what `query` says."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from curation.errors import ArgumentError
from curation.selections.selection import select
from models.encoders.clap_fit import TinyClapConfig, build_tiny_clap
from pipelines.verbs.embed import embed
from pipelines.verbs.index import index
from pipelines.verbs.query import query
from pipelines.verbs.serve import serve
from tests.retrieval_index.service.served import CAPTIONS, make_dataset
from tests.retrieval_index.tones import RATE_HZ

TOKEN = "a-token-that-nobody-guesses"
TINY = TinyClapConfig(sample_rate_hz=RATE_HZ, window_s=2, f_max_hz=3_900, audio_width=16, text_width=32, dimension=16)
ROOT = Path(__file__).resolve().parents[3]


def test_what_may_not_be_is_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FOUNDSOUND_TOKEN", raising=False)
    with pytest.raises(ArgumentError, match="a token is needed"):
        serve(tmp_path, host="0.0.0.0")
    with pytest.raises(ArgumentError, match=r"the token file .* cannot be read"):
        serve(tmp_path, token_file=tmp_path / "missing")
    (tmp_path / "token").write_text("short\n")
    with pytest.raises(ArgumentError, match="at least 16 characters"):
        serve(tmp_path, host="0.0.0.0", token_file=tmp_path / "token")
    with pytest.raises(ArgumentError, match="must be at least 1, not 0"):
        serve(tmp_path, connections=0)
    with pytest.raises(ArgumentError, match="is not a dataset"):
        serve(tmp_path)


@pytest.mark.slow
def test_a_served_clap_says_what_query_says_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset")
    clap = str(build_tiny_clap(list(CAPTIONS.values()), TINY, seed=0).save(dataset.folder("runs") / "clap" / "model"))
    select(dataset, name="train")
    embed(dataset.path, embedder=clap, workers=0)
    index(dataset.path, embedder=clap)
    (tmp_path / "token").write_text(TOKEN + "\n")
    words = ["serve", str(dataset.path), "--port", "0", "--token-file", str(tmp_path / "token"), "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.main", *words],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        found = re.search(r"serving 4 clips .* at (http://127\.0\.0\.1:\d+)/ \(with a token", said)
        assert found, said
        asked = urllib.request.Request(f"{found[1]}/api/search?text=a+tone&k=3")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(asked, timeout=60)
        asked.add_header("Authorization", f"Bearer {TOKEN}")
        hits = json.load(urllib.request.urlopen(asked, timeout=60))["hits"]
        expected = query(dataset.path, "a tone", k=3).hits
        assert [hit["clip_id"] for hit in hits] == [hit.clip_id for hit in expected]
        assert [hit["score"] for hit in hits] == pytest.approx([hit.score for hit in expected], abs=1e-4)
        process.send_signal(signal.SIGTERM)
        out, problems = process.communicate(timeout=60)
        assert process.returncode == 0 and json.loads(out) == {"address": f"{found[1]}/", "requests": 2}, problems
        assert TOKEN not in said + out + problems
        assert not list(tmp_path.glob("foundsound-*")), "nothing is left behind"
    finally:
        process.kill()
        process.communicate()
