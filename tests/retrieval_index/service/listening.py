"""A service in a process of its own, on a loopback port, as `foundsound serve` runs it."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

STARTS_WITHIN_S = 60

_RUN = """
import sys
from pathlib import Path
from curation.dataset import Dataset
from retrieval_index.service.access import Access
from retrieval_index.service.limits import Limits
from retrieval_index.service.server import address_of, begin, listening, run
from tests.retrieval_index.service.served import make_service
limits = Limits({limits})
with listening("127.0.0.1", 0) as bound:
    service = make_service(Dataset(sys.argv[1]), limits, access={access}, may_select=True)
    begin(bound)
    print("at", address_of(bound), file=sys.stderr, flush=True)
    run(service, bound)
print("ended", service.metrics.answered(), flush=True)
"""


@contextlib.contextmanager
def serving(dataset: Path, limits: str = "", access: str = "Access()") -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The address of a running service of `served.make_service`, and its process."""
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    code = _RUN.format(limits=limits, access=access)
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(dataset)],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        address, seen = None, []
        until = time.monotonic() + STARTS_WITHIN_S
        while address is None:
            line = process.stderr.readline()
            seen.append(line)
            found = re.match(r"at (http://\S+)/", line)
            address = found[1] if found else None
            if not line or time.monotonic() > until:
                pytest.fail(f"the service did not start: {''.join(seen)}")
        yield address, process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()
