"""The whole of `fetch` against a server on the loopback address that fails: the right code each, and nothing lost."""

import io
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from curation.dataset import Dataset
from curation.download import egress
from curation.download.egress import Pace
from curation.errors import StoppedError
from curation.lists.ingest import ingest
from curation.status import status
from pipelines import runner
from pipelines.main import main
from pipelines.runner import Tally
from pipelines.verbs.fetch import fetch as fetch_verb
from pipelines.verbs.status import status as status_verb
from pipelines.verbs.ways import Ways
from tests.curation.download.scripted import Answer, Scripted, answer, redirect, scripted

PAGE = b"<!DOCTYPE html><html><body><video src='/neighbour.flac'></video></body></html>"
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n/neighbour.flac\n#EXT-X-ENDLIST\n"


def sound(seconds: float = 1.0) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(1).normal(0, 0.1, int(seconds * 16_000))
    soundfile.write(file, noise, 16_000, format="FLAC")
    return file.getvalue()


GOOD = answer(sound(), kind="audio/flac")
REFUSED = answer(b"slow down", status="429 Too Many Requests")
MISSING = answer(b"no", status="404 Not Found")


def hang_up(send: Callable[[bytes], object]) -> None:
    """Close the connection without a word."""


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as running:
        running.answers["/neighbour.flac"] = GOOD
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "RETRY_AFTER_S", (0.01, 0.01))
    monkeypatch.setattr(egress, "MIRROR", Pace(first_pause_s=0.02, longest_pause_s=0.1, lost_pause_s=0.02, losses=4))


def listed(tmp_path: Path, ids: Sequence[str], named_by: str = "video_id") -> Dataset:
    made = Dataset.create(tmp_path / "dataset")
    rows = [f"{named_by},start_s,duration_s", *(f"{name},0,0.5" for name in ids)]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    ingest(made, "table", tmp_path / "list.csv")
    return made


def named(number: int) -> str:
    return f"video{number:06d}"


def fetch(dataset: Dataset, server: Scripted, **how: object) -> Tally:
    return fetch_verb(dataset.path, source=[f"{server.url}/{{video_id}}.flac"], workers=0, **how).tally


def counts(dataset: Dataset) -> dict[str, object]:
    found = {}
    for stage in ("fetch", "cut"):
        found[stage] = status(dataset)[stage].as_dict()
        assert (
            found[stage]["done"] + sum(found[stage]["set_aside"].values()) + found[stage]["pending"]
            == (found[stage]["requested"])
        )
    assert found["cut"]["done"] == found["fetch"]["done"]
    return found["fetch"]


def slowly(send: Callable[[bytes], object]) -> None:
    time.sleep(1.5)
    GOOD(send)


FAULTS: dict[str, tuple[Answer, str]] = {
    "fine_______": (GOOD, "done"),
    "slow_______": (slowly, "TIMEOUT"),
    "cut_off____": (answer(sound(), kind="audio/flac", length=len(sound()) + 9), "TRUNCATED"),
    "forbidden__": (answer(b"no", status="403 Forbidden"), "FORBIDDEN"),
    "missing____": (MISSING, "NOT_FOUND"),
    "broken_____": (answer(b"no", status="500 Internal Server Error"), "NETWORK"),
    "page_______": (answer(PAGE, kind="audio/flac"), "NOT_FOUND"),
    "playlist___": (answer(PLAYLIST, kind="audio/flac"), "NOT_FOUND"),
    "loop_______": (redirect("/loop_______.flac"), "NOT_FOUND"),
    "to_private_": (redirect("http://127.0.0.2:9/x.flac"), "NOT_FOUND"),
    "empty______": (answer(b"", kind="audio/flac"), "EMPTY"),
}


def test_every_fault_ends_with_its_code(server: Scripted, tmp_path: Path) -> None:
    server.answers |= {f"/{name}.flac": given for name, (given, _) in FAULTS.items()}
    dataset = listed(tmp_path, list(FAULTS))
    fetch(dataset, server, timeout_s=0.8)
    ends = dataset.sql(
        'SELECT video_id, coalesce(code, state) AS said FROM "fetch" JOIN videos ON videos.video_key = "fetch".key'
    )
    wanted = {name: end for name, (_, end) in FAULTS.items()}
    assert {row["video_id"]: row["said"] for row in ends.to_pylist()} == wanted
    assert counts(dataset)["pending"] == 0
    asked = server.requests.count
    assert asked("/neighbour.flac") == 0
    assert (asked("/missing____.flac"), asked("/forbidden__.flac"), asked("/broken_____.flac")) == (1, 3, 3)


def test_a_row_that_leads_to_a_private_address_is_forbidden_and_not_asked(server: Scripted, tmp_path: Path) -> None:
    dataset = listed(tmp_path, [f"{server.url}/a.flac"], named_by="url")
    fetch(dataset, server)
    assert counts(dataset)["set_aside"] == {"FORBIDDEN": 1}
    assert server.requests == []


def test_a_refusal_that_passes_costs_no_attempt(server: Scripted, tmp_path: Path) -> None:
    said: list[str] = []

    def twice(send: Callable[[bytes], object]) -> None:
        said.append("asked")
        (REFUSED if len(said) <= 2 else GOOD)(send)

    server.answers |= {f"/{named(0)}.flac": twice, f"/{named(1)}.flac": GOOD}
    dataset = listed(tmp_path, [named(0), named(1)])
    fetch(dataset, server)
    assert counts(dataset) == {"requested": 2, "done": 2, "set_aside": {}, "pending": 0}
    (folder,) = dataset.current_facts("fetch").values()
    rows = dataset.sql(f"SELECT code, attempt FROM read_parquet('{folder}/part-*.parquet') WHERE code = 'RATE_LIMITED'")
    assert rows.to_pylist() == [{"code": "RATE_LIMITED", "attempt": 0}] * 2


def test_a_refusal_that_holds_ends_the_run_with_everything_pending(
    server: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers |= {f"/{named(number)}.flac": REFUSED for number in range(6)} | {f"/{named(0)}.flac": GOOD}
    dataset = listed(tmp_path, [named(number) for number in range(6)])
    template = f"{server.url}/{{video_id}}.flac"
    assert main(["fetch", str(dataset.path), "--from", template, "--workers", "0"]) == 1
    said = capsys.readouterr().err
    assert "RATE_LIMITED 5 times in a row. 5 videos stay pending" in said
    assert "pauses until" in said
    assert counts(dataset) == {"requested": 6, "done": 1, "set_aside": {}, "pending": 5}
    asked = len(server.requests)
    assert main(["status", str(dataset.path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["fetch"]["pending"] == 5
    assert set(shown["pace"]) == {"videos_per_hour", "seconds_left", "last_at", "paused"}
    server.answers |= {f"/{named(number)}.flac": GOOD for number in range(6)}
    fetch(dataset, server)
    assert counts(dataset)["done"] == 6
    assert len(server.requests) == asked + 2 * 5, "what was done is not asked for again"


def test_retry_after_is_honoured(server: Scripted, tmp_path: Path) -> None:
    said: list[float] = []

    def once(send: Callable[[bytes], object]) -> None:
        said.append(time.monotonic())
        later = answer(b"slow", status="429 Too Many Requests", headers={"Retry-After": "1"})
        (later if len(said) == 1 else GOOD)(send)

    server.answers[f"/{named(0)}.flac"] = once
    dataset = listed(tmp_path, [named(0)])
    fetch(dataset, server)
    assert said[1] - said[0] >= 1.0
    assert counts(dataset)["done"] == 1


def test_a_server_that_dies_and_comes_back_has_cost_no_attempt(server: Scripted, tmp_path: Path) -> None:
    """Alive for 5 requests, dead for 22 (each asked once, then one at a time), alive again."""
    seen: list[str] = []

    def mortal(send: Callable[[bytes], object]) -> None:
        seen.append("asked")
        (hang_up if 5 < len(seen) <= 27 else MISSING)(send)

    ids = [named(number) for number in range(40)]
    server.answers |= {f"/{name}.flac": mortal for name in ids}
    dataset = listed(tmp_path, ids)
    fetch(dataset, server)
    assert counts(dataset) == {"requested": 40, "done": 0, "set_aside": {"NOT_FOUND": 40}, "pending": 0}
    assert dataset.sql('SELECT DISTINCT attempt FROM "fetch"').to_pylist() == [{"attempt": 1}]
    assert len(seen) == 40 + 22


def test_a_server_that_is_gone_and_returns_at_its_port(tmp_path: Path) -> None:
    ids = [named(number) for number in range(25)]
    with scripted() as before:
        port = int(before.url.rpartition(":")[2])
    dataset = listed(tmp_path, ids)
    with pytest.raises(StoppedError, match=r"no connection 4 times in a row\. 25 videos stay pending"):
        fetch(dataset, before)
    assert counts(dataset) == {"requested": 25, "done": 0, "set_aside": {}, "pending": 25}
    back = threading.Event()

    def serve() -> None:
        with scripted(port=port) as again:
            again.answers |= {f"/{named(0)}.flac": GOOD}
            back.set()
            done.wait(60)

    done = threading.Event()
    thread = threading.Thread(target=serve)
    thread.start()
    assert back.wait(10)
    try:
        fetch(dataset, before)
    finally:
        done.set()
        thread.join()
    assert counts(dataset) == {"requested": 25, "done": 1, "set_aside": {"NOT_FOUND": 24}, "pending": 0}


def test_a_mirror_is_asked_before_another_and_both_answers_are_kept(server: Scripted, tmp_path: Path) -> None:
    server.answers |= {f"/first/{named(0)}.flac": GOOD, f"/second/{named(1)}.flac": GOOD}
    dataset = listed(tmp_path, [named(0), named(1)])
    sources = [f"{server.url}/{place}/{{video_id}}.flac" for place in ("first", "second")]
    fetch_verb(dataset.path, source=sources, workers=0)
    assert counts(dataset)["done"] == 2
    assert f"/second/{named(0)}.flac" not in server.requests
    assert len({row["egress"] for row in dataset.sql('SELECT egress FROM "fetch"').to_pylist()}) == 1


def test_everything_goes_through_the_proxy_that_is_named(server: Scripted, tmp_path: Path) -> None:
    server.answers[f"http://mirror.invalid/{named(0)}.flac"] = GOOD
    dataset = listed(tmp_path, [named(0)])
    ways = Ways(proxy=(server.url,))
    fetch_verb(dataset.path, source=["http://mirror.invalid/{video_id}.flac"], workers=0, ways=ways)
    assert counts(dataset)["done"] == 1
    assert set(server.requests) == {f"http://mirror.invalid/{named(0)}.flac"}
    assert dataset.sql('SELECT egress FROM "fetch"').to_pylist() == [{"egress": server.url.removeprefix("http://")}]


def test_what_is_kept_is_cut_without_asking_anybody(server: Scripted, tmp_path: Path) -> None:
    server.answers[f"/{named(0)}.flac"] = GOOD
    dataset = listed(tmp_path, [named(0)])
    fetch(dataset, server, keep_originals=True)
    asked = len(server.requests)
    (tmp_path / "more.csv").write_text(f"video_id,start_s,duration_s\n{named(0)},0.5,0.5\n")
    ingest(dataset, "table", tmp_path / "more.csv")
    ways = Ways(rate=1e-3)
    fetch(dataset, server, keep_originals=True, ways=ways)
    assert (status(dataset)["cut"].done, len(server.requests)) == (2, asked)
    for file in (dataset.path / "originals").rglob("*.flac"):
        file.unlink()
    (tmp_path / "most.csv").write_text(f"video_id,start_s,duration_s\n{named(0)},0.25,0.5\n")
    ingest(dataset, "table", tmp_path / "most.csv")
    fetch(dataset, server, keep_originals=True)
    assert (status(dataset)["cut"].done, len(server.requests)) == (3, asked + 2)


@pytest.mark.slow
def test_ctrl_c_ends_a_pause_and_the_next_run_keeps_to_it(server: Scripted, tmp_path: Path) -> None:
    refused = answer(b"slow", status="429 Too Many Requests", headers={"Retry-After": "600"})
    server.answers[f"/{named(0)}.flac"] = refused
    dataset = listed(tmp_path, [named(0)])
    words = ["fetch", str(dataset.path), "--from", f"{server.url}/{{video_id}}.flac", "--workers", "0"]
    for asked in (1, 1):
        program = [sys.executable, "-m", "pipelines.main", *words]
        pipes = {"stderr": subprocess.PIPE, "text": True, "cwd": Path(__file__).resolve().parents[2]}
        with subprocess.Popen(program, **pipes) as process:
            assert process.stderr is not None
            said = process.stderr.readline()
            assert "pauses until" in said
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
        assert len(server.requests) == asked
    assert counts(dataset) == {"requested": 1, "done": 0, "set_aside": {}, "pending": 1}
    (pause,) = status_verb(dataset.path).as_dict()["pace"]["paused"]
    assert (pause["code"], pause["in_a_row"]) == ("RATE_LIMITED", 1)
