"""What `foundsound train` can train: a file a system or part; a recipe is a function of a dataset and a run folder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any, Literal

RecipeName = Literal[
    "audiox-tiny",
    "audiox-small",
    "audiox-base",
    "audioldm2-tiny",
    "audioldm2-base",
    "audioldm2-large",
    "audioldm2-speech-tiny",
    "audioldm2-speech-base",
    "re-audioldm-tiny",
    "re-audioldm-small",
    "re-audioldm-large",
    "audiotoken-tiny",
    "audiotoken-base",
    "audiotoken-labels-base",
    "clap-tiny",
    "audiomae-tiny",
    "audiomae-speech-tiny",
    "audiomae-base",
    "beats-tiny",
    "pictures-tiny",
    "codec-tiny",
    "codec-44k",
    "mel-vae-tiny",
]

NO_USE: Mapping[str, str] = MappingProxyType(
    {
        "samples": "is a part of a system, which makes nothing of prompts; drop --samples",
        "pictures": "has no use for --pictures; drop --pictures",
        "listener": "has no use for --listener; drop --listener",
        "clap": "has no use for --clap; drop --clap",
        "start": "trains no other model further; drop --start",
        "learning": "has its own way to learn; drop --also-seconds and --optimizer",
        "retrieving": "retrieves nothing; drop --retrieval, --neighbours and --found",
        "workers": "is trained in one process; drop --workers",
    }
)
"""What only some recipes take, and what is said where it is given to another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """Where a recipe is, and what it takes of that which not all do.

    Args:
        file: Its file beside this one; a recipe a-b is the function `train_a_b` in it.
        takes: Of `NO_USE`.
    """

    file: str
    takes: frozenset[str] = frozenset({"workers"})


_AUDIOX = Listed(file="audiox", takes=frozenset({"samples", "learning", "workers"}))
_AUDIOLDM2 = Listed(file="audioldm2", takes=frozenset({"samples", "listener", "clap", "start", "workers"}))
_RE_AUDIOLDM = Listed(file="re_audioldm", takes=frozenset({"samples", "listener", "clap", "retrieving", "workers"}))
_AUDIOTOKEN = Listed(file="audiotoken", takes=frozenset({"samples", "listener", "pictures", "workers"}))

RECIPES: Mapping[RecipeName, Listed] = MappingProxyType(
    {
        "audiox-tiny": _AUDIOX,
        "audiox-small": _AUDIOX,
        "audiox-base": _AUDIOX,
        "audioldm2-tiny": _AUDIOLDM2,
        "audioldm2-base": _AUDIOLDM2,
        "audioldm2-large": _AUDIOLDM2,
        "audioldm2-speech-tiny": _AUDIOLDM2,
        "audioldm2-speech-base": _AUDIOLDM2,
        "re-audioldm-tiny": _RE_AUDIOLDM,
        "re-audioldm-small": _RE_AUDIOLDM,
        "re-audioldm-large": _RE_AUDIOLDM,
        "audiotoken-tiny": _AUDIOTOKEN,
        "audiotoken-base": _AUDIOTOKEN,
        "audiotoken-labels-base": _AUDIOTOKEN,
        "clap-tiny": Listed(file="clap", takes=frozenset()),
        "audiomae-tiny": Listed(file="audiomae"),
        "audiomae-speech-tiny": Listed(file="audiomae"),
        "audiomae-base": Listed(file="audiomae"),
        "beats-tiny": Listed(file="beats"),
        "pictures-tiny": Listed(file="pictures", takes=frozenset()),
        "codec-tiny": Listed(file="codec"),
        "codec-44k": Listed(file="codec"),
        "mel-vae-tiny": Listed(file="codec"),
    }
)
"""Recipe -> where it is. Its file is imported when it is trained, so that a question for help waits for no network."""


def function_of(recipe: RecipeName) -> Callable[..., dict[str, Any]]:
    """The function that trains a recipe: of a dataset, the folder of the run, and `RunOptions`."""
    module = import_module(f"{__name__}.{RECIPES[recipe].file}")
    found: Callable[..., dict[str, Any]] = getattr(module, f"train_{recipe.replace('-', '_')}")
    return found
