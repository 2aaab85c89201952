"""Where networks run, and what loading one may raise."""

from safetensors import SafetensorError

from pipelines.wiring.hub import give_up_without_network

UNLOADABLE = (OSError, ValueError, RuntimeError, SafetensorError)
"""What loading weights raises: files that are missing, that do not fit together, of other shapes, or damaged."""


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
