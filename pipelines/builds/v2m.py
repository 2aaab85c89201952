"""V2M: 360,000 videos with music, cut every 10 s, and its paper's filter applied.

Source: V2M.txt of its authors; VidMuse (2406.04321) for the filter, of which no program was ever released.
"""

from pipelines.builds.options import BuildOptions, Step
from pipelines.builds.steps import choose, describe, ingest, publish, require_tagger

GUARDS = ("v2m-bench", "musiccaps")
RULES = "v2m"
SPLITS = ("train",)


def steps(options: BuildOptions) -> list[Step]:
    """From V2M.txt to shards of 10 s.

    Raises:
        ArgumentError: Its rule wants tags, and no tagger is given.
    """
    require_tagger(options, RULES)
    return [
        *ingest(options, "v2m", split="train"),
        options.fetch("segment"),
        *describe(options),
        *choose(options, guards=GUARDS, rules=RULES, splits=SPLITS),
        *publish(options, SPLITS),
    ]
