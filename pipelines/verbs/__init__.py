"""The verbs of the command line, a file each. Every verb is a function that a notebook can call as well.

A verb's docstring is its help text. It returns an object that prints as a person wants to read it and whose
`as_dict()` is what `--json` prints.
"""

VERBS = {
    "quickstart": ("pipelines.quickstart.journey:quickstart", "The whole path on a small corpus it makes itself."),
    "manifest": ("pipelines.verbs.manifest:manifest", "Read a published list into a dataset."),
    "fetch": ("pipelines.verbs.fetch:fetch", "Fetch every video once and cut its clips."),
    "segment": ("pipelines.verbs.fetch:segment", "Fetch and cut videos that no list gives spans of."),
    "measure": ("pipelines.verbs.measure:measure", "Loudness, silence, bandwidth and more of every clip."),
    "caption": ("pipelines.verbs.caption:caption", "A sentence for every clip, by a model or from labels."),
    "embed": ("pipelines.verbs.embed:embed", "Every sound as CLAP vectors."),
    "guard": ("pipelines.verbs.guard:guard", "Register evaluation lists that training must not touch."),
    "select": ("pipelines.verbs.select:select", "Which clips are in, and for all others why not."),
    "pack": ("pipelines.verbs.pack:pack", "Pack a selection into WebDataset shards."),
    "verify": ("pipelines.verbs.pack:verify", "Read shards again: sums, offsets, sounds."),
    "index": ("pipelines.verbs.index:index", "Build a search index over a selection."),
    "query": ("pipelines.verbs.index:query", "Find clips by words or by a sound."),
    "encode": ("pipelines.verbs.encode:encode", "Every clip as a codec's latents."),
    "train": ("pipelines.verbs.train:train", "Train a recipe on shards."),
    "generate": ("pipelines.verbs.generate:generate", "Sounds from words or a video, by a trained run."),
    "status": ("pipelines.verbs.status:status", "Requested, done, set aside and pending, for every stage."),
    "report": ("pipelines.verbs.report:report", "A page about a dataset, to look at and listen to."),
}
"""Verb -> where its function is, and what it does in a line. A function is imported when its verb is used, so that
`status` does not wait for torch."""
