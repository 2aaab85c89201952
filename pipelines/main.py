"""The door of the program `foundsound`, which is `pipelines/program.py`: imports it, and catches Ctrl-C from then on.

Results go to standard output, progress and errors to standard error. Exit code 0 when the work was done, 1 when it
failed, 2 when the arguments were wrong, 130 after Ctrl-C.
"""

import os
import sys
from collections.abc import Sequence

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
# Waiting threads sleep: spinning ones are 12 to 30 times slower on cores that something else uses too (docs/log.md).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        arguments: The words after `foundsound`; None takes them from the command line.

    Returns:
        The exit code.
    """
    try:
        from pipelines.program import run  # takes up to seconds, in which somebody may press Ctrl-C

        return run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        print("foundsound: stopped; the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
