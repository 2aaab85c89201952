"""Where networks run, and what loading one may raise."""

from safetensors import SafetensorError

UNLOADABLE = (OSError, ValueError, RuntimeError, SafetensorError)
"""What loading weights raises: files that are missing, that do not fit together, of other shapes, or damaged."""


def device_name() -> str:
    """`cuda` where there is one, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
