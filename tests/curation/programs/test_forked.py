import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curation import programs
from curation.errors import StoppedError
from curation.programs.contained import Finished, Limits
from curation.programs.ffmpeg import input_options
from curation.programs.forked import Forked

pytest_plugins = "tests.curation.encoding"

PROBER = Path(programs.__file__).with_name("prober.py")
SOUND = np.random.default_rng(1).normal(0, 0.1, (4_800, 1))

MISCHIEF = """
import json, os, sys, time
sys.path.insert(0, {folder!r})
import prober

def mischief(address, options):
    if address == "whoami":
        print(os.getpid(), os.getppid(), os.getcwd(), sorted(os.environ), sys.stdin.read(), flush=True)
    elif address == "sleep":
        time.sleep(60)
    elif address == "close":
        os.close(1); os.close(2); time.sleep(60)
    elif address == "crash":
        os.abort()
    elif address == "memory":
        bytearray(1 << 30)
    elif address == "write":
        open("big", "wb").write(bytes(2_000_000))
    elif address == "talk":
        sys.stdout.write("x" * 1_000_000 + "end")
        sys.stdout.flush()
    return 0

prober.print_what_is_there = mischief
sys.exit(prober.main())
"""


@pytest.fixture
def mischievous(tmp_path):
    """`ask(word, **limits)` -> how a child that does as it is told ended."""
    script = tmp_path / "script.py"
    script.write_text(MISCHIEF.format(folder=str(PROBER.parent)))
    forked = Forked(script)

    def ask(word: str, **limits: Any) -> Finished:
        return forked.run({"address": word, "options": {}}, Limits(**{"wall_s": 20.0, **limits}))

    yield ask
    forked.close()


def who(finished: Finished) -> tuple[int, int]:
    pid, parent = finished.stdout.split()[:2]
    return int(pid), int(parent)


def test_every_file_has_a_child_of_its_own_and_they_one_parent(mischievous):
    first, second = who(mischievous("whoami")), who(mischievous("whoami"))
    assert first[0] != second[0] and first[1] == second[1] != os.getpid()


def test_a_child_sees_neither_our_environment_nor_our_folder_nor_the_next_question(mischievous, monkeypatch):
    monkeypatch.setenv("FOUNDSOUND_SECRET", "xyzzy")
    said = mischievous("whoami").stdout
    assert "FOUNDSOUND_SECRET" not in said and str(Path.cwd()) not in said


@pytest.mark.parametrize("word", ["sleep", "close"])
def test_a_child_that_takes_too_long_is_killed_and_the_next_is_answered(word, mischievous):
    begun = time.monotonic()
    assert mischievous(word, wall_s=0.5).timed_out
    assert time.monotonic() - begun < 10
    assert mischievous("whoami").returncode == 0


def test_a_crash_takes_only_the_child(mischievous):
    parent = who(mischievous("whoami"))[1]
    assert mischievous("crash").returncode == -signal.SIGABRT
    assert who(mischievous("whoami"))[1] == parent


@pytest.mark.skipif(sys.platform != "linux", reason="limits are set on Linux only")
def test_memory_and_file_size_are_limited(mischievous):
    assert mischievous("memory", memory_bytes=512 << 20).returncode == 1
    assert mischievous("write", file_bytes=1_000_000).returncode in (1, -signal.SIGXFSZ)


def test_only_the_tail_of_long_output_is_kept(mischievous):
    said = mischievous("talk").stdout
    assert len(said) == 65_536 and said.endswith("end")


def test_a_program_that_was_killed_is_started_again(mischievous):
    before = mischievous("whoami")
    os.kill(who(before)[1], signal.SIGKILL)
    after = mischievous("whoami")
    assert who(after)[1] != who(before)[1]
    folders = [Path(said.stdout.split()[2]) for said in (before, after)]
    assert [folder.exists() for folder in folders] == [False, True]


def test_a_program_that_never_answers_stops_the_work(tmp_path):
    (tmp_path / "dead.py").write_text("")
    with pytest.raises(StoppedError, match=r"dead\.py"):
        Forked(tmp_path / "dead.py").run({}, Limits(wall_s=1.0))


def test_nothing_stays_after_closing(encode):
    forked = Forked(PROBER)
    request = {"address": f"file:{encode('a.wav', SOUND)}", "options": input_options()}
    assert forked.run(request, Limits(wall_s=20.0)).returncode == 0
    assert forked._process is not None
    program = forked._process.pid
    folder = Path(f"/proc/{program}/cwd").resolve() if sys.platform == "linux" else None
    forked.close()
    assert folder is None or not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(program, 0)
    assert forked.run(request, Limits(wall_s=20.0)).returncode == 0  # it starts again when it is needed
    forked.close()


def test_one_stopped_while_it_waits_gets_no_old_answer(mischievous):
    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            mischievous("sleep")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert mischievous("whoami").stdout
