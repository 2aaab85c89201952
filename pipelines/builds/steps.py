"""The parts of which every recipe consists, as lists of commands."""

from collections.abc import Sequence

from curation.errors import ArgumentError
from pipelines.builds.options import SPLITS, BuildOptions, Step

DUPLICATES = "duplicates"
"""Name of the groups that `dedupe` writes and `select` reads: the verbs' default."""


def ingest(options: BuildOptions, kind: str, *, split: str | None = None) -> list[Step]:
    """Every list that is given becomes rows of the dataset.

    Args:
        options: Of the build.
        kind: Layout of the lists.
        split: Split of lists whose rows say none and that are given without one.
    """
    steps = []
    for text in options.lists:
        said, _, file = text.partition("=")
        named = said if said in SPLITS and file else None
        chosen = named or split
        words = [kind, file if named else text, "--out", str(options.out)]
        steps.append(Step("manifest", (*words, *(("--split", chosen) if chosen else ()))))
    return steps


def describe(options: BuildOptions) -> list[Step]:
    """All that is known of a cut clip: measurements, tags, captions and vectors."""
    steps = [options.stage("measure")]
    if options.tagger is not None:
        steps.append(options.stage("tag", "--tagger", options.tagger))
    steps.append(options.stage("caption", "--captioner", options.captioner))
    if options.embedder is not None:
        steps.append(options.stage("embed", "--embedder", options.embedder))
    return steps


def choose(options: BuildOptions, *, guards: Sequence[str], rules: str, splits: Sequence[str]) -> list[Step]:
    """Duplicates are found, evaluation lists registered, and a selection is written for each split.

    Val and test are left as published, so that results on them compare.

    Args:
        options: Of the build.
        guards: Evaluation lists that the train split must not touch.
        rules: Published thresholds that the train split must meet.
        splits: Splits to select.
    """
    files = options.guard_files(guards)
    steps = [options.stage("dedupe", "--name", DUPLICATES)]
    steps += [options.step("guard", "--add", f"{n}={file}", "--kind", kind) for n, (kind, file) in files.items()]
    applied = rules if options.rules is None else options.rules
    for split in splits:
        words = ["--split", split]
        if split == "train":
            words += ["--duplicates", DUPLICATES]
            words += ["--rules", applied] if applied else []
            words += ["--guard", ",".join(files)] if files else []
        steps.append(options.step("select", *words))
    return steps


def publish(options: BuildOptions, splits: Sequence[str]) -> list[Step]:
    """Shards of every split, read again; an index where there are vectors; and the page."""
    steps = [options.step("pack", "--selection", split) for split in splits]
    steps += [options.step("verify", "--generation", split) for split in splits]
    if options.embedder is not None:
        steps += [options.step("index", "--selection", split, "--embedder", options.embedder) for split in splits]
    return [*steps, options.step("report")]


def require_tagger(options: BuildOptions, rule: str) -> None:
    """Refuse a recipe whose rule asks for tags when no tagger is given.

    Raises:
        ArgumentError: So it is.
    """
    if options.tagger is None and options.rules is None:
        raise ArgumentError(
            f"the rule {rule!r} wants tags: give --tagger mn04.pt (or --tagger mn04 to have the weights fetched), or "
            "--rules '' to select without it"
        )
