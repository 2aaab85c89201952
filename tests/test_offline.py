"""Nothing phones home: the quickstart, installed from the wheel, with everything but the loopback refused."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from curation.keys import file_sha256

LOOPBACK = Path(__file__).with_name("loopback.py")
NO_NAMESPACE = 77
"""Exit code of `loopback.py` where the system lets nobody make a network namespace."""

FIRST_S, AGAIN_S = 1500.0, 120.0
"""A quickstart that takes longer hangs, or does everything again."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a quickstart printed; what was tried by Python code; how often the kernel found no way out, if it counts."""

    result: dict[str, Any]
    attempts: str
    refused: int | None


def run_within(command: list[str], environment: dict[str, str], timeout_s: float) -> tuple[int, str, str]:
    """Exit code, results and messages; at a timeout the whole group ends."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(
        command, cwd=environment["HOME"], env=environment, start_new_session=True, **pipes
    ) as process:
        try:
            printed, said = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, printed, said


def quickstart(installed: Path, home: Path, timeout_s: float) -> Run:
    """Run it with an empty home and a bare environment, so that no cache and no setting of ours helps."""
    attempts, counts = home / "attempts.txt", home / "counts.json"
    attempts.write_text("")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "FOUNDSOUND_ATTEMPTS": str(attempts)}
    command = [str(installed / "foundsound"), "quickstart", "--out", str(home / "quickstart"), "--json"]
    alone = [str(installed / "python"), str(LOOPBACK), str(counts), *command]
    code, printed, said = run_within(alone, environment, timeout_s)
    if code == NO_NAMESPACE:
        code, printed, said = run_within(command, environment, timeout_s)
    assert code == 0, f"{said[-3000:]}\ntried: {attempts.read_text()}"
    refused = json.loads(counts.read_text())["refused"] if counts.exists() else None
    return Run(json.loads(printed), attempts.read_text(), refused)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def first(installed: Path, home: Path) -> Run:
    return quickstart(installed, home, FIRST_S)


@pytest.mark.slow
def test_it_comes_through(first: Run) -> None:
    result = first.result
    assert [name for name, held in result["checks"].items() if not held] == []
    assert len(result["checks"]) >= 10
    precision = result["precision_at_5"]
    assert precision["trained"] >= 0.8 > precision["untrained"]
    assert precision["chance"] == 1 / 8
    assert result["generated"]["sounds"] == 32
    assert result["generated"]["right"] > 32 / 8


@pytest.mark.slow
def test_no_python_code_tries_to_leave(first: Run) -> None:
    assert first.attempts == ""


@pytest.mark.slow
def test_nothing_at_all_tries_to_leave(first: Run) -> None:
    if first.refused is None:
        pytest.skip("this system allows no network namespace; only Python's own sockets were watched")
    assert first.refused == 0


def learned(home: Path) -> dict[str, str]:
    """Sums of everything that training wrote."""
    files = [path for path in home.glob("quickstart/dataset/runs/**/*") if path.suffix in (".safetensors", ".jsonl")]
    return {str(path.relative_to(home)): file_sha256(path) for path in sorted(files)}


@pytest.mark.slow
def test_run_again_it_resumes(first: Run, installed: Path, home: Path) -> None:
    before = learned(home)
    again = quickstart(installed, home, AGAIN_S)
    assert len(before) > 5
    assert learned(home) == before, "something was trained again"
    assert {**again.result, "seconds": 0} == {**first.result, "seconds": 0}
    assert (again.attempts, again.refused) == ("", first.refused)


SENDS = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 9))"
"""One datagram to an address that is nobody's. Source: RFC 5737."""


def test_the_kernel_counts_what_it_refuses(tmp_path: Path) -> None:
    counts = tmp_path / "counts.json"
    code = f"try:\n {SENDS}\nexcept OSError:\n pass"
    done = subprocess.run([sys.executable, str(LOOPBACK), str(counts), sys.executable, "-c", code], timeout=60)
    if done.returncode == NO_NAMESPACE:
        pytest.skip("this system allows no network namespace")
    assert json.loads(counts.read_text()) == {"refused": 1}


def test_the_loopback_is_left(tmp_path: Path) -> None:
    counts = tmp_path / "counts.json"
    code = "import socket; a = socket.create_server(('127.0.0.1', 0)); socket.create_connection(a.getsockname())"
    done = subprocess.run([sys.executable, str(LOOPBACK), str(counts), sys.executable, "-c", code], timeout=60)
    if done.returncode == NO_NAMESPACE:
        pytest.skip("this system allows no network namespace")
    assert done.returncode == 0
    assert json.loads(counts.read_text()) == {"refused": 0}


@pytest.mark.parametrize("tried", [SENDS, "import socket; socket.getaddrinfo('example.org', 80)"])
def test_attempts_are_refused_and_written_down(tried: str, tmp_path: Path) -> None:
    attempts = tmp_path / "attempts.txt"
    environment = {**os.environ, "PYTHONPATH": str(LOOPBACK.parent), "FOUNDSOUND_ATTEMPTS": str(attempts)}
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = f"import attempts, socket; socket.create_connection({server.getsockname()!r}); "
        done = subprocess.run([sys.executable, "-c", here + tried], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "there is no network but the loopback" in done.stderr
    (line,) = attempts.read_text().splitlines()
    assert line.startswith("socket.")
