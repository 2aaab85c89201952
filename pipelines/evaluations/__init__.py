"""What `foundsound evaluate` can judge, a file each. Every evaluation is a function that a notebook can call as well.

As a verb's, its docstring is its help text, and it returns an object that prints and whose `as_dict()` is what `--json`
prints.
"""

EVALUATIONS = {
    "retrieval": ("pipelines.evaluations.retrieval:retrieval", "How well captions find their clips, and clips theirs."),
    "captions": ("pipelines.evaluations.captions:captions", "How close captions are to those by people."),
    "pictures": ("pipelines.evaluations.pictures:pictures", "Whether pictures made from sounds show what was heard."),
    "events": (
        "pipelines.evaluations.events:events",
        "How sounds fit their words, by how often their event was trained on.",
    ),
    "sounds": ("pipelines.evaluations.sounds:sounds", "How close generated sounds are to real ones."),
}
"""Evaluation -> where its function is, and what it does in a line. A function is imported when it is used."""
