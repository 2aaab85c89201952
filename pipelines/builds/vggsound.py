"""VGGSound: 200,000 clips of 10 s with a label each, and its published faults refused.

Source: vggsound.csv of its authors (CC BY 4.0), which says the split of every row.
"""

from pipelines.builds.options import BuildOptions, Step
from pipelines.builds.steps import choose, describe, ingest, publish

GUARDS = ("audiocaps-val", "audiocaps-test")
"""Its train split shares videos with them."""
RULES = "vggsound-faults"
SPLITS = ("train", "test")


def steps(options: BuildOptions) -> list[Step]:
    """From vggsound.csv to shards."""
    return [
        *ingest(options, "vggsound"),
        options.fetch("fetch"),
        *describe(options),
        *choose(options, guards=GUARDS, rules=RULES, splits=SPLITS),
        *publish(options, SPLITS),
    ]
