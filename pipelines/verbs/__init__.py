"""The verbs of the command line, a file each. Every verb is a function that a notebook can call as well.

A verb's docstring is its help text. It returns an object that prints as a person wants to read it and whose
`as_dict()` is what `--json` prints.
"""

VERBS = {
    "quickstart": ("pipelines.quickstart.journey:quickstart", "The whole path on a small corpus it makes itself."),
    "doctor": ("pipelines.verbs.doctor:doctor", "What is installed, how old, what is missing, and its repair."),
    "build": ("pipelines.verbs.build:build", "From a published list to shards, all steps of a recipe."),
    "manifest": ("pipelines.verbs.manifest:manifest", "Read a published list into a dataset."),
    "fetch": ("pipelines.verbs.fetch:fetch", "Fetch every video once and cut its clips."),
    "segment": ("pipelines.verbs.fetch:segment", "Fetch and cut videos that no list gives spans of."),
    "retry": ("pipelines.verbs.retry:retry", "Ask again for what was set aside, by code and age."),
    "measure": ("pipelines.verbs.measure:measure", "Loudness, silence, bandwidth and more of every clip."),
    "tag": ("pipelines.verbs.tag:tag", "What is heard in every clip: AudioSet's 527 classes."),
    "agree": ("pipelines.verbs.agree:agree", "How well sound and picture of every clip go together."),
    "caption": ("pipelines.verbs.caption:caption", "A sentence for every clip, by a model or from labels."),
    "augment": ("pipelines.verbs.augment:augment", "Captions by a model of texts, from all that is known of a clip."),
    "import": ("pipelines.verbs.import_captions:import_captions", "Captions of a published set, by video and time."),
    "embed": ("pipelines.verbs.embed:embed", "Every sound, or picture, as vectors."),
    "score": ("pipelines.verbs.score:score", "Numbers about every caption, by which select may choose."),
    "captions": ("pipelines.verbs.captions:captions", "What was said of clips, with scores; as CSV, JSONL or a page."),
    "dedupe": ("pipelines.verbs.dedupe:dedupe", "Find the same sound twice, in three layers."),
    "guard": ("pipelines.verbs.guard:guard", "Register evaluation lists that training must not touch."),
    "select": ("pipelines.verbs.select:select", "Which clips are in, and for all others why not."),
    "pack": ("pipelines.verbs.pack:pack", "Pack a selection into WebDataset shards."),
    "extend": ("pipelines.verbs.pack:extend", "Pack more clips beside an earlier generation."),
    "verify": ("pipelines.verbs.pack:verify", "Read shards again: sums, offsets, sounds."),
    "forget": ("pipelines.verbs.forget:forget", "Take videos or channels down, wherever they are."),
    "roots": ("pipelines.verbs.roots:roots", "Where media, shards, vectors and latents lie."),
    "index": ("pipelines.verbs.index:index", "Build a search index over a selection."),
    "query": ("pipelines.verbs.query:query", "Find clips by words or by a sound."),
    "serve": ("pipelines.verbs.serve:serve", "A page and an HTTP interface to search a dataset."),
    "neighbours": ("pipelines.verbs.neighbours:neighbours", "The nearest clips of every caption."),
    "encode": ("pipelines.verbs.encode:encode", "Every clip as a codec's latents."),
    "train": ("pipelines.verbs.train:train", "Train a recipe on shards."),
    "generate": ("pipelines.verbs.generate:generate", "Sounds from words, pictures or sounds, by a trained run."),
    "evaluate": ("pipelines.verbs.evaluate:evaluate", "How good a search, captions or sounds are."),
    "status": ("pipelines.verbs.status:status", "Requested, done, set aside and pending, for every stage."),
    "compact": ("pipelines.verbs.compact:compact", "Merge the many small files of the tables into few."),
    "export": ("pipelines.verbs.export:export", "A folder in the layout that another tool reads."),
    "report": ("pipelines.verbs.report:report", "A page about a dataset, to look at and listen to."),
}
"""Verb -> where its function is, and what it does in a line. A function is imported when its verb is used, so that
`status` does not wait for torch."""
