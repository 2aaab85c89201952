import sys
import time
from pathlib import Path

import pytest

from curation.errors import StoppedError
from curation.programs.contained import TAIL_BYTES, Limits, run_contained


def python(code: str, scratch: Path, **limits: float):
    return run_contained([sys.executable, "-I", "-c", code], scratch=scratch, limits=Limits(**limits))


def test_both_outputs_and_the_exit_code_come_back(tmp_path):
    finished = python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)", tmp_path)
    assert (finished.stdout, finished.stderr, finished.returncode) == ("out\n", "err\n", 3)
    assert not finished.timed_out


def test_it_runs_in_its_folder_without_input_and_without_our_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("FOUNDSOUND_SECRET", "xyzzy")
    finished = python("import os, sys; print(os.getcwd(), sys.stdin.read() == '', sorted(os.environ))", tmp_path)
    assert finished.stdout.startswith(f"{tmp_path.resolve()} True")
    assert "FOUNDSOUND_SECRET" not in finished.stdout and "PYTHONPATH" not in finished.stdout


def test_a_sleeper_and_its_child_are_killed_in_time(tmp_path):
    begun = time.monotonic()
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    assert python(code, tmp_path, wall_s=1.0).timed_out
    assert time.monotonic() - begun < 10


def test_one_that_closes_its_outputs_and_goes_on_is_killed_in_time(tmp_path):
    code = "import os, time; os.close(1); os.close(2); time.sleep(60)"
    assert python(code, tmp_path, wall_s=1.0).timed_out


def test_only_the_tail_of_endless_output_is_kept(tmp_path):
    finished = python("for i in range(60000): print(i)", tmp_path)
    assert len(finished.stdout) <= TAIL_BYTES
    assert finished.stdout.endswith("59999\n")


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a running process are set on Linux only")
def test_memory_and_file_size_are_limited(tmp_path):
    # The limits are set while the interpreter starts, so the program looks at them before it goes on.
    wait = "import resource, time\nwhile resource.getrlimit(resource.RLIMIT_FSIZE)[0] < 0: time.sleep(0.01)\n"
    full = python(wait + "open('big', 'wb').write(bytes(2000000))", tmp_path, file_bytes=1_000_000)
    assert full.returncode != 0 and (tmp_path / "big").stat().st_size <= 1_000_000
    large = python(wait + "bytes(1 << 30)", tmp_path, memory_bytes=512 << 20)
    assert "MemoryError" in large.stderr


def test_a_missing_program_stops_the_work(tmp_path):
    with pytest.raises(StoppedError, match="no-such-program"):
        run_contained([str(tmp_path / "no-such-program")], scratch=tmp_path, limits=Limits())


def test_limits_must_be_positive():
    with pytest.raises(ValueError, match="wall_s must be above 0, not 0"):
        Limits(wall_s=0)
