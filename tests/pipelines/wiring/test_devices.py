"""Weights are loaded without bars, and what is downloaded shows one as before."""

from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from transformers.utils import logging

from pipelines.wiring.devices import load_quietly


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
