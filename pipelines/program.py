"""What the program `foundsound` does: finds the verb, runs it, prints its result, and turns errors into sentences."""

import errno
import json
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, get_args

from cyclopts import App, ArgumentCollection, Group, Parameter
from cyclopts.exceptions import CycloptsError

from curation.errors import ArgumentError, FoundsoundError


def program_version() -> str:
    """Version of the installed package."""
    try:
        return version("foundsound")
    except PackageNotFoundError:
        return "not installed"


def _takes_whole(hint: Any) -> bool:
    """Whether values of this type are whole numbers, or hold some."""
    return hint is int or any(map(_takes_whole, get_args(hint)))


def refuse_fractions(given: ArgumentCollection) -> None:
    """Refuse 2.5 where a whole number is wanted, which cyclopts would round to 2.

    Raises:
        ArgumentError: A whole number was given a fraction.
    """
    for argument in given:
        for token in argument.tokens if _takes_whole(argument.hint) else ():
            if "." in token.value and not float(token.value).is_integer():
                raise ArgumentError(f"{token.keyword or argument.name} takes a whole number, not {token.value}")


def make_app() -> App:
    """The command line with all its verbs."""
    from pipelines.verbs import VERBS

    app = App(
        name="foundsound",
        help="From public lists of videos to captioned, searchable audio datasets, and models trained on them. "
        "Every verb takes --json for machines.",
        version=program_version,
        default_parameter=Parameter(negative=()),
        group_parameters=Group("Parameters", validator=refuse_fractions),
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
    )
    for order, (name, (place, sentence)) in enumerate(VERBS.items()):
        app.command(place, name=name, help=sentence, sort_key=order)
    return app


def show(result: Any, as_json: bool) -> None:
    """Print a verb's result to standard output; whoever reads it, as `head`, may have enough before its end."""
    if result is None:
        return
    try:
        print(json.dumps(result.as_dict(), ensure_ascii=False, indent=2) if as_json else result, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is not tried again at the end


def _told_of_storage(error: OSError) -> str | None:
    """What is said of an error that is the storage's and no bug: full, not to be read or written, no file or folder."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" ({error.filename})" if error.filename else ""
        return f"the disk is full{where}; free some space and run the same command again"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) and error.filename:
        return f"{error.filename}: {error.strerror}; change the rights, or work on a copy where you may write"
    if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG) and error.filename:
        return f"{error.filename}: {error.strerror}; give another place"
    return None


def run(words: Sequence[str]) -> int:
    """Run one verb.

    Args:
        words: The words after `foundsound`.

    Returns:
        The exit code; a result that has an `exit_code`, as `doctor`'s, says it itself.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    try:
        result = make_app()([word for word in words if word != "--json"])
        show(result, as_json="--json" in words)
    except CycloptsError as error:
        print(f"foundsound: {error}", file=sys.stderr)
        return 2
    except ArgumentError as error:
        print(f"foundsound: {error}", file=sys.stderr)
        return 2
    except FoundsoundError as error:
        print(f"foundsound: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        told = _told_of_storage(error)
        if told is None:
            raise
        print(f"foundsound: {told}", file=sys.stderr)
        return 1
    return int(getattr(result, "exit_code", 0))
