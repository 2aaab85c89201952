"""The verbs of the command line, a file each. Every verb is a function that a notebook can call as well.

A verb's docstring is its help text. It returns an object that prints as a person wants to read it and whose
`as_dict()` is what `--json` prints.
"""

VERBS = {
    "quickstart": "pipelines.quickstart.journey:quickstart",
    "manifest": "pipelines.verbs.manifest:manifest",
    "fetch": "pipelines.verbs.fetch:fetch",
    "segment": "pipelines.verbs.fetch:segment",
    "measure": "pipelines.verbs.measure:measure",
    "caption": "pipelines.verbs.caption:caption",
    "embed": "pipelines.verbs.embed:embed",
    "guard": "pipelines.verbs.guard:guard",
    "select": "pipelines.verbs.select:select",
    "pack": "pipelines.verbs.pack:pack",
    "verify": "pipelines.verbs.pack:verify",
    "index": "pipelines.verbs.index:index",
    "query": "pipelines.verbs.index:query",
    "encode": "pipelines.verbs.encode:encode",
    "train": "pipelines.verbs.train:train",
    "generate": "pipelines.verbs.generate:generate",
    "status": "pipelines.verbs.status:status",
    "report": "pipelines.verbs.report:report",
}
"""Verb -> where its function is; imported when the verb is used, so that `status` does not wait for torch."""
