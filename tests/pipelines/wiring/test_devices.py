"""Weights are loaded without bars, what is downloaded shows one as before, and what cannot be loaded is named."""

import pytest
from huggingface_hub.errors import StrictDataclassError
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from transformers.utils import logging

from curation.errors import ArgumentError, StoppedError
from pipelines.wiring.devices import UNLOADABLE, load_quietly, loading


def test_downloads_keep_their_bars_as_they_were() -> None:
    hidden = are_progress_bars_disabled()
    try:
        for change, are_hidden in ((enable_progress_bars, False), (disable_progress_bars, True)):
            change()
            logging._tqdm_active = True
            load_quietly()
            assert not logging.is_progress_bar_enabled() and are_progress_bars_disabled() is are_hidden
    finally:
        (disable_progress_bars if hidden else enable_progress_bars)()


@pytest.mark.parametrize("kind", [*UNLOADABLE, KeyError, StrictDataclassError, Exception])  # the last: tokenizers'
def test_what_cannot_be_loaded_is_named(kind: type[Exception]) -> None:
    with (
        pytest.raises(ArgumentError, match=r"no CLAP can be loaded from 'folder': .*the reason"),
        loading("CLAP", "folder"),
    ):
        raise kind("the reason")


@pytest.mark.parametrize("kind", [StoppedError, KeyboardInterrupt, ImportError])
def test_what_is_not_of_the_model_stays_what_it_is(kind: type[BaseException]) -> None:
    with pytest.raises(kind, match="the reason"), loading("CLAP", "folder"):
        raise kind("the reason")
