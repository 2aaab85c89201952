"""Which generation of shards a build goes on with: a generation is never changed, so more clips make the next one.

The first one of a selection has the selection's name, those that extend it are `<selection>-2`, `<selection>-3`, ...
"""

import re
from pathlib import Path

from curation.dataset import Dataset
from curation.selections.selection import read_report
from curation.shards.generation import GenerationIndex, generations
from pipelines.builds.options import Step


def continued(step: Step, out: Path) -> Step:
    """The command that a step of a build is now; steps that name no generation stay as they are.

    Args:
        step: `pack --selection NAME` becomes `extend` where NAME was packed before and is another selection now; where
            it was extended and has not changed since, the same `extend` again, which finds nothing to do. `verify
            --generation NAME` names the latest generation of NAME.
        out: Folder of the dataset.

    Raises:
        ArgumentError: There is no such selection.
        DatasetError: A generation or the selection is damaged.
    """
    option = {"pack": "--selection", "verify": "--generation"}.get(step.verb)
    if option is None or option not in step.words:
        return step
    place = step.words.index(option) + 1
    selection, dataset = step.words[place], Dataset(out)
    numbered = _numbered(generations(dataset.root("shards")), selection)
    ours = {number: name for number, (name, index) in numbered.items() if index.selection == selection}
    if not ours:
        return step
    _, latest = numbered[max(ours)]
    name, parent = ours[max(ours)], latest.parent
    if step.verb == "verify":
        return Step("verify", (*step.words[:place], name, *step.words[place + 1 :]))
    if latest.selection_sha256 != read_report(dataset, selection).sha256:
        name, parent = f"{selection}-{max(numbered) + 1}", name
    return step if parent is None else Step("extend", (*step.words, "--from", parent, "--name", name))


def _numbered(found: dict[str, GenerationIndex], selection: str) -> dict[int, tuple[str, GenerationIndex]]:
    """Number -> the generation that is called as a build would call it, whatever selection it is of."""
    pattern = re.compile(rf"{re.escape(selection)}(?:-([2-9]|[1-9][0-9]+))?")
    return {int(match[1] or 1): (name, index) for name, index in found.items() if (match := pattern.fullmatch(name))}
