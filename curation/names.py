"""Names that people give to selections, generations and evaluation lists; each becomes a file or folder name.

Not for names that are computed: those are in `curation/keys.py`.
"""

import re

from curation.errors import ArgumentError

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def plain_name(name: str, what: str) -> str:
    """The name itself, once it is known to be safe as a file name.

    Args:
        name: What was given.
        what: What is named, for the message, as `selection`.

    Raises:
        ArgumentError: It has other characters than letters, digits, `.`, `_`, `-`, or is too long or empty.
    """
    if not _PLAIN.fullmatch(name):
        raise ArgumentError(
            f"{name!r} cannot name a {what}: use 1 to 100 letters, digits, '.', '_' or '-', beginning with a letter "
            "or digit"
        )
    return name
