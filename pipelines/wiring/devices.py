"""Where networks run, and what loading one may raise."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from safetensors import SafetensorError

from curation.errors import ArgumentError
from pipelines.wiring.hub import give_up_without_network

_DAMAGED = (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, TypeError)
"""What libraries trip over that take the settings of a model as they are: of other kinds, missing, or far too large."""

UNLOADABLE = (OSError, ValueError, RuntimeError, SafetensorError, *_DAMAGED)
"""What loading weights raises: files that are missing, that do not fit together, of other shapes, or damaged."""


@contextmanager
def loading(what: str, name_or_path: str | Path) -> Iterator[None]:
    """Has what loading a network raises say which one it was.

    Args:
        what: Kind of network, as `text encoder`.
        name_or_path: Which one.

    Raises:
        ArgumentError: It cannot be loaded.
    """
    with ExitStack() as stack:
        stack.push(partial(_named, what, str(name_or_path)))
        yield


def _named(what: str, place: str, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
    """Says which network could not be loaded; looks at kinds of errors, since tokenizers raises a bare `Exception`."""
    from huggingface_hub.errors import StrictDataclassError  # of settings; takes a second to import

    if kind is not Exception and not isinstance(error, (*UNLOADABLE, StrictDataclassError)):
        return False
    of_kind = f"{type(error).__name__}: " if isinstance(error, _DAMAGED) else ""
    raise ArgumentError(f"no {what} can be loaded from {place!r}: {of_kind}{error}") from error


def load_quietly() -> None:
    """Have transformers load and save without a bar for each part, which takes a moment; downloads keep theirs.

    Without a network the Hub's cache is looked into at once.
    """
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, enable_progress_bars
    from transformers.utils import logging

    give_up_without_network()
    downloads_show = not are_progress_bars_disabled()
    logging.disable_progress_bar()
    if downloads_show:  # transformers takes them away too
        enable_progress_bars()


def device_name() -> str:
    """`cuda` where there is one, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
