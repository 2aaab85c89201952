"""`foundsound encode`: every cut clip as latents, once."""

from pathlib import Path

from curation.dataset import Dataset
from pipelines.verbs.of_clips import run_of_clips
from pipelines.verbs.result import StageResult
from pipelines.wiring.codecs import encode_stage

BATCH = 32
"""Clips a worker gets at a time."""


def encode(
    dataset: Path,
    /,
    *,
    codec: str,
    name: str,
    frame_rate_hz: float = 5.0,
    frame_size_px: int = 32,
    workers: int | None = None,
    address: str | None = None,
    follow: bool = False,
) -> StageResult:
    """Encode every cut clip into latents; `train` does it by itself for its own codec.

    Args:
        dataset: Folder of the dataset.
        codec: A folder with a fitted codec, or an AutoencoderOobleck on the Hub.
        name: Name of the latents.
        frame_rate_hz: Pictures kept a second.
        frame_size_px: Their side, px.
        workers: Processes; 0 works in this process, without Ray.
        address: Address of a Ray cluster; Ray is started on this machine when not given.
        follow: Go on with what is cut meanwhile, until nothing upstream runs any more.
    """
    opened = Dataset(dataset)
    stage = encode_stage(opened, codec, called=name, frame_rate_hz=frame_rate_hz, frame_size_px=frame_size_px)
    return run_of_clips(opened, stage, batch=BATCH, workers=workers, address=address, follow=follow)
