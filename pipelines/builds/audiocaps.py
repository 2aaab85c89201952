"""AudioCaps: clips of AudioSet with captions by people, a file for each split.

Source: train.csv, val.csv and test.csv of its authors; academic use.
"""

from curation.errors import ArgumentError
from pipelines.builds.options import SPLITS, BuildOptions, Step
from pipelines.builds.steps import choose, describe, ingest, publish

GUARDS = ("vggsound-test",)
"""AudioCaps' train split and VGGSound's test split share 15 clips by id."""


def steps(options: BuildOptions) -> list[Step]:
    """From train.csv, val.csv and test.csv, as many as are given, to shards of each split.

    Raises:
        ArgumentError: A list is given without its split.
    """
    said = [text.partition("=")[0] for text in options.lists]
    if unknown := [name for name in said if name not in SPLITS]:
        raise ArgumentError(f"--list {unknown[0]!r}: AudioCaps' files say no split; give it, as --list train=train.csv")
    splits = [split for split in SPLITS if split in said]
    return [
        *ingest(options, "audiocaps"),
        options.fetch("fetch"),
        *describe(options),
        *choose(options, guards=GUARDS if "train" in splits else (), rules="", splits=splits),
        *publish(options, splits),
    ]
