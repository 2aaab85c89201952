"""From public lists to media, measurements, selections and shards.

Data flows one way: `lists` -> `fetch`, `segment`, `cut` -> `measure` -> `selection` -> `shards`. Nothing here imports a
neural network; what a stage needs from one it takes as an argument.
"""

from curation.dataset import Dataset
from curation.errors import ArgumentError, ClipError, Code, DatasetError, FoundsoundError, LockedError, StoppedError

__all__ = [
    "ArgumentError",
    "ClipError",
    "Code",
    "Dataset",
    "DatasetError",
    "FoundsoundError",
    "LockedError",
    "StoppedError",
]
